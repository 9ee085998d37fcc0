//! What tags do next, from what tags did and what people did: linear forecasts at all horizons, and what they miss.
//!
//! A prediction that is *scored* is given the actions up to the scored tick, so that no action is a surprise; a
//! prediction that is *shown* holds the actions as they are. Both come from the same regressions.

use std::collections::VecDeque;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use sightglass_protocol::HORIZONS;

use crate::actions::{ActionCode, Actions};
use crate::arx::{Gram, Ridge};
use crate::file::{Broken, Store};
use crate::normalise::Scaling;
use crate::sigreg::normal;

/// Kinds of errors that are scored: 1, 16 and 32 ticks ahead, and against what the actions alone lead to expect.
pub(crate) const SOURCES: usize = 4;
/// The horizon index of the sources that have one.
const SOURCE_HORIZON: [usize; 3] = [0, 4, 5];
/// Random saturating features (an extreme learning machine, Huang 2006) for what is not linear.
const UNITS: usize = 48;
const UNITS_STATIC: usize = 24;
/// Filters of the actions, in ticks.
pub(crate) const ACTION_FILTERS: [f32; 3] = [8.0, 30.0, 100.0];
pub(crate) const SLOW: f32 = 8.0;
pub(crate) const LAGS: usize = 3;
const HISTORY: usize = HORIZONS[5] as usize;
/// A run begins as if something had been done this many ticks ago.
const SINCE_AT_START: u32 = 15;
/// Ticks over which the errors of forecasts are averaged: see [`Snapshot::lean`].
const LEAN_SPAN: f32 = 24.0;
/// How much larger errors are expected while another tag is known by its forecast alone, or lately was.
const IMPUTED: f32 = 1.6;

/// How features are made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) tags: usize,
    pub(crate) code: ActionCode,
    pub(crate) bounds: Vec<(f32, f32)>,
    pub(crate) units: Vec<f32>,
    pub(crate) units_static: Vec<f32>,
}

/// The running state of one line's tags.
#[derive(Clone, Default)]
pub(crate) struct TagState {
    values: VecDeque<Vec<f32>>,
    slow: Vec<f32>,
    actions: VecDeque<Actions>,
    filtered: [Vec<f32>; 3],
    features: VecDeque<Vec<f32>>,
    /// Ticks since a person did something.
    pub(crate) since_change: u32,
    /// Ticks that are still to come under the shadow of an absent value.
    shadow: usize,
    /// Averaged errors of the forecasts, horizon-major.
    lean: Vec<f32>,
}

/// What a roll-out begins from.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The newest values first, [`LAGS`] times the tags, normalised.
    pub(crate) lags: Vec<f32>,
    pub(crate) slow: Vec<f32>,
    /// The present actions and those one tick before.
    pub(crate) actions: Actions,
    pub(crate) actions_before: Vec<f32>,
    pub(crate) filtered: [Vec<f32>; 3],
    /// By how much the line has lately left its forecasts, by horizon and tag: the disturbance that is taken to last
    /// (offset-free prediction by a constant output disturbance, Muske and Badgwell 2002).
    pub(crate) lean: Vec<f32>,
}

/// What one tick gave.
#[derive(Clone)]
pub(crate) struct Residuals {
    /// Normalised errors by source and tag; NaN where there is none.
    pub(crate) errors: [Vec<f32>; SOURCES],
    pub(crate) since_change: u32,
    /// What errors are to be expected beyond those of known ground: see [`Actions::unknown`] and [`IMPUTED`].
    pub(crate) unknown: f32,
}

impl Plan {
    pub(crate) fn new(scaling: &Scaling, code: ActionCode, seed: u64) -> Self {
        let tags = scaling.moving.len();
        let actions = code.len();
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5ca1e);
        let mut draw = |units: usize, inputs: usize| -> Vec<f32> {
            let gain = 1.0 / (inputs.max(1) as f32).sqrt();
            (0..units * (inputs + 1))
                .map(|i| normal(&mut rng) * if i % (inputs + 1) == 0 { 0.7 } else { gain })
                .collect()
        };
        let units = draw(UNITS, tags + actions);
        let units_static = if actions > 0 { draw(UNITS_STATIC, 2 * actions) } else { Vec::new() };
        Self { tags, bounds: (0..tags).map(|i| scaling.bounds(i)).collect(), code, units, units_static }
    }

    pub(crate) fn actions(&self) -> usize {
        self.code.len()
    }

    pub(crate) fn modes(&self) -> usize {
        self.code.len() - self.code.modes_at()
    }

    pub(crate) fn linear(&self) -> usize {
        (LAGS + 1) * self.tags + 5 * self.actions()
    }

    pub(crate) fn nonlinear(&self) -> usize {
        self.modes() * self.tags + UNITS
    }

    pub(crate) fn static_linear(&self) -> usize {
        5 * self.actions()
    }

    pub(crate) fn static_inputs(&self) -> usize {
        let crossed = self.modes() * self.code.modes_at();
        self.static_linear() + crossed + if self.actions() > 0 { UNITS_STATIC } else { 0 }
    }

    fn tanh_units(weights: &[f32], pieces: &[&[f32]], out: &mut Vec<f32>) {
        let inputs: usize = pieces.iter().map(|p| p.len()).sum();
        for unit in weights.chunks_exact(inputs + 1) {
            let dot: f32 = pieces.iter().flat_map(|p| p.iter()).zip(&unit[1..]).map(|(x, w)| x * w).sum();
            out.push((unit[0] + dot).tanh());
        }
    }
}

