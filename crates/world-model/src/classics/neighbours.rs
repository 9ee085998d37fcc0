//! Nearest neighbours (He and Wang 2007, "Fault detection using the k-nearest neighbor rule"): the mean squared distance to
//! the nearest rows of training.

use nalgebra::DMatrix;

use super::{Ahead, Statistics, stack};

const NEIGHBOURS: usize = 5;
/// Rows of training that are kept, evenly chosen.
const ROWS_MAX: usize = 4_000;

pub(super) struct Neighbours {
    /// One column a row of training.
    known: DMatrix<f64>,
}

impl Neighbours {
    pub(super) fn learn(runs: &[DMatrix<f64>]) -> Self {
        let rows = stack(runs);
        let step = rows.nrows().div_ceil(ROWS_MAX).max(1);
        let chosen: Vec<usize> = (0..rows.nrows()).step_by(step).collect();
        Self { known: rows.select_rows(&chosen).transpose() }
    }
}

impl Statistics for Neighbours {
    fn of(&self, run: &DMatrix<f64>) -> DMatrix<f64> {
        DMatrix::from_fn(run.nrows(), 1, |t, _| {
            let row = run.row(t).transpose();
            let mut distances: Vec<f64> = self.known.column_iter().map(|k| (k - &row).norm_squared()).collect();
            let nearest = NEIGHBOURS.min(distances.len());
            if nearest == 0 {
                return 0.0;
            }
            distances.select_nth_unstable_by(nearest - 1, f64::total_cmp);
            distances[..nearest].iter().sum::<f64>() / nearest as f64
        })
    }

    fn ahead(&self, _run: &DMatrix<f64>) -> Ahead {
        Ahead::Analogues
    }
}
