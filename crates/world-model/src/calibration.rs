//! Limits from normal running: split conformal over block maxima, with an exponential tail where the wanted rate is
//! rarer than the data can show.

use std::ops::Range;

/// Seconds of a block.
const BLOCK_SECONDS: f64 = 60.0;
/// The fewest blocks that a calibration is cut into, even when they become short.
const BLOCKS_MIN: usize = 8;
const WEEK_SECONDS: f64 = 7.0 * 86_400.0;
/// A limit is at least this far above, and at most that far above, anything seen in calibration.
const ABOVE_MIN: f64 = 1.12;
const ABOVE_MAX: f64 = 1.8;
/// How far one half of the data may lie above the limit that the other half gives before the statistic is unsteady.
const UNSTEADY: f32 = 1.15;
/// The most that an unsteady statistic's own limit is raised.
const UNSTEADY_RAISE_MAX: f32 = 1.5;

/// Normal running of this length is taken to have shown a week's slow wander.
const WANDER_SHOWN_SECONDS: f64 = 4.0 * 3_600.0;

/// By how much more a slow average wanders in a week than it did in `seconds` of training. Slow noise has about as much
/// power in every octave of time (1/f), so what is still to come grows with the logarithm of the time not seen.
pub(crate) fn wander_to_come(seconds: f64) -> f32 {
    let octaves = |seen: f64| (WEEK_SECONDS / seen.max(1.0)).ln();
    (octaves(seconds) / octaves(WANDER_SHOWN_SECONDS)).max(1.0) as f32
}

/// How ticks are cut for training and calibration.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    /// The fold of each tick (over all runs, one after the other).
    pub(crate) fold: Vec<usize>,
    /// Blocks of ticks, each within one run.
    pub(crate) blocks: Vec<Range<usize>>,
    /// The runs as ranges of ticks.
    pub(crate) runs: Vec<Range<usize>>,
    /// Wanted probability that a block exceeds its limit.
    pub(crate) probability: f64,
    pub(crate) block_ticks: usize,
    /// One half of the segments each, alternating within each fold.
    halves: [Vec<Range<usize>>; 2],
    segment: usize,
}

/// Folds of cross-validation; the network holds back the first one, a quarter.
pub(crate) const FOLDS: usize = 4;

impl Cut {
    pub(crate) fn new(run_lengths: &[usize], tick_ns: i64, false_alarms_per_week: f64) -> Self {
        let total: usize = run_lengths.iter().sum();
        let tick_seconds = tick_ns as f64 / 1e9;
        let wanted = (BLOCK_SECONDS / tick_seconds).round().max(1.0) as usize;
        let block_ticks = wanted.min(total / BLOCKS_MIN).max(1);
        // About six segments a fold, so that each fold sees all of the run's phases.
        let segment = (total / (6 * FOLDS)).clamp(4, 900).max(1);
        let segment = if segment > block_ticks { segment / block_ticks * block_ticks } else { segment };
        let mut cut = Self {
            fold: Vec::with_capacity(total),
            blocks: Vec::new(),
            runs: Vec::new(),
            probability: (false_alarms_per_week * block_ticks as f64 * tick_seconds / WEEK_SECONDS).clamp(1e-9, 0.5),
            block_ticks,
            halves: [Vec::new(), Vec::new()],
            segment,
        };
        for &length in run_lengths {
            let start = cut.fold.len();
            cut.runs.push(start..start + length);
            // The held-back fold does not come first, so that even the shortest run has a past to learn from.
            cut.fold.extend((start..start + length).map(|t| (t / segment + 1) % FOLDS));
            let mut at = start;
            while at + block_ticks <= start + length {
                cut.blocks.push(at..at + block_ticks);
                cut.halves[cut.half(at)].push(at..at + block_ticks);
                at += block_ticks;
            }
        }
        cut
    }

    fn half(&self, tick: usize) -> usize {
        tick / self.segment / FOLDS % 2
    }

