//! The operations in one pass over memory each, with hand-written gradients, on the CPU.
//!
//! Each output row is computed by one thread in a fixed order, so results do not depend on the number of threads.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::{Attention, EPSILON};

/// `e^x`, relative error below 3e-7, written so that the compiler vectorises it.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let t = x.clamp(-87.0, 88.0) * std::f32::consts::LOG2_E;
    let n = (t + 12_582_912.0) - 12_582_912.0;
    let f = t - n;
    let p = 1.0
        + f * (std::f32::consts::LN_2
            + f * (0.240_226_5 + f * (0.055_504_11 + f * (0.009_618_129 + f * 0.001_333_355_8))));
    f32::from_bits(((n as i32 + 127) << 23) as u32) * p
}

fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(values) = storage else { bail!("fused operations work on f32") };
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("fused operations need contiguous tensors") };
    Ok(&values[start..end])
}

/// Layer normalisation over the last dimension, without weights (the linear layer that follows has them).
struct Normalise;
struct NormaliseBackward;

fn moments(row: &[f32]) -> (f32, f32) {
    let n = row.len() as f32;
    let mean = row.iter().sum::<f32>() / n;
    let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / n;
    (mean, 1.0 / (variance + EPSILON).sqrt())
}

impl CustomOp1 for Normalise {
    fn name(&self) -> &'static str {
        "normalise"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats(storage, layout)?;
        let width = layout.dims().last().copied().unwrap_or(1);
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(width * 64).zip(x.par_chunks(width * 64)).for_each(|(out, x)| {
            for (out, row) in out.chunks_mut(width).zip(x.chunks(width)) {
                let (mean, inverse) = moments(row);
                for (o, v) in out.iter_mut().zip(row) {
                    *o = (v - mean) * inverse;
                }
            }
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, arg: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(arg.apply_op2_no_bwd(&grad.contiguous()?, &NormaliseBackward)?))
    }
}

impl CustomOp2 for NormaliseBackward {
    fn name(&self) -> &'static str {
        "normalise-backward"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, g) = (floats(s1, l1)?, floats(s2, l2)?);
        let width = l1.dims().last().copied().unwrap_or(1);
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(width * 64).zip(x.par_chunks(width * 64).zip(g.par_chunks(width * 64))).for_each(
            |(out, (x, g))| {
                for ((out, x), g) in out.chunks_mut(width).zip(x.chunks(width)).zip(g.chunks(width)) {
                    let (mean, inverse) = moments(x);
                    let n = width as f32;
                    let mean_g = g.iter().sum::<f32>() / n;
                    let mean_gy = g.iter().zip(x).map(|(g, v)| g * (v - mean) * inverse).sum::<f32>() / n;
                    for ((o, v), g) in out.iter_mut().zip(x).zip(g) {
                        *o = inverse * (g - mean_g - (v - mean) * inverse * mean_gy);
                    }
                }
            },
        );
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }
}

/// GELU in its tanh form.
struct Gelu;
struct GeluBackward;

const GELU_A: f32 = 1.595_769;
const GELU_B: f32 = 0.044_715;
const CHUNK: usize = 8192;

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats(storage, layout)?;
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| {
            for (o, &x) in out.iter_mut().zip(x) {
                *o = x / (1.0 + exp(-GELU_A * (x + GELU_B * x * x * x)));
            }
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, arg: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(arg.apply_op2_no_bwd(&grad.contiguous()?, &GeluBackward)?))
    }
}

impl CustomOp2 for GeluBackward {
    fn name(&self) -> &'static str {
        "gelu-backward"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, g) = (floats(s1, l1)?, floats(s2, l2)?);
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK).zip(g.par_chunks(CHUNK))).for_each(|(out, (x, g))| {
            for ((o, &x), &g) in out.iter_mut().zip(x).zip(g) {
                let s = 1.0 / (1.0 + exp(-GELU_A * (x + GELU_B * x * x * x)));
                *o = g * (s + x * s * (1.0 - s) * GELU_A * (1.0 + 3.0 * GELU_B * x * x));
            }
        });
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }
}

impl Attention {
    /// The keys that position `i` of `length` sees.
    fn seen(&self, i: usize, length: usize) -> std::ops::Range<usize> {
        match self.band {
            Some(band) => (i + 1).saturating_sub(band)..i + 1,
            None => 0..length,
        }
    }

    /// Attention probabilities, `length * length`, for one head; `kt` is the transposed keys.
    fn probabilities(&self, q: &[f32], kt: &[f32], length: usize, head: usize, p: &mut [f32]) {
        let dim = q.len() / length;
        let scale = 1.0 / (dim as f32).sqrt();
        for i in 0..length {
            let row = &mut p[i * length..(i + 1) * length];
            row.fill(0.0);
            for d in 0..dim {
                axpy(q[i * dim + d] * scale, &kt[d * length..(d + 1) * length], row);
            }
            let seen = self.seen(i, length);
            if self.band.is_some() {
                for j in seen.clone() {
                    row[j] -= self.slope(head) * (i - j) as f32;
                }
            }
            let max = row[seen.clone()].iter().copied().fold(f32::MIN, f32::max);
            let mut sum = 0.0;
            for v in &mut row[seen.clone()] {
                *v = exp(*v - max);
            }
            for v in &row[seen.clone()] {
                sum += *v;
            }
            row[..seen.start].fill(0.0);
            row[seen.end..].fill(0.0);
            for v in &mut row[seen] {
                *v /= sum;
            }
        }
    }
}

