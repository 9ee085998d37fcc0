//! What is older than the plant wants to keep goes, oldest first.

use serde::Serialize;
use sightglass_protocol::UtcNanos;

use crate::{error::HistoryError, open::History, video::WRITING, writer::Durability};

const DAY_NS: i64 = 86_400_000_000_000;
/// Roll-ups are kept this many times longer than the samples under them.
const ROLLUP_FACTOR: i64 = 10;
/// Rows that one transaction deletes, so that no commit waits for long.
const STEP_ROWS_MAX: i64 = 512;

/// How much is kept; `None` is without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Samples and predictions, in days. Roll-ups stay ten times as long.
    pub samples_days: Option<u32>,
    /// Video, in days.
    pub video_days: Option<u32>,
    /// Video, in bytes.
    pub video_bytes: Option<u64>,
}

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Chunks and batches of samples.
    pub chunks: u64,
    /// Roll-up blocks.
    pub blocks: u64,
    /// Rows of predictions.
    pub outputs: u64,
    /// Segments of video.
    pub segments: u64,
    /// Bytes of video.
    pub video_bytes: u64,
}

impl History {
    /// Deletes what lies wholly before what `keep` allows at `now`. Pinned segments and the one being written stay, and
    /// so do advisories, events and audit. A segment whose file cannot be deleted stays indexed, is reported, and is
    /// tried again the next time.
    ///
    /// # Errors
    /// [`HistoryError::NotWritable`], or SQLite's own.
    pub async fn apply_retention(&self, now: UtcNanos, keep: Keep) -> Result<Removed, HistoryError> {
        let _rewriting = self.inner.rewriting.lock().await;
        let mut removed = Removed::default();
        if let Some(days) = keep.samples_days {
            let limit = now - i64::from(days).saturating_mul(DAY_NS);
            removed.chunks += self
                .delete("DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE last_time < ?1 LIMIT ?2)", limit.0)
                .await?;
            removed.chunks += self
                .delete(
                    "DELETE FROM sample_batch WHERE seq IN
                     (SELECT seq FROM sample_batch WHERE last_time < ?1 LIMIT ?2)",
                    limit.0,
                )
                .await?;
            removed.outputs += self
                .delete("DELETE FROM output WHERE id IN (SELECT id FROM output WHERE last_time < ?1 LIMIT ?2)", limit.0)
                .await?;
            let limit = now - i64::from(days).saturating_mul(DAY_NS).saturating_mul(ROLLUP_FACTOR);
            // The end of a slot of level n: (slot + 1) * 1000 * 10^n seconds.
            removed.blocks += self
                .delete(
                    "DELETE FROM rollup WHERE id IN (SELECT id FROM rollup
                     WHERE (slot + 1.0) * 1000e9 * CASE level WHEN 0 THEN 1e0 WHEN 1 THEN 1e1 WHEN 2 THEN 1e2
                         WHEN 3 THEN 1e3 WHEN 4 THEN 1e4 WHEN 5 THEN 1e5 ELSE 1e6 END < ?1 LIMIT ?2)",
                    limit.0,
                )
                .await?;
        }
        self.delete_video(now, keep, &mut removed).await?;
        Ok(removed)
    }

    /// Runs a DELETE with (limit of time, limit of rows) until it finds nothing.
    async fn delete(&self, sql: &'static str, limit: i64) -> Result<u64, HistoryError> {
        let mut deleted = 0;
        loop {
            let mut writing = self.writing("deleting what is too old").await?;
            let mut transaction = writing.begin(Durability::Process).await?;
            let done = sqlx::query(sql)
                .bind(limit)
                .bind(STEP_ROWS_MAX)
                .execute(&mut *transaction)
                .await
                .map_err(self.wrap())?
                .rows_affected();
            transaction.commit().await.map_err(self.wrap())?;
            deleted += done;
            if done == 0 {
                return Ok(deleted);
            }
        }
    }

    async fn delete_video(&self, now: UtcNanos, keep: Keep, removed: &mut Removed) -> Result<(), HistoryError> {
        let clips: Vec<(i64, String, Option<i64>, i64, bool)> = sqlx::query_as(
            "SELECT id, path, end_time, bytes, pinned FROM clip WHERE state <> ?1 ORDER BY end_time, id",
        )
        .bind(WRITING)
        .fetch_all(&self.inner.readers)
        .await
        .map_err(self.wrap())?;
        let limit = keep.video_days.map(|days| now - i64::from(days).saturating_mul(DAY_NS));
        let mut total: u64 = clips.iter().map(|(_, _, _, bytes, _)| *bytes as u64).sum();
        for (id, path, end, bytes, pinned) in clips {
            let is_old = limit.zip(end).is_some_and(|(limit, end)| end < limit.0);
            let is_too_much = keep.video_bytes.is_some_and(|most| total > most);
            if pinned || !(is_old || is_too_much) {
                continue;
            }
            // The file first: a row without a file is a gap, a file without a row would stay for ever.
            match std::fs::remove_file(self.inner.dir.join(&path)) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(%path, %error, "a segment of video could not be deleted; it is tried again later");
                    continue;
                }
            }
            let mut writing = self.writing("deleting what is too old").await?;
            let mut transaction = writing.begin(Durability::Process).await?;
            sqlx::query("DELETE FROM clip WHERE id = ?1")
                .bind(id)
                .execute(&mut *transaction)
                .await
                .map_err(self.wrap())?;
            transaction.commit().await.map_err(self.wrap())?;
            total -= bytes as u64;
            removed.segments += 1;
            removed.video_bytes += bytes as u64;
        }
        Ok(())
    }
}
