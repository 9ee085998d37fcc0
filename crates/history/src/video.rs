//! Recorded video: files beside the history, indexed in it.
//!
//! A file that is gone is a gap: whoever looks for it is not offered it, and its row says so from then on.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use sightglass_protocol::{CameraId, LineId, Segment, UtcNanos, message::Recorded};
use sqlx::{Sqlite, Transaction, sqlite::SqliteRow};

use crate::{
    clip_crc::clip_row_crc,
    error::HistoryError,
    fields,
    open::History,
    pins,
    raw::{blocking, json_list},
    steps::checked,
    verify::clip_row,
    writer::Durability,
};

/// States of a row of table `clip`.
pub(crate) const WRITING: i64 = 0;
const WHOLE: i64 = 1;
const CUT: i64 = 2;
pub(crate) const GONE: i64 = 3;

/// Two segments that are no further apart than this are one stretch of video.
const JOINT_NS_MAX: i64 = 2_000_000_000;
/// The longest segment that is looked for: the recorder cuts far earlier.
pub(crate) const SEGMENT_NS_MAX: i64 = 3_600_000_000_000;
/// Files that are looked for one by one; for more, their folder is read.
const LOOKS_MAX: usize = 8;
/// Bytes that are read at once for a file's checksum.
const READ_BYTES: usize = 1 << 18;

/// CRC-32C of a whole file, as `clip.crc` has it.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn file_crc(path: &Path) -> io::Result<i64> {
    let mut file = File::open(path)?;
    let mut bytes = vec![0; READ_BYTES];
    let mut crc = 0;
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(i64::from(crc)),
            count => crc = crc32c::crc32c_append(crc, &bytes[..count]),
        }
    }
}

/// Writes the checksum of a row of `clip` anew; to be called after whatever changed the row, in the same transaction.
pub(crate) async fn seal(transaction: &mut Transaction<'_, Sqlite>, id: i64) -> Result<(), sqlx::Error> {
    let row = sqlx::query(
        "SELECT id, camera, path, start_time, end_time, frames, bytes, state, pinned, crc FROM clip WHERE id = ?1",
    )
    .bind(id)
    .fetch_one(&mut **transaction)
    .await?;
    let row_crc = fields::stored("clip", &row, |row| Ok(clip_row_crc(&clip_row(row)?)))?;
    sqlx::query("UPDATE clip SET row_crc = ?2 WHERE id = ?1")
        .bind(id)
        .bind(row_crc)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// What tells whether a segment's file is there.
struct Clip {
    id: i64,
    path: String,
    state: i64,
}

/// The names in a folder; `None` when it cannot be read.
fn names(folder: &Path) -> Option<HashSet<OsString>> {
    Some(fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|entry| entry.file_name()).collect())
}

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
        let file = dir.join(path);
        let bytes = fs::metadata(&file).map(|file| file.len()).ok();
        sqlx::query("UPDATE clip SET end_time = ?2, bytes = ?3, state = ?4, crc = ?5 WHERE id = ?1")
            .bind(id)
            .bind(end)
            .bind(bytes.unwrap_or(0) as i64)
            .bind(if bytes.is_some() { CUT } else { GONE })
            .bind(file_crc(&file).ok())
            .execute(&mut **transaction)
            .await?;
        seal(transaction, *id).await?;
    }
    Ok(dangling.len() as u64)
}

