//! The classics of process monitoring, to be compared with: each with all of its statistics under ONE calibrated rate of
//! false alarms, since several statistics at 1 % each flag more than 1 % of normal rows.

mod compare;
mod cva;
mod neighbours;
mod pca;
mod persistence;

use nalgebra::DMatrix;
use rayon::prelude::*;

use crate::score::{Scale, blocks, kept, scale, stack, tail};
use compare::Ahead;
pub(crate) use compare::{COMPARED_TAGS_MAX, compare};

/// The fewest rows from which a classic can be calibrated.
const ROWS_MIN: usize = crate::score::SCORE_ROWS_MIN;

/// Which classic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Classic {
    /// How much a row differs from the one before.
    Persistence,
    /// Principal components: T² and SPE.
    Pca,
    /// The same over a row and the two before it.
    DynamicPca,
    /// Canonical variate analysis: state and residual space.
    Cva,
    /// Distance to the nearest rows of training.
    Neighbours,
}

impl Classic {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Persistence, Self::Pca, Self::DynamicPca, Self::Cva, Self::Neighbours];

    /// As the literature calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Persistence => "persistence",
            Self::Pca => "PCA, T2 and SPE",
            Self::DynamicPca => "dynamic PCA, T2 and SPE",
            Self::Cva => "canonical variate analysis",
            Self::Neighbours => "nearest neighbours",
        }
    }

    fn learn(self, runs: &[DMatrix<f64>]) -> Box<dyn Statistics> {
        match self {
            Self::Persistence => Box::new(persistence::Persistence::learn(runs)),
            Self::Pca => Box::new(pca::Pca::learn(runs, 0)),
            Self::DynamicPca => Box::new(pca::Pca::learn(runs, pca::DYNAMIC_LAGS)),
            Self::Cva => Box::new(cva::Cva::learn(runs)),
            Self::Neighbours => Box::new(neighbours::Neighbours::learn(runs)),
        }
    }
}

/// What a fitted classic says of each row of a run (standardised): one column a statistic, all of them larger where the
/// row is stranger. A row's values depend on rows up to it.
trait Statistics: Send + Sync {
    fn of(&self, run: &DMatrix<f64>) -> DMatrix<f64>;

    /// What it looks ahead from at each row of a run.
    fn ahead(&self, run: &DMatrix<f64>) -> Ahead;
}

/// Why a classic cannot be fitted.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// Not enough to learn from.
    #[error("{rows} rows are too few to calibrate on: at least {ROWS_MIN} are needed")]
    TooFewRows {
        /// What there is.
        rows: usize,
    },
    /// Nothing to learn from.
    #[error("no column moves")]
    NothingMoves,
}

/// A classic with one limit for all of its statistics.
pub struct Baseline {
    columns: Vec<Scale>,
    statistics: Box<dyn Statistics>,
    limits: Vec<f64>,
    factor: f64,
}

/// The largest ratio of a statistic to its limit, one a row.
fn highest(values: &DMatrix<f64>, limits: &[f64]) -> Vec<f64> {
    let ratio = |t: usize| limits.iter().enumerate().map(|(s, limit)| values[(t, s)] / limit).fold(0.0, f64::max);
    (0..values.nrows()).map(ratio).collect()
}

/// The rows of a run and those before them, one after the other, from `lags` rows back to now.
fn lagged(run: &DMatrix<f64>, from: usize, to: usize) -> DMatrix<f64> {
    let d = run.ncols();
    DMatrix::from_fn(run.nrows(), (to - from + 1) * d, |t, c| run[(t.saturating_sub(from + c / d), c % d)])
}

