use sightglass_history::{Budget, EntryClass, FILE_NAME, History, Keep};
use sightglass_protocol::{Advisory, AdvisoryChange, CameraId, LineId, Segment, UtcNanos, time::SECOND};
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};

use crate::{START, at, folder, open, records::advisory, run, sample};

const CAMERA: CameraId = CameraId(0);

fn segment(start: i64, end: Option<i64>) -> Segment {
    Segment {
        camera: CAMERA,
        path: format!("video/nozzle/{start}.mkv"),
        start: at(start),
        end: end.map(at),
        frames: if end.is_some() { 150 } else { 0 },
        bytes: if end.is_some() { 1000 } else { 0 },
    }
}

fn file(dir: &tempfile::TempDir, start: i64, bytes: &[u8]) {
    std::fs::create_dir_all(dir.path().join("video/nozzle")).unwrap();
    std::fs::write(dir.path().join(segment(start, None).path), bytes).unwrap();
}

/// Stores a whole segment of 1,000 bytes, as the engine does: once when it is opened, once when it is closed.
async fn record(dir: &tempfile::TempDir, history: &History, start: i64, end: i64) {
    file(dir, start, format!("pictures from {start:<986}").as_bytes());
    history.put_segment(&segment(start, None)).await.unwrap();
    history.put_segment(&segment(start, Some(end))).await.unwrap();
}

/// Starts of the segments that are pinned, in seconds; read as a SQLite tool would.
async fn pinned(dir: &tempfile::TempDir) -> Vec<i64> {
    let mut connection = SqliteConnectOptions::new().filename(dir.path().join(FILE_NAME)).connect().await.unwrap();
    let sql = "SELECT start_time FROM clip WHERE pinned ORDER BY start_time";
    let starts: Vec<i64> = sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap();
    starts.into_iter().map(|start| (start - START) / SECOND).collect()
}

#[test]
fn video_is_found_by_its_moment_and_its_gaps_are_known() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        for (start, end) in [(0, 60), (60, 120), (300, 360)] {
            record(&dir, &history, start, end).await;
        }
        file(&dir, 360, b"");
        history.put_segment(&segment(360, None)).await.unwrap();
        history.append(&[sample(0, START, 0.0), sample(0, at(400).0, 1.0)]).await.unwrap();
        assert_eq!(
            history.segments(CAMERA, at(30), at(70)).await.unwrap(),
            [segment(0, Some(60)), segment(60, Some(120))]
        );
        assert_eq!(history.segments(CAMERA, at(130), at(299)).await.unwrap(), []);
        assert_eq!(history.segment_at(CAMERA, at(59)).await.unwrap(), Some(segment(0, Some(60))));
        assert_eq!(history.segment_at(CAMERA, at(200)).await.unwrap(), None);
        assert_eq!(history.segment_at(CAMERA, at(-1)).await.unwrap(), None);
        assert_eq!(history.segment_at(CAMERA, at(380)).await.unwrap(), Some(segment(360, None)));
        let recorded = history.recorded(LineId(0)).await.unwrap();
        assert_eq!(recorded.range, Some((at(0), at(400))));
        assert_eq!(recorded.video, [(CAMERA, vec![(at(0), at(120)), (at(300), at(400))])]);
        let summary = history.summary().await.unwrap();
        assert_eq!((summary.segments, summary.frames, summary.video_bytes), (4, 450, 3000));
    });
}

#[test]
fn a_segment_cut_off_by_a_crash_ends_at_the_last_record_and_one_without_a_file_is_a_gap() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.put_segment(&segment(0, None)).await.unwrap();
        history.put_segment(&segment(100, None)).await.unwrap();
        history.append(&[sample(0, at(130).0, 0.0)]).await.unwrap();
        file(&dir, 100, &[0; 77]);
        drop(history);
        let history = open(&dir).await;
        let segments = history.segments(CAMERA, at(0), at(1000)).await.unwrap();
        assert_eq!(segments, [Segment { end: Some(at(130)), bytes: 77, ..segment(100, None) }]);
        assert_eq!(history.verify().await.unwrap(), []);
    });
}

