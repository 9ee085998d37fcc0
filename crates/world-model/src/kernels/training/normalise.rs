//! Layer normalisation without weights (the linear layer that follows has them), and its gradient.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::kernels::norm::sum;

const EPSILON: f32 = 1e-5;
/// Rows a task has.
const ROWS: usize = 64;

/// Writes a row with mean 0 and variance 1; gives the factor that made the variance 1.
#[inline(always)]
pub(super) fn normalise_row(row: &[f32], out: &mut [f32]) -> f32 {
    let n = row.len() as f32;
    let mean = sum(row, |v| v) / n;
    let variance = sum(row, |v| (v - mean) * (v - mean)) / n;
    let inverse = 1.0 / (variance + EPSILON).sqrt();
    for (out, v) in out.iter_mut().zip(row) {
        *out = (v - mean) * inverse;
    }
    inverse
}

/// What [`normalise_row`] gave, and the gradient of that, to the gradient of what it took, which is added to `out`.
#[inline(always)]
pub(super) fn normalise_row_backward(normalised: &[f32], inverse: f32, gradient: &[f32], out: &mut [f32]) {
    let n = normalised.len() as f32;
    let mean = sum(gradient, |v| v) / n;
    let mut products = [0f32; 16];
    let (chunks, rest) = normalised.as_chunks::<16>();
    let (gradient_chunks, gradient_rest) = gradient.as_chunks::<16>();
    for (a, b) in chunks.iter().zip(gradient_chunks) {
        for ((sum, a), b) in products.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    for ((sum, a), b) in products.iter_mut().zip(rest).zip(gradient_rest) {
        *sum += a * b;
    }
    let product = sum(&products, |v| v) / n;
    for (out, (v, g)) in out.iter_mut().zip(normalised.iter().zip(gradient)) {
        *out += inverse * (g - mean - v * product);
    }
}

struct Forward<'a> {
    x: &'a [f32],
    width: usize,
    out: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (out, row) in self.out.chunks_exact_mut(self.width).zip(self.x.chunks_exact(self.width)) {
            normalise_row(row, out);
        }
    }
}

struct Backward<'a> {
    x: &'a [f32],
    gradient: &'a [f32],
    width: usize,
    /// A row.
    normalised: &'a mut [f32],
    out: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { x, gradient, width, normalised, out } = self;
        let rows = x.chunks_exact(width).zip(gradient.chunks_exact(width));
        for (out, (x, gradient)) in out.chunks_exact_mut(width).zip(rows) {
            let inverse = normalise_row(x, normalised);
            normalise_row_backward(normalised, inverse, gradient, out);
        }
    }
}

/// Each row of `width` values with mean 0 and variance 1 (Ba et al., arXiv 1607.06450).
pub(crate) fn normalise(x: &[f32], width: usize) -> Vec<f32> {
    let mut out = vec![0f32; x.len()];
    out.par_chunks_mut(width * ROWS).zip(x.par_chunks(width * ROWS)).for_each(|(out, x)| {
        pulp::Arch::new().dispatch(Forward { x, width, out });
    });
    out
}

/// The gradient of what [`normalise`] took.
pub(crate) fn normalise_backward(x: &[f32], gradient: &[f32], width: usize) -> Vec<f32> {
    let mut out = vec![0f32; x.len()];
    let rows = x.par_chunks(width * ROWS).zip(gradient.par_chunks(width * ROWS));
    out.par_chunks_mut(width * ROWS).zip(rows).for_each(|(out, (x, gradient))| {
        let mut normalised = vec![0f32; width];
        pulp::Arch::new().dispatch(Backward { x, gradient, width, normalised: &mut normalised, out });
    });
    out
}
