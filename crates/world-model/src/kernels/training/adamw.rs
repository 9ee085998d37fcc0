//! A step of AdamW in one pass over weights, gradients and moments.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Weights a task has.
const CHUNK: usize = 16_384;

/// The numbers of a step (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2).
#[derive(Clone, Copy)]
pub(crate) struct AdamW {
    pub(crate) rate: f32,
    /// What a step leaves of a weight by decay.
    pub(crate) kept: f32,
    pub(crate) beta1: f32,
    pub(crate) beta2: f32,
    /// What makes up for moments that began at 0.
    pub(crate) scale1: f32,
    pub(crate) scale2: f32,
    pub(crate) epsilon: f32,
}

struct Step<'a> {
    numbers: AdamW,
    weights: &'a mut [f32],
    gradient: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl WithSimd for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let AdamW { rate, kept, beta1, beta2, scale1, scale2, epsilon } = self.numbers;
        let moments = self.first.iter_mut().zip(self.second);
        for ((weight, gradient), (first, second)) in self.weights.iter_mut().zip(self.gradient).zip(moments) {
            *first = *first * beta1 + gradient * (1.0 - beta1);
            *second = *second * beta2 + gradient * gradient * (1.0 - beta2);
            *weight = *weight * kept - rate * (*first * scale1) / ((*second * scale2).sqrt() + epsilon);
        }
    }
}

impl AdamW {
    /// Moves weights against their gradient; `first` and `second` are the moments of it so far.
    pub(crate) fn step(self, weights: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        let moments = first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK));
        let parts = weights.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK)).zip(moments);
        parts.for_each(|((weights, gradient), (first, second))| {
            pulp::Arch::new().dispatch(Step { numbers: self, weights, gradient, first, second });
        });
    }
}
