//! What is older or larger than the plant wants to keep goes, oldest first; and when the disk is nearly full, what can
//! best be done without.

use serde::Serialize;
use sightglass_protocol::UtcNanos;
use sqlx::{Sqlite, Transaction};

use crate::{deletion, error::HistoryError, fields, open::History, raw::json_list, video::WRITING, writer::Durability};

const DAY_NS: i64 = 86_400_000_000_000;
const SECOND_NS: i64 = 1_000_000_000;
/// Rows that one transaction deletes, so that no commit waits for long.
const STEP_ROWS_MAX: i64 = 512;

/// How much of one kind is kept; `None` is without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Days before now.
    pub days: Option<u32>,
    /// Bytes, counted without what the database itself needs (of video: the files).
    pub bytes: Option<u64>,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Samples and predictions.
    pub samples: Budget,
    /// Roll-ups: what trends show where the samples are gone.
    pub rollups: Budget,
    /// Video.
    pub video: Budget,
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
    /// Bytes of samples, roll-ups and predictions. Only known where they were deleted for their bytes.
    pub row_bytes: u64,
}

impl Removed {
    /// Whether nothing was deleted.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what else was deleted.
    pub fn add(&mut self, more: &Self) {
        self.chunks += more.chunks;
        self.blocks += more.blocks;
        self.outputs += more.outputs;
        self.segments += more.segments;
        self.video_bytes += more.video_bytes;
        self.row_bytes += more.row_bytes;
    }
}

/// The end of a roll-up's slot in seconds, exactly as index `rollup_end` has it.
macro_rules! rollup_end {
    () => {
        "(slot + 1) * CASE level WHEN 0 THEN 1000 WHEN 1 THEN 10000 WHEN 2 THEN 100000
         WHEN 3 THEN 1000000 WHEN 4 THEN 10000000 WHEN 5 THEN 100000000 ELSE 1000000000 END"
    };
}

const OLD_CHUNKS: &str = "DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE last_time < ?1 LIMIT ?2)";
const OLD_BATCHES: &str =
    "DELETE FROM sample_batch WHERE seq IN (SELECT seq FROM sample_batch WHERE last_time < ?1 LIMIT ?2)";
const OLD_OUTPUTS: &str = "DELETE FROM output WHERE id IN (SELECT id FROM output WHERE last_time < ?1 LIMIT ?2)";
const OLD_BLOCKS: &str =
    concat!("DELETE FROM rollup WHERE id IN (SELECT id FROM rollup WHERE ", rollup_end!(), " < ?1 LIMIT ?2)");

/// Tables as they are called in `kept_from` and in the queries for the oldest rows.
const CHUNK: i64 = 0;
const BATCH: i64 = 1;
const OUTPUT: i64 = 2;
const BLOCK: i64 = 3;

/// The oldest rows (table, id, end in nanoseconds, bytes), at most ?1.
const OLDEST_SAMPLES: &str =
    "SELECT * FROM (SELECT 0, id, last_time, length(body) FROM chunk ORDER BY last_time LIMIT ?1)
     UNION ALL SELECT * FROM (SELECT 1, seq, last_time, length(body) FROM sample_batch ORDER BY last_time LIMIT ?1)
     UNION ALL SELECT * FROM (SELECT 2, id, last_time,
         length(scores) + length(bands) + length(forecasts) + length(surprises) FROM output ORDER BY last_time LIMIT ?1)
     ORDER BY 3 LIMIT ?1";
const OLDEST_BLOCKS: &str = concat!(
    "SELECT 3, id, 1000000000 * (",
    rollup_end!(),
    "), length(body) FROM rollup ORDER BY ",
    rollup_end!(),
    " LIMIT ?1"
);
const OLDEST_OUTPUTS: &str = "SELECT 2, id, last_time,
     length(scores) + length(bands) + length(forecasts) + length(surprises) FROM output ORDER BY last_time LIMIT ?1";
const OLDEST_CHUNKS: &str = "SELECT 0, id, last_time, length(body) FROM chunk ORDER BY last_time LIMIT ?1";

impl History {
    /// Deletes what is beyond what `keep` allows at `now`, oldest first: by days what lies wholly before, by bytes what
    /// is too much. Pinned segments and the one being written stay, and so do advisories, events and audit. A segment
    /// whose file cannot be deleted stays indexed, is reported, and is tried again the next time. How far it came is
    /// kept (table `kept_from`), so that a gap can be explained.
    ///
    /// # Errors
    /// [`HistoryError::NotWritable`], or SQLite's own.
    pub async fn apply_retention(&self, now: UtcNanos, keep: Keep) -> Result<Removed, HistoryError> {
        let _rewriting = self.inner.rewriting.lock().await;
        let mut removed = self.finish_deletions().await?;
        if let Some(days) = keep.samples.days {
            let limit = (now - i64::from(days).saturating_mul(DAY_NS)).0;
            removed.chunks += self.delete_before(OLD_CHUNKS, limit, "samples", limit).await?;
            removed.chunks += self.delete_before(OLD_BATCHES, limit, "samples", limit).await?;
            removed.outputs += self.delete_before(OLD_OUTPUTS, limit, "predictions", limit).await?;
        }
        if let Some(most) = keep.samples.bytes {
            self.delete_to(most, &["samples", "predictions"], OLDEST_SAMPLES, &mut removed).await?;
        }
        if let Some(days) = keep.rollups.days {
            let limit = (now - i64::from(days).saturating_mul(DAY_NS)).0;
            let seconds = limit.div_euclid(SECOND_NS);
            removed.blocks += self.delete_before(OLD_BLOCKS, seconds, "rollups", limit).await?;
        }
        if let Some(most) = keep.rollups.bytes {
            self.delete_to(most, &["rollups"], OLDEST_BLOCKS, &mut removed).await?;
        }
        self.delete_video(now, keep.video, &mut removed).await?;
        Ok(removed)
    }

