//! Watches the room on the data folder's disk: says in good time when it gets scarce, and makes room so that recording
//! goes on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sightglass_history::{History, HistoryError, Removed};
use sightglass_protocol::{HealthState, UtcNanos};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::disk::Room;
use crate::housekeeping::{Progress, give_back};
use crate::storage_health::{StorageHealth, health};

/// From this share of free bytes on, somebody has to see to it.
const LOW_SHARE: f64 = 0.15;
/// Below this share, what can best be done without is deleted.
const SCARCE_SHARE: f64 = 0.05;
/// So much more has to be free before a state is left again, so that it does not come and go.
const MARGIN_SHARE: f64 = 0.01;
/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Steps of deleting at one look; the next look goes on.
const RELIEF_STEPS_MAX: u32 = 8;

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Enough,
    Low,
    Scarce,
}

impl Level {
    fn next(self, share: f64) -> Self {
        let margin = |level| if self >= level { MARGIN_SHARE } else { 0.0 };
        if share < SCARCE_SHARE + margin(Self::Scarce) {
            Self::Scarce
        } else if share < LOW_SHARE + margin(Self::Low) {
            Self::Low
        } else {
            Self::Enough
        }
    }
}

/// Tells the room of the disk; a test tells what it likes.
pub(crate) type Look = Box<dyn FnMut() -> io::Result<Room> + Send>;

pub(crate) struct DiskWatch {
    history: History,
    health: Arc<StorageHealth>,
    look: Look,
    level: Level,
    /// What was shown last.
    shown: Level,
    /// What was recorded last: a change is written until it is.
    recorded: Level,
    /// Whether it was said that something could not be recorded or deleted.
    is_troubled: bool,
    /// Deleted since the room became scarce, and not told yet.
    removed: Removed,
}

impl DiskWatch {
    pub(crate) fn new(history: History, health: Arc<StorageHealth>, look: Look) -> Self {
        let enough = Level::Enough;
        Self {
            history,
            health,
            look,
            level: enough,
            shown: enough,
            recorded: enough,
            is_troubled: false,
            removed: Removed::default(),
        }
    }

