//! The clock of a tag's source, against the moment at which its samples come.

use sightglass_protocol::{UtcNanos, time::SECOND};

use super::{
    cause::{Cause, Finding},
    streak::Streak,
    window::Window,
};

/// A clock is off by more than this, …
const OFFSET_NS_MIN: i64 = 2 * SECOND;
/// … and by more than so many periods: a value may have waited to be sent.
const OFFSET_PERIODS: i64 = 2;
/// So many samples are looked at.
const LENGTH: usize = 3;
/// So many samples in a row must be earlier than one before: networks deliver out of order.
const BACK_MIN: u32 = 2;
/// A step back over less than this is none.
const BACK_NS_MIN: i64 = SECOND / 10;

/// The clock behind a tag's times.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    limit_ns: i64,
    latest: UtcNanos,
    back: Streak,
    back_ns: i64,
    offsets: Window,
    off_since: Option<UtcNanos>,
}

impl Clock {
    pub(super) fn new(period_ns: i64) -> Self {
        Self {
            limit_ns: OFFSET_NS_MIN.max(OFFSET_PERIODS.saturating_mul(period_ns)),
            latest: UtcNanos::MIN,
            back: Streak::default(),
            back_ns: 0,
            offsets: Window::new(LENGTH),
            off_since: None,
        }
    }

    /// Takes in a sample's time, in the order of arrival, and the plant's clock at its arrival.
    pub(super) fn take(&mut self, clock: UtcNanos, time: UtcNanos) {
        self.back_ns = self.latest.since(time);
        let is_back = self.latest > UtcNanos::MIN && self.back_ns > BACK_NS_MIN;
        self.back.note(is_back, clock);
        self.latest = self.latest.max(time);
        self.offsets.push(time.since(clock) as f64);
        let limit = self.limit_ns as f64;
        let is_off = self.offsets.is_full()
            && (self.offsets.iter().all(|offset| offset > limit) || self.offsets.iter().all(|offset| offset < -limit));
        self.off_since = if is_off { Some(self.off_since.unwrap_or(clock)) } else { None };
    }

    pub(super) fn finding(&self) -> Option<Finding> {
        if let Some(since) = self.back.lasted(BACK_MIN) {
            let reason = format!(
                "its clock went back by {:.1} s: what comes is earlier than what came. Set it, by NTP where it can",
                self.back_ns as f64 / SECOND as f64
            );
            return Some(Finding::new(Cause::ClockBack, since, reason));
        }
        let since = self.off_since?;
        let offset_s = self.offsets.mean() / SECOND as f64;
        let side = if offset_s < 0.0 { "behind" } else { "ahead of" };
        let reason =
            format!("its times are {:.1} s {side} this plant's clock; set it, by NTP where it can", offset_s.abs());
        Some(Finding::new(Cause::ClockOffset, since, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(clock: &Clock) -> Option<Cause> {
        clock.finding().map(|finding| finding.cause)
    }

    #[test]
    fn a_clock_that_is_off_or_went_back_is_found_until_it_is_set() {
        let mut clock = Clock::new(SECOND);
        let mut arrive = |seconds: std::ops::Range<i64>, offset: i64| {
            for second in seconds {
                let now = UtcNanos(second * SECOND);
                clock.take(now, now + offset * SECOND);
            }
            cause(&clock)
        };
        assert_eq!(arrive(0..20, 0), None);
        assert_eq!(arrive(20..23, 5), Some(Cause::ClockOffset));
        assert_eq!(arrive(23..25, 0), Some(Cause::ClockBack), "set back at once, it goes back");
        assert_eq!(arrive(25..30, 0), None, "and then it is right");
        assert_eq!(arrive(30..33, -3600), Some(Cause::ClockBack));
        assert_eq!(arrive(33..34, 0), None);
    }

    #[test]
    fn samples_that_change_places_are_no_clock_that_went_back() {
        let mut clock = Clock::new(SECOND);
        for second in [0, 1, 3, 2, 4, 6, 5, 7] {
            clock.take(UtcNanos(second * SECOND), UtcNanos(second * SECOND));
            assert_eq!(cause(&clock), None);
        }
    }
}
