//! What a backup says of itself, for people and programs that look at a stick.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Serialize;
use sightglass_protocol::UtcNanos;
use sqlx::{AssertSqlSafe, Connection};

use crate::{
    error::HistoryError,
    files,
    header::beside,
    open::FILE_NAME,
    verify::{TABLES, read_connection},
    video,
};

/// The manifest's file within a backup.
pub const MANIFEST_NAME: &str = "backup.json";

/// What a finished backup holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Manifest {
    /// When it was made, or brought up to date.
    pub made: Option<UtcNanos>,
    /// Whether video was asked for.
    pub video: bool,
    /// The file's schema.
    pub schema: i64,
    /// Rows by table.
    pub rows: BTreeMap<String, i64>,
    /// Samples of all tags.
    pub samples: i64,
    /// The first moment of any sample.
    pub first: Option<UtcNanos>,
    /// The last moment of any sample.
    pub last: Option<UtcNanos>,
    /// Files of video, and their bytes.
    pub segments: i64,
    /// Bytes of them.
    pub video_bytes: i64,
    /// Bytes of `history.sqlite`.
    pub bytes: u64,
    /// The last entry of events and audit.
    pub journal_seq: i64,
    /// Its hash, in hexadecimal digits: with it, this very chain is recognised.
    pub journal_hash: String,
}

impl Manifest {
    /// Of the finished backup in `to`.
    pub(super) async fn of(to: &Path, now: UtcNanos, video: bool) -> Result<Self, HistoryError> {
        let path = to.join(FILE_NAME);
        let wrap = |source| HistoryError::from_sqlx(to, source);
        let mut connection = read_connection(&path).await.map_err(wrap)?;
        let mut rows = BTreeMap::new();
        for name in TABLES.iter().map(|table| table.name).chain(["journal"]) {
            let count = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {name}")))
                .fetch_one(&mut connection)
                .await
                .map_err(wrap)?;
            rows.insert(name.to_owned(), count);
        }
        let (samples, first, last): (i64, Option<i64>, Option<i64>) = sqlx::query_as(
            "SELECT coalesce(sum(n), 0), min(a), max(b) FROM (
                SELECT sum(samples) AS n, min(first_time) AS a, max(last_time) AS b FROM chunk
                UNION ALL SELECT sum(samples), min(first_time), max(last_time) FROM sample_batch)",
        )
        .fetch_one(&mut connection)
        .await
        .map_err(wrap)?;
        let (segments, video_bytes) =
            sqlx::query_as("SELECT count(*), coalesce(sum(bytes), 0) FROM clip WHERE state NOT IN (?1, ?2)")
                .bind(video::WRITING)
                .bind(video::GONE)
                .fetch_one(&mut connection)
                .await
                .map_err(wrap)?;
        let (journal_seq, journal_hash) = sqlx::query_as("SELECT seq, lower(hex(hash)) FROM journal_head")
            .fetch_one(&mut connection)
            .await
            .map_err(wrap)?;
        let schema = crate::verify::schema_of(&mut connection).await.map_err(wrap)?;
        connection.close().await.map_err(wrap)?;
        let bytes = fs::metadata(&path).map_err(|source| HistoryError::io("look at", &path, source))?.len();
        Ok(Self {
            made: Some(now),
            video,
            schema,
            rows,
            samples,
            first: first.map(UtcNanos),
            last: last.map(UtcNanos),
            segments,
            video_bytes,
            bytes,
            journal_seq,
            journal_hash,
        })
    }

    pub(super) fn write(&self, to: &Path) -> Result<(), HistoryError> {
        let path = to.join(MANIFEST_NAME);
        let partial = beside(&path, ".partial");
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| HistoryError::BadQuery { what: format!("the manifest cannot be written: {error}") })?;
        fs::write(&partial, text + "\n").map_err(|source| HistoryError::io("write", &partial, source))?;
        files::sync_file(&partial)?;
        files::rename_synced(&partial, &path)
    }
}
