//! AdamW (Loshchilov and Hutter, arXiv 1711.05101): on the CPU in one pass over the weights, elsewhere in tensor operations.
//!
//! Its moments can be kept in a file and taken up again, so that training goes on as if it had never stopped.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, Var, bail};
use candle_nn::ParamsAdamW;

use crate::file::{Broken, Store};
use crate::kernels::training;
use crate::ops::Ops;

const STEPS: &str = "adamw.steps";

/// The optimiser.
pub(crate) struct AdamW {
    params: ParamsAdamW,
    steps: i32,
    vars: Vec<Trained>,
}

/// A weight and the moments of its gradient.
struct Trained {
    name: String,
    var: Var,
    moments: Moments,
}

/// First and second, as long as the weight.
enum Moments {
    Fused(Mutex<(Vec<f32>, Vec<f32>)>),
    Plain(Var, Var),
}

impl Moments {
    fn zeros(var: &Var, ops: Ops) -> Result<Self> {
        Ok(match ops {
            Ops::Fused => Self::Fused(Mutex::new((vec![0f32; var.elem_count()], vec![0f32; var.elem_count()]))),
            Ops::Plain => {
                let zeros = || Var::zeros(var.shape(), var.dtype(), var.device());
                Self::Plain(zeros()?, zeros()?)
            }
        })
    }

    fn values(&self) -> Result<(Vec<f32>, Vec<f32>)> {
        match self {
            Self::Fused(moments) => Ok(moments.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            Self::Plain(first, second) => Ok((first.flatten_all()?.to_vec1()?, second.flatten_all()?.to_vec1()?)),
        }
    }

    fn set(&self, first: Vec<f32>, second: Vec<f32>) -> Result<()> {
        match self {
            Self::Fused(moments) => *moments.lock().unwrap_or_else(PoisonError::into_inner) = (first, second),
            Self::Plain(a, b) => {
                for (var, values) in [(a, first), (b, second)] {
                    var.set(&Tensor::from_vec(values, var.shape(), var.device())?)?;
                }
            }
        }
        Ok(())
    }
}

impl AdamW {
    /// For these weights, each with its name.
    pub(crate) fn new(vars: Vec<(String, Var)>, params: ParamsAdamW, ops: Ops) -> Result<Self> {
        let trained = |(name, var): (String, Var)| Ok(Trained { name, moments: Moments::zeros(&var, ops)?, var });
        Ok(Self { params, steps: 0, vars: vars.into_iter().map(trained).collect::<Result<_>>()? })
    }

    pub(crate) fn set_learning_rate(&mut self, rate: f64) {
        self.params.lr = rate;
    }

    /// Moves the weights against the gradient of `loss`.
    pub(crate) fn backward_step(&mut self, loss: &Tensor) -> Result<()> {
        let gradients = loss.backward()?;
        self.steps += 1;
        let ParamsAdamW { lr, beta1, beta2, eps, weight_decay } = self.params;
        let (kept, scale1, scale2) =
            (1.0 - lr * weight_decay, 1.0 / (1.0 - beta1.powi(self.steps)), 1.0 / (1.0 - beta2.powi(self.steps)));
        let numbers = training::AdamW {
            rate: lr as f32,
            kept: kept as f32,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            scale1: scale1 as f32,
            scale2: scale2 as f32,
            epsilon: eps as f32,
        };
        for Trained { var, moments, .. } in &self.vars {
            let Some(gradient) = gradients.get(var) else { continue };
            match moments {
                Moments::Fused(moments) => var.inplace_op2(&gradient.contiguous()?, &Step { numbers, moments })?,
                Moments::Plain(first, second) => {
                    first.set(&((first.as_tensor() * beta1)? + (gradient * (1.0 - beta1))?)?)?;
                    second.set(&((second.as_tensor() * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?)?;
                    let step = ((first.as_tensor() * scale1)? / ((second.as_tensor() * scale2)?.sqrt()? + eps)?)?;
                    var.set(&((var.as_tensor() * kept)? - (step * lr)?)?)?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn store(&self, store: &mut Store) -> Result<()> {
        store.put(STEPS, [f64::from(self.steps)]);
        for Trained { name, moments, .. } in &self.vars {
            let (first, second) = moments.values()?;
            store.put_floats(&format!("adamw.first.{name}"), &first);
            store.put_floats(&format!("adamw.second.{name}"), &second);
        }
        Ok(())
    }

    pub(crate) fn restore(&mut self, store: &Store) -> std::result::Result<(), Broken> {
        self.steps = store.one(STEPS)? as i32;
        for Trained { name, var, moments } in &self.vars {
            let [first, second] = ["first", "second"].map(|which| {
                let name = format!("adamw.{which}.{name}");
                let values = store.floats(&name)?;
                if values.len() == var.elem_count() {
                    Ok(values)
                } else {
                    Err(Broken::new(&name, "has another length"))
                }
            });
            moments.set(first?, second?)?;
        }
        Ok(())
    }
}

struct Step<'a> {
    numbers: training::AdamW,
    moments: &'a Mutex<(Vec<f32>, Vec<f32>)>,
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
            let mut optimiser = AdamW::new(vec![("x".to_owned(), var.clone())], ParamsAdamW::default(), ops).unwrap();
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
