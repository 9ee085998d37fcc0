//! Recorded video: files beside the history, indexed in it.

use std::path::Path;

use sightglass_protocol::{CameraId, LineId, Segment, UtcNanos, message::Recorded};
use sqlx::{Row as _, Sqlite, Transaction, sqlite::SqliteRow};

use crate::{error::HistoryError, open::History, steps::checked, writer::Durability};

/// States of a row of table `clip`.
pub(crate) const WRITING: i64 = 0;
const WHOLE: i64 = 1;
const CUT: i64 = 2;
pub(crate) const GONE: i64 = 3;

/// Two segments that are no further apart than this are one stretch of video.
const JOINT_NS_MAX: i64 = 2_000_000_000;
/// The longest segment that is looked for: the recorder cuts far earlier.
const SEGMENT_NS_MAX: i64 = 3_600_000_000_000;

/// Closes segments that were being written when a former engine died: at the last recorded moment (or the next
/// segment's start), with what the file has. Returns how many.
pub(crate) async fn close_dangling(transaction: &mut Transaction<'_, Sqlite>, dir: &Path) -> Result<u64, sqlx::Error> {
    let dangling: Vec<(i64, i64, i64, String)> =
        sqlx::query_as("SELECT id, camera, start_time, path FROM clip WHERE state = ?1")
            .bind(WRITING)
            .fetch_all(&mut **transaction)
            .await?;
    if dangling.is_empty() {
        return Ok(0);
    }
    let last: Option<i64> = sqlx::query_scalar(
        "SELECT max(t) FROM (SELECT max(last_time) AS t FROM sample_batch UNION ALL SELECT max(last_time) FROM chunk
         UNION ALL SELECT max(last_time) FROM output)",
    )
    .fetch_one(&mut **transaction)
    .await?;
    for (id, camera, start, path) in &dangling {
        let next: Option<i64> =
            sqlx::query_scalar("SELECT min(start_time) FROM clip WHERE camera = ?1 AND start_time > ?2")
                .bind(camera)
                .bind(start)
                .fetch_one(&mut **transaction)
                .await?;
        let end = last.unwrap_or(*start).min(next.unwrap_or(i64::MAX)).max(*start);
        let bytes = std::fs::metadata(dir.join(path)).map(|file| file.len()).ok();
        sqlx::query("UPDATE clip SET end_time = ?2, bytes = ?3, state = ?4 WHERE id = ?1")
            .bind(id)
            .bind(end)
            .bind(bytes.unwrap_or(0) as i64)
            .bind(if bytes.is_some() { CUT } else { GONE })
            .execute(&mut **transaction)
            .await?;
    }
    Ok(dangling.len() as u64)
}

impl History {
    /// Adds a segment, or brings the one with this path up to date (its end, pictures and bytes once it is closed).
    ///
    /// # Errors
    /// An unknown camera, [`HistoryError::DiskFull`], [`HistoryError::NotWritable`], or SQLite's own.
    pub async fn put_segment(&self, segment: &Segment) -> Result<(), HistoryError> {
        let camera = self.file_camera(segment.camera)?;
        let mut writing = self.writing("indexing video").await?;
        let mut transaction = writing.begin(Durability::Process).await?;
        sqlx::query(
            "INSERT INTO clip (camera, path, start_time, end_time, frames, bytes, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (path) DO UPDATE SET camera = excluded.camera, start_time = excluded.start_time,
                 end_time = excluded.end_time, frames = excluded.frames, bytes = excluded.bytes, state = excluded.state",
        )
        .bind(camera)
        .bind(&segment.path)
        .bind(segment.start.0)
        .bind(segment.end.map(|end| end.0))
        .bind(segment.frames)
        .bind(segment.bytes as i64)
        .bind(if segment.end.is_some() { WHOLE } else { WRITING })
        .execute(&mut *transaction)
        .await
        .map_err(self.wrap())?;
        transaction.commit().await.map_err(self.wrap())
    }

