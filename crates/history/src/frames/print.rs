//! Answers for other programs: CSV, JSON lines, Parquet.

use std::{
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
};

use polars::{io::parquet::write::BatchedWriter, prelude::*};
use serde_json::{Map, Value, json};
use sightglass_protocol::UtcNanos;

use super::frame_error;
use crate::error::HistoryError;

/// The names of the columns as a line of CSV, without its end.
pub fn csv_header(frame: &DataFrame) -> String {
    let names: Vec<String> = frame.get_column_names().iter().map(|name| quoted(name)).collect();
    names.join(",")
}

/// The rows as lines of CSV: times as RFC 3339 in UTC, what is absent empty, text quoted where it must be.
///
/// # Errors
/// A column of a kind that no answer has.
pub fn csv_lines(frame: &DataFrame) -> Result<String, HistoryError> {
    let mut text = String::new();
    for row in 0..frame.height() {
        for (index, column) in frame.columns().iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            match column.get(row).map_err(frame_error("print a table"))? {
                AnyValue::Null => {}
                AnyValue::Datetime(time, ..) => text.push_str(&UtcNanos(time).to_string()),
                AnyValue::String(value) => text.push_str(&quoted(value)),
                other => text.push_str(&other.to_string()),
            }
        }
        text.push('\n');
    }
    Ok(text)
}

/// The rows as JSON objects, one a line.
///
/// # Errors
/// A column of a kind that no answer has.
pub fn json_lines(frame: &DataFrame) -> Result<String, HistoryError> {
    let mut text = String::new();
    for row in 0..frame.height() {
        let mut object = Map::new();
        for column in frame.columns() {
            let value = match column.get(row).map_err(frame_error("print a table"))? {
                AnyValue::Null => Value::Null,
                AnyValue::Datetime(time, ..) => json!(UtcNanos(time).to_string()),
                AnyValue::String(value) => json!(value),
                AnyValue::Float64(value) => json!(value),
                AnyValue::Int64(value) => json!(value),
                AnyValue::UInt32(value) => json!(value),
                AnyValue::UInt64(value) => json!(value),
                other => json!(other.to_string()),
            };
            object.insert(column.name().to_string(), value);
        }
        text.push_str(&Value::Object(object).to_string());
        text.push('\n');
    }
    Ok(text)
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// A Parquet file (zstd) that is written page by page, and has its name once it is complete.
pub struct ParquetFile {
    path: PathBuf,
    partial: PathBuf,
    writer: Option<BatchedWriter<BufWriter<File>>>,
}

impl ParquetFile {
    /// For an answer that is to be found at `path`.
    pub fn new(path: &Path) -> Self {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        Self { path: path.to_owned(), partial: partial.into(), writer: None }
    }

    /// Adds rows; all pages have the same columns.
    ///
    /// # Errors
    /// [`HistoryError::DiskFull`], [`HistoryError::Io`], polars' own.
    pub fn write(&mut self, page: &DataFrame) -> Result<(), HistoryError> {
        let action = format!("write {}", self.path.display());
        let error = |source| HistoryError::Frame { action: action.clone(), source };
        if self.writer.is_none() {
            let file = File::create(&self.partial).map_err(|source| HistoryError::io("make", &self.partial, source))?;
            let writer = ParquetWriter::new(BufWriter::new(file)).with_compression(ParquetCompression::Zstd(None));
            self.writer = Some(writer.batched(page.schema()).map_err(error)?);
        }
        match &mut self.writer {
            Some(writer) => writer.write_batch(page).map_err(error),
            None => Ok(()),
        }
    }

    /// Writes what is left and gives the file its name. Without a single page there is no file.
    ///
    /// # Errors
    /// As [`ParquetFile::write`].
    pub fn finish(self) -> Result<(), HistoryError> {
        let Some(writer) = self.writer else { return Ok(()) };
        let action = format!("write {}", self.path.display());
        writer.finish().map_err(|source| HistoryError::Frame { action, source })?;
        drop(writer);
        let file = File::open(&self.partial).map_err(|source| HistoryError::io("open", &self.partial, source))?;
        file.sync_all().map_err(|source| HistoryError::io("write", &self.partial, source))?;
        fs::rename(&self.partial, &self.path).map_err(|source| HistoryError::io("name", &self.path, source))
    }
}
