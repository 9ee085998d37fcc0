//! Which days of which lines there are, and whether a day's samples have changed since it was last looked at.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use sightglass_protocol::UtcNanos;

use crate::{
    error::HistoryError,
    export::{DAY_NS, day::Key},
    open::History,
};

/// A day of a line that has samples, or lies between samples of one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDay {
    /// The line's name.
    pub line: String,
    /// The day, counted from 1970-01-01.
    pub day: i64,
    /// Changes with every sample of the day that comes or is corrected, and now and then without.
    pub fingerprint: String,
    /// Whether there are samples of any line around this day that are not merged yet.
    pub is_unmerged: bool,
}

impl StoredDay {
    /// Its first moment, and the first one after it.
    pub fn range(&self) -> (UtcNanos, UtcNanos) {
        let start = self.day.saturating_mul(DAY_NS);
        (UtcNanos(start), UtcNanos(start.saturating_add(DAY_NS)))
    }
}

impl History {
    /// Every day that has samples, oldest first. Reads the index of chunks, not the chunks.
    ///
    /// # Errors
    /// SQLite's own.
    pub async fn stored_days(&self) -> Result<Vec<StoredDay>, HistoryError> {
        let tags = self.exported_tags().await?;
        let mut snapshot = self.snapshot().await?;
        let chunks: Vec<(i64, i64, i64, i64, i64)> = sqlx::query_as(
            "SELECT tag, first_time, last_time, samples, id FROM chunk INDEXED BY chunk_place
             ORDER BY tag, first_time, last_time, samples, id",
        )
        .fetch_all(&mut *snapshot)
        .await
        .map_err(self.wrap())?;
        let corrections: Vec<(i64, i64, i64, i64, i64)> =
            sqlx::query_as("SELECT tag, first_time, last_time, samples, id FROM correction ORDER BY id")
                .fetch_all(&mut *snapshot)
                .await
                .map_err(self.wrap())?;
        let batches: Vec<(i64, i64, i64)> = sqlx::query_as("SELECT first_time, last_time, seq FROM sample_batch")
            .fetch_all(&mut *snapshot)
            .await
            .map_err(self.wrap())?;
        drop(snapshot);
        let mut days: BTreeMap<Key, Sha256> = BTreeMap::new();
        for (tag, first, last, samples, id) in chunks.into_iter().chain(corrections) {
            let Some(exported) = tags.get(&tag) else { continue };
            for day in first.div_euclid(DAY_NS)..=last.div_euclid(DAY_NS) {
                let hash = days.entry((exported.line.clone(), day)).or_default();
                for number in [tag, first, last, samples, id] {
                    hash.update(number.to_le_bytes());
                }
            }
        }
        let lines: std::collections::BTreeSet<&String> = tags.values().map(|tag| &tag.line).collect();
        let mut unmerged = std::collections::BTreeSet::new();
        for (first, last, seq) in batches {
            for day in first.div_euclid(DAY_NS)..=last.div_euclid(DAY_NS) {
                unmerged.insert(day);
                // A batch does not say whose samples it has without being read: all lines have to wait.
                for line in &lines {
                    days.entry(((*line).clone(), day)).or_default().update(seq.to_le_bytes());
                }
            }
        }
        let mut stored: Vec<StoredDay> = days
            .into_iter()
            .map(|((line, day), hash)| StoredDay {
                line,
                day,
                fingerprint: hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect(),
                is_unmerged: unmerged.contains(&day),
            })
            .collect();
        stored.sort_by(|a, b| (a.day, &a.line).cmp(&(b.day, &b.line)));
        Ok(stored)
    }

    /// The first moment whose samples retention has left; `None` where it has deleted nothing.
    ///
    /// # Errors
    /// SQLite's own.
    pub async fn samples_kept_from(&self) -> Result<Option<UtcNanos>, HistoryError> {
        let time: Option<i64> = sqlx::query_scalar("SELECT time FROM kept_from WHERE what = 'samples'")
            .fetch_optional(&self.inner.readers)
            .await
            .map_err(self.wrap())?;
        Ok(time.map(UtcNanos))
    }
}