impl TagState {
    fn action_features(&self, out: &mut Vec<f32>) {
        let Some(now) = self.actions.back() else { return };
        let before = self.actions.iter().rev().nth(1).unwrap_or(now);
        out.extend(&now.values);
        out.extend(now.values.iter().zip(&before.values).map(|(a, b)| a - b));
        for filtered in &self.filtered {
            out.extend(filtered);
        }
    }

    /// Linear features, then the nonlinear ones.
    fn make_features(&self, plan: &Plan) -> Vec<f32> {
        let mut out = Vec::with_capacity(plan.linear() + plan.nonlinear());
        let newest = self.values.len() - 1;
        for lag in 0..LAGS {
            out.extend(&self.values[newest.saturating_sub(lag)]);
        }
        out.extend(&self.slow);
        self.action_features(&mut out);
        let now = &self.values[newest];
        let actions: &[f32] = self.actions.back().map_or(&[], |a| &a.values);
        for mode in &actions[plan.code.modes_at()..] {
            out.extend(now.iter().map(|x| x * mode));
        }
        Plan::tanh_units(&plan.units, &[now, actions], &mut out);
        out
    }

    fn static_features(&self, plan: &Plan) -> Vec<f32> {
        let mut out = Vec::with_capacity(plan.static_inputs());
        if plan.actions() == 0 {
            return out;
        }
        self.action_features(&mut out);
        let actions: &[f32] = self.actions.back().map_or(&[], |a| &a.values);
        let (setpoints, modes) = actions.split_at(plan.code.modes_at());
        for mode in modes {
            out.extend(setpoints.iter().map(|s| s * mode));
        }
        Plan::tanh_units(&plan.units_static, &[actions, &self.filtered[1]], &mut out);
        out
    }

    /// What was done in the last `horizon` ticks, relative to before them: the change, and its mean.
    fn done(&self, horizon: usize) -> Vec<f32> {
        let last = self.actions.len() - 1;
        let start = &self.actions[last - horizon].values;
        let mut out: Vec<f32> = self.actions[last].values.iter().zip(start).map(|(a, b)| a - b).collect();
        for i in 0..start.len() {
            let sum: f32 = self.actions.iter().rev().take(horizon).map(|a| a.values[i]).sum();
            out.push(sum / horizon as f32 - start[i]);
        }
        out
    }

    /// Whether the features of `horizon` ticks ago are known.
    fn reaches(&self, horizon: usize) -> bool {
        self.features.len() >= horizon && self.actions.len() > horizon
    }

    fn features_before(&self, horizon: usize) -> &[f32] {
        &self.features[self.features.len() - horizon]
    }

    fn act(&mut self, plan: &Plan, tick: &sightglass_protocol::Tick) -> f32 {
        let actions = plan.code.read(tick, self.actions.back());
        self.since_change = match self.actions.back() {
            None => SINCE_AT_START,
            Some(before) if plan.code.changed(before, &actions) => 0,
            Some(_) => self.since_change.saturating_add(1),
        };
        for (filtered, tau) in self.filtered.iter_mut().zip(ACTION_FILTERS) {
            if filtered.is_empty() {
                filtered.clone_from(&actions.values);
            }
            filtered.iter_mut().zip(&actions.values).for_each(|(f, a)| *f += (a - *f) / tau);
        }
        let unknown = actions.unknown;
        self.actions.push_back(actions);
        if self.actions.len() > HISTORY + 1 {
            self.actions.pop_front();
        }
        unknown
    }

