//! `X W^T` for tall `X` and weights in any storage, with what follows it done while a tile is still in the cache.

use std::cell::RefCell;

use pulp::Simd;
use rayon::prelude::*;

use super::activation::gelu as exact_gelu;
use super::panel::{PIECE, interleave};
use super::tile::{self, Tiled};
use super::{Scratch, aligned, rows_a_task};

/// Steps of a sum that are done in one go. What a tile multiplies then streams from the second-level cache, which costs less
/// than coming back to the output more often.
const STEPS: usize = 1024;
/// Rows of `X` a task has at most: their packed part (96 x 1024 floats) stays in the second-level cache.
const ROWS_MAX: usize = 96;
/// Columns of a tile at most.
const COLUMNS_MAX: usize = 32;

/// A matrix of weights, (outputs, inputs), read row by row.
pub(crate) trait Rows: Sync {
    /// Outputs.
    fn rows(&self) -> usize;
    /// Inputs.
    fn columns(&self) -> usize;
    /// Writes `out.len()` values of `row`, from `column` on.
    fn read(&self, row: usize, column: usize, out: &mut [f32]);
}

/// What is done with a product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    /// It is written.
    Write,
    /// Its exact GELU is written.
    Gelu,
    /// It is added to what is there.
    Add,
}

/// `x W^T + bias` into the columns from `column` on of each output row.
pub(crate) struct Part<'a, W: ?Sized> {
    pub(crate) weights: &'a W,
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) column: usize,
}

/// Products of the same rows with several matrices.
pub(crate) struct Product<'a, W: ?Sized> {
    /// Rows of as many values as the weights have inputs.
    pub(crate) x: &'a [f32],
    /// All with the same inputs.
    pub(crate) parts: &'a [Part<'a, W>],
    pub(crate) finish: Finish,
    /// As many rows as `x` has, of `out_width` values.
    pub(crate) out: &'a mut [f32],
    pub(crate) out_width: usize,
}

thread_local! {
    /// A task's packed rows of `X`.
    static PACKED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Computes a product.
pub(crate) fn matmul<W: Rows + ?Sized>(product: Product<'_, W>, scratch: &mut Scratch) {
    let Product { x, parts, finish, out, out_width } = product;
    let Some(inputs) = parts.first().map(|part| part.weights.columns()) else { return };
    let rows = x.len() / inputs;
    assert_eq!(x.len(), rows * inputs, "a product of broken rows");
    assert_eq!(out.len(), rows * out_width, "a product into another number of rows");
    for part in parts {
        assert_eq!(part.weights.columns(), inputs, "a product with other inputs");
        assert!(part.column + part.weights.rows() <= out_width, "a product past its row");
    }
    let (tile_rows, tile_columns) = tile::shape();
    let columns = |part: &Part<'_, W>| part.weights.rows().next_multiple_of(tile_columns);
    let columns_all: usize = parts.iter().map(columns).sum();
    let rows_task = rows_a_task(rows, tile_rows, ROWS_MAX);
    for start in (0..inputs).step_by(STEPS) {
        let steps = STEPS.min(inputs - start);
        let packed = aligned(&mut scratch.weights, columns_all * steps);
        let mut rest = &mut *packed;
        for part in parts {
            let (panels, others) = rest.split_at_mut(columns(part) * steps);
            pack_weights(part.weights, start, steps, tile_columns, panels);
            rest = others;
        }
        let packed = &*packed;
        let last = start + steps == inputs;
        // One task at a time: a thread that others keep from its core then holds nobody up for longer.
        out.par_chunks_mut(rows_task * out_width).enumerate().with_max_len(1).for_each(|(i, out)| {
            let rows = out.len() / out_width;
            let first = i * rows_task;
            PACKED.with_borrow_mut(|buffer| {
                let left = aligned(buffer, rows.next_multiple_of(tile_rows) * steps);
                let x = &x[first * inputs..(first + rows) * inputs];
                pack_rows(x, inputs, start, tile_rows, left);
                let mut rest = packed;
                for part in parts {
                    let (right, others) = rest.split_at(columns(part) * steps);
                    rest = others;
                    tile::dispatch(Tiles {
                        left,
                        right,
                        rows,
                        steps,
                        outputs: part.weights.rows(),
                        out,
                        out_width,
                        column: part.column,
                        // The pieces of a sum come one after the other: all but the first add to what is there.
                        add: finish == Finish::Add || start > 0,
                        bias: part.bias.filter(|_| last),
                        gelu: last && finish == Finish::Gelu,
                    });
                }
            });
        });
    }
}

/// Panels of `columns` outputs: for each step, one weight of each.
fn pack_weights<W: Rows + ?Sized>(weights: &W, start: usize, steps: usize, columns: usize, packed: &mut [f32]) {
    packed.par_chunks_mut(columns * steps).enumerate().for_each(|(panel, out)| {
        let first = panel * columns;
        let count = columns.min(weights.rows() - first);
        let mut piece = [[0f32; PIECE]; COLUMNS_MAX];
        for (i, out) in out.chunks_mut(PIECE * columns).enumerate() {
            let steps = out.len() / columns;
            for (c, row) in piece[..count].iter_mut().enumerate() {
                weights.read(first + c, start + i * PIECE, &mut row[..steps]);
            }
            interleave(|c| Some(&piece[..count].get(c)?[..steps]), out, columns);
        }
    });
}

/// Panels of `tile_rows` rows: for each step, one value of each.
fn pack_rows(x: &[f32], width: usize, start: usize, tile_rows: usize, packed: &mut [f32]) {
    let panels = x.len().div_ceil(tile_rows * width);
    let steps = packed.len() / (panels * tile_rows);
    for (rows, panel) in x.chunks(tile_rows * width).zip(packed.chunks_exact_mut(tile_rows * steps)) {
        for (i, out) in panel.chunks_mut(PIECE * tile_rows).enumerate() {
            let at = start + i * PIECE;
            let steps = out.len() / tile_rows;
            let row = |r: usize| rows.get(r * width + at..r * width + at + steps);
            // The number of rows as a constant lets the compiler lay the loops out.
            match tile_rows {
                tile::ROWS_WIDE => interleave(row, out, tile::ROWS_WIDE),
                _ => interleave(row, out, tile_rows),
            }
        }
    }
}

struct Tiles<'a> {
    left: &'a [f32],
    right: &'a [f32],
    rows: usize,
    steps: usize,
    outputs: usize,
    out: &'a mut [f32],
    out_width: usize,
    column: usize,
    add: bool,
    bias: Option<&'a [f32]>,
    gelu: bool,
}

