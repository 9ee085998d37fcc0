//! Products of matrices as they lie in memory, tile by tile. Only the right-hand side of a product with many rows is put
//! into panels.

use pulp::Simd;

use crate::kernels::panel::{PIECE, interleave};
use crate::kernels::tile::{self, Sums};

/// Rows of a tile where fewer than a whole tile are left.
const ROWS_FEW: usize = 4;
/// Columns of a tile at most.
const COLUMNS_MAX: usize = 32;

/// Rows at a distance of `stride` floats.
#[derive(Clone, Copy)]
pub(super) struct Strided<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
}

impl Strided<'_> {
    /// Those from `row` on.
    #[inline(always)]
    pub(super) fn from(self, row: usize) -> Self {
        Self { values: &self.values[row * self.stride..], ..self }
    }
}

/// A matrix of (steps, outputs) in panels of a tile's columns: for each step, one value a column, and zeros past the last.
pub(crate) struct Panels {
    buffer: Vec<f32>,
    /// Floats before the first 64-byte boundary.
    skip: usize,
    pub(super) steps: usize,
    pub(super) outputs: usize,
}

impl Panels {
    fn empty(steps: usize, outputs: usize) -> Self {
        let len = steps * outputs.next_multiple_of(tile::shape().1);
        let buffer = vec![0f32; len + 16];
        let skip = buffer.as_ptr().align_offset(64).min(16);
        Self { buffer, skip, steps, outputs }
    }

    /// Of a matrix that lies row by row.
    pub(super) fn new(matrix: &[f32], steps: usize, outputs: usize) -> Self {
        assert_eq!(matrix.len(), steps * outputs, "a matrix of other sizes");
        let mut panels = Self::empty(steps, outputs);
        let columns = tile::shape().1;
        let (skip, len) = (panels.skip, steps * outputs.next_multiple_of(columns));
        for (p, panel) in panels.buffer[skip..skip + len].chunks_exact_mut(columns * steps).enumerate() {
            let width = columns.min(outputs - p * columns);
            for (step, row) in panel.chunks_exact_mut(columns).zip(matrix.chunks_exact(outputs)) {
                step[..width].copy_from_slice(&row[p * columns..p * columns + width]);
            }
        }
        panels
    }

    /// Of the transpose of a matrix with `outputs` rows of `steps` values.
    pub(super) fn transposed(matrix: &[f32], steps: usize, outputs: usize) -> Self {
        assert_eq!(matrix.len(), steps * outputs, "a matrix of other sizes");
        let mut panels = Self::empty(steps, outputs);
        let columns = tile::shape().1;
        let (skip, len) = (panels.skip, steps * outputs.next_multiple_of(columns));
        for (p, panel) in panels.buffer[skip..skip + len].chunks_exact_mut(columns * steps).enumerate() {
            let rows = Strided { values: &matrix[p * columns * steps..], stride: steps };
            transpose(rows, columns.min(outputs - p * columns), panel, columns);
        }
        panels
    }

    /// Panels.
    #[inline(always)]
    pub(super) fn count<S: Simd>(&self) -> usize {
        self.outputs.div_ceil(tile::columns::<S>())
    }

    /// A panel, the column that it begins at, and how many columns it has.
    #[inline(always)]
    pub(super) fn get<S: Simd>(&self, p: usize) -> (&[f32], usize, usize) {
        let columns = tile::columns::<S>();
        let len = columns * self.steps;
        (&self.buffer[self.skip + p * len..][..len], p * columns, columns.min(self.outputs - p * columns))
    }
}

/// `left W` into `out`, rows of `stride` values: as many as there are outputs, or whole tiles of them.
#[inline(always)]
pub(super) fn write_product<S: Simd, const R: usize>(
    simd: S,
    left: Strided<'_>,
    rows: usize,
    panels: &Panels,
    out: &mut [f32],
    stride: usize,
) {
    for p in 0..panels.count::<S>() {
        let (panel, column, count) = panels.get::<S>(p);
        let count = if stride > panels.outputs { tile::columns::<S>() } else { count };
        rows_by_panel::<S, R>(simd, left, rows, panels.steps, panel, &mut Write { out, stride, column, count });
    }
}

/// `left W`, added to rows of `stride` values.
#[inline(always)]
pub(super) fn add_product<S: Simd, const R: usize>(
    simd: S,
    left: Strided<'_>,
    rows: usize,
    panels: &Panels,
    out: &mut [f32],
    stride: usize,
) {
    for p in 0..panels.count::<S>() {
        let (panel, column, count) = panels.get::<S>(p);
        rows_by_panel::<S, R>(simd, left, rows, panels.steps, panel, &mut Add { out, stride, column, count });
    }
}

