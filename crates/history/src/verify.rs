//! Whether everything stored is as it was written.

use std::fmt;

use serde::Serialize;
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::{
    advisories::stored_crc,
    clip_crc::{ClipRow, clip_row_crc, correction_crc, health_crc},
    error::HistoryError,
    events::entry_hash,
    open::History,
    output::decode_scores,
    predictions::check,
    raw::{StoredChunk, decode_batch},
    signals::StoredBlock,
};

/// Rows that are read at once.
const PAGE_ROWS: i64 = 256;

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Table and row.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// One table: how to page through it, and how to look at a row.
struct Table {
    name: &'static str,
    /// Selects rows with a key above ?1, in its order, at most ?2; the key is the first column.
    sql: &'static str,
    look: fn(&SqliteRow) -> Result<(), HistoryError>,
}

const TABLES: [Table; 8] = [
    Table {
        name: "sample_batch",
        sql: "SELECT seq, first_time, last_time, samples, crc, body FROM sample_batch
              WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        look: |row| {
            let (seq, batch) = decode_batch(row)?;
            if batch.range() == Some((row.get(1), row.get(2))) {
                return Ok(());
            }
            Err(HistoryError::Damaged { place: format!("sample_batch {seq}"), reason: "its times differ".to_owned() })
        },
    },
    Table {
        name: "chunk",
        sql: "SELECT id, tag, first_time, last_time, samples, interval_ns, crc, body FROM chunk WHERE id > ?1 ORDER BY id LIMIT ?2",
        look: |row| {
            let chunk = StoredChunk::from_row(row).map_err(|source| unreadable("chunk", row, &source))?;
            let rows = chunk.decode()?;
            if rows.first().zip(rows.last()).map(|(a, b)| (a.time, b.time)) == Some((chunk.first, chunk.last)) {
                return Ok(());
            }
            Err(HistoryError::Damaged { place: format!("chunk {}", chunk.id), reason: "its times differ".to_owned() })
        },
    },
    Table {
        name: "rollup",
        sql: "SELECT id, tag, level, slot, crc, body FROM rollup WHERE id > ?1 ORDER BY id LIMIT ?2",
        look: |row| {
            let level: i64 = row.get(2);
            let level = u32::try_from(level).ok().filter(|&level| level < crate::rollup::LEVELS);
            let level = level.ok_or_else(|| HistoryError::Damaged {
                place: format!("rollup {}", row.get::<i64, _>(0)),
                reason: "its level does not exist".to_owned(),
            })?;
            StoredBlock { tag: row.get(1), level, slot: row.get(3), crc: row.get(4), body: row.get(5) }
                .decode()
                .map(|_| ())
        },
    },
    Table {
        name: "output",
        sql: "SELECT id, first_time, last_time, ticks, crc, scores, bands, forecasts, surprises, line, score_max
              FROM output WHERE id > ?1 ORDER BY id LIMIT ?2",
        look: |row| {
            check(row, row.get(9))?;
            let damaged =
                |reason: String| HistoryError::Damaged { place: format!("output {}", row.get::<i64, _>(0)), reason };
            let scores = decode_scores(row.get(5)).map_err(|error| damaged(error.to_string()))?;
            let most = scores.iter().map(|score| score.1).fold(f32::NAN, f32::max);
            let stored = row.get::<Option<f64>, _>(10);
            if stored == (!most.is_nan()).then_some(f64::from(most)) {
                return Ok(());
            }
            Err(damaged("its highest score is not that of its ticks".to_owned()))
        },
    },
    Table {
        name: "advisory",
        sql: "SELECT id, line, kind, title, since, opened, last_seen, closed, peak, confidence, crc, body FROM advisory
              WHERE id > ?1 ORDER BY id LIMIT ?2",
        look: |row| {
            if stored_crc(row) == row.get::<i64, _>(10) {
                return Ok(());
            }
            Err(HistoryError::Damaged {
                place: format!("advisory {}", row.get::<i64, _>(0)),
                reason: "its checksum does not match".to_owned(),
            })
        },
    },
    Table {
        name: "correction",
        sql: "SELECT id, tag, first_time, last_time, samples, crc, body FROM correction WHERE id > ?1 ORDER BY id LIMIT ?2",
        look: |row| {
            let crc = correction_crc(row.get(1), row.get(2), row.get(3), row.get(4), row.get(6));
            same_crc("correction", row, row.get(5), crc)
        },
    },
    Table {
        name: "health",
        sql: "SELECT id, subject_kind, subject, state, since, source, reason, crc FROM health
              WHERE id > ?1 ORDER BY id LIMIT ?2",
        look: |row| {
            let crc = health_crc(row.get(1), row.get(2), row.get(3), row.get(4), row.get(5), row.get(6));
            same_crc("health", row, row.get(7), crc)
        },
    },
    Table {
        name: "clip",
        sql: "SELECT id, camera, path, start_time, end_time, frames, bytes, state, pinned, crc, row_crc FROM clip
              WHERE id > ?1 ORDER BY id LIMIT ?2",
        look: |row| {
            let clip = ClipRow {
                camera: row.get(1),
                path: row.get(2),
                start: row.get(3),
                end: row.get(4),
                frames: row.get(5),
                bytes: row.get(6),
                state: row.get(7),
                pinned: row.get(8),
                crc: row.get(9),
            };
            same_crc("clip", row, row.get(10), clip_row_crc(&clip))
        },
    },
];

