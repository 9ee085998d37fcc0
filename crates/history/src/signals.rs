//! A question at any zoom: at most two points a pixel, from roll-ups, chunks and unmerged batches alike.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use sightglass_protocol::{
    Role, TagId, UtcNanos,
    message::{Point, Signal},
};
use sqlx::{Row as _, Sqlite, Transaction};

use crate::{
    batch::Batch,
    chunk::{Row, median_interval, sort_and_join},
    codec::row_crc,
    error::HistoryError,
    open::History,
    raw::{StoredChunk, blocking, chunks, json_list},
    rollup::{self, Cell, GAP_PERIODS, LEVELS, bucket_ns, cells_of, slot_ns, slot_range, sum_up},
    steps::{checked, step, whole},
};

/// More stored samples than this are summed up chunk by chunk instead of being laid side by side first: bounds memory.
const ROWS_MAX: i64 = 1 << 18;

/// A row of table `rollup`.
#[derive(Debug)]
pub(crate) struct StoredBlock {
    pub(crate) tag: i64,
    pub(crate) level: u32,
    pub(crate) slot: i64,
    pub(crate) crc: i64,
    pub(crate) body: Vec<u8>,
}

impl StoredBlock {
    pub(crate) fn decode(&self) -> Result<Vec<Cell>, HistoryError> {
        let damaged = |reason: String| HistoryError::Damaged {
            place: format!("rollup of tag {}, level {}, slot {}", self.tag, self.level, self.slot),
            reason,
        };
        if row_crc(&[self.tag, self.level.into(), self.slot], &[&self.body]) != self.crc {
            return Err(damaged("its checksum does not match".to_owned()));
        }
        rollup::decode(&self.body, self.level, self.slot).map_err(|error| damaged(error.to_string()))
    }
}

/// What is stored of one tag over a range, not yet decoded.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// Blocks with the part of time that they are asked for.
    blocks: Vec<StoredBlock>,
    /// Chunks; only what lies within `raw_parts` is asked of them.
    chunks: Vec<StoredChunk>,
    raw_parts: Vec<(i64, i64)>,
}

impl Stored {
    /// Cells in time order, and the rows where the chunks were read, without what is damaged.
    fn decode(self, from: i64, to: i64) -> Decoded {
        let (cells, mut damaged) = self.block_cells(from, to);
        let mut rows = Vec::new();
        for chunk in &self.chunks {
            match self.rows(chunk) {
                Ok(chunk) => rows.extend(chunk),
                Err(error) => damaged.push(error),
            }
        }
        Decoded { cells, rows, damaged }
    }

    /// Cells in time order, at most one a bucket of `step` and chunk or lower bucket: the chunks are never all decoded
    /// at once.
    pub(crate) fn sum_up(self, from: i64, to: i64, step: i64) -> Summed {
        let (mut cells, mut damaged) = self.block_cells(from, to);
        let mut entries = cells.len();
        for chunk in &self.chunks {
            match self.rows(chunk) {
                Ok(rows) => {
                    entries += rows.len();
                    let mut sums: Vec<Cell> = Vec::new();
                    for cell in cells_of(&rows) {
                        match sums.last_mut() {
                            // A sum keeps the time of its first sample, so that it finds its place among others.
                            Some(sum) if sum.time.div_euclid(step) == cell.time.div_euclid(step) => sum.add(&cell),
                            _ => sums.push(cell),
                        }
                    }
                    cells.extend(sums);
                }
                Err(error) => damaged.push(error),
            }
        }
        cells.sort_by_key(|cell| cell.time);
        Summed { cells, entries, damaged }
    }

    /// How many samples its chunks have, some of which may lie outside of what is asked.
    fn samples(&self) -> i64 {
        self.chunks.iter().map(|chunk| chunk.samples).sum()
    }

    fn block_cells(&self, from: i64, to: i64) -> (Vec<Cell>, Vec<HistoryError>) {
        let mut damaged = Vec::new();
        let mut cells: Vec<Cell> = Vec::new();
        for block in &self.blocks {
            match block.decode() {
                Ok(block) => cells.extend(block.into_iter().filter(|cell| (from..=to).contains(&cell.time))),
                Err(error) => damaged.push(error),
            }
        }
        cells.sort_by_key(|cell| cell.time);
        (cells, damaged)
    }