/// Writes `count` rows as the columns of `panel`, which is `width` wide; the columns past them are zero.
#[inline(always)]
pub(super) fn transpose(rows: Strided<'_>, count: usize, panel: &mut [f32], width: usize) {
    for (i, piece) in panel.chunks_mut(PIECE * width).enumerate() {
        let (at, steps) = (i * PIECE, piece.len() / width);
        let row = |c: usize| {
            if c < count { rows.values.get(c * rows.stride + at..c * rows.stride + at + steps) } else { None }
        };
        interleave(row, piece, width);
    }
}

/// Where the sums of a product go, a row of a tile at a time.
///
/// No closures: what the compiler does not put in place would be compiled for the least of processors.
pub(super) trait Sink<S: Simd> {
    fn take(&mut self, simd: S, row: usize, sums: [S::f32s; 2]);
}

/// They are written to rows of `stride` values, `count` of them from `column` on.
pub(super) struct Write<'a> {
    pub(super) out: &'a mut [f32],
    pub(super) stride: usize,
    pub(super) column: usize,
    pub(super) count: usize,
}

impl<S: Simd> Sink<S> for Write<'_> {
    #[inline(always)]
    fn take(&mut self, _: S, row: usize, sums: [S::f32s; 2]) {
        write::<S>(sums, &mut self.out[row * self.stride + self.column..][..self.count]);
    }
}

/// They are added to what is there.
pub(super) struct Add<'a> {
    pub(super) out: &'a mut [f32],
    pub(super) stride: usize,
    pub(super) column: usize,
    pub(super) count: usize,
}

impl<S: Simd> Sink<S> for Add<'_> {
    #[inline(always)]
    fn take(&mut self, simd: S, row: usize, sums: [S::f32s; 2]) {
        add::<S>(simd, sums, &mut self.out[row * self.stride + self.column..][..self.count]);
    }
}

/// They are written to rows of a tile's columns, each column by its factor.
pub(super) struct Scale<'a, S: Simd> {
    pub(super) out: &'a mut [f32],
    pub(super) factors: [S::f32s; 2],
}

impl<S: Simd> Sink<S> for Scale<'_, S> {
    #[inline(always)]
    fn take(&mut self, simd: S, row: usize, sums: [S::f32s; 2]) {
        let columns = tile::columns::<S>();
        let sums = [simd.mul_f32s(sums[0], self.factors[0]), simd.mul_f32s(sums[1], self.factors[1])];
        tile::store::<S>(sums, &mut self.out[row * columns..(row + 1) * columns]);
    }
}

/// `sum over k of left[row][k] * panel[k]` for each of `rows` rows.
#[inline(always)]
pub(super) fn rows_by_panel<S: Simd, const R: usize>(
    simd: S,
    left: Strided<'_>,
    rows: usize,
    steps: usize,
    panel: &[f32],
    sink: &mut impl Sink<S>,
) {
    let mut row = 0;
    while row + R <= rows {
        let sums = tile_of_rows::<S, R>(simd, left, row, steps, panel);
        for r in 0..sums.len() {
            sink.take(simd, row + r, sums[r]);
        }
        row += R;
    }
    while row + ROWS_FEW <= rows {
        let sums = tile_of_rows::<S, ROWS_FEW>(simd, left, row, steps, panel);
        for r in 0..sums.len() {
            sink.take(simd, row + r, sums[r]);
        }
        row += ROWS_FEW;
    }
    while row < rows {
        let [sums] = tile_of_rows::<S, 1>(simd, left, row, steps, panel);
        sink.take(simd, row, sums);
        row += 1;
    }
}

#[inline(always)]
fn tile_of_rows<S: Simd, const R: usize>(
    simd: S,
    left: Strided<'_>,
    first: usize,
    steps: usize,
    panel: &[f32],
) -> Sums<S, R> {
    let mut rows = [&left.values[..0]; R];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = &left.values[(first + r) * left.stride..][..steps];
    }
    let mut sums = [[simd.splat_f32s(0.0); 2]; R];
    let (panel, _) = S::as_simd_f32s(panel);
    let panel = &panel.as_chunks::<2>().0[..steps];
    for k in 0..steps {
        let right = panel[k];
        for r in 0..R {
            let value = simd.splat_f32s(rows[r][k]);
            sums[r][0] = simd.mul_add_f32s(value, right[0], sums[r][0]);
            sums[r][1] = simd.mul_add_f32s(value, right[1], sums[r][1]);
        }
    }
    sums
}

/// Floats that [`columns_by_panel`] works in.
pub(super) fn columns_scratch(steps: usize) -> usize {
    steps * tile::ROWS_WIDE
}

/// `sum over k of left[k][i] * right[k]`, `steps` long, for each `i` below `width`; `right` is a panel.
#[inline(always)]
pub(super) fn columns_by_panel<S: Simd, const R: usize>(
    simd: S,
    left: Strided<'_>,
    width: usize,
    right: &[f32],
    steps: usize,
    scratch: &mut [f32],
    sink: &mut impl Sink<S>,
) {
    let mut at = 0;
    while at + R <= width {
        let sums = tile::product::<S, R>(simd, beside::<R>(left, at, steps, scratch), right);
        for r in 0..sums.len() {
            sink.take(simd, at + r, sums[r]);
        }
        at += R;
    }
    while at + ROWS_FEW <= width {
        let sums = tile::product::<S, ROWS_FEW>(simd, beside::<ROWS_FEW>(left, at, steps, scratch), right);
        for r in 0..sums.len() {
            sink.take(simd, at + r, sums[r]);
        }
        at += ROWS_FEW;
    }
    while at < width {
        let [sums] = tile::product::<S, 1>(simd, beside::<1>(left, at, steps, scratch), right);
        sink.take(simd, at, sums);
        at += 1;
    }
}

