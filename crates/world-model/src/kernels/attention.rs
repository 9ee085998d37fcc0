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
    /// Tokens of a sequence that ask.
    pub(crate) queries: usize,
    /// Tokens of a sequence that are looked at.
    pub(crate) keys: usize,
    /// Heads.
    pub(crate) heads: usize,
    /// Channels of a head.
    pub(crate) dim: usize,
}

/// What an attention takes of each token: all heads, from `column` on of rows of `stride` values.
#[derive(Clone, Copy)]
pub(crate) struct Tokens<'a> {
    pub(crate) rows: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) column: usize,
}

impl<'a> Tokens<'a> {
    /// The part of sequence `s`, of `length` tokens each.
    fn of(&self, s: usize, length: usize) -> Tokens<'a> {
        let one = length * self.stride;
        Tokens { rows: &self.rows[s * one..(s + 1) * one], ..*self }
    }

    /// One head of token `t`.
    #[inline(always)]
    fn head(&self, t: usize, head: usize, dim: usize) -> &'a [f32] {
        &self.rows[t * self.stride + self.column + head * dim..][..dim]
    }
}

/// How queries or keys are rotated: channel `c` of a token becomes `x[c] * cos[c] + x[c ^ 1] * sin[c]`.
#[derive(Clone, Copy)]
pub(crate) struct Rotation<'a> {
    /// `dim` values a token: of one sequence that stands for all, or of each.
    pub(crate) cos: &'a [f32],
    /// The same, with the sign of each channel.
    pub(crate) sin: &'a [f32],
    /// The row of the first token; after the last row comes the first.
    pub(crate) first: usize,
}

impl<'a> Rotation<'a> {
    /// Of the tokens at these rows, each with `dim` channels.
    pub(crate) fn rows(&self, rows: std::ops::Range<usize>, dim: usize) -> Rotation<'a> {
        let floats = rows.start * dim..rows.end * dim;
        Rotation { cos: &self.cos[floats.clone()], sin: &self.sin[floats], first: self.first }
    }

    /// The part of sequence `s`, of `length` tokens each.
    fn of(&self, s: usize, length: usize, dim: usize) -> Rotation<'a> {
        let one = length * dim;
        let at = if self.cos.len() == one { 0 } else { s * one };
        Rotation { cos: &self.cos[at..at + one], sin: &self.sin[at..at + one], first: self.first }
    }

    /// Writes `x`, one head of token `t`, rotated, to `out`.
    #[inline(always)]
    fn rotate(&self, x: &[f32], t: usize, out: &mut [f32]) {
        let dim = x.len();
        let row = (self.first + t) % (self.cos.len() / dim);
        let (cos, sin) = (&self.cos[row * dim..(row + 1) * dim], &self.sin[row * dim..(row + 1) * dim]);
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

/// `softmax(Q K^T / sqrt(dim)) V` for each head.
pub(crate) struct Attention<'a> {
    pub(crate) heads: Heads,
    pub(crate) queries: Tokens<'a>,
    pub(crate) keys: Tokens<'a>,
    pub(crate) values: Tokens<'a>,
    pub(crate) query_rotation: Rotation<'a>,
    pub(crate) key_rotation: Rotation<'a>,
    /// A row of all heads for each token that asks.
    pub(crate) out: &'a mut [f32],
}

/// Computes an attention.
pub(crate) fn attention(attention: Attention<'_>, scratch: &mut Scratch) {
    let Attention { heads, queries, keys, values, query_rotation, key_rotation, out } = attention;
    let Heads { sequences, queries: asking, keys: length, heads: count, dim } = heads;
    let width = count * dim;
    assert_eq!(queries.rows.len(), sequences * asking * queries.stride, "attention of other sizes");
    for tokens in [&keys, &values] {
        assert_eq!(tokens.rows.len(), sequences * length * tokens.stride, "attention over other sizes");
    }
    assert_eq!(out.len(), sequences * asking * width, "attention into other sizes");
    for rotation in [&query_rotation, &key_rotation] {
        assert_eq!(rotation.cos.len(), rotation.sin.len(), "half a rotation");
    }
    let (tile_rows, columns) = tile::shape();
    let layout = Layout { keys: length.next_multiple_of(BLOCK), channels: dim.next_multiple_of(columns), columns };
    let (keys_head, values_head) = (layout.keys * dim, layout.keys * layout.channels);
    let packed_keys = aligned(&mut scratch.keys, sequences * count * keys_head);
    let packed_values = aligned(&mut scratch.values, sequences * count * values_head);
    packed_keys.par_chunks_mut(keys_head).zip(packed_values.par_chunks_mut(values_head)).enumerate().for_each(
        |(i, (packed_keys, packed_values))| {
            let (s, head) = (i / count, i % count);
            let (keys, values) = (keys.of(s, length), values.of(s, length));
            let rotation = key_rotation.of(s, length, dim);
            pack_keys(keys, length, head, dim, &rotation, columns, packed_keys);
            pack_values(values, length, head, dim, &layout, packed_values);
        },
    );
    let (packed_keys, packed_values) = (&*packed_keys, &*packed_values);
    let rows = rows_a_task(asking, tile_rows, QUERIES_MAX);
    out.par_chunks_mut(asking * width).enumerate().for_each(|(s, sequence)| {
        let queries = queries.of(s, asking);
        let rotation = query_rotation.of(s, asking, dim);
        // A task is some queries of one sequence, so that it owns whole rows of the output.
        sequence.par_chunks_mut(rows * width).enumerate().with_max_len(1).for_each(|(task, out)| {
            for head in 0..count {
                let i = s * count + head;
                TASK.with_borrow_mut(|buffer| {
                    tile::dispatch(Queries {
                        queries,
                        first: task * rows,
                        head,
                        heads: &heads,
                        rotation: &rotation,
                        layout: &layout,
                        keys: &packed_keys[i * keys_head..(i + 1) * keys_head],
                        values: &packed_values[i * values_head..(i + 1) * values_head],
                        out: &mut *out,
                        buffer,
                    });
                });
            }
        });
    });
}

