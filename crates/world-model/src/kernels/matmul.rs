//! `X W^T` for tall `X` and weights in any storage, with what follows it done while a tile is still in the cache.

use std::cell::RefCell;

use pulp::Simd;
use rayon::prelude::*;

use super::activation::gelu as exact_gelu;
use super::tile::{self, Tiled};
use super::{Scratch, aligned, rows_a_task};

/// Steps of a sum that are done in one go: `X`'s part of a tile (12 x 384 floats) stays in the first-level cache.
const STEPS: usize = 384;
/// Rows of `X` a task has at most: their packed part (96 x 384 floats) stays in the second-level cache.
const ROWS_MAX: usize = 96;

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

/// `x W^T + bias` into the columns from `column` on of `out`.
pub(crate) struct Product<'a, W: ?Sized> {
    /// Rows of `weights.columns()` values.
    pub(crate) x: &'a [f32],
    pub(crate) weights: &'a W,
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) finish: Finish,
    /// As many rows as `x` has, of `out_width` values.
    pub(crate) out: &'a mut [f32],
    pub(crate) out_width: usize,
    pub(crate) column: usize,
}

thread_local! {
    /// A task's packed rows of `X`.
    static PACKED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Computes a product.
pub(crate) fn matmul<W: Rows + ?Sized>(product: Product<'_, W>, scratch: &mut Scratch) {
    let Product { x, weights, bias, finish, out, out_width, column } = product;
    let (inputs, outputs) = (weights.columns(), weights.rows());
    let rows = x.len() / inputs;
    assert_eq!(x.len(), rows * inputs, "a product of broken rows");
    assert_eq!(out.len(), rows * out_width, "a product into another number of rows");
    assert!(column + outputs <= out_width, "a product past its row");
    let (tile_rows, tile_columns) = tile::shape();
    let rows_task = rows_a_task(rows, tile_rows, ROWS_MAX);
    for start in (0..inputs).step_by(STEPS) {
        let steps = STEPS.min(inputs - start);
        let packed = aligned(&mut scratch.weights, outputs.next_multiple_of(tile_columns) * steps);
        pack_weights(weights, start, steps, tile_columns, packed);
        let packed = &*packed;
        let last = start + steps == inputs;
        out.par_chunks_mut(rows_task * out_width).enumerate().for_each(|(i, out)| {
            let rows = out.len() / out_width;
            let first = i * rows_task;
            PACKED.with_borrow_mut(|buffer| {
                let left = aligned(buffer, rows.next_multiple_of(tile_rows) * steps);
                let x = &x[first * inputs..(first + rows) * inputs];
                pack_rows(x, inputs, start, steps, tile_rows, left);
                tile::dispatch(Tiles {
                    left,
                    right: packed,
                    rows,
                    steps,
                    outputs,
                    out,
                    out_width,
                    column,
                    // The parts of a sum come one after the other: all but the first add to what is there.
                    add: finish == Finish::Add || start > 0,
                    bias: bias.filter(|_| last),
                    gelu: last && finish == Finish::Gelu,
                });
            });
        });
    }
}

/// Panels of `columns` outputs: for each step, one weight of each.
fn pack_weights<W: Rows + ?Sized>(weights: &W, start: usize, steps: usize, columns: usize, packed: &mut [f32]) {
    packed.par_chunks_mut(columns * steps).enumerate().for_each(|(panel, out)| {
        let mut row = [0f32; STEPS];
        for c in 0..columns {
            let output = panel * columns + c;
            let row = &mut row[..steps];
            if output < weights.rows() {
                weights.read(output, start, row);
            } else {
                row.fill(0.0);
            }
            for (out, &value) in out[c..].iter_mut().step_by(columns).zip(&*row) {
                *out = value;
            }
        }
    });
}

/// Panels of `tile_rows` rows: for each step, one value of each.
fn pack_rows(x: &[f32], width: usize, start: usize, steps: usize, tile_rows: usize, packed: &mut [f32]) {
    let rows = x.len() / width;
    for (panel, out) in packed.chunks_exact_mut(tile_rows * steps).enumerate() {
        for r in 0..tile_rows {
            let row = panel * tile_rows + r;
            let out = out[r..].iter_mut().step_by(tile_rows);
            if row < rows {
                let at = row * width + start;
                out.zip(&x[at..at + steps]).for_each(|(out, &value)| *out = value);
            } else {
                out.for_each(|out| *out = 0.0);
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
        let mut line = [0f32; 32];
        let line = &mut line[..columns];
        for (panel, right) in right.chunks_exact(columns * steps).enumerate() {
            let first_output = panel * columns;
            let width = columns.min(outputs - first_output);
            let bias = bias.map(|bias| &bias[first_output..first_output + width]);
            for (block, left) in left.chunks_exact(R * steps).enumerate() {
                let sums = tile::product::<S, R>(simd, left, right);
                for (row, sums) in (block * R..rows).zip(sums) {
                    let at = row * out_width + column + first_output;
                    let out = &mut out[at..at + width];
                    tile::store::<S>(sums, line);
                    if let Some(bias) = bias {
                        line.iter_mut().zip(bias).for_each(|(v, b)| *v += b);
                    }
                    if add {
                        line.iter_mut().zip(&*out).for_each(|(v, there)| *v += there);
                    }
                    if gelu {
                        line.iter_mut().for_each(|v| *v = exact_gelu(*v));
                    }
                    out.copy_from_slice(&line[..width]);
                }
            }
        }
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
        for (rows, inputs, outputs) in [(1, 1, 1), (5, 7, 3), (13, 384, 33), (100, 385, 64), (29, 1000, 70)] {
            for finish in [Finish::Write, Finish::Add, Finish::Gelu] {
                let (x, weights, bias) = (values(rows * inputs, 1), values(outputs * inputs, 2), values(outputs, 3));
                let (out_width, column) = (outputs + 5, 2);
                let before = values(rows * out_width, 4);
                let mut out = before.clone();
                let weights = Dense(weights, inputs);
                let product =
                    Product { x: &x, weights: &weights, bias: Some(&bias), finish, out: &mut out, out_width, column };
                // What an earlier product left behind must not matter.
                let mut scratch = Scratch { weights: vec![f32::NAN; 100_000], ..Scratch::default() };
                matmul(product, &mut scratch);
                for row in 0..rows {
                    for c in 0..out_width {
                        let found = f64::from(out[row * out_width + c]);
                        let there = f64::from(before[row * out_width + c]);
                        let expected = match c.checked_sub(column).filter(|&o| o < outputs) {
                            None => there,
                            Some(o) => {
                                let product = |k| f64::from(x[row * inputs + k]) * f64::from(weights.0[o * inputs + k]);
                                let sum = f64::from(bias[o]) + (0..inputs).map(product).sum::<f64>();
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