    /// Takes the tick's values, with `instead` for those that are missing.
    fn observe(&mut self, plan: &Plan, values: &[f32], instead: &[f32]) {
        let known: Vec<f32> = values
            .iter()
            .zip(instead)
            .zip(&plan.bounds)
            .map(|((v, i), (low, high))| (if v.is_nan() { *i } else { *v }).clamp(*low, *high))
            .collect();
        if self.slow.is_empty() {
            self.slow.clone_from(&known);
        }
        self.slow.iter_mut().zip(&known).for_each(|(s, v)| *s += (v - *s) / SLOW);
        self.values.push_back(known);
        if self.values.len() > LAGS {
            self.values.pop_front();
        }
        let features = self.make_features(plan);
        self.features.push_back(features);
        if self.features.len() > HISTORY {
            self.features.pop_front();
        }
    }

    /// The newest tick's actions.
    pub(crate) fn actions(&self) -> Option<&Actions> {
        self.actions.back()
    }

    /// The newest tick, for a roll-out; absent before the first.
    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        let newest = self.values.len().checked_sub(1)?;
        let actions = self.actions.back()?.clone();
        let before = self.actions.iter().rev().nth(1).unwrap_or(&actions).values.clone();
        Some(Snapshot {
            lags: (0..LAGS).flat_map(|lag| &self.values[newest.saturating_sub(lag)]).copied().collect(),
            slow: self.slow.clone(),
            actions,
            actions_before: before,
            filtered: self.filtered.clone(),
            lean: self.lean.clone(),
        })
    }

    fn held(&self, tags: usize) -> Vec<f32> {
        self.values.back().cloned().unwrap_or_else(|| vec![0.0; tags])
    }
}

/// The regressions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TagModels {
    pub(crate) ahead: Vec<Ridge>,
    pub(crate) from_actions: Ridge,
}

/// Rows that are summed at once, so that the regressions can share the cores.
const ROWS: usize = 256;

/// A row that waits to be summed: its fold, its inputs, its outputs.
type Row = (usize, Vec<f64>, Vec<f64>);
/// Regressions fitted without each fold, and on all.
type Fitted = (Vec<Ridge>, Ridge);

/// Sums for all regressions, one set a fold.
pub(crate) struct Fit<'a> {
    plan: &'a Plan,
    /// By regression (horizons, then the static one), then fold.
    grams: Vec<Vec<Gram>>,
    rows: Vec<Vec<Row>>,
    state: TagState,
}

impl<'a> Fit<'a> {
    pub(crate) fn new(plan: &'a Plan, folds: usize) -> Self {
        let ahead = plan.linear() + plan.nonlinear() + 2 * plan.actions();
        let mut grams = vec![vec![Gram::new(ahead, plan.tags); folds]; HORIZONS.len()];
        grams.push(vec![Gram::new(plan.static_inputs(), plan.tags); folds]);
        let rows = vec![Vec::new(); grams.len()];
        Self { plan, grams, rows, state: TagState::default() }
    }

    /// A new run begins.
    pub(crate) fn reset(&mut self) {
        self.state = TagState::default();
    }

    /// Adds a tick that belongs to `fold`.
    pub(crate) fn add(&mut self, tick: &sightglass_protocol::Tick, values: &[f32], fold: usize) {
        let state = &mut self.state;
        state.act(self.plan, tick);
        let instead = state.held(self.plan.tags);
        let target: Vec<f64> =
            values.iter().zip(&instead).map(|(v, i)| f64::from(if v.is_nan() { *i } else { *v })).collect();
        let wide = |x: &[f32]| x.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
        for (i, &horizon) in HORIZONS.iter().enumerate() {
            if state.reaches(horizon as usize) {
                let mut x = wide(state.features_before(horizon as usize));
                let linear = self.plan.linear();
                // What was done meanwhile is linear too and goes before the nonlinear features.
                x.splice(linear..linear, wide(&state.done(horizon as usize)));
                self.rows[i].push((fold, x, target.clone()));
            }
        }
        state.observe(self.plan, values, &instead);
        self.rows[HORIZONS.len()].push((fold, wide(&state.static_features(self.plan)), target));
        if self.rows[HORIZONS.len()].len() >= ROWS {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.grams.par_iter_mut().zip(self.rows.par_iter_mut()).for_each(|(grams, rows)| {
            for (fold, x, y) in rows.drain(..) {
                grams[fold].add(&x, &y);
            }
        });
    }

    /// One set of regressions without each fold, and the whole one.
    pub(crate) fn solve(mut self) -> (Vec<TagModels>, TagModels) {
        self.flush();
        let linear = self.plan.linear() + 2 * self.plan.actions();
        let static_linear = self.plan.static_linear();
        let last = self.grams.len() - 1;
        let fitted: Vec<(Vec<Ridge>, Ridge)> = self
            .grams
            .par_iter()
            .enumerate()
            .map(|(i, folds)| Ridge::fit(folds, if i == last { static_linear } else { linear }))
            .collect();
        let gather = |pick: &dyn Fn(&Fitted) -> Ridge| TagModels {
            ahead: fitted[..last].iter().map(pick).collect(),
            from_actions: pick(&fitted[last]),
        };
        let folds = fitted[0].0.len();
        ((0..folds).map(|f| gather(&|r| r.0[f].clone())).collect(), gather(&|r| r.1.clone()))
    }
}

impl TagModels {
    fn predict(&self, plan: &Plan, horizon: usize, features: &[f32], done: &[f32]) -> Vec<f32> {
        let (linear, nonlinear) = features.split_at(plan.linear());
        self.ahead[horizon].predict(&[linear, done, nonlinear])
    }

