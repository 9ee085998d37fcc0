//! What the file's pages are used for.

use serde::Serialize;
use sqlx::{Sqlite, Transaction};

use crate::{error::HistoryError, open::History};

/// Bytes of the file by what they are for, indexes included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Space {
    /// Samples: chunks and batches.
    pub samples: u64,
    /// Roll-ups.
    pub rollups: u64,
    /// Predictions and surprise.
    pub predictions: u64,
    /// Everything else that is in use.
    pub other: u64,
    /// Pages that are free for what comes next.
    pub free: u64,
}

/// Bytes of each table, its indexes included, the largest first.
pub(crate) async fn table_bytes(snapshot: &mut Transaction<'_, Sqlite>) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT coalesce(s.tbl_name, d.name), sum(d.pgsize) FROM dbstat AS d
         LEFT JOIN sqlite_schema AS s ON s.name = d.name WHERE d.aggregate = TRUE GROUP BY 1 ORDER BY 2 DESC, 1",
    )
    .fetch_all(&mut **snapshot)
    .await
}

impl History {
    /// What the file's pages are used for. Reads all of the file's pages that lead to others: seconds on a large one.
    ///
    /// # Errors
    /// SQLite's own.
    pub async fn space(&self) -> Result<Space, HistoryError> {
        let mut snapshot = self.snapshot().await?;
        let tables = table_bytes(&mut snapshot).await.map_err(self.wrap())?;
        let free: (i64, i64) =
            sqlx::query_as("SELECT freelist_count, page_size FROM pragma_freelist_count, pragma_page_size")
                .fetch_one(&mut *snapshot)
                .await
                .map_err(self.wrap())?;
        let mut space = Space { free: (free.0 * free.1) as u64, ..Space::default() };
        for (table, bytes) in tables {
            let part = match table.as_str() {
                "chunk" | "sample_batch" => &mut space.samples,
                "rollup" | "rollup_due" => &mut space.rollups,
                "output" => &mut space.predictions,
                _ => &mut space.other,
            };
            *part += bytes as u64;
        }
        Ok(space)
    }
}
