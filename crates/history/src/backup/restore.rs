//! From a backup to a data folder that an engine goes on with.

use std::{fs, path::Path};

use serde::Serialize;

use crate::{
    error::HistoryError,
    files::{self, PARTIAL, family},
    header::beside,
    open::{FILE_NAME, has_log, lock, writing_connection_at},
    raw::blocking,
    verify::{OnProgress, Progress, SegmentFile, Video, is_in_use, look_at_file, verify_folder},
    video,
};

/// What was restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Bytes of `history.sqlite`.
    pub bytes: u64,
    /// Files of video.
    pub segments: u64,
    /// Bytes of them.
    pub video_bytes: u64,
}

/// Copies the backup (or any whole history) in `from` into the data folder `to`, which must not have one. Verifies before
/// and afterwards; what is there has its name only once it is complete.
///
/// # Errors
/// [`HistoryError::NotFound`]; [`HistoryError::NotWhole`] with what is wrong; [`HistoryError::Occupied`];
/// [`HistoryError::InUse`] while something writes into `from`; [`HistoryError::TargetFull`]; the system's own.
pub async fn restore(from: &Path, to: &Path, progress: OnProgress<'_>) -> Result<Restored, HistoryError> {
    let path = from.join(FILE_NAME);
    if !path.exists() && from.join(PARTIAL).exists() {
        return Err(HistoryError::BadQuery {
            what: format!(
                "the backup in {} was never finished; run the same `sightglass history backup` again, which goes on \
                 with it",
                from.display()
            ),
        });
    }
    if is_in_use(from) {
        return Err(HistoryError::InUse { dir: from.to_owned() });
    }
    files::refuse_occupied(to)?;
    let problems = verify_folder(from, progress).await?;
    if !problems.is_empty() {
        return Err(HistoryError::NotWhole { dir: from.to_owned(), problems });
    }
    fs::create_dir_all(to).map_err(|source| HistoryError::io("make the folder", to, source))?;
    let _lock = lock(to)?;
    let restored = copy(from, to, progress).await.map_err(|error| error.of_target(to))?;
    let problems = verify_folder(to, progress).await?;
    if problems.is_empty() {
        return Ok(restored);
    }
    Err(HistoryError::NotWhole { dir: to.to_owned(), problems })
}

async fn copy(from: &Path, to: &Path, progress: OnProgress<'_>) -> Result<Restored, HistoryError> {
    let (path, partial) = (from.join(FILE_NAME), to.join(PARTIAL));
    let wrap = |source| HistoryError::from_sqlx(to, source);
    let bytes = fs::metadata(&path).map_err(|source| HistoryError::io("look at", &path, source))?.len();
    progress(Progress { what: "copying rows", done: 0, total: bytes });
    for left in family(&partial) {
        files::remove_if_there(&left)?;
    }
    let (source, target) = (path.clone(), partial.clone());
    blocking(move || {
        if has_log(&source) {
            files::copy_whole(&beside(&source, "-wal"), &beside(&target, "-wal"))?;
        }
        files::copy_whole(&source, &target)
    })
    .await?;
    let mut connection = writing_connection_at(&partial).await.map_err(wrap)?;
    let clips: Vec<(String, i64, Option<i64>)> =
        sqlx::query_as("SELECT path, bytes, crc FROM clip WHERE state NOT IN (?1, ?2) ORDER BY id")
            .bind(video::WRITING)
            .bind(video::GONE)
            .fetch_all(&mut connection)
            .await
            .map_err(wrap)?;
    let mut restored = Restored { bytes, ..Restored::default() };
    let total: u64 = clips.iter().map(|clip| clip.1.unsigned_abs()).sum();
    for (path, bytes, crc) in clips {
        let (source, target) = (from.join(&path), to.join(&path));
        let (into, file) = (to.to_owned(), SegmentFile { path, bytes, crc });
        blocking(move || {
            // Of an earlier call that was cut off.
            if look_at_file(&into, &file, Video::Read).is_ok() {
                return Ok(());
            }
            files::make_parent(&target)?;
            files::copy_whole(&source, &target).map(|_| ())
        })
        .await?;
        restored.segments += 1;
        restored.video_bytes += bytes.unsigned_abs();
        progress(Progress { what: "copying video", done: restored.video_bytes, total });
    }
    files::finish(connection, &partial, &to.join(FILE_NAME)).await?;
    Ok(restored)
}
