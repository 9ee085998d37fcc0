//! A published encoder in place of the line's own: what cameras show, through a frozen V-JEPA 2.
//!
//! Each camera is a live stream of one tubelet a tick ([`vjepa2::Stream`], rolling). A tick's tokens are pooled to the grid of
//! the line's own encoder; the network learns one projection of them, and nothing here is ever trained.

use std::path::Path;
use std::sync::Arc;

use sightglass_protocol::tick::MODEL_PIXELS;
use sightglass_protocol::{CameraReading, Tick};

use crate::camera_encoder::{PATCHES, SIDE, is_visible};
use crate::vjepa2::{self, Picture, StreamMode, StreamOptions, Vjepa2, Vjepa2Error, fitted};

/// Tubelets that the encoder attends to: the tick's own and those before it.
const TUBELETS: usize = 4;

/// A frozen camera encoder. Cheap to clone.
#[derive(Clone)]
pub struct FrozenEncoder {
    model: Arc<Vjepa2>,
    sha256: String,
}

impl std::fmt::Debug for FrozenEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrozenEncoder").field("sha256", &self.sha256).finish_non_exhaustive()
    }
}

impl FrozenEncoder {
    /// Loads a V-JEPA 2; see [`Vjepa2::load`] for what `path` may be.
    ///
    /// # Errors
    ///
    /// As [`Vjepa2::load`], and when the model takes other pictures than those of three colours.
    pub fn load_vjepa2(path: &Path) -> Result<Self, Vjepa2Error> {
        let (model, sha256) = Vjepa2::load_with_hash(path)?;
        let channels = model.config().channels;
        if channels != 3 {
            let reason = format!("{} takes {channels} channels, cameras have 3", path.display());
            return Err(Vjepa2Error::Input(reason));
        }
        Ok(Self { model: Arc::new(model), sha256 })
    }

    /// SHA-256 over the names, forms and values of all weights, in hexadecimal digits: the same however many files they are
    /// in.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Channels of a token.
    pub(crate) fn width(&self) -> usize {
        self.model.config().encoder.width
    }

    fn stream(&self) -> Result<vjepa2::Stream, Vjepa2Error> {
        let side = self.model.config().crop_size;
        let options = StreamOptions { height: side, width: side, tubelets: TUBELETS, mode: StreamMode::Rolling };
        vjepa2::Stream::new(self.model.clone(), options)
    }
}

/// The cameras of a line, as a frozen encoder sees them tick by tick.
#[derive(Clone, Default)]
pub(crate) struct Views {
    cameras: Vec<vjepa2::Stream>,
    frames: Vec<f32>,
}

impl Views {
    /// `PATCHES` tokens a camera; zeros where nothing can be seen, and then the camera's stream begins anew.
    pub(crate) fn see(&mut self, encoder: &FrozenEncoder, tick: &Tick) -> Result<Vec<f32>, Vjepa2Error> {
        while self.cameras.len() < tick.cameras.len() {
            self.cameras.push(encoder.stream()?);
        }
        let width = encoder.width();
        let config = encoder.model.config();
        let mut tokens = Vec::with_capacity(tick.cameras.len() * PATCHES * width);
        for (stream, reading) in self.cameras.iter_mut().zip(&tick.cameras) {
            if !is_visible(reading) {
                stream.clear();
                tokens.resize(tokens.len() + PATCHES * width, 0.0);
                continue;
            }
            self.frames.clear();
            for picture in tubelet(reading, config.tubelet_size) {
                fitted(&picture, config.crop_size, &mut self.frames);
            }
            let seen = stream.push(&self.frames)?.tokens;
            let newest = config.grid() * config.grid() * width;
            pool(&seen[seen.len() - newest..], config.grid(), width, &mut tokens);
        }
        Ok(tokens)
    }
}

/// As many of a reading's frames as a tubelet has, evenly from the first to the last.
fn tubelet(reading: &CameraReading, count: usize) -> impl Iterator<Item = Picture<'_>> {
    let last = reading.frames.len() - 1;
    let side = MODEL_PIXELS as usize;
    (0..count).map(move |i| {
        let at = if count == 1 { last } else { i * last / (count - 1) };
        Picture { width: side, height: side, rgb: &reading.frames[at].pixels }
    })
}

/// Appends the means of `grid` x `grid` tokens over `SIDE` x `SIDE` cells; a cell takes each token that it touches.
fn pool(tokens: &[f32], grid: usize, width: usize, out: &mut Vec<f32>) {
    let touched = |cell: usize| cell * grid / SIDE..((cell + 1) * grid).div_ceil(SIDE);
    for row in 0..SIDE {
        for column in 0..SIDE {
            let at = out.len();
            out.resize(at + width, 0.0);
            let share = 1.0 / (touched(row).len() * touched(column).len()) as f32;
            for token in touched(row).flat_map(|y| touched(column).map(move |x| y * grid + x)) {
                let token = &tokens[token * width..(token + 1) * width];
                out[at..].iter_mut().zip(token).for_each(|(out, value)| *out += share * value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_keeps_the_mean_and_the_place() {
        for grid in [1, 2, 7, 8, 14, 16] {
            // Two channels: one the same everywhere, the other the token's row.
            let tokens: Vec<f32> = (0..grid * grid).flat_map(|i| [3.0, (i / grid) as f32]).collect();
            let mut out = Vec::new();
            pool(&tokens, grid, 2, &mut out);
            assert_eq!(out.len(), 2 * PATCHES);
            for (cell, token) in out.chunks(2).enumerate() {
                let centre = ((cell / SIDE) as f32 + 0.5) * grid as f32 / SIDE as f32 - 0.5;
                assert!((token[0] - 3.0).abs() < 1e-5 && (token[1] - centre).abs() <= 0.51, "{grid} {cell} {token:?}");
            }
        }
    }
}
