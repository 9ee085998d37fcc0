//! A chunk: samples of one tag, sorted by time, as it lies in the file. Format 1, byte by byte, in
//! `docs/history-format.md`.

use sightglass_protocol::{Quality, Sample, TagId, TimeSource, UtcNanos};

use crate::codec::{CodecError, Plain, Reader, put_column, put_runs, put_values, put_varint};

/// The format's version: its first byte.
const VERSION: u8 = 1;
/// A chunk below this many samples is continued by the next merge.
pub(crate) const CHUNK_SAMPLES_FULL: usize = 4096;
/// A chunk that began this long before is not continued either, so that retention is right to a week.
pub(crate) const CHUNK_NS_FULL: i64 = 7 * 86_400_000_000_000;
/// A chunk above this many samples is split (unless all of them have one time).
pub(crate) const CHUNK_SAMPLES_MAX: usize = 8192;

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

/// Sorts by time, keeps the order of arrival within a time, and drops exact repetitions.
pub(crate) fn sort_and_join(rows: &mut Vec<Row>) {
    if !rows.is_sorted_by_key(|row| row.time) {
        rows.sort_by_key(|row| row.time);
    }
    let mut kept = 0;
    let mut same_time_from = 0;
    for index in 0..rows.len() {
        let row = rows[index];
        if kept > 0 && rows[kept - 1].time != row.time {
            same_time_from = kept;
        }
        if !rows[same_time_from..kept].iter().any(|other| other.is_same(&row)) {
            rows[kept] = row;
            kept += 1;
        }
    }
    rows.truncate(kept);
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

/// Cuts sorted rows into pieces of about [`CHUNK_SAMPLES_FULL`] to [`CHUNK_SAMPLES_MAX`], never within one time.
pub(crate) fn split(rows: Vec<Row>) -> Vec<Vec<Row>> {
    let mut pieces = Vec::new();
    let mut rest = rows.as_slice();
    while rest.len() > CHUNK_SAMPLES_MAX {
        let time = rest[CHUNK_SAMPLES_FULL].time;
        let mut cut = rest.partition_point(|row| row.time < time);
        if cut == 0 {
            cut = rest.partition_point(|row| row.time <= time);
        }
        let (piece, tail) = rest.split_at(cut);
        pieces.push(piece.to_vec());
        rest = tail;
    }
    if pieces.is_empty() {
        return vec![rows];
    }
    if !rest.is_empty() {
        pieces.push(rest.to_vec());
    }
    pieces
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
    fn pieces_never_part_one_time_and_lose_nothing() {
        let rows: Vec<Row> = (0..30_000).map(|index| row(index / 5000)).collect();
        let pieces = split(rows.clone());
        assert!(pieces.len() > 3);
        assert!(pieces.windows(2).all(|pair| pair[0].last().unwrap().time < pair[1][0].time));
        assert_eq!(pieces.iter().map(Vec::len).sum::<usize>(), rows.len());
    }
}
