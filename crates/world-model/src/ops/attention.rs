//! Multi-head attention over projected tokens.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::{floats, shaped, values};
use crate::kernels::training::{self, Band};

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
pub(crate) fn attention(qkv: &Tensor, attention: Attention) -> Result<Tensor> {
    qkv.contiguous()?.apply_op1(attention)
}
