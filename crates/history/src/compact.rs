//! Everything merged, and what is free given back to the disk.

use std::path::Path;

use serde::Serialize;
use sightglass_protocol::UtcNanos;

use crate::{
    error::HistoryError,
    merge::MergeStats,
    open::History,
    verify::{OnProgress, Progress},
    writer::Durability,
};

/// Pages that one transaction gives back.
const STEP_PAGES: u32 = 4096;

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// Bytes of the history's files before.
    pub bytes_before: u64,
    /// Bytes of the history's files after.
    pub bytes_after: u64,
    /// What was merged.
    pub merged: MergeStats,
}

/// Merges everything that the history in `dir` has, and gives back what is free, in steps that may be cut off anywhere.
/// No engine may have the folder.
///
/// # Errors
/// [`HistoryError::NotFound`], [`HistoryError::InUse`], [`HistoryError::DiskFull`], SQLite's own.
pub async fn compact(dir: &Path, progress: OnProgress<'_>) -> Result<Compacted, HistoryError> {
    let reader = History::open_read_only(dir).await?;
    let plant = reader.plant().clone();
    reader.close().await?;
    let history = History::open(dir, &plant).await?;
    let mut done = Compacted { bytes_before: history.bytes()?, ..Compacted::default() };
    progress(Progress { what: "merging", done: 0, total: 0 });
    done.merged = history.merge(UtcNanos::MAX).await?;
    let free = history.free_pages().await?;
    loop {
        let left = history.free_pages().await?;
        let total = free.unsigned_abs();
        progress(Progress { what: "giving back free pages", done: total.saturating_sub(left.unsigned_abs()), total });
        if left == 0 {
            break;
        }
        history.give_back(STEP_PAGES).await?;
        if history.free_pages().await? >= left {
            // Nothing more comes of it (a file that was made without the map that this needs).
            break;
        }
    }
    history.clone().close().await?;
    done.bytes_after = history.bytes()?;
    Ok(done)
}

impl History {
    /// Pages of the file that hold nothing.
    pub(crate) async fn free_pages(&self) -> Result<i64, HistoryError> {
        let mut writing = self.writing("compacting").await?;
        let mut transaction = writing.begin(Durability::Process).await?;
        let pages =
            sqlx::query_scalar("PRAGMA freelist_count").fetch_one(&mut *transaction).await.map_err(self.wrap())?;
        transaction.rollback().await.map_err(self.wrap())?;
        Ok(pages)
    }
}
