//! From whatever lies at a history's place to a connection that may write into it: strangers are refused, an older
//! schema is brought up to date once a copy of the file is on the medium, and what an unclean end may have cost is told.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sightglass_protocol::UtcNanos;
use sqlx::{Connection, Sqlite, Transaction, sqlite::SqliteConnection};

use crate::{
    error::HistoryError,
    events::{EntryClass, chain},
    files,
    header::{Header, MAGIC, beside},
    open::{FILE_NAME, PAGE_BYTES, base_options, has_log, writing_connection},
    raw::blocking,
    schema::{FileState, SCHEMA, inspect, migrator},
    wal,
};

/// A connection that writes, to a file of today's schema.
pub(crate) struct Ready {
    pub(crate) connection: SqliteConnection,
    /// Whether the last run did not end by itself.
    pub(crate) died: bool,
}

/// The copy that is taken of a file before its schema is changed.
pub(crate) fn copy_path(path: &Path, schema: i64) -> PathBuf {
    beside(path, &format!(".schema-{schema}.backup"))
}

/// Looks at the file before anything may write into it: not SQLite, another application's, a newer one, cut off.
pub(crate) async fn refuse_strangers(path: &Path) -> Result<FileState, HistoryError> {
    let has_log = has_log(path);
    refuse_cut_off(path, has_log)?;
    let state = inspect(path, &base_options(path).read_only(true)).await?;
    match state {
        FileState::History(found) if found > SCHEMA => {
            Err(HistoryError::Newer { path: path.to_owned(), found, known: SCHEMA })
        }
        state => Ok(state),
    }
}

/// A file that is shorter than it says. What is missing may still be in the log, where there is one.
pub(crate) fn refuse_cut_off(path: &Path, has_log: bool) -> Result<(), HistoryError> {
    let header = Header::read(path).map_err(|source| HistoryError::io("read", path, source))?;
    let (expected, found) = match header {
        Some(header) if !has_log => match header.bytes_missing_of() {
            Some(expected) => (expected, header.file_bytes()),
            None => return Ok(()),
        },
        Some(_) => return Ok(()),
        // Too short to say how long it should be; an empty one was never begun.
        None => match fs::read(path) {
            Ok(bytes) if bytes.starts_with(MAGIC) => (PAGE_BYTES.into(), bytes.len() as u64),
            Ok(_) => return Ok(()),
            Err(source) => return Err(HistoryError::io("read", path, source)),
        },
    };
    Err(HistoryError::CutOff { path: path.to_owned(), expected, found })
}

/// Opens the history in `dir` (which the caller has locked) for writing; makes the file where there is none.
pub(crate) async fn make_ready(dir: &Path) -> Result<Ready, HistoryError> {
    let path = dir.join(FILE_NAME);
    let present = path.try_exists().map_err(|source| HistoryError::io("look at", &path, source))?;
    let mut state = FileState::Fresh;
    let mut log_lost = None;
    if present {
        // Before SQLite opens it, which forgets what it cannot read of the log.
        log_lost = lost_of_log(&path);
        state = refuse_strangers(&path).await?;
    }
    let wrap = |source| HistoryError::from_sqlx(dir, source);
    let mut connection = writing_connection(dir).await.map_err(wrap)?;
    if let FileState::History(found) = state
        && found < SCHEMA
    {
        keep_copy(&mut connection, &path, found).await?;
    }
    migrator().run(&mut connection).await.map_err(|error| wrap(sqlx::Error::Migrate(Box::new(error))))?;
    let died = settle_former(&mut connection, dir, log_lost).await.map_err(wrap)?;
    Ok(Ready { connection, died })
}

/// Notes a run that did not end by itself, once, before its log is folded in: and whether that had all of it.
async fn settle_former(
    connection: &mut SqliteConnection,
    dir: &Path,
    log_lost: Option<String>,
) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let died = sqlx::query("UPDATE session SET clean = 2 WHERE clean = 0").execute(&mut *transaction).await?;
    let died = died.rows_affected() > 0;
    if let Some(lost) = log_lost.filter(|_| died) {
        tracing::warn!(dir = %dir.display(), "the run before did not end by itself, and {lost}: its last moments may be gone");
        note_lost_log(&mut transaction, &lost).await?;
    }
    transaction.commit().await?;
    Ok(died)
}

/// An event at the last moment of which an entry tells: what was written after it may be gone.
async fn note_lost_log(transaction: &mut Transaction<'_, Sqlite>, lost: &str) -> Result<(), sqlx::Error> {
    let last: Option<i64> = sqlx::query_scalar(
        "SELECT max(t) FROM (SELECT max(time) AS t FROM journal UNION ALL SELECT max(last_time) FROM sample_batch
         UNION ALL SELECT max(last_time) FROM chunk)",
    )
    .fetch_one(&mut **transaction)
    .await?;
    let text = format!("the run before did not end by itself, and {lost}: its last moments may be gone");
    chain(transaction, UtcNanos(last.unwrap_or(0)), EntryClass::Event, "history", &text).await
}

fn lost_of_log(path: &Path) -> Option<String> {
    // An empty one is made by whoever only looks.
    if !has_log(path) {
        return Some("its write-ahead log is missing".to_owned());
    }
    match wal::problem(path, false) {
        Ok(problem) => problem.map(|problem| format!("its write-ahead log: {problem}")),
        Err(error) => Some(format!("its write-ahead log cannot be read: {error}")),
    }
}

/// Copies the file, with everything in its log, beside it.
async fn keep_copy(connection: &mut SqliteConnection, path: &Path, schema: i64) -> Result<(), HistoryError> {
    let dir = path.parent().unwrap_or(path);
    let wrap = |source| HistoryError::from_sqlx(dir, source);
    let (busy, _, _): (i64, i64, i64) =
        sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *connection).await.map_err(wrap)?;
    if busy != 0 {
        return Err(HistoryError::BadQuery {
            what: format!(
                "{} is of an earlier schema and cannot be brought up to date while something else reads it; close that \
                 and try again",
                path.display()
            ),
        });
    }
    // Nothing may come in between the copy and the change.
    let transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(wrap)?;
    let (from, to) = (path.to_owned(), copy_path(path, schema));
    let copied = blocking(move || files::copy_whole(&from, &to)).await;
    transaction.rollback().await.map_err(wrap)?;
    match copied {
        Ok(_) => {
            tracing::info!(
                copy = %copy_path(path, schema).display(),
                "the history is brought up to date; this copy of it as it was may be deleted when all is well"
            );
            Ok(())
        }
        Err(HistoryError::DiskFull { .. }) => {
            let needed = fs::metadata(path).map_or(0, |file| file.len());
            let action = "bringing the history up to date, with a copy of it as it was,";
            Err(HistoryError::NoRoom { action, path: path.to_owned(), needed })
        }
        Err(error) => Err(error),
    }
}
