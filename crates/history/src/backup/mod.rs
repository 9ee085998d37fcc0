//! A history to another folder, while it is written or not: every row of one moment, every file of video, verified.
//!
//! A first backup grows in a file of another name, some rows a transaction, and gets its name once it is verified and on
//! the medium: cut off anywhere, the next one goes on from there. A later one brings the finished file up to date in one
//! transaction. Rows are told apart by key and checksum, so that either copies only what is missing.

mod manifest;
mod restore;
mod rows;
mod video;

use std::{
    fs::{self, File},
    path::Path,
    sync::Arc,
};

use serde::Serialize;
use sightglass_protocol::UtcNanos;
use sqlx::{Connection, sqlite::SqliteConnection};

use self::rows::{Sink, Snapshot};
pub use self::{
    manifest::{MANIFEST_NAME, Manifest},
    restore::{Restored, restore},
};
use crate::{
    error::HistoryError,
    files::{self, PARTIAL, family},
    open::{FILE_NAME, lock, writing_connection_at},
    schema::{SCHEMA, migrator},
    verify::{OnProgress, Problem, Video, is_in_use, read_connection, said, schema_of, verify_connection},
};

/// What a backup did.
#[derive(Debug, Default, Serialize)]
pub struct BackedUp {
    /// Rows written that were not there yet.
    pub rows: u64,
    /// Rows that the history no longer has.
    pub rows_removed: u64,
    /// Files of video written.
    pub segments: u64,
    /// Bytes of them.
    pub video_bytes: u64,
    /// What the history has and the backup has not, since it is not as it was written.
    pub left_out: Vec<Problem>,
    /// What the backup holds.
    pub manifest: Manifest,
}

/// What to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupOptions {
    /// Video, too.
    pub video: bool,
}

/// Copies the history in `dir` as it is at this moment into the folder `to`, also while an engine writes into it.
/// Goes on where an earlier call was cut off, and brings a finished backup up to date. `now` is for the manifest.
///
/// What the history has and is not as it was written is left out, and in the answer; of a finished backup, the row that
/// was whole then stays.
///
/// # Errors
/// [`HistoryError::NotFound`]; [`HistoryError::Damaged`] where the history cannot be read or its chain of events and audit
/// is broken: it has to be repaired first, and a finished backup stays as it is; [`HistoryError::TargetFull`];
/// [`HistoryError::NotWhole`] where what was written does not read back; the system's own. What is there is never
/// complete by its name and incomplete in fact.
pub async fn backup(
    dir: &Path,
    to: &Path,
    options: BackupOptions,
    now: UtcNanos,
    progress: OnProgress<'_>,
) -> Result<BackedUp, HistoryError> {
    let path = dir.join(FILE_NAME);
    if !path.try_exists().map_err(|source| HistoryError::io("look at", &path, source))? {
        return Err(HistoryError::NotFound { path });
    }
    fs::create_dir_all(to).map_err(|source| HistoryError::io("make the folder", to, source).of_target(to))?;
    if is_same(dir, to) {
        return Err(HistoryError::BadQuery {
            what: format!("a backup of {} does not go into itself; name another folder with --to", dir.display()),
        });
    }
    let held = Arc::new(lock(to).map_err(|error| error.of_target(to))?);
    let source_error = |source: sqlx::Error| HistoryError::from_sqlx(dir, source);
    let mut source = read_connection(&path).await.map_err(source_error)?;
    let schema = schema_of(&mut source).await.map_err(source_error)?;
    if schema > SCHEMA {
        return Err(HistoryError::Newer { path, found: schema, known: SCHEMA });
    }
    let mut snapshot = Snapshot::new(&mut source, dir, schema, is_in_use(dir)).await.map_err(source_error)?;
    let mut done = BackedUp::default();
    let made = if to.join(FILE_NAME).exists() {
        update(&mut snapshot, dir, (to, &held), options, progress, &mut done).await
    } else {
        create(&mut snapshot, dir, (to, &held), options, progress, &mut done).await
    };
    drop(snapshot);
    made.map_err(|error| error.of_target(to))?;
    // It only read.
    let _ = source.close().await;
    done.manifest = Manifest::of(to, now, options.video).await?;
    done.manifest.write(to).map_err(|error| error.of_target(to))?;
    Ok(done)
}

