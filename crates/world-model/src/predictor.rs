//! What comes next: a causal transformer over past states, conditioned on actions by AdaLN (Peebles and Xie 2023), that
//! gives the states at all horizons in one pass.

use std::collections::VecDeque;

use candle_core::{Result, Tensor};
use sightglass_protocol::HORIZONS;

use crate::camera_encoder::PATCHES;
use crate::kernels::exp;
use crate::layer::Layer;
use crate::ops::{Attention, Ops};
use crate::params::{Linear, Params};
use crate::patch_features::FEATURES;
use crate::spec::Size;

/// States that a layer looks back on, its own included.
pub(crate) const CONTEXT: usize = 16;

/// Layers in which the patches of a picture look at each other: what moves comes from a neighbour.
const PATCH_LAYERS: usize = 2;

struct ConditionedLayer {
    condition: Linear,
    qkv: Linear,
    out: Linear,
    up: Linear,
    down: Linear,
}

/// The predictor.
pub(crate) struct Predictor {
    states: Linear,
    actions_in: Linear,
    actions_out: Linear,
    layers: Vec<ConditionedLayer>,
    horizons: Linear,
    patch_in: Linear,
    patch_context: Linear,
    patch_place: Tensor,
    patch_layers: Vec<Layer>,
    patch_out: Linear,
    attention: Attention,
    width: usize,
    ops: Ops,
}

/// What a stream remembers: keys and values of the last [`CONTEXT`] states, for each layer.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    layers: Vec<VecDeque<(Vec<f32>, Vec<f32>)>>,
}

