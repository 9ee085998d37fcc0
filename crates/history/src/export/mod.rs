//! Out to other tools: Parquet, partitioned by plant, line and day, and wide tables.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
};

use polars::prelude::*;
use serde::Serialize;
use sightglass_protocol::{Sample, UtcNanos};

use crate::{
    chunk::Row,
    error::HistoryError,
    frames::{frame_error, time_column},
    open::History,
    raw::blocking,
    steps::checked,
};

const DAY_NS: i64 = 86_400_000_000_000;
/// Rows that are gathered before a file is written: bounds memory.
const PART_ROWS: usize = 1 << 20;

/// What an export wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExportStats {
    /// Samples.
    pub samples: u64,
    /// Files.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

/// A tag's names in an export.
struct Exported {
    line: String,
    name: String,
}

impl History {
    /// Writes every sample from `from` to `to` (both within), of all tags that the file ever had, below `out` as
    /// `plant=P/line=L/date=YYYY-MM-DD/part-N.parquet` (zstd): columns `tag`, `time` (UTC nanoseconds), `value` (null
    /// where the source gave none), `quality` (in words), sorted by tag and time. Parts of an earlier export are
    /// replaced file by file; a file is complete or absent. A tag that had another unit before is `name [unit]` there.
    ///
    /// # Errors
    /// [`HistoryError::Damaged`], [`HistoryError::DiskFull`], [`HistoryError::Io`], SQLite's own.
    pub async fn export_parquet(&self, from: UtcNanos, to: UtcNanos, out: &Path) -> Result<ExportStats, HistoryError> {
        checked(from, to)?;
        let tags = self.exported_tags().await?;
        let plant = out.join(format!("plant={}", partition(&self.inner.plant.name)));
        let mut parts =
            Parts { plant, tags, waiting: BTreeMap::new(), numbers: HashMap::new(), stats: ExportStats::default() };
        let mut pages = self.pages(parts.tags.keys().copied().collect(), from, to);
        while let Some(page) = pages.next_rows().await? {
            parts = blocking(move || {
                parts.add(page)?;
                Ok(parts)
            })
            .await?;
        }
        blocking(move || {
            parts.write_all()?;
            Ok(parts.stats)
        })
        .await
    }

    async fn exported_tags(&self) -> Result<BTreeMap<i64, Exported>, HistoryError> {
        let rows: Vec<(i64, String, String, String)> = sqlx::query_as(
            "SELECT tag.id, line.name, tag.name, tag.unit FROM tag JOIN line ON line.id = tag.line ORDER BY tag.id",
        )
        .fetch_all(&self.inner.readers)
        .await
        .map_err(self.wrap())?;
        let tags = rows.into_iter().map(|(id, line, name, unit)| {
            // A series that is today's is exported under its plain name.
            let is_former = !self.inner.ids.tags().contains(&id)
                && self
                    .inner
                    .plant
                    .tags
                    .iter()
                    .any(|tag| tag.name == name && self.inner.plant.lines[tag.line.index()].name == line);
            let name = if is_former { format!("{name} [{unit}]") } else { name };
            (id, Exported { line, name })
        });
        Ok(tags.collect())
    }
}

