//! Roll-ups: buckets of 1 s, 10 s, … 10^6 s, a thousand of them in a block. Format 1, byte by byte, in
//! `docs/history-format.md`.
//!
//! A block is exact for every merged sample of its slot, and a slot without a block is read from the level below (in
//! the end from the chunks). So a block may be left out where it would not pay, or thrown away when a late sample falls
//! into its slot, without any answer changing.

use sightglass_protocol::{Quality, time::SECOND};

use crate::{
    chunk::{Row, median_interval},
    codec::{CodecError, LEVEL_CHUNK, Reader, put_column, put_runs, put_values, put_varint},
};

/// The format's version: its first byte.
const VERSION: u8 = 2;
/// Without the column of good time; still read.
const VERSION_WITHOUT_GOOD_TIME: u8 = 1;
/// Levels: buckets of 1 s to 10^6 s (11.6 days), so that a century has few enough for any screen.
pub(crate) const LEVELS: u32 = 7;
/// Buckets in a slot.
pub(crate) const SLOT_BUCKETS: i64 = 1000;
/// A source that misses fewer than this many values in a row has no gap: the same rule as for a stale value.
pub(crate) const GAP_PERIODS: i64 = 3;
/// A block is stored only where it sums up at least this many samples (or cells of the level below) a bucket.
pub(crate) const REDUCTION_MIN: usize = 8;

/// The length of a bucket, in nanoseconds.
pub(crate) const fn bucket_ns(level: u32) -> i64 {
    SECOND * 10i64.pow(level)
}

/// The length of a slot, in nanoseconds.
pub(crate) const fn slot_ns(level: u32) -> i64 {
    bucket_ns(level) * SLOT_BUCKETS
}

/// The lowest level at which a block pays for samples every `interval_ns`.
pub(crate) fn level_for(interval_ns: i64) -> u32 {
    let pays = |level: &u32| bucket_ns(*level) / REDUCTION_MIN as i64 >= interval_ns;
    (0..LEVELS).find(pays).unwrap_or(LEVELS - 1)
}

/// First and last nanosecond of a slot.
pub(crate) fn slot_range(level: u32, slot: i64) -> (i64, i64) {
    let first = i128::from(slot) * i128::from(slot_ns(level));
    let clamp = |time: i128| time.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
    (clamp(first), clamp(first + i128::from(slot_ns(level)) - 1))
}

/// What is kept of the samples of a bucket (or of a pixel).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    /// The bucket's start.
    pub(crate) time: i64,
    /// All samples.
    pub(crate) count: u32,
    /// Samples with a usable, finite value; without one, the values below are NaN.
    pub(crate) good: u32,
    pub(crate) worst: Quality,
    /// The time for which usable values stood: each until the next sample, at most three usual intervals, counted where
    /// the sample lies.
    pub(crate) good_ns: i64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) sum: f64,
    pub(crate) first: f64,
    pub(crate) last: f64,
}

impl Cell {
    pub(crate) const fn empty(time: i64) -> Self {
        let nan = f64::NAN;
        Self {
            time,
            count: 0,
            good: 0,
            worst: Quality::Good,
            good_ns: 0,
            min: nan,
            max: nan,
            sum: 0.0,
            first: nan,
            last: nan,
        }
    }

    /// The cell of one sample. A value that is not finite cannot be drawn and counts as bad, whatever its quality says.
    pub(crate) fn of(row: &Row) -> Self {
        let quality = row.quality();
        let mut cell = Self::empty(row.time);
        cell.count = 1;
        cell.worst = quality;
        if quality.is_usable() && row.value.is_finite() {
            cell.good = 1;
            (cell.min, cell.max, cell.sum, cell.first, cell.last) =
                (row.value, row.value, row.value, row.value, row.value);
        } else {
            cell.worst = if quality.is_usable() { Quality::Bad } else { quality };
        }
        cell
    }

    /// Adds a later cell.
    pub(crate) fn add(&mut self, later: &Self) {
        self.count = self.count.saturating_add(later.count);
        self.worst = self.worst.max(later.worst);
        if later.good > 0 {
            self.first = if self.good > 0 { self.first } else { later.first };
            self.last = later.last;
            // `min` and `max` pass over NaN.
            self.min = self.min.min(later.min);
            self.max = self.max.max(later.max);
            self.sum += later.sum;
            self.good = self.good.saturating_add(later.good);
            self.good_ns = self.good_ns.saturating_add(later.good_ns);
        }
    }

    pub(crate) fn mean(&self) -> f64 {
        // Of finite values the sum may still overflow; their mean lies between them all the same.
        let mean = self.sum / f64::from(self.good);
        if self.good > 0 && !mean.is_finite() { self.min / 2.0 + self.max / 2.0 } else { mean }
    }
}

