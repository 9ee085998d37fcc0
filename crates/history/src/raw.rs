//! Samples as they came in: from chunks and from batches that are not merged yet.

use std::sync::Arc;

use sightglass_protocol::{Sample, TagId, UtcNanos};
use sqlx::{Sqlite, Transaction, sqlite::SqliteRow};

use crate::{
    batch::Batch,
    chunk::{self, Row, sort_and_join},
    codec::row_crc,
    error::HistoryError,
    fields::{self, Fields},
    open::History,
    steps::checked,
};

/// How many samples a page of [`SamplePages`] aims at.
const PAGE_SAMPLES: usize = 1 << 16;
/// The most stored samples that are decoded for one page (unless a single moment has more).
const PAGE_DECODED_MAX: i64 = 1 << 20;
/// How long a page is at first.
const PAGE_NS_FIRST: i64 = 60_000_000_000;

/// A row of table `chunk`.
#[derive(Debug)]
pub(crate) struct StoredChunk {
    pub(crate) id: i64,
    pub(crate) tag: i64,
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) samples: i64,
    pub(crate) interval_ns: i64,
    pub(crate) crc: i64,
    pub(crate) body: Vec<u8>,
}

impl StoredChunk {
    /// A row `id, tag, first_time, last_time, samples, interval_ns, crc, body`.
    pub(crate) fn of(row: Fields<'_>) -> Result<Self, String> {
        Ok(Self {
            id: row.int(0)?,
            tag: row.int(1)?,
            first: row.int(2)?,
            last: row.int(3)?,
            samples: row.int(4)?,
            interval_ns: row.int(5)?,
            crc: row.int(6)?,
            body: row.blob(7)?.to_vec(),
        })
    }

    /// As [`StoredChunk::of`].
    pub(crate) fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        fields::stored("chunk", row, Self::of)
    }

    /// The rows, sorted by time, once the checksum holds.
    pub(crate) fn rows(&self) -> Result<Vec<Row>, String> {
        same_body(&[self.tag, self.first, self.last, self.samples, self.interval_ns], &self.body, self.crc)?;
        let rows = chunk::decode(&self.body).map_err(|error| error.to_string())?;
        same_count(rows.len(), self.samples)?;
        Ok(rows)
    }

    /// As [`StoredChunk::rows`].
    ///
    /// # Errors
    /// [`HistoryError::Damaged`].
    pub(crate) fn decode(&self) -> Result<Vec<Row>, HistoryError> {
        self.rows().map_err(|reason| HistoryError::Damaged { place: format!("chunk {}", self.id), reason })
    }
}

/// Of a row with a body: its keys and body are as they were written.
pub(crate) fn same_body(keys: &[i64], body: &[u8], stored: i64) -> Result<(), String> {
    if row_crc(keys, &[body]) == stored { Ok(()) } else { Err("its checksum does not match".to_owned()) }
}

/// Of a row with a body: the body has as many samples as the row says.
pub(crate) fn same_count(found: usize, samples: i64) -> Result<(), String> {
    if i64::try_from(found) == Ok(samples) {
        return Ok(());
    }
    Err(format!("it has {found} samples instead of {samples}"))
}

/// The batch of a row `seq, first_time, last_time, samples, crc, body`, once the checksum holds.
pub(crate) fn batch_of(row: Fields<'_>) -> Result<(i64, Batch), String> {
    let (seq, samples) = (row.int(0)?, row.int(3)?);
    same_body(&[row.int(1)?, row.int(2)?, samples], row.blob(5)?, row.int(4)?)?;
    let batch = Batch::decode(row.blob(5)?).map_err(|error| error.to_string())?;
    same_count(batch.len(), samples)?;
    Ok((seq, batch))
}

/// As [`batch_of`].
///
/// # Errors
/// [`HistoryError::Damaged`].
pub(crate) fn decode_batch(row: &SqliteRow) -> Result<(i64, Batch), HistoryError> {
    fields::read("sample_batch", row, batch_of)
}

/// Tags as a JSON array, for `json_each`.
pub(crate) fn json_list(ids: impl IntoIterator<Item = i64>) -> String {
    let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
    format!("[{}]", ids.join(","))
}

/// What of `chunk` lies within a range, for the tags of `json_each(?1)`. Chunks of one tag do not overlap, so that the
/// last one that starts before the range is the only one that may reach into it from before.
macro_rules! chunks_within {
    ($columns:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM json_each(?1) AS wanted CROSS JOIN chunk AS c ON c.tag = wanted.value
              AND c.first_time BETWEEN
                  coalesce((SELECT max(first_time) FROM chunk WHERE tag = wanted.value AND first_time <= ?2), ?2)
                  AND ?3
              WHERE c.last_time >= ?2 ORDER BY c.tag, c.first_time"
        )
    };
}

