//! Ridge regression in closed form, with cross-validated penalties, over features that come row by row.

use crate::file::{Broken, Store};

/// Sums from which a regression is solved: for rows `[1, x]` (`d + 1` values) and targets `y`.
#[derive(Clone)]
pub(crate) struct Gram {
    inputs: usize,
    outputs: usize,
    rows: f64,
    /// Upper triangle of `[1, x]' [1, x]`, row-major in a full square.
    xx: Vec<f64>,
    /// `[1, x]' y`, row-major.
    xy: Vec<f64>,
    yy: Vec<f64>,
}

impl Gram {
    pub(crate) fn new(inputs: usize, outputs: usize) -> Self {
        let d = inputs + 1;
        Self { inputs, outputs, rows: 0.0, xx: vec![0.0; d * d], xy: vec![0.0; d * outputs], yy: vec![0.0; outputs] }
    }

    /// Adds a row; all values must be finite.
    pub(crate) fn add(&mut self, x: &[f64], y: &[f64]) {
        debug_assert_eq!((x.len(), y.len()), (self.inputs, self.outputs));
        let d = self.inputs + 1;
        self.rows += 1.0;
        for i in 0..d {
            let a = if i == 0 { 1.0 } else { x[i - 1] };
            if a == 0.0 {
                continue;
            }
            let row = &mut self.xx[i * d..(i + 1) * d];
            if i == 0 {
                row[0] += 1.0;
            }
            let from = i.max(1);
            for (o, v) in row[from..].iter_mut().zip(&x[from - 1..]) {
                *o += a * v;
            }
            for (o, v) in self.xy[i * self.outputs..(i + 1) * self.outputs].iter_mut().zip(y) {
                *o += a * v;
            }
        }
        for (o, v) in self.yy.iter_mut().zip(y) {
            *o += v * v;
        }
    }

    fn plus(mut self, other: &Self) -> Self {
        self.rows += other.rows;
        let pairs = [(&mut self.xx, &other.xx), (&mut self.xy, &other.xy), (&mut self.yy, &other.yy)];
        for (a, b) in pairs {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        }
        self
    }

    /// Solves for `linear` inputs under one penalty and the rest under another, both relative to each input's variance.
    fn solve(&self, linear: usize, penalty: Penalty) -> Vec<f64> {
        let (d, k, n) = (self.inputs, self.outputs, self.rows.max(1.0));
        let stride = d + 1;
        let mean = |i: usize| self.xx[i + 1] / n;
        let mut a = vec![0.0; d * d];
        for i in 0..d {
            for j in i..d {
                let v = self.xx[(i + 1) * stride + j + 1] - n * mean(i) * mean(j);
                a[j * d + i] = v;
            }
        }
        for i in 0..d {
            let variance = (a[i * d + i] / n).max(0.0);
            let relative = if i < linear { penalty.linear } else { penalty.nonlinear };
            // An input that never moved gets a wall, so that its weight is nought and not noise.
            a[i * d + i] += if variance > 1e-8 { relative * n * variance } else { 1e6 * n };
        }
        cholesky(&mut a, d);
        let mut beta = vec![0.0; stride * k];
        let mut rhs = vec![0.0; d];
        for o in 0..k {
            let mean_y = self.xy[o] / n;
            for i in 0..d {
                rhs[i] = self.xy[(i + 1) * k + o] - n * mean(i) * mean_y;
            }
            substitute(&a, d, &mut rhs);
            let mut intercept = mean_y;
            for i in 0..d {
                beta[(i + 1) * k + o] = rhs[i];
                intercept -= rhs[i] * mean(i);
            }
            beta[o] = intercept;
        }
        beta
    }

    /// Squared error of the weights on these rows, one an output.
    fn error(&self, beta: &[f64]) -> Vec<f64> {
        let (d, k) = (self.inputs + 1, self.outputs);
        let mut out = self.yy.clone();
        for o in 0..k {
            for i in 0..d {
                let b = beta[i * k + o];
                if b == 0.0 {
                    continue;
                }
                out[o] -= 2.0 * b * self.xy[i * k + o];
                out[o] += b * b * self.xx[i * d + i];
                let mut cross = 0.0;
                for j in i + 1..d {
                    cross += self.xx[i * d + j] * beta[j * k + o];
                }
                out[o] += 2.0 * b * cross;
            }
        }
        out
    }
}

#[derive(Clone, Copy)]
struct Penalty {
    linear: f64,
    nonlinear: f64,
}

/// What is tried, for each output on its own. The last ones are all but linear.
const PENALTIES: [Penalty; 7] = [
    Penalty { linear: 1e-6, nonlinear: 1e-4 },
    Penalty { linear: 1e-5, nonlinear: 1e-2 },
    Penalty { linear: 1e-4, nonlinear: 1e-1 },
    Penalty { linear: 1e-4, nonlinear: 1e4 },
    Penalty { linear: 1e-3, nonlinear: 1e4 },
    Penalty { linear: 1e-2, nonlinear: 1e4 },
    Penalty { linear: 1e-1, nonlinear: 1e4 },
];

/// Lower Cholesky factor in place (of the lower triangle).
fn cholesky(a: &mut [f64], n: usize) {
    for j in 0..n {
        let mut s = a[j * n + j];
        for k in 0..j {
            s -= a[j * n + k] * a[j * n + k];
        }
        let diagonal = s.max(1e-12).sqrt();
        a[j * n + j] = diagonal;
        for i in j + 1..n {
            let (head, tail) = a.split_at_mut(i * n);
            let (row_j, row_i) = (&head[j * n..j * n + j], &mut tail[..n]);
            let dot: f64 = row_j.iter().zip(row_i.iter()).map(|(a, b)| a * b).sum();
            row_i[j] = (row_i[j] - dot) / diagonal;
        }
    }
}

