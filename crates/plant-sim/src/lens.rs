//! Dirt on the camera's lens: a veil that blurs and browns the picture, with smears and drops.

use crate::{
    noise::{Noise, Stream},
    raster::{Size, smoothstep, texture},
};

/// The blur is made from squares of this many pixels.
const SQUARE_PX: usize = 8;
const DIRT_RGB: [i32; 3] = [74, 56, 34];

/// Where dirt settles, drawn once.
#[derive(Clone, Debug)]
pub(crate) struct Lens {
    size: Size,
    /// Cover at full dirt, 0 to 255, a pixel.
    cover: Vec<u8>,
}

impl Lens {
    pub(crate) fn new(seed: u64, size: Size) -> Self {
        let mut noise = Noise::new(seed, Stream::Lens as u64);
        let mut spot = |radius: (f64, f64)| {
            let x = noise.between(0.22, 0.80) * size.width as f64;
            let y = noise.between(0.12, 0.88) * size.height as f64;
            (x as f32, y as f32, noise.between(radius.0, radius.1) as f32)
        };
        let smears: Vec<_> = (0..4).map(|_| spot((70.0, 120.0))).collect();
        let drops: Vec<_> = (0..22).map(|_| spot((4.0, 13.0))).collect();
        let mut cover = Vec::with_capacity(size.width * size.height);
        for row in 0..size.height {
            for column in 0..size.width {
                let (x, y) = (column as f32, row as f32);
                // Wiped along a diagonal.
                let (u, v) = (x * 0.94 + y * 0.34, y * 0.94 - x * 0.34);
                let streak = texture(u, v * 7.0, 90.0, 11) * 0.6 + texture(u, v * 3.0, 26.0, 12) * 0.4;
                let smear = smears.iter().map(|(sx, sy, r)| {
                    let (du, dv) = (u - (sx * 0.94 + sy * 0.34), v - (sy * 0.94 - sx * 0.34));
                    (-(du / (1.8 * r)).powi(2) - (dv / (0.7 * r)).powi(2)).exp()
                });
                let smear = smear.sum::<f32>().min(1.0) * (0.35 + 0.65 * streak);
                let drop = drops.iter().map(|(dx, dy, r)| 1.0 - smoothstep(0.6 * r, *r, (x - dx).hypot(y - dy)));
                let drop = drop.fold(0.0, f32::max);
                let cloud = 0.22 + 0.2 * texture(x, y, 120.0, 13);
                cover.push(((cloud + 0.55 * smear).max(0.78 * drop).min(0.9) * 255.0) as u8);
            }
        }
        Self { size, cover }
    }

    /// Lays dirt of strength `dirt` (0 to 1) over the picture.
    pub(crate) fn soil(&self, pixels: &mut [u8], dirt: f32) {
        let blurred = self.blurred(pixels);
        let (columns, rows) = (self.size.width / SQUARE_PX, self.size.height / SQUARE_PX);
        let strength = (dirt.clamp(0.0, 1.0) * 256.0) as i32;
        let mut line = vec![[0_i32; 3]; columns];
        let across: Vec<_> = (0..self.size.width).map(|column| neighbours(column, columns)).collect();
        let row_len = self.size.width * 3;
        let covered = pixels.chunks_exact_mut(row_len).zip(self.cover.chunks_exact(self.size.width));
        for (row, (pixels, cover)) in covered.enumerate() {
            // Bilinear between the squares' middles, in sixteenths: first down, then across.
            let (top, below, fy) = neighbours(row, rows);
            for (column, mixed) in line.iter_mut().enumerate() {
                let (upper, lower) = (blurred[top * columns + column], blurred[below * columns + column]);
                *mixed = std::array::from_fn(|i| upper[i] * (16 - fy) + lower[i] * fy);
            }
            for ((pixel, cover), (left, right, fx)) in pixels.chunks_exact_mut(3).zip(cover).zip(&across) {
                let cover = (i32::from(*cover) * strength) >> 8;
                let (left, right) = (&line[*left], &line[*right]);
                for (i, value) in pixel.iter_mut().enumerate() {
                    let soft = (left[i] * (16 - fx) + right[i] * fx) >> 8;
                    let veiled = (soft * 5 + DIRT_RGB[i] * 11) >> 4;
                    let clear = i32::from(*value);
                    *value = (clear + (((veiled - clear) * cover) >> 8)).clamp(0, 255) as u8;
                }
            }
        }
    }

    /// The mean of each square.
    fn blurred(&self, pixels: &[u8]) -> Vec<[i32; 3]> {
        let (columns, rows) = (self.size.width / SQUARE_PX, self.size.height / SQUARE_PX);
        let mut squares = vec![[0_i32; 3]; columns * rows];
        for (row, pixels) in pixels.chunks_exact(self.size.width * 3).enumerate() {
            let first = (row / SQUARE_PX) * columns;
            for (square, run) in squares[first..first + columns].iter_mut().zip(pixels.chunks_exact(SQUARE_PX * 3)) {
                for pixel in run.chunks_exact(3) {
                    for (sum, value) in square.iter_mut().zip(pixel) {
                        *sum += i32::from(*value);
                    }
                }
            }
        }
        let count = (SQUARE_PX * SQUARE_PX) as i32;
        squares.iter().map(|sums| sums.map(|sum| sum / count)).collect()
    }
}

/// The two squares between whose middles a pixel lies, and how far from the first to the second, in sixteenths.
fn neighbours(pixel: usize, squares: usize) -> (usize, usize, i32) {
    let twice = 2 * pixel as i32 + 1 - SQUARE_PX as i32;
    let first = twice.div_euclid(2 * SQUARE_PX as i32);
    let within = twice.rem_euclid(2 * SQUARE_PX as i32);
    let clamp = |square: i32| square.clamp(0, squares as i32 - 1) as usize;
    (clamp(first), clamp(first + 1), within * 16 / (2 * SQUARE_PX as i32))
}
