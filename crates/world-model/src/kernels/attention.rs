//! Attention with rotated queries and keys, without ever holding a matrix of all pairs.
//!
//! Keys are taken in blocks; a running maximum and a running sum make the softmax of all of them (Milakov and
//! Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135).

use std::cell::RefCell;

use pulp::Simd;
use rayon::prelude::*;

use super::activation::exp;
use super::tile::{self, Tiled};
use super::{Scratch, aligned, rows_a_task};

/// Keys that are scored at once.
const BLOCK: usize = 128;
/// Sums of probabilities that a row keeps beside each other: always this many, whatever the processor.
const LANES: usize = 16;
/// Queries a task has at most.
const QUERIES_MAX: usize = 96;

/// The sizes of an attention.
#[derive(Clone, Copy)]
pub(crate) struct Heads {
    /// Sequences.
    pub(crate) sequences: usize,
    /// Tokens of a sequence.
    pub(crate) length: usize,
    /// Heads.
    pub(crate) heads: usize,
    /// Channels of a head.
    pub(crate) dim: usize,
}

/// How queries and keys are rotated: channel `c` of a token becomes `x[c] * cos[c] + x[c ^ 1] * sin[c]`.
#[derive(Clone, Copy)]
pub(crate) struct Rotation<'a> {
    /// `dim` values a token: of one sequence that stands for all, or of each.
    pub(crate) cos: &'a [f32],
    /// The same, with the sign of each channel.
    pub(crate) sin: &'a [f32],
}

impl<'a> Rotation<'a> {
    /// The part of sequence `s` of `heads`.
    fn of(&self, s: usize, heads: &Heads) -> Rotation<'a> {
        let one = heads.length * heads.dim;
        let at = if self.cos.len() == one { 0 } else { s * one };
        Rotation { cos: &self.cos[at..at + one], sin: &self.sin[at..at + one] }
    }

    /// Writes `x`, one head of token `t`, rotated, to `out`.
    #[inline(always)]
    fn rotate(&self, x: &[f32], t: usize, out: &mut [f32]) {
        let dim = x.len();
        let (cos, sin) = (&self.cos[t * dim..(t + 1) * dim], &self.sin[t * dim..(t + 1) * dim]);
        let pairs = x.as_chunks::<2>().0.iter().zip(cos.as_chunks::<2>().0).zip(sin.as_chunks::<2>().0);
        for (out, ((x, cos), sin)) in out.as_chunks_mut::<2>().0.iter_mut().zip(pairs) {
            *out = [x[0] * cos[0] + x[1] * sin[0], x[1] * cos[1] + x[0] * sin[1]];
        }
        if dim % 2 == 1 {
            out[dim - 1] = x[dim - 1];
        }
    }
}

/// The packed keys and values of all heads: sizes in floats.
struct Layout {
    /// Keys of a sequence, in whole blocks.
    keys: usize,
    /// Channels of a value, in whole tiles.
    channels: usize,
    /// Columns of a tile.
    columns: usize,
}

