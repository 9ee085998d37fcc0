//! The arithmetic of a frozen transformer on the CPU, on plain slices of `f32`.
//!
//! Every kernel is written once and compiled for the vectors that the processor has (AVX-512, AVX2, NEON; chosen at run
//! time). An element is summed in an order that depends on the shapes only, so results depend neither on the number of
//! threads nor on what else is in a batch.

mod activation;
mod attention;
mod matmul;
mod norm;
mod panel;
mod tile;
pub(crate) mod training;

pub(crate) use activation::exp;
pub(crate) use attention::{Attention, Heads, Rotation, Tokens, attention};
pub(crate) use matmul::{Finish, Part, Product, Rows, matmul};
pub(crate) use norm::layer_norm;

/// Memory that kernels work in, kept from call to call so that a steady stream allocates nothing.
#[derive(Default)]
pub(crate) struct Scratch {
    weights: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// `len` floats of `buffer` on a 64-byte boundary, so that a vector never straddles two cache lines. What they hold is
/// left over from earlier.
fn aligned(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len + 16 {
        buffer.resize(len + 16, 0.0);
    }
    let skip = buffer.as_ptr().align_offset(64).min(16);
    &mut buffer[skip..skip + len]
}

/// How many rows one task takes: whole multiples of `step`, at most `most`, and few enough that every thread has several.
fn rows_a_task(rows: usize, step: usize, most: usize) -> usize {
    let even = rows.div_ceil(4 * rayon::current_num_threads());
    even.next_multiple_of(step).clamp(step, most.next_multiple_of(step))
}
