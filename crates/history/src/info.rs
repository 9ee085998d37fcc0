//! What a history holds, in detail: for people who look after it.

use std::collections::BTreeMap;

use serde::Serialize;
use sightglass_protocol::UtcNanos;
use sqlx::{Sqlite, Transaction};

use crate::{
    batch::Batch, error::HistoryError, fields, open::History, space::table_bytes, summary::Summary,
    verify::database_bytes, video,
};

/// What a history holds.
#[derive(Clone, Debug, Serialize)]
pub struct Info {
    /// The plant's name.
    pub plant: String,
    /// The file's schema.
    pub schema: i64,
    /// Whether a newer Sightglass wrote it.
    pub is_newer: bool,
    /// Sums.
    pub summary: Summary,
    /// What is stored of each tag (and unit).
    pub series: Vec<Series>,
    /// Bytes by table, its indexes included, largest first.
    pub tables: Vec<TableBytes>,
    /// Bytes of the database without its log.
    pub database_bytes: u64,
    /// Bytes in pages that hold nothing; `sightglass history compact` gives them back.
    pub free_bytes: u64,
    /// Segments of video that are gone or never were closed.
    pub segments_gone: u64,
    /// The last entry of events and audit.
    pub journal_seq: i64,
    /// Its hash, in hexadecimal digits.
    pub journal_hash: String,
    /// Runs of writers.
    pub sessions: Sessions,
    /// What retention has taken: nothing of each kind before this moment is kept.
    pub kept_from: BTreeMap<String, UtcNanos>,
}

/// What is stored of one tag in one unit.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    /// Its line.
    pub line: String,
    /// Its name.
    pub tag: String,
    /// Its unit.
    pub unit: String,
    /// Samples.
    pub samples: u64,
    /// Of them, in chunks; the others are not merged yet.
    pub samples_merged: u64,
    /// The first sample's time.
    pub first: Option<UtcNanos>,
    /// The last sample's time.
    pub last: Option<UtcNanos>,
    /// Bytes of its chunks.
    pub chunk_bytes: u64,
    /// Of its chunks, a sample; `None` before the first merge.
    pub bytes_per_sample: Option<f64>,
}

/// Bytes of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableBytes {
    /// Its name.
    pub table: String,
    /// Bytes of its pages and those of its indexes.
    pub bytes: u64,
}

/// How runs of writers ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sessions {
    /// By themselves.
    pub clean: u64,
    /// Killed, or by a power cut.
    pub died: u64,
    /// Not yet, or not noticed yet.
    pub open: u64,
}

impl History {
    /// What the history holds in detail. Reads every page once.
    ///
    /// # Errors
    /// SQLite's own.
    pub async fn info(&self) -> Result<Info, HistoryError> {
        let summary = self.summary().await?;
        let mut snapshot = self.snapshot().await?;
        let series = self.series(&mut snapshot).await?;
        let wrap = self.wrap();
        let tables = table_bytes(&mut snapshot).await.map_err(&wrap)?;
        let page: i64 = sqlx::query_scalar("PRAGMA page_size").fetch_one(&mut *snapshot).await.map_err(&wrap)?;
        let free: i64 = sqlx::query_scalar("PRAGMA freelist_count").fetch_one(&mut *snapshot).await.map_err(&wrap)?;
        let gone: i64 = sqlx::query_scalar("SELECT count(*) FROM clip WHERE state = ?1")
            .bind(video::GONE)
            .fetch_one(&mut *snapshot)
            .await
            .map_err(&wrap)?;
        let (journal_seq, journal_hash) = sqlx::query_as("SELECT seq, lower(hex(hash)) FROM journal_head")
            .fetch_one(&mut *snapshot)
            .await
            .map_err(&wrap)?;
        let ends: Vec<(i64, i64)> = sqlx::query_as("SELECT clean, count(*) FROM session GROUP BY clean")
            .fetch_all(&mut *snapshot)
            .await
            .map_err(&wrap)?;
        let ended = |how: i64| ends.iter().find(|end| end.0 == how).map_or(0, |end| end.1 as u64);
        let kept: Vec<(String, i64)> = if self.schema() >= 2 {
            sqlx::query_as("SELECT what, time FROM kept_from").fetch_all(&mut *snapshot).await.map_err(&wrap)?
        } else {
            Vec::new()
        };
        let database_bytes = database_bytes(&mut snapshot).await;
        Ok(Info {
            plant: self.plant().name.clone(),
            schema: self.schema(),
            is_newer: self.is_newer(),
            summary,
            series,
            tables: tables.into_iter().map(|(table, bytes)| TableBytes { table, bytes: bytes as u64 }).collect(),
            database_bytes,
            free_bytes: (free * page) as u64,
            segments_gone: gone as u64,
            journal_seq,
            journal_hash,
            sessions: Sessions { clean: ended(1), died: ended(2), open: ended(0) },
            kept_from: kept.into_iter().map(|(what, time)| (what, UtcNanos(time))).collect(),
        })
    }

    async fn series(&self, snapshot: &mut Transaction<'_, Sqlite>) -> Result<Vec<Series>, HistoryError> {
        type Stored = (i64, String, String, String, i64, i64, Option<i64>, Option<i64>);
        let stored: Vec<Stored> = sqlx::query_as(
            "SELECT tag.id, line.name, tag.name, tag.unit, coalesce(sum(chunk.samples), 0),
                    coalesce(sum(length(chunk.body)), 0), min(chunk.first_time), max(chunk.last_time)
             FROM tag JOIN line ON line.id = tag.line LEFT JOIN chunk ON chunk.tag = tag.id
             GROUP BY tag.id ORDER BY tag.id",
        )
        .fetch_all(&mut **snapshot)
        .await
        .map_err(self.wrap())?;
        let mut unmerged: BTreeMap<i64, (u64, i64, i64)> = BTreeMap::new();
        let mut after = i64::MIN;
        // One at a time: there may be many when nothing was merged for long.
        while let Some(row) = sqlx::query("SELECT seq, body FROM sample_batch WHERE seq > ?1 ORDER BY seq LIMIT 1")
            .bind(after)
            .fetch_optional(&mut **snapshot)
            .await
            .map_err(self.wrap())?
        {
            let batch = fields::read("sample_batch", &row, |row| {
                after = row.int(0)?;
                Batch::decode(row.blob(1)?).map_err(|error| error.to_string())
            })?;
            for (tag, rows) in batch.groups() {
                let sums = unmerged.entry(tag).or_insert((0, i64::MAX, i64::MIN));
                sums.0 += rows.len() as u64;
                sums.1 = rows.iter().map(|row| row.time).fold(sums.1, i64::min);
                sums.2 = rows.iter().map(|row| row.time).fold(sums.2, i64::max);
            }
        }
        let series = stored.into_iter().map(|(id, line, tag, unit, samples, bytes, first, last)| {
            let (samples, bytes) = (samples as u64, bytes as u64);
            let waiting = unmerged.get(&id);
            let earlier = waiting.map(|waiting| waiting.1);
            let later = waiting.map(|waiting| waiting.2);
            Series {
                line,
                tag,
                unit,
                samples: samples + waiting.map_or(0, |waiting| waiting.0),
                samples_merged: samples,
                first: first.into_iter().chain(earlier).min().map(UtcNanos),
                last: last.into_iter().chain(later).max().map(UtcNanos),
                chunk_bytes: bytes,
                bytes_per_sample: (samples > 0).then(|| bytes as f64 / samples as f64),
            }
        });
        Ok(series.collect())
    }
}
