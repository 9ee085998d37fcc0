//! `x W + b`, of `x` as it is or normalised first, and its gradients.

use std::cell::RefCell;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::dense::{Panels, Strided, add_outer, outer_scratch, pad, write_product};
use super::normalise::{normalise_row, normalise_row_backward};
use super::{TASK_ROWS, rounded, sum_of_shares, take};
use crate::kernels::aligned;
use crate::kernels::tile::{self, Tiled};

/// Rows of a task, forward, and rows whose gradients are taken at once.
const BLOCK_ROWS: usize = 96;
/// So many rows are multiplied with the matrix as it lies: putting it into panels would cost more than the product.
const FEW_ROWS: usize = 3;

thread_local! {
    /// What a task works in.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// `weight` is (inputs, outputs); `bias` has as many rows of `outputs` values as there are before it comes round again.
#[derive(Clone, Copy)]
pub(crate) struct Linear<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) weight: &'a [f32],
    pub(crate) bias: Option<&'a [f32]>,
    /// Whether each row of `x` is normalised first.
    pub(crate) normalised: bool,
}

/// What [`Linear::backward`] gives.
pub(crate) struct LinearGradients {
    /// Where it was asked for.
    pub(crate) x: Option<Vec<f32>>,
    pub(crate) weight: Vec<f32>,
    /// Where there is one.
    pub(crate) bias: Option<Vec<f32>>,
}

impl Linear<'_> {
    pub(crate) fn forward(&self) -> Vec<f32> {
        let Self { x, inputs, outputs, weight, .. } = *self;
        let rows = x.len() / inputs;
        let mut y = vec![0f32; rows * outputs];
        if rows <= FEW_ROWS {
            SCRATCH.with_borrow_mut(|scratch| {
                pulp::Arch::new().dispatch(Few { linear: self, y: &mut y, scratch });
            });
            return y;
        }
        let panels = Panels::new(weight, inputs, outputs);
        let parts = y.par_chunks_mut(BLOCK_ROWS * outputs).zip(x.par_chunks(BLOCK_ROWS * inputs));
        parts.enumerate().for_each(|(i, (y, x))| {
            let first = i * BLOCK_ROWS;
            SCRATCH.with_borrow_mut(|scratch| {
                tile::dispatch(Forward { linear: self, first, x, panels: &panels, y, scratch });
            });
        });
        y
    }

    pub(crate) fn backward(&self, gradient: &[f32], with_x: bool) -> LinearGradients {
        let Self { x, inputs, outputs, weight, bias, .. } = *self;
        let rows = x.len() / inputs;
        let wide = outputs.next_multiple_of(tile::shape().1);
        let turned = with_x.then(|| Panels::transposed(weight, outputs, inputs));
        let tasks = rows.div_ceil(TASK_ROWS);
        let mut dx = vec![0f32; if with_x { x.len() } else { 0 }];
        let biases = bias.map_or(0, <[f32]>::len);
        let mut weight_shares = vec![0f32; tasks * inputs * wide];
        let mut bias_shares = vec![0f32; tasks * biases];
        let mut tasks: Vec<_> = weight_shares
            .chunks_mut(inputs * wide)
            .zip(x.chunks(TASK_ROWS * inputs).zip(gradient.chunks(TASK_ROWS * outputs)))
            .enumerate()
            .map(|(i, (d_weight, (x, gradient)))| {
                let (dx, d_bias): (&mut [f32], &mut [f32]) = (&mut [], &mut []);
                Share { first: i * TASK_ROWS, x, gradient, dx, d_weight, d_bias }
            })
            .collect();
        if with_x {
            tasks.iter_mut().zip(dx.chunks_mut(TASK_ROWS * inputs)).for_each(|(task, dx)| task.dx = dx);
        }
        if biases > 0 {
            tasks.iter_mut().zip(bias_shares.chunks_mut(biases)).for_each(|(task, share)| task.d_bias = share);
        }
        tasks.into_par_iter().for_each(|share| {
            SCRATCH.with_borrow_mut(|scratch| {
                tile::dispatch(Backward { linear: self, turned: turned.as_ref(), share, scratch });
            });
        });
        LinearGradients {
            x: with_x.then_some(dx),
            weight: sum_of_shares(&weight_shares, inputs * wide, wide, outputs),
            bias: bias.map(|bias| sum_of_shares(&bias_shares, bias.len(), outputs, outputs)),
        }
    }

    /// The bias of a row.
    #[inline(always)]
    fn bias(&self, row: usize) -> Option<&[f32]> {
        let bias = self.bias?;
        let at = row % (bias.len() / self.outputs) * self.outputs;
        Some(&bias[at..at + self.outputs])
    }
}

struct Few<'a> {
    linear: &'a Linear<'a>,
    y: &'a mut [f32],
    scratch: &'a mut Vec<f32>,
}