/// Rows of the first schema have no checksum.
fn same_crc(table: &str, row: &SqliteRow, stored: Option<i64>, computed: i64) -> Result<(), HistoryError> {
    if stored.is_none_or(|stored| stored == computed) {
        return Ok(());
    }
    let reason = "its checksum does not match".to_owned();
    Err(HistoryError::Damaged { place: format!("{table} {}", row.get::<i64, _>(0)), reason })
}

fn unreadable(table: &str, row: &SqliteRow, error: &sqlx::Error) -> HistoryError {
    HistoryError::Damaged { place: format!("{table} {}", row.get::<i64, _>(0)), reason: error.to_string() }
}

impl History {
    /// Reads everything: SQLite's own check, every checksum, every body, the chain of events and audit. Empty when all
    /// is as it was written. Where a table cannot be read on, that is a problem too, and the next table is looked at.
    ///
    /// # Errors
    /// Only when the history is closed: what is wrong in the file is in the answer.
    pub async fn verify(&self) -> Result<Vec<Problem>, HistoryError> {
        let mut problems = Vec::new();
        let checked: Result<Vec<String>, _> =
            sqlx::query_scalar("PRAGMA quick_check").fetch_all(&self.inner.readers).await;
        match checked {
            Ok(lines) => {
                let wrong = lines.into_iter().filter(|line| line != "ok");
                problems.extend(wrong.map(|what| Problem { place: "SQLite".to_owned(), what }));
            }
            Err(sqlx::Error::PoolClosed) => return Err(HistoryError::Closed),
            Err(error) => problems.push(Problem { place: "SQLite".to_owned(), what: error.to_string() }),
        }
        for table in &TABLES {
            self.verify_table(table, &mut problems).await;
        }
        self.verify_chain(&mut problems).await;
        Ok(problems)
    }

    async fn verify_table(&self, table: &Table, problems: &mut Vec<Problem>) {
        let mut after = i64::MIN;
        loop {
            let page = sqlx::query(table.sql).bind(after).bind(PAGE_ROWS).fetch_all(&self.inner.readers).await;
            let rows = match page {
                Ok(rows) => rows,
                Err(error) => {
                    problems
                        .push(Problem { place: format!("{} after row {after}", table.name), what: error.to_string() });
                    return;
                }
            };
            for row in &rows {
                after = row.get(0);
                match (table.look)(row) {
                    Ok(()) => {}
                    Err(HistoryError::Damaged { place, reason }) => problems.push(Problem { place, what: reason }),
                    Err(error) => {
                        problems.push(Problem { place: format!("{} {after}", table.name), what: error.to_string() });
                    }
                }
            }
            if (rows.len() as i64) < PAGE_ROWS {
                return;
            }
        }
    }

    async fn verify_chain(&self, problems: &mut Vec<Problem>) {
        let mut previous = vec![0; 32];
        let mut after = 0i64;
        let mut problem = |place: String, what: &str| problems.push(Problem { place, what: what.to_owned() });
        loop {
            let page: Result<Vec<(i64, i64, String, String, String, Vec<u8>)>, _> = sqlx::query_as(
                "SELECT seq, time, class, subject, text, hash FROM journal WHERE seq > ?1 ORDER BY seq LIMIT ?2",
            )
            .bind(after)
            .bind(PAGE_ROWS)
            .fetch_all(&self.inner.readers)
            .await;
            let rows = match page {
                Ok(rows) => rows,
                Err(error) => return problem(format!("journal after entry {after}"), &error.to_string()),
            };
            let count = rows.len() as i64;
            for (seq, time, class, subject, text, hash) in rows {
                if seq != after + 1 {
                    problem(format!("journal {}", after + 1), "entries are missing before this one's follower");
                }
                if entry_hash(&previous, seq, time, &class, &subject, &text) != hash {
                    problem(
                        format!("journal {seq}"),
                        "it does not continue the chain: it, or one before it, was changed",
                    );
                }
                // From the stored hash on, so that one change is one problem.
                previous = hash;
                after = seq;
            }
            if count < PAGE_ROWS {
                break;
            }
        }
        let head: Result<Option<(i64, Vec<u8>)>, _> =
            sqlx::query_as("SELECT seq, hash FROM journal_head").fetch_optional(&self.inner.readers).await;
        match head {
            Ok(Some((seq, hash))) if seq == after && hash == previous => {}
            Ok(_) => {
                problem("journal".to_owned(), "its end is not where the chain's end was written: entries were cut off")
            }
            Err(error) => problem("journal_head".to_owned(), &error.to_string()),
        }
    }
}
