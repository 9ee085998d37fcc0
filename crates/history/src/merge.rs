//! From batches (time-major, one a commit) to chunks and roll-ups (one a tag), in the background.
//!
//! Every step reads and computes outside of any write transaction and then replaces what it read in one short one. So a
//! step that is cut off anywhere has changed nothing, and a step that is done again finds nothing to do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use serde::Serialize;
use sightglass_protocol::UtcNanos;
use sqlx::{FromRow, QueryBuilder, Row as _, Sqlite, Transaction, sqlite::SqliteRow};

use crate::{
    batch::Batch,
    chunk::{self, CHUNK_NS_FULL, CHUNK_SAMPLES_FULL, Row, median_interval, sort_and_join},
    codec::{LEVEL_CHUNK, row_crc},
    correction,
    error::HistoryError,
    open::History,
    output::OUTPUT_TICKS_FULL,
    raw::{StoredChunk, blocking, decode_batch, json_list},
    rollup::{LEVELS, level_for, slot_ns, slot_range},
    writer::{BATCH_SAMPLES_MAX, Durability},
};

/// The most samples that one step takes from batches (unless a single batch has more): bounds memory and the length of
/// its transaction.
const STEP_SAMPLES_MAX: i64 = 1 << 20;
/// The most stored samples that one step writes anew since new ones fall into their chunks; the tags beyond it wait in
/// their batches for the next step.
const STEP_REWRITE_SAMPLES_MAX: i64 = 4 << 20;
/// Small chunks are joined only while a step has written less than this anew.
const STEP_JOIN_SAMPLES_MAX: i64 = 2 << 20;
/// Stored samples whose encoded chunks are in memory at once.
const GROUP_SAMPLES_MAX: i64 = 1 << 19;
/// The most neighbours that are joined at once: each is at least as large as all later ones together, so that this many
/// make up far more than a full chunk.
const NEIGHBOURS_MAX: i64 = 16;
/// Rows of one INSERT, far below SQLite's limit of bound values.
const INSERT_ROWS_MAX: usize = 64;

/// What a merge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MergeStats {
    /// Batches that became chunks.
    pub batches: u64,
    /// Samples in them.
    pub samples: u64,
    /// Chunks written.
    pub chunks: u64,
    /// Samples in those chunks: how often a sample is written on average is this by `samples`.
    pub samples_written: u64,
    /// Former values that later ones of the same time replaced.
    pub corrections: u64,
    /// Roll-up blocks written.
    pub blocks: u64,
    /// Rows of predictions that were merged into longer ones.
    pub outputs: u64,
    /// The longest time for which a commit had to wait, in microseconds.
    pub locked_us_max: u64,
}

/// New chunks and the rows that they replace.
#[derive(Default)]
pub(crate) struct Plan {
    replaced: Vec<i64>,
    pub(crate) chunks: Vec<NewChunk>,
    /// Slots of level 0 that have new samples: tag, slot.
    slots: BTreeSet<(i64, i64)>,
    /// Slots to be built: level, tag, slot. The lowest level at which a block pays for the tag's usual interval.
    due: BTreeSet<(i64, i64, i64)>,
    /// Former values by tag.
    corrections: Vec<(i64, Vec<Row>)>,
}

pub(crate) struct NewChunk {
    tag: i64,
    first: i64,
    last: i64,
    pub(crate) samples: i64,
    interval_ns: i64,
    crc: i64,
    pub(crate) body: Vec<u8>,
}

impl NewChunk {
    pub(crate) fn new(tag: i64, rows: &[Row]) -> Self {
        let body = chunk::encode(rows, LEVEL_CHUNK);
        let (first, last, samples) = (rows[0].time, rows[rows.len() - 1].time, rows.len() as i64);
        let interval_ns = median_interval(rows);
        let crc = row_crc(&[tag, first, last, samples, interval_ns], &[&body]);
        Self { tag, first, last, samples, interval_ns, crc, body }
    }
}

/// New samples of one tag, and the chunks that they fall into or go on from, oldest first.
struct Part {
    tag: i64,
    rows: Vec<Row>,
    into: Vec<Place>,
}

/// A chunk, without its body.
#[derive(Clone, Copy)]
struct Place {
    id: i64,
    first_time: i64,
    last_time: i64,
    samples: i64,
}