    /// Takes the next tick and says how far it is from what was predicted, given the actions.
    pub(crate) fn step(
        &self,
        plan: &Plan,
        state: &mut TagState,
        tick: &sightglass_protocol::Tick,
        values: &[f32],
    ) -> Residuals {
        let mut unknown = state.act(plan, tick);
        let mut errors: [Vec<f32>; SOURCES] = std::array::from_fn(|_| vec![f32::NAN; plan.tags]);
        let mut instead = state.held(plan.tags);
        state.lean.resize(HORIZONS.len() * plan.tags, 0.0);
        for (h, &horizon) in HORIZONS.iter().enumerate() {
            let horizon = horizon as usize;
            if !state.reaches(horizon) {
                continue;
            }
            let predicted = self.predict(plan, h, state.features_before(horizon), &state.done(horizon));
            let missed: Vec<f32> = values.iter().zip(&predicted).map(|(v, p)| v - p).collect();
            let lean = &mut state.lean[h * plan.tags..(h + 1) * plan.tags];
            for (lean, error) in lean.iter_mut().zip(&missed).filter(|(_, error)| error.is_finite()) {
                *lean += (error - *lean) / LEAN_SPAN;
            }
            if let Some(source) = SOURCE_HORIZON.iter().position(|&s| s == h) {
                errors[source] = missed;
            }
            if horizon == 1 {
                instead = predicted;
            }
        }
        state.observe(plan, values, &instead);
        state.shadow = if values.iter().any(|v| v.is_nan()) { HISTORY } else { state.shadow.saturating_sub(1) };
        if state.shadow > 0 {
            unknown *= IMPUTED;
        }
        let predicted = self.from_actions.predict(&[&state.static_features(plan)]);
        errors[SOURCES - 1] = values.iter().zip(&predicted).map(|(v, p)| v - p).collect();
        Residuals { errors, since_change: state.since_change, unknown }
    }

    /// Normalised values at all horizons from the state's tick, horizon-major, if actions stay as they are.
    pub(crate) fn forecast(&self, plan: &Plan, state: &TagState) -> Vec<f32> {
        let held = vec![0.0; 2 * plan.actions()];
        let features = state.features_before(1);
        (0..HORIZONS.len()).flat_map(|h| self.predict(plan, h, features, &held)).collect()
    }

    pub(crate) fn store(&self, plan: &Plan, store: &mut Store) {
        plan.code.store(store);
        store.put_floats("tags.units", &plan.units);
        store.put_floats("tags.units_static", &plan.units_static);
        for (i, ridge) in self.ahead.iter().enumerate() {
            ridge.store(&format!("tags.ahead.{}", HORIZONS[i]), store);
        }
        self.from_actions.store("tags.from_actions", store);
    }

    pub(crate) fn restore(scaling: &Scaling, store: &Store) -> Result<(Plan, Self), Broken> {
        let code = ActionCode::restore(store)?;
        let tags = scaling.moving.len();
        let plan = Plan {
            tags,
            bounds: (0..tags).map(|i| scaling.bounds(i)).collect(),
            code,
            units: store.floats("tags.units")?,
            units_static: store.floats("tags.units_static")?,
        };
        let inputs = plan.linear() + plan.nonlinear() + 2 * plan.actions();
        let ahead = HORIZONS
            .iter()
            .map(|h| Ridge::restore(&format!("tags.ahead.{h}"), inputs, tags, store))
            .collect::<Result<_, _>>()?;
        let from_actions = Ridge::restore("tags.from_actions", plan.static_inputs(), tags, store)?;
        Ok((plan, Self { ahead, from_actions }))
    }
}

/// The number of actions' values that condition the network beside the outputs.
pub(crate) fn action_values(state: &TagState) -> (&[f32], &[f32]) {
    match (state.actions.back(), state.actions.iter().rev().nth(1)) {
        (Some(now), Some(before)) => (&now.values, &before.values),
        (Some(now), None) => (&now.values, &now.values),
        _ => (&[], &[]),
    }
}

/// The newest known (or imputed) normalised values.
pub(crate) fn known_values(state: &TagState) -> &[f32] {
    state.values.back().map_or(&[], |v| v)
}
