//! Corrections: a value that a later one of the same tag and time replaced is kept, and the audit tells of it.

use sightglass_protocol::{Sample, TagId, UtcNanos};
use sqlx::{Sqlite, Transaction, sqlite::SqliteRow};

use crate::{
    chunk::{self, Row},
    codec::{LEVEL_CHUNK, row_crc},
    error::HistoryError,
    events::{EntryClass, chain},
    fields::{self, Fields},
    open::History,
    raw::{blocking, same_body, same_count},
    steps::checked,
};

/// Who corrects, in the audit.
const WHO: &str = "historian";

/// Keeps former values of `tag` (the file's id; sorted by time) and chains an audit entry.
pub(crate) async fn store(
    transaction: &mut Transaction<'_, Sqlite>,
    tag: i64,
    rows: &[Row],
) -> Result<(), sqlx::Error> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
    let body = chunk::encode(rows, LEVEL_CHUNK);
    let samples = rows.len() as i64;
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO correction (tag, first_time, last_time, samples, crc, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         RETURNING id",
    )
    .bind(tag)
    .bind(first.time)
    .bind(last.time)
    .bind(samples)
    .bind(row_crc(&[tag, first.time, last.time, samples], &[&body]))
    .bind(&body)
    .fetch_one(&mut **transaction)
    .await?;
    let name: String =
        sqlx::query_scalar("SELECT name FROM tag WHERE id = ?1").bind(tag).fetch_one(&mut **transaction).await?;
    let range = if samples == 1 {
        format!("1 value of {name} at {}", UtcNanos(first.time))
    } else {
        format!("{samples} values of {name} from {} to {}", UtcNanos(first.time), UtcNanos(last.time))
    };
    let text = format!("{range} replaced by later ones for the same times; what was there before is correction {id}");
    chain(transaction, UtcNanos(last.time), EntryClass::Audit, WHO, &text).await
}

/// The former values of a row `id, tag, first_time, last_time, samples, crc, body`, once the checksum holds.
pub(crate) fn former_values(row: Fields<'_>) -> Result<Vec<Row>, String> {
    let samples = row.int(4)?;
    same_body(&[row.int(1)?, row.int(2)?, row.int(3)?, samples], row.blob(6)?, row.int(5)?)?;
    let rows = chunk::decode(row.blob(6)?).map_err(|error| error.to_string())?;
    same_count(rows.len(), samples)?;
    Ok(rows)
}

/// As [`former_values`].
///
/// # Errors
/// [`HistoryError::Damaged`].
pub(crate) fn decode(row: &SqliteRow) -> Result<Vec<Row>, HistoryError> {
    fields::read("correction", row, former_values)
}

impl History {
    /// The values of `tag` from `from` to `to` (both within) that later ones of the same time replaced, by time and
    /// within a time in the order in which they were replaced. Known once they are merged.
    ///
    /// # Errors
    /// [`HistoryError::Damaged`], an unknown tag, a range upside down, SQLite's own.
    pub async fn corrections(&self, tag: TagId, from: UtcNanos, to: UtcNanos) -> Result<Vec<Sample>, HistoryError> {
        let (from, to) = checked(from, to)?;
        let rows = sqlx::query(
            "SELECT id, tag, first_time, last_time, samples, crc, body FROM correction
             WHERE tag = ?1 AND first_time <= ?3 AND last_time >= ?2 ORDER BY id",
        )
        .bind(self.file_tag(tag)?)
        .bind(from)
        .bind(to)
        .fetch_all(&self.inner.readers)
        .await
        .map_err(self.wrap())?;
        blocking(move || {
            let mut former = Vec::new();
            for row in &rows {
                former.extend(decode(row)?.into_iter().filter(|row| (from..=to).contains(&row.time)));
            }
            // Stable: earlier corrections of a time come first.
            former.sort_by_key(|row| row.time);
            Ok(former.into_iter().map(|row| row.sample(tag)).collect())
        })
        .await
    }
}
