//! What is stored, read by SQLite alone: to tell whether a change matters.

use std::path::Path;

use sightglass_history::{FILE_NAME, History, HistoryError};
use sightglass_protocol::{CameraId, LineId, TagId, UtcNanos};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, sqlite::SqliteConnectOptions};

/// Tables whose rows must not change unnoticed.
const TABLES: [&str; 11] = [
    "sample_batch",
    "chunk",
    "rollup",
    "output",
    "advisory",
    "correction",
    "outage",
    "health",
    "clip",
    "journal",
    "journal_head",
];

/// How a history reads.
pub(crate) struct Judge {
    rows: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
}

impl Judge {
    /// Of a whole history.
    pub(crate) async fn of(dir: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let (rows, paths) = rows(dir).await?;
        let mut files = Vec::new();
        for path in paths {
            let bytes = std::fs::read(dir.join(&path))?;
            files.push((path, bytes));
        }
        Ok(Self { rows, files })
    }

    /// Whether everything reads as it did.
    pub(crate) async fn is_same(&self, dir: &Path) -> bool {
        let same_files =
            self.files.iter().all(|(path, bytes)| std::fs::read(dir.join(path)).is_ok_and(|now| now == *bytes));
        same_files && rows(dir).await.is_ok_and(|(rows, _)| rows == self.rows)
    }
}

/// Every row of every table, with the types of its values, and the paths of video.
async fn rows(dir: &Path) -> Result<(Vec<String>, Vec<String>), sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(dir.join(FILE_NAME)).read_only(true);
    let mut connection = options.connect().await?;
    let mut all = Vec::new();
    for table in TABLES {
        let columns: Vec<String> =
            sqlx::query_scalar("SELECT name FROM pragma_table_info(?1)").bind(table).fetch_all(&mut connection).await?;
        let shown: Vec<String> = columns
            .iter()
            .map(|name| {
                format!("typeof({name}) || CASE typeof({name}) WHEN 'real' THEN quote({name}) ELSE hex({name}) END")
            })
            .collect();
        // By the table itself: an index may say something else.
        let sql = format!("SELECT '{table} ' || {} FROM {table} NOT INDEXED ORDER BY rowid", shown.join(" || ' ' || "));
        all.extend(sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).fetch_all(&mut connection).await?);
    }
    let paths = sqlx::query_scalar("SELECT path FROM clip ORDER BY id").fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok((all, paths))
}

/// Asks everything that a window or an engineer asks; what is damaged is an error or a gap.
pub(crate) async fn read_all(dir: &Path) -> Result<(), HistoryError> {
    let history = History::open_read_only(dir).await?;
    let (from, to) = (UtcNanos::MIN, UtcNanos::MAX);
    let tags: Vec<TagId> = history.plant().tags.iter().map(|tag| tag.id).collect();
    // Each by itself: an error of one hides none of the others.
    for &tag in &tags {
        drop(history.raw(tag, from, to).await);
    }
    drop(history.signals(&tags, from, to, 500).await);
    drop(history.entries(from, to, 1_000).await);
    drop(history.advisories(None, from, to, 100).await);
    drop(history.health_at(to).await);
    drop(history.outages(from, to).await);
    drop(history.segments(CameraId(0), from, to).await);
    drop(history.recorded(LineId(0)).await);
    drop(history.scores(LineId(0), from, to, 500).await);
    drop(history.bands(LineId(0), &tags, from, to, 500).await);
    drop(history.summary().await);
    history.close().await
}
