//! What each tag does next: a vector autoregression with setpoints as inputs, shrunk as in econometrics.
//!
//! A few hundred rows cannot carry thousands of free weights. Each tag's own past is shrunk a little, the other tags'
//! past more, and both the more the longer ago (Litterman 1986, "Forecasting with Bayesian vector autoregressions"); how
//! much, is chosen tag by tag by prediction of held-back blocks. A tag that wanders (see [`super::stationarity`]) goes on
//! from where it is, and drives others only about as far as it was seen to go.

use std::ops::Range;

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

use super::covariance::{BlockMap, GROUP_TAGS_MAX};

/// Rows of past that a forecast sees.
pub(crate) const LAGS: usize = 5;
/// Penalties on a tag's own past and on that of the others, relative to a regressor's variance; times the squared lag.
const OWN_PENALTIES: [f64; 3] = [1e-4, 1e-3, 1e-2];
const OTHERS_PENALTIES: [f64; 5] = [1e-3, 1e-2, 1e-1, 1.0, 10.0];
/// Inputs are few and move seldom; they are hardly shrunk.
const SETPOINT_PENALTY: f64 = 1e-4;
/// Rows beside a held-back block that are not learned from either, so that it is not known through its neighbours.
const PURGE_ROWS: usize = 10;
/// How far beyond its range in training a wandering tag still drives others, as a share of that range.
const WANDER_SHARE: f64 = 0.25;

/// A run in standard deviations: one row a row; NaN where a value is missing.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) tags: DMatrix<f64>,
    /// Never missing: the last value holds.
    pub(crate) setpoints: DMatrix<f64>,
}

/// Rows of one run that are held back together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Block {
    pub(crate) run: usize,
    pub(crate) rows: Range<usize>,
}

/// A fitted forecast.
#[derive(Clone, Debug)]
pub(crate) struct Forecast {
    wandering: Vec<bool>,
    intercept: DVector<f64>,
    /// (lag, tag): weights of a tag's own past.
    own: DMatrix<f64>,
    /// (lag-major past of all tags, tag), nought for the own past; `None` where there are too many tags for couplings.
    others: Option<DMatrix<f64>>,
    /// (lag-major setpoints from now on back, tag).
    setpoints: DMatrix<f64>,
    /// Between which a tag drives others.
    bounds: Vec<(f64, f64)>,
}

/// Forecasts of all data, and of all but each block.
pub(crate) struct CrossFit {
    pub(crate) whole: Forecast,
    pub(crate) without: Vec<Forecast>,
}

/// Regressors of one run, one row a row: the tags' past, then setpoints from now on back. A run begins as if it had stood
/// still before.
fn design(tags: &DMatrix<f64>, setpoints: &DMatrix<f64>) -> DMatrix<f64> {
    let (n, d, s) = (tags.nrows(), tags.ncols(), setpoints.ncols());
    DMatrix::from_fn(n, LAGS * d + (LAGS + 1) * s, |t, c| {
        if c < LAGS * d {
            tags[(t.saturating_sub(1 + c / d), c % d)]
        } else {
            let c = c - LAGS * d;
            setpoints[(t.saturating_sub(c / s), c % s)]
        }
    })
}

/// Sums over rows from which regressions are solved.
#[derive(Clone)]
struct Sums {
    rows: f64,
    x: DVector<f64>,
    y: DVector<f64>,
    xx: DMatrix<f64>,
    xy: DMatrix<f64>,
}

impl Sums {
    fn of(x: &DMatrix<f64>, y: &DMatrix<f64>, rows: &Range<usize>) -> Self {
        let (x, y) = (x.rows(rows.start, rows.len()), y.rows(rows.start, rows.len()));
        Self {
            rows: rows.len() as f64,
            x: x.row_sum().transpose(),
            y: y.row_sum().transpose(),
            xx: x.tr_mul(&x),
            xy: x.tr_mul(&y),
        }
    }

    fn add(&mut self, other: &Self, sign: f64) {
        self.rows += sign * other.rows;
        self.x += &other.x * sign;
        self.y += &other.y * sign;
        self.xx += &other.xx * sign;
        self.xy += &other.xy * sign;
    }

    /// About the means.
    fn centred(&self) -> (DMatrix<f64>, DMatrix<f64>) {
        let n = self.rows.max(1.0);
        (&self.xx - &self.x * self.x.transpose() / n, &self.xy - &self.x * self.y.transpose() / n)
    }
}

/// What is regressed on what.
struct Problem<'a> {
    tags: usize,
    setpoints: usize,
    wandering: &'a [bool],
    /// Regressors by run, and targets.
    x: Vec<DMatrix<f64>>,
    y: Vec<DMatrix<f64>>,
}

