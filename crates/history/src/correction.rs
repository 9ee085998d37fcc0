//! Corrections: a value that a later one of the same tag and time replaced is kept, and the audit tells of it.

use sightglass_protocol::{Sample, TagId, UtcNanos};
use sqlx::{Row as _, Sqlite, Transaction, sqlite::SqliteRow};

use crate::{
    chunk::{self, Row},
    codec::{LEVEL_CHUNK, row_crc},
    error::HistoryError,
    events::{EntryClass, chain},
    open::History,
    raw::blocking,
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
pub(crate) fn decode(row: &SqliteRow) -> Result<Vec<Row>, HistoryError> {
    let id: i64 = row.get(0);
    let damaged = |reason: String| HistoryError::Damaged { place: format!("correction {id}"), reason };
    let keys: [i64; 4] = [row.get(1), row.get(2), row.get(3), row.get(4)];
    let body: &[u8] = row.get(6);
    if row_crc(&keys, &[body]) != row.get::<i64, _>(5) {
        return Err(damaged("its checksum does not match".to_owned()));
    }
    let rows = chunk::decode(body).map_err(|error| damaged(error.to_string()))?;
    if rows.len() as i64 != keys[3] {
        return Err(damaged(format!("it has {} values instead of {}", rows.len(), keys[3])));
    }
    Ok(rows)
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
