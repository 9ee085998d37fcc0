//! Whether evidence lasts: so many ticks above the limit within so many.

use std::collections::VecDeque;

use sightglass_protocol::{Surprise, UtcNanos};

use crate::MonitorOptions;

/// This many ticks on end that are not over the limit end a run of evidence.
const RUN_BREAK_TICKS: u32 = 3;

/// One judged tick, as far as no open advisory accounts for it.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) time: UtcNanos,
    pub(crate) score: f32,
    /// The evidence by position.
    pub(crate) weights: Vec<f32>,
    pub(crate) spread: f32,
    /// The surprise where it was over the limit, `None` where it was not.
    pub(crate) over: Option<Surprise>,
}

/// The last judged ticks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Persistence {
    ticks: VecDeque<Judged>,
    run_since: Option<UtcNanos>,
    below_ticks: u32,
}

impl Persistence {
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn push(&mut self, tick: Judged, remembered_ticks: usize) {
        if tick.over.is_some() {
            if self.run_since.is_none() || self.below_ticks >= RUN_BREAK_TICKS {
                self.run_since = Some(tick.time);
            }
            self.below_ticks = 0;
        } else {
            self.below_ticks = self.below_ticks.saturating_add(1);
        }
        while self.ticks.len() >= remembered_ticks {
            self.ticks.pop_front();
        }
        self.ticks.push_back(tick);
    }

    /// Whether the evidence has lasted long enough. `is_patient` asks for more, shortly after a person's action.
    pub(crate) fn has_lasted(&self, is_patient: bool, options: &MonitorOptions) -> bool {
        let newest = |count: usize| self.ticks.iter().rev().take(count);
        let over = |window: usize| newest(window).filter(|tick| tick.over.is_some()).count();
        if is_patient {
            return over(options.window_ticks_after_action) >= options.over_ticks_after_action;
        }
        let strong = |tick: &&Judged| tick.over.is_some() && tick.score > options.strong_score;
        over(options.window_ticks) >= options.over_ticks
            || newest(options.strong_ticks).filter(strong).count() >= options.strong_ticks
    }

    /// The ticks of the present run of evidence that are still remembered, and since when it lasts; then starts anew.
    pub(crate) fn take_run(&mut self) -> Option<(UtcNanos, Vec<Judged>)> {
        let first = self.ticks.iter().position(|tick| tick.over.is_some())?;
        let run: Vec<Judged> = self.ticks.drain(first..).collect();
        let since = self.run_since.map_or(run[0].time, |since| since.min(run[0].time));
        self.clear();
        Some((since, run))
    }
}
