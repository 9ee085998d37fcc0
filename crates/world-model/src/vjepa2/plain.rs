//! The same model by tensor operations alone, for devices without kernels, and to test the kernels against.

use candle_core::{Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::checkpoint::Checkpoint;
use super::config::{TransformerSize, Vjepa2Config};
use super::error::Vjepa2Error;
use super::layers::Layer;
use super::patches::{self, Cut};
use super::predictor::{MASK_TOKEN, Mask};
use super::rope::Rope;

struct Linear {
    /// (outputs, inputs)
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (sequences, length, inputs) = x.dims3()?;
        let y = x.reshape((sequences * length, inputs))?.matmul(&self.weight.t()?)?;
        let y = match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        };
        y.reshape((sequences, length, self.weight.dim(0)?))
    }
}

struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl LayerNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let last = x.rank() - 1;
        let centred = x.broadcast_sub(&x.mean_keepdim(last)?)?;
        let variance = centred.sqr()?.mean_keepdim(last)?;
        let normal = centred.broadcast_div(&(variance + self.epsilon)?.sqrt()?)?;
        normal.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)
    }
}

struct Layers {
    size: TransformerSize,
    layers: Vec<Layer<LayerNorm, Linear>>,
    layernorm: LayerNorm,
}

impl Layers {
    /// (sequences, length, width); `cos` and `sin` are (1 or sequences, 1, length, head dim).
    fn forward(&self, x: Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
        let mut x = x;
        for layer in &self.layers {
            let normal = layer.norm1.forward(&x)?;
            let query = rotate(&self.heads(&layer.query.forward(&normal)?)?, cos, sin)?;
            let key = rotate(&self.heads(&layer.key.forward(&normal)?)?, cos, sin)?;
            let value = self.heads(&layer.value.forward(&normal)?)?;
            // (sequences, heads, length, length)
            let scores = (query.matmul(&key.t()?)? * (1.0 / (self.size.head_dim() as f64).sqrt()))?;
            let seen = softmax_last_dim(&scores)?.matmul(&value)?;
            // (sequences, heads, length, head dim) to (sequences, length, width)
            let seen = seen.transpose(1, 2)?.contiguous()?.flatten_from(2)?;
            x = (x + layer.proj.forward(&seen)?)?;
            let inner = layer.fc1.forward(&layer.norm2.forward(&x)?)?.gelu_erf()?;
            x = (&x + layer.fc2.forward(&inner)?)?;
        }
        self.layernorm.forward(&x)
    }

    /// (sequences, length, width) to (sequences, heads, length, head dim).
    fn heads(&self, x: &Tensor) -> Result<Tensor> {
        let (sequences, length, _) = x.dims3()?;
        x.reshape((sequences, length, self.size.heads, self.size.head_dim()))?.transpose(1, 2)?.contiguous()
    }
}

/// See [`super::rope`]: the partner of a channel is its neighbour.
fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let dim = x.dim(3)?;
    let partners: Vec<u32> = (0..dim as u32).map(|c| if (c ^ 1) < dim as u32 { c ^ 1 } else { c }).collect();
    let partner = x.index_select(&Tensor::from_vec(partners, dim, x.device())?, 3)?;
    x.broadcast_mul(cos)? + partner.broadcast_mul(sin)?
}

/// Encoder and predictor.
pub(super) struct Plain {
    config: Vjepa2Config,
    device: Device,
    patches: Linear,
    encoder: Layers,
    embed: Linear,
    /// (width)
    mask_token: Tensor,
    predictor: Layers,
    proj: Linear,
}

impl Plain {
    pub(super) fn load(
        weights: &Checkpoint,
        config: &Vjepa2Config,
        device: &Device,
    ) -> std::result::Result<Self, Vjepa2Error> {
        let load = Loader { weights, config, device };
        let embed_patches = load.linear("encoder.embeddings.patch_embeddings.proj", true)?;
        let kernel = embed_patches.weight.flatten_from(1)?;
        let mask_tokens = load.tensor("predictor.embeddings.mask_tokens")?;
        Ok(Self {
            patches: Linear { weight: kernel, bias: embed_patches.bias },
            encoder: load.layers("encoder", config.encoder)?,
            embed: load.linear("predictor.embeddings.predictor_embeddings", true)?,
            mask_token: mask_tokens.get(MASK_TOKEN % config.mask_tokens)?.flatten_all()?,
            predictor: load.layers("predictor", config.predictor)?,
            proj: load.linear("predictor.proj", true)?,
            config: config.clone(),
            device: device.clone(),
        })
    }

