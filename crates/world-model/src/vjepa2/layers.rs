//! The layers that encoder and predictor are made of, on the CPU's own kernels.

use std::sync::{Mutex, PoisonError};

use super::checkpoint::{Checkpoint, Stored};
use super::config::{TransformerSize, Vjepa2Config};
use super::error::Vjepa2Error;
use super::rope::Rope;
use crate::kernels::{Attention, Finish, Heads, Part, Product, Rows, Scratch, Tokens, attention, layer_norm, matmul};

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

    /// `x` is rows of the inputs, `out` rows of the outputs.
    pub(super) fn run(&self, x: &[f32], finish: Finish, out: &mut [f32], scratch: &mut Scratch) {
        let out_width = self.weight.rows();
        matmul(Product { x, parts: &[self.part(0)], finish, out, out_width }, scratch);
    }

    /// Into the columns from `column` on.
    fn part(&self, column: usize) -> Part<'_, Stored> {
        Part { weights: &self.weight, bias: self.bias.as_deref(), column }
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

/// A layer of norms `N` and products `L`, whatever computes them.
pub(super) struct Layer<N, L> {
    pub(super) norm1: N,
    pub(super) query: L,
    pub(super) key: L,
    pub(super) value: L,
    pub(super) proj: L,
    pub(super) norm2: N,
    pub(super) fc1: L,
    pub(super) fc2: L,
}

impl<N, L> Layer<N, L> {
    /// The layers under `prefix` ("encoder" or "predictor"). `norm` takes a name; `linear` takes a name, and whether it has
    /// a bias.
    pub(super) fn load_all(
        prefix: &str,
        count: usize,
        qkv_bias: bool,
        norm: impl Fn(&str) -> Result<N, Vjepa2Error>,
        linear: impl Fn(&str, bool) -> Result<L, Vjepa2Error>,
    ) -> Result<Vec<Self>, Vjepa2Error> {
        (0..count)
            .map(|i| {
                let norm = |name| norm(&format!("{prefix}.layer.{i}.{name}"));
                let linear = |name, bias| linear(&format!("{prefix}.layer.{i}.{name}"), bias);
                Ok(Self {
                    norm1: norm("norm1")?,
                    query: linear("attention.query", qkv_bias)?,
                    key: linear("attention.key", qkv_bias)?,
                    value: linear("attention.value", qkv_bias)?,
                    proj: linear("attention.proj", true)?,
                    norm2: norm("norm2")?,
                    fc1: linear("mlp.fc1", true)?,
                    fc2: linear("mlp.fc2", true)?,
                })
            })
            .collect()
    }
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
    layers: Vec<Layer<LayerNorm, Linear>>,
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
        let norm = |name: &str| LayerNorm::load(weights, name, config.layer_norm_eps);
        let linear = |name: &str, has_bias| Linear::load(weights, name, has_bias);
        let layers = Layer::load_all(prefix, size.layers, config.qkv_bias, norm, linear)?;
        let layernorm = norm(&format!("{prefix}.layernorm"))?;
        Ok(Self { size, layers, layernorm, memory: Mutex::default() })
    }

    /// `x` is (sequences, length, width) and is replaced by the normalised output.
    pub(super) fn run(&self, x: &mut Vec<f32>, sequences: usize, length: usize, rope: &Rope) {
        let heads = Heads { sequences, queries: length, keys: length, ..self.heads() };
        assert_eq!(x.len(), sequences * length * self.size.width, "layers over another width");
        self.run_with(x, |_, qkv, out, scratch| {
            let [queries, keys, values] = self.parts_of(qkv);
            let (query_rotation, key_rotation) = (rope.rotation(), rope.rotation());
            attention(Attention { heads, queries, keys, values, query_rotation, key_rotation, out }, scratch);
        });
    }

    /// The same for rows of any tokens, with `attend` for the attention: it takes the layer's number, the queries, keys and
    /// values of all rows (see [`Self::parts_of`]), what to write to, and memory.
    pub(super) fn run_with(&self, x: &mut Vec<f32>, mut attend: impl FnMut(usize, &[f32], &mut [f32], &mut Scratch)) {
        let TransformerSize { width, hidden, .. } = self.size;
        let rows = x.len() / width;
        self.with_memory(|Memory { narrow, wide, scratch }| {
            narrow.resize(rows * width, 0.0);
            wide.resize(rows * hidden.max(3 * width), 0.0);
            for (i, layer) in self.layers.iter().enumerate() {
                layer.norm1.run(x, narrow);
                let qkv = &mut wide[..rows * 3 * width];
                let parts = [layer.query.part(0), layer.key.part(width), layer.value.part(2 * width)];
                let (finish, out_width) = (Finish::Write, 3 * width);
                matmul(Product { x: narrow, parts: &parts, finish, out: &mut *qkv, out_width }, scratch);
                attend(i, qkv, narrow, scratch);
                layer.proj.run(narrow, Finish::Add, x, scratch);
                layer.norm2.run(x, narrow);
                let inner = &mut wide[..rows * hidden];
                layer.fc1.run(narrow, Finish::Gelu, inner, scratch);
                layer.fc2.run(inner, Finish::Add, x, scratch);
            }
            self.layernorm.run(x, narrow);
            std::mem::swap(x, narrow);
        });
    }

    /// The sizes of the attention, of no tokens yet.
    pub(super) fn heads(&self) -> Heads {
        let TransformerSize { width, heads, .. } = self.size;
        Heads { sequences: 1, queries: 0, keys: 0, heads, dim: width / heads }
    }

    /// Queries, keys and values, which lie beside each other.
    pub(super) fn parts_of<'a>(&self, qkv: &'a [f32]) -> [Tokens<'a>; 3] {
        let width = self.size.width;
        [0, 1, 2].map(|part| Tokens { rows: qkv, stride: 3 * width, column: part * width })
    }

    /// How many layers there are.
    pub(super) fn count(&self) -> usize {
        self.layers.len()
    }

    /// Memory for a product outside of the layers.
    pub(super) fn with_scratch(&self, work: impl FnOnce(&mut Scratch)) {
        self.with_memory(|memory| work(&mut memory.scratch));
    }

    /// Two callers at once each have memory of their own; the last to end leaves its own behind.
    fn with_memory(&self, work: impl FnOnce(&mut Memory)) {
        let lock = || self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let mut memory = std::mem::take(&mut *lock());
        work(&mut memory);
        *lock() = memory;
    }
}
