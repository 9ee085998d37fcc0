//! The newest state of each line: what the window is shown of "now".

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sightglass_protocol::message::{Counters, LineState};
use sightglass_protocol::{Advisory, CameraId, Forecast, Frame, Health, LineId, PlantInfo, Surprise, UtcNanos};

use crate::judge::{Judge, Judged};

/// The most health entries kept a source; the oldest good ones go first.
const HEALTH_MAX: usize = 4_096;

/// One line, now.
#[derive(Clone, Debug)]
pub(crate) struct LiveLine {
    /// The newest judged tick.
    pub now: Option<UtcNanos>,
    /// The state, and the tick since which it holds.
    pub state: LineState,
    /// Since when.
    pub since: Option<UtcNanos>,
    /// What the model expects next.
    pub forecast: Option<Forecast>,
    /// How unexpected the newest tick was.
    pub surprise: Option<Surprise>,
    /// Open advisories, newest first.
    pub open: Vec<Advisory>,
}

/// Counters that several threads add to.
#[derive(Default)]
pub(crate) struct LiveCounters {
    pub samples: AtomicU64,
    pub ticks: AtomicU64,
    pub ticks_dropped: AtomicU64,
    pub frames: AtomicU64,
    pub history_bytes: AtomicU64,
}

impl LiveCounters {
    pub(crate) fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Counters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            samples: load(&self.samples),
            ticks: load(&self.ticks),
            ticks_dropped: load(&self.ticks_dropped),
            frames: load(&self.frames),
            history_bytes: load(&self.history_bytes),
        }
    }
}

/// All lines, now. Locks are held for copies only, never across a wait.
pub(crate) struct Live {
    lines: Vec<Mutex<LiveLine>>,
    pictures: Vec<Mutex<Option<Frame>>>,
    health: Mutex<Vec<Health>>,
    /// The earliest and the latest moment of anything that came in.
    span: Mutex<Option<(UtcNanos, UtcNanos)>>,
    pub counters: LiveCounters,
}

/// A panic in another thread cannot leave half a state behind, since every update is a whole assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    /// Nothing has come in yet.
    pub(crate) fn new(plant: &PlantInfo) -> Arc<Self> {
        let line = LiveLine {
            now: None,
            state: LineState::NoData,
            since: None,
            forecast: None,
            surprise: None,
            open: Vec::new(),
        };
        Arc::new(Self {
            lines: plant.lines.iter().map(|_| Mutex::new(line.clone())).collect(),
            pictures: plant.cameras.iter().map(|_| Mutex::new(None)).collect(),
            health: Mutex::new(Vec::new()),
            span: Mutex::new(None),
            counters: LiveCounters::default(),
        })
    }

    /// The line as it is now.
    pub(crate) fn line(&self, line: LineId) -> Option<LiveLine> {
        self.lines.get(line.index()).map(|line| lock(line).clone())
    }

    /// Notes the times of what came in.
    pub(crate) fn saw(&self, times: impl IntoIterator<Item = UtcNanos>) {
        let mut span = lock(&self.span);
        for time in times {
            let (first, last) = span.unwrap_or((time, time));
            *span = Some((first.min(time), last.max(time)));
        }
    }

    /// The earliest and the latest moment of anything that came in.
    pub(crate) fn data_span(&self) -> Option<(UtcNanos, UtcNanos)> {
        *lock(&self.span)
    }

    /// The newest tick of any line.
    pub(crate) fn now(&self) -> Option<UtcNanos> {
        self.lines.iter().filter_map(|line| lock(line).now).max()
    }

    /// Takes over what was found at a tick.
    pub(crate) fn judged(&self, line: LineId, time: UtcNanos, judged: &Judged, judge: &Judge) {
        let mut open = judge.open().to_vec();
        open.sort_by_key(|advisory| std::cmp::Reverse(advisory.opened));
        let state = judge.line_state();
        let mut live = lock(&self.lines[line.index()]);
        if live.state != state || live.since.is_none() {
            live.since = Some(time);
        }
        live.now = Some(time);
        live.state = state;
        live.forecast.clone_from(&judged.forecast);
        live.surprise.clone_from(&judged.surprise);
        live.open = open;
    }

    /// Takes over a state of a source, tag or camera.
    pub(crate) fn set_health(&self, health: &Health) {
        let mut all = lock(&self.health);
        all.retain(|other| other.subject != health.subject || other.source != health.source);
        all.push(health.clone());
        if all.len() > HEALTH_MAX {
            all.remove(0);
        }
    }

    /// What does not deliver as it should.
    pub(crate) fn unhealthy(&self) -> Vec<Health> {
        lock(&self.health)
            .iter()
            .filter(|health| health.state != sightglass_protocol::HealthState::Good)
            .cloned()
            .collect()
    }

    /// Takes over the newest picture.
    pub(crate) fn set_picture(&self, frame: Frame) {
        let camera = frame.camera.index();
        *lock(&self.pictures[camera]) = Some(frame);
    }

    /// The newest picture.
    pub(crate) fn picture(&self, camera: CameraId) -> Option<Frame> {
        self.pictures.get(camera.index()).and_then(|picture| lock(picture).clone())
    }
}
