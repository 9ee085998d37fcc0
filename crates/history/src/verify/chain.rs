//! The chain of events and audit entries.

use sqlx::{Connection, sqlite::SqliteConnection};

use super::{Problem, said};
use crate::{events::entry_hash, fields::Fields};

/// Entries that are read at once.
const PAGE_ROWS: i64 = 1024;

/// An entry as stored.
#[derive(Clone, Debug)]
pub(crate) struct JournalRow {
    pub(crate) seq: i64,
    pub(crate) time: i64,
    pub(crate) class: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) hash: Vec<u8>,
}

impl JournalRow {
    /// Of a row `seq, time, class, subject, text, hash`.
    pub(crate) fn from_row(row: Fields<'_>) -> Result<Self, String> {
        Ok(Self {
            seq: row.int(0)?,
            time: row.int(1)?,
            class: row.text(2)?.to_owned(),
            subject: row.text(3)?.to_owned(),
            text: row.text(4)?.to_owned(),
            hash: row.blob(5)?.to_owned(),
        })
    }

    pub(crate) fn hash_after(&self, previous: &[u8]) -> Vec<u8> {
        entry_hash(previous, self.seq, self.time, &self.class, &self.subject, &self.text)
    }
}

/// What an entry is, seen from the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// As it was written.
    Whole,
    /// Entries before it are missing.
    AfterGap,
    /// It, or the one before it, was changed.
    Changed,
}

/// Judges `row` as the follower of the entry (number and hash) `previous`.
pub(crate) fn judge(previous: (i64, &[u8]), row: &JournalRow) -> Judged {
    if previous.0.checked_add(1) != Some(row.seq) {
        return Judged::AfterGap;
    }
    if row.hash_after(previous.1) == row.hash { Judged::Whole } else { Judged::Changed }
}

/// Follows the chain from its start to where its end is noted.
pub(super) async fn verify(connection: &mut SqliteConnection, problems: &mut Vec<Problem>) {
    // One view of both tables, while an engine goes on writing; within a transaction of the caller's, a part of it.
    match connection.begin().await {
        Ok(mut view) => {
            follow(&mut view, problems).await;
            // Nothing was written.
            let _ = view.rollback().await;
        }
        Err(error) => problems.push(Problem::new("journal", said(&error))),
    }
}

async fn follow(connection: &mut SqliteConnection, problems: &mut Vec<Problem>) {
    let mut previous = vec![0; 32];
    let mut after = 0i64;
    loop {
        let page = sqlx::query(
            "SELECT seq, time, class, subject, text, hash FROM journal WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )
        .bind(after)
        .bind(PAGE_ROWS)
        .fetch_all(&mut *connection)
        .await;
        let rows = match page {
            Ok(rows) => rows,
            Err(error) => return problems.push(Problem::new(format!("journal after entry {after}"), said(&error))),
        };
        for row in &rows {
            let row = match JournalRow::from_row(Fields(row)) {
                Ok(row) => row,
                Err(what) => {
                    problems.push(Problem::new(format!("journal {}", after.saturating_add(1)), what));
                    after = Fields(row).int(0).unwrap_or(after);
                    continue;
                }
            };
            match judge((after, &previous), &row) {
                Judged::Whole => {}
                Judged::AfterGap => problems.push(Problem::new(
                    format!("journal {}", after.saturating_add(1)),
                    format!("entries are missing before entry {}", row.seq),
                )),
                Judged::Changed => problems.push(Problem::new(
                    format!("journal {}", row.seq),
                    "it does not continue the chain: it, or the one before it, was changed",
                )),
            }
            // From the stored hash on, so that one change is one problem.
            previous = row.hash;
            after = row.seq;
        }
        if (rows.len() as i64) < PAGE_ROWS {
            break;
        }
    }
    let others = sqlx::query_scalar("SELECT count(*) FROM journal WHERE seq <= 0").fetch_one(&mut *connection).await;
    match others {
        Ok(0i64) => {}
        Ok(count) => problems.push(Problem::new("journal", format!("{count} entries lie before its first"))),
        Err(error) => problems.push(Problem::new("journal", said(&error))),
    }
    match head(connection).await {
        Ok(Some((seq, hash))) if seq == after && hash == previous => {}
        Ok(_) => problems.push(Problem::new(
            "journal",
            "its end is not where the chain's end was written: entries were cut off, or that note was changed",
        )),
        Err(what) => problems.push(Problem::new("journal_head", what)),
    }
}

/// The chain's end as noted.
pub(crate) async fn head(connection: &mut SqliteConnection) -> Result<Option<(i64, Vec<u8>)>, String> {
    let rows = sqlx::query("SELECT seq, hash FROM journal_head").fetch_all(connection).await;
    let rows = rows.map_err(|error| said(&error))?;
    match rows.as_slice() {
        [row] => Ok(Some((Fields(row).int(0)?, Fields(row).blob(1)?.to_owned()))),
        _ => Ok(None),
    }
}
