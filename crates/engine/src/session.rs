//! Tells the history when this run recorded, so that the time between two runs is a gap with a reason.
//!
//! On a live line the engine's clock is the time of day: recording begins when the history is open and ends when it is
//! closed, whatever the sources bring meanwhile. Where files or a simulation are run through the line, at any speed, the
//! only clock is that of the data: the run recorded from the earliest to the latest moment that it brought. A recording
//! of last year that is replayed today was then, and older files that are replayed later leave no outage behind.

use std::sync::Arc;

use sightglass_history::{History, HistoryError};
use sightglass_protocol::UtcNanos;
use tokio::runtime::Handle;

use crate::card;
use crate::live::Live;

/// The session of one run.
pub(crate) struct Session {
    runtime: Handle,
    history: History,
    live: Arc<Live>,
    /// The time of day at the start; `None` where the data's own time counts.
    started: Option<UtcNanos>,
    is_begun: bool,
    is_failing: bool,
}

impl Session {
    /// For a run that begins now.
    pub(crate) fn new(runtime: &Handle, history: History, live: Arc<Live>, by_time_of_day: bool) -> Self {
        let started = by_time_of_day.then(card::wall_clock);
        Self { runtime: runtime.clone(), history, live, started, is_begun: false, is_failing: false }
    }

    /// Tells the beginning once it is known; to be called now and then. A disk that is full now may not be so later.
    pub(crate) fn look(&mut self) {
        if self.is_begun {
            return;
        }
        let Some(at) = self.started.or_else(|| self.live.data_span().map(|(first, _)| first)) else { return };
        match self.runtime.block_on(self.history.begin_session(at)) {
            Ok(()) => self.is_begun = true,
            Err(error) => self.warn("beginning", &error),
        }
    }

    /// Tells the end. Where that fails, the next run takes the last recorded moment for it.
    pub(crate) fn end(mut self) {
        self.look();
        let span = self.live.data_span();
        if let (None, Some((first, _))) = (self.started, span)
            && let Err(error) = self.runtime.block_on(self.history.begin_session(first))
        {
            self.warn("beginning", &error);
        }
        let end = match self.started {
            Some(_) => Some(card::wall_clock()),
            None => span.map(|(_, last)| last),
        };
        if let Some(end) = end
            && let Err(error) = self.runtime.block_on(self.history.end_session(end))
        {
            self.is_failing = false;
            self.warn("end", &error);
        }
    }

    /// Once for a row of failures.
    fn warn(&mut self, what: &str, error: &HistoryError) {
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!("the {what} of this run cannot be noted: {error}");
        }
    }
}
