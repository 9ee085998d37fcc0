use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
};

use sightglass_history::{EntryClass, FILE_NAME, History, HistoryError, Problem, Repaired, repair, verify_folder};
use sightglass_protocol::{CameraId, Segment, TagId, UtcNanos, time::SECOND};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{START, at, bits, folder, open, run, sample};

/// Samples that take overflow pages, events, audit, and two files of video.
async fn filled(dir: &tempfile::TempDir) {
    let history = open(dir).await;
    for tag in 0..3 {
        let samples: Vec<_> = (0..30_000)
            .map(|index| sample(tag, START + index * SECOND, (index as f64 * 0.7).sin() + f64::from(tag)))
            .collect();
        history.append(&samples).await.unwrap();
    }
    history.merge(at(40_000)).await.unwrap();
    history.append(&[sample(3, START, 5.0)]).await.unwrap();
    fs::create_dir(dir.path().join("video")).unwrap();
    for number in 0..3 {
        let path = format!("video/{number}.mkv");
        fs::write(dir.path().join(&path), vec![number as u8; 5000]).unwrap();
        let (start, end) = (at(number * 60), Some(at(number * 60 + 60)));
        history
            .put_segment(&Segment { camera: CameraId(0), path, start, end, frames: 900, bytes: 5000 })
            .await
            .unwrap();
    }
    for second in 0..120 {
        history.put_event(at(second), "engine", &format!("event {second}")).await.unwrap();
        history.put_audit(at(second), "meyer", "looked").await.unwrap();
    }
    history.close().await.unwrap();
}

async fn direct(dir: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(dir.join(FILE_NAME)).connect().await.unwrap()
}

async fn tamper(dir: &Path, sql: &'static str) {
    let mut connection = direct(dir).await;
    assert!(sqlx::query(sql).execute(&mut connection).await.unwrap().rows_affected() > 0, "{sql} changed nothing");
    connection.close().await.unwrap();
}

/// Overwrites a page's first bytes, so that SQLite refuses it.
async fn break_page(dir: &Path, sql: &'static str) {
    let mut connection = direct(dir).await;
    let page: i64 = sqlx::query(sql).fetch_one(&mut connection).await.unwrap().get(0);
    connection.close().await.unwrap();
    let mut file = File::options().write(true).open(dir.join(FILE_NAME)).unwrap();
    file.seek(SeekFrom::Start((page as u64 - 1) * 8192)).unwrap();
    file.write_all(&[0x55; 64]).unwrap();
}

