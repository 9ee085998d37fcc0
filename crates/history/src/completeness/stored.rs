//! Reading for a certificate: what is stored about samples first, samples themselves where that leaves a question.

use std::sync::Arc;

use sightglass_protocol::{Quality, TagId};
use sqlx::{Sqlite, Transaction};

use super::{Evidence, is_by_exception};
use crate::{
    batch::Batch,
    chunk::{CHUNK_SAMPLES_FULL, Row},
    error::HistoryError,
    fields,
    open::History,
    raw::{StoredChunk, blocking, json_list},
    rollup::{Cell, LEVELS, bucket_ns, slot_ns, slot_range},
    signals::StoredBlock,
    verify::Problem,
};

/// A tag with every series that it ever had.
pub(super) struct Series {
    pub(super) line: String,
    pub(super) name: String,
    /// Today's first.
    pub(super) units: Vec<String>,
    /// The file's ids, in the order of `units`.
    pub(super) file_tags: Vec<i64>,
    pub(super) by_exception: bool,
    pub(super) tick_ns: i64,
}

impl Series {
    pub(super) async fn of(
        history: &History,
        snapshot: &mut Transaction<'_, Sqlite>,
        tag: TagId,
    ) -> Result<Self, HistoryError> {
        let file_tag = history.file_tag(tag)?;
        let info = &history.inner.plant.tags[tag.index()];
        let line = &history.inner.plant.lines[info.line.index()];
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "SELECT id, unit FROM tag WHERE line = ?1 AND name = ?2 ORDER BY id = ?3 DESC, version DESC",
        )
        .bind(history.file_line(info.line)?)
        .bind(&info.name)
        .bind(file_tag)
        .fetch_all(&mut **snapshot)
        .await
        .map_err(history.wrap())?;
        let (file_tags, units) = rows.into_iter().unzip();
        Ok(Self {
            line: line.name.clone(),
            name: info.name.clone(),
            units,
            file_tags,
            by_exception: is_by_exception(info.role),
            tick_ns: line.tick_ns.max(1),
        })
    }
}

/// What a chunk's row says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) tag: i64,
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) samples: i64,
    pub(super) interval: i64,
}

/// What roll-ups say of the quality of a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looks {
    /// Every sample is usable.
    Good,
    /// None is; the worst quality.
    Bad(Quality),
    /// Some are, or nothing is known.
    Unclear,
}

/// Buckets of one series, sorted, and how long each is.
#[derive(Default)]
pub(super) struct Buckets(Vec<(Cell, i64)>);

impl Buckets {
    /// What is known of the samples from `first` to `last` (both within), when `interval` lies between them. A bucket
    /// with far fewer samples than that is unclear, too: something else in the chunk made up for a hole.
    pub(super) fn look(&self, first: i64, last: i64, interval: i64) -> Looks {
        let start = self.0.partition_point(|(cell, length)| cell.time.saturating_add(length - 1) < first);
        let mut reached = first;
        let (mut good, mut count, mut worst) = (0u64, 0u64, Quality::Good);
        for (cell, length) in &self.0[start..] {
            if cell.time > last {
                break;
            }
            if cell.time > reached {
                return Looks::Unclear;
            }
            let end = cell.time.saturating_add(*length);
            let is_within = first <= cell.time && end <= last;
            let due = length / interval.max(1);
            if is_within && i64::from(cell.count) + super::GAP_PERIODS < due - due / 1000 {
                return Looks::Unclear;
            }
            good += u64::from(cell.good);
            count += u64::from(cell.count);
            worst = worst.max(cell.worst);
            reached = end;
        }
        if reached <= last || count == 0 {
            Looks::Unclear
        } else if good == count {
            Looks::Good
        } else if good == 0 {
            Looks::Bad(worst)
        } else {
            Looks::Unclear
        }
    }
}

/// What a certificate reads from, and what it has read.
pub(super) struct Stock {
    snapshot: Transaction<'static, Sqlite>,
    batches: Vec<Arc<Batch>>,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) evidence: Evidence,
}

