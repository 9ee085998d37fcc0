//! The one error type of the program.

use std::path::PathBuf;

use sightglass_history::HistoryError;
use sightglass_ingest::IngestError;
use sightglass_plant::PlantErrors;
use sightglass_world_model::vjepa2::Vjepa2Error;
use sightglass_world_model::{DeviceError, LoadError, TrainError};

/// What can end a command. Its text is for the person who typed it.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The plant description is wrong; each place is named.
    #[error(transparent)]
    Plant(#[from] PlantErrors),
    /// A source could not be opened.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// The history could not be opened or written.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The model could not be loaded.
    #[error(transparent)]
    Model(#[from] LoadError),
    /// The device that the plant asks for is not to be had.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A vision model could not be loaded or run.
    #[error(transparent)]
    Vjepa2(#[from] Vjepa2Error),
    /// Training was refused or failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A file or socket.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done ("writing").
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The command was used wrongly.
    #[error("{0}")]
    Usage(String),
    /// Something that was checked is wrong.
    #[error("{0}")]
    FoundWrong(String),
}

impl EngineError {
    /// A file error with its place.
    pub fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }

    /// 1: what was checked is wrong; 2: bad use or input.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::FoundWrong(_) | Self::Train(_) => 1,
            _ => 2,
        }
    }
}