thread_local! {
    /// A task's queries, sums and probabilities.
    static TASK: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// `softmax(Q K^T / sqrt(dim)) V` for each head; `qkv` has a row of queries, keys and values of all heads a token, `out` a
/// row of all heads.
pub(crate) fn attention(qkv: &[f32], heads: Heads, rotation: Rotation<'_>, out: &mut [f32], scratch: &mut Scratch) {
    let Heads { sequences, length, heads: count, dim } = heads;
    let width = count * dim;
    assert_eq!(qkv.len(), sequences * length * 3 * width, "attention over other sizes");
    assert_eq!(out.len(), sequences * length * width, "attention into other sizes");
    assert_eq!(rotation.cos.len(), rotation.sin.len(), "half a rotation");
    let (tile_rows, columns) = tile::shape();
    let layout = Layout { keys: length.next_multiple_of(BLOCK), channels: dim.next_multiple_of(columns), columns };
    let (keys_head, values_head) = (layout.keys * dim, layout.keys * layout.channels);
    let keys = aligned(&mut scratch.keys, sequences * count * keys_head);
    let values = aligned(&mut scratch.values, sequences * count * values_head);
    keys.par_chunks_mut(keys_head).zip(values.par_chunks_mut(values_head)).enumerate().for_each(
        |(i, (keys, values))| {
            let (s, head) = (i / count, i % count);
            let qkv = &qkv[s * length * 3 * width..(s + 1) * length * 3 * width];
            pack(qkv, width, head, dim, &rotation.of(s, &heads), &layout, keys, values);
        },
    );
    let (keys, values) = (&*keys, &*values);
    let queries = rows_a_task(length, tile_rows, QUERIES_MAX);
    out.par_chunks_mut(length * width).enumerate().for_each(|(s, sequence)| {
        let qkv = &qkv[s * length * 3 * width..(s + 1) * length * 3 * width];
        let rotation = rotation.of(s, &heads);
        // A task is some queries of one sequence, so that it owns whole rows of the output.
        sequence.par_chunks_mut(queries * width).enumerate().with_max_len(1).for_each(|(task, out)| {
            for head in 0..count {
                let i = s * count + head;
                TASK.with_borrow_mut(|buffer| {
                    tile::dispatch(Queries {
                        qkv,
                        first: task * queries,
                        head,
                        heads: &heads,
                        rotation: &rotation,
                        layout: &layout,
                        keys: &keys[i * keys_head..(i + 1) * keys_head],
                        values: &values[i * values_head..(i + 1) * values_head],
                        out: &mut *out,
                        buffer,
                    });
                });
            }
        });
    });
}

/// Keys in panels of a tile's columns (for each channel, one value a key), values in panels of channels (for each key, one
/// value a channel).
#[allow(clippy::too_many_arguments)]
fn pack(
    qkv: &[f32],
    width: usize,
    head: usize,
    dim: usize,
    rotation: &Rotation<'_>,
    layout: &Layout,
    keys: &mut [f32],
    values: &mut [f32],
) {
    let columns = layout.columns;
    let mut rotated = vec![0f32; dim];
    keys.fill(0.0);
    values.fill(0.0);
    for (t, token) in qkv.chunks_exact(3 * width).enumerate() {
        rotation.rotate(&token[width + head * dim..][..dim], t, &mut rotated);
        let panel = &mut keys[t / columns * columns * dim..][..columns * dim];
        for (out, &value) in panel[t % columns..].iter_mut().step_by(columns).zip(&rotated) {
            *out = value;
        }
        let value = &token[2 * width + head * dim..][..dim];
        for (panel, value) in value.chunks(columns).enumerate() {
            values[(panel * layout.keys + t) * columns..][..value.len()].copy_from_slice(value);
        }
    }
}

struct Queries<'a> {
    qkv: &'a [f32],
    first: usize,
    head: usize,
    heads: &'a Heads,
    rotation: &'a Rotation<'a>,
    layout: &'a Layout,
    keys: &'a [f32],
    values: &'a [f32],
    out: &'a mut [f32],
    buffer: &'a mut Vec<f32>,
}

impl Tiled for Queries<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const R: usize>(self, simd: S) {
        let Heads { length, heads: count, dim, .. } = *self.heads;
        let Layout { keys: keys_all, channels, .. } = *self.layout;
        let (width, columns) = (count * dim, tile::columns::<S>());
        let rows = self.out.len() / width;
        let panels = rows.div_ceil(R);
        let buffer = aligned(self.buffer, panels * R * (dim + channels + 1 + LANES) + dim);
        let (queries, buffer) = buffer.split_at_mut(panels * R * dim);
        let (sums, buffer) = buffer.split_at_mut(panels * R * channels);
        let (greatest, buffer) = buffer.split_at_mut(panels * R);
        let (totals, rotated) = buffer.split_at_mut(panels * R * LANES);
        sums.fill(0.0);
        greatest.fill(f32::MIN);
        totals.fill(0.0);

        let scale = 1.0 / (dim as f32).sqrt();
        for (i, panel) in queries.chunks_exact_mut(R * dim).enumerate() {
            for r in 0..R {
                let row = i * R + r;
                if row < rows {
                    let t = self.first + row;
                    let query = &self.qkv[t * 3 * width + self.head * dim..][..dim];
                    self.rotation.rotate(query, t, rotated);
                } else {
                    rotated.fill(0.0);
                }
                for (out, &value) in panel[r..].iter_mut().step_by(R).zip(&*rotated) {
                    *out = value * scale;
                }
            }
        }

        let mut scores = [[0f32; BLOCK]; R];
        for block in (0..length).step_by(BLOCK) {
            let seen = BLOCK.min(length - block);
            for i in 0..panels {
                let query = &queries[i * R * dim..(i + 1) * R * dim];
                let keys = &self.keys[block * dim..(block + BLOCK) * dim];
                for (p, keys) in keys.chunks_exact(columns * dim).enumerate() {
                    let tile = tile::product::<S, R>(simd, query, keys);
                    for (scores, tile) in scores.iter_mut().zip(tile) {
                        tile::store::<S>(tile, &mut scores[p * columns..(p + 1) * columns]);
                    }
                }
                let mut shrink = [0f32; R];
                for r in 0..R {
                    let row = i * R + r;
                    let totals = &mut totals.as_chunks_mut::<LANES>().0[row];
                    shrink[r] = probabilities::<S>(simd, &mut scores[r], seen, &mut greatest[row], totals);
                }
                let sums = &mut sums[i * R * channels..(i + 1) * R * channels];
                for p in 0..channels / columns {
                    let values = &self.values[(p * keys_all + block) * columns..][..BLOCK * columns];
                    let tile = tile::product_of_rows::<S, R, BLOCK>(simd, &scores, values);
                    for (r, tile) in tile.into_iter().enumerate() {
                        let sums = &mut sums[r * channels + p * columns..][..columns];
                        let shrink = simd.splat_f32s(shrink[r]);
                        for (sum, new) in S::as_mut_simd_f32s(sums).0.iter_mut().zip(tile) {
                            *sum = simd.mul_add_f32s(*sum, shrink, new);
                        }
                    }
                }
            }
        }

