//! SIGReg: keeps states spread like an isotropic Gaussian (LeJEPA, arXiv 2511.08544, section 4): along random
//! directions, the Epps-Pulley statistic compares the empirical characteristic function with that of N(0, 1).

use candle_core::{Result, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Random directions a step.
const DIRECTIONS: usize = 64;
/// Points of the characteristic function, on (0, 3].
const KNOTS: usize = 9;

/// A standard normal number (Box and Muller).
pub(crate) fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let u: f32 = 1.0 - rng.random::<f32>();
    let v: f32 = rng.random();
    (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}

/// The mean over directions of the statistic for states (samples, latent).
pub(crate) fn sigreg(states: &Tensor, rng: &mut ChaCha8Rng) -> Result<Tensor> {
    let (samples, latent) = states.dims2()?;
    let mut directions = vec![0f32; latent * DIRECTIONS];
    for d in 0..DIRECTIONS {
        let column: Vec<f32> = (0..latent).map(|_| normal(rng)).collect();
        let norm = column.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-6);
        for (i, v) in column.iter().enumerate() {
            directions[i * DIRECTIONS + d] = v / norm;
        }
    }
    let directions = Tensor::from_vec(directions, (latent, DIRECTIONS), states.device())?;
    let projected = states.matmul(&directions)?;
    let mut total: Option<Tensor> = None;
    for k in 1..=KNOTS {
        let t = 3.0 * k as f64 / KNOTS as f64;
        let target = (-0.5 * t * t).exp();
        let angle = (&projected * t)?;
        let real = (angle.cos()?.mean(0)? - target)?.sqr()?;
        let imaginary = angle.sin()?.mean(0)?.sqr()?;
        // Weighted by the Gaussian window exp(-t^2 / 2), times the step of the quadrature and both signs of t.
        let term = ((real + imaginary)? * (target * 2.0 * 3.0 / KNOTS as f64))?;
        total = Some(match total {
            Some(total) => (total + term)?,
            None => term,
        });
    }
    let total = total.map_or_else(|| Tensor::zeros(DIRECTIONS, candle_core::DType::F32, states.device()), Ok)?;
    total.mean_all()? * samples as f64
}

/// How far the standard deviation of each channel falls short of 1 (VICReg's variance hinge).
pub(crate) fn variance_hinge(states: &Tensor) -> Result<Tensor> {
    let centred = states.broadcast_sub(&states.mean_keepdim(0)?)?;
    let deviation = (centred.sqr()?.mean(0)? + 1e-4)?.sqrt()?;
    (1.0 - deviation)?.relu()?.mean_all()
}

/// The effective rank of states (Roy and Vetterli 2007): e to the entropy of the normalised eigenvalues of their
/// covariance. `states` is row-major with `latent` columns.
pub(crate) fn effective_rank(states: &[f32], latent: usize) -> f32 {
    let n = states.len() / latent;
    if n < 2 {
        return 0.0;
    }
    let mut mean = vec![0f64; latent];
    for row in states.chunks(latent) {
        mean.iter_mut().zip(row).for_each(|(m, v)| *m += f64::from(*v) / n as f64);
    }
    let mut covariance = vec![0f64; latent * latent];
    for row in states.chunks(latent) {
        for i in 0..latent {
            let a = f64::from(row[i]) - mean[i];
            for j in 0..latent {
                covariance[i * latent + j] += a * (f64::from(row[j]) - mean[j]) / n as f64;
            }
        }
    }
    let eigenvalues = eigenvalues(covariance, latent);
    let total: f64 = eigenvalues.iter().sum();
    if total <= 1e-12 {
        return 0.0;
    }
    let entropy: f64 = eigenvalues.iter().map(|v| v / total).filter(|p| *p > 1e-12).map(|p| -p * p.ln()).sum();
    entropy.exp() as f32
}

/// Eigenvalues of a symmetric matrix by cyclic Jacobi rotations, negatives of rounding cut at 0.
fn eigenvalues(mut a: Vec<f64>, n: usize) -> Vec<f64> {
    const SWEEPS: usize = 30;
    for _ in 0..SWEEPS {
        let off: f64 = (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| a[i * n + j].powi(2)).sum();
        let diagonal: f64 = (0..n).map(|i| a[i * n + i].powi(2)).sum();
        if off <= 1e-18 * (diagonal + 1e-30) {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                let apq = a[p * n + q];
                if apq.abs() < 1e-300 {
                    continue;
                }
                let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * apq);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let t = if theta == 0.0 { 1.0 } else { t };
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for k in 0..n {
                    let (akp, akq) = (a[k * n + p], a[k * n + q]);
                    a[k * n + p] = c * akp - s * akq;
                    a[k * n + q] = s * akp + c * akq;
                }
                for k in 0..n {
                    let (apk, aqk) = (a[p * n + k], a[q * n + k]);
                    a[p * n + k] = c * apk - s * aqk;
                    a[q * n + k] = s * apk + c * aqk;
                }
            }
        }
    }
    (0..n).map(|i| a[i * n + i].max(0.0)).collect()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_effective_rank_counts_the_directions_that_are_used() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let latent = 8;
        let full: Vec<f32> = (0..latent * 4000).map(|_| normal(&mut rng)).collect();
        let flat: Vec<f32> = full.iter().enumerate().map(|(i, v)| if i % latent < 2 { *v } else { 0.0 }).collect();
        assert!((effective_rank(&full, latent) - 8.0).abs() < 0.2);
        assert!((effective_rank(&flat, latent) - 2.0).abs() < 0.1);
    }

    #[test]
    fn a_gaussian_cloud_costs_less_than_a_collapsed_or_a_stretched_one() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let values: Vec<f32> = (0..16 * 256).map(|_| normal(&mut rng)).collect();
        let cost = |scale: f32| -> f32 {
            let scaled: Vec<f32> = values.iter().map(|v| v * scale).collect();
            let states = Tensor::from_vec(scaled, (256, 16), &Device::Cpu).unwrap();
            sigreg(&states, &mut ChaCha8Rng::seed_from_u64(5)).unwrap().to_scalar().unwrap()
        };
        assert!(cost(1.0) * 5.0 < cost(0.05), "{} {}", cost(1.0), cost(0.05));
        assert!(cost(1.0) * 5.0 < cost(5.0), "{} {}", cost(1.0), cost(5.0));
    }
}
