//! Budgets in bytes, and room made on a disk that is nearly full.

use sightglass_history::{Budget, FILE_NAME, History, Keep, Removed};
use sightglass_protocol::{CameraId, Segment, Surprise, TagId, UtcNanos};
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};

use crate::{at, folder, open, run, sample};

/// Ten merged chunks of tag 0 of about the same size, and roll-ups of them.
async fn filled(dir: &tempfile::TempDir) -> History {
    let history = open(dir).await;
    for part in 0..10_i64 {
        // Noise, which does not compress.
        let value = |second: i64| ((part * 5_000 + second + 1) as f64).sin() * 1e6;
        let samples: Vec<_> = (0..5_000).map(|second| sample(0, at(part * 5_000 + second).0, value(second))).collect();
        history.append(&samples).await.unwrap();
        history.merge(at(part * 5_000 + 5_000)).await.unwrap();
    }
    history
}

async fn number(dir: &tempfile::TempDir, sql: &'static str) -> i64 {
    let path = dir.path().join(FILE_NAME);
    let mut connection = SqliteConnectOptions::new().filename(path).read_only(true).connect().await.unwrap();
    let number = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
    number
}

const COUNTED: &str = "SELECT bytes FROM stored_bytes WHERE what = 'samples'";
const SUMMED: &str = "SELECT (SELECT coalesce(sum(length(body)), 0) FROM chunk)
     + (SELECT coalesce(sum(length(body)), 0) FROM sample_batch)";
const COUNTED_BLOCKS: &str = "SELECT bytes FROM stored_bytes WHERE what = 'rollups'";
const SUMMED_BLOCKS: &str = "SELECT coalesce(sum(length(body)), 0) FROM rollup";

fn bytes(bytes: i64) -> Budget {
    Budget { days: None, bytes: Some(bytes as u64) }
}

#[test]
fn samples_beyond_their_budget_go_oldest_first_and_roll_ups_stay() {
    run(async {
        let dir = folder();
        let history = filled(&dir).await;
        let all = number(&dir, COUNTED).await;
        assert_eq!(all, number(&dir, SUMMED).await, "the count is kept up by whatever is written");
        let keep = |samples| Keep { samples: bytes(samples), ..Keep::default() };
        let largest = number(&dir, "SELECT max(length(body)) FROM chunk").await;
        assert!(history.apply_retention(at(0), keep(all)).await.unwrap().is_nothing());
        let removed = history.apply_retention(at(0), keep(all / 2)).await.unwrap();
        assert!(removed.chunks > 0 && removed.blocks == 0, "{removed:?}");
        let left = number(&dir, COUNTED).await;
        assert_eq!(left, number(&dir, SUMMED).await);
        assert!(left <= all / 2 && left > all / 2 - largest, "no more than is needed went: {left} of {all}");
        let rows = history.raw(TagId(0), UtcNanos::MIN, UtcNanos::MAX).await.unwrap();
        assert_eq!(rows.last().unwrap().time, at(49_999), "the newest are there");
        let kept_from = history.samples_kept_from().await.unwrap();
        assert_eq!(kept_from, Some(rows[0].time - 1_000_000_000 + 1), "up to where it came");
        let signals = history.signals(&[TagId(0)], at(0), at(10_000), 10).await.unwrap();
        assert!(!signals[0].points.is_empty(), "trends still show what was there");
        assert_eq!(history.verify().await.unwrap(), []);
    });
}

#[test]
fn roll_ups_have_a_clock_and_a_budget_of_their_own() {
    run(async {
        let dir = folder();
        let history = filled(&dir).await;
        let all = number(&dir, COUNTED_BLOCKS).await;
        assert_eq!(all, number(&dir, SUMMED_BLOCKS).await);
        let samples = number(&dir, COUNTED).await;
        let removed =
            history.apply_retention(at(0), Keep { rollups: bytes(all / 2), ..Keep::default() }).await.unwrap();
        assert!(removed.blocks > 0 && removed.chunks == 0, "{removed:?}");
        assert!(number(&dir, COUNTED_BLOCKS).await <= all / 2);
        assert_eq!(number(&dir, COUNTED_BLOCKS).await, number(&dir, SUMMED_BLOCKS).await);
        assert_eq!(number(&dir, COUNTED).await, samples);
        // All of what is left is over a day old by then.
        let old = Keep { rollups: Budget { days: Some(1), bytes: None }, ..Keep::default() };
        history.apply_retention(at(30 * 86_400), old).await.unwrap();
        assert_eq!(number(&dir, "SELECT count(*) FROM rollup").await, 0);
        assert_eq!(number(&dir, COUNTED).await, samples);
    });
}

