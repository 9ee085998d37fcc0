//! Whether everything stored is as it was written: SQLite's own structure, every checksum, every body, the chain of
//! events and audit, every file of video, and the write-ahead log.

mod chain;
mod rows;
mod segments;

use std::{
    fmt,
    fs::{File, TryLockError},
    path::Path,
};

use serde::Serialize;
use sqlx::{
    ConnectOptions, Connection,
    sqlite::{SqliteConnectOptions, SqliteConnection},
};

pub(crate) use self::{
    chain::{JournalRow, Judged, head, judge},
    rows::{TABLES, Table, clip_row},
    segments::{SegmentFile, look_at_file},
};
use crate::{
    error::HistoryError,
    header::Header,
    open::{FILE_NAME, History, LOCK_NAME, base_options, has_log},
    schema::SCHEMA,
    wal,
};

/// Problems that SQLite's own check tells at most.
const SQLITE_PROBLEMS_MAX: u32 = 100;
const REPAIR: &str = "`sightglass history repair` saves what is whole";
const RESTORE: &str = "restore a backup, or let `sightglass history repair` save what is whole";

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Table and row, or file.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl Problem {
    pub(crate) fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into(), remedy: REPAIR }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.what, self.remedy)
    }
}

/// How far something long is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub what: &'static str,
    /// Bytes done of it.
    pub done: u64,
    /// Bytes to do; 0 where that is not known.
    pub total: u64,
}

/// Told how far something long is; called often.
pub type OnProgress<'a> = &'a mut (dyn FnMut(Progress) + Send);

/// Which files of video are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Video {
    /// All of them, against their checksums.
    Read,
    /// None: only whether they are there and how long they are.
    Measured,
}

impl History {
    /// Reads everything: see [`verify_folder`].
    ///
    /// # Errors
    /// Only when the history is closed: what is wrong in the file is in the answer.
    pub async fn verify(&self) -> Result<Vec<Problem>, HistoryError> {
        if self.inner.readers.is_closed() {
            return Err(HistoryError::Closed);
        }
        verify_folder(&self.inner.dir, &mut |_| {}).await
    }
}

/// Reads everything in the data folder `dir`, whatever state it is in, also while an engine records into it: SQLite's
/// own check, every checksum, every body, the chain of events and audit, every file of video. Empty when all is as it
/// was written. Where something cannot be read on, that is a problem too, and the next thing is looked at.
///
/// # Errors
/// [`HistoryError::NotFound`] when there is no history. What is wrong with one is in the answer.
pub async fn verify_folder(dir: &Path, progress: OnProgress<'_>) -> Result<Vec<Problem>, HistoryError> {
    let path = dir.join(FILE_NAME);
    let mut problems = Vec::new();
    if !path.try_exists().map_err(|source| HistoryError::io("look at", &path, source))? {
        return Err(HistoryError::NotFound { path });
    }
    let is_live = is_in_use(dir);
    let had_log = has_log(&path);
    match wal::problem(&path, is_live) {
        Ok(None) => {}
        Ok(Some(what)) => problems.push(Problem::new(format!("{FILE_NAME}-wal"), what)),
        Err(error) => problems.push(Problem::new(format!("{FILE_NAME}-wal"), format!("it cannot be read: {error}"))),
    }
    if let Err(what) = look_at_header(&path) {
        problems.extend(what.into_iter().map(|what| header_problem(&path, what)));
    }
    let mut connection = match read_connection(&path).await {
        Ok(connection) => connection,
        Err(error) => {
            problems.push(header_problem(&path, format!("SQLite cannot open it: {}", said(&error))));
            return Ok(problems);
        }
    };
    let schema = match schema_of(&mut connection).await {
        Ok(schema) => schema,
        Err(error) => {
            problems.push(header_problem(&path, format!("SQLite cannot read it: {}", said(&error))));
            return Ok(problems);
        }
    };
    if schema == 0 {
        problems.push(header_problem(&path, "it says that it has no schema".to_owned()));
    }
    let schema = if schema == 0 { SCHEMA } else { schema };
    verify_connection(&mut connection, dir, schema, Video::Read, progress, &mut problems).await;
    if !is_live && !had_log {
        look_for_lost_log(&mut connection, &mut problems).await;
    }
    // A connection that only reads has nothing to lose at its end.
    let _ = connection.close().await;
    Ok(problems)
}

