//! The operations composed of tensor operations, for any device; gradients are candle's.

use candle_core::{D, Result, Tensor};

use super::{Attention, EPSILON};

/// What hides a key: its probability is 0 in `f32`.
const HIDDEN: f32 = -1e9;

/// See [`super::Ops::normalise`].
pub(super) fn normalise(x: &Tensor) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + f64::from(EPSILON))?.sqrt()?)
}

/// See [`super::Ops::gelu`].
pub(super) fn gelu(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.gelu()
}

/// See [`Attention`].
pub(super) fn attention(qkv: &Tensor, attention: Attention) -> Result<Tensor> {
    let (sequences, length, width3) = qkv.dims3()?;
    let (heads, width) = (attention.heads, width3 / 3);
    let dim = width / heads;
    let qkv = qkv.contiguous()?.reshape((sequences, length, 3, heads, dim))?;
    // (sequences, heads, length, dim)
    let part = |which: usize| qkv.narrow(2, which, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
    let (query, key, value) = (part(0)?, part(1)?, part(2)?);
    // (sequences, heads, length, length)
    let scores = (query.matmul(&key.transpose(2, 3)?.contiguous()?)? * (1.0 / (dim as f64).sqrt()))?;
    let scores = match attention.band {
        Some(band) => scores.broadcast_add(&steps_back(attention, band, length, &scores)?)?,
        None => scores,
    };
    let seen = candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(&value)?;
    seen.transpose(1, 2)?.contiguous()?.reshape((sequences, length, width))
}

/// What each step back costs, (1, heads, length, length).
fn steps_back(attention: Attention, band: usize, length: usize, like: &Tensor) -> Result<Tensor> {
    let mut costs = Vec::with_capacity(attention.heads * length * length);
    for head in 0..attention.heads {
        for i in 0..length {
            costs.extend((0..length).map(|j| match i.checked_sub(j) {
                Some(back) if back < band => -attention.slope(head) * back as f32,
                _ => HIDDEN,
            }));
        }
    }
    Tensor::from_vec(costs, (1, attention.heads, length, length), like.device())
}

/// See [`super::Ops::linear`].
pub(super) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (inputs, outputs) = weight.dims2()?;
    let mut shape = x.dims().to_vec();
    let y = x.contiguous()?.reshape(((), inputs))?.matmul(weight)?;
    let y = match bias.map(|bias| bias.reshape((1, (), outputs))).transpose()? {
        Some(bias) => y.reshape(((), bias.dim(1)?, outputs))?.broadcast_add(&bias)?,
        None => y,
    };
    if let Some(last) = shape.last_mut() {
        *last = outputs;
    }
    y.reshape(shape)
}

/// See [`super::Ops::attention_block`].
pub(super) fn attention_block(x: &Tensor, qkv: &Tensor, out: &Tensor, heads: usize) -> Result<Tensor> {
    let seen = attention(&linear(&normalise(x)?, qkv, None)?, Attention { heads, band: None })?;
    x + linear(&seen, out, None)?
}

/// See [`super::Ops::feed_forward`].
pub(super) fn feed_forward(x: &Tensor, up: &Tensor, down: &Tensor) -> Result<Tensor> {
    x + linear(&gelu(&linear(&normalise(x)?, up, None)?)?, down, None)?
}

/// See [`super::Ops::read`].
pub(super) fn read(keys_values: &Tensor, queries: &Tensor, masks: &[Vec<f32>], heads: usize) -> Result<Tensor> {
    let (ticks, tokens, width2) = keys_values.dims3()?;
    let (width, count) = (width2 / 2, queries.dim(1)?);
    let dim = width / heads;
    let keys_values = keys_values.reshape((ticks, tokens, 2, heads, dim))?;
    let keys = keys_values.narrow(2, 0, 1)?.squeeze(2)?.permute((0, 2, 3, 1))?.contiguous()?;
    let values = keys_values.narrow(2, 1, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous()?;
    let queries = queries.reshape((1, count, heads, dim))?.transpose(1, 2)?;
    let queries = queries.broadcast_as((ticks, heads, count, dim))?.contiguous()?;
    let scores = (queries.matmul(&keys)? * (1.0 / (dim as f64).sqrt()))?;
    let mut read = Vec::with_capacity(masks.len());
    for mask in masks {
        let mask = Tensor::from_slice(mask, (ticks, 1, 1, tokens), scores.device())?;
        let weights = candle_nn::ops::softmax(&scores.broadcast_add(&mask)?, 3)?;
        read.push(weights.matmul(&values)?.transpose(1, 2)?.contiguous()?.reshape((ticks, count * width))?);
    }
    Tensor::cat(&read, 0)
}

/// See [`super::Ops::smooth_l1`].
pub(super) fn smooth_l1(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let size = (a - b)?.abs()?;
    let near = size.minimum(1f32)?;
    ((near.sqr()? * 0.5)? + (size - near)?)?.mean_all()
}
