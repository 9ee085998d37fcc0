//! The plant model rolled out: tags at every tick ahead, for many courses of action at once.
//!
//! A tick `k` ahead is reached by the longest direct forecast that fits (of the trained [`HORIZONS`]), made from the tick
//! where that one begins, which is itself measured or rolled out: few hops, so that errors add up as little as they can
//! (the direct-recursive strategy, Taieb et al. 2012). Rows are courses of action from one start, or starts of their own;
//! they never meet, so that a batch gives every bit of what its rows give alone.

use rayon::prelude::*;
use sightglass_protocol::HORIZONS;

use crate::residual::{ACTION_FILTERS, LAGS, Plan, SLOW, Snapshot, TagModels};

/// The longest hop, and how many ticks of features are kept.
const HOP_MAX: usize = HORIZONS[5] as usize;

/// What a roll-out is made with.
#[derive(Clone, Copy)]
pub(crate) struct Roller<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) models: &'a TagModels,
    /// Up to this size a lean is noise and counts as nought; by horizon and tag. Absent: any lean is noise.
    pub(crate) lean_limits: &'a [f32],
    /// Whether to give what the actions alone lead to expect, too.
    pub(crate) with_expected: bool,
}

/// What a roll-out gives, normalised, (rows, ticks ahead, tags).
pub(crate) struct Rolled {
    pub(crate) values: Vec<f32>,
    /// The same of what the actions alone lead to expect; empty unless asked for.
    pub(crate) expected: Vec<f32>,
}

/// The longest trained horizon that is not beyond `ahead`, as its index.
fn hop(ahead: usize) -> usize {
    HORIZONS.iter().rposition(|&h| h as usize <= ahead).unwrap_or(0)
}

/// `out += units(inputs)`, as [`Plan`]'s hidden units are laid out.
fn tanh_units(weights: &[f32], inputs: &[f32], out: &mut Vec<f32>) {
    for unit in weights.chunks_exact(inputs.len() + 1) {
        let dot: f32 = inputs.iter().zip(&unit[1..]).map(|(x, w)| x * w).sum();
        out.push((unit[0] + dot).tanh());
    }
}

impl Roller<'_> {
    /// Rolls `ahead` ticks out. `starts` has one entry, for all rows, or one a row; `actions` are the coded actions of the
    /// ticks ahead, (rows, ahead, actions).
    pub(crate) fn roll(&self, starts: &[&Snapshot], actions: &[f32], rows: usize, ahead: usize) -> Rolled {
        let (tags, width) = (self.plan.tags, self.plan.code.len());
        debug_assert_eq!(actions.len(), rows * ahead * width);
        let mut values = vec![0f32; rows * ahead * tags];
        let mut expected = vec![0f32; if self.with_expected { values.len() } else { 0 }];
        if tags == 0 || ahead == 0 {
            return Rolled { values, expected };
        }
        let start = |row: usize| if starts.len() == 1 { starts[0] } else { starts[row] };
        let course = |row: usize| &actions[row * ahead * width..(row + 1) * ahead * width];
        if self.with_expected {
            values
                .par_chunks_mut(ahead * tags)
                .zip(expected.par_chunks_mut(ahead * tags))
                .enumerate()
                .for_each(|(row, (values, expected))| self.row(start(row), course(row), ahead, values, Some(expected)));
        } else {
            values
                .par_chunks_mut(ahead * tags)
                .enumerate()
                .for_each(|(row, values)| self.row(start(row), course(row), ahead, values, None));
        }
        Rolled { values, expected }
    }

    fn row(
        &self,
        start: &Snapshot,
        course: &[f32],
        ahead: usize,
        values: &mut [f32],
        mut expected: Option<&mut [f32]>,
    ) {
        let plan = self.plan;
        let (tags, width) = (plan.tags, plan.code.len());
        let linear = plan.linear();
        let features = linear + plan.nonlinear();
        // Actions from the start's tick on, and their sums.
        let mut actions = start.actions.values.clone();
        actions.extend_from_slice(course);
        let mut sums = vec![0f64; actions.len()];
        for i in width..actions.len() {
            sums[i] = sums[i - width] + f64::from(actions[i]);
        }
        let lean: Vec<f32> = (0..HORIZONS.len() * tags)
            .map(|at| {
                let lean = start.lean.get(at).copied().unwrap_or(0.0);
                let limit = self.lean_limits.get(at).copied().unwrap_or(f32::INFINITY);
                // The garrote (Breiman 1995): nought below the limit, nearly whole far above it.
                if lean.abs() > limit { lean - limit * limit / lean } else { 0.0 }
            })
            .collect();
        let mut state = RowState {
            lags: start.lags.clone(),
            slow: start.slow.clone(),
            filtered: start.filtered.clone(),
            before: start.actions_before.clone(),
            inputs: Vec::with_capacity(tags + width),
            ring: vec![0f32; (HOP_MAX + 1) * features],
            scratch: Vec::with_capacity(features.max(plan.static_inputs())),
        };
        state.put_features(plan, &actions[..width], 0);
        let mut done = vec![0f32; 2 * width];
        for k in 1..=ahead {
            let h = hop(k);
            let horizon = HORIZONS[h] as usize;
            let base = k - horizon;
            for i in 0..width {
                let began = actions[base * width + i];
                done[i] = actions[k * width + i] - began;
                let mean = (sums[k * width + i] - sums[base * width + i]) / horizon as f64;
                done[width + i] = mean as f32 - began;
            }
            let at = base % (HOP_MAX + 1) * features;
            let (head, tail) = state.ring[at..at + features].split_at(linear);
            let out = &mut values[(k - 1) * tags..k * tags];
            self.models.ahead[h].predict_into(&[head, &done, tail], out);
            for (i, value) in out.iter_mut().enumerate() {
                *value = (*value + lean[h * tags + i]).clamp(plan.bounds[i].0, plan.bounds[i].1);
            }
            state.advance(out, &actions[(k - 1) * width..k * width], &actions[k * width..(k + 1) * width]);
            if k < ahead {
                state.put_features(plan, &actions[k * width..(k + 1) * width], k);
            }
            if let Some(expected) = &mut expected {
                state.put_static(plan, &actions[k * width..(k + 1) * width]);
                self.models.from_actions.predict_into(&[&state.scratch], &mut expected[(k - 1) * tags..k * tags]);
            }
        }
    }
}

