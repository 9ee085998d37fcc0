//! Text with a header line, read a line at a time so that a stray quote spoils its own line only.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::{Cell, RawRow, Table};

/// A longer line is nonsense; its rest is skipped.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// What may separate fields, when nothing else is said: the one that the header line has most of.
const SEPARATORS: [u8; 4] = *b",;\t|";

pub(super) struct CsvTable {
    reader: BufReader<File>,
    separator: u8,
    header: Vec<String>,
    line: u64,
    read: u64,
    length: u64,
    bytes: Vec<u8>,
}

impl CsvTable {
    pub(super) fn open(path: &Path, separator: Option<u8>) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let length = file.metadata().map_err(|error| error.to_string())?.len();
        let mut table = Self {
            reader: BufReader::with_capacity(1 << 16, file),
            separator: b',',
            header: Vec::new(),
            line: 0,
            read: 0,
            length,
            bytes: Vec::new(),
        };
        if !table.read_line().map_err(|error| error.to_string())? {
            return Err("the file is empty; it needs a header line".to_owned());
        }
        if table.bytes.starts_with(&[0xff, 0xfe]) || table.bytes.starts_with(&[0xfe, 0xff]) {
            return Err("it is text in UTF-16; save it as UTF-8".to_owned());
        }
        let text = table.bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&table.bytes).to_vec();
        table.separator = separator.unwrap_or_else(|| {
            let count = |separator: &u8| text.iter().filter(|byte| *byte == separator).count();
            // The first of equals, so that a file of one column has a comma.
            SEPARATORS.into_iter().rev().max_by_key(count).unwrap_or(b',')
        });
        let header = split(&text, table.separator).map_err(|reason| format!("line 1: {reason}"))?;
        table.header = header.into_iter().map(|name| name.trim().to_owned()).collect();
        Ok(table)
    }

    /// Puts the next line without its end into `bytes`; false at the end of the file.
    fn read_line(&mut self) -> std::io::Result<bool> {
        self.bytes.clear();
        let mut read = self.reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut self.bytes)? as u64;
        if read == 0 {
            return Ok(false);
        }
        self.line += 1;
        if read == LINE_BYTES_MAX && self.bytes.last() != Some(&b'\n') {
            read += self.reader.skip_until(b'\n')? as u64;
        }
        self.read += read;
        while let Some(b'\n' | b'\r') = self.bytes.last() {
            self.bytes.pop();
        }
        Ok(true)
    }

    fn cells(&self) -> Result<Vec<Cell>, String> {
        if self.bytes.len() as u64 >= LINE_BYTES_MAX {
            return Err(format!("the line is longer than {} KiB", LINE_BYTES_MAX >> 10));
        }
        let fields = split(&self.bytes, self.separator)?;
        if fields.len() != self.header.len() {
            let hint = if self.separator == b',' && fields.len() > self.header.len() {
                " (decimal commas? such a file needs another separator)"
            } else {
                ""
            };
            return Err(format!("{} fields where the header has {}{hint}", fields.len(), self.header.len()));
        }
        let cell = |field: String| if field.trim().is_empty() { Cell::Empty } else { Cell::Text(field) };
        Ok(fields.into_iter().map(cell).collect())
    }
}

impl Table for CsvTable {
    fn columns(&self) -> &[String] {
        &self.header
    }

    fn next_row(&mut self) -> Option<Result<RawRow, String>> {
        loop {
            match self.read_line() {
                Err(error) => return Some(Err(error.to_string())),
                Ok(false) => return None,
                Ok(true) if self.bytes.iter().all(u8::is_ascii_whitespace) => {}
                Ok(true) => return Some(Ok(RawRow { number: self.line, cells: self.cells() })),
            }
        }
    }

    fn progress(&self) -> (u64, u64) {
        (self.read, self.length)
    }

    fn row_word(&self) -> &'static str {
        "line"
    }

    fn may_have_decimal_commas(&self) -> bool {
        self.separator != b','
    }
}

/// The fields of one line. By hand, since a reader of the csv crate costs far more to make than a line to read.
fn split(line: &[u8], separator: u8) -> Result<Vec<String>, String> {
    let text = str::from_utf8(line).map_err(|_| "it is not text in UTF-8".to_owned())?;
    let separator = char::from(separator);
    if !text.contains('"') {
        return Ok(text.split(separator).map(str::to_owned).collect());
    }
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let end = rest.find(separator).unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match after.strip_prefix(separator) {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err("text follows the quote that closes a field".to_owned()),
        }
    }
}

/// A field whose opening quote has been taken off, and what follows its closing one. A quote within is written twice.
fn unquoted(text: &str) -> Result<(String, &str), String> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"').ok_or("a quote is not closed on its line")?;
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Ok((field, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_as_csv_is_written() {
        for (line, fields) in [
            ("a,b,", vec!["a", "b", ""]),
            ("", vec![""]),
            ("\"a,b\",c", vec!["a,b", "c"]),
            ("\"say \"\"hi\"\"\",", vec!["say \"hi\"", ""]),
            ("5\" pipe,1", vec!["5\" pipe", "1"]),
        ] {
            assert_eq!(split(line.as_bytes(), b',').unwrap(), fields, "{line}");
        }
        assert!(split(b"\"a,b", b',').unwrap_err().contains("not closed"));
        assert!(split(b"\"a\"b,c", b',').unwrap_err().contains("follows"));
        assert!(split(b"\xb0C", b',').unwrap_err().contains("UTF-8"));
    }
}