/// `R` columns from `at` on, step after step: a loop over rows at a distance could stop at each, and would keep its sums in
/// memory.
#[inline(always)]
fn beside<'a, const R: usize>(left: Strided<'_>, at: usize, steps: usize, scratch: &'a mut [f32]) -> &'a [f32] {
    for (k, out) in scratch.as_chunks_mut::<R>().0[..steps].iter_mut().enumerate() {
        out.copy_from_slice(&left.values[k * left.stride + at..][..R]);
    }
    &scratch[..steps * R]
}

/// Floats that [`add_outer`] works in.
pub(super) fn outer_scratch(right_width: usize, steps: usize) -> usize {
    steps * right_width + columns_scratch(steps)
}

/// `sums += left^T right`: `left` has `steps` rows of `width` values, `right` as many without room between them, each whole
/// tiles' columns, and `sums` has `width` such rows.
#[inline(always)]
pub(super) fn add_outer<S: Simd, const R: usize>(
    simd: S,
    left: Strided<'_>,
    width: usize,
    right: Strided<'_>,
    steps: usize,
    scratch: &mut [f32],
    sums: &mut [f32],
) {
    let (columns, right_width) = (tile::columns::<S>(), right.stride);
    let (panels, scratch) = scratch.split_at_mut(steps * right_width);
    for (p, panel) in panels.chunks_exact_mut(steps * columns).enumerate() {
        for (k, out) in panel.chunks_exact_mut(columns).enumerate() {
            out.copy_from_slice(&right.values[k * right.stride + p * columns..][..columns]);
        }
    }
    let mut at = 0;
    while at + R <= width {
        let left = beside::<R>(left, at, steps, scratch);
        add_tiles::<S, R>(simd, left, panels, steps, right_width, &mut sums[at * right_width..]);
        at += R;
    }
    while at + ROWS_FEW <= width {
        let left = beside::<ROWS_FEW>(left, at, steps, scratch);
        add_tiles::<S, ROWS_FEW>(simd, left, panels, steps, right_width, &mut sums[at * right_width..]);
        at += ROWS_FEW;
    }
    while at < width {
        let left = beside::<1>(left, at, steps, scratch);
        add_tiles::<S, 1>(simd, left, panels, steps, right_width, &mut sums[at * right_width..]);
        at += 1;
    }
}

#[inline(always)]
fn add_tiles<S: Simd, const R: usize>(
    simd: S,
    left: &[f32],
    panels: &[f32],
    steps: usize,
    right_width: usize,
    sums: &mut [f32],
) {
    let columns = tile::columns::<S>();
    for (p, panel) in panels.chunks_exact(steps * columns).enumerate() {
        let new = tile::product::<S, R>(simd, left, panel);
        for r in 0..R {
            add::<S>(simd, new[r], &mut sums[r * right_width + p * columns..][..columns]);
        }
    }
}

/// Writes a row of a tile, or its beginning.
#[inline(always)]
fn write<S: Simd>(sums: [S::f32s; 2], out: &mut [f32]) {
    let columns = tile::columns::<S>();
    if out.len() == columns {
        tile::store::<S>(sums, out);
    } else {
        let mut line = [0f32; COLUMNS_MAX];
        tile::store::<S>(sums, &mut line[..columns]);
        out.copy_from_slice(&line[..out.len()]);
    }
}

/// Adds a row of a tile, or its beginning, to what is there.
#[inline(always)]
fn add<S: Simd>(simd: S, sums: [S::f32s; 2], out: &mut [f32]) {
    let columns = tile::columns::<S>();
    if out.len() == columns {
        let (out, _) = S::as_mut_simd_f32s(out);
        out[0] = simd.add_f32s(out[0], sums[0]);
        out[1] = simd.add_f32s(out[1], sums[1]);
    } else {
        let mut line = [0f32; COLUMNS_MAX];
        tile::store::<S>(sums, &mut line[..columns]);
        for (out, value) in out.iter_mut().zip(line) {
            *out += value;
        }
    }
}

/// Copies rows of `width` values into rows of `padded`, which is no less; what is past them is zero.
#[inline(always)]
pub(super) fn pad(rows: &[f32], width: usize, padded: usize, out: &mut [f32]) {
    for (out, row) in out.chunks_exact_mut(padded).zip(rows.chunks_exact(width)) {
        out[..width].copy_from_slice(row);
        out[width..].fill(0.0);
    }
}