fn bytes(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

async fn repaired(dir: &Path, out: &Path) -> Repaired {
    let before = bytes(&dir.join(FILE_NAME));
    let repaired = repair(dir, out, at(50_000), &mut |_| {}).await.unwrap();
    assert_eq!(bytes(&dir.join(FILE_NAME)), before, "the damaged file is only read");
    assert_eq!(verify_folder(out, &mut |_| {}).await.unwrap(), [], "the new one is whole");
    repaired
}

fn names(problems: &[Problem], place: &str) -> bool {
    problems.iter().any(|problem| problem.place.starts_with(place))
}

#[test]
fn a_whole_history_is_repaired_into_the_same() {
    run(async {
        let (dir, out) = (folder(), folder());
        filled(&dir).await;
        let told = repaired(dir.path(), out.path()).await;
        assert_eq!(told.lost, []);
        assert_eq!(told.segments, 3);
        let (old, new) =
            (History::open_read_only(dir.path()).await.unwrap(), History::open_read_only(out.path()).await.unwrap());
        assert_eq!(old.plant(), new.plant());
        for tag in 0..4 {
            let of = async |history: &History| history.raw(TagId(tag), UtcNanos::MIN, UtcNanos::MAX).await.unwrap();
            let (old, new) = (of(&old).await, of(&new).await);
            assert!(!old.is_empty() && old.iter().map(bits).eq(new.iter().map(bits)), "tag {tag}");
        }
        let entries = new.entries(at(50_000), at(50_000), 9).await.unwrap();
        assert_eq!((entries.len(), entries[0].class), (1, EntryClass::Audit));
        assert!(entries[0].text.contains("entries kept, lost: none, changed: none"), "{}", entries[0].text);
        // It is a data folder as any other.
        let history = open(&out).await;
        history.append(&[sample(0, START - SECOND, 1.0)]).await.unwrap();
        history.merge(UtcNanos::MAX).await.unwrap();
        history.close().await.unwrap();
        assert_eq!(verify_folder(out.path(), &mut |_| {}).await.unwrap(), []);
    });
}

#[test]
fn what_is_not_as_it_was_written_is_left_out_and_named() {
    run(async {
        let (dir, out) = (folder(), folder());
        filled(&dir).await;
        tamper(dir.path(), "UPDATE chunk SET interval_ns = 7 WHERE id = 2").await;
        tamper(dir.path(), "UPDATE rollup SET crc = crc + 1 WHERE id = 1").await;
        tamper(dir.path(), "UPDATE journal SET text = 'nothing' WHERE seq = 5").await;
        tamper(dir.path(), "DELETE FROM journal WHERE seq BETWEEN 10 AND 12").await;
        fs::write(dir.path().join("video/1.mkv"), vec![9; 5000]).unwrap();
        fs::remove_file(dir.path().join("video/2.mkv")).unwrap();
        let told = repaired(dir.path(), out.path()).await;
        for place in ["chunk 2", "rollup 1", "journal 5", "journal 10 to 12", "clip 2", "clip 3"] {
            assert!(names(&told.lost, place), "{place}: {:?}", told.lost);
        }
        assert_eq!((told.lost.len(), told.segments), (6, 1), "{:?}", told.lost);
        let history = History::open_read_only(out.path()).await.unwrap();
        let entries = history.entries(UtcNanos::MIN, UtcNanos::MAX, 1000).await.unwrap();
        let entry = |seq: u64| entries.iter().find(|entry| entry.seq == seq).unwrap();
        assert_eq!(entries.len(), 241, "every entry keeps its number");
        assert!(entry(11).text.contains("entry 11 could not be read"), "{:?}", entry(11));
        assert_eq!(entry(13).text, "event 6");
        let last = &entry(241).text;
        for told in ["lost: 10 to 12", "changed: 5", "ended with entry 240, hash ", "chunk 2"] {
            assert!(last.contains(told), "{told}: {last}");
        }
        assert_eq!(history.segments(CameraId(0), at(0), at(1000)).await.unwrap().len(), 1);
        assert!(out.path().join("video/0.mkv").exists() && !out.path().join("video/1.mkv").exists());
        history.close().await.unwrap();
        // The damaged roll-up is built again.
        let history = open(&out).await;
        assert!(history.merge(at(60_000)).await.unwrap().blocks >= 1);
    });
}

#[test]
fn rows_beside_a_page_that_sqlite_refuses_are_saved() {
    run(async {
        for (sql, table) in [
            ("SELECT pageno FROM dbstat WHERE name = 'chunk' AND pagetype = 'leaf' ORDER BY path LIMIT 1", "chunk"),
            (
                "SELECT pageno FROM dbstat WHERE name = 'chunk' AND pagetype = 'overflow' ORDER BY path LIMIT 1 OFFSET 5",
                "chunk",
            ),
            ("SELECT pageno FROM dbstat WHERE name = 'chunk_place' AND pagetype = 'leaf' LIMIT 1", ""),
            ("SELECT pageno FROM dbstat WHERE name = 'journal' AND pagetype = 'leaf' ORDER BY path LIMIT 1", "journal"),
            ("SELECT pageno FROM dbstat WHERE name = 'tag' AND pagetype = 'leaf' LIMIT 1", "tag"),
            ("SELECT pageno FROM dbstat WHERE name = 'plant' AND pagetype = 'leaf' LIMIT 1", "plant"),
            ("SELECT pageno FROM dbstat WHERE name = 'session' AND pagetype = 'leaf' LIMIT 1", "session"),
        ] {
            let (dir, out) = (folder(), folder());
            filled(&dir).await;
            break_page(dir.path(), sql).await;
            assert!(!verify_folder(dir.path(), &mut |_| {}).await.unwrap().is_empty(), "{sql}");
            let told = repaired(dir.path(), out.path()).await;
            assert!(table.is_empty() || names(&told.lost, table), "{sql}: {:?}", told.lost);
            let history = History::open_read_only(out.path()).await.unwrap();
            let saved = history.summary().await.unwrap();
            let all = if table == "chunk" { 40_000 } else { 90_001 };
            assert!(saved.samples >= all, "{sql}: {saved:?}, {:?}", told.lost);
            assert!(saved.entries >= 160, "{sql}: {saved:?}");
        }
    });
}

#[test]
fn a_damaged_header_is_mended_in_a_copy() {
    run(async {
        // The magic, the page's size, the text's encoding, the application, the schema's number.
        for place in [0, 3, 16, 17, 20, 21, 47, 59, 60, 68] {
            let (dir, out) = (folder(), folder());
            filled(&dir).await;
            let mut damaged = bytes(&dir.path().join(FILE_NAME));
            damaged[place] ^= 0x41;
            fs::write(dir.path().join(FILE_NAME), damaged).unwrap();
            let found = verify_folder(dir.path(), &mut |_| {}).await.unwrap();
            assert!(place == 60 || !found.is_empty(), "byte {place}");
            match repair(dir.path(), out.path(), at(50_000), &mut |_| {}).await {
                // A number of the schema that a newer one would have.
                Err(HistoryError::Newer { .. }) if place == 60 => continue,
                told => drop(told.unwrap_or_else(|error| panic!("byte {place}: {error}"))),
            }
            let history = History::open_read_only(out.path()).await.unwrap();
            assert_eq!(history.summary().await.unwrap().samples, 90_001, "byte {place}");
            let left: Vec<_> = fs::read_dir(out.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert!(!left.iter().any(|name| name.to_string_lossy().contains("mended")), "{left:?}");
        }
    });
}

#[test]
fn what_cannot_be_repaired_says_what_to_do() {
    run(async {
        let (dir, out) = (folder(), folder());
        filled(&dir).await;
        let error = repair(dir.path(), dir.path(), at(0), &mut |_| {}).await.unwrap_err();
        assert!(matches!(error, HistoryError::Occupied { .. }), "{error:?}");
        let error = repair(out.path(), dir.path(), at(0), &mut |_| {}).await.unwrap_err();
        assert!(matches!(error, HistoryError::NotFound { .. }), "{error:?}");
        // The list of tables.
        let mut file = File::options().write(true).open(dir.path().join(FILE_NAME)).unwrap();
        file.seek(SeekFrom::Start(100)).unwrap();
        file.write_all(&[0x55; 8000]).unwrap();
        let error = repair(dir.path(), out.path(), at(0), &mut |_| {}).await.unwrap_err();
        assert!(matches!(error, HistoryError::BeyondRepair { .. }), "{error:?}");
        assert!(error.to_string().contains("history restore"), "{error}");
        assert!(!out.path().join(FILE_NAME).exists());
    });
}
