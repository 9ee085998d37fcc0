//! AdamW: on the CPU in one pass over the weights, elsewhere candle's.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, Var, bail};
use candle_nn::{Optimizer, ParamsAdamW};

use crate::kernels::training;
use crate::ops::Ops;

/// The optimiser.
pub(crate) enum AdamW {
    Fused(Fused),
    Plain(candle_nn::AdamW),
}

/// On the CPU.
pub(crate) struct Fused {
    params: ParamsAdamW,
    steps: i32,
    vars: Vec<(Var, Moments)>,
}

/// Of a weight's gradient: first and second, as long as the weight.
type Moments = Mutex<(Vec<f32>, Vec<f32>)>;

impl AdamW {
    pub(crate) fn new(vars: Vec<Var>, params: ParamsAdamW, ops: Ops) -> Result<Self> {
        match ops {
            Ops::Plain => Ok(Self::Plain(candle_nn::AdamW::new(vars, params)?)),
            Ops::Fused => {
                let zeros = |var: &Var| vec![0f32; var.elem_count()];
                let with_moments = |var: Var| {
                    let moments = Mutex::new((zeros(&var), zeros(&var)));
                    (var, moments)
                };
                Ok(Self::Fused(Fused { params, steps: 0, vars: vars.into_iter().map(with_moments).collect() }))
            }
        }
    }

    pub(crate) fn set_learning_rate(&mut self, rate: f64) {
        match self {
            Self::Plain(candle) => candle.set_learning_rate(rate),
            Self::Fused(fused) => fused.params.lr = rate,
        }
    }

    /// Moves the weights against the gradient of `loss`.
    pub(crate) fn backward_step(&mut self, loss: &Tensor) -> Result<()> {
        let fused = match self {
            Self::Plain(candle) => return candle.backward_step(loss),
            Self::Fused(fused) => fused,
        };
        let gradients = loss.backward()?;
        fused.steps += 1;
        let ParamsAdamW { lr, beta1, beta2, eps, weight_decay } = fused.params;
        let numbers = training::AdamW {
            rate: lr as f32,
            kept: (1.0 - lr * weight_decay) as f32,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            scale1: (1.0 / (1.0 - beta1.powi(fused.steps))) as f32,
            scale2: (1.0 / (1.0 - beta2.powi(fused.steps))) as f32,
            epsilon: eps as f32,
        };
        for (var, moments) in &fused.vars {
            if let Some(gradient) = gradients.get(var) {
                var.inplace_op2(&gradient.contiguous()?, &Step { numbers, moments })?;
            }
        }
        Ok(())
    }
}

struct Step<'a> {
    numbers: training::AdamW,
    moments: &'a Moments,
}

impl InplaceOp2 for Step<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<()> {
        let (CpuStorage::F32(weights), CpuStorage::F32(gradient)) = (s1, s2) else { bail!("weights are f32") };
        let (Some((a, b)), Some((c, d))) = (l1.contiguous_offsets(), l2.contiguous_offsets()) else {
            bail!("weights are contiguous")
        };
        let mut moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, second) = &mut *moments;
        self.numbers.step(&mut weights[a..b], &gradient[c..d], first, second);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn both_forms_take_the_same_steps() {
        let trained = |ops: Ops| -> Vec<f32> {
            let values: Vec<f32> = (0..40).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
            let var = Var::from_vec(values, (5, 8), &Device::Cpu).unwrap();
            let mut optimiser = AdamW::new(vec![var.clone()], ParamsAdamW::default(), ops).unwrap();
            for step in 0..30 {
                optimiser.set_learning_rate(0.05 / f64::from(step + 1));
                let loss = (var.as_tensor().powf(4.0).unwrap() + var.sin().unwrap()).unwrap().sum_all().unwrap();
                optimiser.backward_step(&loss).unwrap();
            }
            var.flatten_all().unwrap().to_vec1().unwrap()
        };
        for (fused, plain) in trained(Ops::Fused).iter().zip(trained(Ops::Plain)) {
            assert!((fused - plain).abs() < 1e-5, "{fused} {plain}");
        }
    }
}
