//! Covariances of many tags from few rows: shrunk, and turned into whitening transforms.

use nalgebra::{DMatrix, DVector};

/// Tags whose covariance is estimated together; wider tables are taken in groups of this many, in column order.
pub(crate) const GROUP_TAGS_MAX: usize = 100;
/// Eigenvalues below this share of their mean are numerical noise, as two identical tags make them.
const EIGENVALUE_SHARE_MIN: f64 = 1e-7;

/// The covariance about zero of `rows` (one a row), shrunk towards a multiple of the identity (Ledoit and Wolf 2004, "A
/// well-conditioned estimator for large-dimensional covariance matrices", equations 6 to 14). `dependence` is how many rows
/// tell as much of a covariance as one independent row.
pub(crate) fn ledoit_wolf(rows: &DMatrix<f64>, dependence: f64) -> DMatrix<f64> {
    let (n, p) = rows.shape();
    let mut covariance = rows.tr_mul(rows) / n.max(1) as f64;
    let mean_variance = covariance.trace() / p.max(1) as f64;
    let squares = covariance.iter().map(|v| v * v).sum::<f64>();
    let distance = squares - p as f64 * mean_variance * mean_variance;
    let fourth: f64 = rows.row_iter().map(|r| r.norm_squared().powi(2)).sum::<f64>() / n.max(1) as f64;
    let noise = ((fourth - squares) * dependence / n.max(1) as f64).max(0.0);
    let shrinkage = if distance > 0.0 { (noise / distance).min(1.0) } else { 1.0 };
    covariance *= 1.0 - shrinkage;
    for i in 0..p {
        covariance[(i, i)] += shrinkage * mean_variance;
    }
    covariance
}

/// `covariance` to the power of -1/2 (symmetric), or of -1, with eigenvalues of at least `floor`.
pub(crate) fn power(covariance: DMatrix<f64>, exponent: f64, floor: f64) -> DMatrix<f64> {
    let p = covariance.nrows();
    let mean = covariance.trace() / p.max(1) as f64;
    let least = floor.max(EIGENVALUE_SHARE_MIN * mean).max(f64::MIN_POSITIVE);
    let eigen = covariance.symmetric_eigen();
    let scaled =
        DMatrix::from_fn(p, p, |i, j| eigen.eigenvectors[(i, j)] * eigen.eigenvalues[j].max(least).powf(exponent));
    scaled * eigen.eigenvectors.transpose()
}

/// A symmetric linear map of tag vectors, in blocks of at most [`GROUP_TAGS_MAX`] tags.
#[derive(Clone, Debug)]
pub(crate) struct BlockMap {
    blocks: Vec<DMatrix<f64>>,
}

impl BlockMap {
    fn from_rows(rows: &DMatrix<f64>, dependence: f64, map: impl Fn(DMatrix<f64>) -> DMatrix<f64>) -> Self {
        let tags = rows.ncols();
        let starts = (0..tags).step_by(GROUP_TAGS_MAX);
        let blocks =
            starts.map(|s| map(ledoit_wolf(&rows.columns(s, GROUP_TAGS_MAX.min(tags - s)).into_owned(), dependence)));
        Self { blocks: blocks.collect() }
    }

    /// What makes `rows` (about zero) uncorrelated with unit variance.
    pub(crate) fn whitening(rows: &DMatrix<f64>) -> Self {
        Self::from_rows(rows, 1.0, |c| power(c, -0.5, 0.0))
    }

    /// The inverse covariance of `rows` (about zero; see [`ledoit_wolf`]), with eigenvalues of the covariance of at least `floor`.
    pub(crate) fn precision(rows: &DMatrix<f64>, dependence: f64, floor: f64) -> Self {
        Self::from_rows(rows, dependence, |c| power(c, -1.0, floor))
    }

    /// The map of one vector.
    pub(crate) fn apply(&self, vector: &DVector<f64>) -> DVector<f64> {
        let mut out = DVector::zeros(vector.len());
        let mut at = 0;
        for block in &self.blocks {
            let n = block.nrows();
            out.rows_mut(at, n).gemv(1.0, block, &vector.rows(at, n), 0.0);
            at += n;
        }
        out
    }

    /// The map of every row.
    pub(crate) fn apply_rows(&self, rows: &DMatrix<f64>) -> DMatrix<f64> {
        let mut out = DMatrix::zeros(rows.nrows(), rows.ncols());
        let mut at = 0;
        for block in &self.blocks {
            let n = block.nrows();
            out.columns_mut(at, n).gemm(1.0, &rows.columns(at, n), block, 0.0);
            at += n;
        }
        out
    }

    /// `self * inner * self`, block by block.
    pub(crate) fn around(&self, inner: &Self) -> Self {
        Self { blocks: self.blocks.iter().zip(&inner.blocks).map(|(a, b)| a * b * a).collect() }
    }

    /// The diagonal.
    pub(crate) fn diagonal(&self) -> Vec<f64> {
        self.blocks.iter().flat_map(|b| b.diagonal().iter().copied().collect::<Vec<_>>()).collect()
    }

    /// Completes `vector` where `missing`: with the mean that a zero-mean normal law of this precision gives for those
    /// entries once the others are known.
    pub(crate) fn complete(&self, vector: &mut DVector<f64>, missing: &[bool]) {
        let mut at = 0;
        for block in &self.blocks {
            let n = block.nrows();
            let (gone, here): (Vec<usize>, Vec<usize>) = (0..n).partition(|i| missing[at + i]);
            if !gone.is_empty() {
                let inner = DMatrix::from_fn(gone.len(), gone.len(), |i, j| block[(gone[i], gone[j])]);
                let pull = DVector::from_fn(gone.len(), |i, _| {
                    -here.iter().map(|&j| block[(gone[i], j)] * vector[at + j]).sum::<f64>()
                });
                // A precision's diagonal block is positive definite; the mean is zero should rounding say otherwise.
                let solved = inner.cholesky().map_or_else(|| DVector::zeros(gone.len()), |c| c.solve(&pull));
                gone.iter().zip(solved.iter()).for_each(|(&i, v)| vector[at + i] = *v);
            }
            at += n;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_entry_gets_its_conditional_mean() {
        // Covariance [[1, 0.8], [0.8, 1]]: given 2 for the first, the second is 1.6 on average.
        let covariance = DMatrix::from_row_slice(2, 2, &[1.0, 0.8, 0.8, 1.0]);
        let map = BlockMap { blocks: vec![power(covariance, -1.0, 0.0)] };
        let mut vector = DVector::from_vec(vec![2.0, f64::NAN]);
        map.complete(&mut vector, &[false, true]);
        assert!((vector[1] - 1.6).abs() < 1e-9, "{vector}");
    }

    #[test]
    fn few_rows_are_shrunk_and_many_are_not() {
        let mut state = 1u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as f64 / (1u64 << 30) as f64 - 1.0
        };
        let mut off = |n: usize| {
            let rows = DMatrix::from_fn(n, 2, |_, _| noise());
            let mixed =
                DMatrix::from_fn(n, 2, |i, j| if j == 0 { rows[(i, 0)] } else { rows[(i, 0)] + 0.1 * rows[(i, 1)] });
            let covariance = ledoit_wolf(&mixed, 1.0);
            covariance[(0, 1)] / (covariance[(0, 0)] * covariance[(1, 1)]).sqrt()
        };
        let (few, many) = (off(6), off(20_000));
        assert!(few < 0.97 && many > 0.99, "{few} {many}");
    }
}