fn substitute(l: &[f64], n: usize, b: &mut [f64]) {
    for i in 0..n {
        let dot: f64 = l[i * n..i * n + i].iter().zip(b.iter()).map(|(a, b)| a * b).sum();
        b[i] = (b[i] - dot) / l[i * n + i];
    }
    for i in (0..n).rev() {
        b[i] /= l[i * n + i];
        let v = b[i];
        for k in 0..i {
            b[k] -= l[i * n + k] * v;
        }
    }
}

/// The inverse of a symmetric positive definite matrix.
pub(crate) fn inverse(matrix: &[f64], n: usize) -> Vec<f64> {
    let mut l = matrix.to_vec();
    cholesky(&mut l, n);
    let mut out = vec![0.0; n * n];
    for j in 0..n {
        let mut column = vec![0.0; n];
        column[j] = 1.0;
        substitute(&l, n, &mut column);
        for i in 0..n {
            out[i * n + j] = column[i];
        }
    }
    out
}

/// A fitted regression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ridge {
    outputs: usize,
    /// (1 + inputs, outputs), the intercept first.
    beta: Vec<f32>,
}

impl Ridge {
    /// Fits on all folds but one at a time, and on all; the penalty of each output is the one that predicts the left-out
    /// folds best. The first `linear` inputs are the linear ones. Gives one regression a fold and the whole one.
    pub(crate) fn fit(folds: &[Gram], linear: usize) -> (Vec<Self>, Self) {
        let (inputs, outputs) = (folds[0].inputs, folds[0].outputs);
        let all = folds[1..].iter().fold(folds[0].clone(), Gram::plus);
        let without: Vec<Gram> = (0..folds.len())
            .map(|f| {
                let others = folds.iter().enumerate().filter(|(i, _)| *i != f);
                others.fold(Gram::new(inputs, outputs), |sum, (_, gram)| sum.plus(gram))
            })
            .collect();
        let candidates: Vec<Vec<Vec<f64>>> =
            PENALTIES.iter().map(|&p| without.iter().map(|gram| gram.solve(linear, p)).collect()).collect();
        let errors: Vec<Vec<f64>> = candidates
            .iter()
            .map(|betas| {
                let mut total = vec![0.0; outputs];
                for (fold, beta) in folds.iter().zip(betas) {
                    total.iter_mut().zip(fold.error(beta)).for_each(|(t, e)| *t += e);
                }
                total
            })
            .collect();
        let best: Vec<usize> = (0..outputs)
            .map(|o| (0..PENALTIES.len()).min_by(|&a, &b| errors[a][o].total_cmp(&errors[b][o])).unwrap_or(0))
            .collect();
        let pick = |solutions: &[&Vec<f64>]| Self {
            outputs,
            beta: (0..(inputs + 1) * outputs).map(|i| solutions[best[i % outputs]][i] as f32).collect(),
        };
        let by_fold =
            (0..folds.len()).map(|f| pick(&candidates.iter().map(|betas| &betas[f]).collect::<Vec<_>>())).collect();
        let whole: Vec<Vec<f64>> = PENALTIES.iter().map(|&p| all.solve(linear, p)).collect();
        (by_fold, pick(&whole.iter().collect::<Vec<_>>()))
    }

    /// The prediction for inputs that come in several pieces.
    pub(crate) fn predict(&self, pieces: &[&[f32]]) -> Vec<f32> {
        let mut out = vec![0f32; self.outputs];
        self.predict_into(pieces, &mut out);
        out
    }

    /// The same into `out`, which has one place an output.
    pub(crate) fn predict_into(&self, pieces: &[&[f32]], out: &mut [f32]) {
        out.copy_from_slice(&self.beta[..self.outputs]);
        let mut at = self.outputs;
        for &x in pieces.iter().flat_map(|p| p.iter()) {
            for (o, b) in out.iter_mut().zip(&self.beta[at..at + self.outputs]) {
                *o += x * b;
            }
            at += self.outputs;
        }
        debug_assert_eq!(at, self.beta.len());
    }

    pub(crate) fn store(&self, name: &str, store: &mut Store) {
        store.put_floats(name, &self.beta);
    }

    pub(crate) fn restore(name: &str, inputs: usize, outputs: usize, store: &Store) -> Result<Self, Broken> {
        let beta = store.floats(name)?;
        if beta.len() == (inputs + 1) * outputs {
            Ok(Self { outputs, beta })
        } else {
            Err(Broken::new(name, "has another length"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_law_is_found_exactly_enough() {
        let mut folds = vec![Gram::new(3, 2); 4];
        let mut state = 1u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1u32 << 24) - 0.5
        };
        for i in 0..400 {
            let x = [noise(), noise(), 5.0];
            folds[i % 4].add(&x, &[2.0 * x[0] - x[1] + 3.0, x[1]]);
        }
        let (by_fold, whole) = Ridge::fit(&folds, 3);
        assert_eq!(by_fold.len(), 4);
        let y = whole.predict(&[&[0.25, -0.5], &[5.0]]);
        assert!((y[0] - 4.0).abs() < 1e-3 && (y[1] + 0.5).abs() < 1e-3, "{y:?}");
    }
}
