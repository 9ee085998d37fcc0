//! Learned queries that read tokens, once for each mask: the same queries for all ticks.

use std::cell::RefCell;
use std::ops::Range;

use pulp::Simd;
use rayon::prelude::*;

use super::dense::Strided;
use super::heads::{self, Head, HeadGradients, Sight, Work};
use super::{rounded, sum_of_shares, take};
use crate::kernels::aligned;
use crate::kernels::tile::{self, Tiled};

/// Ticks of a task of a backward pass.
const TASK_TICKS: usize = 6;

thread_local! {
    /// What a task works in.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// `keys_values` has `tokens` rows of `2 * width` values a tick, `queries` rows of `width`; each mask has a value for each
/// tick and token, which is added to its scores.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) keys_values: &'a [f32],
    pub(crate) tokens: usize,
    pub(crate) queries: &'a [f32],
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) masks: &'a [Vec<f32>],
}

/// What [`Reading::backward`] gives.
pub(crate) struct ReadingGradients {
    pub(crate) keys_values: Vec<f32>,
    pub(crate) queries: Vec<f32>,
}

/// The masks of a tick, each for as many queries.
struct Masks<'a> {
    masks: &'a [Vec<f32>],
    /// The tick's first token.
    at: usize,
    queries: usize,
}

impl Sight for Masks<'_> {
    #[inline(always)]
    fn seen(&self, _: Range<usize>, keys: usize) -> Range<usize> {
        0..keys
    }

    #[inline(always)]
    fn lower(&self, key: usize, first: usize, scores: &mut [f32]) {
        for (i, score) in scores.iter_mut().enumerate() {
            if let Some(mask) = self.masks.get((first + i) / self.queries) {
                *score += mask[self.at + key];
            }
        }
    }
}

impl Reading<'_> {
    /// (masks, ticks, queries, width).
    pub(crate) fn forward(&self) -> Vec<f32> {
        let tick = self.tokens * 2 * self.width;
        let read = self.masks.len() * self.queries.len();
        let asked = self.queries.repeat(self.masks.len());
        let mut by_tick = vec![0f32; self.keys_values.len() / tick * read];
        by_tick.par_chunks_mut(read).zip(self.keys_values.par_chunks(tick)).enumerate().for_each(|(t, (out, kv))| {
            SCRATCH.with_borrow_mut(|scratch| {
                tile::dispatch(Forward { reading: self, asked: &asked, tick: t, keys_values: kv, out, scratch });
            });
        });
        let ticks = by_tick.len() / read.max(1);
        self.turn(&by_tick, ticks, self.masks.len())
    }

    /// `gradient` is of what [`Reading::forward`] gives.
    pub(crate) fn backward(&self, gradient: &[f32]) -> ReadingGradients {
        let tick = self.tokens * 2 * self.width;
        let (read, own) = (self.masks.len() * self.queries.len(), self.queries.len());
        let asked = self.queries.repeat(self.masks.len());
        let ticks = self.keys_values.len() / tick;
        let gradient = self.turn(gradient, self.masks.len(), ticks);
        let mut d_kv = vec![0f32; self.keys_values.len()];
        let mut shares = vec![0f32; ticks.div_ceil(TASK_TICKS) * own];
        let inputs = self.keys_values.par_chunks(tick * TASK_TICKS).zip(gradient.par_chunks(read * TASK_TICKS));
        let outputs = d_kv.par_chunks_mut(tick * TASK_TICKS).zip(shares.par_chunks_mut(own));
        outputs.zip(inputs).enumerate().for_each(|(task, ((d_kv, d_queries), (keys_values, gradient)))| {
            SCRATCH.with_borrow_mut(|scratch| {
                let tick = task * TASK_TICKS;
                let reading = self;
                let asked = &asked;
                tile::dispatch(Backward { reading, asked, tick, keys_values, gradient, d_kv, d_queries, scratch });
            });
        });
        ReadingGradients { keys_values: d_kv, queries: sum_of_shares(&shares, own, own, own) }
    }

    /// (outer, inner, queries, width) to (inner, outer, queries, width).
    fn turn(&self, values: &[f32], outer: usize, inner: usize) -> Vec<f32> {
        let one = self.queries.len();
        let mut out = Vec::with_capacity(values.len());
        for i in 0..inner {
            (0..outer).for_each(|o| out.extend_from_slice(&values[(o * inner + i) * one..][..one]));
        }
        out
    }

    #[inline(always)]
    fn head<'a>(&self, asked: &'a [f32], keys_values: &'a [f32], head: usize) -> Head<'a> {
        let (width, dim) = (self.width, self.width / self.heads);
        let part = |at: usize| Strided { values: &keys_values[at + head * dim..], stride: 2 * width };
        Head {
            queries: Strided { values: &asked[head * dim..], stride: width },
            asking: asked.len() / width,
            keys: part(0),
            values: part(width),
            length: self.tokens,
            dim,
        }
    }

    #[inline(always)]
    fn masks_of(&self, tick: usize) -> Masks<'_> {
        Masks { masks: self.masks, at: tick * self.tokens, queries: self.queries.len() / self.width }
    }
}

