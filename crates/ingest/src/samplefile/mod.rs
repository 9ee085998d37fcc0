//! Recorded samples in files: one row a time, one column a tag ("wide"), or one row a sample ("long").
//!
//! What cannot be used is told with its file and line, and the rest goes on: a row that is nonsense, has the wrong number
//! of fields, an unreadable time or one before the row above it is left out; a cell that is empty gives a sample of
//! quality *missing*, one that is not a number (a decimal comma among them) a sample of quality *bad*, both without a
//! value. A column that is not there at all is an error at the start.

mod csv;
mod parquet;

use std::path::{Path, PathBuf};

use sightglass_plant::{SampleFormat, SampleLayout};
use sightglass_protocol::{HealthState, Quality, Sample, TagId, TimeSource, UtcNanos};

use crate::IngestError;

/// Places of one file that are told one by one; the rest of them is counted and told at its end.
pub const TROUBLES_PER_FILE_MAX: usize = 20;

/// What to read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SampleFileSettings {
    /// The source's name, for people.
    pub(crate) origin: String,
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) format: SampleFormat,
    pub(crate) layout: SampleLayout,
    pub(crate) time_column: String,
    /// Which column (or in long files, which text of column `tag`) is which tag. Empty: every column but the time of
    /// wide files, numbered from 0.
    pub(crate) columns: Vec<(String, TagId)>,
    pub(crate) from: Option<UtcNanos>,
    pub(crate) to: Option<UtcNanos>,
}

/// What the reader found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reading {
    /// The samples of one row, all of one time.
    Row(UtcNanos, Vec<Sample>),
    /// Something to be told.
    Note(Note),
}

/// Something to be told about a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Note {
    pub(crate) time: UtcNanos,
    pub(crate) state: HealthState,
    pub(crate) reason: String,
}

/// One cell of a row.
enum Cell {
    Value(f64),
    /// Nothing was recorded at this time: no sample.
    Absent,
    /// A sample without a value, and why.
    Unusable(Quality, String),
    /// A sample whose quality the file itself says; the value is as it stands there.
    Recorded(f64, Quality),
}

/// One row of a file, before its time is checked against the rows above it.
struct RawRow {
    /// Counts from 1: the line of a text file, the row of others.
    number: u64,
    /// The time and the wanted cells, or why the row is left out.
    content: Result<(UtcNanos, Vec<(TagId, Cell)>), String>,
}

/// A file that gives its rows in order.
trait Rows: Send {
    /// The next row; an error is the end of the file.
    fn next_row(&mut self) -> Option<Result<RawRow, String>>;
    /// What a row is called ("line", "row").
    fn row_word(&self) -> &'static str;
}

/// Reads the files one after the other.
pub(crate) struct SampleFileReader {
    settings: SampleFileSettings,
    next_path: usize,
    file: Option<OpenFile>,
    last_time: Option<UtcNanos>,
    waiting: std::collections::VecDeque<Reading>,
    done: bool,
}

struct OpenFile {
    path: PathBuf,
    rows: Box<dyn Rows>,
    rows_used: u64,
    rows_left_out: u64,
    troubles: usize,
}

impl SampleFileReader {
    /// Checks that every file can be opened and has the wanted columns.
    pub(crate) fn open(settings: SampleFileSettings) -> Result<Self, IngestError> {
        if settings.paths.is_empty() {
            return Err(IngestError::SampleFile {
                origin: settings.origin,
                path: PathBuf::new(),
                reason: "no file is named".to_owned(),
            });
        }
        for path in &settings.paths {
            open_rows(&settings, path)?;
        }
        Ok(Self {
            settings,
            next_path: 0,
            file: None,
            last_time: None,
            waiting: std::collections::VecDeque::new(),
            done: false,
        })
    }

    /// The time of the first usable row, before any filter; `None` where there is none.
    pub(crate) fn first_time(settings: &SampleFileSettings) -> Result<Option<UtcNanos>, IngestError> {
        let unfiltered = SampleFileSettings { from: None, to: None, ..settings.clone() };
        let mut reader = Self::open(unfiltered)?;
        loop {
            match reader.next() {
                Some(Reading::Row(time, _)) => return Ok(Some(time)),
                Some(Reading::Note(_)) => {}
                None => return Ok(None),
            }
        }
    }