impl FromRow<'_, SqliteRow> for Place {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get(0)?,
            first_time: row.try_get(1)?,
            last_time: row.try_get(2)?,
            samples: row.try_get(3)?,
        })
    }
}

impl Place {
    fn is_full(&self, time: i64) -> bool {
        self.samples as usize >= CHUNK_SAMPLES_FULL || time.saturating_sub(self.first_time) >= CHUNK_NS_FULL
    }
}

/// What one step takes from batches.
struct Taken {
    seqs: Vec<i64>,
    batches: Vec<Arc<Batch>>,
}

impl Taken {
    fn tags(&self) -> BTreeSet<i64> {
        self.batches.iter().flat_map(|batch| batch.groups().map(|(tag, _)| tag)).collect()
    }

    /// The rows of `tag`, in the order of arrival.
    fn rows(&self, tag: i64) -> Vec<Row> {
        let parts: Vec<&[Row]> = self.batches.iter().map(|batch| batch.rows(tag)).collect();
        parts.concat()
    }
}

impl History {
    /// Merges all batches wholly before `up_to` (and those committed before them) into chunks, builds the roll-ups that are complete by then, and merges
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
        let Some(taken) = self.take_batches(&mut snapshot, up_to, damaged).await? else { return Ok(false) };
        let mut plan = Plan::default();
        let (mut group, mut grouped, mut rewritten) = (Vec::new(), 0, 0);
        let mut waiting = BTreeSet::new();
        let mut samples = 0;
        for tag in taken.tags() {
            if rewritten > STEP_REWRITE_SAMPLES_MAX {
                waiting.insert(tag);
                continue;
            }
            let mut rows = taken.rows(tag);
            samples += rows.len() as u64;
            // Stable: rows of one time keep the order in which they arrived.
            rows.sort_by_key(|row| row.time);
            let joins = rewritten < STEP_JOIN_SAMPLES_MAX;
            for part in place(&mut snapshot, tag, &rows, joins).await.map_err(self.wrap())? {
                let stored: i64 = part.into.iter().map(|place| place.samples).sum();
                rewritten += stored;
                grouped += stored + part.rows.len() as i64;
                group.push(part);
            }
            if grouped > GROUP_SAMPLES_MAX {
                plan = self.plan(&mut snapshot, std::mem::take(&mut group), plan).await?;
                grouped = 0;
            }
        }
        plan = self.plan(&mut snapshot, group, plan).await?;
        drop(snapshot);
        let rest = blocking(move || {
            let rest: Vec<(i64, Row)> =
                waiting.iter().flat_map(|&tag| taken.rows(tag).into_iter().map(move |row| (tag, row))).collect();
            Ok((taken.seqs, taken.batches.len(), rest))
        });
        let (seqs, count, rest) = rest.await?;
        self.store(&seqs, plan, rest, stats).await?;
        stats.batches += count as u64;
        stats.samples += samples;
        Ok(true)
    }

    /// The oldest batches up to the last one wholly before `up_to`, as many as a step may have; `None` when there is none
    /// that can be read. In the order of their commits without exception, so that the last value of a time is the last
    /// that came.
    async fn take_batches(
        &self,
        snapshot: &mut Transaction<'_, Sqlite>,
        up_to: i64,
        damaged: &mut BTreeSet<i64>,
    ) -> Result<Option<Taken>, HistoryError> {
        let sizes: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT seq, samples FROM sample_batch WHERE seq <=
                 (SELECT max(seq) FROM sample_batch WHERE last_time < ?1) ORDER BY seq",
        )
        .bind(up_to)
        .fetch_all(&mut **snapshot)
        .await
        .map_err(self.wrap())?;
        let mut taken = Taken { seqs: Vec::new(), batches: Vec::new() };
        let mut samples = 0;
        for (seq, count) in sizes {
            if damaged.contains(&seq) {
                continue;
            }
            if !taken.seqs.is_empty() && samples + count > STEP_SAMPLES_MAX {
                break;
            }
            match self.batch(snapshot, seq).await? {
                Ok(batch) => {
                    samples += count;
                    taken.seqs.push(seq);
                    taken.batches.push(batch);
                }
                Err(error) => {
                    tracing::error!(%error, "a batch cannot be merged and stays as it is");
                    damaged.insert(seq);
                }
            }
        }
        Ok((!taken.seqs.is_empty()).then_some(taken))
    }

    /// A batch, from memory or from the file; inside, the error of one that is damaged.
    async fn batch(
        &self,
        snapshot: &mut Transaction<'_, Sqlite>,
        seq: i64,
    ) -> Result<Result<Arc<Batch>, HistoryError>, HistoryError> {
        if let Some(batch) = self.tail().get(seq) {
            return Ok(Ok(batch));
        }
        let row = sqlx::query("SELECT seq, first_time, last_time, samples, crc, body FROM sample_batch WHERE seq = ?1")
            .bind(seq)
            .fetch_one(&mut **snapshot)
            .await
            .map_err(self.wrap())?;
        blocking(move || Ok(decode_batch(&row).map(|(_, batch)| Arc::new(batch)))).await
    }

    /// Reads the chunks that `parts` go into and adds what becomes of them to `plan`.
    async fn plan(
        &self,
        snapshot: &mut Transaction<'_, Sqlite>,
        parts: Vec<Part>,
        mut plan: Plan,
    ) -> Result<Plan, HistoryError> {
        let mut stored: BTreeMap<i64, StoredChunk> = BTreeMap::new();
        let ids = parts.iter().flat_map(|part| part.into.iter().map(|place| place.id));
        let rows = sqlx::query(
            "SELECT id, tag, first_time, last_time, samples, interval_ns, crc, body FROM chunk
             WHERE id IN (SELECT value FROM json_each(?1))",
        )
        .bind(json_list(ids))
        .fetch_all(&mut **snapshot)
        .await
        .map_err(self.wrap())?;
        for row in &rows {
            let chunk = StoredChunk::from_row(row).map_err(self.wrap())?;
            stored.insert(chunk.id, chunk);
        }
        blocking(move || {
            for part in parts {
                plan.add(part, &stored);
            }
            Ok(plan)
        })
        .await
    }

    /// Writes what a step made, in one transaction, and takes its batches away; `rest` is what of them has to wait.
    async fn store(
        &self,
        seqs: &[i64],
        plan: Plan,
        rest: Vec<(i64, Row)>,
        stats: &mut MergeStats,
    ) -> Result<(), HistoryError> {
        stats.chunks += plan.chunks.len() as u64;
        stats.samples_written += plan.chunks.iter().map(|chunk| chunk.samples as u64).sum::<u64>();
        stats.corrections += plan.corrections.iter().map(|(_, rows)| rows.len() as u64).sum::<u64>();
        let bytes = plan.chunks.iter().map(|chunk| chunk.body.len()).sum();
        // The newest of the batches taken carry on: later ones stay later. There are enough, since each had no more.
        let rest = blocking(move || {
            Ok(rest.chunks(BATCH_SAMPLES_MAX).map(|part| Batch::new(part.to_vec())).collect::<Vec<_>>())
        });
        let rest = rest.await?;
        let (done, kept) = seqs.split_at(seqs.len() - rest.len().min(seqs.len()));
        let durability = if plan.corrections.is_empty() { Durability::Process } else { Durability::Power };
        let mut writing = self.writing("merging").await?;
        let locked = Instant::now();
        let mut transaction = writing.begin(durability).await?;
        let wrap = self.wrap();
        let removed: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(samples), 0) FROM sample_batch WHERE seq IN (SELECT value FROM json_each(?1))",
        )
        .bind(json_list(seqs.iter().copied()))
        .fetch_one(&mut *transaction)
        .await
        .map_err(&wrap)?;
        store_plan(&mut transaction, plan).await.map_err(&wrap)?;
        sqlx::query("DELETE FROM sample_batch WHERE seq IN (SELECT value FROM json_each(?1))")
            .bind(json_list(done.iter().copied()))
            .execute(&mut *transaction)
            .await
            .map_err(&wrap)?;
        let mut remaining = 0;
        for (&seq, batch) in kept.iter().zip(&rest) {
            let Some((first, last)) = batch.range() else { continue };
            let body = batch.encode();
            remaining += batch.len() as i64;
            sqlx::query(
                "UPDATE sample_batch SET first_time = ?2, last_time = ?3, samples = ?4, crc = ?5, body = ?6
                 WHERE seq = ?1",
            )
            .bind(seq)
            .bind(first)
            .bind(last)
            .bind(batch.len() as i64)
            .bind(row_crc(&[first, last, batch.len() as i64], &[&body]))
            .bind(&body)
            .execute(&mut *transaction)
            .await
            .map_err(&wrap)?;
        }
        transaction.commit().await.map_err(&wrap)?;
        if let Some(writer) = &self.inner.writer {
            writer.merged(removed - remaining);
        }
        let mut tail = self.tail();
        for &seq in seqs {
            tail.remove(seq);
        }
        drop(tail);
        drop(writing);
        stats.locked_us_max = stats.locked_us_max.max(locked.elapsed().as_micros() as u64);
        self.logged(bytes);
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
}

