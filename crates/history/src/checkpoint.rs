//! From the write-ahead log into the file: by a connection of its own, so that commits wait for a few pages only.
//!
//! SQLite would do it within whichever commit fills the log, with all of the log's pages and two syncs. Here the bulk
//! is copied while commits go on; then the writer is held for what came in meanwhile, so that the next commit begins
//! the log anew.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use sqlx::{Connection, sqlite::SqliteConnection};
use tokio::{sync::Notify, task::JoinHandle};

use crate::{
    error::HistoryError,
    open::{History, Inner, plain_connection},
};

/// The log is folded into the file after so many bytes.
const LOG_BYTES_DUE: u64 = 8 << 20;
/// If that does not come about (nothing but events for days), SQLite folds the log in itself at so many pages.
pub(crate) const LOG_PAGES_MAX: u32 = 8192;
/// A log that grew longer than this beside a long look at the past is cut back to it afterwards.
pub(crate) const LOG_BYTES_KEPT: u64 = 64 << 20;

/// Wakes the checkpointer, and ends it when dropped.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    due: Arc<Notify>,
    /// Bytes of bodies since the last turn.
    logged: AtomicU64,
    task: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Checkpointer {
    pub(crate) fn new() -> Self {
        Self { due: Arc::new(Notify::new()), logged: AtomicU64::new(0), task: std::sync::Mutex::new(None) }
    }

    /// Starts the task that works for `inner` until it is gone or closed.
    pub(crate) fn start(&self, inner: &Arc<Inner>) {
        let (due, weak) = (Arc::clone(&self.due), Arc::downgrade(inner));
        let task = tokio::spawn(async move {
            loop {
                due.notified().await;
                let Some(inner) = weak.upgrade() else { return };
                let history = History { inner };
                if let Err(error) = history.checkpoint().await {
                    // Nothing is lost: the log keeps everything and grows until the next turn.
                    tracing::warn!(%error, "folding the write-ahead log into the history is put off");
                }
            }
        });
        *self.task.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(task);
    }

    /// Ends the task, wherever it is: a checkpoint may be cut off anywhere.
    pub(crate) async fn stop(&self) {
        let task = self.task.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(task) = task {
            task.abort();
            // Cancelled, which is what was asked for; a panic was told by the runtime.
            drop(task.await);
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

impl History {
    /// Notes that bodies of so many bytes were committed, and wakes the checkpointer when there were enough.
    pub(crate) fn logged(&self, bytes: usize) {
        let checkpointer = &self.inner.checkpointer;
        let before = checkpointer.logged.fetch_add(bytes as u64, Ordering::Relaxed);
        if before + bytes as u64 > LOG_BYTES_DUE {
            checkpointer.logged.store(0, Ordering::Relaxed);
            checkpointer.due.notify_one();
        }
    }

    async fn checkpoint(&self) -> Result<(), HistoryError> {
        // Opened for each turn: the folder may have gone and come back meanwhile.
        let mut opened = plain_connection(&self.inner.dir).await.map_err(self.wrap())?;
        let connection = &mut opened;
        passive(connection).await.map_err(self.wrap())?;
        // The rest, which came in meanwhile, while nobody writes: the next commit then begins the log anew.
        let writing = self.writing("folding in the log").await?;
        passive(connection).await.map_err(self.wrap())?;
        drop(writing);
        opened.close().await.map_err(self.wrap())
    }
}

async fn passive(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(connection).await.map(|_| ())
}
