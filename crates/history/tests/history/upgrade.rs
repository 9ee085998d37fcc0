//! Files of earlier schemas, files that are not whole, and logs that are not there.

use std::{fs, io::Read, path::Path};

use flate2::read::GzDecoder;

use sightglass_history::{
    BackupOptions, FILE_NAME, History, HistoryError, MANIFEST_NAME, backup, repair, verify_folder,
};
use sightglass_protocol::{CameraId, LineId, TagId, UtcNanos};

use crate::{START, at, folder, open, plant, run, sample};

/// A file as the first released schema was, made by the program of that time.
fn schema_1() -> Vec<u8> {
    let mut file = Vec::new();
    GzDecoder::new(&include_bytes!("../files/schema-1.sqlite.gz")[..]).read_to_end(&mut file).unwrap();
    file
}

const COPY: &str = "history.sqlite.schema-1.backup";

fn lay(dir: &Path) {
    fs::write(dir.join(FILE_NAME), schema_1()).unwrap();
    fs::create_dir(dir.join("video")).unwrap();
    fs::write(dir.join("video/0.mkv"), [7; 100]).unwrap();
}

/// Byte by byte the file as it was, but for what SQLite counts in the header when a file is opened for writing.
fn assert_former(path: &Path) {
    let (copy, former) = (fs::read(path).unwrap(), schema_1());
    let differ: Vec<usize> = (0..copy.len().max(former.len())).filter(|&at| copy.get(at) != former.get(at)).collect();
    assert!(differ.iter().all(|at| (24..28).contains(at) || (92..100).contains(at)), "they differ at {differ:?}");
}

/// What the file has, through the door of today.
async fn assert_all_there(history: &History) {
    let summary = history.summary().await.unwrap();
    assert_eq!((summary.samples, summary.ticks, summary.segments, summary.advisories), (14_402, 8, 1, 1));
    let tenths = history.raw(TagId(0), UtcNanos::MIN, UtcNanos::MAX).await.unwrap();
    assert_eq!((tenths.len(), tenths[10_000].time, tenths[10_000].value), (12_000, at(1000), 100f64.sin()));
    for tag in 1..3u32 {
        let samples = history.raw(TagId(tag), UtcNanos::MIN, UtcNanos::MAX).await.unwrap();
        assert_eq!(samples.len(), 1200);
        assert_eq!((samples[7].time, samples[7].value), (at(7), 0.7f64.sin() + f64::from(tag)));
    }
    assert!(history.raw(TagId(3), at(6), at(6)).await.unwrap()[0].value.is_nan());
    assert_eq!(history.surprise_at(LineId(0), at(7)).await.unwrap().unwrap().score, 0.7);
    assert_eq!(history.health_at(at(20)).await.unwrap()[0].reason, "line 7: not a number");
    assert_eq!(history.segments(CameraId(0), at(0), at(60)).await.unwrap()[0].frames, 1500);
    let entries = history.entries(UtcNanos::MIN, UtcNanos::MAX, 9).await.unwrap();
    assert!(entries.iter().any(|entry| entry.text == "acknowledged advisory 1"), "{entries:?}");
}

#[test]
fn a_file_of_the_first_schema_is_brought_up_to_date_and_kept_as_it_was() {
    run(async {
        let dir = folder();
        lay(dir.path());
        assert_eq!(verify_folder(dir.path(), &mut |_| {}).await.unwrap(), [], "it is verified as it is");
        let history = open(&dir).await;
        assert_all_there(&history).await;
        assert_former(&dir.path().join(COPY));
        history.append(&[sample(0, START + 1_000_000, 1.0)]).await.unwrap();
        history.merge(UtcNanos::MAX).await.unwrap();
        history.close().await.unwrap();
        assert_eq!(verify_folder(dir.path(), &mut |_| {}).await.unwrap(), []);
        // The copy is a history, too.
        let former = folder();
        fs::copy(dir.path().join(COPY), former.path().join(FILE_NAME)).unwrap();
        fs::create_dir(former.path().join("video")).unwrap();
        fs::write(former.path().join("video/0.mkv"), [7; 100]).unwrap();
        assert_all_there(&open(&former).await).await;
    });
}

#[test]
fn a_file_of_the_first_schema_is_backed_up_and_repaired_as_any_other() {
    run(async {
        let (dir, to, out) = (folder(), folder(), folder());
        lay(dir.path());
        let options = BackupOptions { video: true };
        let done = backup(dir.path(), to.path(), options, at(0), &mut |_| {}).await.unwrap();
        assert_eq!((done.left_out.len(), done.manifest.samples, done.manifest.schema), (0, 14_402, 2));
        assert!(to.path().join(MANIFEST_NAME).exists());
        assert_all_there(&open(&to).await).await;
        let told = repair(dir.path(), out.path(), at(0), &mut |_| {}).await.unwrap();
        assert_eq!(told.lost, []);
        assert_all_there(&open(&out).await).await;
        assert!(fs::read(dir.path().join(FILE_NAME)).unwrap() == schema_1(), "it is only read");
    });
}

