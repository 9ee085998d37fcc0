use sightglass_history::{FILE_NAME, History, Keep};
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
            ("UPDATE chunk SET body = substr(body, 1, 40) || x'ff' || substr(body, 42) WHERE id = 2", "chunk 2"),
            ("UPDATE chunk SET first_time = first_time + 1 WHERE id = 1", "chunk 1"),
            ("UPDATE chunk SET tag = 2 WHERE id = 1", "chunk 1"),
            ("UPDATE sample_batch SET body = body || x'00'", "sample_batch 2"),
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

#[test]
fn random_flips_in_stored_bodies_are_found_and_never_end_the_program() {
    run(async {
        let dir = folder();
        filled(&dir).await.close().await.unwrap();
        let whole = std::fs::read(dir.path().join(FILE_NAME)).unwrap();
        // Chunk bodies are most of the file: a stretch of it that is surely one of theirs.
        let mut seed = 1u64;
        let mut found = 0;
        for _ in 0..30 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut broken = whole.clone();
            let place = 8192 + (seed >> 33) as usize % (broken.len() - 8192);
            broken[place] ^= 1 << (seed >> 60 & 7);
            std::fs::write(dir.path().join(FILE_NAME), &broken).unwrap();
            // A flip in a page's own structure may make the file unreadable: an error, said as one.
            let Ok(history) = History::open_read_only(dir.path()).await else {
                found += 1;
                continue;
            };
            let problems = history.verify().await.unwrap();
            found += usize::from(!problems.is_empty());
            // Reading past the damage is an error or a gap, not a panic.
            let _ = history.raw(TagId(0), UtcNanos::MIN, UtcNanos::MAX).await;
            let _ = history.signals(&[TagId(0)], at(0), at(4000), 100).await;
            history.close().await.unwrap();
        }
        assert!(found >= 15, "only {found} of 30 flips found");
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
        assert!(count > 20_000 && count < 40_000, "{count}");
        let error = history.raw(TagId(0), at(0), at(4000)).await.unwrap_err();
        assert!(error.to_string().contains("chunk 2") && error.to_string().contains("verify"), "{error}");
    });
}

#[test]
fn what_is_older_than_wanted_goes_and_the_rest_stays() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        for day in 0..5 {
            let samples: Vec<_> = (0..1000).map(|second| sample(0, at(day * DAY + second).0, 1.0)).collect();
            history.append(&samples).await.unwrap();
            history.merge(at(day * DAY + 5000)).await.unwrap();
        }
        history.append(&[sample(1, at(0).0, 0.0)]).await.unwrap();
        std::fs::create_dir(dir.path().join("video")).unwrap();
        for day in 0..5 {
            let path = format!("video/{day}.mkv");
            std::fs::write(dir.path().join(&path), [0; 100]).unwrap();
            let (start, end) = (at(day * DAY), Some(at(day * DAY + 60)));
            let segment = Segment { camera: CameraId(0), path, start, end, frames: 1, bytes: 100 };
            history.put_segment(&segment).await.unwrap();
        }
        history.pin_segment("video/0.mkv", true).await.unwrap();
        let now = at(4 * DAY + 1000);
        assert_eq!(history.apply_retention(now, Keep::default()).await.unwrap(), Default::default());
        let keep = Keep { samples_days: Some(2), video_days: Some(3), video_bytes: None };
        let removed = history.apply_retention(now, keep).await.unwrap();
        assert!(removed.chunks >= 2, "{removed:?}");
        assert_eq!((removed.segments, removed.video_bytes), (1, 100));
        let left = history.raw(TagId(0), UtcNanos::MIN, UtcNanos::MAX).await.unwrap();
        assert!(left.len() >= 2000 && left[0].time >= at(DAY + 1000 - DAY / 2), "{} from {}", left.len(), left[0].time);
        assert_eq!(history.raw(TagId(1), UtcNanos::MIN, UtcNanos::MAX).await.unwrap().len(), 0);
        let exists = |day: i64| dir.path().join(format!("video/{day}.mkv")).exists();
        assert!(exists(0) && !exists(1) && exists(2), "pinned, too old, kept");
        let keep = Keep { video_bytes: Some(250), ..Keep::default() };
        assert_eq!(history.apply_retention(now, keep).await.unwrap().segments, 2);
        assert!(exists(0) && !exists(2) && !exists(3) && exists(4), "oldest first");
        assert_eq!(history.verify().await.unwrap(), []);
    });
}