#[inline(always)]
fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

/// One head's part (0 query, 1 key, 2 value) as (length, dim), and transposed.
fn part(qkv: &[f32], length: usize, width: usize, which: usize, head: usize, dim: usize) -> (Vec<f32>, Vec<f32>) {
    let mut rows = vec![0f32; length * dim];
    let mut columns = vec![0f32; length * dim];
    for i in 0..length {
        let at = i * 3 * width + which * width + head * dim;
        for d in 0..dim {
            rows[i * dim + d] = qkv[at + d];
            columns[d * length + i] = qkv[at + d];
        }
    }
    (rows, columns)
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let qkv = floats(storage, layout)?;
        let &[sequences, length, width3] = layout.dims() else { bail!("attention needs three dimensions") };
        let width = width3 / 3;
        let dim = width / self.heads;
        let mut out = vec![0f32; sequences * length * width];
        out.par_chunks_mut(length * width).zip(qkv.par_chunks(length * width3)).for_each(|(out, qkv)| {
            let mut p = vec![0f32; length * length];
            for head in 0..self.heads {
                let (q, _) = part(qkv, length, width, 0, head, dim);
                let (_, kt) = part(qkv, length, width, 1, head, dim);
                let (v, _) = part(qkv, length, width, 2, head, dim);
                self.probabilities(&q, &kt, length, head, &mut p);
                for i in 0..length {
                    let at = i * width + head * dim;
                    let out = &mut out[at..at + dim];
                    for j in self.seen(i, length) {
                        axpy(p[i * length + j], &v[j * dim..(j + 1) * dim], out);
                    }
                }
            }
        });
        Ok((CpuStorage::F32(out), Shape::from((sequences, length, width))))
    }

    fn bwd(&self, arg: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(arg.apply_op2_no_bwd(&grad.contiguous()?, &AttentionBackward(*self))?))
    }
}

struct AttentionBackward(Attention);

impl CustomOp2 for AttentionBackward {
    fn name(&self) -> &'static str {
        "attention-backward"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (qkv, grad) = (floats(s1, l1)?, floats(s2, l2)?);
        let &[sequences, length, width3] = l1.dims() else { bail!("attention needs three dimensions") };
        let width = width3 / 3;
        let heads = self.0.heads;
        let dim = width / heads;
        let scale = 1.0 / (dim as f32).sqrt();
        let mut out = vec![0f32; sequences * length * width3];
        out.par_chunks_mut(length * width3)
            .zip(qkv.par_chunks(length * width3).zip(grad.par_chunks(length * width)))
            .for_each(|(out, (qkv, grad))| {
                let mut p = vec![0f32; length * length];
                let mut dp = vec![0f32; length];
                for head in 0..heads {
                    let (q, _) = part(qkv, length, width, 0, head, dim);
                    let (k, kt) = part(qkv, length, width, 1, head, dim);
                    let (_, vt) = part(qkv, length, width, 2, head, dim);
                    self.0.probabilities(&q, &kt, length, head, &mut p);
                    let mut dk = vec![0f32; length * dim];
                    let mut dv = vec![0f32; length * dim];
                    for i in 0..length {
                        let row = &p[i * length..(i + 1) * length];
                        let go = &grad[i * width + head * dim..i * width + head * dim + dim];
                        dp.fill(0.0);
                        for d in 0..dim {
                            axpy(go[d], &vt[d * length..(d + 1) * length], &mut dp);
                        }
                        let inner: f32 = row.iter().zip(&dp).map(|(p, g)| p * g).sum();
                        let at = i * width3 + head * dim;
                        let dq = &mut out[at..at + dim];
                        for j in self.0.seen(i, length) {
                            let ds = row[j] * (dp[j] - inner) * scale;
                            axpy(ds, &k[j * dim..(j + 1) * dim], dq);
                            axpy(ds, &q[i * dim..(i + 1) * dim], &mut dk[j * dim..(j + 1) * dim]);
                            axpy(row[j], go, &mut dv[j * dim..(j + 1) * dim]);
                        }
                    }
                    for i in 0..length {
                        let at = i * width3 + head * dim;
                        out[at + width..at + width + dim].copy_from_slice(&dk[i * dim..(i + 1) * dim]);
                        out[at + 2 * width..at + 2 * width + dim].copy_from_slice(&dv[i * dim..(i + 1) * dim]);
                    }
                }
            });
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }
}

/// See [`super::Ops::normalise`].
pub(super) fn normalise(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Normalise)
}

/// See [`super::Ops::gelu`].
pub(super) fn gelu(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Gelu)
}

/// See [`Attention`].
pub(super) fn attention(qkv: &Tensor, attention: Attention) -> Result<Tensor> {
    qkv.contiguous()?.apply_op1(attention)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exp() {
        for i in -800..800 {
            let x = i as f32 * 0.1;
            assert!((exp(x) / x.exp() - 1.0).abs() < 2e-5, "{x}");
        }
    }
}