impl History {
    /// Adds a segment, or brings the one with this path up to date (its end, pictures and bytes once it is closed, and
    /// then the checksum of its file). One that overlaps an advisory of its line is pinned.
    ///
    /// # Errors
    /// An unknown camera, [`HistoryError::DiskFull`], [`HistoryError::NotWritable`], or SQLite's own. A file that cannot
    /// be read is indexed without a checksum, and is reported.
    pub async fn put_segment(&self, segment: &Segment) -> Result<(), HistoryError> {
        let camera = self.file_camera(segment.camera)?;
        let crc = match segment.end {
            None => None,
            Some(_) => {
                let path = self.inner.dir.join(&segment.path);
                blocking(move || {
                    let crc = file_crc(&path);
                    Ok(crc.inspect_err(|error| tracing::warn!("{} has no checksum: {error}", path.display())).ok())
                })
                .await?
            }
        };
        let mut writing = self.writing("indexing video").await?;
        let mut transaction = writing.begin(Durability::Process).await?;
        let id: i64 = sqlx::query_scalar(
            "INSERT INTO clip (camera, path, start_time, end_time, frames, bytes, state, crc)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (path) DO UPDATE SET camera = excluded.camera, start_time = excluded.start_time,
                 end_time = excluded.end_time, frames = excluded.frames, bytes = excluded.bytes, state = excluded.state,
                 crc = excluded.crc
             RETURNING id",
        )
        .bind(camera)
        .bind(&segment.path)
        .bind(segment.start.0)
        .bind(segment.end.map(|end| end.0))
        .bind(segment.frames)
        .bind(segment.bytes as i64)
        .bind(if segment.end.is_some() { WHOLE } else { WRITING })
        .bind(crc)
        .fetch_one(&mut *transaction)
        .await
        .map_err(self.wrap())?;
        pins::pin_if_of_an_incident(&mut transaction, id).await.map_err(self.wrap())?;
        seal(&mut transaction, id).await.map_err(self.wrap())?;
        transaction.commit().await.map_err(self.wrap())
    }

