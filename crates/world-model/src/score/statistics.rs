//! From residuals to statistics: how far a row lies from what was foreseen, at once and on average.
//!
//! The *fast* statistic is the Mahalanobis length of a row's residual (Hotelling's T²). The *averages* are the same of its
//! exponentially weighted averages (MEWMA, Lowry et al. 1992), each with the covariance that averages had on held-back
//! rows. The *energies* are averages of the fast statistic itself, which grow when tags do not shift but shake. All in the
//! cube root, which is nearly normal (Wilson and Hilferty 1931).

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

use super::covariance::BlockMap;
use super::limits::{self, Limit};
use super::stack;

/// Weights of the newest row, from fast to slow.
const AVERAGES: [f64; 3] = [0.3, 0.1, 0.03];
/// An average is used when this many of its memories (1/weight) fit into a held-back block.
const MEMORIES_MIN: f64 = 3.0;
/// How much shorter a block may be.
const MEMORIES_TOLERANCE: f64 = 1.05;
/// Whitened residuals have unit variance; what an estimate for the fast statistic lies below this is chance. Of 0.6 to 1.0
/// in tenths, the one with which a fit on Tennessee Eastman's `d00` flags nearest to 1 % of its other fault-free run.
const FAST_VARIANCE_MIN: f64 = 0.9;

/// Residuals of one training block under a forecast that did not see it: all rows of its run up to the block's end.
pub(crate) struct HeldBack {
    pub(crate) residuals: DMatrix<f64>,
    /// Rows before the block, on which averages warm up.
    pub(crate) warm_up: usize,
}

