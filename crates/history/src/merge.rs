//! From batches (time-major, one a commit) to chunks and roll-ups (one a tag), in the background.
//!
//! Every step reads and computes outside of any write transaction and then replaces what it read in one short one. So a
//! step that is cut off anywhere has changed nothing, and a step that is done again finds nothing to do.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use sightglass_protocol::UtcNanos;
use sqlx::{QueryBuilder, Row as _, Sqlite, Transaction};

use crate::{
    chunk::{self, CHUNK_NS_FULL, CHUNK_SAMPLES_FULL, Row, median_interval, sort_and_join},
    codec::{LEVEL_CHUNK, row_crc},
    error::HistoryError,
    open::History,
    output::OUTPUT_TICKS_FULL,
    raw::{StoredChunk, blocking, decode_batch, json_list},
    rollup::{self, Cell, LEVELS, REDUCTION_MIN, bucket_ns, slot_ns, slot_range, sum_up},
    signals::{Decoded, collect},
    writer::Durability,
};

/// The most samples that one step takes from batches (unless a single batch has more): bounds memory and the length of
/// its transaction.
const STEP_SAMPLES_MAX: i64 = 1 << 19;
/// The most roll-up blocks that one step builds.
const STEP_BLOCKS_MAX: i64 = 64;
/// Rows of one INSERT, far below SQLite's limit of bound values.
const INSERT_ROWS_MAX: usize = 64;

/// What a merge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MergeStats {
    /// Batches that became chunks.
    pub batches: u64,
    /// Samples in them, repetitions within one step left out.
    pub samples: u64,
    /// Chunks written.
    pub chunks: u64,
    /// Roll-up blocks written.
    pub blocks: u64,
    /// Rows of predictions that were merged into longer ones.
    pub outputs: u64,
}

/// New chunks and the rows that they replace.
#[derive(Default)]
struct Plan {
    replaced: Vec<i64>,
    chunks: Vec<NewChunk>,
    /// Slots of level 0 that have new samples: tag, slot.
    slots: BTreeSet<(i64, i64)>,
}

struct NewChunk {
    tag: i64,
    first: i64,
    last: i64,
    samples: i64,
    interval_ns: i64,
    crc: i64,
    body: Vec<u8>,
}

impl NewChunk {
    fn new(tag: i64, rows: &[Row]) -> Self {
        let body = chunk::encode(rows, LEVEL_CHUNK);
        let (first, last, samples) = (rows[0].time, rows[rows.len() - 1].time, rows.len() as i64);
        let interval_ns = median_interval(rows);
        let crc = row_crc(&[tag, first, last, samples, interval_ns], &[&body]);
        Self { tag, first, last, samples, interval_ns, crc, body }
    }
}

/// New samples of one tag, and the chunk that they go on from or fall into.
struct Part {
    tag: i64,
    rows: Vec<Row>,
    into: Option<StoredChunk>,
}

impl History {
    /// Merges all batches wholly before `up_to` into chunks, builds the roll-ups that are complete by then, and merges
    /// predictions before it. Call it every minute or so; writers wait for no longer than one short transaction. Safe
    /// to repeat and to be cut off.
    ///
    /// # Errors
    /// [`HistoryError::DiskFull`], [`HistoryError::NotWritable`], or SQLite's own. A batch or chunk that does not pass
    /// its checksum is reported in the log and stays as it is, for `verify` to list; the others are merged.
    pub async fn merge(&self, up_to: UtcNanos) -> Result<MergeStats, HistoryError> {
        let _rewriting = self.inner.rewriting.lock().await;
        let mut stats = MergeStats::default();
        let mut damaged = BTreeSet::new();
        while self.merge_batches(up_to.0, &mut stats, &mut damaged).await? {}
        self.advance(up_to.0).await?;
        while self.build_blocks(&mut stats).await? {}
        stats.outputs = self.merge_outputs(up_to.0, OUTPUT_TICKS_FULL).await?;
        Ok(stats)
    }

