use sightglass_history::{Budget, FILE_NAME, History, Keep};
use sightglass_protocol::{CameraId, Segment, TagId, UtcNanos, time::SECOND};
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};

use crate::{START, at, folder, open, run, sample};

const DAY: i64 = 86_400;

async fn filled(dir: &tempfile::TempDir) -> History {
    let history = open(dir).await;
    let samples: Vec<_> =
        (0..40_000).map(|index| sample(0, START + index * SECOND / 10, (index as f64).sqrt())).collect();
    history.append(&samples).await.unwrap();
    history.merge(at(100_000)).await.unwrap();
    history.append(&[sample(1, START, 5.0)]).await.unwrap();
    for second in 0..5 {
        history.put_event(at(second), "engine", "started").await.unwrap();
        history.put_audit(at(second), "meyer", "looked").await.unwrap();
    }
    history
}

/// Runs a statement on the closed file, as somebody with a SQLite tool would.
async fn tamper(dir: &tempfile::TempDir, sql: &'static str) {
    let mut connection = SqliteConnectOptions::new().filename(dir.path().join(FILE_NAME)).connect().await.unwrap();
    let changed = sqlx::query(sql).execute(&mut connection).await.unwrap().rows_affected();
    assert!(changed > 0, "{sql} changed nothing");
    sqlx::Connection::close(connection).await.unwrap();
}

#[test]
fn verify_finds_whatever_was_changed() {
    run(async {
        let dir = folder();
        let history = filled(&dir).await;
        assert_eq!(history.verify().await.unwrap(), []);
        history.close().await.unwrap();
        let whole = std::fs::read(dir.path().join(FILE_NAME)).unwrap();
        for (sql, place) in [
            (
                "UPDATE chunk SET body = CAST(substr(body, 1, 40) || x'ff' || substr(body, 42) AS BLOB) WHERE id = 2",
                "chunk 2",
            ),
            ("UPDATE chunk SET first_time = first_time + 1 WHERE id = 1", "chunk 1"),
            ("UPDATE chunk SET tag = 2 WHERE id = 1", "chunk 1"),
            ("UPDATE chunk SET interval_ns = 7 WHERE id = 1", "chunk 1"),
            ("UPDATE sample_batch SET body = CAST(body || x'00' AS BLOB)", "sample_batch 2"),
            ("UPDATE rollup SET slot = slot + 100 WHERE id = 1", "rollup"),
            ("UPDATE journal SET text = 'stopped' WHERE seq = 4", "journal 4"),
            ("UPDATE journal SET time = time + 1 WHERE seq = 1", "journal 1"),
            ("UPDATE journal SET class = 'event' WHERE seq = 2", "journal 2"),
            ("DELETE FROM journal WHERE seq = 5", "journal 5"),
            ("DELETE FROM journal WHERE seq > 8", "journal"),
        ] {
            std::fs::write(dir.path().join(FILE_NAME), &whole).unwrap();
            tamper(&dir, sql).await;
            let history = History::open_read_only(dir.path()).await.unwrap();
            let problems = history.verify().await.unwrap();
            assert!(problems.iter().any(|problem| problem.place.starts_with(place)), "{sql}: {problems:?}");
            history.close().await.unwrap();
        }
    });
}

/// Everything of the rows that carry a checksum or a hash; `None` when SQLite cannot read them.
async fn stored(dir: &tempfile::TempDir) -> Option<Vec<String>> {
    let mut connection = SqliteConnectOptions::new().filename(dir.path().join(FILE_NAME)).connect().await.ok()?;
    let mut all = Vec::new();
    for sql in [
        "SELECT id || ' ' || tag || ' ' || first_time || ' ' || last_time || ' ' || samples || ' ' || interval_ns || ' '
             || crc || hex(body) FROM chunk",
        "SELECT tag || ' ' || level || ' ' || slot || ' ' || crc || hex(body) FROM rollup",
        "SELECT seq || ' ' || first_time || ' ' || last_time || ' ' || samples || ' ' || crc || hex(body)
             FROM sample_batch",
        "SELECT seq || ' ' || time || class || ' ' || hex(subject) || ' ' || hex(text) || hex(hash) FROM journal",
    ] {
        all.extend(sqlx::query_scalar::<_, String>(sql).fetch_all(&mut connection).await.ok()?);
    }
    sqlx::Connection::close(connection).await.ok()?;
    Some(all)
}

#[test]
fn every_flipped_bit_in_a_stored_row_is_found_and_none_ends_the_program() {
    run(async {
        let dir = folder();
        filled(&dir).await.close().await.unwrap();
        // Leaves no free pages, so that most of the file is rows.
        let mut connection = SqliteConnectOptions::new().filename(dir.path().join(FILE_NAME)).connect().await.unwrap();
        sqlx::query("VACUUM").execute(&mut connection).await.unwrap();
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await.unwrap();
        sqlx::Connection::close(connection).await.unwrap();
        let whole = std::fs::read(dir.path().join(FILE_NAME)).unwrap();
        let before = stored(&dir).await;
        assert!(before.is_some());
        let mut seed = 1u64;
        let mut changed = 0;
        for _ in 0..200 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut broken = whole.clone();
            let place = (seed >> 33) as usize % broken.len();
            broken[place] ^= 1 << (seed >> 60 & 7);
            std::fs::write(dir.path().join(FILE_NAME), &broken).unwrap();
            let is_changed = stored(&dir).await != before;
            // A flip in the file's own structure may make it unreadable: an error, said as one.
            let Ok(history) = History::open_read_only(dir.path()).await else { continue };
            let problems = history.verify().await.unwrap();
            assert!(!is_changed || !problems.is_empty(), "the flip at {place} was not found");
            changed += usize::from(is_changed);
            // Reading past the damage is an error or a gap, not a panic.
            let _ = history.raw(TagId(0), UtcNanos::MIN, UtcNanos::MAX).await;
            let _ = history.signals(&[TagId(0)], at(0), at(4000), 100).await;
            history.close().await.unwrap();
        }
        assert!(changed > 3, "only {changed} flips changed a row");
    });
}

