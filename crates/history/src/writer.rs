//! The one writer: a single connection, whose short transactions follow each other.

use std::{collections::BTreeMap, sync::Arc};

use sightglass_protocol::Sample;
use sqlx::{Connection, Sqlite, Transaction, sqlite::SqliteConnection};
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    batch::Batch,
    chunk::Row,
    codec::row_crc,
    error::HistoryError,
    open::{History, writing_connection},
};

/// The most samples in one batch row; a larger commit has several rows.
pub const BATCH_SAMPLES_MAX: usize = 1 << 16;
/// The most samples of committed, not yet merged batches that are also kept in memory (24 bytes each).
pub const TAIL_SAMPLES_MAX: usize = 1 << 20;

/// What a commit survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The end of the process, however violent. After a power cut the last moments may be missing, in whole commits.
    Process,
    /// A power cut, too: synced before the commit returns (and everything committed before it with it).
    Power,
}

/// The writing connection, and how it syncs at present.
#[derive(Debug)]
pub(crate) struct WriteHalf {
    connection: Mutex<Option<(SqliteConnection, Durability)>>,
}

impl WriteHalf {
    /// Takes a connection that syncs every commit.
    pub(crate) fn new(connection: SqliteConnection) -> Self {
        Self { connection: Mutex::new(Some((connection, Durability::Power))) }
    }

    pub(crate) async fn take(&self) -> Option<SqliteConnection> {
        self.connection.lock().await.take().map(|(connection, _)| connection)
    }
}

/// The writing connection, while one caller has it.
pub(crate) struct Writing<'a> {
    history: &'a History,
    connection: MutexGuard<'a, Option<(SqliteConnection, Durability)>>,
}

impl Writing<'_> {
    /// Starts a transaction; dropped without a commit, it is undone.
    pub(crate) async fn begin(&mut self, durability: Durability) -> Result<Transaction<'_, Sqlite>, HistoryError> {
        let Some((connection, current)) = self.connection.as_mut() else { return Err(HistoryError::Closed) };
        let wrap = |source| self.history.error(source);
        if connection.is_in_transaction() {
            // The last one is still being undone, or SQLite undid it by itself (a full disk), of which sqlx knows
            // nothing: it would then refuse every transaction to come.
            connection.ping().await.map_err(wrap)?;
            if connection.is_in_transaction() {
                *connection = writing_connection(&self.history.inner.dir).await.map_err(wrap)?;
                *current = Durability::Power;
            }
        }
        if *current != durability {
            let pragma = match durability {
                Durability::Process => "PRAGMA synchronous = NORMAL",
                Durability::Power => "PRAGMA synchronous = FULL",
            };
            sqlx::query(pragma).execute(&mut *connection).await.map_err(wrap)?;
            *current = durability;
        }
        connection.begin_with("BEGIN IMMEDIATE").await.map_err(wrap)
    }
}

/// Committed batches in memory, so that the newest values are not decoded anew at every look.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    batches: BTreeMap<i64, Arc<Batch>>,
    samples: usize,
}

impl Tail {
    pub(crate) fn get(&self, seq: i64) -> Option<Arc<Batch>> {
        self.batches.get(&seq).cloned()
    }

    /// Keeps a batch; lets go of the oldest ones beyond the limit.
    pub(crate) fn put(&mut self, seq: i64, batch: Arc<Batch>) {
        self.samples += batch.len();
        if let Some(old) = self.batches.insert(seq, batch) {
            self.samples -= old.len();
        }
        while self.samples > TAIL_SAMPLES_MAX
            && let Some((_, oldest)) = self.batches.pop_first()
        {
            self.samples -= oldest.len();
        }
    }

    pub(crate) fn remove(&mut self, seq: i64) {
        if let Some(batch) = self.batches.remove(&seq) {
            self.samples -= batch.len();
        }
    }
}

impl History {
    /// The writing connection, once whoever has it is done. `action` is for the error of a read-only history.
    pub(crate) async fn writing(&self, action: &'static str) -> Result<Writing<'_>, HistoryError> {
        let writer = self.inner.writer.as_ref().ok_or(HistoryError::NotWritable { action })?;
        Ok(Writing { history: self, connection: writer.connection.lock().await })
    }

    pub(crate) fn tail(&self) -> std::sync::MutexGuard<'_, Tail> {
        // A panic elsewhere leaves the tail a mere cache: still right, or missing entries.
        self.inner.tail.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Commits samples, in any order, of any tags. On return they survive the end of the process; after a power cut the
    /// last second of them may be missing.
    ///
    /// # Errors
    /// [`HistoryError::Unknown`] for a tag that the plant does not have (nothing is stored then),
    /// [`HistoryError::DiskFull`], [`HistoryError::NotWritable`], or SQLite's own: nothing of this call is stored.
    pub async fn append(&self, samples: &[Sample]) -> Result<(), HistoryError> {
        let mut batches = Vec::with_capacity(samples.len().div_ceil(BATCH_SAMPLES_MAX));
        for part in samples.chunks(BATCH_SAMPLES_MAX) {
            let rows = part
                .iter()
                .map(|sample| Ok((self.file_tag(sample.tag)?, Row::of(sample))))
                .collect::<Result<Vec<_>, HistoryError>>()?;
            let batch = Batch::new(rows);
            let body = batch.encode();
            batches.push((Arc::new(batch), body));
        }
        if batches.is_empty() {
            return Ok(());
        }
        let mut writing = self.writing("recording samples").await?;
        let mut transaction = writing.begin(Durability::Process).await?;
        let mut stored = Vec::with_capacity(batches.len());
        for (batch, body) in batches {
            let Some((first, last)) = batch.range() else { continue };
            let keys = [first, last, batch.len() as i64];
            let seq: i64 = sqlx::query_scalar(
                "INSERT INTO sample_batch (first_time, last_time, samples, crc, body) VALUES (?1, ?2, ?3, ?4, ?5)
                 RETURNING seq",
            )
            .bind(first)
            .bind(last)
            .bind(batch.len() as i64)
            .bind(row_crc(&keys, &[&body]))
            .bind(&body)
            .fetch_one(&mut *transaction)
            .await
            .map_err(self.wrap())?;
            stored.push((seq, batch));
        }
        transaction.commit().await.map_err(self.wrap())?;
        // Before the writer is let go, so that a merge never removes a batch that comes to the tail afterwards.
        let mut tail = self.tail();
        for (seq, batch) in stored {
            tail.put(seq, batch);
        }
        drop(tail);
        drop(writing);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sightglass_protocol::{PlantInfo, UtcNanos};

    use super::*;

    #[tokio::test]
    async fn what_sqlite_undoes_by_itself_does_not_end_the_recording() {
        let folder = tempfile::tempdir().unwrap();
        let plant = PlantInfo { name: "p".to_owned(), lines: Vec::new(), tags: Vec::new(), cameras: Vec::new() };
        let history = History::open(folder.path(), &plant).await.unwrap();
        for round in 0..3 {
            let mut writing = history.writing("testing").await.unwrap();
            let mut transaction = writing.begin(Durability::Process).await.unwrap();
            // As SQLite does when the disk is full.
            sqlx::query("ROLLBACK").execute(&mut *transaction).await.unwrap();
            drop(transaction);
            drop(writing);
            history.put_event(UtcNanos(round), "test", "written").await.unwrap();
        }
    }
}
