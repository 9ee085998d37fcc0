//! The feed-forward half of a transformer layer in one pass: `x + gelu(normalise(x) W_up) W_down`, some rows at a time, so
//! that everything in between stays in the cache. Backward computes it again instead of keeping it.

use std::cell::RefCell;

use pulp::Simd;
use rayon::prelude::*;

use super::dense::{Panels, Strided, add_outer, add_product, outer_scratch, pad, write_product};
use super::normalise::{normalise_row, normalise_row_backward};
use super::{TASK_ROWS, rounded, sum_of_shares, take};
use crate::kernels::activation::{gelu_tanh, gelu_tanh_and_slope};
use crate::kernels::aligned;
use crate::kernels::tile::{self, Tiled};

/// Rows that are taken through at once.
const BLOCK_ROWS: usize = 48;

thread_local! {
    /// What a task works in.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// `x` has rows of `width` values; `up` is (width, hidden), `down` is (hidden, width).
#[derive(Clone, Copy)]
pub(crate) struct FeedForward<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) width: usize,
    pub(crate) hidden: usize,
    pub(crate) up: &'a [f32],
    pub(crate) down: &'a [f32],
}

/// What [`FeedForward::backward`] gives.
pub(crate) struct FeedForwardGradients {
    pub(crate) x: Vec<f32>,
    pub(crate) up: Vec<f32>,
    pub(crate) down: Vec<f32>,
}

impl FeedForward<'_> {
    pub(crate) fn forward(&self) -> Vec<f32> {
        let Self { x, width, hidden, up, down } = *self;
        let (up, down) = (Panels::new(up, width, hidden), Panels::new(down, hidden, width));
        let task = BLOCK_ROWS * width;
        let mut y = vec![0f32; x.len()];
        y.par_chunks_mut(task).zip(x.par_chunks(task)).for_each(|(y, x)| {
            SCRATCH.with_borrow_mut(|scratch| tile::dispatch(Forward { x, width, up: &up, down: &down, y, scratch }));
        });
        y
    }

    pub(crate) fn backward(&self, gradient: &[f32]) -> FeedForwardGradients {
        let Self { x, width, hidden, up, down } = *self;
        let columns = tile::shape().1;
        let (wide, deep) = (width.next_multiple_of(columns), hidden.next_multiple_of(columns));
        let weights = Weights {
            up: Panels::new(up, width, hidden),
            down_turned: Panels::transposed(down, width, hidden),
            up_turned: Panels::transposed(up, hidden, width),
        };
        let task = TASK_ROWS * width;
        let tasks = x.len().div_ceil(task);
        let mut dx = vec![0f32; x.len()];
        let mut up_shares = vec![0f32; tasks * width * deep];
        let mut down_shares = vec![0f32; tasks * hidden * wide];
        let shares = up_shares.par_chunks_mut(width * deep).zip(down_shares.par_chunks_mut(hidden * wide));
        let inputs = x.par_chunks(task).zip(gradient.par_chunks(task));
        dx.par_chunks_mut(task).zip(shares).zip(inputs).for_each(|((dx, (d_up, d_down)), (x, gradient))| {
            SCRATCH.with_borrow_mut(|scratch| {
                tile::dispatch(Backward { width, hidden, weights: &weights, x, gradient, dx, d_up, d_down, scratch });
            });
        });
        FeedForwardGradients {
            x: dx,
            up: sum_of_shares(&up_shares, width * deep, deep, hidden),
            down: sum_of_shares(&down_shares, hidden * wide, wide, width),
        }
    }
}

struct Forward<'a> {
    x: &'a [f32],
    width: usize,
    up: &'a Panels,
    down: &'a Panels,
    y: &'a mut [f32],
    scratch: &'a mut Vec<f32>,
}

impl Tiled for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const R: usize>(self, simd: S) {
        let Self { x, width, up, down, y, scratch } = self;
        let (rows, columns) = (x.len() / width, tile::columns::<S>());
        let deep = up.outputs.next_multiple_of(columns);
        let mut rest = aligned(scratch, rounded(rows * width) + rounded(rows * deep));
        let normalised = take(&mut rest, rows * width);
        let hidden = take(&mut rest, rows * deep);
        for (out, x) in normalised.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            normalise_row(x, out);
        }
        write_product::<S, R>(simd, Strided { values: normalised, stride: width }, rows, up, hidden, deep);
        for v in &mut *hidden {
            *v = gelu_tanh(*v);
        }
        y.copy_from_slice(x);
        add_product::<S, R>(simd, Strided { values: hidden, stride: deep }, rows, down, y, width);
    }
}

struct Weights {
    up: Panels,
    down_turned: Panels,
    up_turned: Panels,
}

struct Backward<'a> {
    width: usize,
    hidden: usize,
    weights: &'a Weights,
    x: &'a [f32],
    gradient: &'a [f32],
    dx: &'a mut [f32],
    d_up: &'a mut [f32],
    d_down: &'a mut [f32],
    scratch: &'a mut Vec<f32>,
}

impl Tiled for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const R: usize>(self, simd: S) {
        let Self { width, hidden, weights, x, gradient, dx, d_up, d_down, scratch } = self;
        let columns = tile::columns::<S>();
        let (wide, deep) = (width.next_multiple_of(columns), hidden.next_multiple_of(columns));
        let block = BLOCK_ROWS;
        let outer = outer_scratch(wide.max(deep), block);
        let len = 3 * rounded(block * wide) + 2 * rounded(block * deep) + rounded(block) + rounded(outer);
        let mut rest = aligned(scratch, len);
        let normalised = take(&mut rest, block * wide);
        let padded = take(&mut rest, block * wide);
        let d_normalised = take(&mut rest, block * wide);
        let active = take(&mut rest, block * deep);
        let d_active = take(&mut rest, block * deep);
        let inverses = take(&mut rest, block);
        let outer = take(&mut rest, outer);
        let inputs = x.chunks(block * width).zip(gradient.chunks(block * width));
        for (dx, (x, gradient)) in dx.chunks_mut(block * width).zip(inputs) {
            let rows = x.len() / width;
            let normalised_rows = normalised.chunks_exact_mut(wide).zip(x.chunks_exact(width));
            for ((row, x), inverse) in normalised_rows.zip(&mut *inverses) {
                *inverse = normalise_row(x, &mut row[..width]);
            }
            pad(gradient, width, wide, padded);
            let normalised = Strided { values: normalised, stride: wide };
            let gradient_rows = Strided { values: padded, stride: wide };
            write_product::<S, R>(simd, normalised, rows, &weights.up, active, deep);
            write_product::<S, R>(simd, gradient_rows, rows, &weights.down_turned, d_active, deep);
            for (v, gradient) in active[..rows * deep].iter_mut().zip(&mut *d_active) {
                let (value, slope) = gelu_tanh_and_slope(*v);
                *v = value;
                *gradient *= slope;
            }
            let active = Strided { values: active, stride: deep };
            let d_active = Strided { values: d_active, stride: deep };
            add_outer::<S, R>(simd, active, hidden, gradient_rows, rows, outer, d_down);
            add_outer::<S, R>(simd, normalised, width, d_active, rows, outer, d_up);
            write_product::<S, R>(simd, d_active, rows, &weights.up_turned, d_normalised, wide);
            dx.copy_from_slice(gradient);
            for (row, dx) in dx.chunks_exact_mut(width).enumerate() {
                let normalised = &normalised.values[row * wide..][..width];
                normalise_row_backward(normalised, inverses[row], &d_normalised[row * wide..][..width], dx);
            }
        }
    }
}
