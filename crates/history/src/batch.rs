//! A batch: the samples of all tags in one commit, as it lies in the file. Format 1, byte by byte, in
//! `docs/history-format.md`.
//!
//! Grouped by tag, since neighbours of one tag compress; within a tag in the order of arrival.

use std::ops::Range;

use crate::{
    chunk::{Row, put_rows, read_rows},
    codec::{CodecError, LEVEL_BATCH, Reader, put_varint},
};

/// The format's version: its first byte.
const VERSION: u8 = 1;

/// A batch in memory.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Tag (the file's id, ascending) and its part of `rows`.
    groups: Vec<(i64, Range<usize>)>,
    rows: Vec<Row>,
}

impl Batch {
    /// Groups samples by tag.
    pub(crate) fn new(mut samples: Vec<(i64, Row)>) -> Self {
        samples.sort_by_key(|&(tag, _)| tag);
        let mut batch = Self { groups: Vec::new(), rows: Vec::with_capacity(samples.len()) };
        for group in samples.chunk_by(|a, b| a.0 == b.0) {
            let from = batch.rows.len();
            batch.rows.extend(group.iter().map(|&(_, row)| row));
            batch.groups.push((group[0].0, from..batch.rows.len()));
        }
        batch
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// First and last time; `None` when empty.
    pub(crate) fn range(&self) -> Option<(i64, i64)> {
        let first = self.rows.iter().map(|row| row.time).min()?;
        let last = self.rows.iter().map(|row| row.time).max()?;
        Some((first, last))
    }

    /// The rows of `tag`, in the order of arrival.
    pub(crate) fn rows(&self, tag: i64) -> &[Row] {
        match self.groups.binary_search_by_key(&tag, |group| group.0) {
            Ok(index) => &self.rows[self.groups[index].1.clone()],
            Err(_) => &[],
        }
    }

    /// Tags and their rows.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (i64, &[Row])> {
        self.groups.iter().map(|(tag, range)| (*tag, &self.rows[range.clone()]))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.rows.len() * 8);
        out.push(VERSION);
        put_varint(&mut out, self.rows.len() as u64);
        put_varint(&mut out, self.groups.len() as u64);
        for (tag, range) in &self.groups {
            put_varint(&mut out, tag.unsigned_abs());
            put_varint(&mut out, range.len() as u64);
        }
        put_rows(&mut out, &self.rows, LEVEL_BATCH);
        out
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(body);
        reader.version(VERSION)?;
        let count = reader.count()?;
        let group_count = reader.count()?;
        if group_count > count {
            return Err(CodecError::Invalid("it has more tags than samples"));
        }
        let mut groups: Vec<(i64, Range<usize>)> = Vec::with_capacity(group_count);
        let mut from = 0;
        for _ in 0..group_count {
            let tag = i64::try_from(reader.varint()?).map_err(|_| CodecError::Invalid("a tag's id is too large"))?;
            let to = from + reader.count()?;
            if groups.last().is_some_and(|last| last.0 >= tag) {
                return Err(CodecError::Invalid("its tags are not sorted"));
            }
            groups.push((tag, from..to));
            from = to;
        }
        if from != count {
            return Err(CodecError::Invalid("its tags do not add up to its samples"));
        }
        let rows = read_rows(&mut reader, count)?;
        reader.end()?;
        Ok(Self { groups, rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_of_a_batch_is_an_error_and_never_a_panic() {
        let samples = (0..200)
            .map(|index| (index % 7 + 1, Row { time: index, value: index as f64 / 3.0, flags: 0x20 }))
            .collect();
        let body = Batch::new(samples).encode();
        for length in 0..body.len() {
            assert!(Batch::decode(&body[..length]).is_err(), "cut at {length}");
        }
        assert_eq!(Batch::decode(&body).unwrap().rows(3).len(), 29);
    }
}
