//! Attention of one head, forward and backward, some queries at a time: a tile's columns of them side by side, keys one
//! below the other, so that the softmax runs down the columns. Nothing of it is kept from forward to backward.

use std::ops::Range;

use pulp::Simd;

use super::dense::{Add, Scale, Sink, Strided, Write, columns_by_panel, columns_scratch, rows_by_panel, transpose};
use super::{rounded, take};
use crate::kernels::activation::exp;
use crate::kernels::tile;

/// Columns of a tile at most.
const COLUMNS_MAX: usize = 32;
/// A score that lies this far below the greatest counts for nothing: less than a rounding of the greatest's share.
const HIDDEN: f32 = -64.0;

/// Which keys a query sees, and at which cost.
pub(super) trait Sight {
    /// The keys that any of these queries sees, among `keys`.
    fn seen(&self, queries: Range<usize>, keys: usize) -> Range<usize>;
    /// Lowers the scores of a key, one for each query from `first` on.
    fn lower(&self, key: usize, first: usize, scores: &mut [f32]);
}

/// A query sees all keys, or with a band its own and those before it, `band` in all, each step back at the cost of the
/// head's slope (ALiBi, Press et al. 2022).
#[derive(Clone, Copy)]
pub(crate) struct Band(pub(crate) Option<(usize, f32)>);

impl Sight for Band {
    #[inline(always)]
    fn seen(&self, queries: Range<usize>, keys: usize) -> Range<usize> {
        match self.0 {
            Some((band, _)) => (queries.start + 1).saturating_sub(band)..queries.end.min(keys),
            None => 0..keys,
        }
    }

    #[inline(always)]
    fn lower(&self, key: usize, first: usize, scores: &mut [f32]) {
        let Some((band, slope)) = self.0 else { return };
        for (i, score) in scores.iter_mut().enumerate() {
            let query = first + i;
            *score = if key > query || query - key >= band { f32::MIN } else { *score - slope * (query - key) as f32 };
        }
    }
}

/// One head of one sequence: rows of `dim` values.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) queries: Strided<'a>,
    pub(super) asking: usize,
    pub(super) keys: Strided<'a>,
    pub(super) values: Strided<'a>,
    pub(super) length: usize,
    pub(super) dim: usize,
}

/// Where the gradients of a head go: rows at the same distances as the head's own; those of keys and values are added.
pub(super) struct HeadGradients<'a> {
    pub(super) queries: &'a mut [f32],
    pub(super) queries_stride: usize,
    /// A row of `keys_columns` a key, which is `dim` in whole tiles.
    pub(super) keys: &'a mut [f32],
    pub(super) values: &'a mut [f32],
}

/// Floats that [`Work::new`] takes.
pub(super) fn scratch_len(length: usize, dim: usize) -> usize {
    let columns = tile::shape().1;
    let tiles = dim.next_multiple_of(columns);
    2 * rounded(length * columns)
        + rounded(columns_scratch(length))
        + 5 * rounded(columns * tiles)
        + rounded(columns * columns)
        + rounded(columns)
}

/// What a head is computed in.
pub(super) struct Work<'a> {
    /// (keys, columns): probabilities, and their gradients.
    probabilities: &'a mut [f32],
    gradients: &'a mut [f32],
    /// (dim, columns).
    queries: &'a mut [f32],
    out_gradient: &'a mut [f32],
    turned: &'a mut [f32],
    /// (columns, dim in whole tiles).
    query_rows: &'a mut [f32],
    gradient_rows: &'a mut [f32],
    /// A panel of one of them.
    panel: &'a mut [f32],
    /// For products of columns.
    beside: &'a mut [f32],
    /// (columns).
    totals: &'a mut [f32],
}

impl<'a> Work<'a> {
    pub(super) fn new(rest: &mut &'a mut [f32], length: usize, dim: usize) -> Self {
        let columns = tile::shape().1;
        let tiles = dim.next_multiple_of(columns);
        Self {
            probabilities: take(rest, length * columns),
            gradients: take(rest, length * columns),
            queries: take(rest, dim * columns),
            out_gradient: take(rest, dim * columns),
            turned: take(rest, dim * columns),
            query_rows: take(rest, columns * tiles),
            gradient_rows: take(rest, columns * tiles),
            panel: take(rest, columns * columns),
            beside: take(rest, columns_scratch(length)),
            totals: take(rest, columns),
        }
    }

