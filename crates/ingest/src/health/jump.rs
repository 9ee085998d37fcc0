//! A step that is faster than the tag ever moved: a loose contact, a converter that lost bits, a wrong address.
//!
//! Processes jump too: a bottle without a cap has no torque. So a step counts only where the tag is known to have inertia:
//! it has gone as far before, and never in steps of more than a quarter of that; or where it crosses half of its range.
//! What people did on purpose explains any step.

use sightglass_protocol::{UtcNanos, time::SECOND};

use super::cause::{Cause, Finding, plain};

/// Samples from which the way that a tag moves is known.
const SAMPLES_MIN: u32 = 300;
/// A jump is so many times the largest step before, …
const LARGEST_RATIO: f64 = 4.0;
/// … or, where the tag has never gone as far, so many times, …
const LARGEST_RATIO_UNSEEN: f64 = 10.0;
/// … over at least this share of its range; …
const RANGE_SHARE_UNSEEN: f64 = 0.5;
/// … and at least this share in any case; …
const RANGE_SHARE_MIN: f64 = 0.1;
/// … and so many times the usual step.
const USUAL_RATIO: f64 = 15.0;
/// The usual step is an average over about so many.
const USUAL_SAMPLES: f64 = 256.0;
/// A new level that lasts is believed.
const BELIEVED_AFTER_NS: i64 = 10 * SECOND;
/// A value has come back when it is within this share of the jump from where it was.
const BACK_SHARE: f64 = 0.25;
/// After people acted, nothing is a jump for so long.
const ACTION_NS: i64 = 30 * SECOND;

/// The steps of a measurement.
#[derive(Clone, Debug)]
pub(super) struct Jump {
    span: Option<(f64, f64)>,
    unit: String,
    before: Option<f64>,
    samples: u32,
    usual: f64,
    largest: f64,
    lowest_highest: (f64, f64),
    jumped: Option<Jumped>,
}

#[derive(Clone, Copy, Debug)]
struct Jumped {
    since: UtcNanos,
    from: f64,
    to: f64,
}

impl Jump {
    /// `range` is the tag's, `unit` its unit.
    pub(super) fn new(range: Option<(f64, f64)>, unit: String) -> Self {
        Self {
            span: range,
            unit,
            before: None,
            samples: 0,
            usual: 0.0,
            largest: 0.0,
            lowest_highest: (f64::INFINITY, f64::NEG_INFINITY),
            jumped: None,
        }
    }

    /// Forgets the last value: there was a gap, over which any step is possible.
    pub(super) fn interrupt(&mut self) {
        self.before = None;
    }

    /// Takes in a value. `acted` is when people last changed something.
    pub(super) fn take(&mut self, time: UtcNanos, value: f64, acted: Option<UtcNanos>) {
        let before = self.before.replace(value);
        if let Some(Jumped { since, from, to }) = self.jumped {
            let is_back = (value - from).abs() < BACK_SHARE * (to - from).abs();
            if is_back || time.since(since) >= BELIEVED_AFTER_NS {
                self.jumped = None;
            }
            return;
        }
        let Some(before) = before else { return };
        let step = (value - before).abs();
        let is_explained = acted.is_some_and(|acted| time.since(acted) < ACTION_NS);
        if !is_explained && self.is_jump(step) {
            self.jumped = Some(Jumped { since: time, from: before, to: value });
            return;
        }
        self.samples = self.samples.saturating_add(1);
        self.usual += (step - self.usual) / USUAL_SAMPLES.min(f64::from(self.samples));
        self.largest = self.largest.max(step);
        let (lowest, highest) = &mut self.lowest_highest;
        (*lowest, *highest) = (lowest.min(value), highest.max(value));
    }

    fn is_jump(&self, step: f64) -> bool {
        let Some((low, high)) = self.span else { return false };
        let range = high - low;
        let gone = self.lowest_highest.1 - self.lowest_highest.0;
        let has_inertia = gone >= step && step > LARGEST_RATIO * self.largest;
        let is_huge = step > LARGEST_RATIO_UNSEEN * self.largest && step > RANGE_SHARE_UNSEEN * range;
        self.samples >= SAMPLES_MIN
            && step > RANGE_SHARE_MIN * range
            && step > USUAL_RATIO * self.usual
            && (has_inertia || is_huge)
    }

    pub(super) fn finding(&self) -> Option<Finding> {
        let Jumped { since, from, to } = self.jumped?;
        let (from, to, unit) = (plain(from), plain(to), &self.unit);
        let reason = format!(
            "jumped from {from} to {to} {unit} at once; it never moved by more than {:.3} {unit} from one sample to the \
             next. Check its wiring and its converter",
            self.largest
        );
        Some(Finding::new(Cause::RateJump, since, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(i: i64) -> UtcNanos {
        UtcNanos(i * SECOND)
    }

    /// A level between 20 and 80 that takes its time.
    fn level(i: i64) -> f64 {
        50.0 + 30.0 * (i as f64 / 40.0).sin()
    }

    #[test]
    fn a_jump_of_what_has_inertia_is_found_and_over_when_it_comes_back_or_lasts() {
        let mut jump = Jump::new(Some((0.0, 100.0)), "%".to_owned());
        for i in 0..500 {
            jump.take(at(i), level(i), None);
            assert_eq!(jump.finding(), None);
        }
        jump.take(at(500), level(500) + 20.0, None);
        assert_eq!(jump.finding().expect("a jump").since, at(500));
        jump.take(at(501), level(501), None);
        assert_eq!(jump.finding(), None);
        for i in 502..520 {
            jump.take(at(i), level(i) + 20.0, None);
            assert_eq!(jump.finding().is_some(), i < 512, "{i}");
        }
    }

    #[test]
    fn a_step_that_people_asked_for_or_of_what_has_no_inertia_is_none() {
        let mut jump = Jump::new(Some((0.0, 100.0)), "%".to_owned());
        for i in 0..500 {
            jump.take(at(i), 40.0 + (i % 7) as f64 / 10.0, None);
        }
        jump.take(at(500), 10.0, None);
        assert_eq!(jump.finding(), None, "it may be one that jumps");
        let mut moved = Jump::new(Some((0.0, 100.0)), "%".to_owned());
        for i in 0..500 {
            moved.take(at(i), level(i), None);
        }
        moved.take(at(500), level(500) + 20.0, Some(at(490)));
        assert_eq!(moved.finding(), None);
    }
}
