//! Tag values to tokens: one a measurement or output. Setpoints and modes never come here.

use candle_core::{Result, Tensor};

use crate::ops::Ops;
use crate::params::{Linear, Params};
use crate::spec::Size;

/// Ticks in a token's value patch.
pub(crate) const VALUES: usize = 4;
/// Values, their missing flags, and the age.
pub(crate) const TAG_INPUTS: usize = 2 * VALUES + 1;

/// The encoder.
pub(crate) struct TagEncoder {
    inward: Linear,
    outward: Linear,
    identity: Tensor,
    ops: Ops,
}

impl TagEncoder {
    pub(crate) fn new(params: &mut Params, size: &Size, tags: usize) -> Result<Self> {
        Ok(Self {
            inward: params.linear("tag.inward", TAG_INPUTS, size.width, true)?,
            outward: params.linear("tag.outward", size.width, size.width, true)?,
            identity: params.uniform("tag.identity", &[1, tags, size.width], 1.0)?,
            ops: params.ops(),
        })
    }

    /// (ticks, tags, `TAG_INPUTS`) to (ticks, tags, width).
    pub(crate) fn forward(&self, patches: &Tensor) -> Result<Tensor> {
        let x = self.inward.forward(patches)?.broadcast_add(&self.identity)?;
        self.outward.forward(&self.ops.gelu(&x)?)
    }
}
