//! Rotary positions in three axes: frame, row and column.
//!
//! Su et al. (arXiv 2104.09864) rotate pairs of channels by angles that fall with the channel. V-JEPA 2 (arXiv 2506.09985,
//! section 2.1) gives each axis `2 * ((head_dim / 3) / 2)` channels and leaves the rest as they are. The published weights
//! come from an implementation that rotates neighbours (0 with 1, 2 with 3, ...) while it lays the sines and cosines out as
//! for halves: channel `c` of an axis with `n` channels takes angle `c mod (n / 2)`. Two channels of a pair therefore turn
//! by different angles. It is kept, since the weights were learned with it.

use crate::kernels::Rotation;

/// The base of the angles' wave lengths.
const BASE: f32 = 10_000.0;

/// Cosines and signed sines, `head_dim` a token.
#[derive(Clone)]
pub(super) struct Rope {
    pub(super) cos: Vec<f32>,
    pub(super) sin: Vec<f32>,
}

impl Rope {
    /// For tokens at `positions`, counted along rows of `grid` patches, then down rows, then through frames.
    pub(super) fn new(positions: impl ExactSizeIterator<Item = u64>, grid: usize, head_dim: usize) -> Self {
        let channels = 2 * ((head_dim / 3) / 2);
        let half = channels / 2;
        let frequencies: Vec<f32> = (0..half).map(|i| 1.0 / BASE.powf(i as f32 / half as f32)).collect();
        let tokens = positions.len();
        let mut rope = Self { cos: Vec::with_capacity(tokens * head_dim), sin: Vec::with_capacity(tokens * head_dim) };
        let grid = grid as u64;
        for position in positions {
            let in_frame = position % (grid * grid);
            for axis in [position / (grid * grid), in_frame / grid, in_frame % grid] {
                for c in 0..channels {
                    let (sin, cos) = (axis as f32 * frequencies[c % half]).sin_cos();
                    rope.cos.push(cos);
                    rope.sin.push(if c % 2 == 0 { -sin } else { sin });
                }
            }
            rope.cos.resize(rope.cos.len() + head_dim - 3 * channels, 1.0);
            rope.sin.resize(rope.sin.len() + head_dim - 3 * channels, 0.0);
        }
        rope
    }

    pub(super) fn rotation(&self) -> Rotation<'_> {
        Rotation { cos: &self.cos, sin: &self.sin, first: 0 }
    }
}