impl Tiled for Tiles<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const R: usize>(self, simd: S) {
        let Self { left, right, rows, steps, outputs, out, out_width, column, add, bias, gelu } = self;
        let columns = tile::columns::<S>();
        let mut line = [0f32; COLUMNS_MAX];
        for (panel, right) in right.chunks_exact(columns * steps).enumerate() {
            let first_output = panel * columns;
            let width = columns.min(outputs - first_output);
            let bias = bias.map(|bias| &bias[first_output..first_output + width]);
            for (block, left) in left.chunks_exact(R * steps).enumerate() {
                let sums = tile::product::<S, R>(simd, left, right);
                for (row, sums) in (block * R..rows).zip(sums) {
                    let at = row * out_width + column + first_output;
                    let out = &mut out[at..at + width];
                    if width == columns {
                        finish::<S>(simd, sums, add, bias, gelu, out);
                    } else {
                        // The last columns, by way of whole vectors.
                        let line = &mut line[..columns];
                        line[..width].copy_from_slice(out);
                        let mut whole = [0f32; COLUMNS_MAX];
                        let bias = bias.map(|bias| {
                            whole[..width].copy_from_slice(bias);
                            &whole[..columns]
                        });
                        finish::<S>(simd, sums, add, bias, gelu, line);
                        out.copy_from_slice(&line[..width]);
                    }
                }
            }
        }
    }
}

/// Adds to a row of a tile what is to be added, and writes it.
#[inline(always)]
fn finish<S: Simd>(simd: S, sums: [S::f32s; 2], add: bool, bias: Option<&[f32]>, gelu: bool, out: &mut [f32]) {
    let mut sums = sums;
    if let Some(bias) = bias {
        for (sum, &bias) in sums.iter_mut().zip(S::as_simd_f32s(bias).0) {
            *sum = simd.add_f32s(*sum, bias);
        }
    }
    for (out, sum) in S::as_mut_simd_f32s(out).0.iter_mut().zip(sums) {
        *out = if add { simd.add_f32s(sum, *out) } else { sum };
    }
    if gelu {
        out.iter_mut().for_each(|v| *v = exact_gelu(*v));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dense(Vec<f32>, usize);

    impl Rows for Dense {
        fn rows(&self) -> usize {
            self.0.len() / self.1
        }

        fn columns(&self) -> usize {
            self.1
        }

        fn read(&self, row: usize, column: usize, out: &mut [f32]) {
            let at = row * self.1 + column;
            out.copy_from_slice(&self.0[at..at + out.len()]);
        }
    }

    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
    }

    #[test]
    fn a_product_of_any_shape_is_the_sum_it_should_be() {
        for (rows, inputs, outputs) in [(1, 1, 1), (5, 7, 3), (13, 384, 33), (100, 385, 64), (29, 2100, 70)] {
            for finish in [Finish::Write, Finish::Add, Finish::Gelu] {
                let (x, weights, bias) = (values(rows * inputs, 1), values(outputs * inputs, 2), values(outputs, 3));
                // Two matrices, the second without a bias, with room around them.
                let (out_width, column) = (2 * outputs + 5, 2);
                let before = values(rows * out_width, 4);
                let mut out = before.clone();
                let weights = Dense(weights, inputs);
                let parts = [
                    Part { weights: &weights, bias: Some(&bias), column },
                    Part { weights: &weights, bias: None, column: column + outputs },
                ];
                let product = Product { x: &x, parts: &parts, finish, out: &mut out, out_width };
                // What an earlier product left behind must not matter.
                let mut scratch = Scratch { weights: vec![f32::NAN; 100_000], ..Scratch::default() };
                matmul(product, &mut scratch);
                for row in 0..rows {
                    for c in 0..out_width {
                        let found = f64::from(out[row * out_width + c]);
                        let there = f64::from(before[row * out_width + c]);
                        let expected = match c.checked_sub(column).filter(|&o| o < 2 * outputs) {
                            None => there,
                            Some(o) => {
                                let (bias, o) = if o < outputs { (bias[o], o) } else { (0.0, o - outputs) };
                                let product = |k| f64::from(x[row * inputs + k]) * f64::from(weights.0[o * inputs + k]);
                                let sum = f64::from(bias) + (0..inputs).map(product).sum::<f64>();
                                match finish {
                                    Finish::Write => sum,
                                    Finish::Add => sum + there,
                                    Finish::Gelu => f64::from(exact_gelu(sum as f32)),
                                }
                            }
                        };
                        assert!(
                            (found - expected).abs() < 2e-6 * (10.0 + expected.abs()),
                            "{rows} {inputs} {outputs}: {found} {expected}"
                        );
                    }
                }
            }
        }
    }
}