    /// One step from batches to chunks; `false` when there is nothing left to do.
    async fn merge_batches(
        &self,
        up_to: i64,
        stats: &mut MergeStats,
        damaged: &mut BTreeSet<i64>,
    ) -> Result<bool, HistoryError> {
        let mut snapshot = self.snapshot().await?;
        let sizes: Vec<(i64, i64)> =
            sqlx::query_as("SELECT seq, samples FROM sample_batch WHERE last_time < ?1 ORDER BY seq")
                .bind(up_to)
                .fetch_all(&mut *snapshot)
                .await
                .map_err(self.wrap())?;
        let mut seqs = Vec::new();
        let mut samples = 0;
        for (seq, count) in sizes {
            if damaged.contains(&seq) {
                continue;
            }
            if !seqs.is_empty() && samples + count > STEP_SAMPLES_MAX {
                break;
            }
            seqs.push(seq);
            samples += count;
        }
        if seqs.is_empty() {
            return Ok(false);
        }
        let rows = sqlx::query(
            "SELECT seq, first_time, last_time, samples, crc, body FROM sample_batch
             WHERE seq IN (SELECT value FROM json_each(?1)) ORDER BY seq",
        )
        .bind(json_list(seqs.iter().copied()))
        .fetch_all(&mut *snapshot)
        .await
        .map_err(self.wrap())?;
        let (by_tag, unreadable) = blocking(move || {
            let mut by_tag: BTreeMap<i64, Vec<Row>> = BTreeMap::new();
            let mut unreadable = Vec::new();
            for row in &rows {
                match decode_batch(row) {
                    Ok((_, batch)) => {
                        for (tag, rows) in batch.groups() {
                            by_tag.entry(tag).or_default().extend_from_slice(rows);
                        }
                    }
                    Err(error) => {
                        tracing::error!(%error, "a batch cannot be merged and stays as it is");
                        unreadable.push(row.get::<i64, _>(0));
                    }
                }
            }
            by_tag.values_mut().for_each(sort_and_join);
            Ok((by_tag, unreadable))
        })
        .await?;
        seqs.retain(|seq| !unreadable.contains(seq));
        damaged.extend(unreadable);
        let rows_taken: u64 = by_tag.values().map(|rows| rows.len() as u64).sum();
        let mut parts = Vec::with_capacity(by_tag.len());
        for (tag, rows) in by_tag {
            place(&mut snapshot, tag, rows, &mut parts).await.map_err(self.wrap())?;
        }
        drop(snapshot);
        let plan = blocking(move || Ok(plan(parts))).await?;
        self.store(&seqs, plan, stats).await?;
        stats.batches += seqs.len() as u64;
        stats.samples += rows_taken;
        Ok(true)
    }

    async fn store(&self, seqs: &[i64], plan: Plan, stats: &mut MergeStats) -> Result<(), HistoryError> {
        stats.chunks += plan.chunks.len() as u64;
        let mut writing = self.writing("merging").await?;
        let mut transaction = writing.begin(Durability::Process).await?;
        store_plan(&mut transaction, seqs, plan).await.map_err(self.wrap())?;
        transaction.commit().await.map_err(self.wrap())?;
        let mut tail = self.tail();
        for &seq in seqs {
            tail.remove(seq);
        }
        drop(tail);
        drop(writing);
        Ok(())
    }