    /// The limit of a statistic (see [`limit`]). `highest` is raised to the statistic's score at each tick under the limit
    /// that the *other* half of the segments gives, so that what is later read from `highest` does not flatter.
    ///
    /// A statistic whose halves disagree has shown less than it can do: its own limit rises (by at most
    /// [`UNSTEADY_RAISE_MAX`]), and in `highest` it counts for no more than [`UNSTEADY`], so that one restless statistic
    /// does not blunt all others.
    pub(crate) fn limit(&self, series: &[f32], highest: &mut [f32]) -> Limit {
        let [other, this] = [0, 1].map(|half| limit(series, &self.halves[half], self.probability).value);
        let score = |t: usize| series[t] / if self.half(t) == 0 { this } else { other };
        let worst = (0..series.len()).map(score).filter(|s| s.is_finite()).fold(0.0, f32::max);
        let unsteady = (worst / UNSTEADY).max(1.0);
        for (t, h) in highest.iter_mut().enumerate() {
            *h = h.max(score(t) / unsteady);
        }
        let fitted = limit(series, &self.blocks, self.probability);
        Limit { value: fitted.value * unsteady.min(UNSTEADY_RAISE_MAX), ..fitted }
    }

    /// What all limits are multiplied by so that together they keep the wanted rate; from `highest` as [`Self::limit`]
    /// left it.
    pub(crate) fn factor(&self, highest: &[f32]) -> f32 {
        limit(highest, &self.blocks, self.probability).value.max(1.0)
    }

    /// Maximal ranges of ticks whose fold satisfies `wanted`, within runs.
    pub(crate) fn ranges(&self, wanted: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
        let mut out: Vec<Range<usize>> = Vec::new();
        for run in &self.runs {
            let mut start = None;
            for t in run.clone() {
                match (wanted(self.fold[t]), start) {
                    (true, None) => start = Some(t),
                    (false, Some(s)) => {
                        out.push(s..t);
                        start = None;
                    }
                    _ => {}
                }
            }
            if let Some(s) = start {
                out.push(s..run.end);
            }
        }
        out
    }
}

/// A limit, and whether it lies beyond what the data can show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limit {
    pub(crate) value: f32,
    pub(crate) extrapolated: bool,
}

/// Ticks after which a series has forgotten itself (its correlation falls under 1/e), found at doubling lags.
fn memory(series: &[f32]) -> usize {
    let finite: Vec<f64> = series.iter().filter(|v| v.is_finite()).map(|&v| f64::from(v)).collect();
    let n = finite.len();
    if n < 4 {
        return 1;
    }
    let mean = finite.iter().sum::<f64>() / n as f64;
    let variance: f64 = finite.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
    let mut lag = 1;
    while lag < n / 4 {
        let covariance: f64 =
            finite[lag..].iter().zip(&finite).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / (n - lag) as f64;
        if covariance < 0.37 * variance {
            break;
        }
        lag *= 2;
    }
    lag
}

/// The limit of a statistic that is above it in a block with `probability`. `series` has one value a tick, NaN where it
/// says nothing.
///
/// Where enough blocks exist the limit is their conformal quantile; beyond, the excess of the highest fifth of the
/// maxima is taken as exponential (Pickands 1975 with shape 0) and the limit kept between [`ABOVE_MIN`] and [`ABOVE_MAX`]
/// times what was seen. A statistic with a long memory has shown less of itself than its ticks say: its limit is raised.
pub(crate) fn limit(series: &[f32], blocks: &[Range<usize>], probability: f64) -> Limit {
    let mut maxima: Vec<f64> = blocks
        .iter()
        .map(|b| series[b.clone()].iter().copied().filter(|v| v.is_finite()).fold(f32::MIN, f32::max))
        .filter(|&m| m > f32::MIN)
        .map(f64::from)
        .collect();
    maxima.sort_by(f64::total_cmp);
    let n = maxima.len();
    if n == 0 {
        return Limit { value: f32::INFINITY, extrapolated: true };
    }
    let highest = maxima[n - 1].max(1e-6);
    let rank = ((n + 1) as f64 * (1.0 - probability)).ceil() as usize;
    if rank <= n {
        return Limit { value: maxima[rank - 1].max(1e-6) as f32, extrapolated: false };
    }
    let top = (n / 5).max(5).min(n);
    let threshold = if top < n { maxima[n - top - 1] } else { maxima[0] };
    let excess = maxima[n - top..].iter().map(|m| m - threshold).sum::<f64>() / top as f64;
    let tail = threshold + excess * (top as f64 / n as f64 / probability).max(1.0).ln();
    let independent = series.iter().filter(|v| v.is_finite()).count() as f64 / (2.0 * memory(series) as f64);
    let doubt = 1.0 + (2.0 / independent.max(1.0).sqrt()).min(1.0);
    let value = (tail.clamp(highest * ABOVE_MIN, highest * ABOVE_MAX)).max(highest * doubt);
    Limit { value: value as f32, extrapolated: true }
}

