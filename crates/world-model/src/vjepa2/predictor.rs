//! The predictor: from some tokens, what the encoder would make of others.

use super::checkpoint::Checkpoint;
use super::config::Vjepa2Config;
use super::error::Vjepa2Error;
use super::layers::{Layers, Linear};
use super::rope::Rope;
use crate::kernels::Finish;

/// Which of the learned mask tokens stands for what is to be predicted. The published code takes the second, wrapping
/// around where there is only one.
pub(super) const MASK_TOKEN: usize = 1;

pub(super) struct Predictor {
    embed: Linear,
    mask_token: Vec<f32>,
    layers: Layers,
    proj: Linear,
    width: usize,
    width_out: usize,
    head_dim: usize,
    grid: usize,
}

/// Positions, one list a clip, all of the same length.
pub(super) struct Mask {
    pub(super) clips: usize,
    pub(super) tokens: usize,
    pub(super) positions: Vec<u64>,
}

impl Mask {
    pub(super) fn of(&self, clip: usize) -> &[u64] {
        &self.positions[clip * self.tokens..(clip + 1) * self.tokens]
    }

    /// All tokens of all clips.
    pub(super) fn all(clips: usize, tokens: usize) -> Self {
        let positions = (0..clips).flat_map(|_| (0..tokens as u32).map(u64::from)).collect();
        Self { clips, tokens, positions }
    }
}

impl Predictor {
    pub(super) fn load(weights: &Checkpoint, config: &Vjepa2Config) -> Result<Self, Vjepa2Error> {
        let width = config.predictor.width;
        let token = MASK_TOKEN % config.mask_tokens;
        let mask_tokens = weights.take("predictor.embeddings.mask_tokens")?.values();
        Ok(Self {
            embed: Linear::load(weights, "predictor.embeddings.predictor_embeddings", true)?,
            mask_token: mask_tokens[token * width..(token + 1) * width].to_vec(),
            layers: Layers::load(weights, "predictor", config.predictor, config)?,
            proj: Linear::load(weights, "predictor.proj", true)?,
            width,
            width_out: config.encoder.width,
            head_dim: config.predictor.head_dim(),
            grid: config.grid(),
        })
    }

    /// (clips, context tokens, encoder width) to (clips, target tokens, encoder width). `encoded` are the tokens at
    /// `context`.
    ///
    /// The published code sorts all tokens by position and back. Attention does not depend on the order, so that nothing
    /// is sorted here.
    pub(super) fn run(&self, encoded: &[f32], context: &Mask, target: &Mask) -> Vec<f32> {
        let (clips, width) = (context.clips, self.width);
        let length = context.tokens + target.tokens;
        let mut embedded = vec![0f32; clips * context.tokens * width];
        self.layers.with_scratch(|scratch| self.embed.run(encoded, Finish::Write, &mut embedded, scratch));
        let mut x = Vec::with_capacity(clips * length * width);
        let mut positions = Vec::with_capacity(clips * length);
        for clip in 0..clips {
            x.extend_from_slice(&embedded[clip * context.tokens * width..(clip + 1) * context.tokens * width]);
            (0..target.tokens).for_each(|_| x.extend_from_slice(&self.mask_token));
            positions.extend_from_slice(context.of(clip));
            positions.extend_from_slice(target.of(clip));
        }
        let rope = Rope::new(positions.into_iter(), self.grid, self.head_dim);
        self.layers.run(&mut x, clips, length, &rope);
        let predicted: Vec<f32> =
            x.chunks_exact(length * width).flat_map(|clip| &clip[context.tokens * width..]).copied().collect();
        let mut out = vec![0f32; clips * target.tokens * self.width_out];
        self.layers.with_scratch(|scratch| self.proj.run(&predicted, Finish::Write, &mut out, scratch));
        out
    }
}
