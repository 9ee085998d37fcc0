//! Layer normalisation over the last dimension, without weights.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{floats, shaped, values, width_of};
use crate::kernels::training;

struct Normalise;

impl CustomOp1 for Normalise {
    fn name(&self) -> &'static str {
        "normalise"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let out = training::normalise(floats(storage, layout)?, width_of(layout));
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, arg: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let (x, g) = (values(arg)?, values(&grad)?);
        shaped(training::normalise_backward(&x, &g, width_of(arg.layout())), arg).map(Some)
    }
}

/// See [`crate::ops::Ops::normalise`].
pub(in crate::ops) fn normalise(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Normalise)
}
