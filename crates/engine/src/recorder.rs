//! The one path into the history: everything that came in, and what was found in it.
//!
//! The recorder never drops. It commits samples and outputs together at most [`COMMIT_AFTER`] after the first of them
//! came; advisories, health and segments at once. When the history cannot be written (a full disk, a folder that went
//! away), it keeps what it has, tries again, and lets its bounded queue hold the sources back; once it is over, it writes
//! down from when to when and why. Merging, budgets and the room on the disk are seen to beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sightglass_history::{History, HistoryError, Outage, OutageKind};
use sightglass_plant::Retention;
use sightglass_protocol::{AdvisoryChange, Forecast, Health, Sample, Segment, Surprise, UtcNanos};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::disk::Room;
use crate::disk_watch::DiskWatch;
use crate::housekeeping::{self, Housekeeping, Progress};
use crate::live::{Live, LiveCounters};
use crate::storage_health::StorageHealth;

/// Samples are durable at most this long after they came (the promise is one second).
const COMMIT_AFTER: Duration = Duration::from_millis(250);
/// What was committed is synced at most this long after, should no later commit have done so: together with the above,
/// a power cut takes less than the last second.
const SYNC_AFTER: Duration = Duration::from_millis(250);
/// A commit is made at once when this many samples wait.
const COMMIT_SAMPLES: usize = 65_536;
/// A commit is made at once when this many ticks' outputs wait.
const COMMIT_OUTPUTS: usize = 256;
/// Messages that may wait for the recorder before the sources are held back.
const QUEUE: usize = 1_024;
/// How long to wait before a failed write is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often a write is tried once the engine is asked to stop; after the first that fails so often, the rest is tried
/// once.
const STOP_TRIES: u32 = 5;

/// What can be recorded.
pub(crate) enum Record {
    Samples(Vec<Sample>),
    Output(Option<Forecast>, Surprise),
    Advisory(AdvisoryChange),
    Health(Health),
    Segment(Segment),
}

/// One write, which can be tried again.
enum Write {
    Samples(Vec<Sample>),
    Outputs(Vec<(Option<Forecast>, Surprise)>),
    Advisory(AdvisoryChange),
    Health(Health),
    Segment(Segment),
    Outage(Outage),
    Sync,
}

impl Write {
    async fn to(&self, history: &History) -> Result<(), HistoryError> {
        match self {
            Self::Samples(samples) => history.append(samples).await,
            Self::Outputs(outputs) => history.put_outputs(outputs).await,
            Self::Advisory(change) => history.put_advisory(change).await,
            Self::Health(health) => history.put_health(health).await,
            Self::Segment(segment) => history.put_segment(segment).await,
            Self::Outage(outage) => history.put_outage(outage).await.map(|_id| ()),
            Self::Sync => history.sync().await,
        }
    }
}

/// A hand on the recorder; it ends when all hands are gone.
#[derive(Clone)]
pub(crate) struct RecorderHandle(mpsc::Sender<Record>);

impl RecorderHandle {
    /// Hands over; waits while the queue is full. False when the recorder has ended, which is only after a panic.
    pub(crate) fn put(&self, record: Record) -> bool {
        self.0.blocking_send(record).is_ok()
    }
}

/// Starts the recorder on `runtime`. Its task ends when the last handle is dropped, with everything written, and gives
/// how many writes were given up: none, unless `stop` was set while the history could not be written.
pub(crate) fn start(
    runtime: &Handle,
    history: History,
    live: Arc<Live>,
    retention: Retention,
    stop: Arc<AtomicBool>,
) -> (RecorderHandle, JoinHandle<u64>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (progress, seen) = watch::channel(Progress::default());
    let health = StorageHealth::new(Arc::clone(&live));
    let folder = history.dir().to_owned();
    let disk = DiskWatch::new(history.clone(), Arc::clone(&health), Box::new(move || Room::of(&folder)));
    let housekeeping = Housekeeping::new(history.clone(), housekeeping::keep(retention));
    let beside = [runtime.spawn(disk.run(seen.clone())), runtime.spawn(housekeeping.run(seen))];
    let recorder = Recorder {
        history,
        live,
        health,
        progress,
        samples: Vec::new(),
        outputs: Vec::new(),
        newest: None,
        recorded: None,
        sync_at: None,
        outage: None,
        stop,
        given_up: 0,
    };
    (RecorderHandle(sender), runtime.spawn(recorder.run(receiver, beside)))
}

/// A stretch in which nothing could be written.
struct Broken {
    kind: OutageKind,
    from: UtcNanos,
    reason: String,
    /// Records that were taken since it could be written again; `None` while it cannot.
    taken_since: Option<usize>,
}

struct Recorder {
    history: History,
    live: Arc<Live>,
    health: Arc<StorageHealth>,
    /// Wakes what is done beside the recording.
    progress: watch::Sender<Progress>,
    samples: Vec<Sample>,
    outputs: Vec<(Option<Forecast>, Surprise)>,
    /// The newest data time that came.
    newest: Option<UtcNanos>,
    /// The newest data time that was committed.
    recorded: Option<UtcNanos>,
    /// When what was committed has to be synced.
    sync_at: Option<Instant>,
    /// Not yet told to the history.
    outage: Option<Broken>,
    stop: Arc<AtomicBool>,
    given_up: u64,
}

