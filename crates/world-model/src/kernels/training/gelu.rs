//! GELU in its tanh form over any number of values.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::kernels::activation::{gelu_tanh, gelu_tanh_and_slope};

/// Values a task has.
const CHUNK: usize = 8192;

struct Forward<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.out.iter_mut().zip(self.x).for_each(|(out, &x)| *out = gelu_tanh(x));
    }
}

struct Backward<'a> {
    x: &'a [f32],
    gradient: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let inputs = self.x.iter().zip(self.gradient);
        self.out.iter_mut().zip(inputs).for_each(|(out, (&x, gradient))| *out = gradient * gelu_tanh_and_slope(x).1);
    }
}

/// The GELU of each value.
pub(crate) fn gelu(x: &[f32]) -> Vec<f32> {
    let mut out = vec![0f32; x.len()];
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| {
        pulp::Arch::new().dispatch(Forward { x, out });
    });
    out
}

/// The gradient of what [`gelu`] took.
pub(crate) fn gelu_backward(x: &[f32], gradient: &[f32]) -> Vec<f32> {
    let mut out = vec![0f32; x.len()];
    let inputs = x.par_chunks(CHUNK).zip(gradient.par_chunks(CHUNK));
    out.par_chunks_mut(CHUNK).zip(inputs).for_each(|(out, (x, gradient))| {
        pulp::Arch::new().dispatch(Backward { x, gradient, out });
    });
    out
}
