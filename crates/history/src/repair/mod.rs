//! All that is whole of a damaged history, into a new data folder: rows by their checksums, the chain anew over what can
//! be read, and every file of video that is as it was written. The damaged folder is only read.

mod journal;
mod names;
mod salvage;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use serde::Serialize;
use sightglass_protocol::UtcNanos;
use sqlx::{Connection, Sqlite, Transaction, sqlite::SqliteConnection};

use self::{journal::Chain, names::Names, salvage::Salvage};
use crate::{
    clip_crc::{ClipRow, clip_row_crc},
    copy::{Copying, Value, copy_sequences, values},
    error::HistoryError,
    fields::Fields,
    files::{self, Carried, PARTIAL},
    header::{HEADER_BYTES, Header, beside},
    open::{FILE_NAME, has_log, lock, writing_connection_at},
    raw::blocking,
    rollup::{LEVELS, slot_range},
    schema::{SCHEMA, migrator},
    verify::{
        OnProgress, Problem, Progress, SegmentFile, TABLES, Table, Video, is_in_use, look_at_file, read_connection,
        said, schema_of, verify_folder,
    },
    video,
};

/// A copy of a file whose header is damaged, while it is read.
const MENDED: &str = "history.sqlite.mended";
/// Ranges that a text lists at most.
const LISTED_MAX: usize = 50;

/// What a repair saved, and what it could not.
#[derive(Debug, Default, Serialize)]
pub struct Repaired {
    /// Rows saved, by table.
    pub saved: BTreeMap<&'static str, u64>,
    /// Files of video saved.
    pub segments: u64,
    /// What is lost, or not as it was written.
    pub lost: Vec<Problem>,
}

impl Problem {
    pub(crate) fn lost(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into(), remedy: "a backup may still have it" }
    }
}

/// Saves all that is whole of the history in `dir` into the new data folder `out`, with the same identities. What cannot
/// be read, or is not as it was written, is in the answer; entries of the audit say so too, the last one (of the time
/// `now`) in sum. The damaged folder is left as it is; the new one is verified.
///
/// # Errors
/// [`HistoryError::NotFound`], [`HistoryError::InUse`], [`HistoryError::Occupied`] when `out` has a history already,
/// [`HistoryError::BeyondRepair`] when not even the tables can be found, [`HistoryError::NoRoom`], the system's own.
pub async fn repair(dir: &Path, out: &Path, now: UtcNanos, progress: OnProgress<'_>) -> Result<Repaired, HistoryError> {
    let path = dir.join(FILE_NAME);
    if !path.try_exists().map_err(|source| HistoryError::io("look at", &path, source))? {
        return Err(HistoryError::NotFound { path });
    }
    if is_in_use(dir) {
        return Err(HistoryError::InUse { dir: dir.to_owned() });
    }
    files::refuse_occupied(out)?;
    fs::create_dir_all(out).map_err(|source| HistoryError::io("make the folder", out, source))?;
    let _lock = lock(out)?;
    let mut repaired = Repaired::default();
    let made = salvaged(dir, out, now, progress, &mut repaired).await;
    // A mended copy has served, whether it did any good or not.
    for suffix in ["", "-wal", "-shm"] {
        files::remove_if_there(&beside(&out.join(MENDED), suffix))?;
    }
    made.map_err(|error| error.of_target(out))?;
    let left = verify_folder(out, progress).await?;
    if left.is_empty() {
        return Ok(repaired);
    }
    Err(HistoryError::NotWhole { dir: out.to_owned(), problems: left })
}

