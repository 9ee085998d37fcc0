//! Calibrates foresight on running that the regressions of its fold did not see.

use std::ops::Range;

use super::reach::{GRID, Reach, offset};
use super::roll_out::Roller;
use super::support::{Seen, Support};
use crate::bands::conformal;
use crate::calibration::{quantile, robust_scale};
use crate::file::{Broken, Store};
use crate::residual::{Plan, Snapshot, TagModels};

/// The most roll-outs that are calibrated on.
const STARTS_MAX: usize = 1_400;
/// Ticks at a run's beginning that have no past yet.
const UNSETTLED: usize = 40;
/// A grid point is measured where it is reached by so many roll-outs in so many separate stretches.
const STARTS_MIN: usize = 60;
const STRETCHES_MIN: usize = 6;
/// A band's side leaves this share out.
const SIDE: f64 = 0.9;
/// A lean is noise unless it is larger than this share of those in normal running.
const LEAN_NOISE: f64 = 0.75;
/// Limits that are tried for the time to a limit, as quantiles of the tag.
const LIMITS: [f64; 6] = [0.05, 0.2, 0.35, 0.65, 0.8, 0.95];
/// The share of times that lie in their interval.
pub(crate) const PASSAGE_SHARE: f64 = 0.8;

/// What foresight knows beside the regressions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Calibrated {
    /// See [`Roller::lean_limits`].
    pub(crate) lean_limits: Vec<f32>,
    /// If nobody is known to do anything: people may still do what they usually do.
    pub(crate) held: Reach,
    /// If what people do is known.
    pub(crate) given: Reach,
    /// Usual distance of each tag from what the actions alone lead to expect, normalised.
    pub(crate) calm_scale: Vec<f32>,
    pub(crate) support: Support,
    /// The share of held-back values inside bands that were grown to the last measured tick from half of the way.
    pub(crate) growth_coverage: f64,
}

/// What is calibrated on.
pub(crate) struct Evidence<'a> {
    pub(crate) plan: &'a Plan,
    /// Regressions that did not see the fold.
    pub(crate) by_fold: &'a [TagModels],
    /// By tick, present where a roll-out may begin.
    pub(crate) snapshots: &'a [Option<Snapshot>],
    pub(crate) seen: Seen<'a>,
    /// By tick and tag: distance from what the actions alone lead to expect.
    pub(crate) from_actions: &'a [&'a [f32]],
}

/// The ticks at which roll-outs begin: evenly over all ticks but each run's first ones.
pub(crate) fn starts(runs: &[Range<usize>]) -> Vec<usize> {
    let able: Vec<usize> =
        runs.iter().flat_map(|run| run.start + UNSETTLED..run.end.max(run.start + UNSETTLED)).collect();
    let step = (able.len() as f64 / STARTS_MAX as f64).max(1.0);
    (0..STARTS_MAX).map(|i| (i as f64 * step) as usize).take_while(|i| *i < able.len()).map(|i| able[i]).collect()
}

/// A roll-out beside what came.
struct Case {
    start: usize,
    fold: usize,
    /// Ticks ahead that lie in the same stretch of the same fold.
    ahead: usize,
    stretch: usize,
}

/// `None` where too little was held back.
pub(crate) fn calibrate(evidence: &Evidence<'_>) -> Option<Calibrated> {
    let tags = evidence.plan.tags;
    let cases = cases(evidence);
    let reached = |ahead: usize| {
        let there = cases.iter().filter(|c| c.ahead >= ahead);
        let mut stretches: Vec<usize> = there.clone().map(|c| c.stretch).collect();
        stretches.dedup();
        there.count() >= STARTS_MIN && stretches.len() >= STRETCHES_MIN
    };
    let measured = GRID.iter().take_while(|&&ahead| reached(ahead)).count();
    if measured == 0 || tags == 0 {
        return None;
    }
    let ahead = GRID[measured - 1];
    let snapshot = |c: &Case| evidence.snapshots[c.start].as_ref();
    let lean_limits: Vec<f32> = (0..sightglass_protocol::HORIZONS.len() * tags)
        .map(|at| {
            let mut sizes: Vec<f32> = cases.iter().filter_map(|c| Some(snapshot(c)?.lean.get(at)?.abs())).collect();
            conformal(&mut sizes, LEAN_NOISE)
        })
        .collect();
    let mut growth_coverage = 0.0;
    let mut reach = |held: bool| -> Reach {
        let middles: Vec<Vec<f32>> = roll(evidence, &cases, &lean_limits, ahead, held);
        let mut reach = measure(evidence, &cases, &middles, measured);
        reach.passage = passage(evidence, &cases, &middles, &reach);
        if !held {
            growth_coverage = growth(evidence, &cases, &middles, &reach);
        }
        reach
    };
    let (held, given) = (reach(true), reach(false));
    let calm_scale = (0..tags).map(|i| robust_scale(evidence.from_actions.iter().map(|e| e[i])).max(1e-3)).collect();
    let support = Support::fit(&evidence.plan.code, tags, &evidence.seen);
    Some(Calibrated { lean_limits, held, given, calm_scale, support, growth_coverage })
}