/// What a connection shows of everything: also within a transaction that is not committed yet.
pub(crate) async fn verify_connection(
    connection: &mut SqliteConnection,
    dir: &Path,
    schema: i64,
    video: Video,
    progress: OnProgress<'_>,
    problems: &mut Vec<Problem>,
) {
    progress(Progress { what: "checking SQLite's structure", done: 0, total: 0 });
    verify_structure(connection, problems).await;
    let total = database_bytes(connection).await;
    let mut done = 0;
    for table in TABLES.iter().filter(|table| table.since <= schema) {
        rows::verify(connection, table, schema, problems, &mut |bytes| {
            done += bytes;
            progress(Progress { what: "checking rows", done: done.min(total), total });
        })
        .await;
    }
    progress(Progress { what: "checking events and audit", done: total, total });
    chain::verify(connection, problems).await;
    segments::verify(connection, dir, video, progress, problems).await;
}

async fn verify_structure(connection: &mut SqliteConnection, problems: &mut Vec<Problem>) {
    // Indexes too: a row that changed its number would be missed by them.
    let checked: Result<Vec<String>, _> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(format!("PRAGMA integrity_check({SQLITE_PROBLEMS_MAX})")))
            .fetch_all(connection)
            .await;
    match checked {
        Ok(lines) => {
            let wrong = lines.into_iter().filter(|line| line != "ok");
            problems.extend(wrong.map(|what| Problem::new("SQLite", what.replace('\n', " "))));
        }
        Err(error) => problems.push(Problem::new("SQLite", said(&error))),
    }
}

/// A run that did not end by itself leaves its log behind; when that is gone, so is what it had last written.
async fn look_for_lost_log(connection: &mut SqliteConnection, problems: &mut Vec<Problem>) {
    let died = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM session WHERE clean = 0)").fetch_one(connection).await;
    match died {
        Ok(false) => {}
        Ok(true) => problems.push(Problem {
            place: format!("{FILE_NAME}-wal"),
            what: "it is missing, though the last run did not end by itself: its last moments may be gone".to_owned(),
            remedy: "put it back beside the file; without it, the next run goes on and notes the gap",
        }),
        Err(error) => problems.push(Problem::new("session", said(&error))),
    }
}

fn look_at_header(path: &Path) -> Result<(), Vec<String>> {
    let header = match Header::read(path) {
        Ok(Some(header)) => header,
        Ok(None) => return Err(vec!["it is shorter than a SQLite file's header".to_owned()]),
        Err(error) => return Err(vec![format!("it cannot be read: {error}")]),
    };
    let problems = header.problems();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn header_problem(path: &Path, what: String) -> Problem {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    Problem { place: format!("{name}, header"), what, remedy: RESTORE }
}

/// What SQLite said, in one line.
pub(crate) fn said(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().replace('\n', " "),
        other => other.to_string().replace('\n', " "),
    }
}

/// A connection that reads, also on a medium that cannot be written: SQLite cannot make its shared memory there, but
/// without a log there is nothing to share.
pub(crate) async fn read_connection(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let options = base_options(path).read_only(true);
    match opened(&options).await {
        Err(_) if !has_log(path) => opened(&options.immutable(true)).await,
        other => other,
    }
}

async fn opened(options: &SqliteConnectOptions) -> Result<SqliteConnection, sqlx::Error> {
    let mut connection = options.connect().await?;
    sqlx::query("SELECT count(*) FROM sqlite_schema").fetch_one(&mut connection).await?;
    Ok(connection)
}

pub(crate) async fn schema_of(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("PRAGMA user_version").fetch_one(connection).await
}

/// Bytes of the database as `connection` sees it; 0 where SQLite cannot say.
pub(crate) async fn database_bytes(connection: &mut SqliteConnection) -> u64 {
    let mut bytes = 1;
    for pragma in ["PRAGMA page_count", "PRAGMA page_size"] {
        let number: i64 = sqlx::query_scalar(pragma).fetch_one(&mut *connection).await.unwrap_or(0);
        bytes *= number as u64;
    }
    bytes
}

/// Whether an engine, or another program of ours, has the folder for writing.
pub(crate) fn is_in_use(dir: &Path) -> bool {
    match File::open(dir.join(LOCK_NAME)) {
        Ok(file) => matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
        // Without a lock's file nobody has it.
        Err(_) => false,
    }
}