    /// The segments of `camera` with any part from `from` to `to`, oldest first. One that is still being written has no
    /// end and reaches on.
    ///
    /// # Errors
    /// An unknown camera, a range upside down, SQLite's own.
    pub async fn segments(&self, camera: CameraId, from: UtcNanos, to: UtcNanos) -> Result<Vec<Segment>, HistoryError> {
        let (from, to) = checked(from, to)?;
        let rows = sqlx::query(
            "SELECT path, start_time, end_time, frames, bytes FROM clip
             WHERE camera = ?1 AND start_time BETWEEN ?2 AND ?4 AND (end_time IS NULL OR end_time >= ?3)
             AND state <> ?5 ORDER BY start_time, id",
        )
        .bind(self.file_camera(camera)?)
        .bind(from.saturating_sub(SEGMENT_NS_MAX))
        .bind(from)
        .bind(to)
        .bind(GONE)
        .fetch_all(&self.inner.readers)
        .await
        .map_err(self.wrap())?;
        Ok(rows.iter().map(|row| segment(row, camera)).collect())
    }

    /// The segment that has the picture of `camera` shown at `t`: the newest one that starts at or before it, unless it
    /// ended more than two seconds before.
    ///
    /// # Errors
    /// An unknown camera, SQLite's own.
    pub async fn segment_at(&self, camera: CameraId, t: UtcNanos) -> Result<Option<Segment>, HistoryError> {
        let row = sqlx::query(
            "SELECT path, start_time, end_time, frames, bytes FROM clip
             WHERE camera = ?1 AND start_time <= ?2 AND state <> ?3 ORDER BY start_time DESC, id DESC LIMIT 1",
        )
        .bind(self.file_camera(camera)?)
        .bind(t.0)
        .bind(GONE)
        .fetch_optional(&self.inner.readers)
        .await
        .map_err(self.wrap())?;
        let segment = row.map(|row| segment(&row, camera));
        Ok(segment.filter(|segment| segment.end.is_none_or(|end| t.since(end) <= JOINT_NS_MAX)))
    }

    /// Keeps (or no longer keeps) a segment whatever its age: the clip of an incident.
    ///
    /// # Errors
    /// [`HistoryError::NotWritable`], or SQLite's own.
    pub async fn pin_segment(&self, path: &str, pinned: bool) -> Result<(), HistoryError> {
        let mut writing = self.writing("pinning video").await?;
        let mut transaction = writing.begin(Durability::Process).await?;
        sqlx::query("UPDATE clip SET pinned = ?2 WHERE path = ?1")
            .bind(path)
            .bind(pinned)
            .execute(&mut *transaction)
            .await
            .map_err(self.wrap())?;
        transaction.commit().await.map_err(self.wrap())
    }

    /// What there is of `line`, for a time line.
    ///
    /// # Errors
    /// An unknown line, SQLite's own.
    pub async fn recorded(&self, line: LineId) -> Result<Recorded, HistoryError> {
        let range = self.range(line).await?;
        let file_line = self.file_line(line)?;
        let mut video = Vec::new();
        for &camera in &self.inner.plant.lines[line.index()].cameras {
            let rows: Vec<(i64, Option<i64>)> = sqlx::query_as(
                "SELECT start_time, end_time FROM clip WHERE camera = ?1 AND state <> ?2 ORDER BY start_time",
            )
            .bind(self.file_camera(camera)?)
            .bind(GONE)
            .fetch_all(&self.inner.readers)
            .await
            .map_err(self.wrap())?;
            let now = range.map_or(i64::MIN, |(_, last)| last.0);
            let mut stretches: Vec<(UtcNanos, UtcNanos)> = Vec::new();
            for (start, end) in rows {
                let end = end.unwrap_or(now).max(start);
                match stretches.last_mut() {
                    Some(last) if start.saturating_sub(last.1.0) <= JOINT_NS_MAX => last.1 = last.1.max(UtcNanos(end)),
                    _ => stretches.push((UtcNanos(start), UtcNanos(end))),
                }
            }
            video.push((camera, stretches));
        }
        let advisories: Vec<(i64, Option<i64>, i64)> =
            sqlx::query_as("SELECT since, closed, id FROM advisory WHERE line = ?1 ORDER BY since, id")
                .bind(file_line)
                .fetch_all(&self.inner.readers)
                .await
                .map_err(self.wrap())?;
        let advisories = advisories.into_iter().map(|(since, closed, id)| {
            (UtcNanos(since), closed.map(UtcNanos), sightglass_protocol::AdvisoryId(id as u64))
        });
        Ok(Recorded { range, video, advisories: advisories.collect() })
    }
}

fn segment(row: &SqliteRow, camera: CameraId) -> Segment {
    Segment {
        camera,
        path: row.get(0),
        start: UtcNanos(row.get(1)),
        end: row.get::<Option<i64>, _>(2).map(UtcNanos),
        frames: row.get(3),
        bytes: row.get::<i64, _>(4) as u64,
    }
}
