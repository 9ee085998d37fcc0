//! The steps in which a value moves: they become coarser when a converter loses bits, a scaling is changed or digits are
//! cut off.
//!
//! The step is the largest number of which all late differences are multiples. That they are so by chance, for a step of
//! `k` old ones, has a probability of about `k` to the power of minus their number.

use sightglass_protocol::{UtcNanos, time::SECOND};

use super::{
    cause::{Cause, Finding},
    window::Window,
};

/// The span whose differences are looked at, in samples at least and at most.
const SPAN_NS: i64 = 9 * SECOND;
const LENGTH_MIN: usize = 20;
const LENGTH_MAX: usize = 32;
/// Spans that must have been seen: some instruments have coarse steps now and then by nature.
const SPANS_MIN: u32 = 30;
/// So many differences that are not 0 tell a step.
const MOVES_MIN: usize = 3;
/// Only a tag of whose differences usually this share is not 0 is judged: of one that sticks to a level nothing can be said.
const MOVING_MIN: f64 = 0.7;
/// Coarser by chance with this probability a span: ten to the power of minus this.
const CHANCE_DIGITS: f64 = 9.0;
/// Coarser is at least so many times.
const RATIO_MIN: f64 = 2.5;
/// A step below this share of the usual difference does not matter.
const USUAL_SHARE_MIN: f64 = 0.5;
/// Rounding of values that were single precision at the source, with a margin.
const ROUNDING: f64 = 2.5e-7;
/// Values that are written with a fixed number of digits have coarser steps where they are larger.
const LEVEL_RATIO_MAX: f64 = 1.5;

/// The steps of a measurement.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    before: Option<f64>,
    differences: Window,
    fresh: usize,
    /// Steps and levels of the last two spans, not yet taken for usual.
    waiting: [Option<(f64, f64)>; 2],
    spans: u32,
    /// The coarsest step that it had, 0 where none could be seen, …
    coarsest: f64,
    /// … and the largest absolute value.
    level: f64,
    usual: f64,
    moving: f64,
    coarse: Option<(UtcNanos, f64)>,
}

impl Steps {
    pub(super) fn new(period_ns: i64) -> Self {
        Self {
            before: None,
            differences: Window::new(Window::length(SPAN_NS, period_ns, LENGTH_MIN, LENGTH_MAX)),
            fresh: 0,
            waiting: [None; 2],
            spans: 0,
            coarsest: 0.0,
            level: 0.0,
            usual: 0.0,
            moving: 0.0,
            coarse: None,
        }
    }

    /// Takes in a value.
    pub(super) fn take(&mut self, time: UtcNanos, value: f64) {
        let Some(before) = self.before.replace(value) else { return };
        self.differences.push(value - before);
        if !self.differences.is_full() {
            return;
        }
        self.fresh += 1;
        // A look at each half of a span is soon enough, and cheap.
        if !self.fresh.is_multiple_of(self.differences.len().div_ceil(4)) {
            return;
        }
        let level = value.abs().max(before.abs());
        let Some(step) = self.step(level) else {
            self.moving += (self.moving() - self.moving) / 64.0;
            return;
        };
        let is_coarse = self.is_coarse(step, level);
        self.coarse = is_coarse.then(|| (self.coarse.map_or(time, |(since, _)| since), step));
        if is_coarse {
            (self.waiting, self.fresh) = ([None; 2], 0);
        } else if self.fresh >= self.differences.len() {
            self.fresh = 0;
            self.learn(step, level);
        }
    }

    /// The step of the late differences, 0 where there is none that can be seen; `None` where they tell nothing.
    fn step(&self, level: f64) -> Option<f64> {
        let moves = || self.differences.iter().map(f64::abs).filter(|move_| *move_ > 0.0);
        if moves().count() < MOVES_MIN {
            return None;
        }
        let rounding = level * ROUNDING;
        let step = moves().fold(0.0, |step, difference| common_step(step, difference, rounding));
        Some(if step > 4.0 * rounding { step } else { 0.0 })
    }

    /// The share of the late differences that are not 0.
    fn moving(&self) -> f64 {
        let count = self.differences.iter().filter(|difference| *difference != 0.0).count();
        count as f64 / self.differences.len() as f64
    }