impl Recorder {
    async fn run(mut self, mut receiver: mpsc::Receiver<Record>, beside: [JoinHandle<()>; 2]) -> u64 {
        let mut commit_at: Option<Instant> = None;
        loop {
            let due = commit_at.into_iter().chain(self.sync_at).min();
            let record = match due {
                Some(at) => match tokio::time::timeout_at(at, receiver.recv()).await {
                    Ok(record) => record,
                    Err(_elapsed) if commit_at == due => {
                        self.commit().await;
                        commit_at = None;
                        continue;
                    }
                    Err(_elapsed) => {
                        self.sync_at = None;
                        self.persist(Write::Sync).await;
                        continue;
                    }
                },
                None => receiver.recv().await,
            };
            let Some(record) = record else { break };
            self.take(record).await;
            self.tell_outage(receiver.is_empty()).await;
            if self.samples.len() >= COMMIT_SAMPLES || self.outputs.len() >= COMMIT_OUTPUTS {
                self.commit().await;
            }
            let waiting = !self.samples.is_empty() || !self.outputs.is_empty();
            commit_at = match (waiting, commit_at) {
                (false, _) => None,
                (true, Some(at)) => Some(at),
                (true, None) => Some(Instant::now() + COMMIT_AFTER),
            };
        }
        self.commit().await;
        self.tell_outage(true).await;
        // What is under way beside is finished.
        drop(self.progress);
        for task in beside {
            if task.await.is_err() {
                tracing::error!("what is done beside the recording ended unexpectedly; nothing recorded is affected");
            }
        }
        self.given_up
    }

    async fn take(&mut self, record: Record) {
        match record {
            Record::Samples(mut samples) => {
                let newest = samples.iter().map(|sample| sample.time).max();
                self.newest = self.newest.max(newest);
                self.samples.append(&mut samples);
            }
            Record::Output(forecast, surprise) => {
                self.newest = self.newest.max(Some(surprise.time));
                self.outputs.push((forecast, surprise));
            }
            Record::Advisory(change) => self.persist(Write::Advisory(change)).await,
            Record::Health(health) => self.persist(Write::Health(health)).await,
            Record::Segment(segment) => self.persist(Write::Segment(segment)).await,
        }
    }

    async fn commit(&mut self) {
        if !self.samples.is_empty() {
            let samples = std::mem::take(&mut self.samples);
            let count = samples.len() as u64;
            let newest = samples.iter().map(|sample| sample.time).max();
            self.persist(Write::Samples(samples)).await;
            self.recorded = self.recorded.max(newest);
            self.sync_at.get_or_insert_with(|| Instant::now() + SYNC_AFTER);
            LiveCounters::add(&self.live.counters.samples, count);
            self.progress.send_modify(|progress| progress.newest = self.newest);
        }
        if !self.outputs.is_empty() {
            let outputs = std::mem::take(&mut self.outputs);
            self.persist(Write::Outputs(outputs)).await;
        }
        match self.history.bytes() {
            Ok(bytes) => self.live.counters.history_bytes.store(bytes, Ordering::Relaxed),
            // Told where it matters: when it cannot be written either.
            Err(error) => tracing::debug!("the size of the history is not known: {error}"),
        }
    }

    /// Writes until it is written: recording resumes by itself when the disk is back. Who stops the engine meanwhile
    /// is not kept waiting for ever.
    async fn persist(&mut self, write: Write) {
        let mut tries_since_stop = 0;
        loop {
            let done = match self.history.check_place() {
                Ok(()) => write.to(&self.history).await,
                Err(away) => Err(away),
            };
            let error = match done {
                Ok(()) => return self.resumed(),
                Err(error) => error,
            };
            self.broken(&error);
            if self.stop.load(Ordering::Relaxed) {
                tries_since_stop += 1;
                if self.given_up > 0 || tries_since_stop >= STOP_TRIES {
                    self.given_up += 1;
                    return;
                }
            }
            tokio::time::sleep(RETRY_AFTER).await;
            // A full disk keeps the file open and sound; of a folder that went away and came back, it is another one.
            if !matches!(error, HistoryError::DiskFull { .. })
                && let Err(error) = self.history.reopen().await
            {
                tracing::debug!("the history cannot be opened again yet: {error}");
            }
        }
    }

    /// Something could not be written.
    fn broken(&mut self, error: &HistoryError) {
        let from = self.recorded.or(self.newest).unwrap_or(UtcNanos(0));
        match &mut self.outage {
            Some(outage) if outage.taken_since.is_none() => return,
            // It came back before the last one was told: one stretch.
            Some(outage) => outage.taken_since = None,
            None => {
                let kind = match error {
                    HistoryError::DiskFull { .. } => OutageKind::DiskFull,
                    _ => OutageKind::FolderAway,
                };
                self.outage = Some(Broken { kind, from, reason: error.to_string(), taken_since: None });
            }
        }
        tracing::error!("the history cannot be written, holding the sources back: {error}");
        let reason =
            format!("cannot be written: {error}. Free the disk or restore the folder; recording resumes by itself");
        self.health.cannot_be_written(from, reason);
    }