    /// `e^(score - greatest)` of the seen keys for the queries from `first` on, and the inverses of their sums.
    #[inline(always)]
    fn weigh<S: Simd, const R: usize>(
        &mut self,
        simd: S,
        head: &Head<'_>,
        sight: &impl Sight,
        first: usize,
        count: usize,
        seen: Range<usize>,
    ) {
        let columns = tile::columns::<S>();
        transpose(head.queries.from(first), count, self.queries, columns);
        let scale = simd.splat_f32s(1.0 / (head.dim as f32).sqrt());
        let mut sink = Scale { out: &mut *self.probabilities, factors: [scale; 2] };
        rows_by_panel::<S, R>(simd, head.keys.from(seen.start), seen.len(), head.dim, self.queries, &mut sink);
        let rows = &mut self.probabilities[..seen.len() * columns];
        let mut greatest = [f32::MIN; COLUMNS_MAX];
        for (j, row) in rows.chunks_exact_mut(columns).enumerate() {
            sight.lower(seen.start + j, first, row);
            for (greatest, score) in greatest.iter_mut().zip(row) {
                *greatest = greatest.max(*score);
            }
        }
        let mut totals = [0f32; COLUMNS_MAX];
        for row in rows.chunks_exact_mut(columns) {
            for ((score, greatest), total) in row.iter_mut().zip(&greatest).zip(&mut totals) {
                let below = *score - greatest;
                // What is hidden must become 0: the least that `exp` gives makes products that are slow to compute.
                *score = if below > HIDDEN { exp(below) } else { 0.0 };
                *total += *score;
            }
        }
        for (inverse, total) in self.totals.iter_mut().zip(totals) {
            *inverse = 1.0 / total;
        }
    }

    /// The means of the values by the weights that [`Work::weigh`] has left, for these queries.
    #[inline(always)]
    fn mean<S: Simd, const R: usize>(
        &mut self,
        simd: S,
        head: &Head<'_>,
        queries: Range<usize>,
        seen: Range<usize>,
        out: &mut [f32],
        stride: usize,
    ) {
        let columns = tile::columns::<S>();
        let (first, count) = (queries.start, queries.len());
        let values = head.values.from(seen.start);
        let (inverse, _) = S::as_simd_f32s(self.totals);
        let mut sink = Scale { out: &mut *self.turned, factors: [inverse[0], inverse[1]] };
        let (probabilities, beside) = (&*self.probabilities, &mut *self.beside);
        columns_by_panel::<S, R>(simd, values, head.dim, probabilities, seen.len(), beside, &mut sink);
        turn_back(self.turned, columns, head.dim, count, self.query_rows, &mut out[first * stride..], stride);
    }

    /// `softmax(Q K^T / sqrt(dim)) V`: `out` gets a row of `dim` values a query, `stride` apart.
    #[inline(always)]
    pub(super) fn forward<S: Simd, const R: usize>(
        &mut self,
        simd: S,
        head: &Head<'_>,
        sight: &impl Sight,
        out: &mut [f32],
        stride: usize,
    ) {
        let columns = tile::columns::<S>();
        for first in (0..head.asking).step_by(columns) {
            let count = columns.min(head.asking - first);
            let seen = sight.seen(first..first + count, head.length);
            self.weigh::<S, R>(simd, head, sight, first, count, seen.clone());
            self.mean::<S, R>(simd, head, first..first + count, seen, out, stride);
        }
    }

