//! What can go wrong with a history, said so that the reader can act.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{fields, verify::Problem};

/// An error of the history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Another program holds the folder.
    #[error(
        "the data folder {} is in use by another engine; stop that one, give this one a folder of its own (--data), or \
         connect a window to the running engine", dir.display()
    )]
    InUse {
        /// The data folder.
        dir: PathBuf,
    },
    /// The folder cannot be written.
    #[error(
        "the data folder {} cannot be written ({reason}); make it writable for this user or choose another one with \
         --data; to look at its records only, open it read-only", dir.display()
    )]
    ReadOnly {
        /// The data folder.
        dir: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// There is nothing to look at.
    #[error("there is no history at {}; it is made by the first run with this data folder", path.display())]
    NotFound {
        /// The file that was looked for.
        path: PathBuf,
    },
    /// The file is of another kind.
    #[error("{} is not a SQLite file, so no history; move it away or choose another folder with --data", path.display())]
    NotSqlite {
        /// The file.
        path: PathBuf,
    },
    /// SQLite, but not ours.
    #[error(
        "{} is the SQLite file of another application (application id {application_id:#010x}), not a history; it was \
         left untouched: choose another folder with --data", path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its `application_id`.
        application_id: u32,
    },
    /// Written by a newer Sightglass.
    #[error(
        "{} was written by a newer Sightglass (schema {found}, this one writes {known}); it was left untouched: update \
         this Sightglass to go on recording, or open the file read-only to look at it", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema that this program knows.
        known: i64,
    },
    /// Cut off: copied in part, or a damaged file system.
    #[error(
        "{} was cut off: it has {found} bytes and should have {expected}; if it was copied, copy it again (with its -wal \
         file); else restore a backup, or let `sightglass history repair` save what is there; it was left untouched",
        path.display()
    )]
    CutOff {
        /// The file.
        path: PathBuf,
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// A folder that should be new is not.
    #[error("{} has a history already, which was left untouched; name a folder without one", dir.display())]
    Occupied {
        /// The folder.
        dir: PathBuf,
    },
    /// There is not enough room to do it safely.
    #[error("{action} needs {needed} bytes, and there is no room for them beside {}; free some space and try again", path.display())]
    NoRoom {
        /// What was to be done.
        action: &'static str,
        /// Beside which file.
        path: PathBuf,
        /// Bytes.
        needed: u64,
    },
    /// Not even the list of tables can be read.
    #[error(
        "{} cannot be repaired: {reason}; not even its tables can be found, so that only a backup helps (`sightglass \
         history restore`); the file was left untouched", path.display()
    )]
    BeyondRepair {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// What was written, or is to be copied, is not whole.
    #[error(
        "{} is not whole: {}{}", dir.display(), problems.first().map_or_else(String::new, ToString::to_string),
        more(problems.len())
    )]
    NotWhole {
        /// The folder.
        dir: PathBuf,
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// The disk is full.
    #[error(
        "the disk of {} is full, so nothing can be recorded; free some space or lower the retention in plant.toml",
        dir.display()
    )]
    DiskFull {
        /// The data folder.
        dir: PathBuf,
    },
    /// There is no space left where something is written out to.
    #[error(
        "there is no space left for {}; what was finished before is whole: free some space there, or choose another \
         folder, and run the same command again", path.display()
    )]
    TargetFull {
        /// The file.
        path: PathBuf,
    },
    /// The folder, or the file in it, is no longer where it was when it was opened.
    #[error(
        "the data folder {} went away ({reason}); plug in or mount its disk again, or put the folder back: recording \
         resumes by itself", dir.display()
    )]
    Away {
        /// The data folder.
        dir: PathBuf,
        /// What is seen in its place.
        reason: String,
    },
    /// Something stored does not read back.
    #[error("{place} is damaged: {reason}; `sightglass history verify` lists all damage")]
    Damaged {
        /// Table and row.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Opened for reading.
    #[error("this history is opened read-only: {action} is not possible")]
    NotWritable {
        /// What was asked.
        action: &'static str,
    },
    /// Closed already.
    #[error("this history is closed")]
    Closed,
    /// An id that the plant does not have.
    #[error("the plant has no {what} with id {id}")]
    Unknown {
        /// Tag, camera or line.
        what: &'static str,
        /// Its number.
        id: u32,
    },
    /// Asked with a range that ends before it starts, or more than can be answered.
    #[error("{what}")]
    BadQuery {
        /// What is wrong and what is allowed.
        what: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// SQLite refused.
    #[error("the history in {}: {source}", dir.display())]
    Sqlite {
        /// The data folder.
        dir: PathBuf,
        /// SQLite's words.
        source: sqlx::Error,
    },
    /// polars refused.
    #[error("cannot {action}: {source}")]
    Frame {
        /// What was being done.
        action: String,
        /// The reason.
        source: polars::error::PolarsError,
    },
}

fn more(count: usize) -> String {
    if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() }
}

/// SQLite's primary result codes that have an answer of their own.
const SQLITE_READONLY: u32 = 8;
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_FULL: u32 = 13;
const SQLITE_NOTADB: u32 = 26;

impl HistoryError {
    /// The error of ours that SQLite's means for the history in `dir`.
    pub(crate) fn from_sqlx(dir: &Path, source: sqlx::Error) -> Self {
        if matches!(source, sqlx::Error::PoolClosed) {
            return Self::Closed;
        }
        if let Some(reason) = fields::of_type(&source) {
            return Self::Damaged { place: dir.join(crate::FILE_NAME).display().to_string(), reason };
        }
        let code = match &source {
            sqlx::Error::Database(error) => error.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or(0) & 0xff,
            _ => 0,
        };
        let dir = dir.to_owned();
        match code {
            SQLITE_READONLY => Self::ReadOnly { dir, reason: source.to_string() },
            SQLITE_FULL => Self::DiskFull { dir },
            SQLITE_NOTADB => Self::NotSqlite { path: dir.join(crate::FILE_NAME) },
            SQLITE_CORRUPT => Self::Damaged {
                place: dir.join(crate::FILE_NAME).display().to_string(),
                reason: "the SQLite file itself is malformed".to_owned(),
            },
            _ => Self::Sqlite { dir, source },
        }
    }

    /// The same error for one who copies into `dir`, not for the recorder.
    pub(crate) fn of_target(self, dir: &Path) -> Self {
        match self {
            Self::DiskFull { .. } => Self::TargetFull { path: dir.to_owned() },
            other => other,
        }
    }

    /// An error of something that is written out, not of the history itself.
    pub(crate) fn target(action: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::TargetFull { path: path.to_owned() },
            _ => Self::Io { action, path: path.to_owned(), source },
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull => Self::DiskFull { dir: path.to_owned() },
            _ => Self::Io { action, path: path.to_owned(), source },
        }
    }
}
