//! No data for longer than the tag's period allows.

use sightglass_protocol::{UtcNanos, time::SECOND};

use super::cause::{Cause, Finding};
use crate::aligner::STALE_PERIODS;

/// When a tag was last heard of.
#[derive(Clone, Debug)]
pub(super) struct Silence {
    limit_ns: i64,
    /// Whether a value holds until it is changed: then only one that never came is missed.
    holds: bool,
    began: Option<UtcNanos>,
    /// The later of the last sample's time and of the moment at which it came.
    heard: Option<UtcNanos>,
}

impl Silence {
    pub(super) fn new(period_ns: i64, tick_ns: i64, holds: bool) -> Self {
        // As the aligner has it, so that quality and state say the same.
        let limit_ns = STALE_PERIODS.saturating_mul(period_ns.max(tick_ns));
        Self { limit_ns, holds, began: None, heard: None }
    }

    /// A sample came at `clock` that is from `time`.
    pub(super) fn heard(&mut self, clock: UtcNanos, time: UtcNanos) {
        let heard = clock.max(time);
        self.heard = Some(self.heard.map_or(heard, |before| before.max(heard)));
    }

    pub(super) fn finding(&mut self, now: UtcNanos) -> Option<Finding> {
        let began = *self.began.get_or_insert(now);
        let since = self.heard.unwrap_or(began);
        if now.since(since) <= self.limit_ns || (self.holds && self.heard.is_some()) {
            return None;
        }
        let reason = match self.heard {
            None => "there is no value; check that its source runs and knows this address".to_owned(),
            Some(heard) => format!(
                "nothing has come for {} s, since {heard}; check the connection of its source",
                now.since(heard) / SECOND
            ),
        };
        Some(Finding::new(Cause::NoData, since, reason))
    }
}
