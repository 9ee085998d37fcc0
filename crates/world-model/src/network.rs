//! The network whole: encoders, fusion, predictor, read-out, and its losses.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use sightglass_protocol::HORIZONS;

use crate::camera_encoder::{CameraEncoder, PATCHES, TUBELET};
use crate::device::ComputeDevice;
use crate::fusion::Fusion;
use crate::params::{Linear, Params};
use crate::patch_features::PatchFeatures;
use crate::predictor::Predictor;
use crate::readout::{Readout, pinball};
use crate::sigreg::{sigreg, variance_hinge};
use crate::spec::Size;
use crate::tag_encoder::{TAG_INPUTS, TagEncoder};

/// What hides a token from the fusion.
const HIDDEN: f32 = -1e9;
const SIGREG_WEIGHT: f64 = 0.09;
const HINGE_WEIGHT: f64 = 0.5;
const INVERSE_WEIGHT: f64 = 0.2;
const PATCH_WEIGHT: f64 = 1.0;
/// The probability that a training window goes without one of its modalities.
const DROPOUT: f32 = 0.2;

/// The dimensions that a network is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    pub(crate) size: Size,
    pub(crate) cameras: usize,
    pub(crate) tags: usize,
    /// Values that condition the predictor.
    pub(crate) actions: usize,
    /// Values that the read-out sees beside the hidden state.
    pub(crate) extra: usize,
    /// The width of tokens that a frozen encoder makes of pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) frozen: Option<usize>,
}

impl Shape {
    /// States a tick: fused, and with both kinds of input also pictures alone and tags alone.
    pub(crate) fn modalities(&self) -> usize {
        if self.cameras > 0 && self.tags > 0 { 3 } else { 1 }
    }
}

/// Ticks as the network reads them, `sequences * ticks` in all, sequence-major.
#[derive(Clone, Default)]
pub(crate) struct Batch {
    pub(crate) sequences: usize,
    pub(crate) ticks: usize,
    pub(crate) tubelets: Vec<f32>,
    /// A frozen encoder's tokens.
    pub(crate) frozen: Vec<f32>,
    /// Whether each camera can be seen.
    pub(crate) visible: Vec<bool>,
    pub(crate) tag_patches: Vec<f32>,
    /// Whether each tag has a value.
    pub(crate) present: Vec<bool>,
    pub(crate) actions: Vec<f32>,
    pub(crate) extra: Vec<f32>,
    /// What the read-out should say, (ticks, horizons, tags), and its weight.
    pub(crate) targets: Vec<f32>,
    pub(crate) weights: Vec<f32>,
}

impl Batch {
    /// Takes the pictures out, (ticks * cameras, `PATCHES`, `TUBELET`): they are by far the most of a batch, and are not copied.
    fn pictures(&mut self, device: &Device) -> Result<Tensor> {
        by_patch(std::mem::take(&mut self.tubelets), TUBELET, device)
    }

    /// Takes a frozen encoder's tokens out, (ticks * cameras, `PATCHES`, `width`).
    fn frozen_tokens(&mut self, width: usize, device: &Device) -> Result<Tensor> {
        by_patch(std::mem::take(&mut self.frozen), width, device)
    }
}

fn by_patch(values: Vec<f32>, width: usize, device: &Device) -> Result<Tensor> {
    let count = values.len() / (PATCHES * width);
    Tensor::from_vec(values, (count, PATCHES, width), device)
}

/// A batch's pictures.
pub(crate) struct Patches {
    /// (ticks * cameras, `PATCHES`, width).
    pub(crate) tokens: Tensor,
    /// (ticks * cameras, `PATCHES`, `FEATURES`).
    pub(crate) features: Tensor,
}

/// The network.
pub(crate) struct Network {
    pub(crate) shape: Shape,
    pub(crate) params: Params,
    camera: Option<CameraEncoder>,
    camera_identity: Option<Tensor>,
    features: Option<PatchFeatures>,
    tags: Option<TagEncoder>,
    fusion: Fusion,
    pub(crate) predictor: Predictor,
    inverse: (Linear, Linear),
    pub(crate) readout: Option<Readout>,
}

/// The parts of a loss.
pub(crate) struct Loss {
    pub(crate) total: Tensor,
    /// Fused states, row-major.
    pub(crate) states: Vec<f32>,
}

impl Network {
    pub(crate) fn seeded(shape: Shape, seed: u64, device: &ComputeDevice) -> Result<Self> {
        Self::build(shape, Params::seeded(seed, device))
    }

    pub(crate) fn given(shape: Shape, weights: BTreeMap<String, Tensor>, device: &ComputeDevice) -> Result<Self> {
        Self::build(shape, Params::given(weights, device)?)
    }