#[test]
fn a_file_that_is_gone_is_a_gap_from_then_on() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        for start in 0..12 {
            record(&dir, &history, start * 10, start * 10 + 10).await;
        }
        std::fs::remove_file(dir.path().join("video/nozzle/50.mkv")).unwrap();
        assert_eq!(history.segment_at(CAMERA, at(55)).await.unwrap(), None);
        std::fs::remove_file(dir.path().join("video/nozzle/60.mkv")).unwrap();
        let recorded = history.recorded(LineId(0)).await.unwrap();
        assert_eq!(recorded.video, [(CAMERA, vec![(at(0), at(50)), (at(70), at(120))])]);
        assert_eq!(history.segments(CAMERA, at(45), at(75)).await.unwrap().len(), 2);
        assert_eq!(history.verify().await.unwrap(), []);
        // It was noted, so that a file that comes back under its name is no proof of anything.
        file(&dir, 50, b"something else");
        assert_eq!(history.segment_at(CAMERA, at(55)).await.unwrap(), None);
    });
}

#[test]
fn a_folder_that_is_away_is_a_gap_only_until_it_is_back() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        record(&dir, &history, 0, 10).await;
        let (here, away) = (dir.path().join("video"), dir.path().join("away"));
        std::fs::rename(&here, &away).unwrap();
        assert_eq!(history.segment_at(CAMERA, at(5)).await.unwrap(), None);
        assert_eq!(history.recorded(LineId(0)).await.unwrap().video, [(CAMERA, vec![])]);
        std::fs::rename(&away, &here).unwrap();
        assert_eq!(history.segment_at(CAMERA, at(5)).await.unwrap(), Some(segment(0, Some(10))));
    });
}

#[test]
fn the_checksum_of_a_closed_segment_is_that_of_its_file() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        record(&dir, &history, 0, 10).await;
        let mut connection = SqliteConnectOptions::new().filename(dir.path().join(FILE_NAME)).connect().await.unwrap();
        let stored: i64 = sqlx::query_scalar("SELECT crc FROM clip").fetch_one(&mut connection).await.unwrap();
        assert_eq!(stored, i64::from(crc32c::crc32c(format!("pictures from {:<986}", 0).as_bytes())));
        for column in ["start_time", "end_time", "frames", "bytes", "state", "pinned", "crc", "camera"] {
            let change = sqlx::AssertSqlSafe(format!("UPDATE clip SET {column} = {column} + 1"));
            sqlx::query("PRAGMA foreign_keys = OFF").execute(&mut connection).await.unwrap();
            sqlx::query(change).execute(&mut connection).await.unwrap();
            let problems = history.verify().await.unwrap();
            assert!(problems.iter().any(|problem| problem.place == "clip 1"), "{column}: {problems:?}");
            let back = sqlx::AssertSqlSafe(format!("UPDATE clip SET {column} = {column} - 1"));
            sqlx::query(back).execute(&mut connection).await.unwrap();
        }
        assert_eq!(history.verify().await.unwrap(), []);
    });
}

#[test]
fn the_clips_of_an_incident_are_pinned_whether_they_came_before_or_after_it() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        for start in 0..10 {
            record(&dir, &history, start * 10, start * 10 + 10).await;
        }
        // From 30 s before 75 on.
        let opened = advisory(1, 75);
        history.put_advisory(&AdvisoryChange::Opened(opened.clone())).await.unwrap();
        assert_eq!(pinned(&dir).await, [40, 50, 60, 70, 80, 90], "from 30 s before 75 on");
        for start in 10..20 {
            record(&dir, &history, start * 10, start * 10 + 10).await;
        }
        assert_eq!(pinned(&dir).await.last(), Some(&190), "while it is open");
        let closed = Advisory { closed: Some(at(200)), last_seen: at(199), ..opened };
        history.put_advisory(&AdvisoryChange::Closed(closed)).await.unwrap();
        for start in 20..30 {
            record(&dir, &history, start * 10, start * 10 + 10).await;
        }
        assert_eq!(pinned(&dir).await.last(), Some(&230), "until 30 s after its close");
        assert_eq!(history.verify().await.unwrap(), []);
        let removed = history
            .apply_retention(at(1_000_000), Keep { video: Budget { days: Some(1), bytes: None }, ..Keep::default() })
            .await
            .unwrap();
        assert_eq!(removed.segments, 30 - 20);
        assert_eq!(history.segment_at(CAMERA, at(75)).await.unwrap(), Some(segment(70, Some(80))));
    });
}

