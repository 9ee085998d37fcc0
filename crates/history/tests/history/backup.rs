use std::{
    fs,
    path::{Path, PathBuf},
    pin::pin,
    process::{Command, Stdio},
    task::Poll,
};

use sightglass_history::{
    BackedUp, BackupOptions, FILE_NAME, History, HistoryError, MANIFEST_NAME, Summary, backup, restore, verify_folder,
};
use sightglass_protocol::{CameraId, Segment, TagId, UtcNanos, time::SECOND};
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};

use crate::{START, at, bits, folder, open, run, sample};

const ALL: BackupOptions = BackupOptions { video: true };

async fn record(history: &History, from: i64, to: i64) {
    for second in from..to {
        let samples: Vec<_> = (0..100)
            .map(|index| sample(index as u32 % 4, START + second * SECOND + index, (second * index) as f64 * 0.37))
            .collect();
        history.append(&samples).await.unwrap();
        history.put_event(at(second), "engine", &format!("second {second}")).await.unwrap();
    }
}

async fn film(history: &History, number: i64) {
    let path = format!("video/Filling/{number}.mkv");
    let file = history.dir().join(&path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, vec![number as u8; 4000]).unwrap();
    let (start, end) = (at(number * 10), Some(at(number * 10 + 10)));
    history.put_segment(&Segment { camera: CameraId(0), path, start, end, frames: 150, bytes: 4000 }).await.unwrap();
}

async fn back_up(dir: &Path, to: &Path) -> BackedUp {
    let done = backup(dir, to, ALL, at(90_000), &mut |_| {}).await.unwrap();
    assert_eq!(done.left_out, []);
    assert_eq!(verify_folder(to, &mut |_| {}).await.unwrap(), [], "a backup is whole");
    done
}

/// What both hold is the same, bit by bit.
async fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (History::open_read_only(a).await.unwrap(), History::open_read_only(b).await.unwrap());
    assert_eq!(a.plant(), b.plant());
    let comparable = |summary: Summary| Summary { bytes: 0, ..summary };
    assert_eq!(comparable(a.summary().await.unwrap()), comparable(b.summary().await.unwrap()));
    for tag in 0..4 {
        let of = async |history: &History| history.raw(TagId(tag), UtcNanos::MIN, UtcNanos::MAX).await.unwrap();
        let (a, b) = (of(&a).await, of(&b).await);
        assert!(a.iter().map(bits).eq(b.iter().map(bits)), "tag {tag}: {} and {} samples", a.len(), b.len());
    }
    let entries = async |history: &History| history.entries(UtcNanos::MIN, UtcNanos::MAX, u32::MAX).await.unwrap();
    assert_eq!(entries(&a).await, entries(&b).await);
    let segments = async |history: &History| history.segments(CameraId(0), at(0), at(10_000)).await.unwrap();
    assert_eq!(segments(&a).await, segments(&b).await);
}

#[test]
fn a_backup_of_a_running_engine_is_one_moment_of_it() {
    run(async {
        let (dir, to) = (folder(), folder());
        let history = open(&dir).await;
        record(&history, 0, 60).await;
        history.merge(at(50)).await.unwrap();
        film(&history, 0).await;
        // The engine goes on while the backup runs: each is asked for more in turn.
        let mut writing = pin!(async {
            for second in 60..10_000 {
                record(&history, second, second + 1).await;
                history.merge(at(second - 30)).await.unwrap();
            }
        });
        let done = {
            let mut quiet = |_| {};
            let mut copying = pin!(backup(dir.path(), to.path(), ALL, at(90_000), &mut quiet));
            std::future::poll_fn(|context| {
                assert!(writing.as_mut().poll(context).is_pending(), "the engine stopped by itself");
                copying.as_mut().poll(context)
            })
            .await
        };
        let done = done.unwrap();
        assert_eq!((done.left_out.len(), done.segments), (0, 1));
        assert_eq!(verify_folder(to.path(), &mut |_| {}).await.unwrap(), []);
        let copy = History::open_read_only(to.path()).await.unwrap();
        let entries = copy.entries(UtcNanos::MIN, UtcNanos::MAX, u32::MAX).await.unwrap();
        let samples = copy.summary().await.unwrap().samples as usize;
        assert!(entries.len() >= 60 && (samples == entries.len() * 100 || samples == (entries.len() + 1) * 100));
        let manifest: serde_json::Value =
            serde_json::from_slice(&fs::read(to.path().join(MANIFEST_NAME)).unwrap()).unwrap();
        assert_eq!(manifest["samples"], samples);
        assert_eq!(manifest["journal_seq"], entries[0].seq);
        assert_eq!(manifest["made"], at(90_000).0);
    });
}

