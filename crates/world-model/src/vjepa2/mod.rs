//! V-JEPA 2 (Assran et al., arXiv 2506.09985) as published: a frozen encoder of video and its predictor.
//!
//! A checkpoint is loaded strictly, by the names that its tensors have on Hugging Face; any size works. Weights stay in the
//! mapped file in 32 or 16 bits and are multiplied from there, in `f32`. [`verify`](verify()) holds the results against
//! those of another implementation.

mod checkpoint;
mod config;
mod encoder;
mod error;
mod layers;
mod model;
mod patches;
mod plain;
mod predictor;
mod preprocess;
mod rope;
mod stream;
mod tensors;
mod verify;

pub use config::{TransformerSize, Vjepa2Config};
pub use error::Vjepa2Error;
pub use model::Vjepa2;
pub(crate) use preprocess::fitted;
pub use preprocess::{Picture, preprocess};
pub use stream::{EncodedTick, Stream, StreamMode, StreamOptions};
pub use verify::{OutputCheck, TOLERANCE, verify, verify_on};
