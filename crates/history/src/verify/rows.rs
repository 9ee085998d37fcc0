//! The rows that carry a checksum: how each table is paged through, and how one of its rows is looked at.

use sqlx::{AssertSqlSafe, Row as _, sqlite::SqliteConnection};

use super::{Problem, said};
use crate::{
    advisories::advisory_crc,
    chunk::Row,
    clip_crc::{ClipRow, clip_row_crc, health_crc},
    codec::row_crc,
    correction::former_values,
    fields::Fields,
    outages::outage_of,
    output::decode_scores,
    predictions::output_crc,
    raw::{StoredChunk, batch_of, blocking},
    rollup,
};

/// Rows that are read at once: batches have up to half a megabyte each.
const PAGE_ROWS: i64 = 64;

/// A table whose rows carry a checksum.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// The first schema that has it.
    pub(crate) since: i64,
    pub(crate) key: &'static str,
    /// The column with the checksum.
    crc: &'static str,
    /// What `look` reads: the key first.
    pub(crate) columns: &'static str,
    /// The same for a file of the first schema, where that had fewer.
    columns_1: Option<&'static str>,
    pub(crate) look: fn(Fields<'_>) -> Result<(), String>,
}

impl Table {
    /// The column with the checksum in a file with `schema`; NULL where that has none.
    pub(crate) fn crc(&self, schema: i64) -> &'static str {
        if schema == 1 && self.columns_1.is_some() { "NULL" } else { self.crc }
    }

    /// What `look` reads of a file with `schema`.
    pub(crate) fn columns(&self, schema: i64) -> &'static str {
        self.columns_1.filter(|_| schema == 1).unwrap_or(self.columns)
    }
}

pub(crate) static TABLES: [Table; 9] = [
    Table {
        name: "sample_batch",
        since: 1,
        key: "seq",
        crc: "crc",
        columns: "seq, first_time, last_time, samples, crc, body",
        columns_1: None,
        look: |row| {
            let (_, batch) = batch_of(row)?;
            same_range(batch.range(), (row.int(1)?, row.int(2)?))
        },
    },
    Table {
        name: "chunk",
        since: 1,
        key: "id",
        crc: "crc",
        columns: "id, tag, first_time, last_time, samples, interval_ns, crc, body",
        columns_1: None,
        look: |row| {
            let chunk = StoredChunk::of(row)?;
            same_times(&chunk.rows()?, (chunk.first, chunk.last))
        },
    },
    Table {
        name: "rollup",
        since: 1,
        key: "id",
        crc: "crc",
        columns: "id, tag, level, slot, crc, body",
        columns_1: None,
        look: |row| {
            let (level, slot) = (row.int(2)?, row.int(3)?);
            same_crc(Some(row.int(4)?), row_crc(&[row.int(1)?, level, slot], &[row.blob(5)?]))?;
            let level = u32::try_from(level).ok().filter(|&level| level < rollup::LEVELS);
            let level = level.ok_or_else(|| "its level does not exist".to_owned())?;
            rollup::decode(row.blob(5)?, level, slot).map(|_| ()).map_err(|error| error.to_string())
        },
    },
    Table {
        name: "output",
        since: 1,
        key: "id",
        crc: "crc",
        columns: "id, line, first_time, last_time, ticks, score_max, crc, scores, bands, forecasts, surprises",
        columns_1: None,
        look: |row| {
            let bodies = [row.blob(7)?, row.blob(8)?, row.blob(9)?, row.blob(10)?];
            let crc = output_crc(row.int(1)?, row.int(2)?, row.int(3)?, row.int(4)?, bodies);
            same_crc(Some(row.int(6)?), crc)?;
            let scores = decode_scores(bodies[0]).map_err(|error| error.to_string())?;
            let most = scores.iter().map(|score| score.1).fold(f32::NAN, f32::max);
            if row.maybe_real(5)? == (!most.is_nan()).then_some(f64::from(most)) {
                return Ok(());
            }
            Err("its highest score is not that of its ticks".to_owned())
        },
    },
    Table {
        name: "advisory",
        since: 1,
        key: "id",
        crc: "crc",
        columns: "id, line, kind, title, since, opened, last_seen, closed, peak, confidence, crc, body",
        columns_1: None,
        look: |row| {
            let times = [row.int(4)?, row.int(5)?, row.int(6)?];
            let scores = (row.maybe_real(8)?, row.maybe_real(9)?);
            let keys = ([row.int(0)?, row.int(1)?, row.int(2)?], times, row.maybe_int(7)?, scores);
            same_crc(Some(row.int(10)?), advisory_crc(keys, row.text(3)?, row.blob(11)?))
        },
    },
    Table {
        name: "correction",
        since: 2,
        key: "id",
        crc: "crc",
        columns: "id, tag, first_time, last_time, samples, crc, body",
        columns_1: None,
        look: |row| same_times(&former_values(row)?, (row.int(2)?, row.int(3)?)),
    },
    Table {
        name: "outage",
        since: 2,
        key: "id",
        crc: "crc",
        columns: "id, kind, from_time, to_time, reason, crc",
        columns_1: None,
        look: |row| outage_of(row).map(drop),
    },
    Table {
        name: "health",
        since: 1,
        key: "id",
        crc: "crc",
        columns: "id, subject_kind, subject, source, state, since, reason, crc",
        columns_1: Some("id, subject_kind, subject, source, state, since, reason, NULL"),
        look: |row| {
            let keys = (row.int(1)?, row.int(2)?, row.int(4)?, row.int(5)?);
            let crc = health_crc(keys.0, keys.1, keys.2, keys.3, row.text(3)?, row.text(6)?);
            same_crc(row.maybe_int(7)?, crc)
        },
    },
    Table {
        name: "clip",
        since: 1,
        key: "id",
        crc: "row_crc",
        columns: "id, camera, path, start_time, end_time, frames, bytes, state, pinned, crc, row_crc",
        columns_1: Some("id, camera, path, start_time, end_time, frames, bytes, state, pinned, crc, NULL"),
        look: |row| same_crc(row.maybe_int(10)?, clip_row_crc(&clip_row(row)?)),
    },
];