/// What one row remembers while it is rolled out; the same sums as `TagState` keeps of a stream.
struct RowState {
    lags: Vec<f32>,
    slow: Vec<f32>,
    filtered: [Vec<f32>; 3],
    before: Vec<f32>,
    inputs: Vec<f32>,
    /// Features of the last ticks, by tick modulo their number.
    ring: Vec<f32>,
    scratch: Vec<f32>,
}

impl RowState {
    fn advance(&mut self, values: &[f32], before: &[f32], now: &[f32]) {
        let tags = values.len();
        self.lags.copy_within(0..(LAGS - 1) * tags, tags);
        self.lags[..tags].copy_from_slice(values);
        self.slow.iter_mut().zip(values).for_each(|(s, v)| *s += (v - *s) / SLOW);
        self.before.copy_from_slice(before);
        for (filtered, tau) in self.filtered.iter_mut().zip(ACTION_FILTERS) {
            filtered.iter_mut().zip(now).for_each(|(f, a)| *f += (a - *f) / tau);
        }
    }

    fn put_actions(&mut self, now: &[f32]) {
        self.scratch.extend_from_slice(now);
        self.scratch.extend(now.iter().zip(&self.before).map(|(a, b)| a - b));
        for filtered in &self.filtered {
            self.scratch.extend_from_slice(filtered);
        }
    }

    fn put_features(&mut self, plan: &Plan, now: &[f32], tick: usize) {
        let tags = plan.tags;
        self.scratch.clear();
        self.scratch.extend_from_slice(&self.lags);
        self.scratch.extend_from_slice(&self.slow);
        self.put_actions(now);
        for mode in &now[plan.code.modes_at()..] {
            self.scratch.extend(self.lags[..tags].iter().map(|x| x * mode));
        }
        self.inputs.clear();
        self.inputs.extend_from_slice(&self.lags[..tags]);
        self.inputs.extend_from_slice(now);
        tanh_units(&plan.units, &self.inputs, &mut self.scratch);
        let features = self.scratch.len();
        let at = tick % (HOP_MAX + 1) * features;
        self.ring[at..at + features].copy_from_slice(&self.scratch);
    }

    fn put_static(&mut self, plan: &Plan, now: &[f32]) {
        self.scratch.clear();
        if plan.code.len() == 0 {
            return;
        }
        self.put_actions(now);
        let (setpoints, modes) = now.split_at(plan.code.modes_at());
        for mode in modes {
            self.scratch.extend(setpoints.iter().map(|s| s * mode));
        }
        self.inputs.clear();
        self.inputs.extend_from_slice(now);
        self.inputs.extend_from_slice(&self.filtered[1]);
        tanh_units(&plan.units_static, &self.inputs, &mut self.scratch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::tests_support::settled;

    #[test]
    fn a_batch_gives_every_bit_of_what_its_rows_give_alone() {
        let stream = settled();
        let present = stream.present().expect("ticks were seen");
        let (width, ahead) = (present.code().len(), 70);
        let courses: Vec<Vec<f32>> = (0..5)
            .map(|row| (0..ahead * width).map(|i| ((i / (9 * width) + row) % 3) as f32 / 2.0).collect())
            .collect();
        let roller =
            Roller { plan: &present.parts.plan, models: &present.parts.models, lean_limits: &[], with_expected: true };
        let batch = roller.roll(&[&present.snapshot], &courses.concat(), courses.len(), ahead);
        let alone: Vec<Rolled> = courses.iter().map(|c| roller.roll(&[&present.snapshot], c, 1, ahead)).collect();
        assert_eq!(batch.values, alone.iter().flat_map(|r| r.values.clone()).collect::<Vec<_>>());
        assert_eq!(batch.expected, alone.iter().flat_map(|r| r.expected.clone()).collect::<Vec<_>>());
        assert!(batch.values.iter().all(|v| v.is_finite()));
    }

    #[test]
    fn at_the_trained_horizons_a_roll_out_is_the_direct_forecast() {
        let stream = settled();
        let present = stream.present().expect("ticks were seen");
        let held = present.snapshot.actions.values.repeat(32);
        let roller =
            Roller { plan: &present.parts.plan, models: &present.parts.models, lean_limits: &[], with_expected: false };
        let rolled = roller.roll(&[&present.snapshot], &held, 1, 32).values;
        let direct = present.parts.models.forecast(&present.parts.plan, present.tags);
        let tags = present.parts.plan.tags;
        for (h, &horizon) in HORIZONS.iter().enumerate() {
            for tag in 0..tags {
                let (a, b) = (rolled[(horizon as usize - 1) * tags + tag], direct[h * tags + tag]);
                assert!((a - b).abs() < 1e-4, "{horizon} ticks ahead: {a} and {b}");
            }
        }
    }
}
