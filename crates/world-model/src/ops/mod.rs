//! What the network does most: layer normalisation, GELU and attention. Fused on the CPU; on other devices, which have no
//! fused form here, composed of tensor operations. Both give the same numbers but for rounding.

mod fused;
mod plain;

use candle_core::{Device, Result, Tensor};

pub(crate) use fused::exp;

/// What normalisation adds to the variance.
const EPSILON: f32 = 1e-5;

/// How operations are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ops {
    /// In one pass over memory, on the CPU only.
    Fused,
    /// By tensor operations, on any device.
    Plain,
}

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
}

impl Ops {
    /// The fastest that `device` has.
    pub(crate) fn on(device: &Device) -> Self {
        if device.is_cpu() { Self::Fused } else { Self::Plain }
    }

    /// Layer normalisation over the last dimension, without weights (the linear layer that follows has them).
    pub(crate) fn normalise(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Fused => fused::normalise(x),
            Self::Plain => plain::normalise(x),
        }
    }

    /// GELU in its tanh form.
    pub(crate) fn gelu(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Fused => fused::gelu(x),
            Self::Plain => plain::gelu(x),
        }
    }

    /// See [`Attention`].
    pub(crate) fn attention(self, qkv: &Tensor, attention: Attention) -> Result<Tensor> {
        match self {
            Self::Fused => fused::attention(qkv, attention),
            Self::Plain => plain::attention(qkv, attention),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;

    /// The analytic gradient of `f` at `x` against central differences, in a weighted sum of its outputs.
    fn gradient_error(shape: &[usize], f: impl Fn(&Tensor) -> Result<Tensor>) -> f32 {
        let n: usize = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0) * 1.3).collect();
        let weigh = |y: Tensor| -> Result<Tensor> {
            let m = y.elem_count();
            let w: Vec<f32> = (0..m).map(|i| ((i * 53 % 97) as f32 / 48.0) - 1.0).collect();
            (y.flatten_all()? * Tensor::from_vec(w, m, &Device::Cpu)?)?.sum_all()
        };
        let x = Var::from_tensor(&Tensor::from_vec(values.clone(), shape, &Device::Cpu).unwrap()).unwrap();
        let grads = weigh(f(&x).unwrap()).unwrap().backward().unwrap();
        let analytic: Vec<f32> = grads.get(&x).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let mut worst = 0f32;
        for i in (0..n).step_by(7) {
            let at = |delta: f32| -> f32 {
                let mut moved = values.clone();
                moved[i] += delta;
                let x = Tensor::from_vec(moved, shape, &Device::Cpu).unwrap();
                weigh(f(&x).unwrap()).unwrap().to_scalar().unwrap()
            };
            let numeric = (at(5e-3) - at(-5e-3)) / 1e-2;
            worst = worst.max((numeric - analytic[i]).abs() / (1.0 + numeric.abs()));
        }
        worst
    }

    /// A shape, and an operation on it.
    type Case = (&'static [usize], fn(Ops, &Tensor) -> Result<Tensor>);

    const CASES: &[Case] = &[
        (&[5, 8], |ops, x| ops.normalise(x)),
        (&[5, 8], |ops, x| ops.gelu(x)),
        (&[2, 6, 24], |ops, x| ops.attention(x, Attention { heads: 2, band: None })),
        (&[2, 6, 24], |ops, x| ops.attention(x, Attention { heads: 2, band: Some(3) })),
    ];

    #[test]
    fn gradients_agree_with_differences() {
        for (shape, operation) in CASES {
            for ops in [Ops::Fused, Ops::Plain] {
                let error = gradient_error(shape, |x| operation(ops, x));
                assert!(error < 1e-2, "{ops:?} {shape:?}: {error}");
            }
        }
    }

    #[test]
    fn fused_and_plain_operations_give_the_same_numbers() {
        for (shape, operation) in CASES {
            let values: Vec<f32> =
                (0..shape.iter().product()).map(|i: usize| ((i * 37 % 101) as f32 / 50.0 - 1.0) * 3.0).collect();
            let x = Tensor::from_vec(values, *shape, &Device::Cpu).unwrap();
            let of = |ops| operation(ops, &x).unwrap();
            let furthest = (of(Ops::Fused) - of(Ops::Plain)).unwrap().abs().unwrap().max_all().unwrap();
            let furthest: f32 = furthest.to_scalar().unwrap();
            assert!(furthest < 1e-5, "{shape:?}: {furthest}");
        }
    }
}
