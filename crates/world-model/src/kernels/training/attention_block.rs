//! The attention half of a transformer layer in one pass: `x + attention(normalise(x) W_qkv) W_out`, a sequence at a time,
//! so that everything in between stays in the cache. Backward computes it again instead of keeping it.

use std::cell::RefCell;

use pulp::Simd;
use rayon::prelude::*;

use super::attention::{self, Attention, Buffers};
use super::dense::{Panels, Strided, add_outer, add_product, outer_scratch, pad, write_product};
use super::heads::{self, Band, Work};
use super::normalise::{normalise_row, normalise_row_backward};
use super::{TASK_ROWS, rounded, sum_of_shares, take};
use crate::kernels::aligned;
use crate::kernels::tile::{self, Tiled};

thread_local! {
    /// What a task works in.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// `x` has sequences of `length` rows of `width` values; `qkv` is (width, 3 * width), `out` is (width, width).
#[derive(Clone, Copy)]
pub(crate) struct AttentionBlock<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) length: usize,
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) qkv: &'a [f32],
    pub(crate) out: &'a [f32],
}

/// What [`AttentionBlock::backward`] gives.
pub(crate) struct AttentionGradients {
    pub(crate) x: Vec<f32>,
    pub(crate) qkv: Vec<f32>,
    pub(crate) out: Vec<f32>,
}

impl AttentionBlock<'_> {
    pub(crate) fn forward(&self) -> Vec<f32> {
        let Self { x, length, width, qkv, out, .. } = *self;
        let sequence = length * width;
        let (qkv, out) = (Panels::new(qkv, width, 3 * width), Panels::new(out, width, width));
        let mut y = vec![0f32; x.len()];
        y.par_chunks_mut(sequence).zip(x.par_chunks(sequence)).for_each(|(y, x)| {
            SCRATCH.with_borrow_mut(|scratch| {
                tile::dispatch(Forward { block: self, x, qkv: &qkv, out: &out, y, scratch })
            });
        });
        y
    }

    pub(crate) fn backward(&self, gradient: &[f32]) -> AttentionGradients {
        let Self { x, length, width, qkv, out, .. } = *self;
        let columns = tile::shape().1;
        let (wide, widest) = (width.next_multiple_of(columns), (3 * width).next_multiple_of(columns));
        let weights = Weights {
            qkv: Panels::new(qkv, width, 3 * width),
            out_turned: Panels::transposed(out, width, width),
            qkv_turned: Panels::transposed(qkv, 3 * width, width),
        };
        let task = TASK_ROWS.div_ceil(length) * length * width;
        let tasks = x.len().div_ceil(task);
        let mut dx = vec![0f32; x.len()];
        let mut qkv_shares = vec![0f32; tasks * width * widest];
        let mut out_shares = vec![0f32; tasks * width * wide];
        let shares = qkv_shares.par_chunks_mut(width * widest).zip(out_shares.par_chunks_mut(width * wide));
        let inputs = x.par_chunks(task).zip(gradient.par_chunks(task));
        dx.par_chunks_mut(task).zip(shares).zip(inputs).for_each(|((dx, (d_qkv, d_out)), (x, gradient))| {
            SCRATCH.with_borrow_mut(|scratch| {
                tile::dispatch(Backward { block: self, weights: &weights, x, gradient, dx, d_qkv, d_out, scratch });
            });
        });
        AttentionGradients {
            x: dx,
            qkv: sum_of_shares(&qkv_shares, width * widest, widest, 3 * width),
            out: sum_of_shares(&out_shares, width * wide, wide, width),
        }
    }
}

struct Forward<'a> {
    block: &'a AttentionBlock<'a>,
    /// One sequence.
    x: &'a [f32],
    qkv: &'a Panels,
    out: &'a Panels,
    y: &'a mut [f32],
    scratch: &'a mut Vec<f32>,
}

