//! A clip cut into tubelets.

use super::config::Vjepa2Config;

/// Tubelets of a clip.
pub(super) struct Cut {
    /// Tubelets of `frames` x `rows` x `columns`.
    pub(super) frames: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Cut {
    /// Of a clip of this many frames, pixel rows and pixel columns. What is left over at the end, below and at the right is
    /// not looked at; a clip shorter than a tubelet is repeated to fill it.
    pub(super) fn new(config: &Vjepa2Config, frames: usize, height: usize, width: usize) -> Self {
        let frames = if frames < config.tubelet_size { frames * config.tubelet_size } else { frames };
        Self {
            frames: frames / config.tubelet_size,
            rows: height / config.patch_size,
            columns: width / config.patch_size,
        }
    }

    pub(super) fn tokens(&self) -> usize {
        self.frames * self.rows * self.columns
    }
}

/// A row of (channel, frame, pixel row, pixel column) a tubelet, as the weights of the convolution are laid out: a
/// convolution whose kernel is its stride is a product with such rows. `clip` is (frames, channels, height, width).
pub(super) fn cut(config: &Vjepa2Config, clip: &[f32], shape: [usize; 3], out: &mut Vec<f32>) {
    let [frames, height, width] = shape;
    let cut = Cut::new(config, frames, height, width);
    let patch = config.patch_size;
    for f in 0..cut.frames {
        for row in 0..cut.rows {
            for column in 0..cut.columns {
                for channel in 0..config.channels {
                    for t in 0..config.tubelet_size {
                        let frame = (f * config.tubelet_size + t) % frames;
                        for y in row * patch..(row + 1) * patch {
                            let at = ((frame * config.channels + channel) * height + y) * width + column * patch;
                            out.extend_from_slice(&clip[at..at + patch]);
                        }
                    }
                }
            }
        }
    }
}