    /// As [`super::encoder::Encoder::run`].
    pub(super) fn encode(
        &self,
        clips: &[f32],
        [count, frames, height, width]: [usize; 4],
    ) -> std::result::Result<Tensor, Vjepa2Error> {
        let tokens = Cut::new(&self.config, frames, height, width).tokens();
        let mut tubelets = Vec::new();
        for clip in clips.chunks_exact(clips.len() / count) {
            patches::cut(&self.config, clip, [frames, height, width], &mut tubelets);
        }
        let x = Tensor::from_vec(tubelets, (count, tokens, self.config.tubelet_values()), &self.device)?;
        let dim = self.config.encoder.head_dim();
        let rope = Rope::new((0..tokens as u32).map(u64::from), self.config.grid(), dim);
        let (cos, sin) = self.rope(rope, 1, tokens, dim)?;
        Ok(self.encoder.forward(self.patches.forward(&x)?, &cos, &sin)?)
    }

    /// As [`super::predictor::Predictor::run`].
    pub(super) fn predict(
        &self,
        encoded: Vec<f32>,
        context: &Mask,
        target: &Mask,
    ) -> std::result::Result<Tensor, Vjepa2Error> {
        let clips = context.clips;
        let length = context.tokens + target.tokens;
        let encoded = Tensor::from_vec(encoded, (clips, context.tokens, self.config.encoder.width), &self.device)?;
        let wanted = self.mask_token.broadcast_as((clips, target.tokens, self.config.predictor.width))?;
        let x = Tensor::cat(&[&self.embed.forward(&encoded)?, &wanted.contiguous()?], 1)?;
        let positions: Vec<u64> = (0..clips).flat_map(|clip| [context.of(clip), target.of(clip)].concat()).collect();
        let dim = self.config.predictor.head_dim();
        let (cos, sin) = self.rope(Rope::new(positions.into_iter(), self.config.grid(), dim), clips, length, dim)?;
        let x = self.predictor.forward(x, &cos, &sin)?;
        let predicted = x.narrow(1, context.tokens, target.tokens)?.contiguous()?;
        Ok(self.proj.forward(&predicted)?)
    }

    fn rope(&self, rope: Rope, sequences: usize, length: usize, dim: usize) -> Result<(Tensor, Tensor)> {
        let shape = (sequences, 1, length, dim);
        Ok((Tensor::from_vec(rope.cos, shape, &self.device)?, Tensor::from_vec(rope.sin, shape, &self.device)?))
    }
}

struct Loader<'a> {
    weights: &'a Checkpoint,
    config: &'a Vjepa2Config,
    device: &'a Device,
}

impl Loader<'_> {
    fn tensor(&self, name: &str) -> std::result::Result<Tensor, Vjepa2Error> {
        Ok(self.weights.take(name)?.tensor(self.device)?)
    }

    fn linear(&self, name: &str, has_bias: bool) -> std::result::Result<Linear, Vjepa2Error> {
        let bias = if has_bias { Some(self.tensor(&format!("{name}.bias"))?) } else { None };
        Ok(Linear { weight: self.tensor(&format!("{name}.weight"))?, bias })
    }

    fn norm(&self, name: &str) -> std::result::Result<LayerNorm, Vjepa2Error> {
        Ok(LayerNorm {
            weight: self.tensor(&format!("{name}.weight"))?,
            bias: self.tensor(&format!("{name}.bias"))?,
            epsilon: f64::from(self.config.layer_norm_eps),
        })
    }

    fn layers(&self, prefix: &str, size: TransformerSize) -> std::result::Result<Layers, Vjepa2Error> {
        let (norm, linear) = (|name: &str| self.norm(name), |name: &str, has_bias| self.linear(name, has_bias));
        let layers = Layer::load_all(prefix, size.layers, self.config.qkv_bias, norm, linear)?;
        Ok(Layers { size, layers, layernorm: self.norm(&format!("{prefix}.layernorm"))? })
    }
}