    /// Notes that everything before `up_to` is merged, but for what waits in a batch that reaches beyond it.
    async fn advance(&self, up_to: i64) -> Result<(), HistoryError> {
        let mut writing = self.writing("merging").await?;
        let mut transaction = writing.begin(Durability::Process).await?;
        sqlx::query(
            "UPDATE merge_progress SET merged_until = max(merged_until,
                 min(?1, coalesce((SELECT min(first_time) FROM sample_batch), ?1)))",
        )
        .bind(up_to)
        .execute(&mut *transaction)
        .await
        .map_err(self.wrap())?;
        transaction.commit().await.map_err(self.wrap())
    }

    /// One step of roll-ups: at most [`STEP_BLOCKS_MAX`] slots, lowest level first.
    async fn build_blocks(&self, stats: &mut MergeStats) -> Result<bool, HistoryError> {
        let mut snapshot = self.snapshot().await?;
        let due: Vec<(i64, i64, i64)> = sqlx::query_as(
            "SELECT level, tag, slot FROM rollup_due
             WHERE end_time < (SELECT merged_until FROM merge_progress)
               AND level = (SELECT min(level) FROM rollup_due
                            WHERE end_time < (SELECT merged_until FROM merge_progress))
             LIMIT ?1",
        )
        .bind(STEP_BLOCKS_MAX)
        .fetch_all(&mut *snapshot)
        .await
        .map_err(self.wrap())?;
        if due.is_empty() {
            return Ok(false);
        }
        let mut blocks = Vec::with_capacity(due.len());
        for &(level, tag, slot) in &due {
            let level = level as u32;
            let (from, to) = slot_range(level, slot);
            let below = level.checked_sub(1);
            let mut stored = collect(&mut snapshot, &[tag], below, from, to).await.map_err(self.wrap())?;
            let stored = stored.remove(&tag).unwrap_or_default();
            let block = blocking(move || {
                let Decoded { mut cells, rows, damaged } = stored.decode(from, to);
                if let Some(error) = damaged.first() {
                    // Without a block the readers look at what is left of the level below, and say so.
                    tracing::error!(%error, "a roll-up was not built");
                    return Ok(None);
                }
                cells.extend(rows.iter().map(Cell::of));
                cells.sort_by_key(|cell| cell.time);
                let buckets = sum_up(&cells, bucket_ns(level));
                let pays = cells.len() >= buckets.len() * REDUCTION_MIN;
                Ok(pays.then(|| rollup::encode(&buckets, level, slot)))
            })
            .await?;
            if let Some(body) = block {
                blocks.push((level, tag, slot, body));
            }
        }
        drop(snapshot);
        stats.blocks += blocks.len() as u64;
        let mut writing = self.writing("merging").await?;
        let mut transaction = writing.begin(Durability::Process).await?;
        store_blocks(&mut transaction, &due, &blocks).await.map_err(self.wrap())?;
        transaction.commit().await.map_err(self.wrap())?;
        Ok(true)
    }
}

/// Parts new rows of a tag by the chunk that each belongs to: the last one that starts at or before it.
async fn place(
    snapshot: &mut Transaction<'_, Sqlite>,
    tag: i64,
    rows: Vec<Row>,
    parts: &mut Vec<Part>,
) -> Result<(), sqlx::Error> {
    let mut rest = rows.as_slice();
    while let Some(head) = rest.first() {
        let stored = sqlx::query(
            "SELECT id, tag, first_time, last_time, samples, interval_ns, crc, body FROM chunk
             WHERE tag = ?1 AND first_time <= ?2 ORDER BY first_time DESC LIMIT 1",
        )
        .bind(tag)
        .bind(head.time)
        .fetch_optional(&mut **snapshot)
        .await?;
        let into = stored.as_ref().map(StoredChunk::from_row).transpose()?;
        let next: Option<i64> =
            sqlx::query_scalar("SELECT min(first_time) FROM chunk WHERE tag = ?1 AND first_time > ?2")
                .bind(tag)
                .bind(head.time)
                .fetch_one(&mut **snapshot)
                .await?;
        let end = next.map_or(rest.len(), |next| rest.partition_point(|row| row.time < next));
        let (here, later) = rest.split_at(end);
        // A full chunk is not written anew for what only comes after it.
        let into = into.filter(|into| {
            let is_full =
                into.samples as usize >= CHUNK_SAMPLES_FULL || head.time.saturating_sub(into.first) >= CHUNK_NS_FULL;
            into.last >= head.time || !is_full
        });
        parts.push(Part { tag, rows: here.to_vec(), into });
        rest = later;
    }
    Ok(())
}

fn plan(parts: Vec<Part>) -> Plan {
    let mut plan = Plan::default();
    for part in parts {
        for row in &part.rows {
            plan.slots.insert((part.tag, row.time.div_euclid(slot_ns(0))));
        }
        let into = part.into.and_then(|into| match into.decode() {
            Ok(rows) => Some((into.id, rows)),
            Err(error) => {
                // It can be read no more, so that a chunk beside it hides nothing.
                tracing::error!(%error, "a chunk cannot be continued and stays as it is");
                None
            }
        });
        let rows = match into {
            None => part.rows,
            Some((id, mut rows)) => {
                let before = rows.len();
                rows.extend(part.rows);
                sort_and_join(&mut rows);
                if rows.len() == before {
                    // Only repetitions of what is there.
                    continue;
                }
                plan.replaced.push(id);
                rows
            }
        };
        plan.chunks.extend(chunk::split(rows).iter().map(|rows| NewChunk::new(part.tag, rows)));
    }
    plan
}