    fn build(shape: Shape, mut params: Params) -> Result<Self> {
        let size = &shape.size;
        let states = shape.modalities() * size.latent;
        let camera = if shape.cameras > 0 { Some(CameraEncoder::new(&mut params, size, shape.frozen)?) } else { None };
        let camera_identity = match camera {
            Some(_) => Some(params.uniform("camera.identity", &[1, shape.cameras, 1, size.width], 0.5)?),
            None => None,
        };
        let features = if shape.cameras > 0 { Some(PatchFeatures::new(&mut params, shape.cameras)?) } else { None };
        let tags = if shape.tags > 0 { Some(TagEncoder::new(&mut params, size, shape.tags)?) } else { None };
        Ok(Self {
            camera,
            camera_identity,
            features,
            tags,
            fusion: Fusion::new(&mut params, size)?,
            predictor: Predictor::new(&mut params, size, shape.modalities(), shape.actions)?,
            inverse: (
                params.linear("inverse.inward", 2 * states, 64, true)?,
                params.linear("inverse.outward", 64, shape.actions.max(1), true)?,
            ),
            readout: if shape.tags > 0 {
                Some(Readout::new(&mut params, size, shape.tags, shape.extra)?)
            } else {
                None
            },
            shape,
            params,
        })
    }

    /// Patch tokens (ticks * cameras, `PATCHES`, width) with their features (see [`PatchFeatures`]), and states (ticks, modalities * latent) of a batch. `hide` says
    /// for each sequence which kind the fused state must do without (0 none, 1 pictures, 2 tags).
    pub(crate) fn encode(&self, batch: &mut Batch, hide: &[u8], training: bool) -> Result<(Option<Patches>, Tensor)> {
        let Shape { size, cameras, tags, .. } = self.shape;
        let ticks = batch.sequences * batch.ticks;
        let mut tokens = Vec::new();
        let mut pictures = None;
        if let (Some(encoder), Some(identity)) = (&self.camera, &self.camera_identity) {
            let x = batch.pictures(self.params.device())?;
            let encoded = match self.shape.frozen {
                Some(width) => encoder.forward(&batch.frozen_tokens(width, self.params.device())?)?,
                None => encoder.forward(&x)?,
            };
            let placed = encoded.reshape((ticks, cameras, PATCHES, size.width))?.broadcast_add(identity)?;
            tokens.push(placed.reshape((ticks, cameras * PATCHES, size.width))?);
            pictures = match &self.features {
                Some(features) => Some(Patches { tokens: encoded, features: features.of(&x)? }),
                None => None,
            };
        }
        if let Some(encoder) = &self.tags {
            let x = Tensor::from_slice(&batch.tag_patches, (ticks, tags, TAG_INPUTS), self.params.device())?;
            tokens.push(encoder.forward(&x)?);
        }
        let tokens = Tensor::cat(&tokens, 1)?;
        let count = cameras * PATCHES + tags;
        let mask = |see_pictures: bool, see_tags: bool, hide: &[u8]| {
            let mut out = Vec::with_capacity(ticks * count);
            for t in 0..ticks {
                let hidden = hide.get(t / batch.ticks.max(1)).copied().unwrap_or(0);
                for c in 0..cameras {
                    let seen = see_pictures && hidden != 1 && batch.visible[t * cameras + c];
                    out.extend(std::iter::repeat_n(if seen { 0.0 } else { HIDDEN }, PATCHES));
                }
                for i in 0..tags {
                    let seen = see_tags && hidden != 2 && batch.present[t * tags + i];
                    out.push(if seen { 0.0 } else { HIDDEN });
                }
            }
            out
        };
        let mut masks = vec![mask(true, true, hide)];
        if self.shape.modalities() == 3 {
            masks.push(mask(true, false, &[]));
            masks.push(mask(false, true, &[]));
        }
        let states = self.fusion.forward(&tokens, &masks, training)?;
        let states: Vec<Tensor> =
            (0..masks.len()).map(|m| states.narrow(0, m * ticks, ticks)).collect::<Result<_>>()?;
        Ok((pictures, Tensor::cat(&states, 1)?))
    }

    pub(crate) fn actions(&self, batch: &Batch) -> Result<Tensor> {
        let width = self.shape.actions.max(1);
        if self.shape.actions == 0 {
            return Tensor::zeros((batch.sequences, batch.ticks, width), candle_core::DType::F32, self.params.device());
        }
        Tensor::from_slice(&batch.actions, (batch.sequences, batch.ticks, width), self.params.device())
    }

