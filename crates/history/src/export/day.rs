//! Days of an export: rows wait by line and day until their day is over, and its files get their names together.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

use crate::{
    chunk::Row,
    error::HistoryError,
    export::{ExportFormat, ExportStats, Exported, file},
};

/// Nanoseconds of a day.
pub const DAY_NS: i64 = 86_400_000_000_000;
/// Rows that wait, of all lines and days together, before a file is written: bounds memory (24 bytes a row, and about
/// five times that while they are made a table).
const WAITING_ROWS_MAX: usize = 1 << 20;
/// Ends the names of files that are not finished.
const PARTIAL: &str = "partial";

/// A name as a partition's value: everything that file systems or query engines could trip over is percent-encoded.
pub fn partition(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            text.push(byte as char);
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// A day (counted from 1970-01-01) as a date, as it stands in a partition's name.
pub fn date(day: i64) -> String {
    // All of nanosecond time is within 107,000 days of the epoch, and so within the calendar.
    match jiff::civil::date(1970, 1, 1).checked_add(jiff::Span::new().days(day.clamp(-200_000, 200_000))) {
        Ok(date) => date.to_string(),
        Err(_) => format!("day{day}"),
    }
}

/// A line's name and a day.
pub(super) type Key = (String, i64);
/// The rows of one line and day, by tag, that wait to be written.
pub(super) type Waiting = BTreeMap<i64, Vec<Row>>;

/// What an export has under way.
pub(super) struct Days {
    plant: PathBuf,
    format: ExportFormat,
    tags: BTreeMap<i64, Exported>,
    waiting: BTreeMap<Key, Waiting>,
    waiting_rows: usize,
    /// The files of days that are not over, each with its size, under names that are not yet final.
    begun: BTreeMap<Key, Vec<(PathBuf, u64)>>,
    stats: ExportStats,
}

impl Days {
    pub(super) fn new(out: &Path, plant: &str, format: ExportFormat, tags: BTreeMap<i64, Exported>) -> Self {
        Self {
            plant: out.join(format!("plant={}", partition(plant))),
            format,
            tags,
            waiting: BTreeMap::new(),
            waiting_rows: 0,
            begun: BTreeMap::new(),
            stats: ExportStats::default(),
        }
    }

    /// Samples in files so far.
    pub(super) fn samples(&self) -> u64 {
        self.stats.samples
    }

    /// Takes a page. Pages come in time order, so that days before a page's last are over.
    pub(super) fn add(&mut self, page: Vec<(i64, Vec<Row>)>) -> Result<(), HistoryError> {
        let mut newest = i64::MIN;
        for (tag, rows) in page {
            let Some(exported) = self.tags.get(&tag) else { continue };
            for rows in rows.chunk_by(|a, b| a.time.div_euclid(DAY_NS) == b.time.div_euclid(DAY_NS)) {
                let day = rows[0].time.div_euclid(DAY_NS);
                newest = newest.max(day);
                let waiting = self.waiting.entry((exported.line.clone(), day)).or_default();
                waiting.entry(tag).or_default().extend_from_slice(rows);
                self.waiting_rows += rows.len();
            }
        }
        let over: Vec<Key> =
            self.waiting.keys().chain(self.begun.keys()).filter(|(_, day)| *day < newest).cloned().collect();
        for key in over {
            self.finish_day(&key)?;
        }
        while self.waiting_rows >= WAITING_ROWS_MAX {
            let rows = |waiting: &Waiting| waiting.values().map(Vec::len).sum::<usize>();
            let Some(largest) = self.waiting.iter().max_by_key(|(_, waiting)| rows(waiting)) else { break };
            let key = largest.0.clone();
            self.write(&key)?;
        }
        Ok(())
    }

    /// Finishes every day.
    pub(super) fn finish(mut self) -> Result<ExportStats, HistoryError> {
        let keys: Vec<Key> = self.waiting.keys().chain(self.begun.keys()).cloned().collect();
        for key in keys {
            self.finish_day(&key)?;
        }
        Ok(self.stats)
    }

    fn folder(&self, (line, day): &Key) -> PathBuf {
        self.plant.join(format!("line={}", partition(line))).join(format!("date={}", date(*day)))
    }

    /// Writes what waits of a line and day as one more file.
    fn write(&mut self, key: &Key) -> Result<(), HistoryError> {
        let Some(waiting) = self.waiting.remove(key) else { return Ok(()) };
        let folder = self.folder(key);
        fs::create_dir_all(&folder).map_err(|source| HistoryError::target("make the folder", &folder, source))?;
        let files = self.begun.entry(key.clone()).or_default();
        let path = folder.join(format!("part-{:04}.{}.{PARTIAL}", files.len(), self.format.ending()));
        // Known before it is begun, so that it is removed also when it cannot be finished.
        files.push((path.clone(), 0));
        let rows: usize = waiting.values().map(Vec::len).sum();
        let bytes = file::write(&path, self.format, &waiting, &self.tags)?;
        if let Some(file) = files.last_mut() {
            file.1 = bytes;
        }
        self.waiting_rows -= rows;
        self.stats.samples += rows as u64;
        Ok(())
    }

    /// Gives the files of a line and day their names, and removes those that an earlier export left beyond them.
    fn finish_day(&mut self, key: &Key) -> Result<(), HistoryError> {
        self.write(key)?;
        let folder = self.folder(key);
        let Some(files) = self.begun.get_mut(key) else { return Ok(()) };
        let count = files.len();
        // Taken out one by one, so that those which do not get a name are removed.
        while let Some((partial, bytes)) = files.last().cloned() {
            let path = partial.with_extension("");
            fs::rename(&partial, &path).map_err(|source| HistoryError::target("name", &path, source))?;
            files.pop();
            self.stats.files += 1;
            self.stats.bytes += bytes;
        }
        self.begun.remove(key);
        for number in count.. {
            let stale = folder.join(format!("part-{number:04}.{}", self.format.ending()));
            match fs::remove_file(&stale) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
                Err(source) => return Err(HistoryError::target("remove", &stale, source)),
            }
        }
        // The names, too, survive a power cut; where a folder cannot be opened as a file there is no such call.
        if cfg!(unix) {
            let synced = File::open(&folder).and_then(|folder| folder.sync_all());
            synced.map_err(|source| HistoryError::target("write", &folder, source))?;
        }
        Ok(())
    }
}

impl Drop for Days {
    fn drop(&mut self) {
        for (path, _) in self.begun.values().flatten() {
            match fs::remove_file(path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(path = %path.display(), "an unfinished file cannot be removed: {error}"),
            }
        }
    }
}
