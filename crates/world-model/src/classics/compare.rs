//! A model beside the classics, for its card: all learn from the same running, and are held against the same held-back one.

use nalgebra::DMatrix;
use rayon::prelude::*;
use sightglass_protocol::HORIZONS;

use super::{Baseline, Classic, standardise};
use crate::score::{Scale, ledoit_wolf, power, scale, stack};

/// The classics' covariances grow with the square of the tags, and of CVA's five rows of them: beyond this many they take
/// longer than the model itself.
pub(crate) const COMPARED_TAGS_MAX: usize = 64;
/// The latest so many rows are learned from.
const ROWS_MAX: usize = 20_000;
/// The rate of false alarms at which the classics are held, as a share of ticks.
const COMPARED_RATE: f64 = 0.01;
/// Rows of training that nearest neighbours choose from, evenly, and how many are averaged.
const ANALOGUES_MAX: usize = 2_000;
const ANALOGUES: usize = 10;

/// What a classic gives on held-back running.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Compared {
    pub(crate) classic: Classic,
    /// Root mean square of the forecasts' errors by horizon, in the units of the rows, mean over tags; NaN where no
    /// held-back stretch is that long.
    pub(crate) errors: [f64; HORIZONS.len()],
    /// The share of held-back rows that it flags where [`COMPARED_RATE`] is wanted.
    pub(crate) false_alarms: f64,
}

/// How a classic looks ahead: from what it makes of a row and those before it. PCA and CVA by regression on their scores
/// and states (principal component regression, Jolliffe 1982; Larimore 1990), neighbours by what followed them (the method
/// of analogues, Lorenz 1969).
pub(super) enum Ahead {
    /// As it is.
    Persists,
    /// By regression on these, one row a row.
    FromState(DMatrix<f64>),
    /// By what followed the rows that are most like it.
    Analogues,
}

/// All classics; empty where there are too few rows, no tag that moves, or more than [`COMPARED_TAGS_MAX`]. By run, row and
/// tag; a missing value is NaN.
pub(crate) fn compare(training: &[Vec<Vec<f64>>], held_back: &[Vec<Vec<f64>>]) -> Vec<Compared> {
    let tags = training.iter().flatten().next().map_or(0, Vec::len);
    if tags > COMPARED_TAGS_MAX || held_back.iter().all(Vec::is_empty) {
        return Vec::new();
    }
    let mut room = ROWS_MAX;
    let mut latest: Vec<Vec<Vec<f64>>> = Vec::new();
    for run in training.iter().rev() {
        let taken = run.len().min(room);
        room -= taken;
        latest.push(run[run.len() - taken..].to_vec());
    }
    latest.retain(|run| !run.is_empty());
    let columns: Vec<Scale> = (0..tags).filter_map(|tag| scale(tag, &latest).0).collect();
    let one = |classic: Classic| -> Option<Compared> {
        let baseline = Baseline::fit(classic, &latest, COMPARED_RATE).ok()?;
        let scores: Vec<f64> = held_back.iter().flat_map(|run| baseline.scores(run)).collect();
        let flagged = scores.iter().filter(|score| **score > 1.0).count();
        let errors = errors(classic, &columns, &latest, held_back);
        Some(Compared { classic, errors, false_alarms: flagged as f64 / scores.len().max(1) as f64 })
    };
    Classic::ALL.into_iter().filter_map(one).collect()
}

fn errors(
    classic: Classic,
    columns: &[Scale],
    training: &[Vec<Vec<f64>>],
    held_back: &[Vec<Vec<f64>>],
) -> [f64; HORIZONS.len()] {
    let known: Vec<DMatrix<f64>> = training.iter().map(|run| standardise(run, columns)).collect();
    let learned = classic.learn(&known);
    HORIZONS.map(|horizon| {
        let horizon = horizon as usize;
        let guess = Guess::learn(learned.as_ref(), &known, horizon);
        let mut sums = vec![(0f64, 0usize); columns.len()];
        for run in held_back.iter().filter(|run| run.len() > horizon) {
            let now = standardise(run, columns);
            let guesses = guess.of(learned.as_ref(), &now);
            for t in 0..run.len() - horizon {
                for (i, Scale { column, mean, deviation }) in columns.iter().enumerate() {
                    let (before, actual) = (run[t][*column], run[t + horizon][*column]);
                    if before.is_finite() && actual.is_finite() {
                        sums[i].0 += (actual - (mean + deviation * guesses[(t, i)])).powi(2);
                        sums[i].1 += 1;
                    }
                }
            }
        }
        let seen = sums.iter().filter(|(_, count)| *count > 0);
        let of = seen.clone().map(|(sum, count)| (sum / *count as f64).sqrt());
        of.sum::<f64>() / seen.count() as f64
    })
}

/// A fitted way to look `horizon` rows ahead.
enum Guess {
    Persists,
    /// (state and 1, tag).
    Linear(DMatrix<f64>),
    /// Rows, and what followed each, one a column.
    Analogues {
        before: DMatrix<f64>,
        after: DMatrix<f64>,
    },
}

