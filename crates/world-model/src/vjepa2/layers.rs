//! The layers that encoder and predictor are made of, on the CPU's own kernels.

use std::sync::{Mutex, PoisonError};

use super::checkpoint::{Checkpoint, Stored};
use super::config::{TransformerSize, Vjepa2Config};
use super::error::Vjepa2Error;
use super::rope::Rope;
use crate::kernels::{Finish, Heads, Product, Scratch, attention, layer_norm, matmul};

/// `x W^T + b`, its matrix where it lies in the file.
pub(super) struct Linear {
    weight: Stored,
    bias: Option<Vec<f32>>,
}

impl Linear {
    pub(super) fn load(weights: &Checkpoint, name: &str, has_bias: bool) -> Result<Self, Vjepa2Error> {
        let bias = if has_bias { Some(weights.take(&format!("{name}.bias"))?.values()) } else { None };
        Ok(Self { weight: weights.take(&format!("{name}.weight"))?, bias })
    }

    /// Into the columns from `column` on of rows of `out_width` values.
    pub(super) fn run(&self, x: &[f32], finish: Finish, out: &mut [f32], at: (usize, usize), scratch: &mut Scratch) {
        let (column, out_width) = at;
        let bias = self.bias.as_deref();
        matmul(Product { x, weights: &self.weight, bias, finish, out, out_width, column }, scratch);
    }
}

/// Layer normalisation.
pub(super) struct LayerNorm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl LayerNorm {
    pub(super) fn load(weights: &Checkpoint, name: &str, epsilon: f32) -> Result<Self, Vjepa2Error> {
        let values = |part| Ok::<_, Vjepa2Error>(weights.take(&format!("{name}.{part}"))?.values());
        Ok(Self { weight: values("weight")?, bias: values("bias")?, epsilon })
    }

    pub(super) fn run(&self, x: &[f32], out: &mut [f32]) {
        layer_norm(x, &self.weight, &self.bias, self.epsilon, out);
    }
}

struct Layer {
    norm1: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    proj: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

/// Memory of a forward pass, kept for the next one.
#[derive(Default)]
struct Memory {
    narrow: Vec<f32>,
    wide: Vec<f32>,
    scratch: Scratch,
}

/// All layers of a transformer and the normalisation after them.
pub(super) struct Layers {
    size: TransformerSize,
    layers: Vec<Layer>,
    layernorm: LayerNorm,
    memory: Mutex<Memory>,
}

impl Layers {
    /// The layers under `prefix` ("encoder" or "predictor").
    pub(super) fn load(
        weights: &Checkpoint,
        prefix: &str,
        size: TransformerSize,
        config: &Vjepa2Config,
    ) -> Result<Self, Vjepa2Error> {
        let layers = (0..size.layers)
            .map(|i| {
                let linear = |name: &str, bias| Linear::load(weights, &format!("{prefix}.layer.{i}.{name}"), bias);
                let norm =
                    |name| LayerNorm::load(weights, &format!("{prefix}.layer.{i}.{name}"), config.layer_norm_eps);
                Ok(Layer {
                    norm1: norm("norm1")?,
                    query: linear("attention.query", config.qkv_bias)?,
                    key: linear("attention.key", config.qkv_bias)?,
                    value: linear("attention.value", config.qkv_bias)?,
                    proj: linear("attention.proj", true)?,
                    norm2: norm("norm2")?,
                    fc1: linear("mlp.fc1", true)?,
                    fc2: linear("mlp.fc2", true)?,
                })
            })
            .collect::<Result<_, Vjepa2Error>>()?;
        let layernorm = LayerNorm::load(weights, &format!("{prefix}.layernorm"), config.layer_norm_eps)?;
        Ok(Self { size, layers, layernorm, memory: Mutex::default() })
    }

    /// `x` is (sequences, length, width) and is replaced by the normalised output.
    pub(super) fn run(&self, x: &mut Vec<f32>, sequences: usize, length: usize, rope: &Rope) {
        let TransformerSize { width, heads, hidden, .. } = self.size;
        let rows = sequences * length;
        assert_eq!(x.len(), rows * width, "layers over another width");
        let heads = Heads { sequences, length, heads, dim: width / heads };
        // Two callers at once each have memory of their own; the last to end leaves its own behind.
        let lock = || self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let mut memory = std::mem::take(&mut *lock());
        let Memory { narrow, wide, scratch } = &mut memory;
        narrow.resize(rows * width, 0.0);
        wide.resize(rows * hidden.max(3 * width), 0.0);
        for layer in &self.layers {
            layer.norm1.run(x, narrow);
            let qkv = &mut wide[..rows * 3 * width];
            for (i, part) in [&layer.query, &layer.key, &layer.value].into_iter().enumerate() {
                part.run(narrow, Finish::Write, qkv, (i * width, 3 * width), scratch);
            }
            attention(qkv, heads, rope.rotation(), narrow, scratch);
            layer.proj.run(narrow, Finish::Add, x, (0, width), scratch);
            layer.norm2.run(x, narrow);
            let inner = &mut wide[..rows * hidden];
            layer.fc1.run(narrow, Finish::Gelu, inner, (0, hidden), scratch);
            layer.fc2.run(inner, Finish::Add, x, (0, width), scratch);
        }
        self.layernorm.run(x, narrow);
        std::mem::swap(x, narrow);
        *lock() = memory;
    }

    /// Memory for a product outside of the layers.
    pub(super) fn with_scratch(&self, work: impl FnOnce(&mut Scratch)) {
        let lock = || self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let mut memory = std::mem::take(&mut *lock());
        work(&mut memory.scratch);
        *lock() = memory;
    }
}