/// Parts new rows of a tag (sorted) by the chunk that each belongs to: the last one that starts at or before it. With
/// `joins`, small chunks that the newest rows go on from are taken in as well.
async fn place(
    snapshot: &mut Transaction<'_, Sqlite>,
    tag: i64,
    rows: &[Row],
    joins: bool,
) -> Result<Vec<Part>, sqlx::Error> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(Vec::new()) };
    // Those that rows may fall into, and before them, newest first, those that may be joined.
    let within: Vec<Place> = sqlx::query_as(
        "SELECT id, first_time, last_time, samples FROM chunk WHERE tag = ?1 AND first_time <= ?3 AND first_time >=
             coalesce((SELECT max(first_time) FROM chunk WHERE tag = ?1 AND first_time <= ?2), ?2) ORDER BY first_time",
    )
    .bind(tag)
    .bind(first.time)
    .bind(last.time)
    .fetch_all(&mut **snapshot)
    .await?;
    let is_newest: bool =
        sqlx::query_scalar("SELECT NOT EXISTS (SELECT 1 FROM chunk WHERE tag = ?1 AND first_time > ?2)")
            .bind(tag)
            .bind(last.time)
            .fetch_one(&mut **snapshot)
            .await?;
    let mut parts = Vec::with_capacity(1);
    let mut rest = rows;
    let mut places = within.iter().peekable();
    if places.peek().is_some_and(|place| place.first_time > first.time) {
        let (before, after) = rest.split_at(rest.partition_point(|row| row.time < within[0].first_time));
        parts.push(Part { tag, rows: before.to_vec(), into: Vec::new() });
        rest = after;
    }
    while let Some(place) = places.next() {
        let end = places.peek().map_or(rest.len(), |next| rest.partition_point(|row| row.time < next.first_time));
        let (here, after) = rest.split_at(end);
        rest = after;
        let Some(head) = here.first() else { continue };
        // A chunk is written anew for what falls into it. What comes after all chunks begins one of its own, and the
        // small ones are joined below.
        let is_last = after.is_empty() && is_newest;
        let falls_into = place.last_time >= head.time || (!is_last && !place.is_full(head.time));
        let into = if falls_into { vec![*place] } else { Vec::new() };
        parts.push(Part { tag, rows: here.to_vec(), into });
    }
    if !rest.is_empty() {
        parts.push(Part { tag, rows: rest.to_vec(), into: Vec::new() });
    }
    if is_newest && joins {
        // No further back than to where earlier ones of these rows go.
        let after = parts.iter().rev().nth(1).and_then(|part| part.rows.last()).map_or(i64::MIN, |row| row.time);
        if let Some(newest) = parts.last_mut() {
            join_neighbours(snapshot, newest, after).await?;
        }
    }
    Ok(parts)
}

