//! A value that still moves, but without the noise that it always had: a simulated or held signal.
//!
//! Noise is the mean absolute second difference: it does not see a level or a slope. What a tag's noise is at least is
//! learned from the tag itself, and with a delay, so that noise which is just vanishing is not taken for usual.

use sightglass_protocol::{UtcNanos, time::SECOND};

use super::{
    cause::{Cause, Finding},
    window::Window,
};

/// The span over which noise is measured …
const SPAN_NS: i64 = 7 * SECOND;
/// … in samples, at least and at most.
const LENGTH_MIN: usize = 5;
const LENGTH_MAX: usize = 32;
/// So many spans must have been seen, …
const SPANS_MIN: u32 = 30;
/// … and the least noise of any must be this share of the average: of what comes in bursts nothing can be said.
const STEADY_SHARE_MIN: f64 = 0.15;
/// Noise has vanished below this share of the least that was seen.
const SHARE_MAX: f64 = 0.1;

/// The noise of a measurement.
#[derive(Clone, Debug)]
pub(super) struct Noise {
    before: [Option<f64>; 2],
    window: Window,
    since: UtcNanos,
    /// Samples since the last span was measured.
    fresh: usize,
    /// The last two spans, not yet taken for usual.
    waiting: [f64; 2],
    spans: u32,
    average: f64,
    least: f64,
    has_vanished: bool,
}

impl Noise {
    pub(super) fn new(period_ns: i64) -> Self {
        Self {
            before: [None; 2],
            window: Window::new(Window::length(SPAN_NS, period_ns, LENGTH_MIN, LENGTH_MAX)),
            since: UtcNanos::MIN,
            fresh: 0,
            waiting: [f64::INFINITY; 2],
            spans: 0,
            average: 0.0,
            least: f64::INFINITY,
            has_vanished: false,
        }
    }

    /// Forgets the last values: there was a gap.
    pub(super) fn interrupt(&mut self) {
        self.before = [None; 2];
        self.window.clear();
        self.fresh = 0;
    }

    /// Takes in a value. `may_hold` is whether it may be without noise now.
    pub(super) fn take(&mut self, time: UtcNanos, value: f64, may_hold: bool) {
        let [one, two] = self.before;
        self.before = [Some(value), one];
        let (Some(one), Some(two)) = (one, two) else { return };
        self.window.push((value - 2.0 * one + two).abs());
        if !self.window.is_full() {
            return;
        }
        let noise = self.window.mean();
        let had_vanished = self.has_vanished;
        let is_steady = self.spans >= SPANS_MIN && self.least > STEADY_SHARE_MIN * self.average;
        // What repeats itself exactly may be frozen, which is told otherwise.
        let moves = || 2 * self.window.iter().filter(|difference| *difference > 0.0).count() > self.window.len();
        self.has_vanished = !may_hold && is_steady && noise < SHARE_MAX * self.least && moves();
        if self.has_vanished {
            if !had_vanished {
                self.since = time;
            }
            (self.waiting, self.fresh) = ([f64::INFINITY; 2], 0);
            return;
        }
        self.fresh += 1;
        if self.fresh >= self.window.len() {
            self.fresh = 0;
            self.spans = self.spans.saturating_add(1);
            self.average += (noise - self.average) / f64::from(self.spans.min(256));
            self.least = self.least.min(self.waiting[1]);
            self.waiting = [noise, self.waiting[0]];
        }
    }

    pub(super) fn finding(&self) -> Option<Finding> {
        self.has_vanished.then(|| {
            let reason = "moves without the noise that it always had: it may be simulated, held or filtered; \
                          check whether somebody works on the sensor or its transmitter";
            Finding::new(Cause::NoiseVanished, self.since, reason)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noisy(i: i64) -> f64 {
        (i * 7919 % 101) as f64 / 10.0
    }

    #[test]
    fn noise_that_vanishes_is_found_within_ten_samples_and_its_return_too() {
        let mut noise = Noise::new(SECOND);
        for i in 0..600 {
            noise.take(UtcNanos(i * SECOND), noisy(i), false);
            assert_eq!(noise.finding(), None);
        }
        for i in 600..609 {
            noise.take(UtcNanos(i * SECOND), i as f64 / 7.0, false);
        }
        assert!(noise.finding().is_some());
        for i in 609..620 {
            noise.take(UtcNanos(i * SECOND), noisy(i), false);
        }
        assert_eq!(noise.finding(), None);
    }

    #[test]
    fn a_value_that_was_ever_smooth_may_be() {
        let mut noise = Noise::new(SECOND);
        for i in 0..1000 {
            let value = if i % 200 < 50 { 5.0 } else { noisy(i) };
            noise.take(UtcNanos(i * SECOND), value, i < 200 && i % 200 < 60);
            assert_eq!(noise.finding(), None, "{i}");
        }
    }
}
