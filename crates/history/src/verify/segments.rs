//! The files of video, against what is written of them in table `clip`.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
};

use sqlx::sqlite::SqliteConnection;

use super::{OnProgress, Problem, Progress, Video, said};
use crate::{deletion, fields::Fields, files::is_within, raw::blocking, video};

/// Segments that are looked up at once.
const PAGE_ROWS: i64 = 1024;
const READ_BYTES: usize = 1 << 20;
const REMEDY: &str = "put the file back from a backup, or let `sightglass history repair` note the gap";

/// What of a file is known.
#[derive(Clone, Debug)]
pub(crate) struct SegmentFile {
    pub(crate) path: String,
    pub(crate) bytes: i64,
    pub(crate) crc: Option<i64>,
}

/// What is wrong with a file of video, or its checksum where it was read. A path that leaves the folder is wrong.
pub(crate) fn look_at_file(dir: &Path, wanted: &SegmentFile, read: Video) -> Result<Option<i64>, String> {
    if !is_within(&wanted.path) {
        return Err("its path does not lie in the data folder".to_owned());
    }
    let path = dir.join(&wanted.path);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err("the file is missing".to_owned()),
        Err(error) => return Err(format!("the file cannot be opened: {error}")),
    };
    let length = match file.metadata() {
        Ok(file) if file.is_file() => file.len(),
        Ok(_) => return Err("it is no file".to_owned()),
        Err(error) => return Err(format!("the file cannot be looked at: {error}")),
    };
    if i64::try_from(length) != Ok(wanted.bytes) {
        return Err(format!("the file has {length} bytes instead of {}", wanted.bytes));
    }
    if read == Video::Measured {
        return Ok(None);
    }
    let mut crc = 0;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => crc = crc32c::crc32c_append(crc, &buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("the file cannot be read: {error}")),
        }
    }
    let crc = i64::from(crc);
    match wanted.crc {
        Some(wanted) if wanted != crc => Err("the file's checksum does not match".to_owned()),
        _ => Ok(Some(crc)),
    }
}

pub(super) async fn verify(
    connection: &mut SqliteConnection,
    dir: &Path,
    read: Video,
    progress: OnProgress<'_>,
    problems: &mut Vec<Problem>,
) {
    let total: i64 = sqlx::query_scalar("SELECT coalesce(sum(bytes), 0) FROM clip WHERE state NOT IN (?1, ?2)")
        .bind(video::WRITING)
        .bind(video::GONE)
        .fetch_one(&mut *connection)
        .await
        // Damage is told below.
        .unwrap_or(0);
    let mut done = 0u64;
    let mut after = i64::MIN;
    loop {
        let page = sqlx::query("SELECT id, path, bytes, crc, state FROM clip WHERE id > ?1 ORDER BY id LIMIT ?2")
            .bind(after)
            .bind(PAGE_ROWS)
            .fetch_all(&mut *connection)
            .await;
        let rows = match page {
            Ok(rows) => rows,
            Err(error) => return problems.push(Problem::new("clip", said(&error))),
        };
        for row in &rows {
            let row = Fields(row);
            let Ok(id) = row.int(0) else { return problems.push(Problem::new("clip", "its keys cannot be read")) };
            after = id;
            let known = (|| {
                let file = SegmentFile { path: row.text(1)?.to_owned(), bytes: row.int(2)?, crc: row.maybe_int(3)? };
                Ok::<_, String>((file, row.int(4)?))
            })();
            // A row that cannot be read was told with its table.
            let Ok((file, state)) = known else { continue };
            if state == video::WRITING || state == video::GONE {
                continue;
            }
            let whole_path = dir.join(&file.path);
            let (dir, wanted) = (dir.to_owned(), file.clone());
            let Ok(looked) = blocking(move || Ok(look_at_file(&dir, &wanted, read))).await else { return };
            if let Err(what) = looked
                && !deletion::is_begun(&whole_path)
                && !is_gone_since(connection, id).await
            {
                problems.push(Problem { place: format!("clip {id}, {}", file.path), what, remedy: REMEDY });
            }
            done += file.bytes.unsigned_abs();
            progress(Progress { what: "checking video", done: done.min(total as u64), total: total as u64 });
        }
        if (rows.len() as i64) < PAGE_ROWS {
            return;
        }
    }
}

/// Whether the engine that records has meanwhile deleted the segment by itself.
async fn is_gone_since(connection: &mut SqliteConnection, id: i64) -> bool {
    sqlx::query_scalar("SELECT NOT EXISTS (SELECT 1 FROM clip WHERE id = ?1 AND state <> ?2)")
        .bind(id)
        .bind(video::GONE)
        .fetch_one(connection)
        .await
        .unwrap_or(false)
}
