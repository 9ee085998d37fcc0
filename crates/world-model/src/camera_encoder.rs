//! Pictures to tokens: a small vision transformer over one tubelet of two frames (as V-JEPA 2, arXiv 2506.09985).

use candle_core::{Result, Tensor};
use sightglass_protocol::CameraReading;
use sightglass_protocol::tick::MODEL_PIXELS;

use crate::layer::Layer;
use crate::ops::Ops;
use crate::params::{Linear, Params};
use crate::spec::Size;

/// Pixels of a patch's side.
pub(crate) const PATCH: usize = 14;
/// Patches a side.
pub(crate) const SIDE: usize = MODEL_PIXELS as usize / PATCH;
/// Patches of a picture.
pub(crate) const PATCHES: usize = SIDE * SIDE;
/// Values of a tubelet of 2 frames, 14 x 14 pixels and 3 channels.
pub(crate) const TUBELET: usize = 2 * PATCH * PATCH * 3;

/// Whether a reading can be looked at: usable, and of the model's size.
pub(crate) fn is_visible(reading: &CameraReading) -> bool {
    let bytes = (MODEL_PIXELS * MODEL_PIXELS * 3) as usize;
    reading.quality.is_usable() && !reading.frames.is_empty() && reading.frames.iter().all(|f| f.pixels.len() == bytes)
}

/// Appends a reading's tubelets, `PATCHES * TUBELET` values around 0; zeros where nothing can be seen.
pub(crate) fn tubelets(reading: &CameraReading, out: &mut Vec<f32>) {
    if !is_visible(reading) {
        out.resize(out.len() + PATCHES * TUBELET, 0.0);
        return;
    }
    let first = &reading.frames[0].pixels;
    let last = &reading.frames[reading.frames.len() - 1].pixels;
    let side = MODEL_PIXELS as usize;
    for patch in 0..PATCHES {
        let (top, left) = (patch / SIDE * PATCH, patch % SIDE * PATCH);
        for pixels in [first, last] {
            for row in top..top + PATCH {
                let at = (row * side + left) * 3;
                out.extend(pixels[at..at + PATCH * 3].iter().map(|&v| (f32::from(v) - 110.0) / 64.0));
            }
        }
    }
}

/// The encoder.
pub(crate) struct CameraEncoder {
    embed: Linear,
    position: Tensor,
    layers: Vec<Layer>,
    ops: Ops,
}

impl CameraEncoder {
    /// With `frozen`, the encoder takes tokens of that width, which another encoder made, and only projects them.
    pub(crate) fn new(params: &mut Params, size: &Size, frozen: Option<usize>) -> Result<Self> {
        let width = size.width;
        let layer = |i| Layer::new(params, &format!("camera.layer.{i}"), size);
        let layers = (0..if frozen.is_some() { 0 } else { size.encoder_layers }).map(layer).collect::<Result<_>>()?;
        Ok(Self {
            embed: params.linear("camera.embed", frozen.unwrap_or(TUBELET), width, true)?,
            position: params.uniform("camera.position", &[1, PATCHES, width], 0.5)?,
            layers,
            ops: params.ops(),
        })
    }

    /// (pictures, `PATCHES`, `TUBELET`), or tokens, to (pictures, `PATCHES`, width).
    pub(crate) fn forward(&self, tubelets: &Tensor) -> Result<Tensor> {
        let mut x = self.embed.forward_placed(tubelets, &self.position)?;
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        self.ops.normalise(&x)
    }
}
