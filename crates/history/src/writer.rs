//! The one writer: a single connection, whose short transactions follow each other.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

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

/// Before a transaction that begins so long after the last sync, what was committed since is synced. With most of
/// the promised second in hand, a slow sync, or one that fails, breaks no promise.
const SYNC_AFTER: Duration = Duration::from_millis(250);

/// The connection that writes.
#[derive(Debug)]
struct Connected {
    connection: SqliteConnection,
    /// How it syncs at present.
    durability: Durability,
    /// When everything committed was last synced.
    synced: Instant,
    /// Whether anything may have been committed since without a sync.
    unsynced: bool,
}

impl Connected {
    /// Takes a connection that syncs every commit.
    fn new(connection: SqliteConnection) -> Self {
        Self { connection, durability: Durability::Power, synced: Instant::now(), unsynced: false }
    }

    /// Whether the next commit syncs.
    async fn set(&mut self, durability: Durability) -> Result<(), sqlx::Error> {
        if self.durability != durability {
            let pragma = match durability {
                Durability::Process => "PRAGMA synchronous = NORMAL",
                Durability::Power => "PRAGMA synchronous = FULL",
            };
            sqlx::query(pragma).execute(&mut self.connection).await?;
            self.durability = durability;
        }
        Ok(())
    }

    /// Syncs everything that was committed. A commit of its own: one that is asked for may be undone, or have nothing in
    /// it, and SQLite then syncs nothing.
    async fn sync(&mut self) -> Result<(), sqlx::Error> {
        if self.unsynced {
            self.set(Durability::Power).await?;
            sqlx::query("UPDATE merge_progress SET syncs = syncs + 1").execute(&mut self.connection).await?;
            self.unsynced = false;
        }
        self.synced = Instant::now();
        Ok(())
    }
}

/// The writing connection.
#[derive(Debug)]
pub(crate) struct WriteHalf {
    connection: Mutex<Option<Connected>>,
    /// Samples in batches that are not merged yet.
    unmerged: AtomicI64,
}

impl WriteHalf {
    /// Takes a connection that syncs every commit, and how many samples wait to be merged.
    pub(crate) fn new(connection: SqliteConnection, unmerged: i64) -> Self {
        Self { connection: Mutex::new(Some(Connected::new(connection))), unmerged: AtomicI64::new(unmerged) }
    }

    pub(crate) async fn take(&self) -> Option<SqliteConnection> {
        self.connection.lock().await.take().map(|connected| connected.connection)
    }

    /// Takes note of how many samples wait to be merged in a file that was opened anew.
    pub(crate) fn set_unmerged(&self, samples: i64) {
        self.unmerged.store(samples, Ordering::Relaxed);
    }

    pub(crate) fn merged(&self, samples: i64) {
        self.unmerged.fetch_sub(samples, Ordering::Relaxed);
    }
}

/// The writing connection, while one caller has it.
pub(crate) struct Writing<'a> {
    history: &'a History,
    connection: MutexGuard<'a, Option<Connected>>,
}

impl Writing<'_> {
    /// Whether the history was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.connection.is_none()
    }

    /// Puts another connection, which syncs every commit, in the place of the present one.
    pub(crate) fn replace(&mut self, connection: SqliteConnection) {
        *self.connection = Some(Connected::new(connection));
    }

    /// The connection, ready for a statement or a transaction of its own.
    async fn ready(&mut self) -> Result<&mut Connected, HistoryError> {
        let Some(connected) = self.connection.as_mut() else { return Err(HistoryError::Closed) };
        let wrap = |source| self.history.error(source);
        if connected.connection.is_in_transaction() {
            // The last one is still being undone, or SQLite undid it by itself (a full disk), of which sqlx knows
            // nothing: it would then refuse every transaction to come.
            connected.connection.ping().await.map_err(wrap)?;
            if connected.connection.is_in_transaction() {
                connected.connection = writing_connection(&self.history.inner.dir).await.map_err(wrap)?;
                connected.durability = Durability::Power;
            }
        }
        Ok(connected)
    }

    /// Starts a transaction; dropped without a commit, it is undone.
    pub(crate) async fn begin(&mut self, durability: Durability) -> Result<Transaction<'_, Sqlite>, HistoryError> {
        let history = self.history;
        let wrap = |source| history.error(source);
        let connected = self.ready().await?;
        if connected.synced.elapsed() >= SYNC_AFTER {
            connected.sync().await.map_err(wrap)?;
        }
        connected.set(durability).await.map_err(wrap)?;
        connected.unsynced |= durability == Durability::Process;
        connected.connection.begin_with("BEGIN IMMEDIATE").await.map_err(wrap)
    }

    /// Syncs everything that was committed.
    async fn sync(&mut self) -> Result<(), HistoryError> {
        let history = self.history;
        self.ready().await?.sync().await.map_err(|source| history.error(source))
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

    /// Syncs what was committed without a sync, so that a power cut takes none of it. To be called a quarter of
    /// a second after the last commit of a busy time; while commits go on, this happens by itself four times a second.
    ///
    /// # Errors
    /// [`HistoryError::DiskFull`], [`HistoryError::NotWritable`], or SQLite's own.
    pub async fn sync(&self) -> Result<(), HistoryError> {
        self.writing("syncing").await?.sync().await
    }

    /// Counts the samples of batches anew, after batches were deleted or others are there. The index has the counts.
    pub(crate) async fn recount_unmerged(&self, writing: &mut Writing<'_>) -> Result<(), HistoryError> {
        let Some(connected) = writing.connection.as_mut() else { return Err(HistoryError::Closed) };
        let samples: i64 = sqlx::query_scalar("SELECT coalesce(sum(samples), 0) FROM sample_batch")
            .fetch_one(&mut connected.connection)
            .await
            .map_err(self.wrap())?;
        if let Some(writer) = &self.inner.writer {
            writer.unmerged.store(samples, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Samples in batches that are not merged yet: when there are many, [`History::merge`] is due. Costs nothing.
    pub fn unmerged_samples(&self) -> u64 {
        let writer = self.inner.writer.as_ref();
        writer.map_or(0, |writer| writer.unmerged.load(Ordering::Relaxed).max(0) as u64)
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
        let bytes = batches.iter().map(|(_, body)| body.len()).sum();
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
        if let Some(writer) = &self.inner.writer {
            writer.unmerged.fetch_add(samples.len() as i64, Ordering::Relaxed);
        }
        // Before the writer is let go, so that a merge never removes a batch that comes to the tail afterwards.
        let mut tail = self.tail();
        for (seq, batch) in stored {
            tail.put(seq, batch);
        }
        drop(tail);
        drop(writing);
        self.logged(bytes);
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
