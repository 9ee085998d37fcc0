//! The encoder: a clip to tokens.

use super::checkpoint::Checkpoint;
use super::config::Vjepa2Config;
use super::error::Vjepa2Error;
use super::layers::{Layers, Linear};
use super::patches::{self, Cut};
use super::rope::Rope;
use crate::kernels::Finish;

pub(super) struct Encoder {
    config: Vjepa2Config,
    embed: Linear,
    layers: Layers,
}

impl Encoder {
    pub(super) fn load(weights: &Checkpoint, config: &Vjepa2Config) -> Result<Self, Vjepa2Error> {
        Ok(Self {
            config: config.clone(),
            embed: Linear::load(weights, "encoder.embeddings.patch_embeddings.proj", true)?,
            layers: Layers::load(weights, "encoder", config.encoder, config)?,
        })
    }

    /// (clips, frames, channels, height, width) to (clips, tokens, width).
    pub(super) fn run(&self, clips: &[f32], [count, frames, height, width]: [usize; 4]) -> Vec<f32> {
        let tokens = Cut::new(&self.config, frames, height, width).tokens();
        let mut tubelets = Vec::with_capacity(count * tokens * self.config.tubelet_values());
        for clip in clips.chunks_exact(clips.len() / count) {
            patches::cut(&self.config, clip, [frames, height, width], &mut tubelets);
        }
        let mut x = vec![0f32; count * tokens * self.config.encoder.width];
        self.embed(&tubelets, &mut x);
        drop(tubelets);
        // Positions are counted in the grid that the model was trained on, whatever the clip's own is.
        let rope = Rope::new((0..tokens as u32).map(u64::from), self.config.grid(), self.config.encoder.head_dim());
        self.layers.run(&mut x, count, tokens, &rope);
        x
    }

    /// Tubelets, as [`patches::cut`] gives them, to tokens before the first layer.
    pub(super) fn embed(&self, tubelets: &[f32], out: &mut [f32]) {
        self.layers.with_scratch(|scratch| self.embed.run(tubelets, Finish::Write, out, scratch));
    }

    pub(super) fn layers(&self) -> &Layers {
        &self.layers
    }
}