#[test]
fn a_damaged_chunk_is_a_gap_in_a_trend_and_an_error_in_the_record() {
    run(async {
        let dir = folder();
        filled(&dir).await.close().await.unwrap();
        tamper(&dir, "DELETE FROM rollup").await;
        tamper(&dir, "UPDATE chunk SET crc = crc + 1 WHERE id = 2").await;
        let history = open(&dir).await;
        let signals = history.signals(&[TagId(0)], at(0), at(4000), 1000).await.unwrap();
        let count: u32 = signals[0].points.iter().map(|point| point.count).sum();
        assert!(count > 10_000 && count < 40_000, "{count}");
        let error = history.raw(TagId(0), at(0), at(4000)).await.unwrap_err();
        assert!(error.to_string().contains("chunk 2") && error.to_string().contains("verify"), "{error}");
    });
}

#[test]
fn damage_does_not_keep_the_rest_from_being_merged() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        for second in 0..10 {
            history.append(&[sample(0, at(second).0, 1.0), sample(1, at(second).0, 2.0)]).await.unwrap();
        }
        history.merge(at(5)).await.unwrap();
        history.close().await.unwrap();
        tamper(&dir, "UPDATE sample_batch SET crc = crc + 1 WHERE seq = 8").await;
        tamper(&dir, "UPDATE chunk SET crc = crc + 1 WHERE tag = 2").await;
        let history = open(&dir).await;
        history.append(&[sample(0, at(20).0, 3.0)]).await.unwrap();
        let merged = history.merge(at(100)).await.unwrap();
        assert_eq!(merged.batches, 5, "{merged:?}");
        let signals = history.signals(&[TagId(0), TagId(1)], at(0), at(30), 1000).await.unwrap();
        let counts: Vec<_> = signals.iter().map(|signal| signal.points.len()).collect();
        assert_eq!(counts, [10, 4], "without the damaged batch, and without the first five of the damaged chunk");
        let problems = history.verify().await.unwrap();
        assert_eq!(problems.len(), 2, "{problems:?}");
    });
}

#[test]
fn what_is_older_than_wanted_goes_and_the_rest_stays() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        // A chunk never reaches over more than a week, however few samples there are.
        for eight_days in 0..5 {
            let samples: Vec<_> = (0..1000).map(|second| sample(0, at(eight_days * 8 * DAY + second).0, 1.0)).collect();
            history.append(&samples).await.unwrap();
            history.merge(at(eight_days * 8 * DAY + 5000)).await.unwrap();
        }
        history.append(&[sample(1, at(0).0, 0.0)]).await.unwrap();
        std::fs::create_dir(dir.path().join("video")).unwrap();
        for eight_days in 0..5 {
            let path = format!("video/{eight_days}.mkv");
            std::fs::write(dir.path().join(&path), [0; 100]).unwrap();
            let (start, end) = (at(eight_days * 8 * DAY), Some(at(eight_days * 8 * DAY + 60)));
            let segment = Segment { camera: CameraId(0), path, start, end, frames: 1, bytes: 100 };
            history.put_segment(&segment).await.unwrap();
        }
        history.pin_segment("video/0.mkv", true).await.unwrap();
        let now = at(32 * DAY + 500);
        assert_eq!(history.apply_retention(now, Keep::default()).await.unwrap(), Default::default());
        let days = |days| Budget { days: Some(days), bytes: None };
        let keep = Keep { samples: days(16), video: days(24), ..Keep::default() };
        let removed = history.apply_retention(now, keep).await.unwrap();
        assert_eq!((removed.chunks, removed.segments, removed.video_bytes), (3, 1, 100), "{removed:?}");
        let left = history.raw(TagId(0), UtcNanos::MIN, UtcNanos::MAX).await.unwrap();
        assert_eq!((left.len(), left[0].time), (3000, at(16 * DAY)));
        assert_eq!(history.raw(TagId(1), UtcNanos::MIN, UtcNanos::MAX).await.unwrap().len(), 0);
        let exists = |index: i64| dir.path().join(format!("video/{index}.mkv")).exists();
        assert!(exists(0) && !exists(1) && exists(2), "pinned, too old, kept");
        let keep = Keep { video: Budget { days: None, bytes: Some(250) }, ..Keep::default() };
        assert_eq!(history.apply_retention(now, keep).await.unwrap().segments, 2);
        assert!(exists(0) && !exists(2) && !exists(3) && exists(4), "oldest first");
        assert_eq!(history.verify().await.unwrap(), []);
    });
}
