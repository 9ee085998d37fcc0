//! Which tags have no settled level: a forecast must not expect them to return to where they were.

use nalgebra::{DMatrix, DVector};

/// Differences that the unit-root test takes along.
const ADF_LAGS: usize = 4;
/// Of the augmented Dickey-Fuller test with a constant, at 5 % (Fuller 1976, table 8.5.2).
const ADF_CRITICAL: f64 = -2.86;
/// Of the KPSS test for a level, at 5 % (Kwiatkowski et al. 1992, table 1).
const KPSS_CRITICAL: f64 = 0.463;

/// Whether the values of the runs wander: a unit root is not rejected (Dickey and Fuller 1979) *and* a settled level is
/// (Kwiatkowski, Phillips, Schmidt and Shin 1992). Either test alone mistakes slow but settled tags for wandering ones.
pub(crate) fn wanders(runs: &[Vec<f64>]) -> bool {
    kpss(runs) > KPSS_CRITICAL && adf(runs) > ADF_CRITICAL
}

/// The t statistic of the level in a regression of the differences; very negative for a tag that returns.
fn adf(runs: &[Vec<f64>]) -> f64 {
    let mut rows: Vec<f64> = Vec::new();
    let mut targets = Vec::new();
    for run in runs {
        for t in ADF_LAGS..run.len().saturating_sub(1) {
            rows.push(run[t]);
            rows.extend((1..=ADF_LAGS).map(|lag| run[t + 1 - lag] - run[t - lag]));
            targets.push(run[t + 1] - run[t]);
        }
    }
    let width = ADF_LAGS + 1;
    let n = targets.len();
    if n < 3 * width {
        return f64::NEG_INFINITY;
    }
    let mut x = DMatrix::from_row_slice(n, width, &rows);
    let mut y = DVector::from_vec(targets);
    for mut column in x.column_iter_mut() {
        let mean = column.mean();
        column.add_scalar_mut(-mean);
    }
    let mean = y.mean();
    y.add_scalar_mut(-mean);
    let Some(cholesky) = x.tr_mul(&x).cholesky() else { return f64::NEG_INFINITY };
    let beta = cholesky.solve(&x.tr_mul(&y));
    let variance = (&y - &x * &beta).norm_squared() / (n - width - 1) as f64;
    let spread = (variance * cholesky.inverse()[(0, 0)]).sqrt();
    if spread > 0.0 { beta[0] / spread } else { f64::NEG_INFINITY }
}

/// The largest statistic of any run.
fn kpss(runs: &[Vec<f64>]) -> f64 {
    let of = |run: &Vec<f64>| {
        let n = run.len();
        let mean = run.iter().sum::<f64>() / n.max(1) as f64;
        let centred: Vec<f64> = run.iter().map(|v| v - mean).collect();
        // The usual bandwidth, 12 (n / 100)^(1/4), with Bartlett's weights.
        let lags = ((12.0 * (n as f64 / 100.0).powf(0.25)) as usize).min(n.saturating_sub(1));
        let product = |lag: usize| centred[lag..].iter().zip(&centred).map(|(a, b)| a * b).sum::<f64>();
        let weighted = |lag: usize| 2.0 * (1.0 - lag as f64 / (lags as f64 + 1.0)) * product(lag);
        let long_run = (product(0) + (1..=lags).map(weighted).sum::<f64>()) / n.max(1) as f64;
        let mut sum = 0.0;
        let sums: f64 = centred
            .iter()
            .map(|v| {
                sum += v;
                sum * sum
            })
            .sum();
        if long_run > 0.0 { sums / (n * n) as f64 / long_run } else { 0.0 }
    };
    runs.iter().map(of).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(n: usize, memory: f64, seed: u64) -> Vec<f64> {
        let mut state = seed;
        let mut value = 0.0;
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                value = memory * value + (state >> 33) as f64 / (1u64 << 30) as f64 - 1.0;
                value
            })
            .collect()
    }

    #[test]
    fn a_random_walk_wanders_and_a_settled_tag_does_not() {
        let share = |memory: f64| (1..41).filter(|s| wanders(&[series(400, memory, *s)])).count();
        assert!(share(1.0) >= 24, "{}", share(1.0));
        assert!(share(0.0) + share(0.7) <= 2, "{} {}", share(0.0), share(0.7));
        assert!(!wanders(&[vec![1.0; 400]]));
    }
}
