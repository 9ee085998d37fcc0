//! From the predictor's hidden state to tag values: quantiles of what the linear forecast leaves over.

use candle_core::{Result, Tensor};
use sightglass_protocol::HORIZONS;

use crate::ops::Ops;
use crate::params::{Linear, Params};
use crate::spec::Size;

/// The quantiles of a band.
pub(crate) const QUANTILES: [f64; 3] = [0.1, 0.5, 0.9];
/// A band's half width in standard deviations, were the errors normal.
pub(crate) const HALF_WIDTH: f64 = 1.2816;

/// The head. It sees the hidden state detached, so that what is easy to measure does not bend the latent space.
pub(crate) struct Readout {
    inward: Linear,
    outward: Linear,
    tags: usize,
    ops: Ops,
}

impl Readout {
    /// `extra` values a tick come in beside the hidden state.
    pub(crate) fn new(params: &mut Params, size: &Size, tags: usize, extra: usize) -> Result<Self> {
        Ok(Self {
            inward: params.linear("readout.inward", size.width + extra, 128, true)?,
            outward: params.scaled_linear("readout.outward", 128, HORIZONS.len() * tags * 3, true, 0.0)?,
            tags,
            ops: params.ops(),
        })
    }

    /// (ticks, width) and (ticks, extra) to low, middle and high, each (ticks, horizons, tags), in units of the linear
    /// forecast's residual scale; low <= middle <= high.
    pub(crate) fn forward(&self, hidden: &Tensor, extra: &Tensor) -> Result<[Tensor; 3]> {
        let x = Tensor::cat(&[&hidden.detach(), extra], 1)?;
        let out = self.outward.forward(&self.ops.gelu(&self.inward.forward(&x)?)?)?;
        let out = out.reshape((x.dim(0)?, 3, HORIZONS.len(), self.tags))?;
        let part = |i: usize| out.narrow(1, i, 1)?.squeeze(1)?.contiguous();
        let middle = part(0)?;
        let half = |i: usize| part(i)?.clamp(-3f32, 3f32)?.exp()? * HALF_WIDTH;
        Ok([(&middle - half(1)?)?, middle.clone(), (&middle + half(2)?)?])
    }
}

/// The pinball loss of the three quantiles: `target` and `weight` are (ticks, horizons, tags).
pub(crate) fn pinball(bands: &[Tensor; 3], target: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let mut total: Option<Tensor> = None;
    for (band, quantile) in bands.iter().zip(QUANTILES) {
        let error = (target - band)?;
        let loss = ((error.relu()? * quantile)? + (error.neg()?.relu()? * (1.0 - quantile))?)?;
        let loss = (loss * weight)?;
        total = Some(match total {
            Some(total) => (total + loss)?,
            None => loss,
        });
    }
    let total = total.map_or_else(|| Tensor::zeros_like(target), Ok)?;
    total.sum_all()? / (weight.sum_all()?.to_scalar::<f32>()? as f64 + 1.0)
}