    /// Looks until nobody records any more.
    pub(crate) async fn run(mut self, mut progress: watch::Receiver<Progress>) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    let newest = progress.borrow().newest;
                    if let Some(newest) = newest {
                        let done = self.look(newest).await;
                        if let Err(error) = &done && !self.is_troubled {
                            tracing::warn!("room on the disk could not be made or told; it is tried again: {error}");
                        }
                        self.is_troubled = done.is_err();
                    }
                }
                changed = progress.changed() => if changed.is_err() { break },
            }
        }
    }

    /// Looks once, and does what has to be done. `now` is the data's time.
    async fn look(&mut self, now: UtcNanos) -> Result<(), HistoryError> {
        let room = match (self.look)() {
            Ok(room) => room,
            Err(error) => {
                // The recorder notices a folder that is away, and says so.
                tracing::debug!("the room on the disk is not known: {error}");
                return Ok(());
            }
        };
        // On a disk that is full already, only room made first lets it be recorded.
        let told = self.take(room, now).await;
        if self.level == Level::Scarce {
            self.make_room(room, now).await?;
        } else {
            told?;
        }
        if self.level != Level::Scarce {
            // What was deleted while not even that could be written down.
            self.removed.add(&self.history.finish_deletions().await?);
            self.tell_removed(now).await?;
        }
        Ok(())
    }

    /// Takes over how much room there is; a change is shown at once and recorded once.
    async fn take(&mut self, room: Room, now: UtcNanos) -> Result<(), HistoryError> {
        let percent = 100.0 * room.share();
        let gib = room.free as f64 / (1_u64 << 30) as f64;
        let free = format!("{percent:.1} % ({gib:.1} GiB) of the disk of {} is free", self.history.dir().display());
        self.level = self.level.next(room.share());
        let (state, reason) = match self.level {
            Level::Enough => (HealthState::Good, free),
            Level::Low => (
                HealthState::MaintenanceRequired,
                format!("only {free}; free some or lower the retention in plant.toml: below 5 % video is deleted"),
            ),
            Level::Scarce => (
                HealthState::OutOfSpecification,
                format!("only {free}; the oldest video is deleted first, samples last, and recording goes on"),
            ),
        };
        let health = health(state, now, reason);
        if self.level != self.shown {
            self.shown = self.level;
            match self.level {
                Level::Enough => tracing::info!("{}", health.reason),
                _ => tracing::warn!("{}", health.reason),
            }
            self.health.room(health.clone());
        }
        if self.level != self.recorded {
            self.history.put_health(&health).await?;
            self.recorded = self.level;
        }
        Ok(())
    }

    /// Deletes until there is room or nothing is left that may go.
    async fn make_room(&mut self, mut room: Room, now: UtcNanos) -> Result<(), HistoryError> {
        for _ in 0..RELIEF_STEPS_MAX {
            let lacks = room.lacks(SCARCE_SHARE + MARGIN_SHARE);
            if lacks == 0 {
                break;
            }
            let removed = self.history.relieve(lacks).await?;
            if removed.is_nothing() {
                return self.tell_removed(now).await;
            }
            self.removed.add(&removed);
            if removed.row_bytes > 0 {
                give_back(&self.history).await?;
            }
            match (self.look)() {
                Ok(after) => room = after,
                Err(_away) => break,
            }
        }
        self.take(room, now).await
    }

    /// Records what was deleted to make room.
    async fn tell_removed(&mut self, now: UtcNanos) -> Result<(), HistoryError> {
        if self.removed.is_nothing() {
            return Ok(());
        }
        let Removed { chunks, outputs, segments, video_bytes, .. } = self.removed;
        let text = format!(
            "deleted to make room on the disk: {segments} segments of video ({:.1} MiB), {outputs} rows of predictions, \
             {chunks} chunks of samples",
            video_bytes as f64 / (1_u64 << 20) as f64
        );
        tracing::warn!("{text}");
        self.history.put_event(now, "disk", &text).await?;
        self.removed = Removed::default();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Mutex;

    use sightglass_protocol::{CameraId, CameraInfo, LineId, LineInfo, PlantInfo, Segment, time::SECOND};

    use super::*;
    use crate::live::Live;

    /// Bytes of the disk in these tests.
    const TOTAL: u64 = 1_000;

    fn plant() -> PlantInfo {
        let line = LineInfo {
            id: LineId(0),
            name: "line".to_owned(),
            tick_ns: SECOND,
            tags: Vec::new(),
            cameras: vec![CameraId(0)],
        };
        let camera = CameraInfo { id: CameraId(0), line: LineId(0), name: "camera".to_owned(), roi: None, fps: 15.0 };
        PlantInfo { name: "plant".to_owned(), lines: vec![line], tags: Vec::new(), cameras: vec![camera] }
    }

    fn at(second: i64) -> UtcNanos {
        UtcNanos(second * SECOND)
    }

    /// A disk that has the video in a folder and what another program wrote.
    struct SmallDisk {
        folder: tempfile::TempDir,
        others: Arc<Mutex<u64>>,
        live: Arc<Live>,
        history: History,
        watch: DiskWatch,
    }

    impl SmallDisk {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let video = folder.path().join("video");
            std::fs::create_dir(&video).unwrap();
            let history = History::open(folder.path(), &plant()).await.unwrap();
            let live = Live::new(&plant());
            let others = Arc::new(Mutex::new(0));
            let seen = Arc::clone(&others);
            let look = move || {
                let used = bytes(&video)? + *seen.lock().unwrap();
                Ok(Room { free: TOTAL - used, total: TOTAL })
            };
            let health = StorageHealth::new(Arc::clone(&live));
            let watch = DiskWatch::new(history.clone(), health, Box::new(look));
            Self { folder, others, live, history, watch }
        }

        /// Another program leaves so much free, and the watch looks.
        async fn look_with(&mut self, free: u64, second: i64) {
            let video = bytes(&self.folder.path().join("video")).unwrap();
            *self.others.lock().unwrap() = TOTAL - free - video;
            self.watch.look(at(second)).await.unwrap();
        }

        async fn record(&self, index: i64, pinned: bool) {
            let path = format!("video/{index}.mkv");
            std::fs::write(self.folder.path().join(&path), [0; 40]).unwrap();
            let (start, end) = (at(index * 10), Some(at(index * 10 + 10)));
            let segment = Segment { camera: CameraId(0), path: path.clone(), start, end, frames: 1, bytes: 40 };
            self.history.put_segment(&segment).await.unwrap();
            self.history.pin_segment(&path, pinned).await.unwrap();
        }

        async fn told(&self, subject: &str) -> Vec<String> {
            let mut entries = self.history.entries(UtcNanos::MIN, UtcNanos::MAX, 100).await.unwrap();
            entries.reverse();
            entries.into_iter().filter(|entry| entry.subject == subject).map(|entry| entry.text).collect()
        }

        fn state(&self) -> HealthState {
            self.live.unhealthy().first().map_or(HealthState::Good, |health| health.state)
        }

        fn has(&self, index: i64) -> bool {
            self.folder.path().join(format!("video/{index}.mkv")).exists()
        }
    }

    fn bytes(folder: &Path) -> io::Result<u64> {
        std::fs::read_dir(folder)?.map(|file| Ok(file?.metadata()?.len())).sum()
    }

    #[tokio::test]
    async fn room_that_gets_scarce_is_told_once_and_the_alarm_clears_by_itself() {
        let mut disk = SmallDisk::new().await;
        disk.look_with(500, 1).await;
        disk.look_with(151, 2).await;
        assert_eq!((disk.state(), disk.told("health").await.len()), (HealthState::Good, 0));
        disk.look_with(149, 3).await;
        disk.look_with(120, 4).await;
        disk.look_with(149, 5).await;
        assert_eq!(disk.state(), HealthState::MaintenanceRequired);
        let told = disk.told("health").await;
        assert!(told.len() == 1 && told[0].contains("maintenance required") && told[0].contains("14.9 %"), "{told:?}");
        disk.look_with(155, 6).await;
        assert_eq!(disk.state(), HealthState::MaintenanceRequired, "it does not come and go at the limit");
        disk.look_with(165, 7).await;
        disk.look_with(165, 8).await;
        assert_eq!((disk.state(), disk.told("health").await.len()), (HealthState::Good, 2));
    }

    #[tokio::test]
    async fn video_makes_room_oldest_first_and_pinned_last_until_there_is_enough() {
        let mut disk = SmallDisk::new().await;
        for index in 0..6 {
            disk.record(index, index == 0).await;
        }
        disk.look_with(49, 100).await;
        assert_eq!(disk.state(), HealthState::MaintenanceRequired, "89 of 1000 are free");
        assert!(disk.has(0) && !disk.has(1) && disk.has(2), "the oldest one that is not pinned");
        assert_eq!(disk.told("disk").await.len(), 1);
        disk.look_with(1, 110).await;
        assert!(disk.has(0) && !disk.has(3) && disk.has(4));
        // More than all video that is not pinned.
        disk.look_with(0, 120).await;
        disk.look_with(0, 130).await;
        assert!((0..6).all(|index| !disk.has(index)), "pinned video goes before nothing can be recorded");
        let told = disk.told("disk").await;
        assert!(told.iter().all(|text| text.contains("segments of video")), "{told:?}");
        disk.look_with(10, 140).await;
        disk.look_with(10, 150).await;
        assert_eq!(disk.state(), HealthState::OutOfSpecification, "nothing is left to delete");
        let before = disk.told("health").await.len();
        disk.look_with(10, 160).await;
        assert_eq!(disk.told("health").await.len(), before, "and that is not told again and again");
        disk.look_with(900, 170).await;
        assert_eq!(disk.state(), HealthState::Good);
    }
}
