//! The files of video of a backup.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::Path,
    sync::Arc,
};

use sqlx::sqlite::SqliteConnection;

use super::BackedUp;
use crate::{
    error::HistoryError,
    files,
    raw::blocking,
    repair::mark_gone,
    verify::{OnProgress, Problem, Progress, SegmentFile, Video, look_at_file},
    video,
};

/// What became of one file.
enum Copied {
    /// It was there.
    Known,
    /// It is there now.
    New,
    /// It is not there, and need not be: it was not asked for, or the engine deleted it meanwhile.
    Absent,
    /// It is not as it was written.
    Broken(String),
}

/// Paths of the files that a backup should have.
pub(super) async fn paths(target: &mut SqliteConnection) -> Result<BTreeSet<String>, sqlx::Error> {
    let paths: Vec<String> = sqlx::query_scalar("SELECT path FROM clip WHERE state NOT IN (?1, ?2)")
        .bind(video::WRITING)
        .bind(video::GONE)
        .fetch_all(target)
        .await?;
    Ok(paths.into_iter().collect())
}

/// Copies the files that the target's rows name and its folder does not have; what cannot be had is noted as gone.
pub(super) async fn copy_missing(
    target: &mut SqliteConnection,
    (dir, is_live): (&Path, bool),
    (to, held): (&Path, &Arc<File>),
    is_wanted: bool,
    progress: OnProgress<'_>,
    done: &mut BackedUp,
) -> Result<(), HistoryError> {
    let wrap = |source| HistoryError::from_sqlx(to, source);
    let clips: Vec<(i64, String, i64, Option<i64>)> =
        sqlx::query_as("SELECT id, path, bytes, crc FROM clip WHERE state NOT IN (?1, ?2) ORDER BY id")
            .bind(video::WRITING)
            .bind(video::GONE)
            .fetch_all(&mut *target)
            .await
            .map_err(wrap)?;
    let total: u64 = clips.iter().map(|clip| clip.2.unsigned_abs()).sum();
    let mut so_far = 0;
    for (id, path, bytes, crc) in clips {
        let wanted = SegmentFile { path, bytes, crc };
        let (from, into, file) = (dir.to_owned(), to.to_owned(), wanted.clone());
        let held = Arc::clone(held);
        let copied = blocking(move || {
            let copied = copy(&from, is_live, &into, &file, is_wanted);
            // The folder is let go only when nothing writes into it any more, even if nobody waits for it.
            drop(held);
            copied
        })
        .await?;
        match copied {
            Copied::Known => {}
            Copied::New => {
                done.segments += 1;
                done.video_bytes += bytes.unsigned_abs();
            }
            Copied::Absent => mark_gone(target, id).await.map_err(wrap)?,
            Copied::Broken(what) => {
                done.left_out.push(Problem::new(format!("clip {id}, {}", wanted.path), what));
                mark_gone(target, id).await.map_err(wrap)?;
            }
        }
        so_far += bytes.unsigned_abs();
        progress(Progress { what: "copying video", done: so_far, total });
    }
    Ok(())
}

fn copy(dir: &Path, is_live: bool, to: &Path, file: &SegmentFile, is_wanted: bool) -> Result<Copied, HistoryError> {
    if look_at_file(to, file, Video::Measured).is_ok() {
        return Ok(Copied::Known);
    }
    if !is_wanted {
        return Ok(Copied::Absent);
    }
    let source = dir.join(&file.path);
    if let Err(what) = look_at_file(dir, file, Video::Measured) {
        let is_deleted = is_live && files::is_within(&file.path) && !source.exists();
        return Ok(if is_deleted { Copied::Absent } else { Copied::Broken(what) });
    }
    let target = to.join(&file.path);
    files::make_parent(&target)?;
    let crc = files::copy_whole(&source, &target)?;
    if file.crc.is_some_and(|wanted| wanted != crc) {
        fs::remove_file(&target).map_err(|source| HistoryError::io("remove", &target, source))?;
        return Ok(Copied::Broken("the file's checksum does not match".to_owned()));
    }
    Ok(Copied::New)
}
