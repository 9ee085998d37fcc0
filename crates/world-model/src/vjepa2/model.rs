//! The model as callers see it: tensors in, tensors out.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use super::checkpoint::Checkpoint;
use super::config::Vjepa2Config;
use super::encoder::Encoder;
use super::error::Vjepa2Error;
use super::patches::Cut;
use super::plain::Plain;
use super::predictor::{Mask, Predictor};
use super::tensors;
use crate::device::ComputeDevice;
use crate::ops::Ops;

/// A clip has at most this many tokens; the largest published one has 18,432.
pub(super) const TOKENS_MAX: usize = 1 << 17;
/// Clips at once.
const CLIPS_MAX: usize = 1024;

/// What computes.
enum Backend {
    /// The kernels of this crate on the CPU, weights where they lie in the file.
    Kernels(Box<Encoder>, Box<Predictor>),
    /// Tensor operations only, on any device.
    Plain(Box<Plain>),
}

/// A frozen V-JEPA 2 (Assran et al., arXiv 2506.09985): an encoder of clips and a predictor of what is masked.
pub struct Vjepa2 {
    config: Vjepa2Config,
    backend: Backend,
}

impl Vjepa2 {
    /// Loads a checkpoint: a folder with `config.json` and `model.safetensors` (or `model.safetensors.index.json` and what it
    /// names), or one `.safetensors` file with `config.json` beside it.
    ///
    /// Weights stay in the mapped file, in 32 or 16 bits; computed is in `f32`. The file must not be changed meanwhile.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or is damaged, when `config.json` asks for another model, and when a tensor is missing,
    /// unknown, of another shape, or has values that are no numbers. Each is named.
    pub fn load(path: &Path) -> Result<Self, Vjepa2Error> {
        let (config, weights) = open(path)?;
        Self::with_kernels(config, &weights)
    }

    /// As [`Self::load`], with the weights' SHA-256.
    pub(crate) fn load_with_hash(path: &Path) -> Result<(Self, String), Vjepa2Error> {
        let (config, weights) = open(path)?;
        let hash = weights.sha256();
        Ok((Self::with_kernels(config, &weights)?, hash))
    }

    fn with_kernels(config: Vjepa2Config, weights: &Checkpoint) -> Result<Self, Vjepa2Error> {
        let encoder = Box::new(Encoder::load(weights, &config)?);
        let predictor = Box::new(Predictor::load(weights, &config)?);
        Ok(Self { config, backend: Backend::Kernels(encoder, predictor) })
    }

    /// The same by tensor operations alone, on any device: what the kernels are tested against.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn load_plain(path: &Path, device: &Device) -> Result<Self, Vjepa2Error> {
        let (config, weights) = open(path)?;
        let plain = Box::new(Plain::load(&weights, &config, device)?);
        Ok(Self { config, backend: Backend::Plain(plain) })
    }

    /// By the fastest that `device` has: the kernels on the CPU, tensor operations elsewhere.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn load_on(path: &Path, device: &ComputeDevice) -> Result<Self, Vjepa2Error> {
        match device.ops {
            Ops::Fused => Self::load(path),
            Ops::Plain => Self::load_plain(path, &device.device),
        }
    }

    /// What `config.json` says.
    pub fn config(&self) -> &Vjepa2Config {
        &self.config
    }

    /// The encoder on this crate's kernels; none where the model was loaded for tensor operations.
    pub(super) fn encoder(&self) -> Option<&Encoder> {
        match &self.backend {
            Backend::Kernels(encoder, _) => Some(encoder),
            Backend::Plain(_) => None,
        }
    }

    /// Encodes clips, (clips, frames, channels, height, width), to tokens, (clips, tokens, width), frame by frame of
    /// tubelets, row by row.
    ///
    /// Pixels are normalised as [`preprocess`](super::preprocess()) does. Clips may be longer, shorter, larger or smaller
    /// than those that the model was trained on; what does not fill a tubelet is left out, as published.
    ///
    /// # Errors
    ///
    /// When the clips have another form, or values that are no numbers.
    pub fn encode(&self, clips: &Tensor) -> Result<Tensor, Vjepa2Error> {
        let &[count, frames, channels, height, width] = clips.dims() else {
            return Err(Vjepa2Error::Input(format!(
                "clips have the dimensions (clips, frames, channels, height, width), not {:?}",
                clips.dims()
            )));
        };
        if channels != self.config.channels {
            let expected = self.config.channels;
            return Err(Vjepa2Error::Input(format!("the clips have {channels} channels, the model takes {expected}")));
        }
        let tokens = Cut::new(&self.config, frames, height, width).tokens();
        if !(1..=TOKENS_MAX).contains(&tokens) || !(1..=CLIPS_MAX).contains(&count) {
            return Err(Vjepa2Error::Input(format!(
                "{count} clips of {frames} frames of {height} x {width} pixels make {tokens} tokens each; 1 to {TOKENS_MAX} \
                 tokens and 1 to {CLIPS_MAX} clips are possible, with patches of {} pixels",
                self.config.patch_size
            )));
        }
        let values = floats(clips)?;
        all_finite("the clips", &values)?;
        match &self.backend {
            Backend::Kernels(encoder, _) => {
                let encoded = encoder.run(&values, [count, frames, height, width]);
                all_finite("the encoder's output", &encoded)?;
                Ok(Tensor::from_vec(encoded, (count, tokens, self.config.encoder.width), &Device::Cpu)?)
            }
            Backend::Plain(plain) => plain.encode(&values, [count, frames, height, width]),
        }
    }

    /// Predicts the tokens at `target` from the encoded tokens at `context`: `encoded` is what [`Self::encode`] gives, the
    /// masks are whole numbers, (clips, positions); the result is (clips, target positions, encoder width).
    ///
    /// Without masks all tokens are given and all are predicted, as published. Target positions may lie beyond the clip.
    ///
    /// # Errors
    ///
    /// When shapes do not fit each other, or a context position is beyond the clip.
    pub fn predict(&self, encoded: &Tensor, masks: Option<(&Tensor, &Tensor)>) -> Result<Tensor, Vjepa2Error> {
        let width = self.config.encoder.width;
        let &[clips, tokens, found] = encoded.dims() else {
            let dims = encoded.dims();
            return Err(Vjepa2Error::Input(format!("encoded tokens are (clips, tokens, width), not {dims:?}")));
        };
        if found != width || clips == 0 || tokens == 0 {
            let dims = encoded.dims();
            return Err(Vjepa2Error::Input(format!("encoded tokens are (clips, tokens, {width}), not {dims:?}")));
        }
        let (context, target) = match masks {
            Some((context, target)) => (mask("context", context)?, mask("target", target)?),
            None => (Mask::all(clips, tokens), Mask::all(clips, tokens)),
        };
        if context.clips != target.clips || context.clips > clips {
            let (c, t) = (context.clips, target.clips);
            return Err(Vjepa2Error::Input(format!(
                "the context mask is for {c} clips and the target mask for {t}, where {clips} clips were encoded; give one \
                 row a clip"
            )));
        }
        if let Some(beyond) = context.positions.iter().find(|&&position| position >= tokens as u64) {
            return Err(Vjepa2Error::Input(format!(
                "the context mask has position {beyond}, a clip has {tokens} tokens"
            )));
        }
        let values = floats(encoded)?;
        all_finite("the encoded tokens", &values)?;
        let mut given = Vec::with_capacity(context.positions.len() * width);
        for clip in 0..context.clips {
            for &position in context.of(clip) {
                // Below `tokens`, see above.
                let at = (clip * tokens + position as usize) * width;
                given.extend_from_slice(&values[at..at + width]);
            }
        }
        match &self.backend {
            Backend::Kernels(_, predictor) => {
                let predicted = predictor.run(&given, &context, &target);
                all_finite("the predictor's output", &predicted)?;
                Ok(Tensor::from_vec(predicted, (target.clips, target.tokens, width), &Device::Cpu)?)
            }
            Backend::Plain(plain) => plain.predict(given, &context, &target),
        }
    }
}