struct Forward<'a> {
    reading: &'a Reading<'a>,
    /// The queries, once for each mask.
    asked: &'a [f32],
    tick: usize,
    keys_values: &'a [f32],
    out: &'a mut [f32],
    scratch: &'a mut Vec<f32>,
}

impl Tiled for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const R: usize>(self, simd: S) {
        let Self { reading, asked, tick, keys_values, out, scratch } = self;
        let (width, dim) = (reading.width, reading.width / reading.heads);
        let mut rest = aligned(scratch, heads::scratch_len(reading.tokens, dim));
        let mut work = Work::new(&mut rest, reading.tokens, dim);
        for head in 0..reading.heads {
            let of = reading.head(asked, keys_values, head);
            work.forward::<S, R>(simd, &of, &reading.masks_of(tick), &mut out[head * dim..], width);
        }
    }
}

struct Backward<'a> {
    reading: &'a Reading<'a>,
    asked: &'a [f32],
    /// The first.
    tick: usize,
    keys_values: &'a [f32],
    /// (ticks, masks, queries, width).
    gradient: &'a [f32],
    d_kv: &'a mut [f32],
    d_queries: &'a mut [f32],
    scratch: &'a mut Vec<f32>,
}

impl Tiled for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const R: usize>(self, simd: S) {
        let Self { reading, asked, tick, keys_values, gradient, d_kv, d_queries, scratch } = self;
        let (width, dim, tokens) = (reading.width, reading.width / reading.heads, reading.tokens);
        let tiles = dim.next_multiple_of(tile::columns::<S>());
        let len = heads::scratch_len(tokens, dim) + 2 * rounded(tokens * tiles) + rounded(asked.len());
        let mut rest = aligned(scratch, len);
        let d_keys = take(&mut rest, tokens * tiles);
        let d_values = take(&mut rest, tokens * tiles);
        let d_asked = take(&mut rest, asked.len());
        let mut work = Work::new(&mut rest, tokens, dim);
        let one = tokens * 2 * width;
        let inputs = keys_values.chunks_exact(one).zip(gradient.chunks_exact(asked.len()));
        for (t, (d_kv, (keys_values, gradient))) in d_kv.chunks_exact_mut(one).zip(inputs).enumerate() {
            for head in 0..reading.heads {
                d_keys.fill(0.0);
                d_values.fill(0.0);
                let mut out = HeadGradients {
                    queries: &mut d_asked[head * dim..],
                    queries_stride: width,
                    keys: d_keys,
                    values: d_values,
                };
                let of = reading.head(asked, keys_values, head);
                let gradient = Strided { values: &gradient[head * dim..], stride: width };
                work.backward::<S, R>(simd, &of, &reading.masks_of(tick + t), gradient, None, &mut out);
                let rows = d_keys.chunks_exact(tiles).zip(d_values.chunks_exact(tiles));
                for (row, (key, value)) in d_kv.chunks_exact_mut(2 * width).zip(rows) {
                    row[head * dim..][..dim].copy_from_slice(&key[..dim]);
                    row[width + head * dim..][..dim].copy_from_slice(&value[..dim]);
                }
            }
            for d_asked in d_asked.chunks_exact(d_queries.len()) {
                d_queries.iter_mut().zip(d_asked).for_each(|(sum, value)| *sum += value);
            }
        }
    }
}
