//! A layer of a transformer without biases: attention among the tokens of a sequence, then a feed-forward half.

use candle_core::{Result, Tensor};

use crate::ops::Ops;
use crate::params::{Linear, Params};
use crate::spec::Size;

/// The layer.
pub(crate) struct Layer {
    qkv: Linear,
    out: Linear,
    up: Linear,
    down: Linear,
    heads: usize,
    ops: Ops,
}

impl Layer {
    pub(crate) fn new(params: &mut Params, name: &str, size: &Size) -> Result<Self> {
        let width = size.width;
        Ok(Self {
            qkv: params.linear(&format!("{name}.qkv"), width, 3 * width, false)?,
            out: params.scaled_linear(&format!("{name}.out"), width, width, false, 0.5)?,
            up: params.linear(&format!("{name}.up"), width, 2 * width, false)?,
            down: params.scaled_linear(&format!("{name}.down"), 2 * width, width, false, 0.5)?,
            heads: size.heads,
            ops: params.ops(),
        })
    }

    /// (sequences, length, width) to the same.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.ops.attention_block(x, self.qkv.weight(), self.out.weight(), self.heads)?;
        self.ops.feed_forward(&x, self.up.weight(), self.down.weight())
    }
}