    /// Deletes about `bytes` bytes, or what one short step can: what can best be done without, oldest first, is video
    /// that is not pinned, then pinned video, then predictions, and only then merged samples. Roll-ups, advisories,
    /// events and audit stay. For a disk that is nearly full; to be repeated until there is room or nothing was removed.
    /// What was freed within the file goes back to the file system with [`History::give_back`].
    ///
    /// # Errors
    /// [`HistoryError::NotWritable`], or SQLite's own.
    pub async fn relieve(&self, bytes: u64) -> Result<Removed, HistoryError> {
        let _rewriting = self.inner.rewriting.lock().await;
        let mut removed = Removed::default();
        for pinned in [false, true] {
            for clip in self.clips().await? {
                if removed.video_bytes >= bytes {
                    return Ok(removed);
                }
                if clip.pinned == pinned {
                    self.delete_clip(&clip, &mut removed).await?;
                }
            }
        }
        for oldest in [OLDEST_OUTPUTS, OLDEST_CHUNKS] {
            if !removed.is_nothing() {
                break;
            }
            self.delete_oldest(oldest, bytes as i64, &mut removed).await?;
        }
        Ok(removed)
    }

    /// Gives at most `pages` unused pages of the file back to the file system: one short transaction. Returns how many
    /// unused ones are left.
    ///
    /// # Errors
    /// [`HistoryError::NotWritable`], or SQLite's own.
    pub async fn give_back(&self, pages: u32) -> Result<u64, HistoryError> {
        let mut writing = self.writing("giving space back").await?;
        let mut transaction = writing.begin(Durability::Process).await?;
        // Each row that is fetched is a page.
        sqlx::query(sqlx::AssertSqlSafe(format!("PRAGMA incremental_vacuum({pages})")))
            .fetch_all(&mut *transaction)
            .await
            .map_err(self.wrap())?;
        let left: i64 =
            sqlx::query_scalar("PRAGMA freelist_count").fetch_one(&mut *transaction).await.map_err(self.wrap())?;
        transaction.commit().await.map_err(self.wrap())?;
        Ok(left as u64)
    }