/// Takes in the chunks before the newest rows while each is no larger than what has come together after it: every
/// sample is then written anew as often as a chunk can be doubled, however few come at a time. Only chunks that begin
/// later than `after`.
async fn join_neighbours(
    snapshot: &mut Transaction<'_, Sqlite>,
    newest: &mut Part,
    after: i64,
) -> Result<(), sqlx::Error> {
    let Some(head) = newest.rows.first() else { return Ok(()) };
    let before = newest.into.first().map_or(head.time, |place| place.first_time.min(head.time));
    let neighbours: Vec<Place> = sqlx::query_as(
        "SELECT id, first_time, last_time, samples FROM chunk WHERE tag = ?1 AND first_time < ?2
         ORDER BY first_time DESC LIMIT ?3",
    )
    .bind(newest.tag)
    .bind(before)
    .bind(NEIGHBOURS_MAX)
    .fetch_all(&mut **snapshot)
    .await?;
    let mut together = newest.rows.len() as i64 + newest.into.iter().map(|place| place.samples).sum::<i64>();
    for neighbour in neighbours {
        if neighbour.samples > together || neighbour.is_full(head.time) || neighbour.first_time <= after {
            break;
        }
        together += neighbour.samples;
        newest.into.insert(0, neighbour);
    }
    Ok(())
}