    fn read_row(&mut self) {
        let Some(file) = &mut self.file else { return };
        match file.rows.next_row() {
            None => self.close_file(None),
            Some(Err(reason)) => self.close_file(Some(reason)),
            Some(Ok(row)) => self.take_row(row),
        }
    }

    fn take_row(&mut self, row: RawRow) {
        let Some(file) = &mut self.file else { return };
        let known_time = self.last_time.unwrap_or(self.settings.from.unwrap_or(UtcNanos(0)));
        let (time, cells) = match row.content {
            Ok(content) => content,
            Err(reason) => {
                let text = format!("{reason}; the {} is left out", file.rows.row_word());
                file.rows_left_out += 1;
                self.waiting.extend(file.trouble(row.number, known_time, &text));
                return;
            }
        };
        if let Some(last) = self.last_time.filter(|last| time < *last) {
            let text = format!("the time {time} goes back before {last}; the {} is left out", file.rows.row_word());
            file.rows_left_out += 1;
            self.waiting.extend(file.trouble(row.number, last, &text));
            return;
        }
        self.last_time = Some(time);
        if self.settings.from.is_some_and(|from| time < from) {
            return;
        }
        if self.settings.to.is_some_and(|to| time > to) {
            self.file = None;
            self.done = true;
            return;
        }
        let mut samples = Vec::with_capacity(cells.len());
        let mut reasons = Vec::new();
        for (tag, cell) in cells {
            let (value, quality) = match cell {
                Cell::Absent => continue,
                Cell::Value(value) => (value, Quality::Good),
                Cell::Recorded(value, quality) => (value, quality),
                Cell::Unusable(quality, reason) => {
                    reasons.push(reason);
                    (f64::NAN, quality)
                }
            };
            samples.push(Sample { tag, time, value, quality, time_source: TimeSource::Payload });
        }
        file.rows_used += 1;
        if !reasons.is_empty() {
            self.waiting.extend(file.trouble(row.number, time, &reasons.join("; ")));
        }
        if !samples.is_empty() {
            self.waiting.push_back(Reading::Row(time, samples));
        }
    }

    fn close_file(&mut self, error: Option<String>) {
        let Some(file) = self.file.take() else { return };
        let time = self.last_time.unwrap_or(UtcNanos(0));
        let path = file.path.display();
        if file.troubles > TROUBLES_PER_FILE_MAX {
            let more = file.troubles - TROUBLES_PER_FILE_MAX;
            let word = file.rows.row_word();
            let reason = format!("{path}: {more} more {word}s with trouble; correct the file, or its source");
            self.waiting.push_back(Reading::Note(Note { time, state: HealthState::MaintenanceRequired, reason }));
        }
        let rows = file.rows_used;
        let (state, reason) = match error {
            Some(error) => {
                (HealthState::Failure, format!("{path}: reading stopped after {rows} rows: {error}; the rest is lost"))
            }
            None if rows == 0 && self.settings.from.is_none() && self.settings.to.is_none() => {
                (HealthState::Failure, format!("{path}: has no usable row; check the file's format and its times"))
            }
            None if file.rows_left_out > 0 => (
                HealthState::MaintenanceRequired,
                format!("{path}: read to its end, {rows} rows; {} more could not be used", file.rows_left_out),
            ),
            None => (HealthState::Good, format!("{path}: read to its end, {rows} rows")),
        };
        self.waiting.push_back(Reading::Note(Note { time, state, reason }));
    }
}

impl Iterator for SampleFileReader {
    type Item = Reading;

    fn next(&mut self) -> Option<Reading> {
        loop {
            if let Some(reading) = self.waiting.pop_front() {
                return Some(reading);
            }
            if self.file.is_some() {
                self.read_row();
                continue;
            }
            if self.done {
                return None;
            }
            let Some(path) = self.settings.paths.get(self.next_path).cloned() else {
                self.done = true;
                continue;
            };
            self.next_path += 1;
            match open_rows(&self.settings, &path) {
                Ok(rows) => self.file = Some(OpenFile { path, rows, rows_used: 0, rows_left_out: 0, troubles: 0 }),
                // It was there when the line started.
                Err(error) => self.waiting.push_back(Reading::Note(Note {
                    time: self.last_time.unwrap_or(UtcNanos(0)),
                    state: HealthState::Failure,
                    reason: error.to_string(),
                })),
            }
        }
    }
}