    /// Runs a DELETE with (limit, rows) until it finds nothing; notes that `what` is kept from `kept_from` on.
    async fn delete_before(
        &self,
        sql: &'static str,
        limit: i64,
        what: &str,
        kept_from: i64,
    ) -> Result<u64, HistoryError> {
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
            if done > 0 {
                note_kept_from(&mut transaction, what, kept_from).await.map_err(self.wrap())?;
            }
            transaction.commit().await.map_err(self.wrap())?;
            deleted += done;
            if done == 0 {
                if deleted > 0 {
                    self.recount_unmerged(&mut writing).await?;
                }
                return Ok(deleted);
            }
        }
    }

    /// Deletes the oldest rows until no more than `most` bytes of `kinds` are left.
    async fn delete_to(
        &self,
        most: u64,
        kinds: &[&str],
        oldest: &'static str,
        removed: &mut Removed,
    ) -> Result<(), HistoryError> {
        loop {
            let stored: Vec<(String, i64)> = sqlx::query_as("SELECT what, bytes FROM stored_bytes")
                .fetch_all(&self.inner.readers)
                .await
                .map_err(self.wrap())?;
            let total: i64 =
                stored.iter().filter(|(what, _)| kinds.contains(&what.as_str())).map(|(_, bytes)| bytes).sum();
            let excess = total.saturating_sub(i64::try_from(most).unwrap_or(i64::MAX));
            if excess <= 0 || !self.delete_oldest(oldest, excess, removed).await? {
                return Ok(());
            }
        }
    }

    /// Deletes the first of the rows that `oldest` gives, as many as make `bytes`; false when there is none.
    async fn delete_oldest(
        &self,
        oldest: &'static str,
        bytes: i64,
        removed: &mut Removed,
    ) -> Result<bool, HistoryError> {
        let mut writing = self.writing("deleting what is too much").await?;
        let mut transaction = writing.begin(Durability::Process).await?;
        let rows: Vec<(i64, i64, i64, i64)> =
            sqlx::query_as(oldest).bind(STEP_ROWS_MAX).fetch_all(&mut *transaction).await.map_err(self.wrap())?;
        let mut sum = 0;
        let taken: Vec<_> = rows
            .into_iter()
            .take_while(|(_, _, _, row_bytes)| {
                let goes = sum < bytes;
                sum += row_bytes;
                goes
            })
            .collect();
        for (table, what, sql) in [
            (CHUNK, "samples", "DELETE FROM chunk WHERE id IN (SELECT value FROM json_each(?1))"),
            (BATCH, "samples", "DELETE FROM sample_batch WHERE seq IN (SELECT value FROM json_each(?1))"),
            (OUTPUT, "predictions", "DELETE FROM output WHERE id IN (SELECT value FROM json_each(?1))"),
            (BLOCK, "rollups", "DELETE FROM rollup WHERE id IN (SELECT value FROM json_each(?1))"),
        ] {
            let of_table = || taken.iter().filter(|row| row.0 == table);
            let Some(end) = of_table().map(|row| row.2).max() else { continue };
            let ids = json_list(of_table().map(|row| row.1));
            let done =
                sqlx::query(sql).bind(ids).execute(&mut *transaction).await.map_err(self.wrap())?.rows_affected();
            note_kept_from(&mut transaction, what, end.saturating_add(1)).await.map_err(self.wrap())?;
            match table {
                CHUNK | BATCH => removed.chunks += done,
                OUTPUT => removed.outputs += done,
                _ => removed.blocks += done,
            }
            removed.row_bytes += of_table().map(|row| row.3 as u64).sum::<u64>();
        }
        transaction.commit().await.map_err(self.wrap())?;
        if taken.iter().any(|row| row.0 == BATCH) {
            self.recount_unmerged(&mut writing).await?;
        }
        Ok(!taken.is_empty())
    }

    async fn delete_video(&self, now: UtcNanos, budget: Budget, removed: &mut Removed) -> Result<(), HistoryError> {
        let clips = self.clips().await?;
        let limit = budget.days.map(|days| now - i64::from(days).saturating_mul(DAY_NS));
        let mut total: u64 = clips.iter().map(|clip| clip.bytes).sum();
        for clip in clips {
            let is_old = limit.zip(clip.end).is_some_and(|(limit, end)| end < limit.0);
            let is_too_much = budget.bytes.is_some_and(|most| total > most);
            if !clip.pinned && (is_old || is_too_much) && self.delete_clip(&clip, removed).await? {
                total -= clip.bytes;
            }
        }
        Ok(())
    }

    /// Closed segments, oldest first.
    async fn clips(&self) -> Result<Vec<Clip>, HistoryError> {
        let rows =
            sqlx::query("SELECT id, path, end_time, bytes, pinned FROM clip WHERE state <> ?1 ORDER BY end_time, id")
                .bind(WRITING)
                .fetch_all(&self.inner.readers)
                .await
                .map_err(self.wrap())?;
        let clip = |row| {
            fields::read("clip", row, |row| {
                Ok(Clip {
                    path: row.text(1)?.to_owned(),
                    end: row.maybe_int(2)?,
                    bytes: row.int(3)? as u64,
                    pinned: row.int(4)? != 0,
                })
            })
        };
        rows.iter().map(clip).collect()
    }

    /// Deletes a segment; false when its file cannot be deleted now.
    async fn delete_clip(&self, clip: &Clip, removed: &mut Removed) -> Result<bool, HistoryError> {
        if let Err(error) = deletion::begin(&self.inner.dir.join(&clip.path)) {
            let path = &clip.path;
            tracing::warn!(%path, %error, "a segment of video could not be deleted; it is tried again later");
            return Ok(false);
        }
        self.end_deletion(&clip.path).await?;
        removed.segments += 1;
        removed.video_bytes += clip.bytes;
        Ok(true)
    }

    /// Deletes a segment's row, where there is one, and notes how far video is deleted.
    pub(crate) async fn delete_clip_row(&self, path: &str) -> Result<(), HistoryError> {
        let mut writing = self.writing("deleting video").await?;
        let mut transaction = writing.begin(Durability::Process).await?;
        let deleted: Option<(Option<i64>, bool)> =
            sqlx::query_as("DELETE FROM clip WHERE path = ?1 RETURNING end_time, pinned")
                .bind(path)
                .fetch_optional(&mut *transaction)
                .await
                .map_err(self.wrap())?;
        if let Some((Some(end), false)) = deleted {
            note_kept_from(&mut transaction, "video", end.saturating_add(1)).await.map_err(self.wrap())?;
        }
        transaction.commit().await.map_err(self.wrap())
    }
}

/// What is deleted of a row of table `clip`.
struct Clip {
    path: String,
    end: Option<i64>,
    bytes: u64,
    pinned: bool,
}

/// Notes how far `what` is deleted; never goes back.
async fn note_kept_from(transaction: &mut Transaction<'_, Sqlite>, what: &str, time: i64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO kept_from (what, time) VALUES (?1, ?2)
         ON CONFLICT (what) DO UPDATE SET time = max(time, excluded.time)",
    )
    .bind(what)
    .bind(time)
    .execute(&mut **transaction)
    .await
    .map(|_done| ())
}
