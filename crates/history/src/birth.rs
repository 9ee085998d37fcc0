//! A file whose making was cut off: until it is in WAL mode, SQLite keeps a rollback journal beside it, and whoever may
//! only read cannot even look at it while that is there.

use std::{fs::File, io::Read as _, path::Path};

use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};

use crate::{error::HistoryError, schema::APPLICATION_ID};

/// Where a file's header has its `application_id`.
const APPLICATION_ID_AT: usize = 68;

/// Lets SQLite undo what a killed `open` had begun, so that the file can be looked at. Does nothing to a file without a
/// journal, and to one that says to be another application's. A history never has a journal after its first moments.
///
/// # Errors
/// SQLite's own.
pub(crate) async fn undo_half_made(path: &Path, options: SqliteConnectOptions) -> Result<(), HistoryError> {
    let mut journal = path.as_os_str().to_owned();
    journal.push("-journal");
    if !Path::new(&journal).exists() || !may_be_ours(path)? {
        return Ok(());
    }
    let wrap = |source| HistoryError::from_sqlx(path.parent().unwrap_or(path), source);
    let mut connection = options.connect().await.map_err(wrap)?;
    // The first look at the file rolls it back.
    let looked = sqlx::query("PRAGMA user_version").execute(&mut connection).await.map_err(wrap);
    connection.close().await.map_err(wrap)?;
    looked.map(|_done| ())
}

/// Whether the header names no other application.
fn may_be_ours(path: &Path) -> Result<bool, HistoryError> {
    let mut header = Vec::new();
    File::open(path)
        .and_then(|file| file.take(100).read_to_end(&mut header))
        .map_err(|source| HistoryError::io("read", path, source))?;
    let id = header.get(APPLICATION_ID_AT..APPLICATION_ID_AT + 4);
    let id = id.map_or(0, |id| i64::from(u32::from_be_bytes([id[0], id[1], id[2], id[3]])));
    Ok(id == 0 || id == APPLICATION_ID)
}