impl Guess {
    fn learn(learned: &dyn super::Statistics, known: &[DMatrix<f64>], horizon: usize) -> Self {
        let long: Vec<&DMatrix<f64>> = known.iter().filter(|run| run.nrows() > horizon).collect();
        let after = stack(&long.iter().map(|run| run.rows_range(horizon..).into_owned()).collect::<Vec<_>>());
        let until = |rows: DMatrix<f64>| rows.rows(0, rows.nrows().saturating_sub(horizon)).into_owned();
        match long.first().map(|run| learned.ahead(run)) {
            None | Some(Ahead::Persists) => Self::Persists,
            Some(Ahead::FromState(_)) => {
                let states: Vec<DMatrix<f64>> = long
                    .iter()
                    .filter_map(|run| match learned.ahead(run) {
                        Ahead::FromState(state) => Some(until(with_one(state))),
                        Ahead::Persists | Ahead::Analogues => None,
                    })
                    .collect();
                let states = stack(&states);
                let inverse = power(ledoit_wolf(&states, 1.0), -1.0, 0.0);
                Self::Linear(inverse * states.tr_mul(&after) / states.nrows().max(1) as f64)
            }
            Some(Ahead::Analogues) => {
                let before = stack(&long.iter().map(|run| until((*run).clone())).collect::<Vec<_>>());
                let step = before.nrows().div_ceil(ANALOGUES_MAX).max(1);
                let chosen: Vec<usize> = (0..before.nrows()).step_by(step).collect();
                let pick = |rows: &DMatrix<f64>| rows.select_rows(&chosen).transpose();
                Self::Analogues { before: pick(&before), after: pick(&after) }
            }
        }
    }

    fn of(&self, learned: &dyn super::Statistics, now: &DMatrix<f64>) -> DMatrix<f64> {
        match (self, learned.ahead(now)) {
            (Self::Linear(weights), Ahead::FromState(state)) => with_one(state) * weights,
            (Self::Analogues { before, after }, _) => {
                let rows: Vec<Vec<f64>> = (0..now.nrows())
                    .into_par_iter()
                    .map(|t| {
                        let row = now.row(t).transpose();
                        let mut near: Vec<(f64, usize)> = before
                            .column_iter()
                            .enumerate()
                            .map(|(k, known)| ((known - &row).norm_squared(), k))
                            .collect();
                        let count = ANALOGUES.min(near.len());
                        if count > 0 {
                            near.select_nth_unstable_by(count - 1, |a, b| a.0.total_cmp(&b.0));
                        }
                        let mean =
                            |i: usize| near[..count].iter().map(|(_, k)| after[(i, *k)]).sum::<f64>() / count as f64;
                        (0..now.ncols()).map(mean).collect()
                    })
                    .collect();
                DMatrix::from_fn(now.nrows(), now.ncols(), |t, i| rows[t][i])
            }
            (Self::Persists | Self::Linear(_), _) => now.clone(),
        }
    }
}

fn with_one(state: DMatrix<f64>) -> DMatrix<f64> {
    let columns = state.ncols();
    state.insert_column(columns, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slow wave and what follows it by four rows.
    fn run(n: usize, from: usize) -> Vec<Vec<f64>> {
        let wave = |t: usize| (t as f64 / 9.0).sin() + 0.3 * (t as f64 / 31.0).cos();
        (from..from + n).map(|t| vec![wave(t + 4), wave(t) + 0.02 * ((t * 37 % 11) as f64 - 5.0)]).collect()
    }

    #[test]
    fn a_wave_is_foreseen_by_those_that_see_where_it_goes() {
        let compared = compare(&[run(1_500, 0)], &[run(400, 5_000)]);
        assert_eq!(compared.iter().map(|c| c.classic).collect::<Vec<_>>(), Classic::ALL);
        let at = |classic: Classic| compared.iter().find(|c| c.classic == classic).expect("it was compared").errors[2];
        let last = at(Classic::Persistence);
        assert!((0.2..0.6).contains(&last), "{last}");
        // PCA keeps the one component that holds 90 % of the variance, which does not tell whether the wave rises.
        for classic in [Classic::Cva, Classic::Neighbours] {
            assert!(at(classic) < 0.7 * last, "{}: {} against {last}", classic.name(), at(classic));
        }
        assert!(compared.iter().all(|c| c.errors.iter().all(|e| e.is_finite())));
        assert!(compared.iter().all(|c| (0.0..0.1).contains(&c.false_alarms)), "{compared:?}");
    }

    #[test]
    fn too_little_or_too_wide_is_left_out() {
        assert_eq!(compare(&[run(20, 0)], &[run(20, 0)]), Vec::new());
        let wide: Vec<Vec<f64>> =
            (0..200).map(|t| (0..COMPARED_TAGS_MAX + 1).map(|i| (t * i) as f64).collect()).collect();
        assert_eq!(compare(std::slice::from_ref(&wide), std::slice::from_ref(&wide)), Vec::new());
    }

    #[test]
    fn a_horizon_beyond_every_stretch_is_not_a_number() {
        let compared = compare(&[run(1_500, 0)], &[run(20, 5_000)]);
        assert!(compared.iter().all(|c| c.errors[0].is_finite() && c.errors[5].is_nan()), "{compared:?}");
    }
}