/// A name as a partition's value: everything that file systems or query engines could trip over is percent-encoded.
fn partition(name: &str) -> String {
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

/// The samples of one partition (line, day), by tag, that wait to be written.
type Waiting = BTreeMap<i64, Vec<Row>>;

struct Parts {
    plant: PathBuf,
    tags: BTreeMap<i64, Exported>,
    waiting: BTreeMap<(String, i64), Waiting>,
    numbers: HashMap<(String, i64), u32>,
    stats: ExportStats,
}

impl Parts {
    /// Takes a page; writes days that are full or, since pages come in time order, over.
    fn add(&mut self, page: Vec<(i64, Vec<Row>)>) -> Result<(), HistoryError> {
        let mut days = BTreeSet::new();
        for (tag, rows) in page {
            let Some(exported) = self.tags.get(&tag) else { continue };
            for rows in rows.chunk_by(|a, b| a.time.div_euclid(DAY_NS) == b.time.div_euclid(DAY_NS)) {
                let day = rows[0].time.div_euclid(DAY_NS);
                days.insert(day);
                let part = self.waiting.entry((exported.line.clone(), day)).or_default();
                part.entry(tag).or_default().extend_from_slice(rows);
            }
        }
        let newest = days.last().copied().unwrap_or(i64::MIN);
        let ready: Vec<_> = self
            .waiting
            .iter()
            .filter(|((_, day), part)| *day < newest || part.values().map(Vec::len).sum::<usize>() >= PART_ROWS)
            .map(|(key, _)| key.clone())
            .collect();
        ready.into_iter().try_for_each(|key| self.write(key))
    }

    fn write_all(&mut self) -> Result<(), HistoryError> {
        let keys: Vec<_> = self.waiting.keys().cloned().collect();
        keys.into_iter().try_for_each(|key| self.write(key))
    }

    fn write(&mut self, key: (String, i64)) -> Result<(), HistoryError> {
        let Some(part) = self.waiting.remove(&key) else { return Ok(()) };
        let (line, day) = &key;
        let folder = self.plant.join(format!("line={}", partition(line))).join(format!("date={}", date(*day)));
        fs::create_dir_all(&folder).map_err(|source| HistoryError::io("make", &folder, source))?;
        let number = self.numbers.entry(key.clone()).or_insert(0);
        let path = folder.join(format!("part-{number:04}.parquet"));
        *number += 1;
        let mut table = table(&part, &self.tags).map_err(frame_error("make a table of samples"))?;
        self.stats.samples += table.height() as u64;
        self.stats.files += 1;
        self.stats.bytes += write_parquet(&path, &mut table)?;
        Ok(())
    }
}

/// The day (since the epoch) as a date.
fn date(day: i64) -> String {
    // 19,723 days to either side of the epoch at most: within the calendar.
    let first = jiff::civil::date(1970, 1, 1);
    match first.checked_add(jiff::Span::new().days(day)) {
        Ok(date) => date.to_string(),
        Err(_) => format!("day{day}"),
    }
}

fn table(part: &Waiting, tags: &BTreeMap<i64, Exported>) -> PolarsResult<DataFrame> {
    let (mut names, mut times, mut values, mut qualities) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut sorted: Vec<(&str, &Vec<Row>)> =
        part.iter().filter_map(|(tag, rows)| Some((tags.get(tag)?.name.as_str(), rows))).collect();
    sorted.sort_by_key(|(name, _)| *name);
    for (name, rows) in sorted {
        names.resize(names.len() + rows.len(), name);
        times.extend(rows.iter().map(|row| row.time));
        values.extend(rows.iter().map(|row| (!row.value.is_nan()).then_some(row.value)));
        qualities.extend(rows.iter().map(|row| row.quality().word()));
    }
    DataFrame::new_infer_height(vec![
        Column::new("tag".into(), names),
        time_column(times)?,
        Column::new("value".into(), values),
        Column::new("quality".into(), qualities),
    ])
}

/// Writes a table to a file beside `path` and then gives it its name: whole or not at all. Returns its bytes.
fn write_parquet(path: &Path, table: &mut DataFrame) -> Result<u64, HistoryError> {
    let partial = path.with_extension("parquet.partial");
    let file = File::create(&partial).map_err(|source| HistoryError::io("make", &partial, source))?;
    let bytes = ParquetWriter::new(BufWriter::new(&file))
        .with_compression(ParquetCompression::Zstd(None))
        .finish(table)
        .map_err(|source| HistoryError::Frame { action: format!("write {}", path.display()), source })?;
    file.sync_all().map_err(|source| HistoryError::io("write", &partial, source))?;
    fs::rename(&partial, path).map_err(|source| HistoryError::io("name", path, source))?;
    Ok(bytes)
}

/// Writes samples as a wide table: one row a time (sorted), column `time` (UTC nanoseconds), then one `f64` column a tag
/// of `tag_names` (in order; `samples[..].tag` is its position), null where that tag has no usable value at that time.
/// zstd. The file appears under its name only when it is complete. Blocks: call it off the async threads.
///
/// # Errors
/// A tag beyond `tag_names`, a name twice, [`HistoryError::DiskFull`], [`HistoryError::Io`].
pub fn write_wide_parquet(path: &Path, tag_names: &[String], samples: &[Sample]) -> Result<ExportStats, HistoryError> {
    let times: BTreeSet<i64> = samples.iter().map(|sample| sample.time.0).collect();
    let times: Vec<i64> = times.into_iter().collect();
    let mut columns = vec![vec![None::<f64>; times.len()]; tag_names.len()];
    for sample in samples {
        let column =
            columns.get_mut(sample.tag.index()).ok_or(HistoryError::Unknown { what: "tag", id: sample.tag.0 })?;
        if let (Ok(row), true) = (times.binary_search(&sample.time.0), sample.quality.is_usable())
            && !sample.value.is_nan()
        {
            column[row] = Some(sample.value);
        }
    }
    let rows = times.len();
    let mut table = vec![time_column(times).map_err(frame_error("make a table of samples"))?];
    table.extend(tag_names.iter().zip(columns).map(|(name, values)| Column::new(name.as_str().into(), values)));
    let mut table = DataFrame::new(rows, table).map_err(frame_error("make a table of samples"))?;
    let bytes = write_parquet(path, &mut table)?;
    Ok(ExportStats { samples: samples.len() as u64, files: 1, bytes })
}
