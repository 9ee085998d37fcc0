//! Tables of numbers from CSV files as other programs write them: one column a tag, one row a moment.

use std::collections::HashMap;
use std::path::Path;

use crate::import::shown;

/// Names of a column that says when, in lower case.
const TIME_NAMES: [&str; 5] = ["time", "datetime", "timestamp", "date", "date_time"];
/// Names of columns that say what was wrong, in lower case: an answer, never a signal.
const LABEL_NAMES: [&str; 4] = ["anomaly", "changepoint", "label", "labels"];
/// What stands for no value, in lower case; numbers that are not finite do, too.
const MISSING: [&str; 7] = ["", "na", "n/a", "null", "none", "-", "?"];

/// A file's numbers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ScoreTable {
    /// One a column of `rows`.
    pub(crate) names: Vec<String>,
    /// NaN where a value is missing.
    pub(crate) rows: Vec<Vec<f64>>,
    /// The time of each row as it is written, or its number from 0.
    pub(crate) times: Vec<String>,
    /// Columns that were left out, with the reason.
    pub(crate) left_out: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Separator {
    Byte(u8),
    Whitespace,
}

impl ScoreTable {
    /// Reads a file. An error names the file, the line and the column.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let bytes = std::fs::read(path).map_err(|error| format!("reading {}: {error}", path.display()))?;
        Self::parse(&bytes).map_err(|wrong| format!("{}: {wrong}", path.display()))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let line = 1 + bytes[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count();
            format!("line {line}: not UTF-8; save the file as UTF-8")
        })?;
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let Some(first) = lines.next() else {
            return Err("the file is empty; a first line with the names of the columns is needed".to_owned());
        };
        let mut records = split(text, separator(first, lines.next()))?.into_iter();
        let Some((line, header)) = records.next() else {
            return Err("the file is empty; a first line with the names of the columns is needed".to_owned());
        };
        check_header(line, &header)?;
        let lower: Vec<String> = header.iter().map(|name| name.to_lowercase()).collect();
        let time = TIME_NAMES.iter().find_map(|wanted| lower.iter().position(|name| name == wanted));
        let mut left_out = Vec::new();
        let mut columns: Vec<usize> = Vec::new();
        for (at, name) in header.iter().enumerate() {
            if Some(at) == time {
            } else if name.is_empty() {
                left_out.push(format!("column {}, which has no name", at + 1));
            } else if LABEL_NAMES.contains(&lower[at].as_str()) {
                left_out.push(format!("{name}, a label and not a signal"));
            } else if TIME_NAMES.contains(&lower[at].as_str()) {
                left_out.push(format!("{name}, another column of times"));
            } else {
                columns.push(at);
            }
        }
        let records: Vec<(u64, Vec<String>)> = records.collect();
        for (line, fields) in &records {
            if fields.len() != header.len() {
                return Err(format!("line {line}: {} fields where the header has {}", fields.len(), header.len()));
            }
        }
        // A column without a single number is text (a batch, a product), and no tag.
        columns.retain(|&at| {
            let cells = || records.iter().map(|(_, fields)| fields[at].as_str());
            let is_text =
                cells().any(|c| number(c).is_none()) && !cells().any(|c| number(c).is_some_and(f64::is_finite));
            if is_text {
                left_out.push(format!("{}, which has no numbers", header[at]));
            }
            !is_text
        });
        let mut rows = Vec::with_capacity(records.len());
        let mut times = Vec::with_capacity(records.len());
        for (row, (line, fields)) in records.iter().enumerate() {
            let value = |&at: &usize| {
                number(&fields[at]).ok_or_else(|| {
                    let hint = if fields[at].contains(',') { " (decimal commas? write decimal points)" } else { "" };
                    format!("line {line}, column {}: '{}' is not a number{hint}", header[at], shown(&fields[at]))
                })
            };
            rows.push(columns.iter().map(value).collect::<Result<Vec<f64>, String>>()?);
            times.push(time.map_or_else(|| row.to_string(), |at| fields[at].clone()));
        }
        Ok(Self { names: columns.into_iter().map(|at| header[at].clone()).collect(), rows, times, left_out })
    }

    /// The rows with the columns of `names`, in that order; the names that are not there, else.
    pub(crate) fn select(&self, names: &[String]) -> Result<Vec<Vec<f64>>, Vec<String>> {
        let places: HashMap<&str, usize> =
            self.names.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        let lacking: Vec<String> = names.iter().filter(|n| !places.contains_key(n.as_str())).cloned().collect();
        if !lacking.is_empty() {
            return Err(lacking);
        }
        let columns: Vec<usize> = names.iter().map(|name| places[name.as_str()]).collect();
        Ok(self.rows.iter().map(|row| columns.iter().map(|&at| row[at]).collect()).collect())
    }

    /// Whether a column only counts: it goes up or down by the same step from row to row.
    pub(crate) fn counts(&self, name: &str) -> bool {
        let Some(at) = self.names.iter().position(|n| n == name) else { return false };
        let steps: Vec<f64> = self.rows.windows(2).map(|w| w[1][at] - w[0][at]).collect();
        steps.len() > 1 && steps[0] != 0.0 && steps.iter().all(|s| (s - steps[0]).abs() <= 1e-9 * steps[0].abs())
    }
}

