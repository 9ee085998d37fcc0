//! Learned queries that read tokens, once for each mask.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::{floats, shaped, values};
use crate::kernels::training;

struct Read {
    heads: usize,
    /// Each (ticks, tokens).
    masks: Vec<Vec<f32>>,
}

impl Read {
    fn kernel<'a>(
        &'a self,
        keys_values: (&'a [f32], &Layout),
        queries: (&'a [f32], &Layout),
    ) -> Result<(training::Reading<'a>, Shape)> {
        let &[ticks, tokens, width2] = keys_values.1.dims() else { bail!("reading needs three dimensions") };
        if self.masks.iter().any(|mask| mask.len() != ticks * tokens) {
            bail!("a mask of other sizes");
        }
        let (width, masks) = (width2 / 2, self.masks.as_slice());
        let reading = training::Reading {
            keys_values: keys_values.0,
            tokens,
            queries: queries.0,
            width,
            heads: self.heads,
            masks,
        };
        Ok((reading, Shape::from((masks.len() * ticks, queries.0.len()))))
    }
}

impl CustomOp2 for Read {
    fn name(&self) -> &'static str {
        "read"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (reading, shape) = self.kernel((floats(s1, l1)?, l1), (floats(s2, l2)?, l2))?;
        Ok((CpuStorage::F32(reading.forward()), shape))
    }

    fn bwd(
        &self,
        keys_values: &Tensor,
        queries: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (kv, q, g) = (values(keys_values)?, values(queries)?, values(&grad)?);
        let (reading, _) = self.kernel((&kv, keys_values.layout()), (&q, queries.layout()))?;
        let gradients = reading.backward(&g);
        Ok((Some(shaped(gradients.keys_values, keys_values)?), Some(shaped(gradients.queries, queries)?)))
    }
}

/// See [`crate::ops::Ops::read`].
pub(in crate::ops) fn read(
    keys_values: &Tensor,
    queries: &Tensor,
    masks: Vec<Vec<f32>>,
    heads: usize,
) -> Result<Tensor> {
    keys_values.contiguous()?.apply_op2(queries, Read { heads, masks })
}
