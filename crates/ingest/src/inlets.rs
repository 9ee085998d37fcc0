//! The queues between the pipeline's streaming threads and the thread that merges them.
//!
//! One bounded queue a source. A source that is ahead waits until the merge has taken what is older from the others, so
//! the merge reads all sources in the order of capture time, whatever the order of arrival.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sightglass_protocol::{Frame, Health, Sample, UtcNanos};

/// Rows of samples of one source that wait for the merge.
pub(crate) const INLET_ROWS_MAX: usize = 256;
/// Pictures of one camera that wait for the merge: enough to keep its decoder busy, few enough for the memory.
pub(crate) const INLET_PICTURES_MAX: usize = 8;

/// How long the merge waits for a source that has failed, or that is live and silent, before it goes on without it. Only
/// such a source is ever timed: recorded and simulated sources are waited for.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(3);

/// How often the merge looks after a source that it waits for.
pub(crate) const WAITING_LOOK: Duration = Duration::from_secs(1);

/// What a source hands over.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// Samples that came together, and when they did by the plant's clock, where a live source says so.
    Samples {
        samples: Vec<Sample>,
        arrived: Option<UtcNanos>,
    },
    /// A picture as the model sees it, and whole where the window wants it.
    Picture {
        model: Frame,
        /// Columns and rows of the whole picture.
        size: (u32, u32),
        whole: Option<Frame>,
    },
    Health(Health),
}

/// What the merge does next.
#[derive(Debug)]
pub(crate) enum Step {
    /// The oldest delivery of all.
    Deliver { source: usize, time: UtcNanos, delivery: Delivery },
    /// Nothing to deliver, but some watermark has moved or some source has ended.
    Progress,
    /// A live or failed source is silent: it is not waited for from now on.
    Silent { source: usize },
    /// A source that is waited for, however long it takes, has given nothing for [`WAITING_LOOK`].
    Waiting { source: usize },
    /// Every source has ended.
    Finished,
    /// The line is being stopped.
    Closed,
}

/// The streaming thread of a source is to stop: the line is being stopped.
#[derive(Debug)]
pub(crate) struct Closed;

pub(crate) struct Inlets {
    state: Mutex<State>,
    /// The merge waits here.
    filled: Condvar,
    /// Sources wait here.
    emptied: Condvar,
}

struct State {
    queues: Vec<Inlet>,
    closed: bool,
    changed: bool,
}

struct Inlet {
    items: VecDeque<(UtcNanos, Delivery)>,
    items_max: usize,
    /// Everything up to here has been handed over.
    watermark: UtcNanos,
    ended: bool,
    /// Whether it may stay silent without an end, so that waiting for it has a limit.
    timed: bool,
    /// Whether the merge has given up waiting for it.
    aside: bool,
}

impl Inlets {
    /// One queue a source, each with the most deliveries that wait in it.
    pub(crate) fn new(items_max: impl Iterator<Item = usize>) -> Self {
        let inlet = |items_max| Inlet {
            items: VecDeque::new(),
            items_max,
            watermark: UtcNanos::MIN,
            ended: false,
            timed: false,
            aside: false,
        };
        let state = State { queues: items_max.map(inlet).collect(), closed: false, changed: false };
        Self { state: Mutex::new(state), filled: Condvar::new(), emptied: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over what was captured at `time`; waits while the queue is full.
    pub(crate) fn push(&self, source: usize, time: UtcNanos, delivery: Delivery) -> Result<(), Closed> {
        let mut state = self.lock();
        while !state.closed && state.queues[source].is_full() {
            state = self.emptied.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed || state.queues[source].ended {
            return Err(Closed);
        }
        let inlet = &mut state.queues[source];
        inlet.items.push_back((time, delivery));
        inlet.watermark = inlet.watermark.max(time);
        inlet.aside = false;
        state.changed = true;
        self.filled.notify_one();
        Ok(())
    }

    /// Notes that `source` has nothing more up to `time`.
    pub(crate) fn advance(&self, source: usize, time: UtcNanos) {
        let mut state = self.lock();
        let inlet = &mut state.queues[source];
        if inlet.watermark < time {
            inlet.watermark = time;
            inlet.aside = false;
            state.changed = true;
            self.filled.notify_one();
        }
    }

    /// Notes that `source` delivers nothing more.
    pub(crate) fn end(&self, source: usize) {
        let mut state = self.lock();
        state.queues[source].ended = true;
        state.changed = true;
        self.filled.notify_one();
        self.emptied.notify_all();
    }

    /// Limits the wait for `source`: it is live, or it has failed and may never say that it ended.
    pub(crate) fn limit_wait(&self, source: usize) {
        let mut state = self.lock();
        state.queues[source].timed = true;
        state.changed = true;
        self.filled.notify_one();
    }

    /// Lets everyone go who waits.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.emptied.notify_all();
    }

    /// Per source, the time before which nothing more comes: that of its oldest delivery, or its watermark;
    /// `UtcNanos::MAX` after its end. A source that is not waited for is as far as the slowest of the others.
    pub(crate) fn watermarks(&self) -> Vec<UtcNanos> {
        let state = self.lock();
        let slowest = state.queues.iter().filter(|inlet| !inlet.aside).map(Inlet::due).min();
        let of = |inlet: &Inlet| if inlet.aside { slowest.unwrap_or(inlet.watermark) } else { inlet.due() };
        state.queues.iter().map(of).collect()
    }

    /// Waits until the next step in the order of capture time is known.
    pub(crate) fn next(&self) -> Step {
        let mut state = self.lock();
        let mut silent_since: Option<(usize, Instant)> = None;
        loop {
            if state.closed {
                return Step::Closed;
            }
            // Of equal times, a source that has something goes first: one that has nothing may be fed by the same thread.
            let next = state
                .queues
                .iter()
                .enumerate()
                .filter(|(_, inlet)| !inlet.aside && inlet.due() < UtcNanos::MAX)
                .min_by_key(|(source, inlet)| (inlet.due(), inlet.items.is_empty(), *source))
                .map(|(source, _)| source);
            let Some(source) = next else {
                let all_ended = state.queues.iter().all(|inlet| inlet.due() == UtcNanos::MAX);
                if all_ended {
                    return Step::Finished;
                }
                if std::mem::take(&mut state.changed) {
                    return Step::Progress;
                }
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if let Some((time, delivery)) = state.queues[source].items.pop_front() {
                self.emptied.notify_all();
                return Step::Deliver { source, time, delivery };
            }
            if std::mem::take(&mut state.changed) {
                return Step::Progress;
            }
            if !state.queues[source].timed {
                let waited = self.filled.wait_timeout(state, WAITING_LOOK).unwrap_or_else(PoisonError::into_inner);
                if waited.1.timed_out() {
                    return Step::Waiting { source };
                }
                state = waited.0;
                continue;
            }
            let since = match silent_since {
                Some((silent, since)) if silent == source => since,
                _ => Instant::now(),
            };
            silent_since = Some((source, since));
            let left = SILENCE_MAX.saturating_sub(since.elapsed());
            if left.is_zero() {
                state.queues[source].aside = true;
                return Step::Silent { source };
            }
            state = self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Inlet {
    fn is_full(&self) -> bool {
        !self.ended && self.items.len() >= self.items_max
    }

    fn due(&self) -> UtcNanos {
        match self.items.front() {
            Some((time, _)) => *time,
            None if self.ended => UtcNanos::MAX,
            None => self.watermark,
        }
    }
}