    /// Something was written.
    fn resumed(&mut self) {
        if let Some(outage) = &mut self.outage
            && outage.taken_since.is_none()
        {
            outage.taken_since = Some(0);
            tracing::info!("the history can be written again");
            self.health.can_be_written(self.newest.unwrap_or(outage.from));
        }
    }

    /// Records an outage that is over, once what waited meanwhile is taken: only then is known from when on nothing is
    /// missing.
    async fn tell_outage(&mut self, is_queue_empty: bool) {
        let Some(Broken { taken_since: Some(taken), .. }) = &mut self.outage else { return };
        *taken += 1;
        if !is_queue_empty && *taken < QUEUE {
            return;
        }
        let Some(Broken { kind, from, reason, .. }) = self.outage.take() else { return };
        let to = self.newest.unwrap_or(from).max(from);
        self.persist(Write::Outage(Outage { kind, from, to: Some(to), reason })).await;
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::path::Path;

    use sightglass_protocol::{HealthState, Quality, TagId, TimeSource, time::SECOND};

    use super::*;
    use crate::one_tag::plant;

    /// Until something that must happen has happened.
    const WAIT_MAX: Duration = Duration::from_secs(60);

    fn samples(seconds: std::ops::Range<i64>) -> Record {
        let sample = |second: i64| Sample {
            tag: TagId(0),
            time: UtcNanos(second * SECOND),
            value: second as f64,
            quality: Quality::Good,
            time_source: TimeSource::Device,
        };
        Record::Samples(seconds.map(sample).collect())
    }

    fn until(what: &str, is_true: impl Fn() -> bool) {
        let deadline = std::time::Instant::now() + WAIT_MAX;
        while !is_true() {
            assert!(std::time::Instant::now() < deadline, "not within {WAIT_MAX:?}: {what}");
            std::thread::yield_now();
        }
    }

    /// Records, takes the folder away with `leave`, records on, brings it back with `come`, and records to the end.
    fn recorded_through(leave: impl Fn(&Path), come: impl Fn(&Path)) {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let history = runtime.block_on(History::open(&data, &plant())).unwrap();
        let live = Live::new(&plant());
        let retention = Retention {
            samples_days: 1.0,
            samples_gib: 1.0,
            rollups_days: 1.0,
            rollups_gib: 1.0,
            video_days: 1.0,
            video_gib: 1.0,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let (recorder, task) = start(runtime.handle(), history.clone(), Arc::clone(&live), retention, stop);
        let written = || live.counters.samples.load(Ordering::Relaxed);
        assert!(recorder.put(samples(0..10)));
        until("the first samples are written", || written() == 10);
        leave(&data);
        assert!(recorder.put(samples(10..20)));
        let is_failing = || live.unhealthy().iter().any(|health| health.state == HealthState::Failure);
        until("the failure is shown", is_failing);
        assert_eq!(written(), 10, "nothing counts as written that is not");
        come(&data);
        until("recording has resumed", || written() == 20);
        until("the failure is over", || !is_failing());
        assert!(recorder.put(samples(20..30)));
        drop(recorder);
        assert_eq!(runtime.block_on(task).unwrap(), 0);
        runtime.block_on(async {
            let rows = history.raw(TagId(0), UtcNanos::MIN, UtcNanos::MAX).await.unwrap();
            assert_eq!(rows.len(), 30);
            let outages = history.outages(UtcNanos::MIN, UtcNanos::MAX).await.unwrap();
            let [(_, outage)] = &outages[..] else { panic!("one outage: {outages:?}") };
            assert_eq!(outage.kind, OutageKind::FolderAway);
            assert_eq!((outage.from, outage.to), (UtcNanos(9 * SECOND), Some(UtcNanos(29 * SECOND))));
            assert_eq!(history.verify().await.unwrap(), []);
            history.close().await.unwrap();
        });
    }

    #[test]
    fn a_folder_that_was_away_for_a_while_costs_nothing_and_is_explained() {
        let aside = |data: &Path| data.with_file_name("aside");
        recorded_through(
            |data| std::fs::rename(data, aside(data)).unwrap(),
            |data| std::fs::rename(aside(data), data).unwrap(),
        );
    }

    #[test]
    fn a_folder_that_comes_back_with_other_files_is_opened_again() {
        let aside = |data: &Path| data.with_file_name("aside");
        recorded_through(
            |data| std::fs::rename(data, aside(data)).unwrap(),
            |data| {
                // As another mount of the same disk: the same content, other files.
                let coming = data.with_file_name("coming");
                std::fs::create_dir(&coming).unwrap();
                for file in std::fs::read_dir(aside(data)).unwrap() {
                    let file = file.unwrap();
                    std::fs::copy(file.path(), coming.join(file.file_name())).unwrap();
                }
                std::fs::rename(coming, data).unwrap();
            },
        );
    }
}