/// Solutions of one penalty on the others' past: one matrix of weights a penalty on the own past.
type Weights = Vec<DMatrix<f64>>;

impl Problem<'_> {
    fn penalties(&self, others: f64, rows: f64) -> DVector<f64> {
        let d = self.tags;
        DVector::from_fn(LAGS * d + (LAGS + 1) * self.setpoints, |c, _| {
            rows * if c < LAGS * d { others * ((1 + c / d) as f64).powi(2) } else { SETPOINT_PENALTY }
        })
    }

    /// Solves for all tags at once. A tag's own penalties differ from the others' in [`LAGS`] entries of the diagonal, so
    /// that one inverse serves all (Woodbury's identity).
    fn solve(&self, sums: &Sums, others: f64) -> Weights {
        let (mut xx, xy) = sums.centred();
        let penalties = self.penalties(others, sums.rows);
        for (i, penalty) in penalties.iter().enumerate() {
            xx[(i, i)] += penalty;
        }
        let Some(cholesky) = xx.cholesky() else {
            return vec![DMatrix::zeros(xy.nrows(), xy.ncols()); OWN_PENALTIES.len()];
        };
        let inverse = cholesky.inverse();
        let shared = &inverse * &xy;
        let mut out = vec![shared.clone(); OWN_PENALTIES.len()];
        for tag in 0..self.tags {
            let own: Vec<usize> = (0..LAGS).map(|lag| lag * self.tags + tag).collect();
            for (&penalty, weights) in OWN_PENALTIES.iter().zip(&mut out) {
                let wanders = self.wandering[tag];
                if penalty >= others && !wanders {
                    continue;
                }
                let mut inner = DMatrix::from_fn(LAGS, LAGS, |i, j| inverse[(own[i], own[j])]);
                if !wanders {
                    for lag in 0..LAGS {
                        inner[(lag, lag)] += 1.0 / (sums.rows * (penalty - others) * ((lag + 1) as f64).powi(2));
                    }
                }
                let right = DVector::from_fn(LAGS, |i, _| shared[(own[i], tag)]);
                let Some(pull) = inner.lu().solve(&right) else { continue };
                for row in 0..shared.nrows() {
                    let change: f64 = own.iter().zip(pull.iter()).map(|(&o, p)| inverse[(row, o)] * p).sum();
                    weights[(row, tag)] = shared[(row, tag)] - change;
                }
                // Of a wandering tag nothing but rounding is left.
                if wanders {
                    own.iter().for_each(|&o| weights[(o, tag)] = 0.0);
                }
            }
        }
        out
    }

    fn intercept(&self, sums: &Sums, weights: &DMatrix<f64>) -> DVector<f64> {
        let n = sums.rows.max(1.0);
        let mut intercept = &sums.y / n - weights.tr_mul(&sums.x) / n;
        for (tag, wanders) in self.wandering.iter().enumerate() {
            // What wanders has no trend that could be trusted to go on.
            if *wanders {
                intercept[tag] -= sums.y[tag] / n;
            }
        }
        intercept
    }

    fn forecast(&self, sums: &Sums, weights: &DMatrix<f64>, bounds: Vec<(f64, f64)>) -> Forecast {
        let d = self.tags;
        let intercept = self.intercept(sums, weights);
        let own = DMatrix::from_fn(LAGS, d, |lag, tag| weights[(lag * d + tag, tag)]);
        let mut others = weights.rows(0, LAGS * d).into_owned();
        for tag in 0..d {
            (0..LAGS).for_each(|lag| others[(lag * d + tag, tag)] = 0.0);
        }
        let setpoints = weights.rows(LAGS * d, weights.nrows() - LAGS * d).into_owned();
        Forecast { wandering: self.wandering.to_vec(), intercept, own, others: Some(others), setpoints, bounds }
    }
}

fn bounds<'a>(rows: impl Iterator<Item = (&'a DMatrix<f64>, Range<usize>)> + Clone, tags: usize) -> Vec<(f64, f64)> {
    let of = |tag: usize| {
        let mut range = (f64::INFINITY, f64::NEG_INFINITY);
        for (run, rows) in rows.clone() {
            for t in rows {
                let v = run[(t, tag)];
                range = (range.0.min(v), range.1.max(v));
            }
        }
        let beyond = WANDER_SHARE * (range.1 - range.0).max(0.0);
        (range.0 - beyond, range.1 + beyond)
    };
    (0..tags).map(of).collect()
}

/// The rows of run `run` that are learned from when `block` is held back.
pub(crate) fn kept(run: usize, length: usize, block: &Block) -> [Range<usize>; 2] {
    if run == block.run {
        [0..block.rows.start.saturating_sub(PURGE_ROWS), (block.rows.end + PURGE_ROWS).min(length)..length]
    } else {
        [0..length, length..length]
    }
}