    /// The gradients of queries, keys and values; `gradient` has a row of `dim` values a query. With `seen`, what
    /// [`Work::forward`] gives goes there, too, rows of as many values as those of `gradient`.
    #[inline(always)]
    pub(super) fn backward<S: Simd, const R: usize>(
        &mut self,
        simd: S,
        head: &Head<'_>,
        sight: &impl Sight,
        gradient: Strided<'_>,
        mut seen_rows: Option<&mut [f32]>,
        out: &mut HeadGradients<'_>,
    ) {
        let (columns, dim) = (tile::columns::<S>(), head.dim);
        let tiles = dim.next_multiple_of(columns);
        for first in (0..head.asking).step_by(columns) {
            let count = columns.min(head.asking - first);
            let seen = sight.seen(first..first + count, head.length);
            self.weigh::<S, R>(simd, head, sight, first, count, seen.clone());
            if let Some(rows) = &mut seen_rows {
                self.mean::<S, R>(simd, head, first..first + count, seen.clone(), rows, gradient.stride);
            }
            gather(head.queries.from(first), count, dim, tiles, self.query_rows);
            gather(gradient.from(first), count, dim, tiles, self.gradient_rows);
            let rows = Strided { values: self.gradient_rows, stride: tiles };
            transpose(rows, count, self.out_gradient, columns);

            let (inverse, _) = S::as_simd_f32s(self.totals);
            let mut sink = Inner {
                probabilities: &mut *self.probabilities,
                gradients: &mut *self.gradients,
                inverse: [inverse[0], inverse[1]],
                inner: [simd.splat_f32s(0.0); 2],
            };
            rows_by_panel::<S, R>(simd, head.values.from(seen.start), seen.len(), dim, self.out_gradient, &mut sink);
            let inner = sink.inner;
            let scale = simd.splat_f32s(1.0 / (dim as f32).sqrt());
            let gradients = &mut self.gradients[..seen.len() * columns];
            for (gradient, probability) in
                gradients.chunks_exact_mut(columns).zip(self.probabilities.chunks_exact(columns))
            {
                let (gradient, _) = S::as_mut_simd_f32s(gradient);
                let (probability, _) = S::as_simd_f32s(probability);
                for i in 0..2 {
                    let centred = simd.sub_f32s(gradient[i], inner[i]);
                    gradient[i] = simd.mul_f32s(simd.mul_f32s(centred, probability[i]), scale);
                }
            }

            let gradients = Strided { values: self.gradients, stride: columns };
            let probabilities = Strided { values: self.probabilities, stride: columns };
            for column in (0..tiles).step_by(columns) {
                // With one tile of channels, rows lie as a panel; else each panel is taken out of them.
                for (left, right, out) in [
                    (gradients, &*self.query_rows, &mut *out.keys),
                    (probabilities, &*self.gradient_rows, &mut *out.values),
                ] {
                    let panel = if tiles == columns {
                        &right[..count * columns]
                    } else {
                        for (to, from) in self.panel.chunks_exact_mut(columns).zip(right.chunks_exact(tiles)) {
                            to.copy_from_slice(&from[column..column + columns]);
                        }
                        &self.panel[..count * columns]
                    };
                    let out = &mut out[seen.start * tiles..];
                    let mut sink = Add { out, stride: tiles, column, count: columns };
                    rows_by_panel::<S, R>(simd, left, seen.len(), count, panel, &mut sink);
                }
            }
            let mut sink = Write { out: &mut *self.turned, stride: columns, column: 0, count: columns };
            let (keys, gradients, beside) = (head.keys.from(seen.start), &*self.gradients, &mut *self.beside);
            columns_by_panel::<S, R>(simd, keys, dim, gradients, seen.len(), beside, &mut sink);
            let stride = out.queries_stride;
            turn_back(self.turned, columns, dim, count, self.query_rows, &mut out.queries[first * stride..], stride);
        }
    }
}

/// The sink of the probabilities' gradients: makes the probabilities whole, and sums the products of both down the columns.
struct Inner<'a, S: Simd> {
    probabilities: &'a mut [f32],
    gradients: &'a mut [f32],
    inverse: [S::f32s; 2],
    inner: [S::f32s; 2],
}

impl<S: Simd> Sink<S> for Inner<'_, S> {
    #[inline(always)]
    fn take(&mut self, simd: S, row: usize, sums: [S::f32s; 2]) {
        let columns = tile::columns::<S>();
        let at = row * columns..(row + 1) * columns;
        let (probabilities, _) = S::as_mut_simd_f32s(&mut self.probabilities[at.clone()]);
        for i in 0..2 {
            probabilities[i] = simd.mul_f32s(probabilities[i], self.inverse[i]);
            self.inner[i] = simd.mul_add_f32s(probabilities[i], sums[i], self.inner[i]);
        }
        tile::store::<S>(sums, &mut self.gradients[at]);
    }
}

/// Copies `count` rows of `dim` values into rows of `tiles`; what is past them is zero.
#[inline(always)]
fn gather(rows: Strided<'_>, count: usize, dim: usize, tiles: usize, out: &mut [f32]) {
    for (i, out) in out.chunks_exact_mut(tiles).take(count).enumerate() {
        out[..dim].copy_from_slice(&rows.values[i * rows.stride..][..dim]);
        out[dim..].fill(0.0);
    }
}

/// (dim, columns) to rows of `dim` values, `stride` apart.
#[inline(always)]
fn turn_back(
    turned: &[f32],
    columns: usize,
    dim: usize,
    count: usize,
    rows: &mut [f32],
    out: &mut [f32],
    stride: usize,
) {
    let rows = &mut rows[..count * dim];
    transpose(Strided { values: turned, stride: columns }, dim, rows, dim);
    for (out, row) in out.chunks_mut(stride).zip(rows.chunks_exact(dim)) {
        out[..dim].copy_from_slice(row);
    }
}