impl Plan {
    fn add(&mut self, part: Part, stored: &BTreeMap<i64, StoredChunk>) {
        let mut slots = part.rows.iter().map(|row| row.time.div_euclid(slot_ns(0))).collect::<Vec<_>>();
        slots.dedup();
        let mut rows = Vec::new();
        let mut replaced = Vec::new();
        for place in &part.into {
            match stored.get(&place.id).map(StoredChunk::decode) {
                Some(Ok(stored)) => {
                    rows.extend(stored);
                    replaced.push(place.id);
                }
                Some(Err(error)) => {
                    // It can be read no more, so that a chunk beside it hides nothing.
                    tracing::error!(%error, "a chunk cannot be continued and stays as it is");
                }
                None => {}
            }
        }
        let before = rows.len();
        rows.extend(part.rows);
        let corrected = sort_and_join(&mut rows);
        if rows.len() == before && corrected.is_empty() {
            // Only repetitions of what is there.
            return;
        }
        if !corrected.is_empty() {
            self.corrections.push((part.tag, corrected));
        }
        let level = level_for(median_interval(&rows));
        let shrink = 10i64.pow(level);
        self.due.extend(slots.iter().map(|slot| (i64::from(level), part.tag, slot.div_euclid(shrink))));
        self.slots.extend(slots.into_iter().map(|slot| (part.tag, slot)));
        self.replaced.extend(replaced);
        self.chunks.extend(chunk::split(&rows).map(|rows| NewChunk::new(part.tag, rows)));
    }

    /// Chunks of samples (sorted by time) that lie where there are none yet.
    pub(crate) fn of_new(tag: i64, rows: Vec<Row>) -> Self {
        let mut plan = Self::default();
        plan.add(Part { tag, rows, into: Vec::new() }, &BTreeMap::new());
        plan
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.replaced.extend(other.replaced);
        self.chunks.extend(other.chunks);
        self.slots.extend(other.slots);
        self.due.extend(other.due);
        self.corrections.extend(other.corrections);
    }

    /// Whether it has chunks of `tag`.
    pub(crate) fn has(&self, tag: i64) -> bool {
        self.chunks.iter().any(|chunk| chunk.tag == tag)
    }
}

pub(crate) async fn store_plan(transaction: &mut Transaction<'_, Sqlite>, plan: Plan) -> Result<(), sqlx::Error> {
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
    // What was summed up before these samples came is thrown away and built anew.
    for level in 0..LEVELS {
        let shrink = 10i64.pow(level);
        let late: BTreeSet<(i64, i64)> = plan
            .slots
            .iter()
            .map(|&(tag, slot)| (tag, slot.div_euclid(shrink)))
            .filter(|&(_, slot)| slot_range(level, slot).1 < merged_until)
            .collect();
        let late: Vec<(i64, i64)> = late.into_iter().collect();
        for run in late.chunk_by(|a, b| a.0 == b.0 && a.1 + 1 == b.1) {
            sqlx::query("DELETE FROM rollup WHERE tag = ?1 AND level = ?2 AND slot BETWEEN ?3 AND ?4")
                .bind(run[0].0)
                .bind(level)
                .bind(run[0].1)
                .bind(run[run.len() - 1].1)
                .execute(&mut **transaction)
                .await?;
        }
    }
    insert_due(transaction, &plan.due.into_iter().collect::<Vec<_>>()).await?;
    for (tag, rows) in plan.corrections {
        correction::store(transaction, tag, &rows).await?;
    }
    Ok(())
}

/// Level, tag, slot.
pub(crate) async fn insert_due(
    transaction: &mut Transaction<'_, Sqlite>,
    due: &[(i64, i64, i64)],
) -> Result<(), sqlx::Error> {
    for due in due.chunks(INSERT_ROWS_MAX) {
        let mut insert = QueryBuilder::<Sqlite>::new("INSERT OR IGNORE INTO rollup_due (level, end_time, tag, slot) ");
        insert.push_values(due, |mut row, &(level, tag, slot)| {
            row.push_bind(level).push_bind(slot_range(level as u32, slot).1).push_bind(tag).push_bind(slot);
        });
        insert.build().execute(&mut **transaction).await?;
    }
    Ok(())
}