impl CrossFit {
    /// Fits runs without missing values.
    pub(crate) fn fit(runs: &[Run], wandering: &[bool], blocks: &[Block]) -> Self {
        let tags = wandering.len();
        if tags <= GROUP_TAGS_MAX {
            return Self::fit_together(runs, wandering, blocks);
        }
        // Each tag alone, from its own past and the setpoints; then put side by side.
        let alone: Vec<Self> = (0..tags)
            .into_par_iter()
            .map(|tag| {
                let only =
                    |run: &Run| Run { tags: run.tags.columns(tag, 1).into_owned(), setpoints: run.setpoints.clone() };
                Self::fit_together(&runs.iter().map(only).collect::<Vec<_>>(), &wandering[tag..=tag], blocks)
            })
            .collect();
        let side_by_side = |of: &dyn Fn(&Self) -> &Forecast| {
            let parts: Vec<&Forecast> = alone.iter().map(of).collect();
            let inputs = parts[0].setpoints.nrows();
            Forecast {
                wandering: wandering.to_vec(),
                intercept: DVector::from_fn(tags, |tag, _| parts[tag].intercept[0]),
                own: DMatrix::from_fn(LAGS, tags, |lag, tag| parts[tag].own[(lag, 0)]),
                others: None,
                setpoints: DMatrix::from_fn(inputs, tags, |c, tag| parts[tag].setpoints[(c, 0)]),
                bounds: parts.iter().map(|p| p.bounds[0]).collect(),
            }
        };
        let without = (0..blocks.len()).map(|b| side_by_side(&|fit| &fit.without[b])).collect();
        Self { whole: side_by_side(&|fit| &fit.whole), without }
    }

    fn fit_together(runs: &[Run], wandering: &[bool], blocks: &[Block]) -> Self {
        let tags = wandering.len();
        let setpoints = runs.first().map_or(0, |r| r.setpoints.ncols());
        let x: Vec<_> = runs.iter().map(|r| design(&r.tags, &r.setpoints)).collect();
        let target = |run: &Run| {
            DMatrix::from_fn(run.tags.nrows(), tags, |t, i| {
                let from = if wandering[i] { run.tags[(t.saturating_sub(1), i)] } else { 0.0 };
                run.tags[(t, i)] - from
            })
        };
        let y: Vec<_> = runs.iter().map(target).collect();
        let problem = Problem { tags, setpoints, wandering, x, y };
        let mut all = Sums::of(&problem.x[0], &problem.y[0], &(0..0));
        for (x, y) in problem.x.iter().zip(&problem.y) {
            all.add(&Sums::of(x, y, &(0..x.nrows())), 1.0);
        }
        let fold = |block: &Block| {
            let (x, y) = (&problem.x[block.run], &problem.y[block.run]);
            let [before, after] = kept(block.run, x.nrows(), block);
            let mut sums = all.clone();
            sums.add(&Sums::of(x, y, &(before.end..after.start)), -1.0);
            let rows = runs
                .iter()
                .enumerate()
                .flat_map(|(r, run)| kept(r, run.tags.nrows(), block).map(|rows| (&run.tags, rows)));
            let bounds = bounds(rows, tags);
            let mut held_back = x.rows(block.rows.start, block.rows.len()).into_owned();
            for c in (0..LAGS * tags).filter(|c| wandering[c % tags]) {
                let (low, high) = bounds[c % tags];
                held_back.column_mut(c).iter_mut().for_each(|v| *v = v.clamp(low.min(high), high.max(low)));
            }
            let target = y.rows(block.rows.start, block.rows.len());
            let candidates: Vec<Weights> = OTHERS_PENALTIES.iter().map(|&p| problem.solve(&sums, p)).collect();
            let errors: Vec<Vec<DVector<f64>>> = candidates
                .iter()
                .map(|weights| {
                    let of = |weights: &DMatrix<f64>| {
                        let intercept = problem.intercept(&sums, weights);
                        let mut error = &held_back * weights - target;
                        for (tag, mut column) in error.column_iter_mut().enumerate() {
                            column.add_scalar_mut(intercept[tag]);
                        }
                        DVector::from_fn(tags, |tag, _| error.column(tag).norm_squared())
                    };
                    weights.iter().map(of).collect()
                })
                .collect();
            (sums, bounds, candidates, errors)
        };
        let folds: Vec<_> = blocks.par_iter().map(fold).collect();
        let choices: Vec<(usize, usize)> = (0..tags)
            .map(|tag| {
                let mut best = (f64::INFINITY, (0, 0));
                for (o, others) in OTHERS_PENALTIES.iter().enumerate() {
                    for own in (0..OWN_PENALTIES.len()).filter(|&own| OWN_PENALTIES[own] <= *others) {
                        let error: f64 = folds.iter().map(|(_, _, _, errors)| errors[o][own][tag]).sum();
                        if error < best.0 {
                            best = (error, (o, own));
                        }
                    }
                }
                best.1
            })
            .collect();
        let pick = |candidates: &[Weights]| {
            let rows = candidates[0][0].nrows();
            DMatrix::from_fn(rows, tags, |row, tag| candidates[choices[tag].0][choices[tag].1][(row, tag)])
        };
        let without = folds
            .iter()
            .map(|(sums, bounds, candidates, _)| problem.forecast(sums, &pick(candidates), bounds.clone()))
            .collect();
        let candidates: Vec<Weights> = OTHERS_PENALTIES.par_iter().map(|&p| problem.solve(&all, p)).collect();
        let bounds = bounds(runs.iter().map(|r| (&r.tags, 0..r.tags.nrows())), tags);
        Self { whole: problem.forecast(&all, &pick(&candidates), bounds), without }
    }
}

