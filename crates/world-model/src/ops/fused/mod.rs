//! The operations with hand-written gradients on the CPU: what candle composes from many passes over memory, in one.
//!
//! The arithmetic is in `kernels::training`; here is what candle needs to know of it. The gradients of several arguments
//! come out of one pass.

mod attention;
mod gelu;
mod layer;
mod linear;
mod normalise;
mod reading;
mod smooth_l1;

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};

pub(super) use attention::attention;
pub(super) use gelu::gelu;
pub(super) use layer::{attention_block, feed_forward};
pub(super) use linear::linear;
pub(super) use normalise::normalise;
pub(super) use reading::read;
pub(super) use smooth_l1::smooth_l1;

fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(values) = storage else { bail!("fused operations work on f32") };
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("fused operations need contiguous tensors") };
    Ok(&values[start..end])
}

/// What is read of a tensor while its storage is held.
struct Values<G> {
    storage: G,
    range: Range<usize>,
}

impl<G: Deref<Target = Storage>> Deref for Values<G> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.clone()],
            // `values` has looked.
            _ => &[],
        }
    }
}

/// The values of a contiguous tensor on the CPU.
fn values(tensor: &Tensor) -> Result<impl Deref<Target = [f32]>> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("fused operations need contiguous tensors") };
    if !matches!(&*storage, Storage::Cpu(CpuStorage::F32(_))) {
        bail!("fused operations work on f32 on the CPU");
    }
    Ok(Values { storage, range: start..end })
}

/// A tensor with the shape of another.
fn shaped(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), like.device())
}

/// The last dimension.
fn width_of(layout: &Layout) -> usize {
    layout.dims().last().copied().unwrap_or(1)
}
