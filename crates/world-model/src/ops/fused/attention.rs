//! Multi-head attention over projected tokens.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::{floats, shaped, values};
use crate::kernels::training::{self, Band};
use crate::ops::Attention;

impl Attention {
    fn bands(&self) -> Vec<Band> {
        (0..self.heads).map(|head| Band(self.band.map(|band| (band, self.slope(head))))).collect()
    }

    fn with<T>(
        &self,
        qkv: &[f32],
        dims: &[usize],
        work: impl FnOnce(&training::Attention<'_>, (usize, usize, usize)) -> T,
    ) -> Result<T> {
        let &[sequences, length, width3] = dims else { bail!("attention needs three dimensions") };
        let width = width3 / 3;
        let attention = training::Attention { qkv, length, width, heads: &self.bands() };
        Ok(work(&attention, (sequences, length, width)))
    }
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.with(floats(storage, layout)?, layout.dims(), |attention, shape| {
            (CpuStorage::F32(attention.forward()), Shape::from(shape))
        })
    }

    fn bwd(&self, arg: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let (qkv, grad) = (values(arg)?, values(&grad)?);
        let out = self.with(&qkv, arg.dims(), |attention, _| attention.backward(&grad))?;
        shaped(out, arg).map(Some)
    }
}

/// See [`Attention`].
pub(in crate::ops) fn attention(qkv: &Tensor, attention: Attention) -> Result<Tensor> {
    qkv.contiguous()?.apply_op1(attention)
}