/// The cells of sorted rows, with the time for which each stood.
pub(crate) fn cells_of(rows: &[Row]) -> impl Iterator<Item = Cell> {
    let usual = median_interval(rows);
    let standing_max = usual.saturating_mul(GAP_PERIODS);
    rows.iter().enumerate().map(move |(index, row)| {
        let mut cell = Cell::of(row);
        if cell.good > 0 {
            let until_next = rows.get(index + 1).map_or(usual, |next| next.time.saturating_sub(row.time));
            cell.good_ns = until_next.min(standing_max);
        }
        cell
    })
}

/// Sums up cells (in time order) into buckets of `step` nanoseconds from the epoch.
pub(crate) fn sum_up(cells: &[Cell], step: i64) -> Vec<Cell> {
    let mut sums: Vec<Cell> = Vec::new();
    for cell in cells {
        let start = i128::from(cell.time.div_euclid(step)) * i128::from(step);
        let start = start.max(i64::MIN.into()) as i64;
        match sums.last_mut() {
            Some(last) if last.time == start => last.add(cell),
            _ => {
                let mut sum = Cell::empty(start);
                sum.add(cell);
                sums.push(sum);
            }
        }
    }
    sums
}

/// The block of `cells`, whose times are bucket starts in the slot that starts at `slot_start`.
pub(crate) fn encode(cells: &[Cell], level: u32, slot: i64) -> Vec<u8> {
    let origin = i128::from(slot) * i128::from(slot_ns(level));
    let mut out = vec![VERSION];
    put_varint(&mut out, cells.len() as u64);
    let column = |of: fn(&Cell) -> u32| cells.iter().map(of).collect::<Vec<u32>>();
    // The very first bucket of all time starts before i64 does; its clamped start still lies within it.
    let places: Vec<u32> =
        cells.iter().map(|cell| ((i128::from(cell.time) - origin) / i128::from(bucket_ns(level))) as u32).collect();
    put_column(&mut out, &places, LEVEL_CHUNK);
    put_column(&mut out, &column(|cell| cell.count), LEVEL_CHUNK);
    put_column(&mut out, &column(|cell| cell.good), LEVEL_CHUNK);
    put_column(&mut out, &cells.iter().map(|cell| cell.good_ns).collect::<Vec<i64>>(), LEVEL_CHUNK);
    put_runs(&mut out, &cells.iter().map(|cell| cell.worst as u8).collect::<Vec<u8>>());
    let values = |of: fn(&Cell) -> f64| cells.iter().filter(|cell| cell.good > 0).map(of).collect::<Vec<f64>>();
    let columns: [fn(&Cell) -> f64; 5] =
        [|cell| cell.min, |cell| cell.max, |cell| cell.sum, |cell| cell.first, |cell| cell.last];
    for of in columns {
        put_values(&mut out, &values(of), LEVEL_CHUNK);
    }
    out
}

pub(crate) fn decode(body: &[u8], level: u32, slot: i64) -> Result<Vec<Cell>, CodecError> {
    let mut reader = Reader::new(body);
    let version = reader.byte()?;
    if version != VERSION && version != VERSION_WITHOUT_GOOD_TIME {
        return Err(CodecError::Version(version));
    }
    let count = reader.count()?;
    let places = reader.column::<u32>(count)?;
    let counts = reader.column::<u32>(count)?;
    let goods = reader.column::<u32>(count)?;
    // Where it was not noted, a value stood for its share of the bucket.
    let good_times = match version {
        VERSION => reader.column::<i64>(count)?,
        _ => (0..count)
            .map(|index| bucket_ns(level) / i64::from(counts[index].max(1)) * i64::from(goods[index]))
            .collect(),
    };
    let worst = reader.runs(count)?;
    let full = goods.iter().filter(|&&good| good > 0).count();
    let mut columns = Vec::with_capacity(5);
    for _ in 0..5 {
        columns.push(reader.values(full)?.into_iter());
    }
    reader.end()?;
    let origin = i128::from(slot) * i128::from(slot_ns(level));
    let mut cells = Vec::with_capacity(count);
    for index in 0..count {
        let time = origin + i128::from(places[index]) * i128::from(bucket_ns(level));
        let mut cell = Cell::empty(time.clamp(i64::MIN.into(), i64::MAX.into()) as i64);
        cell.count = counts[index];
        cell.good = goods[index];
        cell.good_ns = good_times[index];
        cell.worst = Quality::from_u8(worst[index]).unwrap_or(Quality::Bad);
        if cell.good > 0 {
            let mut next = |column: usize| columns[column].next().unwrap_or(f64::NAN);
            (cell.min, cell.max, cell.sum) = (next(0), next(1), next(2));
            (cell.first, cell.last) = (next(3), next(4));
        }
        cells.push(cell);
    }
    Ok(cells)
}
