//! The schema's migrations, embedded, and how the state of a file is told before anything in it is touched.

use std::path::Path;

use sqlx::{
    ConnectOptions, Connection, SqlStr,
    migrate::{Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteConnection},
};

use crate::error::HistoryError;

/// `application_id` of a history: "SGLS".
pub(crate) const APPLICATION_ID: i64 = 0x5347_4C53;
/// The newest schema that this program writes.
pub(crate) const SCHEMA: i64 = 2;

/// All migrations, oldest first.
pub(crate) fn migrator() -> Migrator {
    let migration = |version, name: &'static str, sql| {
        Migration::new(version, name.into(), MigrationType::Simple, SqlStr::from_static(sql), false)
    };
    Migrator::with_migrations(vec![
        migration(1, "history", include_str!("../../../migrations/0001_history.sql")),
        migration(2, "outages and corrections", include_str!("../../../migrations/0002_outages_and_corrections.sql")),
    ])
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileState {
    /// Empty, or made by an `open` that was killed before its first commit.
    Fresh,
    /// A history with this schema.
    History(i64),
}

/// Looks at `path` without changing it.
pub(crate) async fn inspect(path: &Path, options: &SqliteConnectOptions) -> Result<FileState, HistoryError> {
    let dir = path.parent().unwrap_or(path);
    let header = first_bytes(path).map_err(|source| HistoryError::io("read", path, source))?;
    if !header.is_empty() && !header.starts_with(b"SQLite format 3\0") {
        return Err(HistoryError::NotSqlite { path: path.to_owned() });
    }
    let wrap = |source| HistoryError::from_sqlx(dir, source);
    let mut connection = options.clone().connect().await.map_err(wrap)?;
    let state = state_of(&mut connection, path).await;
    connection.close().await.map_err(wrap)?;
    state
}

fn first_bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(16).read_to_end(&mut bytes)?;
    Ok(bytes)
}

async fn state_of(connection: &mut SqliteConnection, path: &Path) -> Result<FileState, HistoryError> {
    let wrap = |source| HistoryError::from_sqlx(path.parent().unwrap_or(path), source);
    let id: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await.map_err(wrap)?;
    let others: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(wrap)?;
    if id != APPLICATION_ID {
        if id == 0 && others == 0 {
            return Ok(FileState::Fresh);
        }
        return Err(HistoryError::Foreign { path: path.to_owned(), application_id: id as u32 });
    }
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await.map_err(wrap)?;
    Ok(FileState::History(version))
}