    /// The rows of one of its chunks that are asked for.
    fn rows(&self, chunk: &StoredChunk) -> Result<Vec<Row>, HistoryError> {
        let mut rows = chunk.decode()?;
        rows.retain(|row| self.raw_parts.iter().any(|&(a, b)| (a..=b).contains(&row.time)));
        Ok(rows)
    }
}

/// What was stored of one tag.
struct Decoded {
    cells: Vec<Cell>,
    rows: Vec<Row>,
    /// What did not pass its checksum.
    damaged: Vec<HistoryError>,
}

/// What was stored of one tag, summed up.
pub(crate) struct Summed {
    pub(crate) cells: Vec<Cell>,
    /// Samples and lower buckets that were summed up.
    pub(crate) entries: usize,
    /// What did not pass its checksum.
    pub(crate) damaged: Vec<HistoryError>,
}

/// Removes `[first, last]` from sorted ranges.
fn cut(parts: &mut Vec<(i64, i64)>, first: i64, last: i64) {
    let mut left = Vec::with_capacity(parts.len() + 1);
    for &(from, to) in parts.iter() {
        if last < from || first > to {
            left.push((from, to));
            continue;
        }
        if from < first {
            left.push((from, first - 1));
        }
        if to > last {
            left.push((last + 1, to));
        }
    }
    *parts = left;
}

/// Collects what is stored of `tags` (the file's ids) from `from` to `to`, which are whole in buckets of `level` (`None`
/// for chunks only): blocks of that level, where there is none the level below, in the end chunks.
pub(crate) async fn collect(
    snapshot: &mut Transaction<'_, Sqlite>,
    tags: &[i64],
    level: Option<u32>,
    from: i64,
    to: i64,
) -> Result<HashMap<i64, Stored>, sqlx::Error> {
    let mut stored: HashMap<i64, Stored> = tags.iter().map(|&tag| (tag, Stored::default())).collect();
    // Tags with the same parts of time still to be found are asked for together.
    let mut wanted: HashMap<Vec<(i64, i64)>, Vec<i64>> = HashMap::from([(vec![(from, to)], tags.to_vec())]);
    for level in (0..level.map_or(0, |level| level + 1)).rev() {
        let mut left: HashMap<Vec<(i64, i64)>, Vec<i64>> = HashMap::new();
        for (parts, tags) in wanted {
            let mut remaining: HashMap<i64, Vec<(i64, i64)>> = tags.iter().map(|&tag| (tag, parts.clone())).collect();
            for &(part_from, part_to) in &parts {
                let rows = sqlx::query(
                    "SELECT r.tag, r.slot, r.crc, r.body FROM json_each(?1) AS wanted CROSS JOIN rollup AS r
                     ON r.tag = wanted.value AND r.level = ?2 AND r.slot BETWEEN ?3 AND ?4 ORDER BY r.tag, r.slot",
                )
                .bind(json_list(tags.iter().copied()))
                .bind(level)
                .bind(part_from.div_euclid(slot_ns(level)))
                .bind(part_to.div_euclid(slot_ns(level)))
                .fetch_all(&mut **snapshot)
                .await?;
                for row in rows {
                    let block = StoredBlock {
                        tag: row.try_get(0)?,
                        level,
                        slot: row.try_get(1)?,
                        crc: row.try_get(2)?,
                        body: row.try_get(3)?,
                    };
                    let (first, last) = slot_range(level, block.slot);
                    if let Some(parts) = remaining.get_mut(&block.tag) {
                        cut(parts, first, last);
                    }
                    if let Some(stored) = stored.get_mut(&block.tag)
                        && !stored.blocks.iter().any(|other| (other.level, other.slot) == (level, block.slot))
                    {
                        stored.blocks.push(block);
                    }
                }
            }
            for (tag, parts) in remaining {
                if !parts.is_empty() {
                    left.entry(parts).or_default().push(tag);
                }
            }
        }
        wanted = left;
    }
    for (parts, tags) in wanted {
        for &(part_from, part_to) in &parts {
            for chunk in chunks(snapshot, &tags, part_from, part_to).await? {
                if let Some(stored) = stored.get_mut(&chunk.tag)
                    && stored.chunks.last().is_none_or(|last| last.id != chunk.id)
                {
                    stored.chunks.push(chunk);
                }
            }
        }
        for tag in tags {
            if let Some(stored) = stored.get_mut(&tag) {
                stored.raw_parts.clone_from(&parts);
            }
        }
    }
    Ok(stored)
}

