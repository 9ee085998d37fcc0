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
