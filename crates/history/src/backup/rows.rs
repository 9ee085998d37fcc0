//! The rows of one moment, into a file that has none, some or most of them.

use std::path::Path;

use sqlx::{
    AssertSqlSafe, Connection, Sqlite, Transaction,
    sqlite::{SqliteConnection, SqliteRow},
};

use super::BackedUp;
use crate::{
    copy::{Copying, Value, copy_sequences, values},
    error::HistoryError,
    fields::Fields,
    files::counter,
    verify::{JournalRow, Judged, OnProgress, Problem, TABLES, Table, head, judge, said},
};

/// Rows that are compared, or read, at once.
const PAGE_ROWS: i64 = 64;
const KEYS_PAGE: i64 = 4096;
/// Bytes of rows that one transaction of a growing backup has at most.
const PART_BYTES_MAX: u64 = 16 << 20;
/// What names things: small, compared whole. In the order in which they refer to each other.
const NAMES: [&str; 5] = ["plant", "session", "line", "camera", "tag"];
/// What is replaced whole.
const REPLACED: [(&str, &str); 3] = [("merge_progress", "id"), ("rollup_due", "level"), ("kept_from", "what")];
/// `session.clean` of a run that goes on while it is copied, and of one that died.
const CLEAN: i64 = 1;
const DIED: i64 = 2;

/// The source, as it is at one moment.
pub(super) struct Snapshot<'c> {
    view: Transaction<'c, Sqlite>,
    dir: &'c Path,
    schema: i64,
    /// Whether an engine goes on writing.
    pub(super) is_live: bool,
}

impl<'c> Snapshot<'c> {
    pub(super) async fn new(
        connection: &'c mut SqliteConnection,
        dir: &'c Path,
        schema: i64,
        is_live: bool,
    ) -> Result<Self, sqlx::Error> {
        let mut view = connection.begin().await?;
        // The moment is that of the first look.
        sqlx::query("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *view).await?;
        Ok(Self { view, dir, schema, is_live })
    }

    fn error(&self, source: sqlx::Error) -> HistoryError {
        HistoryError::from_sqlx(self.dir, source)
    }
}

/// Where rows go.
pub(super) enum Sink<'t> {
    /// A growing file, committed part by part.
    Parts { connection: SqliteConnection, bytes: u64 },
    /// A transaction of the caller's.
    Within(&'t mut SqliteConnection),
}

impl<'t> Sink<'t> {
    pub(super) fn in_parts(connection: SqliteConnection) -> Self {
        Self::Parts { connection, bytes: 0 }
    }

    pub(super) fn within(transaction: &'t mut SqliteConnection) -> Self {
        Self::Within(transaction)
    }

    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        match self {
            Self::Parts { connection, .. } => connection,
            Self::Within(connection) => connection,
        }
    }

    /// Begins a part; nothing within a transaction of the caller's.
    async fn begin(&mut self) -> Result<(), sqlx::Error> {
        if let Self::Parts { connection, bytes } = self {
            sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
            *bytes = 0;
        }
        Ok(())
    }

    /// Ends a part.
    async fn end(&mut self) -> Result<(), sqlx::Error> {
        if let Self::Parts { connection, .. } = self {
            sqlx::query("COMMIT").execute(&mut *connection).await?;
        }
        Ok(())
    }

    /// Ends a part that is large enough, and begins the next.
    async fn wrote(&mut self, more: u64) -> Result<(), sqlx::Error> {
        if let Self::Parts { bytes, .. } = self {
            *bytes += more;
            if *bytes >= PART_BYTES_MAX {
                self.end().await?;
                self.begin().await?;
            }
        }
        Ok(())
    }

    pub(super) async fn finish(self) -> Result<SqliteConnection, sqlx::Error> {
        match self {
            Self::Parts { connection, .. } => Ok(connection),
            Self::Within(_) => Err(sqlx::Error::InvalidArgument("a transaction of the caller's stays his".to_owned())),
        }
    }
}