/// The last rows of a stream, the latest first; missing values are filled with what was expected of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    tags: Vec<DVector<f64>>,
    setpoints: Vec<DVector<f64>>,
}

impl Past {
    fn tags(&self, lag: usize) -> &DVector<f64> {
        &self.tags[lag.min(self.tags.len() - 1)]
    }
}

impl Forecast {
    /// What is expected of the next row, given its setpoints.
    fn predict(&self, past: &Past) -> DVector<f64> {
        let d = self.intercept.len();
        let mut out = self.intercept.clone();
        for lag in 0..LAGS {
            let values = past.tags(lag);
            for i in 0..d {
                out[i] += self.own[(lag, i)] * values[i];
            }
            if let Some(others) = &self.others {
                let bounded = DVector::from_fn(d, |i, _| {
                    let (low, high) = self.bounds[i];
                    if self.wandering[i] && low <= high { values[i].clamp(low, high) } else { values[i] }
                });
                out.gemv_tr(1.0, &others.rows(lag * d, d), &bounded, 1.0);
            }
        }
        for (i, wanders) in self.wandering.iter().enumerate() {
            if *wanders {
                out[i] += past.tags(0)[i];
            }
        }
        let s = past.setpoints.first().map_or(0, |u| u.len());
        for lag in 0..=LAGS {
            if s > 0 {
                let values = &past.setpoints[lag.min(past.setpoints.len() - 1)];
                out.gemv_tr(1.0, &self.setpoints.rows(lag * s, s), values, 1.0);
            }
        }
        out
    }

    /// What a row leaves unforeseen, and which of its tags are missing. `precision`, of residuals, fills a missing tag's
    /// residual from the others'; without it, it is 0.
    pub(crate) fn next(
        &self,
        past: &mut Past,
        tags: &DVector<f64>,
        setpoints: &DVector<f64>,
        precision: Option<&BlockMap>,
    ) -> (DVector<f64>, Vec<bool>) {
        past.setpoints.insert(0, setpoints.clone());
        past.setpoints.truncate(LAGS + 1);
        let missing: Vec<bool> = tags.iter().map(|v| v.is_nan()).collect();
        // A run begins as if it had stood still; a tag that is missing then, at its mean.
        if past.tags.is_empty() {
            past.tags.push(tags.map(|v| if v.is_nan() { 0.0 } else { v }));
        }
        let expected = self.predict(past);
        let mut residual = DVector::from_fn(tags.len(), |i, _| if missing[i] { 0.0 } else { tags[i] - expected[i] });
        if let Some(precision) = precision.filter(|_| missing.contains(&true)) {
            precision.complete(&mut residual, &missing);
        }
        past.tags.insert(
            0,
            DVector::from_fn(tags.len(), |i, _| if missing[i] { expected[i] + residual[i] } else { tags[i] }),
        );
        past.tags.truncate(LAGS);
        (residual, missing)
    }

    /// The residuals of a run up to a row (not included), and the run with its missing values filled.
    pub(crate) fn residuals(&self, run: &Run, until: usize) -> (DMatrix<f64>, DMatrix<f64>) {
        let d = run.tags.ncols();
        let (mut past, mut residuals, mut filled) = (Past::default(), DMatrix::zeros(until, d), run.tags.clone());
        for t in 0..until {
            let row = run.tags.row(t).transpose();
            let (residual, missing) = self.next(&mut past, &row, &run.setpoints.row(t).transpose(), None);
            residuals.set_row(t, &residual.transpose());
            for i in (0..d).filter(|&i| missing[i]) {
                filled[(t, i)] = past.tags[0][i];
            }
        }
        (residuals, filled)
    }
}