/// The first separator that the header has; blanks, where the line below has as many fields.
fn separator(header: &str, below: Option<&str>) -> Separator {
    if let Some(byte) = [b';', b'\t', b','].into_iter().find(|byte| header.as_bytes().contains(byte)) {
        return Separator::Byte(byte);
    }
    let fields = header.split_whitespace().count();
    let is_blank = fields > 1 && below.is_none_or(|line| line.split_whitespace().count() > 1);
    if is_blank { Separator::Whitespace } else { Separator::Byte(b',') }
}

/// Records with the line each begins on.
fn split(text: &str, separator: Separator) -> Result<Vec<(u64, Vec<String>)>, String> {
    let Separator::Byte(byte) = separator else {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let fields = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        return Ok(lines.map(|(at, line)| (at as u64 + 1, fields(line))).collect());
    };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(byte)
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    reader
        .records()
        .map(|record| {
            let record = record.map_err(|error| error.to_string())?;
            let line = record.position().map_or(0, csv::Position::line);
            Ok((line, record.iter().map(str::to_owned).collect()))
        })
        .collect()
}

fn check_header(line: u64, header: &[String]) -> Result<(), String> {
    if header.iter().all(|name| name.parse::<f64>().is_ok()) {
        return Err(format!("line {line}: numbers where the names of the columns are needed; add a header line"));
    }
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (at, name) in header.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        if let Some(before) = seen.insert(name, at) {
            return Err(format!("line {line}: columns {} and {} are both named '{name}'", before + 1, at + 1));
        }
    }
    Ok(())
}

/// NaN where there is no value; `None` where the text is neither a number nor nothing.
fn number(text: &str) -> Option<f64> {
    if MISSING.contains(&text.to_lowercase().as_str()) {
        return Some(f64::NAN);
    }
    text.parse::<f64>().ok().map(|v| if v.is_finite() { v } else { f64::NAN })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &[u8]) -> String {
        ScoreTable::parse(text).unwrap_err()
    }

    #[test]
    fn separators_times_and_labels_are_recognised() {
        let table = ScoreTable::parse(
            b"\xef\xbb\xbfdatetime;a;Volume Flow;anomaly\n2020-01-01 10:00:00;1.5;-2e3;0.0\n\n;;nan;1\n",
        )
        .unwrap();
        assert_eq!(table.names, ["a", "Volume Flow"]);
        assert_eq!(table.times, ["2020-01-01 10:00:00", ""]);
        assert_eq!(table.rows[0], [1.5, -2_000.0]);
        assert!(table.rows[1].iter().all(|v| v.is_nan()));
        assert_eq!(table.left_out, ["anomaly, a label and not a signal"]);
        for text in ["a b\n1 2\n3 inf\n", "a\tb\n1\t2\n3\tNA\n", "\"a\",b\n1,2\n3,\n", "  a   b\r\n 1  2\r\n3 null\r\n"]
        {
            let table = ScoreTable::parse(text.as_bytes()).unwrap();
            assert_eq!((table.names.len(), table.rows.len()), (2, 2), "{text}");
            assert_eq!(table.times, ["0", "1"]);
            assert!(table.rows[1][1].is_nan(), "{text}");
        }
    }

    #[test]
    fn one_column_and_columns_of_text_are_no_trouble() {
        let table = ScoreTable::parse(b"Flow rate\n1\n2\n4\n").unwrap();
        assert_eq!(table.names, ["Flow rate"]);
        let table = ScoreTable::parse(b",batch,a\n0,x,1\n1,y,2\n2,,3\n").unwrap();
        assert_eq!(table.names, ["a"]);
        assert_eq!(table.left_out.len(), 2);
        assert!(table.counts("a") && !table.counts("b"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        assert!(wrong(b"").contains("empty"));
        assert!(wrong(b"\n\n").contains("empty"));
        assert!(wrong(b"1,2\n3,4\n").contains("header line"));
        assert_eq!(wrong(b"a,b,a\n1,2,3\n"), "line 1: columns 1 and 3 are both named 'a'");
        assert_eq!(wrong(b"a,b\n1,2\n3\n"), "line 3: 1 fields where the header has 2");
        assert_eq!(wrong(b"a,b\n1,2\n3,\xff\n"), "line 3: not UTF-8; save the file as UTF-8");
        assert_eq!(wrong(b"a,b\n1,2\n3,x4\n"), "line 3, column b: 'x4' is not a number");
        assert!(wrong(b"a;b\n1;2\n3;2,5\n").contains("decimal points"));
        assert!(ScoreTable::read(Path::new("/does/not/exist.csv")).unwrap_err().contains("/does/not/exist.csv"));
    }

    #[test]
    fn columns_are_chosen_by_name() {
        let table = ScoreTable::parse(b"a,b\n1,2\n").unwrap();
        assert_eq!(table.select(&["b".to_owned(), "a".to_owned()]), Ok(vec![vec![2.0, 1.0]]));
        assert_eq!(table.select(&["c".to_owned()]), Err(vec!["c".to_owned()]));
    }
}