#[test]
fn a_later_backup_copies_what_is_new_and_forgets_what_is_gone() {
    run(async {
        let (dir, to) = (folder(), folder());
        let history = open(&dir).await;
        record(&history, 0, 100).await;
        for number in 0..3 {
            film(&history, number).await;
        }
        history.close().await.unwrap();
        let first = back_up(dir.path(), to.path()).await;
        assert_eq!((first.segments, first.manifest.samples), (3, 10_000));
        assert_same(dir.path(), to.path()).await;
        let again = back_up(dir.path(), to.path()).await;
        assert_eq!((again.rows, again.rows_removed, again.segments), (0, 0, 0), "nothing is new");
        let history = open(&dir).await;
        record(&history, 100, 130).await;
        film(&history, 3).await;
        history.merge(at(120)).await.unwrap();
        history.close().await.unwrap();
        let mut direct = SqliteConnectOptions::new().filename(dir.path().join(FILE_NAME)).connect().await.unwrap();
        sqlx::query("DELETE FROM clip WHERE path LIKE '%/0.mkv'").execute(&mut direct).await.unwrap();
        direct.close().await.unwrap();
        fs::remove_file(dir.path().join("video/Filling/0.mkv")).unwrap();
        let third = back_up(dir.path(), to.path()).await;
        assert_eq!((third.segments, third.manifest.samples), (1, 13_000));
        assert!(third.rows_removed >= 100, "batches were merged away: {third:?}");
        assert!(!to.path().join("video/Filling/0.mkv").exists());
        assert_same(dir.path(), to.path()).await;
    });
}

#[test]
fn a_backup_that_is_cut_off_anywhere_goes_on_and_never_looks_whole() {
    run(async {
        let (dir, to) = (folder(), folder());
        let history = open(&dir).await;
        record(&history, 0, 300).await;
        for number in 0..4 {
            film(&history, number).await;
        }
        history.close().await.unwrap();
        // Polled so often, then dropped wherever it is.
        let (mut polls, mut cuts) = (40, 0);
        let done = loop {
            let mut left = polls;
            let mut quiet = |_| {};
            let mut copying = pin!(backup(dir.path(), to.path(), ALL, at(90_000), &mut quiet));
            let done = std::future::poll_fn(|context| match copying.as_mut().poll(context) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending if left == 0 => Poll::Ready(None),
                Poll::Pending => {
                    left -= 1;
                    Poll::Pending
                }
            })
            .await;
            match done {
                Some(Ok(done)) => break done,
                // What was cut off is still letting go of the file that it copied.
                Some(Err(HistoryError::InUse { .. })) | None => {}
                Some(Err(error)) => panic!("after {cuts} cuts: {error}"),
            }
            if to.path().join(FILE_NAME).exists() {
                assert_eq!(verify_folder(to.path(), &mut |_| {}).await.unwrap(), []);
            } else {
                let error = restore(to.path(), &dir.path().join("new"), &mut |_| {}).await.unwrap_err();
                let text = error.to_string();
                assert!(text.contains("never finished") || text.contains("no history"), "{text}");
            }
            cuts += 1;
            polls += polls / 2;
        };
        assert!(cuts > 4, "{cuts} cuts");
        assert_eq!(done.left_out, []);
        assert_same(dir.path(), to.path()).await;
    });
}

#[test]
fn what_is_damaged_is_left_out_and_what_a_backup_has_of_it_stays() {
    run(async {
        let (dir, to) = (folder(), folder());
        let history = open(&dir).await;
        record(&history, 0, 50).await;
        film(&history, 0).await;
        history.close().await.unwrap();
        back_up(dir.path(), to.path()).await;
        let history = open(&dir).await;
        record(&history, 50, 60).await;
        history.close().await.unwrap();
        let mut direct = SqliteConnectOptions::new().filename(dir.path().join(FILE_NAME)).connect().await.unwrap();
        sqlx::query("UPDATE sample_batch SET crc = crc + 1 WHERE seq IN (7, 55)").execute(&mut direct).await.unwrap();
        direct.close().await.unwrap();
        fs::write(dir.path().join("video/Filling/0.mkv"), vec![1; 4000]).unwrap();
        let done = backup(dir.path(), to.path(), ALL, at(90_000), &mut |_| {}).await.unwrap();
        let places: Vec<&str> = done.left_out.iter().map(|problem| problem.place.as_str()).collect();
        assert_eq!(places, ["sample_batch 7", "sample_batch 55"], "the film is as it was in the backup");
        assert_eq!(done.manifest.samples, 5900, "of the 60 seconds only the second that no backup had is missing");
        assert_eq!(verify_folder(to.path(), &mut |_| {}).await.unwrap(), []);
        // A broken chain is not copied at all.
        let mut direct = SqliteConnectOptions::new().filename(dir.path().join(FILE_NAME)).connect().await.unwrap();
        sqlx::query("UPDATE journal SET text = 'x' WHERE seq = 60").execute(&mut direct).await.unwrap();
        direct.close().await.unwrap();
        let other = folder();
        let error = backup(dir.path(), other.path(), ALL, at(90_000), &mut |_| {}).await.unwrap_err();
        assert!(matches!(error, HistoryError::Damaged { .. }) && error.to_string().contains("repair"), "{error}");
        assert!(!other.path().join(FILE_NAME).exists());
    });
}