#[test]
fn a_change_of_schema_that_was_cut_off_is_done_again() {
    run(async {
        let dir = folder();
        lay(dir.path());
        // Of an earlier attempt: the copy half written.
        fs::write(dir.path().join(format!("{COPY}.partial")), &schema_1()[..5000]).unwrap();
        fs::write(dir.path().join(COPY), b"older").unwrap();
        assert_all_there(&open(&dir).await).await;
        assert_former(&dir.path().join(COPY));
        assert!(!dir.path().join(format!("{COPY}.partial")).exists());
    });
}

#[test]
fn a_file_that_was_copied_in_part_is_refused_and_left_as_it_is() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        for second in 0..50 {
            history
                .append(&(0..100).map(|i| sample(0, at(second).0 + i, i as f64 * 0.3)).collect::<Vec<_>>())
                .await
                .unwrap();
        }
        history.close().await.unwrap();
        let whole = fs::read(dir.path().join(FILE_NAME)).unwrap();
        for length in [whole.len() - 1, whole.len() - 8192, whole.len() / 2, 8192, 150, 60] {
            fs::write(dir.path().join(FILE_NAME), &whole[..length]).unwrap();
            for error in [
                History::open(dir.path(), &plant()).await.unwrap_err(),
                History::open_read_only(dir.path()).await.unwrap_err(),
            ] {
                assert!(matches!(error, HistoryError::CutOff { .. }), "{length}: {error:?}");
                let text = error.to_string();
                assert!(text.contains(&format!("{length} bytes")) && text.contains("repair"), "{text}");
            }
            let problems = verify_folder(dir.path(), &mut |_| {}).await.unwrap();
            assert!(!problems.is_empty(), "{length} bytes");
            assert_eq!(fs::read(dir.path().join(FILE_NAME)).unwrap().len(), length, "left as it is");
        }
    });
}

/// The folder as a killed engine leaves it.
async fn killed(second: i64) -> tempfile::TempDir {
    let (dir, left) = (folder(), folder());
    let history = open(&dir).await;
    history.put_event(at(0), "engine", "started").await.unwrap();
    history.close().await.unwrap();
    let history = open(&dir).await;
    history.append(&[sample(0, at(second).0, 5.0)]).await.unwrap();
    history.put_event(at(second), "engine", "the last one").await.unwrap();
    for name in [FILE_NAME, "history.sqlite-wal"] {
        fs::copy(dir.path().join(name), left.path().join(name)).unwrap();
    }
    left
}

async fn last_event(dir: &Path) -> String {
    let history = History::open(dir, &plant()).await.unwrap();
    assert!(history.is_recovered());
    let last = history.entries(UtcNanos::MIN, UtcNanos::MAX, 100).await.unwrap();
    history.close().await.unwrap();
    let newest = last.iter().max_by_key(|entry| entry.seq).unwrap();
    newest.text.clone()
}

#[test]
fn a_log_that_is_missing_or_damaged_after_an_unclean_end_is_noted_and_recording_goes_on() {
    run(async {
        let dir = killed(10).await;
        assert_eq!(verify_folder(dir.path(), &mut |_| {}).await.unwrap(), []);
        assert_eq!(last_event(dir.path()).await, "the last one", "nothing is missing");
        let dir = killed(10).await;
        fs::remove_file(dir.path().join("history.sqlite-wal")).unwrap();
        let problems = verify_folder(dir.path(), &mut |_| {}).await.unwrap();
        assert!(problems.len() == 1 && problems[0].place.contains("-wal"), "{problems:?}");
        let text = last_event(dir.path()).await;
        assert!(text.contains("write-ahead log is missing") && text.contains("last moments"), "{text}");
        let again = open(&dir).await;
        assert_eq!(again.entries(UtcNanos::MIN, UtcNanos::MAX, 100).await.unwrap().len(), 2, "it is noted once");
        drop(again);
        let dir = killed(10).await;
        let mut log = fs::read(dir.path().join("history.sqlite-wal")).unwrap();
        log[32 + 24 + 100] ^= 1;
        fs::write(dir.path().join("history.sqlite-wal"), &log).unwrap();
        let text = last_event(dir.path()).await;
        assert!(text.contains("frame 1 is damaged"), "{text}");
    });
}

#[test]
fn a_damaged_log_is_found_before_sqlite_forgets_what_is_behind_the_damage() {
    run(async {
        let whole = killed(10).await;
        let log = fs::read(whole.path().join("history.sqlite-wal")).unwrap();
        let frames = (log.len() - 32) / (8192 + 24);
        assert!(frames >= 3);
        for frame in 0..frames {
            for place in [2, 6, 9, 17, 24 + 4000] {
                let dir = folder();
                fs::copy(whole.path().join(FILE_NAME), dir.path().join(FILE_NAME)).unwrap();
                let mut damaged = log.clone();
                damaged[32 + frame * (8192 + 24) + place] ^= 0x10;
                fs::write(dir.path().join("history.sqlite-wal"), &damaged).unwrap();
                let problems = verify_folder(dir.path(), &mut |_| {}).await.unwrap();
                let found = problems.iter().find(|problem| problem.place.ends_with("-wal"));
                let found = found.unwrap_or_else(|| panic!("frame {frame}, byte {place}: {problems:?}"));
                assert!(found.what.contains(&format!("frame {}", frame + 1)), "{found}");
            }
        }
    });
}