    /// The loss of a batch of whole windows.
    pub(crate) fn loss(&self, batch: &mut Batch, rng: &mut ChaCha8Rng, training: bool) -> Result<Loss> {
        let Shape { size, tags, cameras, .. } = self.shape;
        let (sequences, ticks) = (batch.sequences, batch.ticks);
        let hide: Vec<u8> = (0..sequences)
            .map(|_| {
                let (drop, which) = (rng.random::<f32>(), rng.random::<f32>());
                if training && self.shape.modalities() == 3 && drop < DROPOUT { 1 + u8::from(which < 0.5) } else { 0 }
            })
            .collect();
        let (pictures, flat) = self.encode(batch, &hide, training)?;
        let width = self.shape.modalities() * size.latent;
        let states = flat.reshape((sequences, ticks, width))?;
        let actions = self.actions(batch)?;
        let hidden = self.predictor.forward(&states, &actions)?;
        let ahead = self.predictor.ahead(&hidden)?;

        let mut total: Option<Tensor> = None;
        let mut add = |term: Tensor| -> Result<()> {
            total = Some(match total.take() {
                Some(sum) => (sum + term)?,
                None => term,
            });
            Ok(())
        };
        for (i, &horizon) in HORIZONS.iter().enumerate() {
            let horizon = horizon as usize;
            if horizon < ticks {
                let predicted = ahead.narrow(1, 0, ticks - horizon)?.narrow(2, i * width, width)?;
                let term = self.params.ops().smooth_l1(&predicted, &states.narrow(1, horizon, ticks - horizon)?)?;
                add((term / HORIZONS.len() as f64)?)?;
            }
        }
        let modalities = self.shape.modalities();
        for m in 0..modalities {
            let part = flat.narrow(1, m * size.latent, size.latent)?.contiguous()?;
            add((sigreg(&part, rng)? * (SIGREG_WEIGHT / modalities as f64))?)?;
            add((variance_hinge(&part)? * (HINGE_WEIGHT / modalities as f64))?)?;
        }
        if self.shape.actions > 0 {
            let pair = Tensor::cat(&[&states.narrow(1, 0, ticks - 1)?, &states.narrow(1, 1, ticks - 1)?], 2)?;
            let guess = self.inverse.1.forward(&self.params.ops().gelu(&self.inverse.0.forward(&pair)?)?)?;
            let done = actions.narrow(1, 1, ticks - 1)?;
            add(((guess - done)?.sqr()?.mean_all()? * INVERSE_WEIGHT)?)?;
        }
        if let Some(Patches { tokens, features }) = pictures {
            let rows = sequences * (ticks - 1);
            let cut = |of: &Tensor, from: usize| -> Result<Tensor> {
                let width = of.dim(2)?;
                let by_tick = of.reshape((sequences, ticks, cameras * PATCHES * width))?.narrow(1, from, ticks - 1)?;
                by_tick.contiguous()?.reshape((rows * cameras, PATCHES, width))
            };
            let context = hidden.narrow(1, 0, ticks - 1)?.contiguous()?.reshape((rows, size.width))?;
            let predicted = self.predictor.patches_ahead(&context, &cut(&tokens, 0)?, &cut(&features, 0)?)?;
            let distance = self.params.ops().smooth_l1(&predicted, &cut(&features, 1)?)?;
            add((distance * PATCH_WEIGHT)?)?;
        }
        if let Some(readout) = &self.readout {
            let rows = sequences * ticks;
            let extra = Tensor::from_slice(&batch.extra, (rows, self.shape.extra), self.params.device())?;
            let bands = readout.forward(&hidden.reshape((rows, size.width))?, &extra)?;
            let shape = (rows, HORIZONS.len(), tags);
            let targets = Tensor::from_slice(&batch.targets, shape, self.params.device())?;
            let weights = Tensor::from_slice(&batch.weights, shape, self.params.device())?;
            add(pinball(&bands, &targets, &weights)?)?;
        }
        let total = total.map_or_else(|| Tensor::zeros((), candle_core::DType::F32, self.params.device()), Ok)?;
        let states = flat.narrow(1, 0, size.latent)?.flatten_all()?.to_vec1()?;
        Ok(Loss { total, states })
    }

    /// Predicted features of the patches at the next tick.
    pub(crate) fn patches_ahead(&self, hidden: &Tensor, now: &Patches) -> Result<Tensor> {
        self.predictor.patches_ahead(hidden, &now.tokens, &now.features)
    }

    /// Takes the mean look of each place from ticks (those of the batch).
    pub(crate) fn fit_features(&self, batch: &mut Batch) -> Result<()> {
        let Some(features) = &self.features else { return Ok(()) };
        features.fit(&batch.pictures(self.params.device())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_as_many_parameters_as_they_say() {
        let parameters = |size: Size| {
            let shape = Shape { size, cameras: 1, tags: 20, actions: 32, extra: 200, frozen: None };
            Network::seeded(shape, 1, &ComputeDevice::cpu()).expect("a network").params.count() as f64 / 1e6
        };
        let sizes = [Size::nano(), Size::tiny(), Size::small()].map(parameters);
        for (millions, (low, high)) in sizes.iter().zip([(1.0, 2.0), (3.5, 4.9), (14.0, 16.0)]) {
            assert!((low..high).contains(millions), "{sizes:?} million");
        }
    }
}
