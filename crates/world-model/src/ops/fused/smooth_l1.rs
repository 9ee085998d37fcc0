//! The smooth L1 distance.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::{floats, shaped, values};
use crate::kernels::training;

struct SmoothL1;

impl CustomOp2 for SmoothL1 {
    fn name(&self) -> &'static str {
        "smooth-l1"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let mean = training::smooth_l1(floats(s1, l1)?, floats(s2, l2)?);
        Ok((CpuStorage::F32(vec![mean]), Shape::from(())))
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let d_a = shaped(training::smooth_l1_backward(&values(a)?, &values(b)?, grad.to_scalar()?), a)?;
        let d_b = if b.track_op() { Some(d_a.neg()?) } else { None };
        Ok((Some(d_a), d_b))
    }
}

/// See [`crate::ops::Ops::smooth_l1`].
pub(in crate::ops) fn smooth_l1(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    a.contiguous()?.apply_op2(&b.contiguous()?, SmoothL1)
}
