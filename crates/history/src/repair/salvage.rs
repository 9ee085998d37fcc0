//! Every row of a table that can still be read, whatever lies between: by ranges of their numbers, halved wherever
//! SQLite refuses.

use sqlx::{
    AssertSqlSafe, Row as _,
    sqlite::{SqliteConnection, SqliteRow},
};

use crate::verify::said;

/// Rows that are read at once.
const PAGE_ROWS: i64 = 64;
/// So many refusals without a row between them end the search in a table.
const REFUSALS_MAX: u32 = 200_000;

/// Reads a table from its first row to its last.
pub(super) struct Salvage {
    sql: String,
    /// Ranges of numbers that are still to be read, the lowest last.
    ranges: Vec<(i64, i64)>,
    refusals: u32,
    /// Ranges of numbers in which nothing can be read, and SQLite's words.
    pub(super) lost: Vec<(i64, i64, String)>,
}

impl Salvage {
    /// `select` is `SELECT … FROM TABLE `, its first column the key.
    pub(super) async fn new(connection: &mut SqliteConnection, select: &str, table: &str, key: &str) -> Self {
        let last = last_number(connection, table, key).await;
        Self {
            sql: format!("{select} WHERE {key} BETWEEN ?1 AND ?2 ORDER BY {key} LIMIT ?3"),
            ranges: vec![(0, last)],
            refusals: 0,
            lost: Vec::new(),
        }
    }

    /// The next rows in the order of their numbers; `None` at the end.
    pub(super) async fn next(&mut self, connection: &mut SqliteConnection) -> Option<Vec<SqliteRow>> {
        while let Some((from, to)) = self.ranges.pop() {
            let page = sqlx::query(AssertSqlSafe(self.sql.clone()))
                .bind(from)
                .bind(to)
                .bind(PAGE_ROWS)
                .fetch_all(&mut *connection)
                .await;
            match page {
                Ok(rows) => {
                    let Some(last) = rows.last() else { continue };
                    let last: i64 = last.try_get(0).unwrap_or(to);
                    if rows.len() as i64 == PAGE_ROWS && last < to {
                        self.ranges.push((last + 1, to));
                    }
                    self.refusals = 0;
                    return Some(rows);
                }
                Err(error) if from == to || self.refusals >= REFUSALS_MAX => {
                    self.refusals += 1;
                    self.lose(from, to, said(&error));
                }
                Err(_) => {
                    self.refusals += 1;
                    let middle = from + (to - from) / 2;
                    self.ranges.push((middle + 1, to));
                    self.ranges.push((from, middle));
                }
            }
        }
        None
    }

    fn lose(&mut self, from: i64, to: i64, what: String) {
        match self.lost.last_mut() {
            Some(last) if last.1 + 1 == from && last.2 == what => last.1 = to,
            _ => self.lost.push((from, to, what)),
        }
    }
}

/// The highest number in the table: by the table, else by its indexes and what AUTOINCREMENT remembers.
async fn last_number(connection: &mut SqliteConnection, table: &str, key: &str) -> i64 {
    let direct: Result<Option<i64>, _> =
        sqlx::query_scalar(AssertSqlSafe(format!("SELECT max({key}) FROM {table}"))).fetch_one(&mut *connection).await;
    if let Ok(last) = direct {
        return last.unwrap_or(0);
    }
    let mut known = Vec::new();
    let indexes: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_index_list(?1) WHERE partial = 0")
        .bind(table)
        .fetch_all(&mut *connection)
        .await
        .unwrap_or_default();
    for index in indexes {
        let sql = format!("SELECT max({key}) FROM {table} INDEXED BY \"{}\"", index.replace('"', "\"\""));
        known.extend(sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql)).fetch_one(&mut *connection).await.ok());
    }
    let remembered = sqlx::query_scalar::<_, i64>("SELECT seq FROM sqlite_sequence WHERE name = ?1")
        .bind(table)
        .fetch_one(&mut *connection)
        .await;
    known.extend(remembered.ok());
    known.into_iter().max().unwrap_or(i64::MAX)
}