impl OpenFile {
    fn trouble(&mut self, number: u64, time: UtcNanos, reason: &str) -> Option<Reading> {
        self.troubles += 1;
        if self.troubles > TROUBLES_PER_FILE_MAX {
            return None;
        }
        let reason = format!("{}, {} {number}: {reason}", self.path.display(), self.rows.row_word());
        Some(Reading::Note(Note { time, state: HealthState::MaintenanceRequired, reason }))
    }
}

fn open_rows(settings: &SampleFileSettings, path: &Path) -> Result<Box<dyn Rows>, IngestError> {
    let rows: Result<Box<dyn Rows>, String> = match settings.format {
        SampleFormat::Csv { separator } => {
            csv::CsvRows::open(path, separator, settings).map(|rows| Box::new(rows) as Box<dyn Rows>)
        }
        SampleFormat::Parquet => parquet::ParquetRows::open(path, settings).map(|rows| Box::new(rows) as Box<dyn Rows>),
    };
    rows.map_err(|reason| IngestError::SampleFile { origin: settings.origin.clone(), path: path.to_owned(), reason })
}

/// Where the time and the wanted columns are among the `existing` ones.
enum Places {
    Wide {
        time: usize,
        /// Each column's place and tag.
        columns: Vec<(usize, TagId)>,
    },
    Long {
        time: usize,
        tag: usize,
        value: usize,
        quality: Option<usize>,
        /// What stands in column `tag` for each of the wanted tags.
        names: std::collections::HashMap<String, TagId>,
    },
}

/// The columns of a long file, beside its time.
const TAG_COLUMN: &str = "tag";
const VALUE_COLUMN: &str = "value";
const QUALITY_COLUMN: &str = "quality";

/// The quality of this word; *bad* for a word that is none.
fn quality_of(word: &str) -> Quality {
    Quality::ALL.into_iter().find(|quality| quality.word() == word.trim()).unwrap_or(Quality::Bad)
}

impl Places {
    fn find(settings: &SampleFileSettings, existing: &[String]) -> Result<Self, String> {
        match settings.layout {
            SampleLayout::Wide => Self::find_wide(settings, existing),
            SampleLayout::Long => Self::find_long(settings, existing),
        }
    }

    fn time(&self) -> usize {
        match self {
            Self::Wide { time, .. } | Self::Long { time, .. } => *time,
        }
    }

    fn find_long(settings: &SampleFileSettings, existing: &[String]) -> Result<Self, String> {
        let place = |name: &str| {
            existing.iter().position(|column| column == name).ok_or_else(|| {
                format!("no column '{name}', which layout = \"long\" needs; the file has {}", quoted(existing))
            })
        };
        Ok(Self::Long {
            time: place(&settings.time_column)?,
            tag: place(TAG_COLUMN)?,
            value: place(VALUE_COLUMN)?,
            quality: place(QUALITY_COLUMN).ok(),
            names: settings.columns.iter().cloned().collect(),
        })
    }

    fn find_wide(settings: &SampleFileSettings, existing: &[String]) -> Result<Self, String> {
        let place = |name: &str| existing.iter().position(|column| column == name);
        let mut missing = Vec::new();
        let time = place(&settings.time_column).unwrap_or_else(|| {
            missing.push(settings.time_column.clone());
            0
        });
        let mut columns = Vec::new();
        for (name, tag) in &settings.columns {
            match place(name) {
                Some(at) => columns.push((at, *tag)),
                None => missing.push(name.clone()),
            }
        }
        if !missing.is_empty() {
            let word = if missing.len() == 1 { "column" } else { "columns" };
            return Err(format!(
                "no {word} {}; the file has {}. Correct the tag's address, the time column or the separator",
                quoted(&missing),
                quoted(existing)
            ));
        }
        if settings.columns.is_empty() {
            let places = (0..existing.len()).filter(|at| *at != time);
            columns = places.enumerate().map(|(index, at)| (at, TagId::from_index(index))).collect();
        }
        Ok(Self::Wide { time, columns })
    }
}

/// Column names listed in one message.
const NAMES_LISTED_MAX: usize = 60;

fn quoted(names: &[String]) -> String {
    let mut listed: Vec<_> = names.iter().take(NAMES_LISTED_MAX).map(|name| format!("'{name}'")).collect();
    if names.len() > NAMES_LISTED_MAX {
        listed.push(format!("and {} more", names.len() - NAMES_LISTED_MAX));
    }
    listed.join(", ")
}