/// A damaged chunk is handed on as it is: it is for the caller to say whether that ends the query or is a gap.
pub(crate) async fn chunks(
    snapshot: &mut Transaction<'_, Sqlite>,
    tags: &[i64],
    from: i64,
    to: i64,
) -> Result<Vec<StoredChunk>, sqlx::Error> {
    let rows =
        sqlx::query(chunks_within!("c.id, c.tag, c.first_time, c.last_time, c.samples, c.interval_ns, c.crc, c.body"))
            .bind(json_list(tags.iter().copied()))
            .bind(from)
            .bind(to)
            .fetch_all(&mut **snapshot)
            .await?;
    rows.iter().map(StoredChunk::from_row).collect()
}

impl History {
    /// Batches with samples within the range, in the order of their commits; a damaged one is handed on as the error.
    pub(crate) async fn unmerged(
        &self,
        snapshot: &mut Transaction<'_, Sqlite>,
        from: i64,
        to: i64,
    ) -> Result<Vec<Result<Arc<Batch>, HistoryError>>, HistoryError> {
        let seqs: Vec<i64> =
            sqlx::query_scalar("SELECT seq FROM sample_batch WHERE last_time >= ?1 AND first_time <= ?2 ORDER BY seq")
                .bind(from)
                .bind(to)
                .fetch_all(&mut **snapshot)
                .await
                .map_err(self.wrap())?;
        let mut batches = Vec::with_capacity(seqs.len());
        for seq in seqs {
            let known = self.tail().get(seq);
            if let Some(batch) = known {
                batches.push(Ok(batch));
                continue;
            }
            let row =
                sqlx::query("SELECT seq, first_time, last_time, samples, crc, body FROM sample_batch WHERE seq = ?1")
                    .bind(seq)
                    .fetch_one(&mut **snapshot)
                    .await
                    .map_err(self.wrap())?;
            let batch = decode_batch(&row).map(|(_, batch)| Arc::new(batch));
            if let Ok(batch) = &batch {
                self.tail().put(seq, Arc::clone(batch));
            }
            batches.push(batch);
        }
        Ok(batches)
    }

    /// Every sample of `tag` from `from` to `to` (both within), oldest first, one a time: the last that arrived (see
    /// [`History::corrections`]). Exactly as it came in.
    ///
    /// # Errors
    /// [`HistoryError::Damaged`] where a stored row does not pass its checksum; a range upside down; SQLite's own.
    pub async fn raw(&self, tag: TagId, from: UtcNanos, to: UtcNanos) -> Result<Vec<Sample>, HistoryError> {
        let (from, to) = checked(from, to)?;
        let rows = self.raw_rows(&[self.file_tag(tag)?], from, to).await?;
        Ok(rows.into_iter().flat_map(|(_, rows)| rows).map(|row| row.sample(tag)).collect())
    }

    /// Rows of each of `tags` (the file's ids) within the range, sorted; tags without any are left out.
    pub(crate) async fn raw_rows(
        &self,
        tags: &[i64],
        from: i64,
        to: i64,
    ) -> Result<Vec<(i64, Vec<Row>)>, HistoryError> {
        let mut snapshot = self.snapshot().await?;
        self.rows_within(&mut snapshot, tags, from, to).await
    }

    async fn rows_within(
        &self,
        snapshot: &mut Transaction<'_, Sqlite>,
        tags: &[i64],
        from: i64,
        to: i64,
    ) -> Result<Vec<(i64, Vec<Row>)>, HistoryError> {
        let stored = chunks(snapshot, tags, from, to).await.map_err(self.wrap())?;
        let batches = self.unmerged(snapshot, from, to).await?;
        let batches = batches.into_iter().collect::<Result<Vec<_>, _>>()?;
        let decoded: i64 = stored.iter().map(|chunk| chunk.samples).sum();
        self.inner.samples_decoded.fetch_add(decoded.unsigned_abs(), std::sync::atomic::Ordering::Relaxed);
        let tags = tags.to_vec();
        blocking(move || {
            let mut all = Vec::with_capacity(tags.len());
            for tag in tags {
                let mut rows = Vec::new();
                for chunk in stored.iter().filter(|chunk| chunk.tag == tag) {
                    rows.extend(chunk.decode()?);
                }
                for batch in &batches {
                    rows.extend_from_slice(batch.rows(tag));
                }
                rows.retain(|row| (from..=to).contains(&row.time));
                sort_and_join(&mut rows);
                if !rows.is_empty() {
                    all.push((tag, rows));
                }
            }
            Ok(all)
        })
        .await
    }

    /// All samples of the plant's tags from `from` to `to` (both within), in time order, page by page, so that any
    /// range fits in memory. All pages are of the history as it was at the first one, whatever is written meanwhile;
    /// until they are dropped, which may be at any time, the log is not cut back.
    pub fn samples(&self, from: UtcNanos, to: UtcNanos) -> SamplePages {
        self.pages(self.inner.ids.tags().to_vec(), from, to)
    }

