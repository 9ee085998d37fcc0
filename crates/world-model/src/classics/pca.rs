//! Principal component analysis: Hotelling's T² in the space of the components and the squared prediction error outside
//! (Jackson and Mudholkar 1979); over a row and those before it, dynamic (Ku, Storer and Georgakis 1995).

use nalgebra::DMatrix;

use super::{Ahead, Statistics, lagged, stack};

/// Rows before the present one that the dynamic variant takes along.
pub(super) const DYNAMIC_LAGS: usize = 2;
/// Components are kept until they hold this share of the variance.
const VARIANCE_SHARE: f64 = 0.9;

pub(super) struct Pca {
    lags: usize,
    /// (value, component).
    loadings: DMatrix<f64>,
    variances: Vec<f64>,
}

impl Pca {
    pub(super) fn learn(runs: &[DMatrix<f64>], lags: usize) -> Self {
        let rows = stack(&runs.iter().map(|run| lagged(run, 0, lags)).collect::<Vec<_>>());
        let eigen = (rows.tr_mul(&rows) / rows.nrows().max(1) as f64).symmetric_eigen();
        let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
        let whole: f64 = eigen.eigenvalues.iter().map(|v| v.max(0.0)).sum();
        let mut held = 0.0;
        order.retain(|&i| {
            let wanted = held < VARIANCE_SHARE * whole;
            held += eigen.eigenvalues[i].max(0.0);
            wanted
        });
        Self {
            lags,
            loadings: eigen.eigenvectors.select_columns(&order),
            variances: order.iter().map(|&i| eigen.eigenvalues[i].max(f64::MIN_POSITIVE)).collect(),
        }
    }
}

impl Statistics for Pca {
    fn of(&self, run: &DMatrix<f64>) -> DMatrix<f64> {
        let rows = lagged(run, 0, self.lags);
        let scores = &rows * &self.loadings;
        DMatrix::from_fn(run.nrows(), 2, |t, statistic| {
            let scores = scores.row(t);
            if statistic == 0 {
                scores.iter().zip(&self.variances).map(|(s, v)| s * s / v).sum()
            } else {
                (rows.row(t).norm_squared() - scores.norm_squared()).max(0.0)
            }
        })
    }

    fn ahead(&self, run: &DMatrix<f64>) -> Ahead {
        Ahead::FromState(lagged(run, 0, self.lags) * &self.loadings)
    }
}
