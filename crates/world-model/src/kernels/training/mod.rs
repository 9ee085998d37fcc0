//! Kernels of the plant model's network, with what its training needs backward.
//!
//! Work is cut into tasks by the shapes alone, each task sums in a fixed order, and sums over tasks are taken in the tasks'
//! order: the same seed gives the same weights to the bit, however many threads there are. An element of a product is
//! summed step after step, so a row's result does not depend on the rows beside it.

mod adamw;
mod attention;
mod attention_block;
mod dense;
mod feed_forward;
mod gelu;
mod heads;
mod linear;
mod normalise;
mod reading;
mod smooth_l1;

use rayon::prelude::*;

pub(crate) use adamw::AdamW;
pub(crate) use attention::Attention;
pub(crate) use attention_block::AttentionBlock;
pub(crate) use feed_forward::FeedForward;
pub(crate) use gelu::{gelu, gelu_backward};
pub(crate) use heads::Band;
pub(crate) use linear::{Linear, LinearGradients};
pub(crate) use normalise::{normalise, normalise_backward};
pub(crate) use reading::Reading;
pub(crate) use smooth_l1::{smooth_l1, smooth_l1_backward};

/// Rows that a task of a backward pass has at least, where there are as many: its share of the weights' gradients is summed
/// apart, and the shares are added up in the end.
const TASK_ROWS: usize = 384;

/// Rows of shares that are added up at once.
const ROWS_AT_ONCE: usize = 32;

/// The next `len` floats of a scratch, and on to the next 64-byte boundary.
fn take<'a>(rest: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (taken, others) = std::mem::take(rest).split_at_mut(rounded(len));
    *rest = others;
    &mut taken[..len]
}

/// What [`take`] takes for `len` floats.
fn rounded(len: usize) -> usize {
    len.next_multiple_of(16)
}

/// The sum of shares of `len` floats each, the first `columns` of each `stride` of them.
fn sum_of_shares(shares: &[f32], len: usize, stride: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0f32; len / stride * columns];
    out.par_chunks_mut(columns * ROWS_AT_ONCE).enumerate().for_each(|(i, out)| {
        for share in shares.chunks_exact(len) {
            let share = share[i * ROWS_AT_ONCE * stride..].chunks_exact(stride);
            for (out, share) in out.chunks_exact_mut(columns).zip(share) {
                out.iter_mut().zip(share).for_each(|(out, value)| *out += value);
            }
        }
    });
    out
}
