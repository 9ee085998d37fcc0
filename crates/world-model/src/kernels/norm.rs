//! Layer normalisation with weights, over rows.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Partial sums of a row: always this many, whatever the processor, so that results are the same everywhere.
const LANES: usize = 16;

#[inline(always)]
pub(super) fn sum(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for chunk in chunks {
        for (sum, &v) in sums.iter_mut().zip(chunk) {
            *sum += term(v);
        }
    }
    for (sum, &v) in sums.iter_mut().zip(rest) {
        *sum += term(v);
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            sums[i] += sums[i + width];
        }
    }
    sums[0]
}

/// The sum of a row.
#[inline(always)]
pub(super) fn sum_of(row: &[f32]) -> f32 {
    sum(row, |v| v)
}

struct Normalise<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    epsilon: f32,
    out: &'a mut [f32],
}

impl WithSimd for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let width = self.weight.len();
        for (out, row) in self.out.chunks_exact_mut(width).zip(self.x.chunks_exact(width)) {
            let mean = sum(row, |v| v) / width as f32;
            let variance = sum(row, |v| (v - mean) * (v - mean)) / width as f32;
            let inverse = 1.0 / (variance + self.epsilon).sqrt();
            for (((out, v), weight), bias) in out.iter_mut().zip(row).zip(self.weight).zip(self.bias) {
                *out = (v - mean) * inverse * weight + bias;
            }
        }
    }
}

/// Each row of `x` with mean 0 and variance 1, times `weight`, plus `bias` (Ba et al., arXiv 1607.06450).
///
/// `x` and `out` have rows of `weight.len()` values.
pub(crate) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, out: &mut [f32]) {
    let width = weight.len();
    assert_eq!((x.len(), bias.len()), (out.len(), width), "layer norm of other sizes");
    let rows = super::rows_a_task(x.len() / width, 1, 64);
    out.par_chunks_mut(rows * width).zip(x.par_chunks(rows * width)).for_each(|(out, x)| {
        pulp::Arch::new().dispatch(Normalise { x, weight, bias, epsilon, out });
    });
}