/// Finds, reads and checks a checkpoint's files.
fn open(path: &Path) -> Result<(Vjepa2Config, Checkpoint), Vjepa2Error> {
    let is_folder = std::fs::metadata(path).map_err(Vjepa2Error::io(path))?.is_dir();
    let folder = if is_folder { path.to_owned() } else { path.parent().unwrap_or(Path::new("")).to_owned() };
    let config = Vjepa2Config::read(&folder.join("config.json"))?;
    let weights = Checkpoint::open(&if is_folder { weights_in(path) } else { path.to_owned() })?;
    weights.check(&tensors::expected(&config))?;
    Ok((config, weights))
}

fn weights_in(folder: &Path) -> PathBuf {
    let (whole, index) = (folder.join("model.safetensors"), folder.join("model.safetensors.index.json"));
    if !whole.exists() && index.exists() { index } else { whole }
}

fn floats(tensor: &Tensor) -> Result<Vec<f32>, Vjepa2Error> {
    Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

pub(super) fn all_finite(what: &str, values: &[f32]) -> Result<(), Vjepa2Error> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Vjepa2Error::Input(format!(
            "{what} has {} at position {at}; look for values that are no numbers or far out of range in what was given",
            values[at]
        ))),
    }
}

fn mask(name: &str, tensor: &Tensor) -> Result<Mask, Vjepa2Error> {
    let wrong = |what: String| Vjepa2Error::Input(format!("the {name} mask {what}"));
    let &[clips, tokens] = tensor.dims() else {
        return Err(wrong(format!("has the dimensions {:?}; give (clips, positions)", tensor.dims())));
    };
    if !matches!(tensor.dtype(), DType::I64 | DType::U32 | DType::U8) {
        return Err(wrong(format!("has values of type {:?}; give whole numbers", tensor.dtype())));
    }
    if !(1..=CLIPS_MAX).contains(&clips) || !(1..=TOKENS_MAX).contains(&tokens) {
        return Err(wrong(format!("has {clips} x {tokens} positions; give 1 to {TOKENS_MAX} for each clip")));
    }
    let values: Vec<i64> = tensor.to_dtype(DType::I64)?.flatten_all()?.to_vec1()?;
    let positions = values
        .into_iter()
        .map(|value| {
            u64::try_from(value)
                .ok()
                .filter(|&v| v < TOKENS_MAX as u64)
                .ok_or_else(|| wrong(format!("has position {value}; positions are 0 to {}", TOKENS_MAX - 1)))
        })
        .collect::<Result<_, _>>()?;
    Ok(Mask { clips, tokens, positions })
}