async fn salvaged(
    dir: &Path,
    out: &Path,
    now: UtcNanos,
    progress: OnProgress<'_>,
    repaired: &mut Repaired,
) -> Result<(), HistoryError> {
    let wrap = |source| HistoryError::from_sqlx(out, source);
    let (mut source, schema) = readable(dir, out, &mut repaired.lost).await?;
    if schema > SCHEMA {
        return Err(HistoryError::Newer { path: dir.join(FILE_NAME), found: schema, known: SCHEMA });
    }
    let partial = out.join(PARTIAL);
    for suffix in ["", "-wal", "-shm"] {
        files::remove_if_there(&beside(&partial, suffix))?;
    }
    let mut target = writing_connection_at(&partial).await.map_err(wrap)?;
    migrator().run(&mut target).await.map_err(|error| wrap(sqlx::Error::Migrate(Box::new(error))))?;
    let mut transaction = target.begin_with("BEGIN IMMEDIATE").await.map_err(wrap)?;
    let mut names = Names::copy(&mut source, &mut transaction, repaired).await.map_err(wrap)?;
    let size = fs::metadata(dir.join(FILE_NAME)).map_or(0, |file| file.len());
    for table in TABLES.iter().filter(|table| table.since <= schema) {
        let mut on_bytes = files::counter(progress, "saving rows", size);
        copy_table(&mut source, &mut transaction, table, schema, &mut names, repaired, &mut on_bytes)
            .await
            .map_err(wrap)?;
    }
    names.settle(&mut transaction, repaired).await.map_err(wrap)?;
    copy_unchecked(&mut source, &mut transaction, repaired).await.map_err(wrap)?;
    let mut chain = Chain::build(&mut source, &mut transaction, &mut repaired.lost).await.map_err(wrap)?;
    repaired.saved.insert("journal", chain.kept);
    carry_video(dir, out, &mut transaction, repaired, progress).await?;
    let rows: Vec<String> = repaired.lost.iter().map(|lost| lost.place.clone()).collect();
    let text =
        format!("repaired from {}: {}; in all not saved or changed: {}", dir.display(), chain.told(), shortened(&rows));
    chain.end(&mut transaction, now, &text).await.map_err(wrap)?;
    transaction.commit().await.map_err(wrap)?;
    files::finish(target, &partial, &out.join(FILE_NAME)).await?;
    // It only read.
    let _ = source.close().await;
    Ok(())
}

/// A connection to the damaged file, by a copy with a mended header where it does not open as it is; and its schema.
async fn readable(dir: &Path, out: &Path, lost: &mut Vec<Problem>) -> Result<(SqliteConnection, i64), HistoryError> {
    let path = dir.join(FILE_NAME);
    let beyond = |reason: String| HistoryError::BeyondRepair { path: dir.join(FILE_NAME), reason };
    let header = Header::read(&path).map_err(|source| HistoryError::io("read", &path, source))?;
    let Some(header) = header else {
        return Err(beyond("it is shorter than a SQLite file's header".to_owned()));
    };
    let mut reason = header.problems().join(", ");
    if reason.is_empty() {
        match opened(&path).await {
            Ok(opened) => return Ok(opened),
            Err(error) => reason = said(&error),
        }
    }
    lost.push(Problem {
        place: format!("{FILE_NAME}, header"),
        what: reason,
        remedy: "it was read by a copy with a mended header",
    });
    let mended = out.join(MENDED);
    let known = if (1..=SCHEMA).contains(&header.schema()) { header.schema() } else { SCHEMA };
    let bytes = header.mended(known);
    let (from, to) = (path.clone(), mended.clone());
    let copied = blocking(move || Ok(mend(&from, &to, &bytes))).await?;
    copied.map_err(|source| HistoryError::io("write", &mended, source).of_target(out))?;
    opened(&mended).await.map_err(|error| beyond(said(&error)))
}

fn mend(from: &Path, to: &Path, header: &[u8; HEADER_BYTES]) -> io::Result<()> {
    fs::copy(from, to)?;
    if has_log(from) {
        fs::copy(beside(from, "-wal"), beside(to, "-wal"))?;
    }
    let mut file = File::options().write(true).open(to)?;
    file.write_all(header)
}