    /// As [`History::samples`], of some tags.
    ///
    /// # Errors
    /// An unknown tag.
    pub fn samples_of(&self, tags: &[TagId], from: UtcNanos, to: UtcNanos) -> Result<SamplePages, HistoryError> {
        let tags = tags.iter().map(|&tag| self.file_tag(tag)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.pages(tags, from, to))
    }

    pub(crate) fn pages(&self, tags: Vec<i64>, from: UtcNanos, to: UtcNanos) -> SamplePages {
        let next = (from <= to).then_some(from.0);
        SamplePages { history: self.clone(), snapshot: None, tags, next, to: to.0, span: PAGE_NS_FIRST }
    }
}

/// Samples in time order, page by page.
#[derive(Debug)]
pub struct SamplePages {
    history: History,
    /// The view that all pages are of; begun with the first.
    snapshot: Option<Transaction<'static, Sqlite>>,
    tags: Vec<i64>,
    next: Option<i64>,
    to: i64,
    /// Nanoseconds of the next page; follows the density of the data.
    span: i64,
}

impl SamplePages {
    /// The next page: about 65,536 samples, in time order and never empty; `None` after the last.
    ///
    /// # Errors
    /// As [`History::raw`].
    pub async fn next(&mut self) -> Result<Option<Vec<Sample>>, HistoryError> {
        let Some(rows) = self.next_rows().await? else { return Ok(None) };
        let ids = &self.history.inner.ids;
        let mut page = Vec::with_capacity(rows.iter().map(|(_, rows)| rows.len()).sum());
        for (tag, rows) in rows {
            if let Some(tag) = ids.tag_of(tag) {
                page.extend(rows.iter().map(|row| row.sample(tag)));
            }
        }
        page.sort_by_key(|sample: &Sample| sample.time);
        Ok(Some(page))
    }

    /// The next page as rows of each tag.
    pub(crate) async fn next_rows(&mut self) -> Result<Option<Vec<(i64, Vec<Row>)>>, HistoryError> {
        let mut snapshot = match self.snapshot.take() {
            Some(snapshot) => snapshot,
            None => self.history.snapshot().await?,
        };
        let rows = self.rows_of(&mut snapshot).await;
        // Given back with the last page.
        self.snapshot = self.next.is_some().then_some(snapshot);
        rows
    }

    async fn rows_of(
        &mut self,
        snapshot: &mut Transaction<'static, Sqlite>,
    ) -> Result<Option<Vec<(i64, Vec<Row>)>>, HistoryError> {
        while let Some(from) = self.next {
            if self.is_nothing_from(snapshot, from).await? {
                self.next = None;
                break;
            }
            let to = loop {
                let to = from.saturating_add(self.span - 1).min(self.to);
                if self.span <= 1 || self.decoded(snapshot, from, to).await? <= PAGE_DECODED_MAX {
                    break to;
                }
                self.span = (self.span / 4).max(1);
            };
            let rows = self.history.rows_within(snapshot, &self.tags, from, to).await?;
            self.next = if to < self.to { Some(to + 1) } else { None };
            let count: usize = rows.iter().map(|(_, rows)| rows.len()).sum();
            if count < PAGE_SAMPLES / 2 {
                self.span = self.span.saturating_mul(2);
            } else if count > PAGE_SAMPLES * 2 {
                self.span = (self.span / 2).max(1);
            }
            if count > 0 {
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }

    async fn is_nothing_from(
        &self,
        snapshot: &mut Transaction<'static, Sqlite>,
        from: i64,
    ) -> Result<bool, HistoryError> {
        let any: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM sample_batch WHERE last_time >= ?1)
                 OR EXISTS (SELECT 1 FROM chunk WHERE last_time >= ?1)",
        )
        .bind(from)
        .fetch_one(&mut **snapshot)
        .await
        .map_err(self.history.wrap())?;
        Ok(!any)
    }

    /// How many stored samples would have to be decoded for a range, not counting the one chunk a tag that any moment
    /// needs.
    async fn decoded(
        &self,
        snapshot: &mut Transaction<'static, Sqlite>,
        from: i64,
        to: i64,
    ) -> Result<i64, HistoryError> {
        let chunks: Vec<(i64, i64)> = sqlx::query_as(chunks_within!("c.tag, c.samples"))
            .bind(json_list(self.tags.iter().copied()))
            .bind(from)
            .bind(to)
            .fetch_all(&mut **snapshot)
            .await
            .map_err(self.history.wrap())?;
        let batches: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(samples), 0) FROM sample_batch WHERE last_time >= ?1 AND first_time <= ?2",
        )
        .bind(from)
        .bind(to)
        .fetch_one(&mut **snapshot)
        .await
        .map_err(self.history.wrap())?;
        let further: i64 = chunks.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| pair[1].1).sum();
        Ok(further + batches)
    }
}

/// Runs what computes for long off the threads that answer others.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HistoryError> + Send + 'static,
) -> Result<T, HistoryError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is being shut down.
        Err(_) => Err(HistoryError::Closed),
    }
}
