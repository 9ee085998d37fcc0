//! Attention over projected tokens, each sequence by itself, with all heads.

use std::cell::RefCell;

use pulp::Simd;
use rayon::prelude::*;

use super::dense::Strided;
use super::heads::{self, Band, Head, HeadGradients, Work};
use super::{rounded, take};
use crate::kernels::aligned;
use crate::kernels::tile::{self, Tiled};

thread_local! {
    /// What a task works in.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// `qkv` has sequences of `length` rows of `3 * width` values.
#[derive(Clone, Copy)]
pub(crate) struct Attention<'a> {
    pub(crate) qkv: &'a [f32],
    pub(crate) length: usize,
    pub(crate) width: usize,
    /// What each head sees.
    pub(crate) heads: &'a [Band],
}

impl Attention<'_> {
    /// Rows of `width` values.
    pub(crate) fn forward(&self) -> Vec<f32> {
        let Self { qkv, length, width, .. } = *self;
        let mut out = vec![0f32; qkv.len() / 3];
        out.par_chunks_mut(length * width).zip(qkv.par_chunks(length * 3 * width)).for_each(|(out, qkv)| {
            SCRATCH.with_borrow_mut(|scratch| tile::dispatch(Forward { attention: self, qkv, out, scratch }));
        });
        out
    }

    /// The gradient of `qkv`; `gradient` is of what [`Attention::forward`] gives.
    pub(crate) fn backward(&self, gradient: &[f32]) -> Vec<f32> {
        let Self { qkv, length, width, .. } = *self;
        let mut out = vec![0f32; qkv.len()];
        let inputs = qkv.par_chunks(length * 3 * width).zip(gradient.par_chunks(length * width));
        out.par_chunks_mut(length * 3 * width).zip(inputs).for_each(|(out, (qkv, gradient))| {
            SCRATCH.with_borrow_mut(|scratch| {
                let gradient = Strided { values: gradient, stride: width };
                let qkv = Strided { values: qkv, stride: 3 * width };
                tile::dispatch(Backward { attention: self, qkv, gradient, out, scratch });
            });
        });
        out
    }

    /// A head of a sequence with rows of this sort.
    #[inline(always)]
    pub(super) fn head<'a>(&self, qkv: Strided<'a>, head: usize) -> Head<'a> {
        let dim = self.width / self.heads.len();
        let part = |which: usize| {
            let at = which * self.width + head * dim;
            Strided { values: &qkv.values[at..], stride: qkv.stride }
        };
        Head { queries: part(0), asking: self.length, keys: part(1), values: part(2), length: self.length, dim }
    }
}

struct Forward<'a> {
    attention: &'a Attention<'a>,
    /// One sequence.
    qkv: &'a [f32],
    out: &'a mut [f32],
    scratch: &'a mut Vec<f32>,
}

impl Tiled for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const R: usize>(self, simd: S) {
        let Self { attention, qkv, out, scratch } = self;
        let Attention { length, width, heads, .. } = *attention;
        let dim = width / heads.len();
        let mut rest = aligned(scratch, heads::scratch_len(length, dim));
        let mut work = Work::new(&mut rest, length, dim);
        let qkv = Strided { values: qkv, stride: 3 * width };
        for (h, sight) in heads.iter().enumerate() {
            work.forward::<S, R>(simd, &attention.head(qkv, h), sight, &mut out[h * dim..], width);
        }
    }
}

struct Backward<'a> {
    attention: &'a Attention<'a>,
    qkv: Strided<'a>,
    gradient: Strided<'a>,
    out: &'a mut [f32],
    scratch: &'a mut Vec<f32>,
}

impl Tiled for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const R: usize>(self, simd: S) {
        let Self { attention, qkv, gradient, out, scratch } = self;
        let dim = attention.width / attention.heads.len();
        let mut rest = aligned(scratch, backward_len(attention.length, dim));
        let mut buffers = Buffers::new(&mut rest, attention.length, dim);
        backward::<S, R>(simd, attention, qkv, gradient, &mut buffers, None, out);
    }
}

/// What the backward pass of a sequence works in.
pub(super) struct Buffers<'a> {
    d_keys: &'a mut [f32],
    d_values: &'a mut [f32],
    pub(super) work: Work<'a>,
}

impl<'a> Buffers<'a> {
    pub(super) fn new(rest: &mut &'a mut [f32], length: usize, dim: usize) -> Self {
        let tiles = dim.next_multiple_of(tile::shape().1);
        let (d_keys, d_values) = (take(rest, length * tiles), take(rest, length * tiles));
        Self { d_keys, d_values, work: Work::new(rest, length, dim) }
    }
}

/// Floats that [`Buffers::new`] takes.
pub(super) fn backward_len(length: usize, dim: usize) -> usize {
    let tiles = dim.next_multiple_of(tile::shape().1);
    heads::scratch_len(length, dim) + 2 * rounded(length * tiles)
}

/// The gradient of one sequence's `qkv`, to rows like its own; and, where wanted, what it sees, to rows like those of
/// `gradient`.
#[inline(always)]
pub(super) fn backward<S: Simd, const R: usize>(
    simd: S,
    attention: &Attention<'_>,
    qkv: Strided<'_>,
    gradient: Strided<'_>,
    buffers: &mut Buffers<'_>,
    mut seen: Option<&mut [f32]>,
    out: &mut [f32],
) {
    let (width, dim) = (attention.width, attention.width / attention.heads.len());
    let tiles = dim.next_multiple_of(tile::columns::<S>());
    let Buffers { d_keys, d_values, work } = buffers;
    for (h, sight) in attention.heads.iter().enumerate() {
        d_keys.fill(0.0);
        d_values.fill(0.0);
        let mut gradients =
            HeadGradients { queries: &mut out[h * dim..], queries_stride: qkv.stride, keys: d_keys, values: d_values };
        let gradient = Strided { values: &gradient.values[h * dim..], ..gradient };
        let seen_of_head = seen.as_deref_mut().map(|seen| &mut seen[h * dim..]);
        work.backward::<S, R>(simd, &attention.head(qkv, h), sight, gradient, seen_of_head, &mut gradients);
        let rows = d_keys.chunks_exact(tiles).zip(d_values.chunks_exact(tiles));
        for (row, (key, value)) in out.chunks_exact_mut(qkv.stride).zip(rows) {
            row[width + h * dim..][..dim].copy_from_slice(&key[..dim]);
            row[2 * width + h * dim..][..dim].copy_from_slice(&value[..dim]);
        }
    }
}