/// Whether the target's chain is the beginning of the source's (or it has none): a backup of the same history.
pub(super) async fn is_same_history(
    snapshot: &mut Snapshot<'_>,
    target: &mut SqliteConnection,
) -> Result<bool, HistoryError> {
    let last: Option<(i64, Vec<u8>)> = sqlx::query_as("SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1")
        .fetch_optional(&mut *target)
        .await
        .map_err(|source| snapshot.error(source))?;
    const FIRST: &str = "SELECT info FROM plant ORDER BY id LIMIT 1";
    let here: Result<Option<String>, _> = sqlx::query_scalar(FIRST).fetch_optional(&mut *target).await;
    let there: Result<Option<String>, _> = sqlx::query_scalar(FIRST).fetch_optional(&mut *snapshot.view).await;
    let (here, there) =
        (here.map_err(|source| snapshot.error(source))?, there.map_err(|source| snapshot.error(source))?);
    if here.is_some() && here != there {
        return Ok(false);
    }
    let Some((seq, hash)) = last else { return Ok(true) };
    let there: Option<Vec<u8>> = sqlx::query_scalar("SELECT hash FROM journal WHERE seq = ?1")
        .bind(seq)
        .fetch_optional(&mut *snapshot.view)
        .await
        .map_err(|source| snapshot.error(source))?;
    Ok(there == Some(hash))
}

/// Makes the target's rows those of the snapshot.
pub(super) async fn copy_all(
    snapshot: &mut Snapshot<'_>,
    sink: &mut Sink<'_>,
    progress: OnProgress<'_>,
    done: &mut BackedUp,
) -> Result<(), HistoryError> {
    let total = std::fs::metadata(snapshot.dir.join(crate::open::FILE_NAME)).map_or(0, |file| file.len());
    let mut on_bytes = counter(progress, "copying rows", total);
    names(snapshot, sink, done).await?;
    let schema = snapshot.schema;
    for table in TABLES.iter().filter(|table| table.since <= schema) {
        checked(snapshot, sink, table, &mut on_bytes, done).await?;
    }
    journal(snapshot, sink, done).await?;
    replaced(snapshot, sink).await
}

async fn names(snapshot: &mut Snapshot<'_>, sink: &mut Sink<'_>, done: &mut BackedUp) -> Result<(), HistoryError> {
    let dir = snapshot.dir;
    let wrap = |source| HistoryError::from_sqlx(dir, source);
    sink.begin().await.map_err(wrap)?;
    for table in NAMES {
        let copying = Copying::small(&mut snapshot.view, sink.connection(), table, "id").await.map_err(wrap)?;
        let select = copying.select();
        let rows = sqlx::query(AssertSqlSafe(select.clone())).fetch_all(&mut *snapshot.view).await.map_err(wrap)?;
        let there = sqlx::query(AssertSqlSafe(format!("SELECT {} FROM {table}", copying.columns.join(", "))))
            .fetch_all(sink.connection())
            .await
            .map_err(wrap)?;
        let mut there = there.iter().map(values).collect::<Result<Vec<_>, _>>().map_err(wrap)?;
        for row in &rows {
            let mut row = values(row).map_err(wrap)?;
            if table == "session"
                && let Some(clean) = copying.place("clean")
                && row[clean] == Value::Int(0)
            {
                // In the backup, the run that goes on ends here.
                row[clean] = Value::Int(if snapshot.is_live { CLEAN } else { DIED });
            }
            if let Some(place) = there.iter().position(|there| *there == row) {
                there.swap_remove(place);
                continue;
            }
            // By an update, since others refer to it.
            copying.upsert(sink.connection(), &row).await.map_err(wrap)?;
            done.rows += 1;
        }
    }
    sink.end().await.map_err(wrap)
}

/// What a row of a table with checksums is compared by.
fn identity(row: &SqliteRow) -> Result<(i64, Value), sqlx::Error> {
    let row = values(row)?;
    let key = row.first().and_then(Value::int).unwrap_or(0);
    Ok((key, row.into_iter().nth(1).unwrap_or(Value::Null)))
}

/// One page of keys and checksums above `after`.
async fn identities(
    connection: &mut SqliteConnection,
    table: &Table,
    crc: &str,
    after: i64,
) -> Result<Vec<(i64, Value)>, sqlx::Error> {
    let (name, key) = (table.name, table.key);
    let sql = format!("SELECT {key}, {crc} FROM {name} WHERE {key} > ?1 ORDER BY {key} LIMIT ?2");
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(after).bind(KEYS_PAGE).fetch_all(connection).await?;
    rows.iter().map(identity).collect()
}