    /// The segments of `camera` with any part from `from` to `to`, oldest first, whose files are there. One that is
    /// still being written has no end and reaches on.
    ///
    /// # Errors
    /// An unknown camera, a range upside down, SQLite's own.
    pub async fn segments(&self, camera: CameraId, from: UtcNanos, to: UtcNanos) -> Result<Vec<Segment>, HistoryError> {
        let (from, to) = checked(from, to)?;
        let rows = sqlx::query(
            "SELECT id, path, start_time, end_time, frames, bytes, state FROM clip
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
        let found = rows.iter().map(|row| segment(row, camera)).collect::<Result<Vec<_>, _>>()?;
        let (segments, clips): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        let there = self.there(clips).await?;
        Ok(segments.into_iter().zip(there).filter(|(_, there)| *there).map(|(segment, _)| segment).collect())
    }

    /// The segment that has the picture of `camera` shown at `t`: the newest one that starts at or before it, unless it
    /// ended more than two seconds before, or its file is gone.
    ///
    /// # Errors
    /// An unknown camera, SQLite's own.
    pub async fn segment_at(&self, camera: CameraId, t: UtcNanos) -> Result<Option<Segment>, HistoryError> {
        let row = sqlx::query(
            "SELECT id, path, start_time, end_time, frames, bytes, state FROM clip
             WHERE camera = ?1 AND start_time <= ?2 AND state <> ?3 ORDER BY start_time DESC, id DESC LIMIT 1",
        )
        .bind(self.file_camera(camera)?)
        .bind(t.0)
        .bind(GONE)
        .fetch_optional(&self.inner.readers)
        .await
        .map_err(self.wrap())?;
        let Some(row) = row else { return Ok(None) };
        let (segment, clip) = segment(&row, camera)?;
        if segment.end.is_some_and(|end| t.since(end) > JOINT_NS_MAX) {
            return Ok(None);
        }
        let there = self.there(vec![clip]).await?;
        Ok(there.contains(&true).then_some(segment))
    }

    /// Which of `clips` have their files. Those that are gone are marked so, unless their whole folder is away (a drive
    /// that may come back) or they are being written.
    async fn there(&self, clips: Vec<Clip>) -> Result<Vec<bool>, HistoryError> {
        let dir = self.inner.dir.clone();
        let (there, gone) = blocking(move || {
            let mut there = Vec::with_capacity(clips.len());
            let mut gone = Vec::new();
            let mut folders: HashMap<PathBuf, Option<HashSet<OsString>>> = HashMap::new();
            for clip in &clips {
                let path = dir.join(&clip.path);
                let folder = path.parent().unwrap_or(&dir);
                // One look at a folder is cheaper than one at each of many files in it.
                let is_there = if clips.len() > LOOKS_MAX {
                    let names = folders.entry(folder.to_owned()).or_insert_with(|| names(folder));
                    names.as_ref().is_some_and(|names| path.file_name().is_some_and(|name| names.contains(name)))
                } else {
                    path.is_file()
                };
                if !is_there && clip.state != WRITING && folder.is_dir() {
                    gone.push(clip.id);
                }
                there.push(is_there);
            }
            Ok((there, gone))
        })
        .await?;
        if !gone.is_empty() && self.inner.writer.is_some() {
            self.mark_gone(&gone).await?;
        }
        Ok(there)
    }

    async fn mark_gone(&self, ids: &[i64]) -> Result<(), HistoryError> {
        tracing::warn!(segments = ids.len(), "files of recorded video are gone; their time is a gap now");
        let mut writing = self.writing("indexing video").await?;
        let mut transaction = writing.begin(Durability::Process).await?;
        sqlx::query("UPDATE clip SET state = ?2 WHERE id IN (SELECT value FROM json_each(?1))")
            .bind(json_list(ids.iter().copied()))
            .bind(GONE)
            .execute(&mut *transaction)
            .await
            .map_err(self.wrap())?;
        for &id in ids {
            seal(&mut transaction, id).await.map_err(self.wrap())?;
        }
        transaction.commit().await.map_err(self.wrap())
    }

    /// Keeps (or no longer keeps) a segment whatever its age: the clip of an incident.
    ///
    /// # Errors
    /// [`HistoryError::NotWritable`], or SQLite's own.
    pub async fn pin_segment(&self, path: &str, pinned: bool) -> Result<(), HistoryError> {
        let mut writing = self.writing("pinning video").await?;
        let mut transaction = writing.begin(Durability::Process).await?;
        let id: Option<i64> = sqlx::query_scalar("UPDATE clip SET pinned = ?2 WHERE path = ?1 RETURNING id")
            .bind(path)
            .bind(pinned)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(self.wrap())?;
        if let Some(id) = id {
            seal(&mut transaction, id).await.map_err(self.wrap())?;
        }
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
            let rows: Vec<(i64, Option<i64>, i64, String, i64)> = sqlx::query_as(
                "SELECT start_time, end_time, id, path, state FROM clip WHERE camera = ?1 AND state <> ?2
                 ORDER BY start_time",
            )
            .bind(self.file_camera(camera)?)
            .bind(GONE)
            .fetch_all(&self.inner.readers)
            .await
            .map_err(self.wrap())?;
            let now = range.map_or(i64::MIN, |(_, last)| last.0);
            let mut stretches: Vec<(UtcNanos, UtcNanos)> = Vec::new();
            let clips = rows.iter().map(|row| Clip { id: row.2, path: row.3.clone(), state: row.4 }).collect();
            let there = self.there(clips).await?;
            for ((start, end, ..), _) in rows.into_iter().zip(there).filter(|(_, there)| *there) {
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

/// The segment of a row `id, path, start_time, end_time, frames, bytes, state`, and what tells whether it is there.
fn segment(row: &SqliteRow, camera: CameraId) -> Result<(Segment, Clip), HistoryError> {
    fields::read("clip", row, |row| {
        let path = row.text(1)?;
        let segment = Segment {
            camera,
            path: path.to_owned(),
            start: UtcNanos(row.int(2)?),
            end: row.maybe_int(3)?.map(UtcNanos),
            frames: u32::try_from(row.int(4)?).map_err(|_| "its number of pictures cannot be")?,
            bytes: row.int(5)? as u64,
        };
        Ok((segment, Clip { id: row.int(0)?, path: path.to_owned(), state: row.int(6)? }))
    })
}
