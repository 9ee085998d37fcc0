//! The encoder on a live stream: one tubelet a tick, without encoding the whole clip each time.

use std::sync::Arc;

use super::config::Vjepa2Config;
use super::encoder::Encoder;
use super::error::Vjepa2Error;
use super::layers::Layers;
use super::model::{TOKENS_MAX, Vjepa2, all_finite};
use super::patches::{self, Cut};
use super::rope::Rope;
use crate::kernels::{Attention, Heads, Rotation, Tokens, attention};

/// What a tick costs, and what it gives for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamMode {
    /// Each tick gives what [`Vjepa2::encode`] gives for the tubelets in the window, bit by bit. All tokens of the window go
    /// through all layers, unless the window is the one before.
    Exact,
    /// Once the window is full, only the new tubelet's tokens go through the layers. They attend to the keys and values that
    /// the older ones had when they were new.
    ///
    /// Until the window is full, all is as in [`StreamMode::Exact`]. From then on three things differ from encoding the
    /// window as a clip. An older tubelet's tokens, and its keys and values from the second layer on, have not seen what came
    /// after it. They have seen what has left the window. And they were computed where it then was, at the window's end:
    /// published V-JEPA 2 turns the two channels of a pair by different angles (see its rotary positions), so that scores
    /// depend on places and not on distances alone. Keys are kept unturned and turned for where they now are, so that the
    /// first layer differs in nothing. `cargo xtask bench vjepa2` measures the difference.
    Rolling,
}

/// The form of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOptions {
    /// Pixel rows of a frame.
    pub height: usize,
    /// Pixel columns of a frame.
    pub width: usize,
    /// Tubelets that a window has when it is full.
    pub tubelets: usize,
    /// What a tick costs.
    pub mode: StreamMode,
}

/// What a tick gives.
#[derive(Debug, Clone, Copy)]
pub struct EncodedTick<'a> {
    /// (tokens, width) of the tubelets in the window, the oldest first, in the order of [`Vjepa2::encode`].
    pub tokens: &'a [f32],
    /// Tubelets whose tokens went through the layers for it.
    pub tubelets_computed: usize,
}

/// A camera's stream through the encoder of a [`Vjepa2`], one tubelet a tick.
///
/// A tick whose window has the very pixels of the window before costs nothing: when the picture stands still for as long as
/// the window is, nothing is computed any more, in either mode.
///
/// Memory is bounded: 2 x layers x tokens x width floats of keys and values in [`StreamMode::Rolling`], and some windows of
/// tokens. A tick allocates nothing once the window was full, where the caller is a thread of the rayon pool that the
/// kernels run in; from outside of it, rayon takes a block for every 31 pieces of work.
#[derive(Clone)]
pub struct Stream {
    model: Arc<Vjepa2>,
    options: StreamOptions,
    /// Tokens of a tubelet.
    tubelet_tokens: usize,
    /// Tubelets in the window.
    held: usize,
    /// How many tubelets in a row had the pixels of the one before.
    alike: usize,
    /// The newest tubelet's pixels, and those of the one that comes, as the embedding takes them.
    last: Vec<f32>,
    next: Vec<f32>,
    /// Tokens of the window before the first layer.
    embedded: Vec<f32>,
    /// What goes through the layers.
    x: Vec<f32>,
    /// Tokens of the window after the last one.
    tokens: Vec<f32>,
    kept: Kept,
    rope: Rope,
}

/// Keys and values of the window, unturned: for each layer a row a token, in places that come round.
#[derive(Clone)]
struct Kept {
    layers: Vec<Vec<f32>>,
    /// The place of the newest tubelet.
    newest: usize,
}

impl Stream {
    /// A stream with an empty window.
    ///
    /// # Errors
    ///
    /// When the model was loaded for tensor operations, a frame is smaller than a patch, or the window has no tubelet or too
    /// many tokens.
    pub fn new(model: Arc<Vjepa2>, options: StreamOptions) -> Result<Self, Vjepa2Error> {
        let StreamOptions { height, width, tubelets, mode } = options;
        let config = model.config();
        let encoder = encoder_of(&model)?;
        let tubelet_tokens = Cut::new(config, config.tubelet_size, height, width).tokens();
        let tokens = tubelet_tokens.saturating_mul(tubelets);
        if !(1..=TOKENS_MAX).contains(&tokens) {
            return Err(Vjepa2Error::Input(format!(
                "a window of {tubelets} tubelets of {height} x {width} pixels has {tokens} tokens; 1 to {TOKENS_MAX} are \
                 possible, with patches of {} pixels",
                config.patch_size
            )));
        }
        let size = config.encoder;
        let kept = match mode {
            StreamMode::Exact => Vec::new(),
            StreamMode::Rolling => vec![vec![0.0; tokens * 2 * size.width]; encoder.layers().count()],
        };
        let pixels = tubelet_tokens * config.tubelet_values();
        let rope = Rope::new((0..tokens as u32).map(u64::from), config.grid(), size.head_dim());
        let memory = |len| Vec::with_capacity(len);
        Ok(Self {
            options,
            tubelet_tokens,
            held: 0,
            alike: 0,
            last: memory(pixels),
            next: memory(pixels),
            embedded: memory(tokens * size.width),
            x: memory(tokens * size.width),
            tokens: memory(tokens * size.width),
            kept: Kept { layers: kept, newest: 0 },
            rope,
            model,
        })
    }

    /// The form of the stream.
    pub fn options(&self) -> &StreamOptions {
        &self.options
    }

    /// The model.
    pub fn model(&self) -> &Vjepa2 {
        &self.model
    }

