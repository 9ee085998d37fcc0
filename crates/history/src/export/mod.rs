//! Out to other tools: samples as files, partitioned by plant, line and day, and wide tables.
//!
//! A day's files appear under their names when the whole day is written, and replace those that an earlier export left
//! there. What an export that failed had begun is removed.

mod day;
mod file;
mod run;
mod stored_days;
mod wide;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::Serialize;
use sightglass_protocol::UtcNanos;

pub use day::{DAY_NS, date, partition};
pub use stored_days::StoredDay;
pub use wide::write_wide_parquet;

use crate::{
    error::HistoryError,
    export::day::Days,
    open::History,
    raw::{blocking, json_list},
    steps::checked,
};

/// The format of exported files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExportFormat {
    /// Parquet with zstd: `tag` text, `time` a timestamp of UTC nanoseconds, `value` a double (null where there is no
    /// number), `quality` text.
    #[default]
    Parquet,
    /// CSV with one header line: times in RFC 3339 with nine decimals, an empty value where there is no number.
    Csv,
}

impl ExportFormat {
    /// The ending of its files' names.
    pub const fn ending(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
        }
    }
}

/// What to export.
#[derive(Clone, Debug)]
pub struct ExportRequest {
    /// The earliest sample.
    pub from: UtcNanos,
    /// The latest sample, itself included.
    pub to: UtcNanos,
    /// Only tags of these names; all that the file ever had when absent.
    pub tags: Option<Vec<String>>,
    /// Only this line.
    pub line: Option<String>,
    /// As what.
    pub format: ExportFormat,
}

impl ExportRequest {
    /// Everything from `from` to `to` (both within) as Parquet.
    pub fn range(from: UtcNanos, to: UtcNanos) -> Self {
        Self { from, to, tags: None, line: None, format: ExportFormat::Parquet }
    }
}

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
#[derive(Clone, Debug)]
pub(crate) struct Exported {
    pub(crate) line: String,
    pub(crate) name: String,
}

impl History {
    /// Writes every sample of the request below `out` as `plant=P/line=L/date=YYYY-MM-DD/part-N.parquet` (or `.csv`):
    /// columns `tag`, `time`, `value`, `quality` (in words), each file sorted by tag and time. A day in `out` is then
    /// what this export says of it, in whole files. A tag that had another unit before is `name [unit]` there.
    /// `progress` is told now and then how many samples are written.
    ///
    /// # Errors
    /// A tag or line that the file does not have, [`HistoryError::Damaged`], [`HistoryError::TargetFull`],
    /// [`HistoryError::Io`], SQLite's own. Days that were finished before are whole and stay.
    pub async fn export(
        &self,
        request: &ExportRequest,
        out: &Path,
        mut progress: impl FnMut(u64),
    ) -> Result<ExportStats, HistoryError> {
        let tags = self.wanted(request).await?;
        let mut pages = self.pages(tags.keys().copied().collect(), request.from, request.to);
        let mut days = Days::new(out, &self.inner.plant.name, request.format, tags);
        while let Some(page) = pages.next_rows().await? {
            days = blocking(move || {
                days.add(page)?;
                Ok(days)
            })
            .await?;
            progress(days.samples());
        }
        blocking(move || days.finish()).await
    }

    /// How many samples an export of the request has, about: chunks that the range cuts count as a whole.
    ///
    /// # Errors
    /// As [`History::export`].
    pub async fn export_samples_about(&self, request: &ExportRequest) -> Result<u64, HistoryError> {
        let tags = self.wanted(request).await?;
        let count: i64 = sqlx::query_scalar(
            "SELECT (SELECT coalesce(sum(samples), 0) FROM chunk WHERE tag IN (SELECT value FROM json_each(?1))
                     AND last_time >= ?2 AND first_time <= ?3)
                 + (SELECT coalesce(sum(samples), 0) FROM sample_batch WHERE last_time >= ?2 AND first_time <= ?3)",
        )
        .bind(json_list(tags.keys().copied()))
        .bind(request.from.0)
        .bind(request.to.0)
        .fetch_one(&self.inner.readers)
        .await
        .map_err(self.wrap())?;
        Ok(count as u64)
    }

    /// The tags of a request by the file's ids.
    async fn wanted(&self, request: &ExportRequest) -> Result<BTreeMap<i64, Exported>, HistoryError> {
        checked(request.from, request.to)?;
        let mut tags = self.exported_tags().await?;
        if let Some(line) = &request.line {
            let lines: BTreeSet<String> = tags.values().map(|tag| tag.line.clone()).collect();
            tags.retain(|_, tag| tag.line == *line);
            if tags.is_empty() {
                return Err(HistoryError::BadQuery {
                    what: format!("there is no line '{line}' with a tag; there are {}", listed(lines.iter())),
                });
            }
        }
        if let Some(names) = &request.tags {
            let known: BTreeSet<String> = tags.values().map(|tag| tag.name.clone()).collect();
            let unknown: Vec<&String> = names.iter().filter(|name| !known.contains(*name)).collect();
            if !unknown.is_empty() {
                return Err(HistoryError::BadQuery {
                    what: format!(
                        "there is no tag {}; there are {}",
                        listed(unknown.into_iter()),
                        listed(known.iter())
                    ),
                });
            }
            tags.retain(|_, tag| names.contains(&tag.name));
        }
        Ok(tags)
    }

    /// Every tag that the file ever had, under the name that an export gives it.
    pub(crate) async fn exported_tags(&self) -> Result<BTreeMap<i64, Exported>, HistoryError> {
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

/// Names that a message lists, at most.
const NAMES_LISTED_MAX: usize = 40;

fn listed<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    let more = names.len().saturating_sub(NAMES_LISTED_MAX);
    let mut listed: Vec<String> = names.take(NAMES_LISTED_MAX).map(|name| format!("'{name}'")).collect();
    if more > 0 {
        listed.push(format!("and {more} more"));
    }
    listed.join(", ")
}