impl Stock {
    /// `batches` are those with anything before `to`.
    pub(super) fn new(
        snapshot: Transaction<'static, Sqlite>,
        batches: Vec<Result<Arc<Batch>, HistoryError>>,
        from: i64,
        to: i64,
        evidence: Evidence,
    ) -> Self {
        let mut stock = Self { snapshot, batches: Vec::with_capacity(batches.len()), from, to, evidence };
        for batch in batches {
            match batch {
                Ok(batch) => {
                    stock.evidence.decoded += 1;
                    stock.evidence.samples_decoded += batch.len() as u64;
                    stock.batches.push(batch);
                }
                Err(error) => stock.damaged(error),
            }
        }
        stock
    }

    fn damaged(&mut self, error: HistoryError) {
        let problem = match error {
            HistoryError::Damaged { place, reason } => Problem::new(place, reason),
            other => Problem::new("history", other.to_string()),
        };
        self.evidence.damaged.push(problem);
    }

    /// Samples before `to` that are not merged yet, sorted.
    pub(super) fn unmerged(&self, series: &Series) -> Vec<Row> {
        let mut rows: Vec<Row> = series
            .file_tags
            .iter()
            .flat_map(|&tag| self.batches.iter().flat_map(move |batch| batch.rows(tag)))
            .filter(|row| row.time < self.to)
            .copied()
            .collect();
        crate::chunk::sort_and_join(&mut rows);
        rows
    }

    /// What the rows of all chunks with any part in the range say, sorted by their beginning; one row a series, since a
    /// month of many tags has hundreds of thousands of chunks.
    pub(super) async fn heads(&mut self, history: &History, series: &Series) -> Result<Vec<Head>, HistoryError> {
        let mut heads = Vec::new();
        for &tag in &series.file_tags {
            let text: Option<String> = sqlx::query_scalar(
                "SELECT group_concat(first_time || ' ' || last_time || ' ' || samples || ' ' || interval_ns, ';')
                 FROM chunk WHERE tag = ?1 AND last_time >= ?2 AND first_time BETWEEN
                     coalesce((SELECT max(first_time) FROM chunk WHERE tag = ?1 AND first_time <= ?2), ?2) AND ?3",
            )
            .bind(tag)
            .bind(self.from)
            .bind(self.to - 1)
            .fetch_one(&mut *self.snapshot)
            .await
            .map_err(history.wrap())?;
            for part in text.as_deref().unwrap_or_default().split(';').filter(|part| !part.is_empty()) {
                let mut numbers = part.split(' ').map(str::parse::<i64>);
                let mut next = || numbers.next().and_then(Result::ok);
                if let (Some(first), Some(last), Some(samples), Some(interval)) = (next(), next(), next(), next()) {
                    heads.push(Head { tag, first, last, samples, interval });
                }
            }
        }
        heads.sort_by_key(|head| head.first);
        Ok(heads)
    }

    /// The newest chunk that begins before the range, for a value that holds into it.
    pub(super) async fn head_before(
        &mut self,
        history: &History,
        series: &Series,
    ) -> Result<Option<Head>, HistoryError> {
        let head: Option<(i64, i64, i64, i64, i64)> = sqlx::query_as(
            "SELECT tag, first_time, last_time, samples, interval_ns FROM chunk
             WHERE tag IN (SELECT value FROM json_each(?1)) AND first_time < ?2 ORDER BY last_time DESC LIMIT 1",
        )
        .bind(json_list(series.file_tags.iter().copied()))
        .bind(self.from)
        .fetch_optional(&mut *self.snapshot)
        .await
        .map_err(history.wrap())?;
        Ok(head.map(|(tag, first, last, samples, interval)| Head { tag, first, last, samples, interval }))
    }

    /// The usual interval of the tag near the range, where the range itself does not tell: that of the last chunk that
    /// begins before its end, or of the first one after it.
    pub(super) async fn interval_near(
        &mut self,
        history: &History,
        series: &Series,
    ) -> Result<Option<i64>, HistoryError> {
        for sql in [
            "SELECT interval_ns FROM chunk WHERE tag = ?1 AND first_time < ?2 AND interval_ns > 0
             ORDER BY first_time DESC LIMIT 1",
            "SELECT interval_ns FROM chunk WHERE tag = ?1 AND first_time >= ?2 AND interval_ns > 0
             ORDER BY first_time LIMIT 1",
        ] {
            for &tag in &series.file_tags {
                let interval: Option<i64> = sqlx::query_scalar(sql)
                    .bind(tag)
                    .bind(self.to)
                    .fetch_optional(&mut *self.snapshot)
                    .await
                    .map_err(history.wrap())?;
                if interval.is_some() {
                    return Ok(interval);
                }
            }
        }
        Ok(None)
    }