    fn is_coarse(&self, step: f64, level: f64) -> bool {
        let ratio = RATIO_MIN.max(10.0_f64.powf(CHANCE_DIGITS / self.differences.len() as f64));
        self.spans >= SPANS_MIN
            && self.moving > MOVING_MIN
            && level <= LEVEL_RATIO_MAX * self.level
            && step > ratio * self.coarsest
            && step > USUAL_SHARE_MIN * self.usual
    }

    fn learn(&mut self, step: f64, level: f64) {
        self.spans = self.spans.saturating_add(1);
        let difference = self.differences.iter().map(f64::abs).sum::<f64>() / self.differences.len() as f64;
        let share = 1.0 / f64::from(self.spans.min(64));
        self.usual += (difference - self.usual) * share;
        self.moving += (self.moving() - self.moving) * share;
        if let Some((step, level)) = self.waiting[1] {
            (self.coarsest, self.level) = (self.coarsest.max(step), self.level.max(level));
        }
        self.waiting = [Some((step, level)), self.waiting[0]];
    }

    pub(super) fn finding(&self) -> Option<Finding> {
        let (since, step) = self.coarse?;
        let before = if self.coarsest > 0.0 { format!("steps of {:.4}", self.coarsest) } else { "no steps".to_owned() };
        let reason = format!(
            "moves in steps of {step:.4} where it had {before}; check the converter, its scaling and the digits that its \
             source sends"
        );
        Some(Finding::new(Cause::CoarserSteps, since, reason))
    }
}

/// The largest number of which both are multiples, by Euclid.
fn common_step(a: f64, b: f64, rounding: f64) -> f64 {
    let (mut large, mut small) = (a.max(b), a.min(b));
    while small > 2.0 * rounding {
        let rest = large % small;
        // A multiple, but for rounding.
        let rest = if small - rest <= 2.0 * rounding { 0.0 } else { rest };
        (large, small) = (small, rest);
    }
    large
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(values: impl Iterator<Item = f64>) -> Steps {
        let mut steps = Steps::new(SECOND / 5);
        for (i, value) in values.enumerate() {
            steps.take(UtcNanos(i as i64 * SECOND / 5), value);
        }
        steps
    }

    fn noise(i: u32) -> f64 {
        f64::from(i.wrapping_mul(2_654_435_761) >> 16) / 65_536.0
    }

    fn rounded(value: f64, step: f64) -> f64 {
        (value / step).round() * step
    }

    #[test]
    fn coarser_steps_are_found_and_finer_ones_are_none() {
        let at = |i: u32, step: f64| rounded(20.0 + noise(i), step);
        let fine = |i: u32| at(i, 0.01);
        assert_eq!(fed((0..3000).map(fine)).finding(), None);
        let coarse = fed((0..3000).map(fine).chain((0..40).map(|i| at(i, 0.25))));
        assert!(coarse.finding().expect("coarser").reason.contains("steps of 0.2500 where it had steps of 0.0100"));
        assert_eq!(fed((0..3000).map(fine).chain((0..400).map(|i| at(i, 0.0001)))).finding(), None);
        let back = fed((0..3000).map(fine).chain((0..40).map(|i| at(i, 0.25))).chain((0..60).map(fine)));
        assert_eq!(back.finding(), None);
    }

    #[test]
    fn steps_appear_where_there_were_none() {
        let smooth = |i: u32| 20.0 + noise(i);
        assert_eq!(fed((0..3000).map(smooth)).finding(), None);
        assert!(fed((0..3000).map(smooth).chain((0..40).map(|i| rounded(smooth(i), 0.25)))).finding().is_some());
    }

    #[test]
    fn single_precision_and_fixed_digits_are_as_they_are() {
        let single = |i: u32| f64::from((20.0 + noise(i)) as f32);
        assert_eq!(fed((0..6000).map(single)).finding(), None);
        let digits = |i: u32| {
            let value = if i < 3000 { 9.0 + noise(i) } else { 14.0 + noise(i) };
            rounded(value, if value < 10.0 { 0.001 } else { 0.01 })
        };
        assert_eq!(fed((0..6000).map(digits)).finding(), None);
    }
}