/// Opens a file whose tables can be found.
async fn opened(path: &Path) -> Result<(SqliteConnection, i64), sqlx::Error> {
    let mut connection = read_connection(path).await?;
    sqlx::query("SELECT count(*) FROM chunk WHERE 0").fetch_one(&mut connection).await?;
    let schema = schema_of(&mut connection).await?;
    Ok((connection, if schema < 1 { SCHEMA } else { schema }))
}

/// Copies the rows of a table that are as they were written.
async fn copy_table(
    source: &mut SqliteConnection,
    target: &mut Transaction<'_, Sqlite>,
    table: &'static Table,
    schema: i64,
    names: &mut Names,
    repaired: &mut Repaired,
    on_bytes: &mut (dyn FnMut(u64) + Send),
) -> Result<(), sqlx::Error> {
    let copying = match Copying::checked(source, target, table, schema).await {
        Ok(copying) => copying,
        Err(error) => {
            repaired.lost.push(Problem::lost(table.name, said(&error)));
            return Ok(());
        }
    };
    let mut salvage = Salvage::new(source, &copying.select(), table.name, table.key).await;
    let mut saved = 0;
    while let Some(rows) = salvage.next(source).await {
        for row in &rows {
            let fields = Fields(row);
            let key = fields.int(0).unwrap_or(0);
            let place = format!("{} {key}", table.name);
            let row = match (table.look)(fields).and_then(|()| values(row).map_err(|error| said(&error))) {
                Ok(row) => row,
                Err(what) => {
                    if table.name == "rollup" {
                        build_again(target, fields).await?;
                    }
                    repaired.lost.push(Problem::lost(place, what));
                    continue;
                }
            };
            if let Some(parent) = row.get(1).and_then(Value::int) {
                names.need(target, table.name, parent, repaired).await?;
            }
            on_bytes(row.iter().map(Value::bytes).sum());
            match copying.insert(target, "INSERT OR IGNORE", &row).await? {
                0 => repaired.lost.push(Problem::lost(place, "another row has its place: its number was changed")),
                _ => saved += 1,
            }
        }
    }
    for (from, to, what) in salvage.lost {
        repaired.lost.push(Problem::lost(rows_named(table.name, from, to), what));
    }
    repaired.saved.insert(table.name, saved);
    Ok(())
}

/// Lets the next merge build a damaged roll-up from what is below it, where its place can be read.
async fn build_again(target: &mut Transaction<'_, Sqlite>, row: Fields<'_>) -> Result<(), sqlx::Error> {
    let (Ok(tag), Ok(level), Ok(slot)) = (row.int(1), row.int(2), row.int(3)) else { return Ok(()) };
    let Some(level) = u32::try_from(level).ok().filter(|&level| level < LEVELS) else { return Ok(()) };
    sqlx::query("INSERT OR IGNORE INTO rollup_due (level, end_time, tag, slot) VALUES (?1, ?2, ?3, ?4)")
        .bind(level)
        .bind(slot_range(level, slot).1)
        .bind(tag)
        .bind(slot)
        .execute(&mut **target)
        .await?;
    Ok(())
}

/// Copies what carries no checksum and can be had again: what is due, how far things have come, which numbers were given.
async fn copy_unchecked(
    source: &mut SqliteConnection,
    target: &mut Transaction<'_, Sqlite>,
    repaired: &mut Repaired,
) -> Result<(), sqlx::Error> {
    for (table, key) in [("merge_progress", "id"), ("rollup_due", "level"), ("kept_from", "what")] {
        let copying = Copying::small(source, target, table, key).await?;
        if copying.columns.is_empty() {
            // The first schema did not have it.
            continue;
        }
        let rows = sqlx::query(sqlx::AssertSqlSafe(copying.select())).fetch_all(&mut *source).await;
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => {
                repaired.lost.push(Problem::lost(table, said(&error)));
                continue;
            }
        };
        for row in &rows {
            let written = match values(row) {
                Ok(row) => copying.insert(target, "INSERT OR REPLACE", &row).await,
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                repaired.lost.push(Problem::lost(table, said(&error)));
            }
        }
    }
    let sequences = sqlx::query_as("SELECT name, seq FROM sqlite_sequence").fetch_all(&mut *source).await;
    match sequences {
        Ok(sequences) => copy_sequences(&sequences, target).await?,
        Err(error) => repaired.lost.push(Problem::lost("sqlite_sequence", said(&error))),
    }
    Ok(())
}