/// The `q` quantile of absolute values; 0 for none. Reorders `values`.
pub(crate) fn quantile(values: &mut [f32], q: f64) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let at = ((values.len() - 1) as f64 * q).round() as usize;
    *values.select_nth_unstable_by(at, f32::total_cmp).1
}

/// A scale that a few outliers do not shrink or blow up: the largest of what the median, the 95 % and the 99 % quantile
/// of the absolute values would be for a normal distribution.
pub(crate) fn robust_scale(values: impl Iterator<Item = f32>) -> f32 {
    let mut sizes: Vec<f32> = values.filter(|v| v.is_finite()).map(f32::abs).collect();
    if sizes.is_empty() {
        return 0.0;
    }
    let by = [(0.5, 0.6745), (0.95, 1.96), (0.99, 2.576)];
    let scale = by.map(|(q, normal)| quantile(&mut sizes, q) / normal).into_iter().fold(0.0, f32::max);
    if sizes.len() < 100 {
        let highest = sizes.iter().copied().fold(0.0, f32::max);
        return scale.max(highest / 2.5);
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize) -> Vec<f32> {
        let mut state = 7u32;
        (0..n)
            .map(|_| {
                let mut sum = 0.0;
                for _ in 0..12 {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    sum += (state >> 8) as f32 / (1u32 << 24) as f32;
                }
                (sum - 6.0).abs()
            })
            .collect()
    }

    #[test]
    fn a_limit_that_the_data_can_show_is_exceeded_as_often_as_wanted() {
        let cut = Cut::new(&[60_000], 1_000_000_000, 1.0);
        let series = noise(60_000);
        let fitted = limit(&series[..30_000], &cut.blocks[..500], 0.1);
        assert!(!fitted.extrapolated);
        let fresh = cut.blocks[500..].iter().filter(|b| series[(*b).clone()].iter().any(|v| *v > fitted.value)).count();
        assert!((25..=80).contains(&fresh), "{fresh} of 500 blocks");
    }

    #[test]
    fn a_rarer_limit_is_extrapolated_and_lies_above_all_that_was_seen() {
        let cut = Cut::new(&[6_000], 1_000_000_000, 1.0);
        let series = noise(6_000);
        let fitted = limit(&series, &cut.blocks, 1e-4);
        let highest = series.iter().copied().fold(0.0, f32::max);
        assert!(fitted.extrapolated && fitted.value > highest && fitted.value < 2.0 * highest);
    }

    #[test]
    fn the_less_was_seen_the_more_wander_is_to_come() {
        assert_eq!(wander_to_come(5.0 * 3_600.0), 1.0);
        assert!(wander_to_come(3_600.0) > 1.2 && wander_to_come(3_600.0) < 1.5);
        assert!(wander_to_come(400.0) > 1.8 && wander_to_come(400.0) < 2.2);
    }

    #[test]
    fn every_tick_is_in_one_fold_and_a_quarter_is_held_back() {
        let cut = Cut::new(&[5_000, 3_000], 1_000_000_000, 1.0);
        let held = cut.fold.iter().filter(|f| **f == 0).count();
        assert!(held * 4 > 8_000 * 8 / 10 && held * 4 < 8_000 * 13 / 10, "{held}");
        assert!(cut.ranges(|f| f == 0).len() > 3);
    }
}