impl WithSimd for Few<'_> {
    type Output = ();

    /// In the order of the other products, so that a row comes out the same.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { linear, y, scratch } = self;
        let Linear { x, inputs, outputs, weight, normalised, .. } = *linear;
        let scratch = aligned(scratch, inputs);
        for (row, (y, x)) in y.chunks_exact_mut(outputs).zip(x.chunks_exact(inputs)).enumerate() {
            let x = if normalised {
                normalise_row(x, scratch);
                &*scratch
            } else {
                x
            };
            for (value, weights) in x.iter().zip(weight.chunks_exact(outputs)) {
                for (y, weight) in y.iter_mut().zip(weights) {
                    *y = value.mul_add(*weight, *y);
                }
            }
            if let Some(bias) = linear.bias(row) {
                for (y, bias) in y.iter_mut().zip(bias) {
                    *y += bias;
                }
            }
        }
    }
}

struct Forward<'a> {
    linear: &'a Linear<'a>,
    first: usize,
    x: &'a [f32],
    panels: &'a Panels,
    y: &'a mut [f32],
    scratch: &'a mut Vec<f32>,
}

impl Tiled for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const R: usize>(self, simd: S) {
        let Self { linear, first, x, panels, y, scratch } = self;
        let Linear { inputs, outputs, normalised, .. } = *linear;
        let rows = x.len() / inputs;
        let x = if normalised {
            let out = aligned(scratch, rows * inputs);
            for (out, x) in out.chunks_exact_mut(inputs).zip(x.chunks_exact(inputs)) {
                normalise_row(x, out);
            }
            &*out
        } else {
            x
        };
        write_product::<S, R>(simd, Strided { values: x, stride: inputs }, rows, panels, y, outputs);
        for (row, y) in y.chunks_exact_mut(outputs).enumerate() {
            if let Some(bias) = linear.bias(first + row) {
                for (y, bias) in y.iter_mut().zip(bias) {
                    *y += bias;
                }
            }
        }
    }
}

/// A task's rows, and where its gradients go.
struct Share<'a> {
    first: usize,
    x: &'a [f32],
    gradient: &'a [f32],
    /// Empty where it is not asked for.
    dx: &'a mut [f32],
    d_weight: &'a mut [f32],
    /// Empty where there is none.
    d_bias: &'a mut [f32],
}

struct Backward<'a> {
    linear: &'a Linear<'a>,
    turned: Option<&'a Panels>,
    share: Share<'a>,
    scratch: &'a mut Vec<f32>,
}

impl Tiled for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const R: usize>(self, simd: S) {
        let Self { linear, turned, share, scratch } = self;
        let Share { first, x, gradient, dx, d_weight, d_bias } = share;
        let Linear { inputs, outputs, normalised, .. } = *linear;
        let wide = outputs.next_multiple_of(tile::columns::<S>());
        let prepared = if normalised { BLOCK_ROWS * inputs } else { 0 };
        let outer = outer_scratch(wide, BLOCK_ROWS);
        let len =
            rounded(outer) + rounded(BLOCK_ROWS * wide) + rounded(prepared) + rounded(BLOCK_ROWS) + rounded(inputs);
        let mut rest = aligned(scratch, len);
        let padded = take(&mut rest, BLOCK_ROWS * wide);
        let prepared = take(&mut rest, prepared);
        let inverses = take(&mut rest, BLOCK_ROWS);
        let line = take(&mut rest, inputs);
        let outer = take(&mut rest, outer);
        let mut dx_blocks = dx.chunks_mut(BLOCK_ROWS * inputs);
        let blocks = x.chunks(BLOCK_ROWS * inputs).zip(gradient.chunks(BLOCK_ROWS * outputs));
        for (block, (x, gradient)) in blocks.enumerate() {
            let rows = x.len() / inputs;
            pad(gradient, outputs, wide, padded);
            let left = if normalised {
                let rows = prepared.chunks_exact_mut(inputs).zip(x.chunks_exact(inputs));
                for ((out, x), inverse) in rows.zip(&mut *inverses) {
                    *inverse = normalise_row(x, out);
                }
                &*prepared
            } else {
                x
            };
            let left = Strided { values: left, stride: inputs };
            let gradient_rows = Strided { values: padded, stride: wide };
            add_outer::<S, R>(simd, left, inputs, gradient_rows, rows, outer, d_weight);
            if !d_bias.is_empty() {
                for (row, gradient) in gradient.chunks_exact(outputs).enumerate() {
                    let at = (first + block * BLOCK_ROWS + row) % (d_bias.len() / outputs) * outputs;
                    for (sum, value) in d_bias[at..at + outputs].iter_mut().zip(gradient) {
                        *sum += value;
                    }
                }
            }
            let (Some(turned), Some(dx)) = (turned, dx_blocks.next()) else { continue };
            write_product::<S, R>(simd, gradient_rows, rows, turned, dx, inputs);
            if normalised {
                for (row, dx) in dx.chunks_exact_mut(inputs).enumerate() {
                    line.copy_from_slice(dx);
                    dx.fill(0.0);
                    normalise_row_backward(&left.values[row * inputs..][..inputs], inverses[row], line, dx);
                }
            }
        }
    }
}
