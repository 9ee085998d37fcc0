//! The one path into the history: everything that came in, and what was found in it.
//!
//! The recorder never drops. It commits samples and outputs together at most [`COMMIT_AFTER`] after the first of them
//! came; advisories, health and segments at once. When the history cannot be written (a full disk, a folder that went
//! away), it keeps what it has, tries again, and lets its bounded queue hold the sources back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sightglass_history::{History, HistoryError, Keep};
use sightglass_plant::Retention;
use sightglass_protocol::{
    AdvisoryChange, Forecast, Health, HealthState, Sample, Segment, Surprise, UtcNanos, time::SECOND,
};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::card;
use crate::live::{Live, LiveCounters};

/// Samples are durable at most this long after they came (the promise is one second).
const COMMIT_AFTER: Duration = Duration::from_millis(250);
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
/// Batches are merged into chunks this often, by the data's own time.
const MERGE_EVERY_NS: i64 = 60 * SECOND;
/// Batches younger than this are left alone, since late samples may still join them.
const MERGE_BEHIND_NS: i64 = 30 * SECOND;
/// What is too old is deleted this often, by the data's own time.
const RETENTION_EVERY_NS: i64 = 3_600 * SECOND;
const GIB: f64 = (1_u64 << 30) as f64;
const SOURCE: &str = "history";

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
}

impl Write {
    async fn to(&self, history: &History) -> Result<(), HistoryError> {
        match self {
            Self::Samples(samples) => history.append(samples).await,
            Self::Outputs(outputs) => history.put_outputs(outputs).await,
            Self::Advisory(change) => history.put_advisory(change).await,
            Self::Health(health) => history.put_health(health).await,
            Self::Segment(segment) => history.put_segment(segment).await,
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
    let recorder = Recorder {
        history,
        live,
        keep: keep(retention),
        samples: Vec::new(),
        outputs: Vec::new(),
        newest: None,
        merged: None,
        cleaned: None,
        failing: false,
        stop,
        given_up: 0,
    };
    (RecorderHandle(sender), runtime.spawn(recorder.run(receiver)))
}

/// What the plant wants kept; a part of a day counts as a day.
fn keep(retention: Retention) -> Keep {
    Keep {
        samples_days: Some(retention.samples_days.ceil() as u32),
        video_days: Some(retention.video_days.ceil() as u32),
        video_bytes: Some((retention.video_gib * GIB) as u64),
    }
}

struct Recorder {
    history: History,
    live: Arc<Live>,
    keep: Keep,
    samples: Vec<Sample>,
    outputs: Vec<(Option<Forecast>, Surprise)>,
    /// The newest data time; merging and retention go by it.
    newest: Option<UtcNanos>,
    merged: Option<UtcNanos>,
    cleaned: Option<UtcNanos>,
    failing: bool,
    stop: Arc<AtomicBool>,
    given_up: u64,
}

impl Recorder {
    async fn run(mut self, mut receiver: mpsc::Receiver<Record>) -> u64 {
        let mut commit_at: Option<Instant> = None;
        loop {
            let record = match commit_at {
                Some(at) => match tokio::time::timeout_at(at, receiver.recv()).await {
                    Ok(record) => record,
                    Err(_elapsed) => {
                        self.commit().await;
                        commit_at = None;
                        continue;
                    }
                },
                None => receiver.recv().await,
            };
            let Some(record) = record else { break };
            self.take(record).await;
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
            self.persist(Write::Samples(samples)).await;
            LiveCounters::add(&self.live.counters.samples, count);
        }
        if !self.outputs.is_empty() {
            let outputs = std::mem::take(&mut self.outputs);
            self.persist(Write::Outputs(outputs)).await;
        }
        match self.history.bytes() {
            Ok(bytes) => self.live.counters.history_bytes.store(bytes, Ordering::Relaxed),
            Err(error) => tracing::warn!("the size of the history is not known: {error}"),
        }
        self.keep_house().await;
    }

    /// Merges and deletes when it is time. A failure here loses nothing and is tried again at the next turn.
    async fn keep_house(&mut self) {
        let Some(newest) = self.newest else { return };
        if newest.since(*self.merged.get_or_insert(newest)) >= MERGE_EVERY_NS {
            self.merged = Some(newest);
            if let Err(error) = self.history.merge(newest - MERGE_BEHIND_NS).await {
                tracing::warn!("merging the history is put off: {error}");
            }
        }
        if newest.since(*self.cleaned.get_or_insert(newest)) >= RETENTION_EVERY_NS {
            self.cleaned = Some(newest);
            // A source with a wrong clock must not make everything else look old.
            let now = newest.min(card::wall_clock());
            if let Err(error) = self.history.apply_retention(now, self.keep).await {
                tracing::warn!("deleting what is too old is put off: {error}");
            }
        }
    }

    /// Writes until it is written: recording resumes by itself when the disk is back. Who stops the engine meanwhile
    /// is not kept waiting for ever.
    async fn persist(&mut self, write: Write) {
        let mut tries_since_stop = 0;
        loop {
            match write.to(&self.history).await {
                Ok(()) => {
                    if self.failing {
                        self.failing = false;
                        tracing::info!("the history can be written again");
                        self.say(HealthState::Good, "can be written again".to_owned());
                    }
                    return;
                }
                Err(error) => {
                    if !self.failing {
                        self.failing = true;
                        tracing::error!("the history cannot be written, holding the sources back: {error}");
                        self.say(
                            HealthState::Failure,
                            format!("cannot be written: {error}. Free the disk or restore the folder; recording resumes by itself"),
                        );
                    }
                    if self.stop.load(Ordering::Relaxed) {
                        tries_since_stop += 1;
                        if self.given_up > 0 || tries_since_stop >= STOP_TRIES {
                            self.given_up += 1;
                            return;
                        }
                    }
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    fn say(&self, state: HealthState, reason: String) {
        let since = self.newest.unwrap_or(UtcNanos(0));
        self.live.set_health(&Health { subject: None, source: SOURCE.to_owned(), state, since, reason });
    }
}
