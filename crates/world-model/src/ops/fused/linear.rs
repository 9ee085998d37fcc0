//! `x W + b`.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::{floats, shaped, values, width_of};
use crate::kernels::training::{self, LinearGradients};

struct Linear {
    normalised: bool,
}

impl Linear {
    fn forward(&self, x: (&[f32], &Layout), weight: (&[f32], &Layout), bias: Option<&[f32]>) -> (CpuStorage, Shape) {
        let (inputs, outputs) = (width_of(x.1), width_of(weight.1));
        let normalised = self.normalised;
        let linear = training::Linear { x: x.0, inputs, outputs, weight: weight.0, bias, normalised };
        let mut shape = x.1.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = outputs;
        }
        (CpuStorage::F32(linear.forward()), Shape::from(shape))
    }

    fn backward(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, grad: &Tensor) -> Result<LinearGradients> {
        let grad = grad.contiguous()?;
        let (x_values, weights, g) = (values(x)?, values(weight)?, values(&grad)?);
        let biases = bias.map(values).transpose()?;
        let linear = training::Linear {
            x: &x_values,
            inputs: width_of(x.layout()),
            outputs: width_of(weight.layout()),
            weight: &weights,
            bias: biases.as_deref(),
            normalised: self.normalised,
        };
        // What comes from outside has no gradient.
        Ok(linear.backward(&g, x.track_op()))
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(self.forward((floats(s1, l1)?, l1), (floats(s2, l2)?, l2), None))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradients = self.backward(x, weight, None, grad)?;
        Ok((gradients.x.map(|g| shaped(g, x)).transpose()?, Some(shaped(gradients.weight, weight)?)))
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear with bias"
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
        Ok(self.forward((floats(s1, l1)?, l1), (floats(s2, l2)?, l2), Some(floats(s3, l3)?)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradients = self.backward(x, weight, Some(bias), grad)?;
        Ok((
            gradients.x.map(|g| shaped(g, x)).transpose()?,
            Some(shaped(gradients.weight, weight)?),
            gradients.bias.map(|g| shaped(g, bias)).transpose()?,
        ))
    }
}

/// See [`crate::ops::Ops::linear`].
pub(in crate::ops) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, normalised: bool) -> Result<Tensor> {
    let (x, op) = (x.contiguous()?, Linear { normalised });
    match bias {
        Some(bias) => x.apply_op3(weight, &bias.contiguous()?, op),
        None => x.apply_op2(weight, op),
    }
}