#[test]
fn the_oldest_roll_ups_are_found_by_an_index() {
    run(async {
        let dir = folder();
        drop(filled(&dir).await);
        let path = dir.path().join(FILE_NAME);
        let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        let sql = "EXPLAIN QUERY PLAN SELECT id FROM rollup WHERE (slot + 1) * CASE level WHEN 0 THEN 1000
            WHEN 1 THEN 10000 WHEN 2 THEN 100000 WHEN 3 THEN 1000000 WHEN 4 THEN 10000000 WHEN 5 THEN 100000000
            ELSE 1000000000 END < 5 LIMIT 1";
        let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(sql).fetch_all(&mut connection).await.unwrap();
        assert!(plan.iter().any(|step| step.3.contains("rollup_end")), "{plan:?}");
    });
}

fn surprise(second: i64) -> Surprise {
    Surprise {
        line: sightglass_protocol::LineId(0),
        time: at(second),
        score: 0.5,
        settled: true,
        parts: Vec::new(),
        tags: Vec::new(),
        patches: Vec::new(),
        unknown_ground: Vec::new(),
    }
}

#[test]
fn room_is_made_by_what_can_best_be_done_without() {
    run(async {
        let dir = folder();
        let history = filled(&dir).await;
        for second in 0..300 {
            history.put_outputs(&[(None, surprise(second))]).await.unwrap();
        }
        std::fs::create_dir(dir.path().join("video")).unwrap();
        for index in 0..4_i64 {
            let path = format!("video/{index}.mkv");
            std::fs::write(dir.path().join(&path), [0; 100]).unwrap();
            let (start, end) = (at(index * 60), Some(at(index * 60 + 60)));
            let segment = Segment { camera: CameraId(0), path, start, end, frames: 1, bytes: 100 };
            history.put_segment(&segment).await.unwrap();
        }
        history.pin_segment("video/1.mkv", true).await.unwrap();
        history.put_event(at(0), "test", "stays").await.unwrap();
        let blocks = number(&dir, "SELECT count(*) FROM rollup").await;
        let exists = |index: i64| dir.path().join(format!("video/{index}.mkv")).exists();

        let removed = history.relieve(150).await.unwrap();
        assert_eq!((removed.segments, removed.video_bytes, removed.row_bytes), (2, 200, 0), "{removed:?}");
        assert!(!exists(0) && exists(1) && !exists(2) && exists(3), "the oldest that are not pinned");
        assert_eq!(history.relieve(200).await.unwrap().segments, 2, "the last one, then the pinned one");
        assert!(!exists(1) && !exists(3));

        let removed = history.relieve(1).await.unwrap();
        assert!(removed.outputs > 0 && removed.chunks == 0, "predictions before samples: {removed:?}");
        while history.relieve(u64::MAX / 2).await.unwrap() != Removed::default() {}
        assert_eq!(number(&dir, "SELECT count(*) FROM output").await, 0);
        assert_eq!(number(&dir, "SELECT count(*) FROM chunk").await, 0);
        assert_eq!(number(&dir, "SELECT count(*) FROM rollup").await, blocks, "roll-ups stay longest");
        assert_eq!(history.entries(at(0), at(0), 10).await.unwrap().len(), 1);
        assert_eq!(history.verify().await.unwrap(), []);
    });
}

#[test]
fn pages_that_are_not_used_any_more_go_back_to_the_file_system() {
    run(async {
        let dir = folder();
        let history = filled(&dir).await;
        let pages = number(&dir, "PRAGMA page_count").await;
        while history.relieve(u64::MAX / 2).await.unwrap() != Removed::default() {}
        let mut left = history.give_back(2).await.unwrap();
        assert!(left > 0, "in small steps");
        while left > 0 {
            let after = history.give_back(16).await.unwrap();
            assert!(after < left, "{after} of {left} are left");
            left = after;
        }
        let kept = number(&dir, "PRAGMA page_count").await;
        assert!(kept + 40 < pages, "{kept} of {pages} pages");
        history.close().await.unwrap();
        let length = std::fs::metadata(dir.path().join(FILE_NAME)).unwrap().len();
        assert!(length <= kept as u64 * 8192, "{length} bytes for {kept} pages");
    });
}