impl HeldBack {
    fn own(&self) -> DMatrix<f64> {
        self.residuals.rows(self.warm_up, self.residuals.nrows() - self.warm_up).into_owned()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Statistics {
    whitening: BlockMap,
    weights: Vec<f64>,
    /// Of whitened residuals, then of their averages.
    precisions: Vec<BlockMap>,
    /// Of the residuals themselves; what a missing tag's residual is completed with.
    pub(crate) precision: BlockMap,
    /// Precisions in the tags' own space and their diagonals, for attribution.
    blames: Vec<(BlockMap, Vec<f64>)>,
    /// Fast, averages, energies.
    limits: Vec<Limit>,
}

/// The running averages of one stream.
#[derive(Clone, Debug)]
pub(crate) struct Averages {
    vectors: Vec<DVector<f64>>,
    energies: Vec<f64>,
    /// Averages of each tag's part in the fast statistic, to attribute energies.
    shares: Vec<DVector<f64>>,
}

fn others<T>(all: &[T], but: Option<usize>) -> Vec<&T> {
    all.iter().enumerate().filter(|(i, _)| Some(*i) != but).map(|(_, v)| v).collect()
}

/// Exponentially weighted averages of rows, from 0 on.
fn average(rows: &DMatrix<f64>, weight: f64) -> DMatrix<f64> {
    let mut out = rows.clone() * weight;
    for t in 1..out.nrows() {
        for c in 0..out.ncols() {
            out[(t, c)] += (1.0 - weight) * out[(t - 1, c)];
        }
    }
    out
}

/// How many rows of an average tell as much of its covariance as one independent row: the sum of its squared
/// autocorrelations.
fn dependence(weight: f64) -> f64 {
    let squared = (1.0 - weight).powi(2);
    (1.0 + squared) / (1.0 - squared)
}

/// Row by row, the cube root of the squared length under a precision.
fn lengths(rows: &DMatrix<f64>, precision: &BlockMap) -> Vec<f64> {
    let mapped = precision.apply_rows(rows);
    rows.row_iter().zip(mapped.row_iter()).map(|(a, b)| a.dot(&b).max(0.0).cbrt()).collect()
}

fn running(values: &[f64], weight: f64, from: f64) -> Vec<f64> {
    let mut state = from;
    let step = |v: &f64| {
        state += weight * (v - state);
        state
    };
    values.iter().map(step).collect()
}

impl Statistics {
    /// Calibrates on held-back blocks for one rate of false alarms of all statistics together.
    pub(crate) fn fit(blocks: &[HeldBack], rate: f64) -> Self {
        let own: Vec<DMatrix<f64>> = blocks.iter().map(HeldBack::own).collect();
        let shortest = own.iter().map(|b| b.nrows()).min().unwrap_or(0);
        let fits = |weight: &f64| MEMORIES_MIN / weight <= shortest as f64 * MEMORIES_TOLERANCE;
        let weights: Vec<f64> = AVERAGES.into_iter().filter(fits).collect();
        // Each block is whitened by what the others showed.
        let whitened: Vec<DMatrix<f64>> = (0..blocks.len())
            .into_par_iter()
            .map(|b| BlockMap::whitening(&stack(&others(&own, Some(b)))).apply_rows(&blocks[b].residuals))
            .collect();
        let tail = |rows: &DMatrix<f64>, b: usize| rows.rows(blocks[b].warm_up, own[b].nrows()).into_owned();
        // By kind (whitened residuals, then their averages), then block.
        let kinds: Vec<Vec<DMatrix<f64>>> = std::iter::once(None)
            .chain(weights.iter().map(Some))
            .map(|weight| {
                let of = |(b, rows): (usize, &DMatrix<f64>)| match weight {
                    None => tail(rows, b),
                    Some(weight) => tail(&average(rows, *weight), b),
                };
                whitened.iter().enumerate().map(of).collect()
            })
            .collect();
        let precision_of = |kind: usize, but: Option<usize>| {
            let floor = if kind == 0 { FAST_VARIANCE_MIN } else { 0.0 };
            let dependence = if kind == 0 { 1.0 } else { dependence(weights[kind - 1]) };
            BlockMap::precision(&stack(&others(&kinds[kind], but)), dependence, floor)
        };
        let values: Vec<Vec<Vec<f64>>> = (0..blocks.len())
            .into_par_iter()
            .map(|b| {
                let fast = precision_of(0, Some(b));
                let all_fast = lengths(&whitened[b], &fast);
                let mut out = vec![all_fast[blocks[b].warm_up..].to_vec()];
                out.extend((1..kinds.len()).map(|kind| lengths(&kinds[kind][b], &precision_of(kind, Some(b)))));
                let start = limits::quantile(&all_fast, 0.5);
                out.extend(weights.iter().map(|w| running(&all_fast, *w, start)[blocks[b].warm_up..].to_vec()));
                out
            })
            .collect();
        let of = |statistic: usize| values.iter().map(|v| v[statistic].clone()).collect::<Vec<_>>();
        let count = 1 + 2 * weights.len();
        let slow: Vec<Limit> = (1..count)
            .map(|s| limits::of_average(&of(s), 1.0 / weights[(s - 1) % weights.len()], shortest, rate / count as f64))
            .collect();
        let flagged: Vec<Vec<bool>> = values
            .iter()
            .map(|v| {
                let any = |t: usize| slow.iter().zip(&v[1..]).any(|(limit, values)| limit.score(values[t]) > 1.0);
                (0..v[0].len()).map(any).collect()
            })
            .collect();
        let mut limits = vec![limits::of_fast(&of(0), &flagged, rate)];
        limits.extend(slow);
        let all = stack(&others(&own, None));
        let whitening = BlockMap::whitening(&all);
        let precisions: Vec<BlockMap> = (0..kinds.len()).into_par_iter().map(|kind| precision_of(kind, None)).collect();
        let blame = |inner: &BlockMap| {
            let map = whitening.around(inner);
            let diagonal = map.diagonal();
            (map, diagonal)
        };
        let blames = precisions.iter().map(blame).collect();
        Self { weights, precision: BlockMap::precision(&all, 1.0, 0.0), blames, whitening, precisions, limits }
    }

    pub(crate) fn start(&self, tags: usize) -> Averages {
        Averages {
            vectors: vec![DVector::zeros(tags); self.weights.len()],
            energies: vec![self.limits[0].centre(); self.weights.len()],
            shares: vec![DVector::zeros(tags); self.weights.len()],
        }
    }

    /// Which averages are in use, as the rows they remember.
    pub(crate) fn memories(&self) -> impl Iterator<Item = f64> + '_ {
        self.weights.iter().map(|w| 1.0 / w)
    }

    /// Each tag's part in a squared length: by how much that falls when the tag is explained best (reconstruction-based
    /// contribution, Alcala and Qin 2009).
    fn parts(&self, kind: usize, residual: &DVector<f64>) -> DVector<f64> {
        let (map, diagonal) = &self.blames[kind];
        let pull = map.apply(residual);
        DVector::from_fn(pull.len(), |i, _| pull[i] * pull[i] / diagonal[i].max(f64::MIN_POSITIVE))
    }

    /// The score of a residual (1 is the limit), and each tag's part in it.
    pub(crate) fn next(&self, averages: &mut Averages, residual: &DVector<f64>) -> (f64, DVector<f64>) {
        let length = |kind: usize, residual: &DVector<f64>| {
            let white = self.whitening.apply(residual);
            white.dot(&self.precisions[kind].apply(&white)).max(0.0).cbrt()
        };
        let fast = length(0, residual);
        let parts = self.parts(0, residual);
        let n = self.weights.len();
        let mut scores = vec![self.limits[0].score(fast)];
        for (k, weight) in self.weights.iter().enumerate() {
            averages.vectors[k].axpy(*weight, residual, 1.0 - weight);
            averages.energies[k] += weight * (fast - averages.energies[k]);
            averages.shares[k].axpy(*weight, &parts, 1.0 - weight);
            scores.push(self.limits[1 + k].score(length(1 + k, &averages.vectors[k])));
        }
        scores.extend((0..n).map(|k| self.limits[1 + n + k].score(averages.energies[k])));
        let mut best = 0;
        for (s, score) in scores.iter().enumerate() {
            if *score > scores[best] {
                best = s;
            }
        }
        let parts = match best {
            0 => parts,
            s if s <= n => self.parts(s, &averages.vectors[s - 1]),
            s => averages.shares[s - 1 - n].clone(),
        };
        (scores[best].max(0.0), parts)
    }
}