/// Brings what is there of a backup to today's schema.
///
/// # Errors
/// [`HistoryError::Occupied`] where it is of another history.
async fn prepare(snapshot: &mut Snapshot<'_>, target: &mut SqliteConnection, to: &Path) -> Result<(), HistoryError> {
    let migrated = migrator().run(&mut *target).await;
    migrated.map_err(|error| HistoryError::from_sqlx(to, sqlx::Error::Migrate(Box::new(error))))?;
    if !rows::is_same_history(snapshot, target).await? {
        return Err(HistoryError::Occupied { dir: to.to_owned() });
    }
    Ok(())
}

/// The first backup into a folder, or the rest of it.
async fn create(
    snapshot: &mut Snapshot<'_>,
    dir: &Path,
    (to, held): (&Path, &Arc<File>),
    options: BackupOptions,
    progress: OnProgress<'_>,
    done: &mut BackedUp,
) -> Result<(), HistoryError> {
    let wrap = |source| HistoryError::from_sqlx(to, source);
    let partial = to.join(PARTIAL);
    let mut target = partial_connection(&partial).await?;
    prepare(snapshot, &mut target, to).await?;
    let mut sink = Sink::in_parts(target);
    rows::copy_all(snapshot, &mut sink, progress, done).await?;
    video::copy_missing(sink.connection(), (dir, snapshot.is_live), (to, held), options.video, progress, done).await?;
    let mut target = sink.finish().await.map_err(wrap)?;
    let mut problems = Vec::new();
    verify_connection(&mut target, to, SCHEMA, Video::Read, progress, &mut problems).await;
    if !problems.is_empty() {
        // Whatever of it is not right is not gone on with.
        target.close().await.map_err(wrap)?;
        for path in family(&partial) {
            files::remove_if_there(&path)?;
        }
        return Err(HistoryError::NotWhole { dir: to.to_owned(), problems });
    }
    files::finish(target, &partial, &to.join(FILE_NAME)).await
}

/// The connection to what an earlier call left, or to a new file; what cannot be gone on with is begun anew.
async fn partial_connection(partial: &Path) -> Result<SqliteConnection, HistoryError> {
    let dir = partial.parent().unwrap_or(partial);
    let wrap = |source| HistoryError::from_sqlx(dir, source);
    if partial.exists() {
        let left = async {
            let mut left = writing_connection_at(partial).await?;
            let checked: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(1)").fetch_all(&mut left).await?;
            Ok::<_, sqlx::Error>((left, checked == ["ok"]))
        };
        match left.await {
            Ok((left, true)) => return Ok(left),
            Ok((left, false)) => left.close().await.map_err(wrap)?,
            Err(error) => tracing::warn!(error = said(&error), "what an earlier backup left is begun anew"),
        }
        for path in family(partial) {
            files::remove_if_there(&path)?;
        }
    }
    writing_connection_at(partial).await.map_err(wrap)
}

/// Brings a finished backup up to date: it is the old one or the new one, never something between.
async fn update(
    snapshot: &mut Snapshot<'_>,
    dir: &Path,
    (to, held): (&Path, &Arc<File>),
    options: BackupOptions,
    progress: OnProgress<'_>,
    done: &mut BackedUp,
) -> Result<(), HistoryError> {
    let wrap = |source| HistoryError::from_sqlx(to, source);
    let path = to.join(FILE_NAME);
    crate::upgrade::refuse_strangers(&path).await?;
    let mut target = writing_connection_at(&path).await.map_err(wrap)?;
    prepare(snapshot, &mut target, to).await?;
    let before = video::paths(&mut target).await.map_err(wrap)?;
    let mut transaction = target.begin_with("BEGIN IMMEDIATE").await.map_err(wrap)?;
    {
        let mut sink = Sink::within(&mut transaction);
        rows::copy_all(snapshot, &mut sink, progress, done).await?;
    }
    video::copy_missing(&mut transaction, (dir, snapshot.is_live), (to, held), options.video, progress, done).await?;
    let mut problems = Vec::new();
    verify_connection(&mut transaction, to, SCHEMA, Video::Measured, progress, &mut problems).await;
    if !problems.is_empty() {
        transaction.rollback().await.map_err(wrap)?;
        return Err(HistoryError::NotWhole { dir: to.to_owned(), problems });
    }
    transaction.commit().await.map_err(wrap)?;
    let after = video::paths(&mut target).await.map_err(wrap)?;
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut target).await.map_err(wrap)?;
    target.close().await.map_err(wrap)?;
    files::sync_file(&path)?;
    // Only now does nothing refer to them any more.
    for path in before.difference(&after).filter(|path| files::is_within(path)) {
        files::remove_if_there(&to.join(path))?;
    }
    Ok(())
}

fn is_same(a: &Path, b: &Path) -> bool {
    match (fs::canonicalize(a), fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}
