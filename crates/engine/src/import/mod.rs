//! Foreign data into the history: CSV and Parquet, wide (one column a tag) or long (one row a sample).
//!
//! Files are read twice, a row at a time: first to say everything that is wrong with them and what they would change,
//! then, when nothing is wrong, to store their samples. Storing the same samples again changes nothing.

mod check;
mod columns;
mod csv;
mod number;
mod parquet;
mod times;

use std::path::{Path, PathBuf};

use sightglass_plant::{ImportMap, Plant};
use sightglass_protocol::{Quality, Sample, TimeSource, UtcNanos};

pub(crate) use check::{Report, check};
pub(crate) use columns::Layout;
pub(crate) use number::shown;
pub(crate) use times::{TimeForm, Zone};

use crate::EngineError;
use columns::{Columns, Target};
use number::Decimal;
use times::Moments;

/// Bad places of one file that are listed; the rest of them is counted.
pub(crate) const BAD_LISTED_MAX: usize = 20;

/// How to read files.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub layout: Option<Layout>,
    pub time_column: Option<String>,
    pub time_form: TimeForm,
    pub zone: Zone,
    /// What separates the fields of CSV files; found out from the header line when absent.
    pub separator: Option<u8>,
    pub decimal_comma: bool,
    pub map: ImportMap,
}

/// A cell of a file.
#[derive(Clone, Debug, PartialEq)]
enum Cell {
    /// Nothing.
    Empty,
    Text(String),
    Number(f64),
    /// A time that says itself what it is, in nanoseconds since 1970; may be beyond what the history can hold.
    Time(i128),
}

/// A row of a file.
struct RawRow {
    /// Counts from 1: the line of a text file, the row of others.
    number: u64,
    cells: Result<Vec<Cell>, String>,
}

/// A file that gives its rows one at a time.
trait Table {
    fn columns(&self) -> &[String];
    /// The next row; an error is the end of what can be read.
    fn next_row(&mut self) -> Option<Result<RawRow, String>>;
    /// Where the reader is and how long the file is, in any one measure.
    fn progress(&self) -> (u64, u64);
    /// What a row is called.
    fn row_word(&self) -> &'static str;
    /// Whether a comma can be a decimal comma.
    fn may_have_decimal_commas(&self) -> bool;
}

/// One row as samples, or why it cannot be used.
pub(crate) struct Row {
    pub number: u64,
    pub content: Result<Vec<Sample>, String>,
}

/// A file that is being imported.
pub(crate) struct Reader {
    path: PathBuf,
    table: Box<dyn Table>,
    columns: Columns,
    moments: Moments,
    decimal: Decimal,
}

impl Reader {
    /// Opens a file and finds out which of its columns is what.
    ///
    /// # Errors
    /// A file that cannot be read, a column that is no tag and not ignored, or no time.
    pub(crate) fn open(path: &Path, plant: &Plant, options: &Options) -> Result<Self, EngineError> {
        let wrong = |reason: String| EngineError::Usage(format!("{}: {reason}", path.display()));
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let table: Box<dyn Table> = match ending.as_str() {
            "parquet" | "pq" => Box::new(parquet::ParquetTable::open(path).map_err(wrong)?),
            "csv" | "tsv" | "txt" => Box::new(csv::CsvTable::open(path, options.separator).map_err(wrong)?),
            _ => return Err(wrong("its name ends neither in .csv (.tsv, .txt) nor in .parquet (.pq)".to_owned())),
        };
        let columns = Columns::find(table.columns(), plant, options).map_err(wrong)?;
        let decimal = match (options.decimal_comma, table.may_have_decimal_commas()) {
            (true, _) => Decimal::Comma,
            (false, true) => Decimal::Either,
            (false, false) => Decimal::Point,
        };
        let moments = Moments::new(options.time_form.clone(), options.zone.clone());
        Ok(Self { path: path.to_owned(), table, columns, moments, decimal })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the reader is and how long the file is.
    pub(crate) fn progress(&self) -> (u64, u64) {
        self.table.progress()
    }

    /// What a row is called ("line", "row").
    pub(crate) fn row_word(&self) -> &'static str {
        self.table.row_word()
    }

    /// Times that local clocks showed twice, and were taken as the first.
    pub(crate) fn ambiguous(&self) -> u64 {
        self.moments.ambiguous()
    }

    /// The next row; an error is the end of what can be read.
    pub(crate) fn next_row(&mut self) -> Option<Result<Row, String>> {
        let row = match self.table.next_row()? {
            Ok(row) => row,
            Err(reason) => return Some(Err(reason)),
        };
        let content = row.cells.and_then(|cells| self.samples(&cells));
        Some(Ok(Row { number: row.number, content }))
    }

    fn samples(&mut self, cells: &[Cell]) -> Result<Vec<Sample>, String> {
        let time = self.moments.read(&cells[self.columns.time()])?;
        match &self.columns {
            Columns::Wide { values, .. } => {
                let mut samples = Vec::with_capacity(values.len());
                for (at, name, target) in values {
                    let read =
                        number::read(&cells[*at], self.decimal).map_err(|reason| format!("'{name}' {reason}"))?;
                    // Nothing was recorded of this tag at this time.
                    let Some(read) = read else { continue };
                    samples.push(sample(target, time, read, None));
                }
                Ok(samples)
            }
            Columns::Long { tag, value, quality, names, .. } => {
                let name = match &cells[*tag] {
                    Cell::Text(name) => name.trim(),
                    _ => return Err("the row names no tag".to_owned()),
                };
                let target = match names.target(name)? {
                    Some(target) => target,
                    None => return Ok(Vec::new()),
                };
                let read =
                    number::read(&cells[*value], self.decimal).map_err(|reason| format!("the value {reason}"))?;
                let quality = quality.map(|at| number::quality(&cells[at])).transpose()?;
                Ok(vec![sample(&target, time, read.unwrap_or(f64::NAN), quality)])
            }
        }
    }
}

fn sample(target: &Target, time: UtcNanos, number: f64, said: Option<Quality>) -> Sample {
    let value = if target.is_plain() { number } else { number * target.scale + target.offset };
    let quality = match said {
        _ if value.is_nan() => said.filter(|quality| !quality.is_usable()).unwrap_or(Quality::Missing),
        _ if value.is_infinite() => said.filter(|quality| !quality.is_usable()).unwrap_or(Quality::Bad),
        said => said.unwrap_or(Quality::Good),
    };
    Sample { tag: target.tag, time, value, quality, time_source: TimeSource::Payload }
}
