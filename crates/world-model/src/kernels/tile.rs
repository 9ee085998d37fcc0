//! The inner loop of every product: a tile of `R` rows and two vectors of columns that stays in registers.

use pulp::{Simd, WithSimd};

/// Rows of a tile where the processor has 32 vector registers of 16 floats: 24 of them accumulate.
pub(super) const ROWS_WIDE: usize = 12;
/// Rows of a tile elsewhere: 12 of 16 registers accumulate.
const ROWS_NARROW: usize = 6;

/// Columns of a tile.
#[inline(always)]
pub(super) fn columns<S: Simd>() -> usize {
    2 * S::F32_LANES
}

/// Work that is done tile by tile, with `R` rows a tile.
pub(super) trait Tiled {
    type Output;

    fn run<S: Simd, const R: usize>(self, simd: S) -> Self::Output;
}

/// Does the work with this processor's vectors and tiles.
pub(super) fn dispatch<T: Tiled>(work: T) -> T::Output {
    struct Fitting<T>(T);
    impl<T: Tiled> WithSimd for Fitting<T> {
        type Output = T::Output;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> T::Output {
            if S::F32_LANES == 16 { self.0.run::<S, ROWS_WIDE>(simd) } else { self.0.run::<S, ROWS_NARROW>(simd) }
        }
    }
    pulp::Arch::new().dispatch(Fitting(work))
}

/// Rows of a tile on this processor, and columns.
pub(super) fn shape() -> (usize, usize) {
    struct Shape;
    impl Tiled for Shape {
        type Output = (usize, usize);

        #[inline(always)]
        fn run<S: Simd, const R: usize>(self, _: S) -> (usize, usize) {
            (R, columns::<S>())
        }
    }
    dispatch(Shape)
}

pub(super) type Sums<S, const R: usize> = [[<S as Simd>::f32s; 2]; R];

/// `sum over k of left[k][row] * right[k][column]`: `left` has `R` floats a step, `right` a tile's columns.
#[inline(always)]
pub(super) fn product<S: Simd, const R: usize>(simd: S, left: &[f32], right: &[f32]) -> Sums<S, R> {
    let mut sums = [[simd.splat_f32s(0.0); 2]; R];
    let (right, _) = S::as_simd_f32s(right);
    for (left, right) in left.as_chunks::<R>().0.iter().zip(right.as_chunks::<2>().0) {
        for (sums, &value) in sums.iter_mut().zip(left) {
            let value = simd.splat_f32s(value);
            sums[0] = simd.mul_add_f32s(value, right[0], sums[0]);
            sums[1] = simd.mul_add_f32s(value, right[1], sums[1]);
        }
    }
    sums
}

/// The same with `left[row][k]`, `K` steps long.
#[inline(always)]
pub(super) fn product_of_rows<S: Simd, const R: usize, const K: usize>(
    simd: S,
    left: &[[f32; K]; R],
    right: &[f32],
) -> Sums<S, R> {
    let mut sums = [[simd.splat_f32s(0.0); 2]; R];
    let (right, _) = S::as_simd_f32s(right);
    for (k, right) in (0..K).zip(right.as_chunks::<2>().0) {
        for (sums, left) in sums.iter_mut().zip(left) {
            let value = simd.splat_f32s(left[k]);
            sums[0] = simd.mul_add_f32s(value, right[0], sums[0]);
            sums[1] = simd.mul_add_f32s(value, right[1], sums[1]);
        }
    }
    sums
}

/// Writes one row of a tile to `out`, a tile's columns long.
#[inline(always)]
pub(super) fn store<S: Simd>(sums: [S::f32s; 2], out: &mut [f32]) {
    let (out, _) = S::as_mut_simd_f32s(out);
    out[0] = sums[0];
    out[1] = sums[1];
}
