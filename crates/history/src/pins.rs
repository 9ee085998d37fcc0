//! Video that is kept whatever its age: the clips of incidents, and those that somebody asked to keep.

use sightglass_protocol::{Advisory, CameraId, UtcNanos};
use sqlx::{Sqlite, Transaction};

use crate::{
    error::HistoryError,
    events::{EntryClass, chain},
    open::History,
    raw::json_list,
    steps::checked,
    video::{SEGMENT_NS_MAX, seal},
    writer::Durability,
};

/// Video is kept from this long before an advisory's `since` on.
pub const PIN_BEFORE_NS: i64 = 30_000_000_000;
/// Video is kept until this long after an advisory's close.
pub const PIN_AFTER_NS: i64 = 30_000_000_000;
/// Of an advisory that stays open, no more than this is kept: one that nobody looks at must not fill the disk.
pub const PIN_OPEN_NS_MAX: i64 = 4 * 3_600_000_000_000;

/// The range of video that belongs to an advisory.
fn incident(since: i64, closed: Option<i64>) -> (i64, i64) {
    let longest = since.saturating_add(PIN_OPEN_NS_MAX);
    let end = closed.map_or(longest, |closed| closed.min(longest));
    (since.saturating_sub(PIN_BEFORE_NS), end.saturating_add(PIN_AFTER_NS))
}

/// Pins what overlaps an advisory, of all cameras of its line.
pub(crate) async fn pin_incident(
    transaction: &mut Transaction<'_, Sqlite>,
    line: i64,
    advisory: &Advisory,
) -> Result<(), sqlx::Error> {
    let cameras: Vec<i64> =
        sqlx::query_scalar("SELECT id FROM camera WHERE line = ?1").bind(line).fetch_all(&mut **transaction).await?;
    let (from, to) = incident(advisory.since.0, advisory.closed.map(|closed| closed.0));
    set_pinned(transaction, &cameras, from, to, true).await?;
    Ok(())
}

/// Pins a segment that was just stored when it overlaps an advisory of its line. The caller seals the row.
pub(crate) async fn pin_if_of_an_incident(
    transaction: &mut Transaction<'_, Sqlite>,
    id: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE clip SET pinned = 1 WHERE id = ?1 AND pinned = 0 AND EXISTS (
             SELECT 1 FROM advisory AS a JOIN camera ON camera.line = a.line
             WHERE camera.id = clip.camera
               AND (clip.end_time IS NULL OR a.since - ?2 <= clip.end_time)
               AND clip.start_time <= min(coalesce(a.closed, a.since + ?4), a.since + ?4) + ?3)",
    )
    .bind(id)
    .bind(PIN_BEFORE_NS)
    .bind(PIN_AFTER_NS)
    .bind(PIN_OPEN_NS_MAX)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Sets the mark on all segments of the cameras with any part in the range; gives how many were changed.
async fn set_pinned(
    transaction: &mut Transaction<'_, Sqlite>,
    cameras: &[i64],
    from: i64,
    to: i64,
    pinned: bool,
) -> Result<u64, sqlx::Error> {
    let ids: Vec<i64> = sqlx::query_scalar(
        "UPDATE clip SET pinned = ?5 WHERE camera IN (SELECT value FROM json_each(?1))
         AND start_time BETWEEN ?2 AND ?4 AND (end_time IS NULL OR end_time >= ?3) AND pinned <> ?5 RETURNING id",
    )
    .bind(json_list(cameras.iter().copied()))
    .bind(from.saturating_sub(SEGMENT_NS_MAX))
    .bind(from)
    .bind(to)
    .bind(pinned)
    .fetch_all(&mut **transaction)
    .await?;
    for &id in &ids {
        seal(transaction, id).await?;
    }
    Ok(ids.len() as u64)
}

impl History {
    /// Keeps the video of `cameras` with any part from `from` to `to` (both within) whatever its age, because `who` asked
    /// for it at `at`: also an audit entry. Gives how many segments are kept that were not. Survives a power cut.
    ///
    /// # Errors
    /// An unknown camera, a range upside down, [`HistoryError::NotWritable`], or SQLite's own.
    pub async fn pin(
        &self,
        cameras: &[CameraId],
        from: UtcNanos,
        to: UtcNanos,
        who: &str,
        at: UtcNanos,
    ) -> Result<u64, HistoryError> {
        self.pin_by_hand(cameras, (from, to), true, who, at).await
    }

    /// The opposite of [`History::pin`], also of what was pinned for an incident: retention may take it from now on.
    ///
    /// # Errors
    /// As [`History::pin`].
    pub async fn unpin(
        &self,
        cameras: &[CameraId],
        from: UtcNanos,
        to: UtcNanos,
        who: &str,
        at: UtcNanos,
    ) -> Result<u64, HistoryError> {
        self.pin_by_hand(cameras, (from, to), false, who, at).await
    }

    async fn pin_by_hand(
        &self,
        cameras: &[CameraId],
        (from, to): (UtcNanos, UtcNanos),
        pinned: bool,
        who: &str,
        at: UtcNanos,
    ) -> Result<u64, HistoryError> {
        checked(from, to)?;
        let ids = cameras.iter().map(|&camera| self.file_camera(camera)).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<&str> =
            cameras.iter().map(|camera| self.inner.plant.cameras[camera.index()].name.as_str()).collect();
        let mut writing = self.writing("pinning video").await?;
        let mut transaction = writing.begin(Durability::Power).await?;
        let changed = set_pinned(&mut transaction, &ids, from.0, to.0, pinned).await.map_err(self.wrap())?;
        let verb = if pinned { "pinned" } else { "unpinned" };
        let what = format!("{verb} video of {} from {from} to {to}: {changed} segments", names.join(", "));
        chain(&mut transaction, at, EntryClass::Audit, who, &what).await.map_err(self.wrap())?;
        transaction.commit().await.map_err(self.wrap())?;
        Ok(changed)
    }
}
