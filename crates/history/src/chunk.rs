//! A chunk: samples of one tag, sorted by time, as it lies in the file. Format 1, byte by byte, in
//! `docs/history-format.md`.

use sightglass_protocol::{Quality, Sample, TagId, TimeSource, UtcNanos};

use crate::codec::{CodecError, Plain, Reader, put_column, put_runs, put_values, put_varint};

/// The format's version: its first byte.
const VERSION: u8 = 1;
/// A chunk of this many samples is left as it is, unless late samples fall into it.
pub(crate) const CHUNK_SAMPLES_FULL: usize = 16_384;
/// A chunk that began this long before is not continued either, so that retention is right to a week.
pub(crate) const CHUNK_NS_FULL: i64 = 7 * 86_400_000_000_000;
/// A chunk above this many samples is split (unless all of them have one time).
pub(crate) const CHUNK_SAMPLES_MAX: usize = 32_768;

/// One sample of a known tag. Stored and compared bit by bit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// UTC nanoseconds.
    pub(crate) time: i64,
    /// In the tag's unit; NaN where there is none.
    pub(crate) value: f64,
    /// Quality in the low four bits, the time's source in the high four.
    pub(crate) flags: u8,
}

impl Row {
    pub(crate) fn of(sample: &Sample) -> Self {
        let flags = sample.quality as u8 | (sample.time_source as u8) << 4;
        Self { time: sample.time.0, value: sample.value, flags }
    }

    pub(crate) const fn is_same(&self, other: &Self) -> bool {
        self.time == other.time && self.value.to_bits() == other.value.to_bits() && self.flags == other.flags
    }

    /// A quality that this program does not know reads as bad.
    pub(crate) fn quality(&self) -> Quality {
        Quality::from_u8(self.flags & 0x0f).unwrap_or(Quality::Bad)
    }

    pub(crate) fn sample(&self, tag: TagId) -> Sample {
        let time_source = match self.flags >> 4 {
            0 => TimeSource::Device,
            1 => TimeSource::Payload,
            _ => TimeSource::Arrival,
        };
        Sample { tag, time: UtcNanos(self.time), value: self.value, quality: self.quality(), time_source }
    }
}

/// Sorts by time and keeps one row a time: the last that arrived. What it replaced is returned, in its order, without
/// repetitions.
pub(crate) fn sort_and_join(rows: &mut Vec<Row>) -> Vec<Row> {
    if !rows.is_sorted_by_key(|row| row.time) {
        // Stable: rows of one time keep the order in which they arrived.
        rows.sort_by_key(|row| row.time);
    }
    let mut replaced = Vec::new();
    let (mut kept, mut from) = (0, 0);
    while from < rows.len() {
        let time = rows[from].time;
        let to = from + rows[from..].iter().take_while(|row| row.time == time).count();
        let last = rows[to - 1];
        let former = rows[from..to - 1].iter().filter(|row| !row.is_same(&last));
        for row in former {
            if !replaced.last().is_some_and(|other| row.is_same(other)) {
                replaced.push(*row);
            }
        }
        rows[kept] = last;
        kept += 1;
        from = to;
    }
    rows.truncate(kept);
    replaced
}

/// The median time between neighbours of sorted rows, in nanoseconds; 0 with fewer than two times.
pub(crate) fn median_interval(rows: &[Row]) -> i64 {
    let mut intervals: Vec<i64> = rows
        .windows(2)
        .map(|pair| pair[1].time.saturating_sub(pair[0].time))
        .filter(|&interval| interval > 0)
        .collect();
    if intervals.is_empty() {
        return 0;
    }
    let middle = intervals.len() / 2;
    *intervals.select_nth_unstable(middle).1
}

/// The three columns of rows, as batches and chunks have them.
pub(crate) fn put_rows(out: &mut Vec<u8>, rows: &[Row], level: usize) {
    let times: Vec<i64> = rows.iter().map(|row| row.time).collect();
    let values: Vec<f64> = rows.iter().map(|row| row.value).collect();
    let flags: Vec<u8> = rows.iter().map(|row| row.flags).collect();
    put_column(out, &times, level);
    put_values(out, &values, level);
    put_runs(out, &flags);
}

pub(crate) fn read_rows(reader: &mut Reader<'_>, count: usize) -> Result<Vec<Row>, CodecError> {
    let times = reader.column::<i64>(count)?;
    let values = reader.values(count)?;
    let flags = reader.runs(count)?;
    Ok(times.into_iter().zip(values).zip(flags).map(|((time, value), flags)| Row { time, value, flags }).collect())
}

pub(crate) fn encode(rows: &[Row], level: usize) -> Vec<u8> {
    debug_assert!(rows.is_sorted_by_key(|row| row.time));
    let mut out = Vec::with_capacity(16 + rows.len() * i64::BYTES / 2);
    out.push(VERSION);
    put_varint(&mut out, rows.len() as u64);
    put_rows(&mut out, rows, level);
    out
}

pub(crate) fn decode(body: &[u8]) -> Result<Vec<Row>, CodecError> {
    let mut reader = Reader::new(body);
    reader.version(VERSION)?;
    let count = reader.count()?;
    let rows = read_rows(&mut reader, count)?;
    reader.end()?;
    if !rows.is_sorted_by_key(|row| row.time) {
        return Err(CodecError::Invalid("its times are not sorted"));
    }
    Ok(rows)
}

/// Cuts sorted rows into pieces of [`CHUNK_SAMPLES_FULL`] to [`CHUNK_SAMPLES_MAX`].
pub(crate) fn split(rows: &[Row]) -> impl Iterator<Item = &[Row]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let cut = if rest.len() > CHUNK_SAMPLES_MAX { CHUNK_SAMPLES_FULL } else { rest.len() };
        let (piece, tail) = rest.split_at(cut);
        rest = tail;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(time: i64) -> Row {
        Row { time, value: time as f64 * 0.1, flags: 0 }
    }

    #[test]
    fn every_cut_of_a_chunk_is_an_error_and_never_a_panic() {
        let body = encode(&(0..300).map(row).collect::<Vec<_>>(), 8);
        for length in 0..body.len() {
            assert!(decode(&body[..length]).is_err(), "cut at {length}");
        }
        assert_eq!(decode(&body).unwrap().len(), 300);
    }

    #[test]
    fn pieces_lose_nothing_and_none_is_small() {
        let rows: Vec<Row> = (0..100_000).map(row).collect();
        let pieces: Vec<&[Row]> = split(&rows).collect();
        assert!(pieces.iter().all(|piece| (CHUNK_SAMPLES_FULL..=CHUNK_SAMPLES_MAX).contains(&piece.len())));
        assert_eq!(
            pieces.iter().flat_map(|piece| piece.iter()).map(|row| row.time).sum::<i64>(),
            (0..100_000_i64).sum::<i64>()
        );
        assert_eq!(split(&[]).count(), 0);
    }

    #[test]
    fn the_last_value_of_a_time_stays_and_what_it_replaced_is_told() {
        let value = |time, value| Row { time, value, flags: 0 };
        let mut rows = vec![value(2, 1.0), value(1, 5.0), value(2, 2.0), value(2, 1.0), value(2, 2.0), value(1, 5.0)];
        let replaced = sort_and_join(&mut rows);
        assert_eq!(rows.iter().map(|row| (row.time, row.value)).collect::<Vec<_>>(), [(1, 5.0), (2, 2.0)]);
        assert_eq!(replaced.iter().map(|row| (row.time, row.value)).collect::<Vec<_>>(), [(2, 1.0)]);
    }
}
