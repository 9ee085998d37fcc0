//! Why a checkpoint or a clip is of no use.

use std::path::{Path, PathBuf};

/// What can go wrong with a V-JEPA 2: each text says where, what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Vjepa2Error {
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// `config.json` is broken, or asks for what is not implemented.
    #[error("{}: {reason}", path.display())]
    Config {
        /// Which.
        path: PathBuf,
        /// The field, its value, and what is wrong with it.
        reason: String,
    },
    /// A file of weights is broken, or not of the model that `config.json` describes.
    #[error("{}: {reason}", path.display())]
    Weights {
        /// Which.
        path: PathBuf,
        /// The tensor, and what is wrong with it.
        reason: String,
    },
    /// What was given to the model does not fit it.
    #[error("{0}")]
    Input(String),
    /// A tensor operation failed.
    #[error("the computation failed: {0}")]
    Compute(#[from] candle_core::Error),
}

impl Vjepa2Error {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        |source| Self::Io { path: path.to_owned(), source }
    }

    pub(super) fn weights(path: &Path, reason: impl Into<String>) -> Self {
        Self::Weights { path: path.to_owned(), reason: reason.into() }
    }
}