/// One tag of a question.
struct Asked {
    tag: TagId,
    file_tag: i64,
    stored: Stored,
    /// For a tag that holds its value: the chunk with the last value before the range.
    before: Option<StoredChunk>,
    /// The tag's usual interval as its newest chunk has it; 0 when there is none.
    interval_ns: i64,
    tick_ns: i64,
    holds: bool,
}

impl History {
    /// The signals of `tags` from `from` to `to` (both within), at most two points a pixel, without bands.
    ///
    /// With few enough samples, each is a point at its own time. Otherwise a point sums up all samples of a step (1, 2
    /// or 5 x 10^n ns, from the epoch, so that points do not wander while a view moves): `[time, time + step)`, the
    /// first and last step whole even where the range cuts them. A step without a sample has no point; one whose samples
    /// have no usable finite value has a point with NaN: a gap. A setpoint or mode holds: its last value before the
    /// range comes first, at its own time, and its `gap_ns` is endless.
    ///
    /// A sample that came twice may count twice (never in minimum and maximum) until it is merged. A damaged chunk is a
    /// gap here, and an error in [`History::raw`].
    ///
    /// # Errors
    /// An unknown tag, a range upside down, SQLite's own.
    pub async fn signals(
        &self,
        tags: &[TagId],
        from: UtcNanos,
        to: UtcNanos,
        pixels: u32,
    ) -> Result<Vec<Signal>, HistoryError> {
        let (from, to) = checked(from, to)?;
        let step = step(from, to, pixels);
        let (whole_from, whole_to) = whole(from, to, step);
        let level = (0..LEVELS).rev().find(|&level| bucket_ns(level) <= step);
        let distinct: BTreeSet<TagId> = tags.iter().copied().collect();
        let file_tags = distinct.iter().map(|&tag| self.file_tag(tag)).collect::<Result<Vec<_>, _>>()?;

        let mut snapshot = self.snapshot().await?;
        let mut stored = collect(&mut snapshot, &file_tags, level, whole_from, whole_to).await.map_err(self.wrap())?;
        let any_holds = distinct.iter().any(|&tag| self.holds(tag));
        let since = if any_holds { i64::MIN } else { whole_from };
        let batches = self.unmerged(&mut snapshot, since, whole_to).await?;
        let batches: Vec<_> = batches.into_iter().filter_map(or_gap).collect();
        let mut asked = Vec::with_capacity(distinct.len());
        for (&tag, file_tag) in distinct.iter().zip(file_tags) {
            let holds = self.holds(tag);
            let before = if holds { last_chunk_before(&mut snapshot, file_tag, whole_from).await } else { Ok(None) };
            let interval: Option<i64> = sqlx::query_scalar(
                "SELECT interval_ns FROM chunk WHERE tag = ?1 AND first_time <= ?2 ORDER BY first_time DESC LIMIT 1",
            )
            .bind(file_tag)
            .bind(whole_to)
            .fetch_optional(&mut *snapshot)
            .await
            .map_err(self.wrap())?;
            let info = &self.inner.plant.tags[tag.index()];
            asked.push(Asked {
                tag,
                file_tag,
                stored: stored.remove(&file_tag).unwrap_or_default(),
                before: before.map_err(self.wrap())?,
                interval_ns: interval.unwrap_or(0),
                tick_ns: self.inner.plant.lines[info.line.index()].tick_ns,
                holds,
            });
        }
        drop(snapshot);
        let points_max = pixels.max(1) as usize * 2;
        let answered: Vec<Signal> = blocking(move || {
            let range = (from, to);
            Ok(asked.into_iter().map(|asked| asked.signal(&batches, range, step, points_max)).collect())
        })
        .await?;
        // Each is looked up once, however often it is asked for.
        let of = |tag: &TagId| answered.iter().find(|signal| signal.tag == *tag).cloned();
        Ok(tags.iter().filter_map(of).collect())
    }

