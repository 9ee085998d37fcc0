//! What the network does: linear layers, layer normalisation, GELU, attention, and the halves of a transformer layer whole.
//! Fused on the CPU; on other devices, which have no
//! fused form here, composed of tensor operations. Both give the same numbers but for rounding.

mod fused;
mod plain;
#[cfg(test)]
mod tests;

use candle_core::{Device, Result, Tensor};

/// What normalisation adds to the variance.
const EPSILON: f32 = 1e-5;

/// How operations are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ops {
    /// In one pass over memory, on the CPU only.
    Fused,
    /// By tensor operations, on any device.
    Plain,
}

/// Multi-head attention over `qkv` of shape (sequences, length, 3 * width), giving (sequences, length, width).
///
/// With a band, position `i` sees `i - band + 1 ..= i` only, and each step back costs a head's own slope (ALiBi, Press et
/// al. 2022), so that a stream of any length needs no positions.
#[derive(Clone, Copy)]
pub(crate) struct Attention {
    pub(crate) heads: usize,
    pub(crate) band: Option<usize>,
}

impl Attention {
    /// The cost of one step back for a head.
    pub(crate) fn slope(&self, head: usize) -> f32 {
        0.5f32.powi(2 * head as i32 + 1)
    }
}

impl Ops {
    /// The fastest that `device` has.
    pub(crate) fn on(device: &Device) -> Self {
        if device.is_cpu() { Self::Fused } else { Self::Plain }
    }

    /// Layer normalisation over the last dimension, without weights (the linear layer that follows has them).
    pub(crate) fn normalise(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Fused => fused::normalise(x),
            Self::Plain => plain::normalise(x),
        }
    }

    /// GELU in its tanh form.
    pub(crate) fn gelu(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Fused => fused::gelu(x),
            Self::Plain => plain::gelu(x),
        }
    }

    /// See [`Attention`].
    pub(crate) fn attention(self, qkv: &Tensor, attention: Attention) -> Result<Tensor> {
        match self {
            Self::Fused => fused::attention(qkv, attention),
            Self::Plain => plain::attention(qkv, attention),
        }
    }

    /// `x W + b` over the last dimension, of `x` as it is or normalised first. `weight` is (inputs, outputs); `bias` is
    /// (outputs), or has several rows of them, which come round again and again over the rows of `x`.
    pub(crate) fn linear(self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, normalised: bool) -> Result<Tensor> {
        match self {
            Self::Fused => fused::linear(x, weight, bias, normalised),
            Self::Plain if normalised => plain::linear(&plain::normalise(x)?, weight, bias),
            Self::Plain => plain::linear(x, weight, bias),
        }
    }

    /// `x + attention(normalise(x) W_qkv) W_out` for `x` of shape (sequences, length, width).
    pub(crate) fn attention_block(self, x: &Tensor, qkv: &Tensor, out: &Tensor, heads: usize) -> Result<Tensor> {
        match self {
            Self::Fused => fused::attention_block(x, qkv, out, heads),
            Self::Plain => plain::attention_block(x, qkv, out, heads),
        }
    }

    /// `x + gelu(normalise(x) W_up) W_down` over the last dimension.
    pub(crate) fn feed_forward(self, x: &Tensor, up: &Tensor, down: &Tensor) -> Result<Tensor> {
        match self {
            Self::Fused => fused::feed_forward(x, up, down),
            Self::Plain => plain::feed_forward(x, up, down),
        }
    }

    /// Attention of `queries` (1, queries, width) over keys and values (ticks, tokens, 2 * width) under each mask, whose
    /// values, one a tick and token, are added to the scores. Gives (masks * ticks, queries * width), mask-major.
    pub(crate) fn read(
        self,
        keys_values: &Tensor,
        queries: &Tensor,
        masks: Vec<Vec<f32>>,
        heads: usize,
    ) -> Result<Tensor> {
        match self {
            Self::Fused => fused::read(keys_values, queries, masks, heads),
            Self::Plain => plain::read(keys_values, queries, &masks, heads),
        }
    }

    /// The smooth L1 distance of two tensors of a shape, the mean over all values.
    pub(crate) fn smooth_l1(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        match self {
            Self::Fused => fused::smooth_l1(a, b),
            Self::Plain => plain::smooth_l1(a, b),
        }
    }
}
