//! The network's weights by name, made from a seed or taken from a file.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor, Var, bail};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::device::ComputeDevice;
use crate::ops::Ops;

/// Weights by name.
pub(crate) struct Params {
    device: ComputeDevice,
    vars: BTreeMap<String, Var>,
    rng: Option<ChaCha8Rng>,
}

impl Params {
    /// Weights are drawn as they are asked for, the same on every device.
    pub(crate) fn seeded(seed: u64, device: &ComputeDevice) -> Self {
        Self { device: device.clone(), vars: BTreeMap::new(), rng: Some(ChaCha8Rng::seed_from_u64(seed)) }
    }

    /// Only these weights exist.
    pub(crate) fn given(tensors: BTreeMap<String, Tensor>, device: &ComputeDevice) -> Result<Self> {
        let var = |tensor: Tensor| Var::from_tensor(&tensor.to_device(&device.device)?);
        let vars = tensors.into_iter().map(|(k, v)| Ok((k, var(v)?))).collect::<Result<_>>()?;
        Ok(Self { device: device.clone(), vars, rng: None })
    }

    /// Where the weights are.
    pub(crate) fn device(&self) -> &Device {
        &self.device.device
    }

    /// How operations are computed there.
    pub(crate) fn ops(&self) -> Ops {
        self.device.ops
    }

    pub(crate) fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    pub(crate) fn count(&self) -> usize {
        self.vars.values().map(|v| v.elem_count()).sum()
    }

    /// A copy of all values, to come back to.
    pub(crate) fn snapshot(&self) -> Result<BTreeMap<String, Tensor>> {
        self.vars.iter().map(|(k, v)| Ok((k.clone(), v.as_tensor().copy()?.detach()))).collect()
    }

    /// Takes all values from a copy with the same names and shapes, on any device.
    pub(crate) fn restore(&self, values: &BTreeMap<String, Tensor>) -> Result<()> {
        for (name, var) in &self.vars {
            match values.get(name) {
                Some(value) => var.set(&value.to_device(self.device())?)?,
                None => bail!("the weight '{name}' is missing"),
            }
        }
        Ok(())
    }

    /// A weight, uniform in plus or minus `bound` when drawn.
    pub(crate) fn uniform(&mut self, name: &str, shape: &[usize], bound: f32) -> Result<Tensor> {
        if let Some(var) = self.vars.get(name) {
            if var.dims() != shape {
                bail!("the weight '{name}' has the shape {:?} where {shape:?} is expected", var.dims());
            }
            return Ok(var.as_tensor().clone());
        }
        let Some(rng) = self.rng.as_mut() else { bail!("the weight '{name}' is missing") };
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| (rng.random::<f32>() * 2.0 - 1.0) * bound).collect();
        let var = Var::from_vec(values, shape, self.device())?;
        let tensor = var.as_tensor().clone();
        self.vars.insert(name.to_owned(), var);
        Ok(tensor)
    }

    /// A linear layer, `inputs` to `outputs`.
    pub(crate) fn linear(&mut self, name: &str, inputs: usize, outputs: usize, bias: bool) -> Result<Linear> {
        self.scaled_linear(name, inputs, outputs, bias, 1.0)
    }

    /// A linear layer whose first weights are `gain` times the usual ones (0 for a layer that starts silent).
    pub(crate) fn scaled_linear(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
        bias: bool,
        gain: f32,
    ) -> Result<Linear> {
        let bound = gain * (3.0 / inputs as f32).sqrt();
        let weight = self.uniform(&format!("{name}.weight"), &[inputs, outputs], bound)?;
        let bias = if bias { Some(self.uniform(&format!("{name}.bias"), &[outputs], 0.0)?) } else { None };
        Ok(Linear { weight, bias, ops: self.ops() })
    }
}

/// `x W + b` over the last dimension. The weight is stored (inputs, outputs), so that no transpose is needed.
pub(crate) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    ops: Ops,
}

impl Linear {
    pub(crate) fn weight(&self) -> &Tensor {
        &self.weight
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.ops.linear(x, &self.weight, self.bias.as_ref(), false)
    }

    /// The same of `x` normalised.
    pub(crate) fn forward_normalised(&self, x: &Tensor) -> Result<Tensor> {
        self.ops.linear(x, &self.weight, self.bias.as_ref(), true)
    }

    /// `x` of shape (.., places, inputs), and to each place its own values, `place` of shape (1, places, outputs).
    pub(crate) fn forward_placed(&self, x: &Tensor, place: &Tensor) -> Result<Tensor> {
        let place = match &self.bias {
            Some(bias) => place.broadcast_add(bias)?,
            None => place.clone(),
        };
        self.ops.linear(x, &self.weight, Some(&place), false)
    }
}