impl Baseline {
    /// Learns from runs of normal rows (by run, row and column; a missing value is NaN and taken as the last one), and
    /// calibrates on blocks that were held back.
    ///
    /// # Errors
    /// Where there are too few rows, or none that moves.
    pub fn fit(classic: Classic, runs: &[Vec<Vec<f64>>], rate: f64) -> Result<Self, BaselineError> {
        let rows: Vec<&Vec<f64>> = runs.iter().flatten().collect();
        if rows.len() < ROWS_MIN {
            return Err(BaselineError::TooFewRows { rows: rows.len() });
        }
        let columns: Vec<Scale> = (0..rows[0].len()).filter_map(|column| scale(column, runs).0).collect();
        if columns.is_empty() {
            return Err(BaselineError::NothingMoves);
        }
        let runs: Vec<DMatrix<f64>> = runs.iter().map(|run| standardise(run, &columns)).collect();
        let blocks = blocks(&runs.iter().map(DMatrix::nrows).collect::<Vec<_>>());
        let held_back: Vec<DMatrix<f64>> = blocks
            .par_iter()
            .map(|block| {
                let parts = runs.iter().enumerate().flat_map(|(r, run)| {
                    kept(r, run.nrows(), block).map(|rows| run.rows(rows.start, rows.len()).into_owned())
                });
                let learned = classic.learn(&parts.filter(|p| p.nrows() > 0).collect::<Vec<_>>());
                let until = runs[block.run].rows(0, block.rows.end).into_owned();
                learned.of(&until).rows(block.rows.start, block.rows.len()).into_owned()
            })
            .collect();
        let held_back = stack(&held_back);
        let limits: Vec<f64> = held_back
            .column_iter()
            .map(|c| tail(&c.iter().copied().collect::<Vec<_>>(), rate).max(f64::MIN_POSITIVE))
            .collect();
        let factor = tail(&highest(&held_back, &limits), rate).max(f64::MIN_POSITIVE);
        Ok(Self { columns, statistics: classic.learn(&runs), limits, factor })
    }

    /// One score a row, 1 at the limit.
    pub fn scores(&self, run: &[Vec<f64>]) -> Vec<f64> {
        let values = self.statistics.of(&standardise(run, &self.columns));
        highest(&values, &self.limits).into_iter().map(|v| v / self.factor).collect()
    }
}

fn standardise(run: &[Vec<f64>], columns: &[Scale]) -> DMatrix<f64> {
    let mut last = vec![0.0; columns.len()];
    let mut out = DMatrix::zeros(run.len(), columns.len());
    for (t, row) in run.iter().enumerate() {
        for (i, Scale { column, mean, deviation }) in columns.iter().enumerate() {
            if row[*column].is_finite() {
                last[i] = (row[*column] - mean) / deviation;
            }
            out[(t, i)] = last[i];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three tags, two of which move together.
    fn rows(n: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut state = seed;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / (1u64 << 30) as f64 - 1.0
        };
        let mut slow = 0.0;
        (0..n)
            .map(|_| {
                slow = 0.8 * slow + noise();
                vec![slow, slow + 0.1 * noise(), noise(), 5.0]
            })
            .collect()
    }

    #[test]
    fn each_classic_keeps_its_rate_and_finds_a_broken_relation() {
        for classic in Classic::ALL {
            let baseline = Baseline::fit(classic, &[rows(600, 1)], 0.01).unwrap();
            let normal = baseline.scores(&rows(4_000, 2));
            let rate = normal.iter().filter(|s| **s > 1.0).count() as f64 / normal.len() as f64;
            assert!((0.0005..0.03).contains(&rate), "{}: {rate}", classic.name());
            let mut broken = rows(200, 3);
            broken[100..].iter_mut().enumerate().for_each(|(t, r)| r[1] -= if t % 2 == 0 { 4.0 } else { -4.0 });
            let found = baseline.scores(&broken)[100..].iter().filter(|s| **s > 1.0).count();
            assert!(found > 80, "{}: {found}", classic.name());
        }
    }

    #[test]
    fn too_little_is_refused() {
        assert!(matches!(Baseline::fit(Classic::Pca, &[rows(3, 1)], 0.01), Err(BaselineError::TooFewRows { rows: 3 })));
        assert!(matches!(Baseline::fit(Classic::Cva, &[vec![vec![1.0]; 99]], 0.01), Err(BaselineError::NothingMoves)));
    }
}