/// The columns of `clip` in the order of [`TABLES`].
pub(crate) fn clip_row(row: Fields<'_>) -> Result<ClipRow<'_>, String> {
    Ok(ClipRow {
        camera: row.int(1)?,
        path: row.text(2)?,
        start: row.int(3)?,
        end: row.maybe_int(4)?,
        frames: row.int(5)?,
        bytes: row.int(6)?,
        state: row.int(7)?,
        pinned: row.int(8)?,
        crc: row.maybe_int(9)?,
    })
}

/// Rows of the first schema have no checksum: NULL. That none of the others lost its own is seen by the index over the
/// rows without one.
fn same_crc(stored: Option<i64>, computed: i64) -> Result<(), String> {
    if stored.is_none_or(|stored| stored == computed) {
        return Ok(());
    }
    Err("its checksum does not match".to_owned())
}

fn same_range(found: Option<(i64, i64)>, stored: (i64, i64)) -> Result<(), String> {
    if found == Some(stored) { Ok(()) } else { Err("its times differ from those of its samples".to_owned()) }
}

fn same_times(rows: &[Row], stored: (i64, i64)) -> Result<(), String> {
    same_range(rows.first().zip(rows.last()).map(|(a, b)| (a.time, b.time)), stored)
}

/// Looks at every row. `on_bytes` is told how much was read.
pub(super) async fn verify(
    connection: &mut SqliteConnection,
    table: &Table,
    schema: i64,
    problems: &mut Vec<Problem>,
    on_bytes: &mut (dyn FnMut(u64) + Send),
) {
    let (name, key, columns, look) = (table.name, table.key, table.columns(schema), table.look);
    let sql = format!("SELECT {columns} FROM {name} WHERE {key} > ?1 ORDER BY {key} LIMIT ?2");
    let mut after = i64::MIN;
    loop {
        let page =
            sqlx::query(AssertSqlSafe(sql.clone())).bind(after).bind(PAGE_ROWS).fetch_all(&mut *connection).await;
        let rows = match page {
            Ok(rows) => rows,
            Err(error) => {
                let place = if after == i64::MIN { name.to_owned() } else { format!("{name} after row {after}") };
                problems.push(Problem::new(place, said(&error)));
                return;
            }
        };
        let count = rows.len() as i64;
        let looked = blocking(move || {
            let mut bytes = 0;
            let mut wrong = Vec::new();
            let mut last = after;
            for row in &rows {
                let fields = Fields(row);
                let key = fields.int(0);
                last = key.clone().unwrap_or(last);
                bytes += bytes_of(fields);
                if let Err(what) = key.and_then(|_| look(fields)) {
                    wrong.push(Problem::new(format!("{name} {last}"), what));
                }
            }
            Ok((last, bytes, wrong))
        })
        .await;
        let Ok((last, bytes, wrong)) = looked else { return };
        problems.extend(wrong);
        on_bytes(bytes);
        if count < PAGE_ROWS || last == after {
            return;
        }
        after = last;
    }
}

/// Roughly what a row takes.
fn bytes_of(row: Fields<'_>) -> u64 {
    let bodies = (0..row.0.len()).filter_map(|index| row.blob(index).ok());
    bodies.map(|body| body.len() as u64).sum::<u64>() + 8 * row.0.len() as u64
}
