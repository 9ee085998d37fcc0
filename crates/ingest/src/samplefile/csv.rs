//! Text with a header line, read a line at a time so that a stray quote spoils its own line only.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use sightglass_protocol::{Quality, TagId, UtcNanos};

use super::{Cell, Places, RawRow, Rows, SampleFileSettings, quality_of};

/// A longer line is nonsense; its rest is skipped.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Characters of a bad cell that a message shows.
const SHOWN_CHARS_MAX: usize = 40;

pub(super) struct CsvRows {
    reader: BufReader<File>,
    separator: u8,
    header: Vec<String>,
    places: Places,
    line: u64,
    bytes: Vec<u8>,
}

impl CsvRows {
    pub(super) fn open(path: &Path, separator: u8, settings: &SampleFileSettings) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| format!("{error}; check the path in the plant file"))?;
        let mut rows = Self {
            reader: BufReader::new(file),
            separator,
            header: Vec::new(),
            places: Places::Wide { time: 0, columns: Vec::new() },
            line: 0,
            bytes: Vec::new(),
        };
        if !rows.read_line().map_err(|error| error.to_string())? {
            return Err("the file is empty; it needs a header line".to_owned());
        }
        let text = rows.bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&rows.bytes);
        let header = split(text, separator)?;
        rows.header = header.iter().map(|name| name.trim().to_owned()).collect();
        rows.places = Places::find(settings, &rows.header)?;
        Ok(rows)
    }

    /// Puts the next line without its end into `bytes`; false at the end of the file.
    fn read_line(&mut self) -> std::io::Result<bool> {
        self.bytes.clear();
        let read = self.reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut self.bytes)?;
        if read == 0 {
            return Ok(false);
        }
        self.line += 1;
        if read as u64 == LINE_BYTES_MAX && self.bytes.last() != Some(&b'\n') {
            self.reader.skip_until(b'\n')?;
        }
        while let Some(b'\n' | b'\r') = self.bytes.last() {
            self.bytes.pop();
        }
        Ok(true)
    }

    fn parse(&self) -> Result<(UtcNanos, Vec<(TagId, Cell)>), String> {
        let fields = split(&self.bytes, self.separator)?;
        if fields.len() != self.header.len() {
            let hint = if self.separator == b',' { " (a decimal comma needs another separator)" } else { "" };
            return Err(format!("{} fields where the header has {}{hint}", fields.len(), self.header.len()));
        }
        let time = parse_time(&fields[self.places.time()])?;
        let cells = match &self.places {
            Places::Wide { columns, .. } => {
                columns.iter().map(|&(at, tag)| (tag, parse_cell(&fields[at], &self.header[at]))).collect()
            }
            Places::Long { tag, value, quality, names, .. } => {
                let Some(&id) = names.get(fields[*tag].trim()) else { return Ok((time, Vec::new())) };
                let cell = match quality {
                    // What was recorded without a value is no trouble, but what it is.
                    Some(quality) => match fields[*value].trim() {
                        "" => Cell::Recorded(f64::NAN, quality_of(&fields[*quality])),
                        text => match text.parse() {
                            Ok(value) => Cell::Recorded(value, quality_of(&fields[*quality])),
                            Err(_) => parse_cell(text, &self.header[*value]),
                        },
                    },
                    None => parse_cell(&fields[*value], &self.header[*value]),
                };
                vec![(id, cell)]
            }
        };
        Ok((time, cells))
    }
}

impl Rows for CsvRows {
    fn next_row(&mut self) -> Option<Result<RawRow, String>> {
        loop {
            match self.read_line() {
                Err(error) => return Some(Err(error.to_string())),
                Ok(false) => return None,
                Ok(true) if self.bytes.iter().all(u8::is_ascii_whitespace) => {}
                Ok(true) => return Some(Ok(RawRow { number: self.line, content: self.parse() })),
            }
        }
    }

    fn row_word(&self) -> &'static str {
        "line"
    }
}

fn split(line: &[u8], separator: u8) -> Result<Vec<String>, String> {
    let mut reader =
        ::csv::ReaderBuilder::new().has_headers(false).delimiter(separator).buffer_capacity(512).from_reader(line);
    let mut record = ::csv::ByteRecord::new();
    reader.read_byte_record(&mut record).map_err(|error| error.to_string())?;
    record.iter().map(|field| String::from_utf8(field.to_vec()).map_err(|_| "not text in UTF-8".to_owned())).collect()
}

/// RFC 3339, a civil time (taken as UTC), or a number since 1970: of seconds, or from 16 digits on of nanoseconds.
fn parse_time(text: &str) -> Result<UtcNanos, String> {
    let trimmed = text.trim();
    let is_integer = !trimmed.is_empty() && trimmed.bytes().all(|byte| byte.is_ascii_digit());
    if is_integer && trimmed.len() >= 16 {
        return trimmed.parse().map(UtcNanos).map_err(|_| format!("the time '{}' is out of range", shown(trimmed)));
    }
    match trimmed.parse::<f64>() {
        Ok(seconds) if seconds.abs() < 9.2e9 => Ok(UtcNanos::from_seconds(seconds)),
        Ok(_) => Err(format!("the time '{}' is out of range", shown(trimmed))),
        Err(_) => {
            let short = shown(trimmed);
            short.parse::<UtcNanos>().map_err(|_| format!("'{short}' is not a time such as 2026-11-24 08:15:00"))
        }
    }
}

fn parse_cell(text: &str, column: &str) -> Cell {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Cell::Unusable(Quality::Missing, format!("'{column}' is empty"));
    }
    let bad = |why: &str| Cell::Unusable(Quality::Bad, format!("'{column}' is '{}', {why}", shown(trimmed)));
    match trimmed.parse::<f64>() {
        Ok(value) if value.is_finite() => Cell::Value(value),
        Ok(_) => bad("not a finite number"),
        Err(_) if trimmed.replacen(',', ".", 1).parse::<f64>().is_ok() => bad("a decimal comma; write a point"),
        Err(_) => bad("not a number"),
    }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
