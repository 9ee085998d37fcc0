//! Tokens to states: eight queries read the cameras' and tags' tokens, together and each kind alone.

use candle_core::{Result, Tensor, Var, bail};

use crate::ops::Ops;
use crate::params::{Linear, Params};
use crate::spec::Size;

/// Queries.
const QUERIES: usize = 8;
/// The share of a new batch in the running statistics.
const MOMENTUM: f64 = 0.05;
const EPSILON: f64 = 1e-4;

/// The fusion and the projector.
pub(crate) struct Fusion {
    queries: Tensor,
    nothing: Tensor,
    keys_values: Linear,
    project: Linear,
    out: Linear,
    /// Running mean and variance of the projector's batch norm; not trained, but weights of the file.
    mean: Var,
    variance: Var,
    heads: usize,
    width: usize,
    ops: Ops,
}

impl Fusion {
    pub(crate) fn new(params: &mut Params, size: &Size) -> Result<Self> {
        let (width, hidden) = (size.width, 2 * size.latent);
        params.uniform("fusion.norm.mean", &[hidden], 0.0)?;
        params.uniform("fusion.norm.variance", &[hidden], 0.0)?;
        let stat = |name: &str| match params.vars().get(name) {
            Some(var) => Ok(var.clone()),
            None => bail!("the weight '{name}' is missing"),
        };
        let (mean, variance) = (stat("fusion.norm.mean")?, stat("fusion.norm.variance")?);
        Ok(Self {
            queries: params.uniform("fusion.queries", &[1, QUERIES, width], 1.7)?,
            nothing: params.uniform("fusion.nothing", &[1, 1, width], 1.0)?,
            keys_values: params.linear("fusion.keys_values", width, 2 * width, false)?,
            project: params.linear("fusion.project", QUERIES * width, hidden, true)?,
            out: params.linear("fusion.out", hidden, size.latent, true)?,
            mean,
            variance,
            heads: size.heads,
            width,
            ops: params.ops(),
        })
    }

    /// Reads `tokens` (ticks, tokens, width) once a mask; a mask (ticks, tokens) holds 0 for a token that is seen and a
    /// very negative number for one that is not. Gives (masks * ticks, latent), mask-major.
    pub(crate) fn forward(&self, tokens: &Tensor, masks: &[Tensor], training: bool) -> Result<Tensor> {
        let ticks = tokens.dim(0)?;
        let nothing = self.nothing.broadcast_as((ticks, 1, self.width))?;
        let tokens = self.ops.normalise(&Tensor::cat(&[tokens, &nothing.contiguous()?], 1)?)?;
        let count = tokens.dim(1)?;
        let dim = self.width / self.heads;
        let kv = self.keys_values.forward(&tokens)?.reshape((ticks, count, 2, self.heads, dim))?;
        let keys = kv.narrow(2, 0, 1)?.squeeze(2)?.permute((0, 2, 3, 1))?.contiguous()?;
        let values = kv.narrow(2, 1, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous()?;
        let queries = self.queries.reshape((1, QUERIES, self.heads, dim))?.transpose(1, 2)?;
        let queries = queries.broadcast_as((ticks, self.heads, QUERIES, dim))?.contiguous()?;
        let scores = (queries.matmul(&keys)? * (1.0 / (dim as f64).sqrt()))?;
        let seen = Tensor::zeros((ticks, 1), candle_core::DType::F32, tokens.device())?;
        let mut read = Vec::with_capacity(masks.len());
        for mask in masks {
            let mask = Tensor::cat(&[mask, &seen], 1)?.reshape((ticks, 1, 1, count))?;
            let weights = candle_nn::ops::softmax(&scores.broadcast_add(&mask)?, 3)?;
            let out = weights.matmul(&values)?.transpose(1, 2)?.contiguous()?;
            read.push(out.reshape((ticks, QUERIES * self.width))?);
        }
        let hidden = self.project.forward(&Tensor::cat(&read, 0)?)?;
        self.out.forward(&self.ops.gelu(&self.batch_norm(&hidden, training)?)?)
    }

    fn batch_norm(&self, x: &Tensor, training: bool) -> Result<Tensor> {
        let (mean, variance) = if training {
            let mean = x.mean_keepdim(0)?;
            let variance = x.broadcast_sub(&mean)?.sqr()?.mean_keepdim(0)?;
            let (m, v) = (mean.squeeze(0)?.detach(), variance.squeeze(0)?.detach());
            self.mean.set(&((self.mean.as_tensor() * (1.0 - MOMENTUM))? + (m * MOMENTUM)?)?)?;
            // The variance starts at 0 and is stored less 1, so that an untrained norm is the identity.
            let v = (v - 1.0)?;
            self.variance.set(&((self.variance.as_tensor() * (1.0 - MOMENTUM))? + (v * MOMENTUM)?)?)?;
            (mean, variance)
        } else {
            (self.mean.as_tensor().detach().unsqueeze(0)?, (self.variance.as_tensor().detach().unsqueeze(0)? + 1.0)?)
        };
        x.broadcast_sub(&mean)?.broadcast_div(&(variance + EPSILON)?.sqrt()?)
    }
}