impl Predictor {
    /// `modalities` states of `size.latent` come in at each tick, and `actions` action values.
    pub(crate) fn new(params: &mut Params, size: &Size, modalities: usize, actions: usize) -> Result<Self> {
        let width = size.width;
        let layers = (0..size.predictor_layers)
            .map(|i| {
                let name = |part: &str| format!("predictor.layer.{i}.{part}");
                Ok(ConditionedLayer {
                    condition: params.scaled_linear(&name("condition"), width, 6 * width, true, 0.1)?,
                    qkv: params.linear(&name("qkv"), width, 3 * width, false)?,
                    out: params.scaled_linear(&name("out"), width, width, false, 0.5)?,
                    up: params.linear(&name("up"), width, 3 * width, true)?,
                    down: params.scaled_linear(&name("down"), 3 * width, width, true, 0.5)?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            states: params.linear("predictor.states", modalities * size.latent, width, true)?,
            actions_in: params.linear("predictor.actions.inward", actions.max(1), width, true)?,
            actions_out: params.linear("predictor.actions.outward", width, width, true)?,
            layers,
            horizons: params.linear("predictor.horizons", width, HORIZONS.len() * modalities * size.latent, true)?,
            patch_in: params.linear("predictor.patch.inward", width + FEATURES, width, false)?,
            patch_context: params.linear("predictor.patch.context", width, width, false)?,
            patch_place: params.uniform("predictor.patch.place", &[1, PATCHES, width], 0.3)?,
            patch_layers: (0..PATCH_LAYERS)
                .map(|i| Layer::new(params, &format!("predictor.patch.layer.{i}"), size))
                .collect::<Result<_>>()?,
            patch_out: params.scaled_linear("predictor.patch.outward", width, FEATURES, true, 0.1)?,
            attention: Attention { heads: size.heads, band: Some(CONTEXT) },
            width,
            ops: params.ops(),
        })
    }

    /// States (sequences, ticks, modalities * latent) and actions (sequences, ticks, actions) to hidden states
    /// (sequences, ticks, width). A hidden state depends on its own tick and earlier ones only.
    pub(crate) fn forward(&self, states: &Tensor, actions: &Tensor) -> Result<Tensor> {
        let mut x = self.states.forward(states)?;
        let condition = self.condition(actions)?;
        for layer in &self.layers {
            let parts = layer.condition.forward(&condition)?;
            let qkv = layer.qkv.forward(&self.modulate(&x, &parts, 0)?)?;
            let seen = self.ops.attention(&qkv, self.attention)?;
            x = self.finish(layer, x, &parts, &seen)?;
        }
        self.ops.normalise(&x)
    }

    /// The same for one more tick of one sequence: `states` and `actions` are (1, 1, _).
    pub(crate) fn step(&self, states: &Tensor, actions: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        memory.layers.resize(self.layers.len(), VecDeque::new());
        let mut x = self.states.forward(states)?;
        let condition = self.condition(actions)?;
        for (layer, past) in self.layers.iter().zip(&mut memory.layers) {
            let parts = layer.condition.forward(&condition)?;
            let qkv: Vec<f32> = layer.qkv.forward(&self.modulate(&x, &parts, 0)?)?.flatten_all()?.to_vec1()?;
            let w = self.width;
            past.push_back((qkv[w..2 * w].to_vec(), qkv[2 * w..].to_vec()));
            if past.len() > CONTEXT {
                past.pop_front();
            }
            let seen = Tensor::from_vec(self.look_back(&qkv[..w], past), (1, 1, w), x.device())?;
            x = self.finish(layer, x, &parts, &seen)?;
        }
        self.ops.normalise(&x)
    }

    /// (.., actions) to (.., width).
    fn condition(&self, actions: &Tensor) -> Result<Tensor> {
        let inner = self.ops.gelu(&self.actions_in.forward(actions)?)?;
        self.ops.gelu(&self.actions_out.forward(&inner)?)
    }

    fn look_back(&self, query: &[f32], past: &VecDeque<(Vec<f32>, Vec<f32>)>) -> Vec<f32> {
        let dim = self.width / self.attention.heads;
        let mut out = vec![0f32; self.width];
        for head in 0..self.attention.heads {
            let range = head * dim..(head + 1) * dim;
            let scale = 1.0 / (dim as f32).sqrt();
            let mut scores: Vec<f32> = past
                .iter()
                .enumerate()
                .map(|(i, (key, _))| {
                    let dot: f32 =
                        query[range.clone()].iter().zip(&key[range.clone()]).map(|(q, k)| q * scale * k).sum();
                    dot - self.attention.slope(head) * (past.len() - 1 - i) as f32
                })
                .collect();
            let max = scores.iter().copied().fold(f32::MIN, f32::max);
            scores.iter_mut().for_each(|s| *s = exp(*s - max));
            let sum: f32 = scores.iter().sum();
            for (score, (_, value)) in scores.iter().zip(past) {
                for (o, v) in out[range.clone()].iter_mut().zip(&value[range.clone()]) {
                    *o += score / sum * v;
                }
            }
        }
        out
    }

    /// `norm(x) * (1 + scale) + shift`, with parts `3 * half` and `3 * half + 1` of the condition.
    fn modulate(&self, x: &Tensor, parts: &Tensor, half: usize) -> Result<Tensor> {
        let part = |i: usize| parts.narrow(2, (3 * half + i) * self.width, self.width);
        (self.ops.normalise(x)? * (part(0)? + 1.0)?)? + part(1)?
    }

    fn finish(&self, layer: &ConditionedLayer, x: Tensor, parts: &Tensor, seen: &Tensor) -> Result<Tensor> {
        let gate = |half: usize| parts.narrow(2, (3 * half + 2) * self.width, self.width)? + 1.0;
        let x = (x + (layer.out.forward(seen)? * gate(0)?)?)?;
        let up = self.ops.gelu(&layer.up.forward(&self.modulate(&x, parts, 1)?)?)?;
        &x + (layer.down.forward(&up)? * gate(1)?)?
    }

    /// Hidden states (.., width) to states at all horizons (.., horizons * modalities * latent), horizon-major.
    pub(crate) fn ahead(&self, hidden: &Tensor) -> Result<Tensor> {
        self.horizons.forward(hidden)
    }

    /// Hidden states (ticks, width), patch tokens (ticks * cameras, `PATCHES`, width) and their features (ticks * cameras,
    /// `PATCHES`, `FEATURES`) to the features one tick later.
    pub(crate) fn patches_ahead(&self, hidden: &Tensor, tokens: &Tensor, features: &Tensor) -> Result<Tensor> {
        let cameras = tokens.dim(0)? / hidden.dim(0)?;
        let context = self.patch_context.forward(hidden)?.unsqueeze(1)?;
        let context = context.broadcast_as((hidden.dim(0)?, cameras, self.width))?.contiguous()?;
        let context = context.reshape((tokens.dim(0)?, 1, self.width))?;
        let known = Tensor::cat(&[tokens, features], 2)?;
        let mut x = self.patch_in.forward_placed(&known, &self.patch_place)?.broadcast_add(&context)?;
        for layer in &self.patch_layers {
            x = layer.forward(&x)?;
        }
        features + self.patch_out.forward_normalised(&x)?
    }
}