fn cases(evidence: &Evidence<'_>) -> Vec<Case> {
    let (fold, runs) = (evidence.seen.fold, evidence.seen.runs);
    let mut out = Vec::new();
    let mut stretch = 0;
    for run in runs {
        let mut from = run.start;
        while from < run.end {
            let to = (from..run.end).find(|&t| fold[t] != fold[from]).unwrap_or(run.end);
            let here = (from..to).filter(|&t| evidence.snapshots[t].is_some());
            out.extend(here.map(|start| Case { start, fold: fold[start], ahead: to - 1 - start, stretch }));
            stretch += 1;
            from = to;
        }
    }
    out
}

/// Middles, one a case, (ahead, tags).
fn roll(evidence: &Evidence<'_>, cases: &[Case], lean_limits: &[f32], ahead: usize, held: bool) -> Vec<Vec<f32>> {
    let tags = evidence.plan.tags;
    let mut out = vec![Vec::new(); cases.len()];
    for (fold, models) in evidence.by_fold.iter().enumerate() {
        let here: Vec<usize> = (0..cases.len()).filter(|&i| cases[i].fold == fold).collect();
        let starts: Vec<&Snapshot> = here.iter().filter_map(|&i| evidence.snapshots[cases[i].start].as_ref()).collect();
        let mut actions = Vec::new();
        for &i in &here {
            let Case { start, ahead: known, .. } = cases[i];
            for k in 1..=ahead {
                actions.extend(&evidence.seen.coded[start + if held { 0 } else { k.min(known) }]);
            }
        }
        let roller = Roller { plan: evidence.plan, models, lean_limits, with_expected: false };
        let rolled = roller.roll(&starts, &actions, here.len(), ahead);
        for (row, &i) in rolled.values.chunks_exact(ahead * tags).zip(&here) {
            out[i] = row.to_vec();
        }
    }
    out
}

fn errors<'a>(
    evidence: &'a Evidence<'_>,
    cases: &'a [Case],
    middles: &'a [Vec<f32>],
    ahead: usize,
    tag: usize,
) -> impl Iterator<Item = f32> + 'a {
    let tags = evidence.plan.tags;
    let there = cases.iter().zip(middles).filter(move |(c, _)| c.ahead >= ahead);
    there
        .map(move |(c, middle)| evidence.seen.values[c.start + ahead][tag] - middle[(ahead - 1) * tags + tag])
        .filter(|e| e.is_finite())
}

fn measure(evidence: &Evidence<'_>, cases: &[Case], middles: &[Vec<f32>], measured: usize) -> Reach {
    let tags = evidence.plan.tags;
    let mut reach = Reach { tags, measured, low: Vec::new(), high: Vec::new(), passage: 1.0 };
    for &ahead in &GRID[..measured] {
        for tag in 0..tags {
            let mut above: Vec<f32> = errors(evidence, cases, middles, ahead, tag).collect();
            let mut below: Vec<f32> = above.iter().map(|e| -e).collect();
            reach.high.push(conformal(&mut above, SIDE).max(1e-6));
            reach.low.push(-conformal(&mut below, SIDE).max(1e-6));
        }
    }
    reach
}

