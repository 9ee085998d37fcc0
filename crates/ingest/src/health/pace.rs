//! How evenly, and how often, samples come: by their own times.

use sightglass_protocol::{UtcNanos, time::SECOND};

use super::{
    cause::{Cause, Finding},
    window::Window,
};

/// The span over which intervals are looked at, in intervals at least and at most.
const SPAN_NS: i64 = 8 * SECOND;
const LENGTH_MIN: usize = 4;
const LENGTH_MAX: usize = 16;
/// Intervals from which the usual one is known.
const INTERVALS_MIN: u32 = 30;
/// What is usual is an average over about so many.
const USUAL_INTERVALS: f64 = 64.0;
/// A tag is paced where its intervals usually deviate by less than this share: one that sends changes has no pace.
const PACED_SHARE_MAX: f64 = 0.2;
/// An interval is uneven when it deviates by this share of the usual one, and by so many times the usual deviation.
const UNEVEN_SHARE: f64 = 0.3;
const UNEVEN_RATIO: f64 = 5.0;
/// Intervals are long from so many usual ones on; …
const SLOW_RATIO: f64 = 1.6;
/// … so many in a row, or fewer of a slow tag.
const SLOW_MIN: usize = 4;
const SLOW_MIN_OF_SLOW: usize = 2;
const SLOW_PERIOD_NS: i64 = 2 * SECOND;
/// What is longer is a gap, which is told otherwise.
const GAP_RATIO: f64 = 12.0;

/// The intervals of a measurement or output.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    period_ns: i64,
    before: Option<UtcNanos>,
    late: Window,
    intervals: u32,
    usual_ns: f64,
    deviation_ns: f64,
    wrong: Option<(Cause, UtcNanos)>,
}

impl Pace {
    pub(super) fn new(period_ns: i64) -> Self {
        Self {
            period_ns,
            before: None,
            late: Window::new(Window::length(SPAN_NS, period_ns, LENGTH_MIN, LENGTH_MAX)),
            intervals: 0,
            usual_ns: 0.0,
            deviation_ns: 0.0,
            wrong: None,
        }
    }

    /// Takes in the time of a sample, later than the one before.
    pub(super) fn take(&mut self, time: UtcNanos) {
        let Some(before) = self.before.replace(time) else { return };
        let interval_ns = time.since(before) as f64;
        if self.intervals > 0 && interval_ns > GAP_RATIO * self.usual_ns.max(self.period_ns as f64) {
            self.late.clear();
            return;
        }
        self.late.push(interval_ns);
        let found = self.judge();
        let was_slow = matches!(self.wrong, Some((Cause::Slow, _)));
        self.wrong = found.map(|cause| match self.wrong {
            Some((same, since)) if same == cause => (cause, since),
            _ => (cause, before),
        });
        if found.is_some() {
            return;
        }
        if was_slow {
            // Long intervals among short ones would look uneven.
            self.late.clear();
        }
        if self.is_paced() && self.is_long(interval_ns) {
            // One that was lost, or the first of a slow pace: not how it usually is.
            return;
        }
        self.intervals = self.intervals.saturating_add(1);
        let share = 1.0 / USUAL_INTERVALS.min(f64::from(self.intervals));
        self.usual_ns += (interval_ns - self.usual_ns) * share;
        self.deviation_ns += ((interval_ns - self.usual_ns).abs() - self.deviation_ns) * share;
    }

    /// How many intervals in a row must be long.
    fn slow_min(&self) -> usize {
        if self.period_ns >= SLOW_PERIOD_NS { SLOW_MIN_OF_SLOW } else { SLOW_MIN }
    }

    /// Whether samples usually come in even intervals.
    fn is_paced(&self) -> bool {
        self.intervals >= INTERVALS_MIN && self.deviation_ns < PACED_SHARE_MAX * self.usual_ns
    }

    fn is_long(&self, interval_ns: f64) -> bool {
        interval_ns > SLOW_RATIO * self.usual_ns.max(self.period_ns as f64)
    }

    fn judge(&self) -> Option<Cause> {
        if !self.is_paced() {
            return None;
        }
        let slow_min = self.slow_min();
        if self.late.iter().count() >= slow_min
            && self.late.latest(slow_min).all(|interval_ns| self.is_long(interval_ns))
        {
            return Some(Cause::Slow);
        }
        let uneven_ns = (UNEVEN_SHARE * self.usual_ns).max(UNEVEN_RATIO * self.deviation_ns);
        let uneven = self.late.iter().filter(|interval_ns| (interval_ns - self.usual_ns).abs() > uneven_ns).count();
        let is_usual_on_average = (self.late.mean() / self.usual_ns - 1.0).abs() < 0.5;
        (self.late.is_full() && 2 * uneven >= self.late.len() && is_usual_on_average).then_some(Cause::Jitter)
    }

    pub(super) fn finding(&self) -> Option<Finding> {
        let (cause, since) = self.wrong?;
        let usual_s = self.usual_ns / SECOND as f64;
        let reason = if cause == Cause::Slow {
            let late_s = self.late.latest(self.slow_min()).sum::<f64>() / self.slow_min() as f64 / SECOND as f64;
            format!("comes every {late_s:.2} s instead of every {usual_s:.2} s; look for load on its device or network")
        } else {
            let spread_s = self.late.iter().map(|interval_ns| (interval_ns - self.usual_ns).abs()).fold(0.0, f64::max)
                / SECOND as f64;
            format!(
                "comes unevenly: up to {spread_s:.2} s off its usual {usual_s:.2} s; look for load on its device or network"
            )
        };
        Some(Finding::new(cause, since, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(intervals_ms: impl Iterator<Item = i64>) -> Pace {
        let mut pace = Pace::new(SECOND);
        let mut time = UtcNanos(0);
        for interval_ms in intervals_ms {
            time = time + interval_ms * SECOND / 1000;
            pace.take(time);
        }
        pace
    }

    fn cause(pace: &Pace) -> Option<Cause> {
        pace.finding().map(|finding| finding.cause)
    }

    #[test]
    fn slow_and_uneven_samples_are_told_apart_and_both_are_over_by_themselves() {
        let even = || std::iter::repeat_n(1000, 100);
        let slow = || std::iter::repeat_n(2000, 4);
        let uneven = || [400, 1600].into_iter().cycle().take(8);
        assert_eq!(cause(&fed(even())), None);
        assert_eq!(cause(&fed(even().chain(slow()))), Some(Cause::Slow));
        assert_eq!(cause(&fed(even().chain(uneven()))), Some(Cause::Jitter));
        assert_eq!(cause(&fed(even().chain(slow()).chain([1000]))), None);
        assert_eq!(cause(&fed(even().chain(uneven()).chain(even().take(8)))), None);
        assert_eq!(cause(&fed(even().chain([3000]).chain(even().take(3)))), None, "one that was lost");
    }

    #[test]
    fn what_sends_changes_has_no_pace() {
        let changes = (0..500).map(|i| 100 + i * 7919 % 2900);
        assert_eq!(cause(&fed(changes)), None);
    }
}
