//! The smooth L1 distance of two tensors: half a square below 1, linear beyond (Girshick, arXiv 1504.08083, equation 3).

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::kernels::norm::sum_of;

/// Values a task has.
const CHUNK: usize = 8192;

struct Sum<'a> {
    a: &'a [f32],
    b: &'a [f32],
    /// As long.
    line: &'a mut [f32],
}

impl WithSimd for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        for (out, (a, b)) in self.line.iter_mut().zip(self.a.iter().zip(self.b)) {
            let size = (a - b).abs();
            let near = size.min(1.0);
            *out = 0.5 * near * near + (size - near);
        }
        sum_of(self.line)
    }
}

struct Slope<'a> {
    a: &'a [f32],
    b: &'a [f32],
    scale: f32,
    out: &'a mut [f32],
}

impl WithSimd for Slope<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (out, (a, b)) in self.out.iter_mut().zip(self.a.iter().zip(self.b)) {
            *out = (a - b).clamp(-1.0, 1.0) * self.scale;
        }
    }
}

/// The mean over all values.
pub(crate) fn smooth_l1(a: &[f32], b: &[f32]) -> f32 {
    let parts = a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK));
    let sums: Vec<f32> = parts
        .map(|(a, b)| {
            let mut line = vec![0f32; a.len()];
            pulp::Arch::new().dispatch(Sum { a, b, line: &mut line })
        })
        .collect();
    (sums.into_iter().map(f64::from).sum::<f64>() / a.len() as f64) as f32
}

/// The gradient of `a`, which is that of `b` with the other sign; `gradient` is of the mean.
pub(crate) fn smooth_l1_backward(a: &[f32], b: &[f32], gradient: f32) -> Vec<f32> {
    let scale = gradient / a.len() as f32;
    let mut out = vec![0f32; a.len()];
    out.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK))).for_each(|(out, (a, b))| {
        pulp::Arch::new().dispatch(Slope { a, b, scale, out });
    });
    out
}
