//! Canonical variate analysis (Larimore 1990; for monitoring, Russell, Chiang and Braatz 2000): the combinations of the past
//! that tell most of the future are the state; T² of the state, and of what of the past is left outside of it.
//!
//! Covariances are shrunk (Ledoit and Wolf 2004), as a few hundred rows do not determine those of hundreds of lagged values.

use nalgebra::DMatrix;

use super::{Ahead, Statistics, lagged, stack};
use crate::score::{ledoit_wolf, power};

/// Rows of past and of future.
const LAGS: usize = 5;
/// States.
const ORDER: usize = 25;

pub(super) struct Cva {
    /// Whitens the past.
    whitening: DMatrix<f64>,
    /// (whitened past, state).
    states: DMatrix<f64>,
}

impl Cva {
    pub(super) fn learn(runs: &[DMatrix<f64>]) -> Self {
        let usable: Vec<&DMatrix<f64>> = runs.iter().filter(|run| run.nrows() > 2 * LAGS).collect();
        let (mut pasts, mut futures) = (Vec::new(), Vec::new());
        for run in usable {
            // Rows whose whole past and future lie in the run; the future of a row begins with itself.
            let whole = run.nrows() - 2 * LAGS + 1;
            pasts.push(lagged(run, 1, LAGS).rows(LAGS, whole).into_owned());
            futures.push(lagged(run, 0, LAGS - 1).rows(2 * LAGS - 1, whole).into_owned());
        }
        let (past, future) = (stack(&pasts), stack(&futures));
        let whitening = power(ledoit_wolf(&past, 1.0), -0.5, 0.0);
        let cross = &whitening * past.tr_mul(&future) * power(ledoit_wolf(&future, 1.0), -0.5, 0.0)
            / past.nrows().max(1) as f64;
        let eigen = (&cross * cross.transpose()).symmetric_eigen();
        let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
        order.truncate(ORDER.min(runs.first().map_or(0, DMatrix::ncols)));
        Self { states: eigen.eigenvectors.select_columns(&order), whitening }
    }
}

impl Cva {
    /// Whitened; the present row is judged, so that it counts as past.
    fn past(&self, run: &DMatrix<f64>) -> DMatrix<f64> {
        lagged(run, 0, LAGS - 1) * &self.whitening
    }
}

impl Statistics for Cva {
    fn of(&self, run: &DMatrix<f64>) -> DMatrix<f64> {
        let past = self.past(run);
        let states = &past * &self.states;
        DMatrix::from_fn(run.nrows(), 2, |t, statistic| {
            let state = states.row(t).norm_squared();
            if statistic == 0 { state } else { (past.row(t).norm_squared() - state).max(0.0) }
        })
    }

    fn ahead(&self, run: &DMatrix<f64>) -> Ahead {
        Ahead::FromState(self.past(run) * &self.states)
    }
}
