//! When the engine recorded, by its own clock: sessions, and the outages between them.
//!
//! The clock is the one that the data is dated by: the time of day on a live line, the data's own time where files are
//! replayed. Nothing here reads either; both ends of a session are told.

use serde::Serialize;
use sightglass_protocol::UtcNanos;
use sqlx::{Sqlite, Transaction};

use crate::{
    error::HistoryError,
    open::History,
    outages::{self, Outage, OutageKind},
    writer::Durability,
};

/// `session.clean` of a run that closed the file itself.
const CLEAN: i64 = 1;

/// One run of an engine that told when it recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Session {
    /// When recording began.
    pub started: UtcNanos,
    /// When it ended; `None` while it goes on (or was cut off and nobody has opened the history since).
    pub ended: Option<UtcNanos>,
    /// Whether the engine closed the history itself; false while it goes on.
    pub is_clean: bool,
}

/// Gives every session that began and has no end (its engine died, or closed the file without a word) the last recorded
/// moment as its end.
pub(crate) async fn close_dead(transaction: &mut Transaction<'_, Sqlite>) -> Result<(), sqlx::Error> {
    let open: Vec<i64> = sqlx::query_scalar("SELECT id FROM session WHERE started IS NOT NULL AND ended IS NULL")
        .fetch_all(&mut **transaction)
        .await?;
    if open.is_empty() {
        return Ok(());
    }
    let last = last_recorded(transaction, i64::MAX).await?;
    for id in open {
        sqlx::query("UPDATE session SET ended = max(started, coalesce(?2, started)) WHERE id = ?1")
            .bind(id)
            .bind(last)
            .execute(&mut **transaction)
            .await?;
    }
    Ok(())
}

/// The moment up to which samples were committed, not after `up_to`: the end of the newest batch (by its place in the
/// sequence, so that a clock that was set back is no matter), or of what was merged.
async fn last_recorded(transaction: &mut Transaction<'_, Sqlite>, up_to: i64) -> Result<Option<i64>, sqlx::Error> {
    let batch: Option<i64> =
        sqlx::query_scalar("SELECT last_time FROM sample_batch WHERE last_time <= ?1 ORDER BY seq DESC LIMIT 1")
            .bind(up_to)
            .fetch_optional(&mut **transaction)
            .await?;
    if batch.is_some() {
        return Ok(batch);
    }
    sqlx::query_scalar(
        "SELECT max(t) FROM (SELECT max(last_time) AS t FROM chunk WHERE last_time <= ?1
         UNION ALL SELECT max(last_time) FROM output WHERE last_time <= ?1)",
    )
    .bind(up_to)
    .fetch_one(&mut **transaction)
    .await
}

impl History {
    /// Tells when this run began to record, by the engine's clock. The time since the end of the run before is stored as
    /// an outage, unless the clock says that there was none. Called again, it can only move the beginning back (a slower
    /// line's data may begin earlier). Survives a power cut.
    ///
    /// # Errors
    /// [`HistoryError::DiskFull`], [`HistoryError::NotWritable`], [`HistoryError::Damaged`], or SQLite's own.
    pub async fn begin_session(&self, at: UtcNanos) -> Result<(), HistoryError> {
        let own = self.session_id();
        let mut writing = self.writing("beginning to record").await?;
        let mut transaction = writing.begin(Durability::Power).await?;
        let told: Option<i64> = sqlx::query_scalar("SELECT started FROM session WHERE id = ?1")
            .bind(own)
            .fetch_one(&mut *transaction)
            .await
            .map_err(self.wrap())?;
        sqlx::query("UPDATE session SET started = min(?2, coalesce(started, ?2)) WHERE id = ?1")
            .bind(own)
            .bind(at.0)
            .execute(&mut *transaction)
            .await
            .map_err(self.wrap())?;
        if told.is_none() {
            self.note_outage_before(&mut transaction, own, at).await?;
        }
        transaction.commit().await.map_err(self.wrap())
    }

    async fn note_outage_before(
        &self,
        transaction: &mut Transaction<'_, Sqlite>,
        own: i64,
        at: UtcNanos,
    ) -> Result<(), HistoryError> {
        let before: Option<(i64, i64, i64, i64)> = sqlx::query_as(
            "SELECT id, started, ended, clean FROM session
             WHERE id < ?1 AND started IS NOT NULL AND ended IS NOT NULL ORDER BY id DESC LIMIT 1",
        )
        .bind(own)
        .fetch_optional(&mut **transaction)
        .await
        .map_err(self.wrap())?;
        let Some((id, started, mut ended, clean)) = before else { return Ok(()) };
        if clean != CLEAN && ended > at.0 && started <= at.0 {
            // A source with a wrong clock dated something ahead of the time: what was recorded by now is the end.
            let last = last_recorded(transaction, at.0).await.map_err(self.wrap())?;
            ended = last.unwrap_or(started).max(started);
            sqlx::query("UPDATE session SET ended = ?2 WHERE id = ?1")
                .bind(id)
                .bind(ended)
                .execute(&mut **transaction)
                .await
                .map_err(self.wrap())?;
        }
        if ended >= at.0 {
            // The clock was set back, or older files are replayed: nothing is missing between.
            return Ok(());
        }
        let reason = if clean == CLEAN { "it was stopped" } else { "it was killed, or the power went" };
        let outage =
            Outage { kind: OutageKind::EngineStopped, from: UtcNanos(ended), to: Some(at), reason: reason.to_owned() };
        outages::insert(transaction, &outage).await.map_err(self.wrap())?;
        Ok(())
    }

    /// Tells when this run ended to record, by the engine's clock; before its beginning counts as its beginning. Without
    /// a [`History::begin_session`] before, it says nothing. Survives a power cut.
    ///
    /// # Errors
    /// [`HistoryError::DiskFull`], [`HistoryError::NotWritable`], or SQLite's own.
    pub async fn end_session(&self, at: UtcNanos) -> Result<(), HistoryError> {
        let mut writing = self.writing("ending to record").await?;
        let mut transaction = writing.begin(Durability::Power).await?;
        sqlx::query("UPDATE session SET ended = max(started, ?2) WHERE id = ?1 AND started IS NOT NULL")
            .bind(self.session_id())
            .bind(at.0)
            .execute(&mut *transaction)
            .await
            .map_err(self.wrap())?;
        transaction.commit().await.map_err(self.wrap())
    }

    /// The runs that told when they recorded, in the order in which they were.
    ///
    /// # Errors
    /// SQLite's own.
    pub async fn sessions(&self) -> Result<Vec<Session>, HistoryError> {
        let rows: Vec<(i64, Option<i64>, i64)> =
            sqlx::query_as("SELECT started, ended, clean FROM session WHERE started IS NOT NULL ORDER BY id")
                .fetch_all(&self.inner.readers)
                .await
                .map_err(self.wrap())?;
        let session = |(started, ended, clean): (i64, Option<i64>, i64)| Session {
            started: UtcNanos(started),
            ended: ended.map(UtcNanos),
            is_clean: clean == CLEAN,
        };
        Ok(rows.into_iter().map(session).collect())
    }
}
