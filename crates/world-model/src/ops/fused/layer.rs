//! The two halves of a transformer layer, each from its input to its sum with that.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::{floats, shaped, values, width_of};
use crate::kernels::training;

type Gradients = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

struct AttentionBlock {
    heads: usize,
}

impl AttentionBlock {
    fn kernel<'a>(
        &self,
        x: &'a [f32],
        layout: &Layout,
        qkv: &'a [f32],
        out: &'a [f32],
    ) -> Result<training::AttentionBlock<'a>> {
        let &[_, length, width] = layout.dims() else { bail!("attention needs three dimensions") };
        Ok(training::AttentionBlock { x, length, width, heads: self.heads, qkv, out })
    }
}

impl CustomOp3 for AttentionBlock {
    fn name(&self) -> &'static str {
        "attention-block"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let block = self.kernel(floats(s1, l1)?, l1, floats(s2, l2)?, floats(s3, l3)?)?;
        Ok((CpuStorage::F32(block.forward()), l1.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, qkv: &Tensor, out: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Gradients> {
        let grad = grad.contiguous()?;
        let (x_values, w1, w2, g) = (values(x)?, values(qkv)?, values(out)?, values(&grad)?);
        let gradients = self.kernel(&x_values, x.layout(), &w1, &w2)?.backward(&g);
        Ok((Some(shaped(gradients.x, x)?), Some(shaped(gradients.qkv, qkv)?), Some(shaped(gradients.out, out)?)))
    }
}

struct FeedForward;

impl FeedForward {
    fn kernel<'a>(x: (&'a [f32], &Layout), up: (&'a [f32], &Layout), down: &'a [f32]) -> training::FeedForward<'a> {
        training::FeedForward { x: x.0, width: width_of(x.1), hidden: width_of(up.1), up: up.0, down }
    }
}

impl CustomOp3 for FeedForward {
    fn name(&self) -> &'static str {
        "feed-forward"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let half = Self::kernel((floats(s1, l1)?, l1), (floats(s2, l2)?, l2), floats(s3, l3)?);
        Ok((CpuStorage::F32(half.forward()), l1.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, up: &Tensor, down: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Gradients> {
        let grad = grad.contiguous()?;
        let (x_values, w1, w2, g) = (values(x)?, values(up)?, values(down)?, values(&grad)?);
        let gradients = Self::kernel((&x_values, x.layout()), (&w1, up.layout()), &w2).backward(&g);
        Ok((Some(shaped(gradients.x, x)?), Some(shaped(gradients.up, up)?), Some(shaped(gradients.down, down)?)))
    }
}

/// See [`crate::ops::Ops::attention_block`].
pub(in crate::ops) fn attention_block(x: &Tensor, qkv: &Tensor, out: &Tensor, heads: usize) -> Result<Tensor> {
    x.contiguous()?.apply_op3(qkv, out, AttentionBlock { heads })
}

/// See [`crate::ops::Ops::feed_forward`].
pub(in crate::ops) fn feed_forward(x: &Tensor, up: &Tensor, down: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op3(up, down, FeedForward)
}
