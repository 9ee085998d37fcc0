//! One file of an export.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use polars::prelude::*;

use crate::{
    chunk::Row,
    error::HistoryError,
    export::{ExportFormat, Exported, day::Waiting},
    frames::{frame_error, time_column},
};

/// The columns of a file.
const HEADER: [&str; 4] = ["tag", "time", "value", "quality"];

/// Writes rows by tag's name and time; returns the file's bytes, which then are on the disk.
pub(super) fn write(
    path: &Path,
    format: ExportFormat,
    waiting: &Waiting,
    tags: &BTreeMap<i64, Exported>,
) -> Result<u64, HistoryError> {
    let mut sorted: Vec<(&str, &Vec<Row>)> =
        waiting.iter().filter_map(|(tag, rows)| Some((tags.get(tag)?.name.as_str(), rows))).collect();
    sorted.sort_by_key(|(name, _)| *name);
    match format {
        ExportFormat::Parquet => {
            let mut table = table(&sorted).map_err(frame_error("make a table of samples"))?;
            write_parquet(path, &mut table)
        }
        ExportFormat::Csv => write_csv(path, &sorted).map_err(|source| HistoryError::target("write", path, source)),
    }
}

fn table(sorted: &[(&str, &Vec<Row>)]) -> PolarsResult<DataFrame> {
    let (mut names, mut times, mut values, mut qualities) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (name, rows) in sorted {
        names.resize(names.len() + rows.len(), *name);
        times.extend(rows.iter().map(|row| row.time));
        values.extend(rows.iter().map(|row| (!row.value.is_nan()).then_some(row.value)));
        qualities.extend(rows.iter().map(|row| row.quality().word()));
    }
    let [tag, _, value, quality] = HEADER;
    DataFrame::new_infer_height(vec![
        Column::new(tag.into(), names),
        time_column(times)?,
        Column::new(value.into(), values),
        Column::new(quality.into(), qualities),
    ])
}

/// A file that remembers why the disk did not take something: polars tells it as text only.
pub(super) struct Watched {
    file: File,
    refused: Arc<Mutex<Option<io::ErrorKind>>>,
}

/// What is known of a file that polars writes.
#[derive(Clone)]
pub(super) struct Watch {
    path: PathBuf,
    refused: Arc<Mutex<Option<io::ErrorKind>>>,
}

impl Watched {
    /// Makes the file.
    pub(super) fn create(path: &Path) -> Result<(Self, Watch), HistoryError> {
        let file = File::create(path).map_err(|source| HistoryError::target("make", path, source))?;
        let refused = Arc::default();
        let watch = Watch { path: path.to_owned(), refused: Arc::clone(&refused) };
        Ok((Self { file, refused }, watch))
    }
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).inspect_err(|error| {
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.kind());
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Watch {
    /// polars' error as ours.
    pub(super) fn error(&self, source: PolarsError) -> HistoryError {
        match self.refused.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(kind @ (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) => {
                HistoryError::target("write", &self.path, kind.into())
            }
            _ => HistoryError::Frame { action: format!("write {}", self.path.display()), source },
        }
    }

    /// Lets what was written reach the disk.
    pub(super) fn sync(&self) -> Result<(), HistoryError> {
        let synced = File::options().write(true).open(&self.path).and_then(|file| file.sync_all());
        synced.map_err(|source| HistoryError::target("write", &self.path, source))
    }
}

/// Writes a table, and lets it reach the disk. Returns the file's bytes.
pub(super) fn write_parquet(path: &Path, table: &mut DataFrame) -> Result<u64, HistoryError> {
    let (file, watch) = Watched::create(path)?;
    let mut writer = BufWriter::new(file);
    let bytes = ParquetWriter::new(&mut writer)
        .with_compression(ParquetCompression::Zstd(None))
        .finish(table)
        .map_err(|source| watch.error(source))?;
    writer.flush().map_err(|source| HistoryError::target("write", path, source))?;
    watch.sync()?;
    Ok(bytes)
}

fn write_csv(path: &Path, sorted: &[(&str, &Vec<Row>)]) -> io::Result<u64> {
    let file = File::create(path)?;
    let mut writer = csv::Writer::from_writer(&file);
    writer.write_record(HEADER).map_err(io_of)?;
    for (name, rows) in sorted {
        for row in *rows {
            // Debug formatting is the shortest text that reads back to the same bits, with an exponent where it is long.
            let value = if row.value.is_nan() { String::new() } else { format!("{:?}", row.value) };
            writer.write_record([name, time_text(row.time).as_str(), &value, row.quality().word()]).map_err(io_of)?;
        }
    }
    writer.flush()?;
    drop(writer);
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

/// The system's own error in that of the CSV writer, whose kind would be lost otherwise.
fn io_of(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// RFC 3339 with nine decimals, always, so that a column of them has one width.
fn time_text(time: i64) -> String {
    match jiff::Timestamp::from_nanosecond(time.into()) {
        Ok(timestamp) => format!("{timestamp:.9}"),
        // Every 64-bit number of nanoseconds lies within the years 1677 to 2262.
        Err(_) => time.to_string(),
    }
}