#[test]
fn an_advisory_that_nobody_closes_does_not_pin_for_ever() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.put_advisory(&AdvisoryChange::Opened(advisory(1, 100))).await.unwrap();
        let hours = |hours: i64| hours * 3600;
        for start in [hours(1), hours(3), hours(5)] {
            record(&dir, &history, start, start + 10).await;
        }
        assert_eq!(pinned(&dir).await, [hours(1), hours(3)]);
    });
}

#[test]
fn what_somebody_pins_stays_and_is_in_the_audit() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        for start in 0..5 {
            record(&dir, &history, start * 10, start * 10 + 10).await;
        }
        assert_eq!(history.pin(&[CAMERA], at(15), at(25), "meyer", at(100)).await.unwrap(), 2);
        assert_eq!(history.pin(&[CAMERA], at(15), at(25), "meyer", at(101)).await.unwrap(), 0);
        assert_eq!(pinned(&dir).await, [10, 20]);
        assert_eq!(history.unpin(&[CAMERA], at(11), at(12), "meyer", at(102)).await.unwrap(), 1);
        assert_eq!(pinned(&dir).await, [20]);
        let audit = history.entries(UtcNanos::MIN, UtcNanos::MAX, 10).await.unwrap();
        assert_eq!(audit.len(), 3);
        assert_eq!((audit[0].class, audit[0].subject.as_str()), (EntryClass::Audit, "meyer"));
        assert!(
            audit[0].text.contains("unpinned video of nozzle") && audit[0].text.contains("1 segments"),
            "{audit:?}"
        );
        assert_eq!(history.verify().await.unwrap(), []);
        let error = history.pin(&[CameraId(9)], at(0), at(1), "meyer", at(103)).await.unwrap_err();
        assert!(error.to_string().contains("camera"), "{error}");
        let error = history.pin(&[CAMERA], at(1), at(0), "meyer", at(103)).await.unwrap_err();
        assert!(error.to_string().contains("before it starts"), "{error}");
    });
}

#[test]
fn a_deletion_that_was_cut_off_is_no_damage_and_is_finished() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        for start in [0, 60, 120] {
            record(&dir, &history, start, start + 60).await;
        }
        history.close().await.unwrap();
        // As it is when the file was emptied and the engine then died, or the database could not be written.
        let file = dir.path().join(segment(0, None).path);
        std::fs::rename(&file, file.with_extension("mkv.deleted")).unwrap();
        std::fs::write(file.with_extension("mkv.deleted"), []).unwrap();
        let history = open(&dir).await;
        assert_eq!(history.verify().await.unwrap(), []);
        assert_eq!(history.finish_deletions().await.unwrap().segments, 1);
        assert_eq!(history.finish_deletions().await.unwrap().segments, 0);
        assert!(!file.with_extension("mkv.deleted").exists());
        assert_eq!(history.info().await.unwrap().kept_from["video"].0, at(60).0 + 1, "the gap is explained");
        let left = history.segments(CAMERA, at(0), at(1000)).await.unwrap();
        assert_eq!(left, [segment(60, Some(120)), segment(120, Some(180))]);
        assert_eq!(history.verify().await.unwrap(), []);
        std::fs::remove_file(dir.path().join(segment(60, None).path)).unwrap();
        let problems = history.verify().await.unwrap();
        assert!(problems.len() == 1 && problems[0].what.contains("missing"), "{problems:?}");
    });
}