/// Rotated keys in panels of `columns`: for each channel, one value a key.
fn pack_keys(
    keys: Tokens<'_>,
    length: usize,
    head: usize,
    dim: usize,
    rotation: &Rotation<'_>,
    columns: usize,
    packed: &mut [f32],
) {
    TASK.with_borrow_mut(|buffer| {
        let rotated = aligned(buffer, dim);
        packed.fill(0.0);
        for t in 0..length {
            rotation.rotate(keys.head(t, head, dim), t, rotated);
            let panel = &mut packed[t / columns * columns * dim..][..columns * dim];
            for (out, &value) in panel[t % columns..].iter_mut().step_by(columns).zip(&*rotated) {
                *out = value;
            }
        }
    });
}

/// Values in panels of a tile's channels: for each key, one value a channel.
fn pack_values(values: Tokens<'_>, length: usize, head: usize, dim: usize, layout: &Layout, packed: &mut [f32]) {
    let columns = layout.columns;
    packed.fill(0.0);
    for t in 0..length {
        for (panel, value) in values.head(t, head, dim).chunks(columns).enumerate() {
            packed[(panel * layout.keys + t) * columns..][..value.len()].copy_from_slice(value);
        }
    }
}

struct Queries<'a> {
    queries: Tokens<'a>,
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
        let Heads { keys: length, heads: count, dim, .. } = *self.heads;
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
                    self.rotation.rotate(self.queries.head(t, self.head, dim), t, rotated);
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
        // Sequences, tokens that ask, tokens that are looked at, heads, channels; and which row turns the first key.
        for (sequences, asking, length, count, dim, first) in [
            (1, 1, 1, 1, 2, 0),
            (2, 5, 5, 2, 3, 0),
            (1, 128, 128, 1, 8, 0),
            (2, 130, 130, 3, 20, 0),
            (1, 300, 300, 2, 64, 0),
            (1, 97, 97, 1, 80, 0),
            (1, 9, 130, 2, 20, 70),
            (2, 31, 7, 1, 12, 6),
        ] {
            let width = count * dim;
            let heads = Heads { sequences, queries: asking, keys: length, heads: count, dim };
            // Queries lie alone, keys and values behind each other with two values that are nobody's.
            let (q, kv) = (values(sequences * asking * width, 1), values(sequences * length * (2 * width + 2), 5));
            let turned = |tokens: usize, seed: usize| {
                let (mut cos, mut sin) = (values(tokens * dim, seed), values(tokens * dim, seed + 1));
                if dim % 2 == 1 {
                    // A channel without a partner is not rotated.
                    cos.chunks_mut(dim).for_each(|row| row[dim - 1] = 1.0);
                    sin.chunks_mut(dim).for_each(|row| row[dim - 1] = 0.0);
                }
                (cos, sin)
            };
            let (query_turn, key_turn) = (turned(asking, 2), turned(length, 6));
            let mut out = vec![0f32; sequences * asking * width];
            let mut scratch =
                Scratch { keys: vec![f32::NAN; 200_000], values: vec![f32::NAN; 200_000], ..Scratch::default() };
            let stride = 2 * width + 2;
            let work = Attention {
                heads,
                queries: Tokens { rows: &q, stride: width, column: 0 },
                keys: Tokens { rows: &kv, stride, column: 1 },
                values: Tokens { rows: &kv, stride, column: width + 2 },
                query_rotation: Rotation { cos: &query_turn.0, sin: &query_turn.1, first: 0 },
                key_rotation: Rotation { cos: &key_turn.0, sin: &key_turn.1, first },
                out: &mut out,
            };
            attention(work, &mut scratch);

            let rotated = |x: &[f32], (cos, sin): &(Vec<f32>, Vec<f32>), row: usize, c: usize| {
                let partner = x.get(c ^ 1).map_or(0.0, |&v| f64::from(v));
                f64::from(x[c]) * f64::from(cos[row * dim + c]) + partner * f64::from(sin[row * dim + c])
            };
            let key = |s: usize, u: usize, head: usize| &kv[(s * length + u) * stride + 1 + head * dim..][..dim];
            let value =
                |s: usize, u: usize, head: usize| &kv[(s * length + u) * stride + width + 2 + head * dim..][..dim];
            for s in 0..sequences {
                for t in (0..asking).step_by(7) {
                    for head in 0..count {
                        let query = &q[(s * asking + t) * width + head * dim..][..dim];
                        let scores: Vec<f64> = (0..length)
                            .map(|u| {
                                let row = (first + u) % length;
                                let product =
                                    |c| rotated(query, &query_turn, t, c) * rotated(key(s, u, head), &key_turn, row, c);
                                (0..dim).map(product).sum::<f64>() / (dim as f64).sqrt()
                            })
                            .collect();
                        let most = scores.iter().copied().fold(f64::MIN, f64::max);
                        let total: f64 = scores.iter().map(|v| (v - most).exp()).sum();
                        for c in 0..dim {
                            let mean = |u: usize| (scores[u] - most).exp() / total * f64::from(value(s, u, head)[c]);
                            let expected: f64 = (0..length).map(mean).sum();
                            let found = f64::from(out[(s * asking + t) * width + head * dim + c]);
                            assert!((found - expected).abs() < 1e-4, "{length} {dim}: {found} {expected}");
                        }
                    }
                }
            }
        }
    }
}
