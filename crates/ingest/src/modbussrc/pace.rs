//! Whether a device keeps up with what it is asked.

use std::time::{Duration, Instant};

/// So long it is counted how many reads came in time, before that is judged.
const WINDOW: Duration = Duration::from_secs(10);
/// The device is too slow when more than one of so many reads is left out.
pub(super) const MISSED_SHARE: u32 = 10;

/// How many reads were made and left out since it was last judged.
pub(super) struct Pace {
    since: Instant,
    made: u32,
    missed: u32,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, made: 0, missed: 0 }
    }

    /// Notes a read, and how many were left out since the one before it. At the end of each window: whether the device
    /// is too slow.
    pub(super) fn note(&mut self, missed: u32, now: Instant) -> Option<bool> {
        self.made = self.made.saturating_add(1);
        self.missed = self.missed.saturating_add(missed);
        if now.saturating_duration_since(self.since) < WINDOW {
            return None;
        }
        let is_slow = self.missed > self.made.saturating_add(self.missed) / MISSED_SHARE;
        *self = Self::new(now);
        Some(is_slow)
    }
}

/// How many times `period` a read that was due at `due` is late at `now`: so many reads were left out.
pub(super) fn periods_late(due: Instant, period: Duration, now: Instant) -> u32 {
    let late = now.saturating_duration_since(due).as_nanos() / period.as_nanos().max(1);
    u32::try_from(late).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_too_slow_when_more_than_a_tenth_is_left_out() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(start);
        for (missed, is_slow) in [(0, false), (1, false), (2, true), (10, true)] {
            let begin = pace.since;
            for read in 1..10 {
                assert_eq!(pace.note(0, begin + second * read), None);
            }
            assert_eq!(pace.note(missed, begin + second * 10), Some(is_slow), "{missed} beside 10 that were made");
        }
    }

    #[test]
    fn late_by_less_than_a_period_leaves_nothing_out() {
        let due = Instant::now();
        let period = Duration::from_millis(100);
        for (late_ms, expected) in [(0, 0), (99, 0), (100, 1), (1050, 10)] {
            assert_eq!(periods_late(due, period, due + Duration::from_millis(late_ms)), expected);
        }
        assert_eq!(periods_late(due + period, period, due), 0, "too early is not late");
        assert_eq!(periods_late(due, Duration::ZERO, due + period * 1_000_000_000), u32::MAX);
    }
}