        for row in 0..rows {
            let out = &mut self.out[row * width + self.head * dim..][..dim];
            let inverse = 1.0 / totals[row * LANES..(row + 1) * LANES].iter().sum::<f32>();
            for (out, sum) in out.iter_mut().zip(&sums[row * channels..]) {
                *out = sum * inverse;
            }
        }
    }
}

/// Makes scores into `e^(score - greatest)`, of which the first `seen` count, raises `greatest`, and adds to the sums so far;
/// gives the factor by which what came before shrinks.
#[inline(always)]
fn probabilities<S: Simd>(
    simd: S,
    scores: &mut [f32; BLOCK],
    seen: usize,
    greatest: &mut f32,
    totals: &mut [f32; LANES],
) -> f32 {
    scores[seen..].fill(f32::MIN);
    let mut most = simd.splat_f32s(*greatest);
    for &scores in S::as_simd_f32s(scores).0 {
        most = simd.max_f32s(most, scores);
    }
    let most = simd.reduce_max_f32s(most);
    let shrink = exp(*greatest - most);
    *greatest = most;
    totals.iter_mut().for_each(|total| *total *= shrink);
    for chunk in scores.as_chunks_mut::<LANES>().0 {
        for (total, score) in totals.iter_mut().zip(chunk) {
            *score = exp(*score - most);
            *total += *score;
        }
    }
    // What is not seen has become the least that `exp` gives, which no sum notices; its values are no numbers to weigh.
    scores[seen..].fill(0.0);
    shrink
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 500.0 - 2.0).collect()
    }

    #[test]
    fn attention_of_any_shape_is_the_weighted_mean_it_should_be() {
        for (sequences, length, count, dim) in
            [(1, 1, 1, 2), (2, 5, 2, 3), (1, 128, 1, 8), (2, 130, 3, 20), (1, 300, 2, 64), (1, 97, 1, 80)]
        {
            let width = count * dim;
            let heads = Heads { sequences, length, heads: count, dim };
            let qkv = values(sequences * length * 3 * width, 1);
            let (mut cos, mut sin) = (values(length * dim, 2), values(length * dim, 3));
            if dim % 2 == 1 {
                // A channel without a partner is not rotated.
                cos.chunks_mut(dim).for_each(|row| row[dim - 1] = 1.0);
                sin.chunks_mut(dim).for_each(|row| row[dim - 1] = 0.0);
            }
            let mut out = vec![0f32; sequences * length * width];
            let mut scratch =
                Scratch { keys: vec![f32::NAN; 200_000], values: vec![f32::NAN; 200_000], ..Scratch::default() };
            attention(&qkv, heads, Rotation { cos: &cos, sin: &sin }, &mut out, &mut scratch);

            let part = |s: usize, t: usize, which: usize, head: usize, c: usize| {
                f64::from(qkv[((s * length + t) * 3 + which) * width + head * dim + c])
            };
            let rotated = |s: usize, t: usize, which: usize, head: usize, c: usize| {
                let partner = if c ^ 1 < dim { part(s, t, which, head, c ^ 1) } else { 0.0 };
                part(s, t, which, head, c) * f64::from(cos[t * dim + c]) + partner * f64::from(sin[t * dim + c])
            };
            for s in 0..sequences {
                for t in (0..length).step_by(7) {
                    for head in 0..count {
                        let scores: Vec<f64> = (0..length)
                            .map(|u| {
                                let product = |c| rotated(s, t, 0, head, c) * rotated(s, u, 1, head, c);
                                (0..dim).map(product).sum::<f64>() / (dim as f64).sqrt()
                            })
                            .collect();
                        let most = scores.iter().copied().fold(f64::MIN, f64::max);
                        let total: f64 = scores.iter().map(|v| (v - most).exp()).sum();
                        for c in 0..dim {
                            let mean = |u: usize| (scores[u] - most).exp() / total * part(s, u, 2, head, c);
                            let expected: f64 = (0..length).map(mean).sum();
                            let found = f64::from(out[(s * length + t) * width + head * dim + c]);
                            assert!((found - expected).abs() < 1e-4, "{length} {dim}: {found} {expected}");
                        }
                    }
                }
            }
        }
    }
}