impl Tiled for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const R: usize>(self, simd: S) {
        let Self { block, x, qkv, out, y, scratch } = self;
        let AttentionBlock { length, width, heads, .. } = *block;
        let (columns, dim) = (tile::columns::<S>(), width / heads);
        let (wide, widest) = (width.next_multiple_of(columns), (3 * width).next_multiple_of(columns));
        let work = heads::scratch_len(length, dim);
        let mut rest = aligned(scratch, 2 * rounded(length * wide) + rounded(length * widest) + work);
        let normalised = take(&mut rest, length * wide);
        let projected = take(&mut rest, length * widest);
        let seen = take(&mut rest, length * wide);
        let mut work = Work::new(&mut rest, length, dim);
        for (row, x) in normalised.chunks_exact_mut(wide).zip(x.chunks_exact(width)) {
            normalise_row(x, &mut row[..width]);
        }
        write_product::<S, R>(simd, Strided { values: normalised, stride: wide }, length, qkv, projected, widest);
        let projected = Strided { values: projected, stride: widest };
        let sight = Band(None);
        let attention = Attention { qkv: &[], length, width, heads: &vec![sight; heads] };
        for head in 0..heads {
            work.forward::<S, R>(simd, &attention.head(projected, head), &sight, &mut seen[head * dim..], wide);
        }
        y.copy_from_slice(x);
        add_product::<S, R>(simd, Strided { values: seen, stride: wide }, length, out, y, width);
    }
}

struct Weights {
    qkv: Panels,
    out_turned: Panels,
    qkv_turned: Panels,
}

struct Backward<'a> {
    block: &'a AttentionBlock<'a>,
    weights: &'a Weights,
    /// Some sequences.
    x: &'a [f32],
    gradient: &'a [f32],
    dx: &'a mut [f32],
    d_qkv: &'a mut [f32],
    d_out: &'a mut [f32],
    scratch: &'a mut Vec<f32>,
}

impl Tiled for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const R: usize>(self, simd: S) {
        let Self { block, weights, x, gradient, dx, d_qkv, d_out, scratch } = self;
        let AttentionBlock { length, width, heads, .. } = *block;
        let (columns, dim) = (tile::columns::<S>(), width / heads);
        let (wide, widest) = (width.next_multiple_of(columns), (3 * width).next_multiple_of(columns));
        let len = 5 * rounded(length * wide)
            + 2 * rounded(length * widest)
            + rounded(length)
            + rounded(outer_scratch(widest, length))
            + attention::backward_len(length, dim);
        let mut rest = aligned(scratch, len);
        let normalised = take(&mut rest, length * wide);
        let inverses = take(&mut rest, length);
        let projected = take(&mut rest, length * widest);
        let d_projected = take(&mut rest, length * widest);
        let seen = take(&mut rest, length * wide);
        let d_seen = take(&mut rest, length * wide);
        let d_normalised = take(&mut rest, length * wide);
        let padded = take(&mut rest, length * wide);
        let outer = take(&mut rest, outer_scratch(widest, length));
        let mut buffers = Buffers::new(&mut rest, length, dim);
        let sight = Band(None);
        let attention = Attention { qkv: &[], length, width, heads: &vec![sight; heads] };
        d_projected.fill(0.0);
        let sequence = length * width;
        let inputs = x.chunks_exact(sequence).zip(gradient.chunks_exact(sequence));
        for (dx, (x, gradient)) in dx.chunks_exact_mut(sequence).zip(inputs) {
            let rows = normalised.chunks_exact_mut(wide).zip(x.chunks_exact(width));
            for ((row, x), inverse) in rows.zip(&mut *inverses) {
                *inverse = normalise_row(x, &mut row[..width]);
            }
            let normalised = Strided { values: normalised, stride: wide };
            write_product::<S, R>(simd, normalised, length, &weights.qkv, projected, widest);
            let projected = Strided { values: projected, stride: widest };
            pad(gradient, width, wide, padded);
            let gradient_rows = Strided { values: padded, stride: wide };
            write_product::<S, R>(simd, gradient_rows, length, &weights.out_turned, d_seen, wide);
            let d_seen = Strided { values: d_seen, stride: wide };
            attention::backward::<S, R>(simd, &attention, projected, d_seen, &mut buffers, Some(seen), d_projected);
            add_outer::<S, R>(simd, Strided { values: seen, stride: wide }, width, gradient_rows, length, outer, d_out);
            let d_rows = Strided { values: d_projected, stride: widest };
            add_outer::<S, R>(simd, normalised, width, d_rows, length, outer, d_qkv);
            write_product::<S, R>(simd, d_rows, length, &weights.qkv_turned, d_normalised, wide);
            dx.copy_from_slice(gradient);
            for (row, dx) in dx.chunks_exact_mut(width).enumerate() {
                let normalised = &normalised.values[row * wide..][..width];
                normalise_row_backward(normalised, inverses[row], &d_normalised[row * wide..][..width], dx);
            }
        }
    }
}