/// How well offsets that are grown from half of the way tell those at the last measured tick.
fn growth(evidence: &Evidence<'_>, cases: &[Case], middles: &[Vec<f32>], reach: &Reach) -> f64 {
    let ahead = GRID[reach.measured - 1];
    let known = GRID.iter().take_while(|&&point| 2 * point <= ahead).count();
    if known < 2 {
        return f64::NAN;
    }
    let (mut inside, mut count) = (0usize, 0usize);
    for tag in 0..reach.tags {
        let low = offset(&reach.low, tag, reach.tags, &GRID[..known], ahead);
        let high = offset(&reach.high, tag, reach.tags, &GRID[..known], ahead);
        for error in errors(evidence, cases, middles, ahead, tag) {
            inside += usize::from(low <= error && error <= high);
            count += 1;
        }
    }
    inside as f64 / count.max(1) as f64
}

/// What offsets must be multiplied by so that the times at which bands reach a limit hold the time at which the tag does,
/// as often as [`PASSAGE_SHARE`] for each of [`LIMITS`]. Pointwise bands alone do not say when a limit is crossed first.
fn passage(evidence: &Evidence<'_>, cases: &[Case], middles: &[Vec<f32>], reach: &Reach) -> f32 {
    let tags = reach.tags;
    let values = evidence.seen.values;
    // All cases are looked at for the same time, half of the measured one: shorter ones would be easier.
    let ahead = (reach.measured_ticks() / 2).max(1);
    let mut factor = 0f32;
    for share in LIMITS {
        let mut scores = Vec::new();
        for tag in 0..tags {
            let mut sorted: Vec<f32> = values.iter().map(|v| v[tag]).filter(|v| v.is_finite()).collect();
            let limit = quantile(&mut sorted, share);
            // Both sides as if the limit were above.
            let side = if share > 0.5 { 1.0 } else { -1.0 };
            for (case, middle) in cases.iter().zip(middles) {
                let left = |v: f32| side * (limit - v);
                let beyond = values[case.start][tag].is_nan() || left(values[case.start][tag]) <= 0.0;
                if case.ahead < ahead || beyond {
                    continue;
                }
                let offsets = |k: usize| {
                    let (low, high) = reach.at(tag, k);
                    if side > 0.0 { (high, -low) } else { (-low, high) }
                };
                let crossed = (1..=ahead).find(|&k| left(values[case.start + k][tag]) <= 0.0);
                let (mut soon, mut late, mut reached) = (f32::INFINITY, 0f32, false);
                for k in 1..=ahead {
                    let (towards, away) = offsets(k);
                    let to_go = left(middle[(k - 1) * tags + tag]);
                    reached |= to_go <= towards;
                    if crossed.is_none_or(|t| k <= t) {
                        soon = soon.min((to_go / towards).max(0.0));
                    }
                    if crossed.is_none_or(|t| k < t) {
                        late = late.max(-to_go / away);
                    }
                }
                match crossed {
                    Some(_) => scores.push(soon.max(late)),
                    None if reached => scores.push(late),
                    None => {}
                }
            }
        }
        factor = factor.max(conformal(&mut scores, PASSAGE_SHARE));
    }
    if factor > 0.0 { factor } else { 1.0 }
}

impl Calibrated {
    pub(crate) fn store(&self, store: &mut Store) {
        store.put_floats("foresight.lean_limits", &self.lean_limits);
        self.held.store("held", store);
        self.given.store("given", store);
        store.put_floats("foresight.calm_scale", &self.calm_scale);
        store.put("foresight.growth_coverage", [self.growth_coverage]);
        self.support.store(store);
    }

    /// `None` for a file that was written before there was foresight.
    pub(crate) fn restore(plan: &Plan, store: &Store) -> Result<Option<Self>, Broken> {
        if store.floats("foresight.lean_limits").is_err() {
            return Ok(None);
        }
        let tags = plan.tags;
        let floats = |name: &str, len: usize| {
            let values = store.floats(name)?;
            if values.len() == len { Ok(values) } else { Err(Broken::new(name, "has another length")) }
        };
        Ok(Some(Self {
            lean_limits: floats("foresight.lean_limits", sightglass_protocol::HORIZONS.len() * tags)?,
            held: Reach::restore("held", tags, store)?,
            given: Reach::restore("given", tags, store)?,
            calm_scale: floats("foresight.calm_scale", tags)?,
            growth_coverage: store.one("foresight.growth_coverage")?,
            support: Support::restore(&plan.code, tags, store)?,
        }))
    }
}