    fn holds(&self, tag: TagId) -> bool {
        matches!(self.inner.plant.tags[tag.index()].role, Role::Setpoint | Role::Mode)
    }
}

async fn last_chunk_before(
    snapshot: &mut Transaction<'_, Sqlite>,
    tag: i64,
    time: i64,
) -> Result<Option<StoredChunk>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT id, tag, first_time, last_time, samples, interval_ns, crc, body FROM chunk
         WHERE tag = ?1 AND first_time < ?2 ORDER BY first_time DESC LIMIT 1",
    )
    .bind(tag)
    .bind(time)
    .fetch_optional(&mut **snapshot)
    .await?;
    row.as_ref().map(StoredChunk::from_row).transpose()
}

impl Asked {
    fn signal(self, batches: &[Arc<Batch>], (from, to): (i64, i64), step: i64, points_max: usize) -> Signal {
        let (whole_from, whole_to) = whole(from, to, step);
        let Decoded { cells, mut rows, damaged } = if self.stored.samples() > ROWS_MAX.max(points_max as i64) {
            let Summed { cells, damaged, .. } = self.stored.sum_up(whole_from, whole_to, step);
            Decoded { cells, rows: Vec::new(), damaged }
        } else {
            self.stored.decode(whole_from, whole_to)
        };
        for error in damaged {
            or_gap::<()>(Err(error));
        }
        let mut held: Option<Row> = None;
        let mut hold = |row: &Row| {
            if row.time < from && held.is_none_or(|held| held.time <= row.time) {
                held = Some(*row);
            }
        };
        if let Some(before) = &self.before {
            or_gap(before.decode()).iter().flatten().for_each(&mut hold);
        }
        for batch in batches {
            for row in batch.rows(self.file_tag) {
                hold(row);
                if (whole_from..=whole_to).contains(&row.time) {
                    rows.push(*row);
                }
            }
        }
        sort_and_join(&mut rows);
        rows.iter().for_each(&mut hold);
        let period = match median_interval(&rows) {
            0 => self.interval_ns,
            period => period,
        };
        let mut gap_ns = period.max(self.tick_ns).saturating_mul(GAP_PERIODS);
        let within = rows.partition_point(|row| row.time < from)..rows.partition_point(|row| row.time <= to);
        let mut points: Vec<Point> = if cells.is_empty() && within.len() <= points_max {
            rows[within].iter().map(|row| point(&Cell::of(row))).collect()
        } else {
            gap_ns = gap_ns.saturating_add(step);
            let mut all = cells;
            all.extend(rows.iter().map(Cell::of));
            // Stable: of a bucket and a sample that is not merged yet, the bucket comes first.
            all.sort_by_key(|cell| cell.time);
            sum_up(&all, step).iter().map(point).collect()
        };
        if self.holds {
            gap_ns = i64::MAX;
            if let Some(held) = held
                && points.first().is_none_or(|first| first.time.0 > held.time)
            {
                points.insert(0, point(&Cell::of(&held)));
            }
        }
        Signal { tag: self.tag, points, gap_ns, band: Vec::new() }
    }
}

/// What can be read; what is damaged is reported and left out.
pub(crate) fn or_gap<T>(read: Result<T, HistoryError>) -> Option<T> {
    read.inspect_err(|error| tracing::error!(%error, "what is damaged is shown as a gap")).ok()
}

fn point(cell: &Cell) -> Point {
    Point {
        time: UtcNanos(cell.time),
        min: cell.min,
        max: cell.max,
        mean: cell.mean(),
        last: cell.last,
        count: cell.count,
        quality: cell.worst,
    }
}
