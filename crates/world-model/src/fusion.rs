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

    /// Reads `tokens` (ticks, tokens, width) once a mask; a mask holds for each tick and token 0 where it is seen and a very
    /// negative number where it is not. Gives (masks * ticks, latent), mask-major.
    pub(crate) fn forward(&self, tokens: &Tensor, masks: &[Vec<f32>], training: bool) -> Result<Tensor> {
        let (ticks, count, _) = tokens.dims3()?;
        let nothing = self.nothing.broadcast_as((ticks, 1, self.width))?;
        let tokens = Tensor::cat(&[tokens, &nothing.contiguous()?], 1)?;
        let keys_values = self.keys_values.forward_normalised(&tokens)?;
        // What says nothing is always seen.
        let seen = |mask: &Vec<f32>| mask.chunks(count).flat_map(|tick| tick.iter().copied().chain([0.0])).collect();
        let read = self.ops.read(&keys_values, &self.queries, masks.iter().map(seen).collect(), self.heads)?;
        let hidden = self.project.forward(&read)?;
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
