//! How long something has been so, without a break.

use sightglass_protocol::UtcNanos;

/// Consecutive samples, pictures or looks at which something holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Streak {
    count: u32,
    since: Option<UtcNanos>,
}

impl Streak {
    /// Notes whether it holds at `time`.
    pub(super) fn note(&mut self, holds: bool, time: UtcNanos) {
        if holds {
            self.count = self.count.saturating_add(1);
            self.since.get_or_insert(time);
        } else {
            *self = Self::default();
        }
    }

    /// Since when it holds, where it held so often.
    pub(super) fn lasted(&self, count: u32) -> Option<UtcNanos> {
        self.since.filter(|_| self.count >= count)
    }

    /// Since when it holds, where it held so often or (for what comes rarely, or once) has held for so long.
    pub(super) fn lasted_or(&self, count: u32, for_ns: i64, now: UtcNanos) -> Option<UtcNanos> {
        self.since.filter(|since| self.count >= count || now.since(*since) >= for_ns)
    }
}
