//! The passing of recorded time, by the pipeline's clock.

use std::sync::{Mutex, MutexGuard, PoisonError};

use gst::prelude::*;
use sightglass_protocol::UtcNanos;

use crate::Pace;

/// Holds back what is not yet due.
pub(crate) struct Pacer {
    timing: Option<Timing>,
    state: Mutex<State>,
}

struct Timing {
    speed: f64,
    clock: gst::Clock,
    base_time: gst::ClockTime,
    /// What is due at once.
    origin: UtcNanos,
}

#[derive(Default)]
struct State {
    stopped: bool,
    wait: Option<gst::SingleShotClockId>,
}

impl Pacer {
    /// A pace for a pipeline that plays. `origin` is the capture time at which it begins.
    pub(crate) fn new(pace: Pace, pipeline: &gst::Pipeline, origin: UtcNanos) -> Option<Self> {
        let timing = match pace {
            Pace::Max => None,
            Pace::Speed(speed) => {
                Some(Timing { speed, clock: pipeline.clock()?, base_time: pipeline.base_time()?, origin })
            }
        };
        Some(Self { timing, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until what was captured at `time` is due; false when it was stopped.
    pub(crate) fn wait_for(&self, time: UtcNanos) -> bool {
        let Some(timing) = &self.timing else { return !self.lock().stopped };
        // Capture time into pipeline time: beyond 2^53 ns (104 days) the product is exact to the microsecond, which is
        // far below what waiting can keep.
        let offset_ns = (time.since(timing.origin).max(0) as f64 / timing.speed) as u64;
        let wait = timing.clock.new_single_shot_id(timing.base_time + gst::ClockTime::from_nseconds(offset_ns));
        {
            let mut state = self.lock();
            if state.stopped {
                return false;
            }
            state.wait = Some(wait.clone());
        }
        // A time that has passed is an error of its own kind here, and as good as one that was reached.
        let (_outcome, _jitter) = wait.wait();
        let mut state = self.lock();
        state.wait = None;
        !state.stopped
    }

    /// Lets go who waits, now and from now on.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        if let Some(wait) = state.wait.take() {
            wait.unschedule();
        }
    }
}