    /// The samples of a chunk; `None` where it is damaged, which is noted.
    pub(super) async fn decode(&mut self, history: &History, head: &Head) -> Result<Option<Vec<Row>>, HistoryError> {
        let row = sqlx::query(
            "SELECT id, tag, first_time, last_time, samples, interval_ns, crc, body FROM chunk
             WHERE tag = ?1 AND first_time = ?2 AND last_time = ?3 AND samples = ?4",
        )
        .bind(head.tag)
        .bind(head.first)
        .bind(head.last)
        .bind(head.samples)
        .fetch_one(&mut *self.snapshot)
        .await
        .map_err(history.wrap())?;
        let chunk = StoredChunk::from_row(&row).map_err(history.wrap())?;
        self.evidence.decoded += 1;
        match blocking(move || chunk.decode()).await {
            Ok(rows) => {
                self.evidence.samples_decoded += rows.len() as u64;
                Ok(Some(rows))
            }
            Err(error @ HistoryError::Damaged { .. }) => {
                self.damaged(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// What roll-ups say of one series over the range, in buckets no longer than a usual chunk of `interval`; where there
    /// is none, nothing. A damaged one is noted and left out.
    pub(super) async fn buckets(
        &mut self,
        history: &History,
        tag: i64,
        interval: i64,
    ) -> Result<Buckets, HistoryError> {
        let chunk_ns = interval.saturating_mul(CHUNK_SAMPLES_FULL as i64);
        let Some(level) = (0..LEVELS).rev().find(|&level| bucket_ns(level) <= chunk_ns) else {
            return Ok(Buckets::default());
        };
        let mut parts = vec![(self.from, self.to - 1)];
        let mut buckets: Vec<(Cell, i64)> = Vec::new();
        for level in (0..=level).rev() {
            let mut left = Vec::new();
            for (from, to) in parts {
                let rows = sqlx::query(
                    "SELECT id, slot, crc, body FROM rollup WHERE tag = ?1 AND level = ?2 AND slot BETWEEN ?3 AND ?4 ORDER BY slot",
                )
                .bind(tag)
                .bind(level)
                .bind(from.div_euclid(slot_ns(level)))
                .bind(to.div_euclid(slot_ns(level)))
                .fetch_all(&mut *self.snapshot)
                .await
                .map_err(history.wrap())?;
                let mut reached = from;
                for row in rows {
                    let block = fields::read("rollup", &row, |row| {
                        let (slot, crc) = (row.int(1)?, row.int(2)?);
                        Ok(StoredBlock { tag, level, slot, crc, body: row.blob(3)?.to_vec() })
                    })?;
                    let (first, last) = slot_range(level, block.slot);
                    if first > reached {
                        left.push((reached, first - 1));
                    }
                    reached = last.saturating_add(1);
                    self.evidence.blocks += 1;
                    match block.decode() {
                        Ok(cells) => buckets.extend(
                            cells
                                .into_iter()
                                .filter(|cell| cell.time <= to && cell.time.saturating_add(bucket_ns(level)) > from)
                                .map(|cell| (cell, bucket_ns(level))),
                        ),
                        Err(error) => self.damaged(error),
                    }
                }
                if reached <= to {
                    left.push((reached, to));
                }
            }
            parts = left;
        }
        buckets.sort_by_key(|(cell, _)| cell.time);
        buckets.dedup_by_key(|(cell, length)| (cell.time, *length));
        Ok(Buckets(buckets))
    }
}

/// The end of the chain of events.
pub(super) async fn journal_head(snapshot: &mut Transaction<'_, Sqlite>) -> Result<Evidence, sqlx::Error> {
    let (seq, hash): (i64, Vec<u8>) =
        sqlx::query_as("SELECT seq, hash FROM journal_head").fetch_one(&mut **snapshot).await?;
    let journal_hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Evidence { journal_seq: seq as u64, journal_hash, ..Evidence::default() })
}