#[test]
fn a_backup_without_video_says_that_the_video_is_gone() {
    run(async {
        let (dir, to) = (folder(), folder());
        let history = open(&dir).await;
        record(&history, 0, 5).await;
        film(&history, 0).await;
        history.close().await.unwrap();
        let without = BackupOptions { video: false };
        let done = backup(dir.path(), to.path(), without, at(0), &mut |_| {}).await.unwrap();
        assert_eq!((done.segments, done.manifest.segments, done.left_out.len()), (0, 0, 0));
        assert_eq!(verify_folder(to.path(), &mut |_| {}).await.unwrap(), []);
        assert_eq!(back_up(dir.path(), to.path()).await.segments, 1, "it can be had later");
        assert_same(dir.path(), to.path()).await;
    });
}

#[test]
fn a_restored_backup_is_gone_on_with() {
    run(async {
        let (dir, to, data) = (folder(), folder(), folder());
        let history = open(&dir).await;
        record(&history, 0, 30).await;
        film(&history, 0).await;
        back_up(dir.path(), to.path()).await;
        history.close().await.unwrap();
        let restored = restore(to.path(), data.path(), &mut |_| {}).await.unwrap();
        assert_eq!((restored.segments, restored.video_bytes), (1, 4000));
        assert_same(dir.path(), data.path()).await;
        let error = restore(to.path(), data.path(), &mut |_| {}).await.unwrap_err();
        assert!(matches!(error, HistoryError::Occupied { .. }), "{error:?}");
        let history = open(&data).await;
        assert!(!history.is_recovered(), "the run that was copied while it went on ended with the copy");
        record(&history, 30, 40).await;
        assert_eq!(history.summary().await.unwrap().samples, 4000);
        history.close().await.unwrap();
        assert_eq!(verify_folder(data.path(), &mut |_| {}).await.unwrap(), []);
        // Nothing comes out of a backup that is not whole.
        fs::write(to.path().join("video/Filling/0.mkv"), vec![1; 4000]).unwrap();
        let other = folder();
        let error = restore(to.path(), other.path(), &mut |_| {}).await.unwrap_err();
        assert!(matches!(error, HistoryError::NotWhole { .. }), "{error:?}");
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);
    });
}

#[test]
fn a_backup_into_the_wrong_place_is_refused() {
    run(async {
        let (dir, other, to) = (folder(), folder(), folder());
        for (folder, second) in [(&dir, 0), (&other, 1)] {
            let history = open(folder).await;
            record(&history, second, 5).await;
            history.close().await.unwrap();
        }
        back_up(dir.path(), to.path()).await;
        let refused = async |from: &Path, to: PathBuf| backup(from, &to, ALL, at(0), &mut |_| {}).await.unwrap_err();
        let error = refused(other.path(), to.path().to_owned()).await;
        assert!(matches!(error, HistoryError::Occupied { .. }), "of another history: {error:?}");
        let error = refused(dir.path(), dir.path().to_owned()).await;
        assert!(error.to_string().contains("does not go into itself"), "{error}");
        let error = refused(&dir.path().join("nothing"), to.path().to_owned()).await;
        assert!(matches!(error, HistoryError::NotFound { .. }), "{error:?}");
        assert_same(dir.path(), to.path()).await;
    });
}

/// A small file system, as a stick is; unmounted when dropped.
struct Stick {
    folder: tempfile::TempDir,
}

impl Stick {
    /// `None` where this user may not mount anything.
    fn new(kib: u32) -> Option<Self> {
        let stick = Self { folder: folder() };
        stick.mount(&["-t", "tmpfs", "-o", &format!("size={kib}k"), "stick"]).then_some(stick)
    }

    fn grow(&self, kib: u32) {
        assert!(self.mount(&["-o", &format!("remount,size={kib}k")]));
    }

    fn mount(&self, options: &[&str]) -> bool {
        let mounted = Command::new("mount").args(options).arg(self.folder.path()).stderr(Stdio::null()).status();
        mounted.is_ok_and(|status| status.success())
    }
}

impl Drop for Stick {
    fn drop(&mut self) {
        // One that was never mounted is none.
        let _ = Command::new("umount").arg(self.folder.path()).stderr(Stdio::null()).status();
    }
}

#[test]
fn a_full_stick_is_said_so_and_the_rerun_goes_on() {
    let Some(stick) = Stick::new(1024) else {
        println!("skipped: only root may mount the small file system that this needs");
        return;
    };
    run(async {
        let dir = folder();
        let to = stick.folder.path().join("backup");
        let history = open(&dir).await;
        record(&history, 0, 300).await;
        for number in 0..300 {
            film(&history, number).await;
        }
        history.close().await.unwrap();
        let error = backup(dir.path(), &to, ALL, at(0), &mut |_| {}).await.unwrap_err();
        assert!(matches!(error, HistoryError::TargetFull { .. }), "{error:?}");
        assert!(error.to_string().contains("run the same command again"), "{error}");
        assert!(!to.join(FILE_NAME).exists());
        stick.grow(16 * 1024);
        let done = back_up(dir.path(), &to).await;
        assert!(done.segments < 300 || done.rows < 600, "it went on where it stopped: {done:?}");
        assert_same(dir.path(), &to).await;
    });
}