async fn store_plan(transaction: &mut Transaction<'_, Sqlite>, seqs: &[i64], plan: Plan) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM chunk WHERE id IN (SELECT value FROM json_each(?1))")
        .bind(json_list(plan.replaced))
        .execute(&mut **transaction)
        .await?;
    for chunks in plan.chunks.chunks(INSERT_ROWS_MAX) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO chunk (tag, first_time, last_time, samples, interval_ns, crc, body) ",
        );
        insert.push_values(chunks, |mut row, chunk| {
            row.push_bind(chunk.tag)
                .push_bind(chunk.first)
                .push_bind(chunk.last)
                .push_bind(chunk.samples)
                .push_bind(chunk.interval_ns)
                .push_bind(chunk.crc)
                .push_bind(chunk.body.as_slice());
        });
        insert.build().execute(&mut **transaction).await?;
    }
    let merged_until: i64 =
        sqlx::query_scalar("SELECT merged_until FROM merge_progress").fetch_one(&mut **transaction).await?;
    let slots: Vec<(i64, i64)> = plan.slots.into_iter().collect();
    // What was summed up before these samples came is thrown away and built anew.
    for level in 0..LEVELS {
        let shrink = 10i64.pow(level);
        let late: BTreeSet<(i64, i64)> = slots
            .iter()
            .map(|&(tag, slot)| (tag, slot.div_euclid(shrink)))
            .filter(|&(_, slot)| slot_range(level, slot).1 < merged_until)
            .collect();
        for (tag, slot) in late {
            sqlx::query("DELETE FROM rollup WHERE tag = ?1 AND level = ?2 AND slot = ?3")
                .bind(tag)
                .bind(level)
                .bind(slot)
                .execute(&mut **transaction)
                .await?;
        }
    }
    let due: Vec<(i64, i64, i64)> = slots.into_iter().map(|(tag, slot)| (0, tag, slot)).collect();
    insert_due(transaction, &due).await?;
    sqlx::query("DELETE FROM sample_batch WHERE seq IN (SELECT value FROM json_each(?1))")
        .bind(json_list(seqs.iter().copied()))
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

async fn store_blocks(
    transaction: &mut Transaction<'_, Sqlite>,
    due: &[(i64, i64, i64)],
    blocks: &[(u32, i64, i64, Vec<u8>)],
) -> Result<(), sqlx::Error> {
    for (level, tag, slot, body) in blocks {
        sqlx::query(
            "INSERT INTO rollup (tag, level, slot, crc, body) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (tag, level, slot) DO UPDATE SET crc = excluded.crc, body = excluded.body",
        )
        .bind(tag)
        .bind(level)
        .bind(slot)
        .bind(row_crc(&[*tag, i64::from(*level), *slot], &[body]))
        .bind(body)
        .execute(&mut **transaction)
        .await?;
    }
    for &(level, tag, slot) in due {
        sqlx::query("DELETE FROM rollup_due WHERE level = ?1 AND end_time = ?2 AND tag = ?3 AND slot = ?4")
            .bind(level)
            .bind(slot_range(level as u32, slot).1)
            .bind(tag)
            .bind(slot)
            .execute(&mut **transaction)
            .await?;
    }
    let above: BTreeSet<(i64, i64, i64)> = due
        .iter()
        .filter(|&&(level, _, _)| level + 1 < i64::from(LEVELS))
        .map(|&(level, tag, slot)| (level + 1, tag, slot.div_euclid(10)))
        .collect();
    insert_due(transaction, &above.into_iter().collect::<Vec<_>>()).await
}

/// Level, tag, slot.
async fn insert_due(transaction: &mut Transaction<'_, Sqlite>, due: &[(i64, i64, i64)]) -> Result<(), sqlx::Error> {
    for due in due.chunks(INSERT_ROWS_MAX) {
        let mut insert = QueryBuilder::<Sqlite>::new("INSERT OR IGNORE INTO rollup_due (level, end_time, tag, slot) ");
        insert.push_values(due, |mut row, &(level, tag, slot)| {
            row.push_bind(level).push_bind(slot_range(level as u32, slot).1).push_bind(tag).push_bind(slot);
        });
        insert.build().execute(&mut **transaction).await?;
    }
    Ok(())
}