/// Takes along the files of video that are as they were written; the others become gaps.
async fn carry_video(
    dir: &Path,
    out: &Path,
    target: &mut Transaction<'_, Sqlite>,
    repaired: &mut Repaired,
    progress: OnProgress<'_>,
) -> Result<(), HistoryError> {
    let wrap = |source| HistoryError::from_sqlx(out, source);
    let clips: Vec<(i64, String, i64, Option<i64>, i64)> =
        sqlx::query_as("SELECT id, path, bytes, crc, state FROM clip WHERE state <> ?1 ORDER BY id")
            .bind(video::GONE)
            .fetch_all(&mut **target)
            .await
            .map_err(wrap)?;
    let total: u64 = clips.iter().map(|clip| clip.2.unsigned_abs()).sum();
    let mut done = 0;
    for (id, path, bytes, crc, state) in clips {
        let file = SegmentFile { path: path.clone(), bytes, crc };
        let (from, to) = (dir.to_owned(), out.to_owned());
        let is_open = state == video::WRITING;
        let carried = blocking(move || {
            // One that was being written has no length yet; the next run closes it.
            let looked = if is_open { Ok(None) } else { look_at_file(&from, &file, Video::Read) };
            match looked {
                Ok(_) if is_open && !from.join(&file.path).exists() => Ok(Err("the file is missing".to_owned())),
                Ok(_) => files::link_or_copy(&from, &to, &file.path).map(Ok),
                Err(what) => Ok(Err(what)),
            }
        })
        .await?;
        match carried {
            Ok(Carried::Linked | Carried::Copied) => repaired.segments += 1,
            Err(what) => {
                repaired.lost.push(Problem {
                    place: format!("clip {id}, {path}"),
                    what,
                    remedy: "it is noted as gone; what there is of it stays in the damaged folder",
                });
                mark_gone(target, id).await.map_err(wrap)?;
            }
        }
        done += bytes.unsigned_abs();
        progress(Progress { what: "saving video", done, total });
    }
    Ok(())
}

/// Notes that a segment's file is not there.
pub(crate) async fn mark_gone(target: &mut SqliteConnection, id: i64) -> Result<(), sqlx::Error> {
    let row: (i64, String, i64, Option<i64>, i64, i64, i64, Option<i64>) = sqlx::query_as(
        "UPDATE clip SET state = ?2 WHERE id = ?1
         RETURNING camera, path, start_time, end_time, frames, bytes, pinned, crc",
    )
    .bind(id)
    .bind(video::GONE)
    .fetch_one(&mut *target)
    .await?;
    let (camera, path, start, end, frames, bytes, pinned, crc) = &row;
    let clip = ClipRow {
        camera: *camera,
        path,
        start: *start,
        end: *end,
        frames: *frames,
        bytes: *bytes,
        state: video::GONE,
        pinned: *pinned,
        crc: *crc,
    };
    sqlx::query("UPDATE clip SET row_crc = ?2 WHERE id = ?1")
        .bind(id)
        .bind(clip_row_crc(&clip))
        .execute(target)
        .await?;
    Ok(())
}

fn range_named(from: i64, to: i64) -> String {
    if from == to { from.to_string() } else { format!("{from} to {to}") }
}

fn rows_named(table: &str, from: i64, to: i64) -> String {
    format!("{table} {}", range_named(from, to))
}

/// A list that stays readable.
fn shortened(listed: &[String]) -> String {
    match listed {
        [] => "none".to_owned(),
        _ if listed.len() > LISTED_MAX => {
            format!("{} and {} more", listed[..LISTED_MAX].join(", "), listed.len() - LISTED_MAX)
        }
        _ => listed.join(", "),
    }
}
