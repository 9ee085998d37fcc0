//! Persistence: the next row is as this one; the statistic is the mean squared change, in standard deviations of changes.

use nalgebra::DMatrix;

use super::{Ahead, Statistics};

pub(super) struct Persistence {
    variances: Vec<f64>,
}

impl Persistence {
    pub(super) fn learn(runs: &[DMatrix<f64>]) -> Self {
        let columns = runs.first().map_or(0, DMatrix::ncols);
        let variance = |c: usize| {
            let (mut sum, mut count) = (0.0, 0.0);
            for run in runs {
                for t in 1..run.nrows() {
                    sum += (run[(t, c)] - run[(t - 1, c)]).powi(2);
                    count += 1.0;
                }
            }
            (sum / f64::max(count, 1.0)).max(f64::MIN_POSITIVE)
        };
        Self { variances: (0..columns).map(variance).collect() }
    }
}

impl Statistics for Persistence {
    fn of(&self, run: &DMatrix<f64>) -> DMatrix<f64> {
        let d = self.variances.len().max(1) as f64;
        DMatrix::from_fn(run.nrows(), 1, |t, _| {
            let change = |c: usize| (run[(t, c)] - run[(t.saturating_sub(1), c)]).powi(2);
            self.variances.iter().enumerate().map(|(c, v)| change(c) / v).sum::<f64>() / d
        })
    }

    fn ahead(&self, _run: &DMatrix<f64>) -> Ahead {
        Ahead::Persists
    }
}
