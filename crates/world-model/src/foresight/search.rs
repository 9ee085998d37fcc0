//! The improved cross-entropy method (iCEM; Pinneri et al. 2020, "Sample-efficient cross-entropy method for real-time
//! planning"): samples with coloured noise in time, a population that shrinks, elites that are kept, the mean as a last
//! candidate. Elites are not shifted from call to call, since every call stands alone.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::sigreg::normal;

const SAMPLES: usize = 96;
const ITERATIONS: usize = 5;
const ELITES: usize = 10;
/// The population shrinks by this from one iteration to the next, to no less than twice the elites.
const DECAY: f64 = 1.25;
/// Elites that are judged again beside the next samples.
const KEPT: usize = 3;
/// The weight of the old mean and deviation.
const MOMENTUM: f64 = 0.1;
/// The noise's power falls with frequency to this power: moves that lie beside each other go together.
const COLOUR: f64 = 2.0;
/// Of the whole way from the lowest to the highest value.
const DEVIATION: f64 = 0.3;

/// Candidates are `moves * levers` numbers from 0 to 1, move-major.
pub(super) type Candidate = Vec<f64>;

/// The candidate of least cost, and its cost. `cost` judges many at once; `held` is what there would be without a move,
/// and is always among those judged. Deterministic by `seed`.
pub(super) fn search(
    held: &[f64],
    levers: usize,
    seed: u64,
    cost: &mut dyn FnMut(&[Candidate]) -> Vec<f32>,
) -> (Candidate, f32) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let moves = held.len() / levers.max(1);
    let mut mean = held.to_vec();
    let mut deviation = vec![DEVIATION; held.len()];
    let mut best: (Candidate, f32) = (held.to_vec(), f32::INFINITY);
    let mut kept: Vec<Candidate> = vec![held.to_vec()];
    let mut count = SAMPLES as f64;
    for iteration in 0..ITERATIONS {
        let mut candidates: Vec<Candidate> = (0..(count as usize).max(2 * ELITES))
            .map(|_| {
                let noise = coloured(&mut rng, moves, levers);
                let drawn = mean.iter().zip(&deviation).zip(noise).map(|((m, d), n)| (m + d * n).clamp(0.0, 1.0));
                drawn.collect()
            })
            .collect();
        candidates.append(&mut kept);
        if iteration + 1 == ITERATIONS {
            candidates.push(mean.clone());
        }
        let costs = cost(&candidates);
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        order.sort_by(|&a, &b| costs[a].total_cmp(&costs[b]));
        if costs[order[0]] < best.1 {
            best = (candidates[order[0]].clone(), costs[order[0]]);
        }
        let elites: Vec<&Candidate> = order.iter().take(ELITES).map(|&i| &candidates[i]).collect();
        for at in 0..held.len() {
            let n = elites.len() as f64;
            let middle = elites.iter().map(|e| e[at]).sum::<f64>() / n;
            let spread = (elites.iter().map(|e| (e[at] - middle).powi(2)).sum::<f64>() / n).sqrt();
            mean[at] = MOMENTUM * mean[at] + (1.0 - MOMENTUM) * middle;
            deviation[at] = MOMENTUM * deviation[at] + (1.0 - MOMENTUM) * spread;
        }
        kept = order.iter().take(KEPT).map(|&i| candidates[i].clone()).collect();
        count /= DECAY;
    }
    best
}

/// Noise of variance about 1 for each number of a candidate, coloured along the moves of each lever.
fn coloured(rng: &mut ChaCha8Rng, moves: usize, levers: usize) -> Vec<f64> {
    let mut out = vec![0f64; moves * levers];
    // A constant, and whole and half waves over the moves.
    let amplitudes: Vec<f64> = (0..moves).map(|f| (f.max(1) as f64).powf(-COLOUR / 2.0)).collect();
    let power: f64 = amplitudes.iter().enumerate().map(|(f, a)| a * a * if f == 0 { 1.0 } else { 0.5 }).sum();
    for lever in 0..levers {
        for (f, amplitude) in amplitudes.iter().enumerate() {
            let size = f64::from(normal(rng)) * amplitude / power.max(1e-9).sqrt();
            for m in 0..moves {
                let phase = std::f64::consts::PI * f as f64 * (m as f64 + 0.5) / moves as f64;
                out[m * levers + lever] += size * phase.cos();
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bowl_has_its_bottom_found_and_the_same_seed_finds_the_same() {
        let wanted = [0.2, 0.7, 0.4, 0.6, 0.5, 0.5];
        let mut cost = |candidates: &[Candidate]| {
            let off = |c: &Candidate| c.iter().zip(&wanted).map(|(a, b)| (a - b).powi(2)).sum::<f64>() as f32;
            candidates.iter().map(off).collect::<Vec<f32>>()
        };
        let found = search(&[0.5; 6], 2, 3, &mut cost);
        assert!(found.1 < 0.02, "{found:?}");
        assert_eq!(found, search(&[0.5; 6], 2, 3, &mut cost));
    }
}
