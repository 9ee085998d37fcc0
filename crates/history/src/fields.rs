//! The columns of stored rows, none of which is trusted to have its type: SQLite stores any type in any column, and a
//! flipped bit may change one.

use sqlx::{Row as _, sqlite::SqliteRow};

use crate::{error::HistoryError, verify::said};

/// The columns of a row. What is wrong is said in words; [`read`] adds where.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'r>(pub(crate) &'r SqliteRow);

impl<'r> Fields<'r> {
    fn get<T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>>(self, index: usize) -> Result<T, String> {
        self.0.try_get(index).map_err(|error| mistyped(&error))
    }

    pub(crate) fn int(self, index: usize) -> Result<i64, String> {
        self.get(index)
    }

    pub(crate) fn maybe_int(self, index: usize) -> Result<Option<i64>, String> {
        self.get(index)
    }

    pub(crate) fn maybe_real(self, index: usize) -> Result<Option<f64>, String> {
        self.get(index)
    }

    pub(crate) fn text(self, index: usize) -> Result<&'r str, String> {
        self.get(index)
    }

    pub(crate) fn blob(self, index: usize) -> Result<&'r [u8], String> {
        self.get(index)
    }
}

fn mistyped(error: &sqlx::Error) -> String {
    format!("one of its columns does not have its type ({})", said(error))
}

/// What `fields` makes of a row of `table` whose first column is its key.
///
/// # Errors
/// [`HistoryError::Damaged`] with the table and the key.
pub(crate) fn read<'r, T>(
    table: &str,
    row: &'r SqliteRow,
    fields: impl FnOnce(Fields<'r>) -> Result<T, String>,
) -> Result<T, HistoryError> {
    let row = Fields(row);
    fields(row).map_err(|reason| {
        let place = row.int(0).map_or_else(|_| table.to_owned(), |key| format!("{table} {key}"));
        HistoryError::Damaged { place, reason }
    })
}

/// As [`read`], for what is handed on with SQLite's own errors.
///
/// # Errors
/// [`sqlx::Error::Decode`].
pub(crate) fn stored<'r, T>(
    table: &str,
    row: &'r SqliteRow,
    fields: impl FnOnce(Fields<'r>) -> Result<T, String>,
) -> Result<T, sqlx::Error> {
    read(table, row, fields).map_err(|error| match error {
        HistoryError::Damaged { place, reason } => sqlx::Error::Decode(format!("{place}: {reason}").into()),
        other => sqlx::Error::Decode(other.to_string().into()),
    })
}

/// As [`HistoryError::Damaged`] says it, where `error` is of a stored value that does not have its column's type.
pub(crate) fn of_type(error: &sqlx::Error) -> Option<String> {
    match error {
        sqlx::Error::ColumnDecode { .. } => Some(mistyped(error)),
        sqlx::Error::Decode(reason) => Some(reason.to_string()),
        _ => None,
    }
}