/// Deletes what is no longer there, then copies what is missing or differs, if it is as it was written.
async fn checked(
    snapshot: &mut Snapshot<'_>,
    sink: &mut Sink<'_>,
    table: &'static Table,
    on_bytes: &mut (dyn FnMut(u64) + Send),
    done: &mut BackedUp,
) -> Result<(), HistoryError> {
    let dir = snapshot.dir;
    let wrap = |source| HistoryError::from_sqlx(dir, source);
    let crc = table.crc(snapshot.schema);
    let mut wanted: Vec<i64> = Vec::new();
    let mut gone: Vec<i64> = Vec::new();
    // Both sides in the order of their keys, a page at a time.
    let (mut source, mut target) = (Vec::new(), Vec::new());
    let (mut source_after, mut target_after) = (i64::MIN, i64::MIN);
    let (mut source_ended, mut target_ended) = (false, false);
    loop {
        if source.is_empty() && !source_ended {
            let mut page = identities(&mut snapshot.view, table, crc, source_after).await.map_err(wrap)?;
            source_ended = (page.len() as i64) < KEYS_PAGE;
            source_after = page.last().map_or(source_after, |last| last.0);
            page.reverse();
            source = page;
        }
        if target.is_empty() && !target_ended {
            let mut page = identities(sink.connection(), table, table.crc(crate::schema::SCHEMA), target_after)
                .await
                .map_err(wrap)?;
            target_ended = (page.len() as i64) < KEYS_PAGE;
            target_after = page.last().map_or(target_after, |last| last.0);
            page.reverse();
            target = page;
        }
        match (source.last(), target.last()) {
            (None, None) => break,
            (Some(a), Some(b)) if a == b && a.1 != Value::Null => {
                source.pop();
                target.pop();
            }
            (Some(a), Some(b)) if a.0 == b.0 => {
                wanted.push(a.0);
                source.pop();
                target.pop();
            }
            (Some(a), Some(b)) if b.0 < a.0 => {
                gone.push(b.0);
                target.pop();
            }
            (Some(a), _) => {
                wanted.push(a.0);
                source.pop();
            }
            (None, Some(b)) => {
                gone.push(b.0);
                target.pop();
            }
        }
    }
    sink.begin().await.map_err(wrap)?;
    let delete = format!("DELETE FROM {} WHERE {} = ?1", table.name, table.key);
    for key in gone {
        sqlx::query(AssertSqlSafe(delete.clone())).bind(key).execute(sink.connection()).await.map_err(wrap)?;
        done.rows_removed += 1;
    }
    let copying =
        Copying::checked(&mut snapshot.view, sink.connection(), table, snapshot.schema).await.map_err(wrap)?;
    for keys in wanted.chunks(PAGE_ROWS as usize) {
        let sql = format!(
            "{} WHERE {} IN (SELECT value FROM json_each(?1)) ORDER BY {}",
            copying.select(),
            table.key,
            table.key
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(crate::raw::json_list(keys.iter().copied()))
            .fetch_all(&mut *snapshot.view)
            .await
            .map_err(wrap)?;
        for row in &rows {
            let fields = Fields(row);
            let row = match (table.look)(fields).and_then(|()| values(row).map_err(|error| said(&error))) {
                Ok(row) => row,
                Err(what) => {
                    let key = fields.int(0).unwrap_or(0);
                    done.left_out.push(Problem::new(format!("{} {key}", table.name), what));
                    continue;
                }
            };
            // One that differs goes first, since what it differs in may be what has to be its own.
            if let Some(Value::Int(key)) = row.first() {
                sqlx::query(AssertSqlSafe(delete.clone())).bind(*key).execute(sink.connection()).await.map_err(wrap)?;
            }
            if let Err(error) = copying.insert(sink.connection(), "INSERT", &row).await {
                if !error.as_database_error().is_some_and(|error| error.is_unique_violation()) {
                    return Err(wrap(error));
                }
                // Its place is taken by a row that is to be written anew, too.
                for key in &wanted {
                    sqlx::query(AssertSqlSafe(delete.clone()))
                        .bind(key)
                        .execute(sink.connection())
                        .await
                        .map_err(wrap)?;
                }
                copying.insert(sink.connection(), "INSERT", &row).await.map_err(wrap)?;
            }
            let bytes = row.iter().map(Value::bytes).sum();
            done.rows += 1;
            on_bytes(bytes);
            sink.wrote(bytes).await.map_err(wrap)?;
        }
    }
    sink.end().await.map_err(wrap)
}

/// Goes on with the chain, each entry of which is judged on its way.
async fn journal(snapshot: &mut Snapshot<'_>, sink: &mut Sink<'_>, done: &mut BackedUp) -> Result<(), HistoryError> {
    let dir = snapshot.dir;
    let wrap = |source| HistoryError::from_sqlx(dir, source);
    let broken = |place: String, reason: &str| HistoryError::Damaged {
        place,
        reason: format!("{reason}; let `sightglass history repair` save what is whole, and back that up"),
    };
    let last: Option<(i64, Vec<u8>)> = sqlx::query_as("SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1")
        .fetch_optional(sink.connection())
        .await
        .map_err(wrap)?;
    let (mut seq, mut hash) = last.unwrap_or((0, vec![0; 32]));
    sink.begin().await.map_err(wrap)?;
    loop {
        let rows = sqlx::query(
            "SELECT seq, time, class, subject, text, hash FROM journal WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )
        .bind(seq)
        .bind(KEYS_PAGE)
        .fetch_all(&mut *snapshot.view)
        .await
        .map_err(wrap)?;
        for row in &rows {
            let row = JournalRow::from_row(Fields(row))
                .map_err(|what| broken(format!("journal after entry {seq}"), &what))?;
            if judge((seq, &hash), &row) != Judged::Whole {
                return Err(broken(format!("journal {}", row.seq), "it does not continue the chain"));
            }
            sqlx::query("INSERT INTO journal (seq, time, class, subject, text, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
                .bind(row.seq)
                .bind(row.time)
                .bind(&row.class)
                .bind(&row.subject)
                .bind(&row.text)
                .bind(&row.hash)
                .execute(sink.connection())
                .await
                .map_err(wrap)?;
            done.rows += 1;
            (seq, hash) = (row.seq, row.hash);
            sink.wrote((row.text.len() + row.subject.len() + 64) as u64).await.map_err(wrap)?;
        }
        if (rows.len() as i64) < KEYS_PAGE {
            break;
        }
    }
    let end = head(&mut snapshot.view).await.map_err(|what| broken("journal_head".to_owned(), &what))?;
    if end.as_ref() != Some(&(seq, hash.clone())) {
        return Err(broken("journal".to_owned(), "its end is not where the chain's end was written"));
    }
    sqlx::query("UPDATE journal_head SET seq = ?1, hash = ?2")
        .bind(seq)
        .bind(&hash)
        .execute(sink.connection())
        .await
        .map_err(wrap)?;
    sink.end().await.map_err(wrap)
}

async fn replaced(snapshot: &mut Snapshot<'_>, sink: &mut Sink<'_>) -> Result<(), HistoryError> {
    let dir = snapshot.dir;
    let wrap = |source| HistoryError::from_sqlx(dir, source);
    sink.begin().await.map_err(wrap)?;
    for (table, key) in REPLACED {
        let copying = Copying::small(&mut snapshot.view, sink.connection(), table, key).await.map_err(wrap)?;
        if copying.columns.is_empty() {
            continue;
        }
        sqlx::query(AssertSqlSafe(format!("DELETE FROM {table}"))).execute(sink.connection()).await.map_err(wrap)?;
        let rows = sqlx::query(AssertSqlSafe(copying.select())).fetch_all(&mut *snapshot.view).await.map_err(wrap)?;
        for row in &rows {
            copying.insert(sink.connection(), "INSERT", &values(row).map_err(wrap)?).await.map_err(wrap)?;
        }
    }
    let sequences: Vec<(String, i64)> =
        sqlx::query_as("SELECT name, seq FROM sqlite_sequence").fetch_all(&mut *snapshot.view).await.map_err(wrap)?;
    copy_sequences(&sequences, sink.connection()).await.map_err(wrap)?;
    sink.end().await.map_err(wrap)
}