    /// The tokens that the last tick gave; empty before the first.
    pub fn tokens(&self) -> &[f32] {
        &self.tokens
    }

    /// Empties the window, as after a gap in the stream.
    pub fn clear(&mut self) {
        (self.held, self.alike) = (0, 0);
        self.last.clear();
        self.embedded.clear();
        self.tokens.clear();
    }

    /// Takes the frames of one tubelet, (frames, channels, height, width), normalised as [`preprocess`](super::preprocess())
    /// does, and gives the tokens of the window that ends with it.
    ///
    /// # Errors
    ///
    /// When there are more or fewer values, or some that are no numbers. If the encoder's output has such, the window is
    /// empty afterwards.
    pub fn push(&mut self, frames: &[f32]) -> Result<EncodedTick<'_>, Vjepa2Error> {
        let model = self.model.clone();
        let config = model.config();
        let StreamOptions { height, width, tubelets, mode } = self.options;
        let expected = config.tubelet_size * config.channels * height * width;
        if frames.len() != expected {
            return Err(Vjepa2Error::Input(format!(
                "{} values were given for a tick; it takes {expected}: {} frames of {} channels of {height} x {width} pixels",
                frames.len(),
                config.tubelet_size,
                config.channels
            )));
        }
        all_finite("the frames", frames)?;
        self.next.clear();
        patches::cut(config, frames, [config.tubelet_size, height, width], &mut self.next);
        self.alike = if self.next == self.last { self.alike + 1 } else { 0 };
        std::mem::swap(&mut self.next, &mut self.last);
        if self.alike >= tubelets {
            return Ok(EncodedTick { tokens: &self.tokens, tubelets_computed: 0 });
        }
        let encoder = encoder_of(&model)?;
        let one = self.tubelet_tokens * config.encoder.width;
        let was_full = self.held == tubelets;
        if was_full {
            self.embedded.copy_within(one.., 0);
        } else {
            self.held += 1;
            self.embedded.resize(self.held * one, 0.0);
        }
        let newest = self.embedded.len() - one;
        encoder.embed(&self.last, &mut self.embedded[newest..]);
        let computed = if was_full && mode == StreamMode::Rolling {
            self.run_newest(encoder, config);
            1
        } else {
            self.run_window(encoder, config);
            self.held
        };
        if let Err(error) = all_finite("the encoder's output", &self.tokens) {
            self.clear();
            return Err(error);
        }
        Ok(EncodedTick { tokens: &self.tokens, tubelets_computed: computed })
    }

    /// All tokens of the window through all layers.
    fn run_window(&mut self, encoder: &Encoder, config: &Vjepa2Config) {
        let Self { tubelet_tokens, held, embedded, x, tokens, kept, rope, .. } = self;
        let layers = encoder.layers();
        let count = *held * *tubelet_tokens;
        let width = config.encoder.width;
        let rotation = rope.rotation().rows(0..count, config.encoder.head_dim());
        let heads = Heads { queries: count, keys: count, ..layers.heads() };
        x.clear();
        x.extend_from_slice(embedded);
        kept.newest = *held - 1;
        layers.run_with(x, |layer, qkv, out, scratch| {
            if let Some(kept) = kept.layers.get_mut(layer) {
                keep(qkv, width, kept);
            }
            let [queries, keys, values] = layers.parts_of(qkv);
            let work =
                Attention { heads, queries, keys, values, query_rotation: rotation, key_rotation: rotation, out };
            attention(work, scratch);
        });
        std::mem::swap(x, tokens);
    }

    /// The newest tubelet's tokens through all layers, in a full window.
    fn run_newest(&mut self, encoder: &Encoder, config: &Vjepa2Config) {
        let Self { options, tubelet_tokens, embedded, x, tokens, kept, rope, .. } = self;
        let layers: &Layers = encoder.layers();
        let (new, all) = (*tubelet_tokens, *tubelet_tokens * options.tubelets);
        let (width, dim) = (config.encoder.width, config.encoder.head_dim());
        let place = (kept.newest + 1) % options.tubelets;
        kept.newest = place;
        let query_rotation = rope.rotation().rows(all - new..all, dim);
        // The tubelet after the newest in the places that come round is the oldest, which is the first of the window.
        let key_rotation = Rotation { first: all - (place + 1) * new, ..rope.rotation() };
        let heads = Heads { queries: new, keys: all, ..layers.heads() };
        x.clear();
        x.extend_from_slice(&embedded[(all - new) * width..]);
        layers.run_with(x, |layer, qkv, out, scratch| {
            let kept = &mut kept.layers[layer];
            keep(qkv, width, &mut kept[place * new * 2 * width..]);
            let [queries, _, _] = layers.parts_of(qkv);
            let keys = Tokens { rows: kept, stride: 2 * width, column: 0 };
            let values = Tokens { column: width, ..keys };
            attention(Attention { heads, queries, keys, values, query_rotation, key_rotation, out }, scratch);
        });
        tokens.copy_within(new * width.., 0);
        tokens[(all - new) * width..].copy_from_slice(x);
    }
}

fn encoder_of(model: &Vjepa2) -> Result<&Encoder, Vjepa2Error> {
    model.encoder().ok_or_else(|| {
        let reason = "a stream needs the kernels of the CPU; load the model with `Vjepa2::load`";
        Vjepa2Error::Input(reason.to_owned())
    })
}

/// Writes the keys and values of rows of queries, keys and values to `kept`.
fn keep(qkv: &[f32], width: usize, kept: &mut [f32]) {
    for (kept, row) in kept.chunks_exact_mut(2 * width).zip(qkv.chunks_exact(3 * width)) {
        kept.copy_from_slice(&row[width..]);
    }
}
