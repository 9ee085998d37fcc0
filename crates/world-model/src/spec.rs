//! What a model is trained for, how, and why that may fail.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sightglass_protocol::{CameraId, LineId, Role, TagId};

use crate::device::ComputeDevice;
use crate::frozen_encoder::FrozenEncoder;
use crate::vjepa2::Vjepa2Error;

/// The fewest ticks from which anything can be learned.
pub const TICKS_MIN: usize = 16;

/// The most moving tags that a line's model predicts: the regressions' memory grows with their square (1 GiB at this many).
pub(crate) const MOVING_TAGS_MAX: usize = 512;

/// What a line consists of. The order of tags and cameras is their order in a `Tick`.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// Which line.
    pub line: LineId,
    /// The tick period.
    pub tick_ns: i64,
    /// Its tags.
    pub tags: Vec<TagSpec>,
    /// Its cameras.
    pub cameras: Vec<CameraSpec>,
}

/// A tag, as far as the model cares.
#[derive(Clone, Debug, PartialEq)]
pub struct TagSpec {
    /// Its identity.
    pub id: TagId,
    /// Its name, unique in the plant.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Observed, given, or both.
    pub role: Role,
    /// Low and high, in its unit.
    pub range: Option<(f64, f64)>,
    /// Whether the model leaves it out.
    pub excluded: bool,
}

/// A camera, as far as the model cares.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraSpec {
    /// Its identity.
    pub id: CameraId,
    /// Its name, unique in the plant.
    pub name: String,
}

/// How to train.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// Everything random follows from it.
    pub seed: u64,
    /// The most epochs.
    pub epochs_max: usize,
    /// Epochs without progress on held-back data after which training stops.
    pub patience: usize,
    /// The wanted number of false alarms a week and line.
    pub false_alarms_per_week: f64,
    /// Where the weights are kept after every epoch, and taken up again.
    pub checkpoint: Option<PathBuf>,
    /// The most minutes for the epochs; calibration comes on top. A run that is cut by it depends on the computer's
    /// speed, so leave it out where two runs must agree to the bit.
    pub minutes_max: Option<f64>,
    /// What the network is trained on, and streams on afterwards.
    pub device: ComputeDevice,
    /// What sees in place of the line's own camera encoder; it is not trained.
    pub encoder: Option<FrozenEncoder>,
    /// The size of the network.
    pub size: Size,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            epochs_max: 24,
            patience: 6,
            false_alarms_per_week: 1.0,
            checkpoint: None,
            minutes_max: None,
            device: ComputeDevice::cpu(),
            encoder: None,
            size: Size::nano(),
        }
    }
}

/// The size of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Channels of the camera encoder, the tag tokens and the predictor; a multiple of `heads`.
    pub width: usize,
    /// Attention heads everywhere.
    pub heads: usize,
    /// Layers of the camera encoder.
    pub encoder_layers: usize,
    /// Layers of the predictor.
    pub predictor_layers: usize,
    /// Channels of a latent state.
    pub latent: usize,
    /// Ticks in a training window; longer than the longest horizon.
    pub window: usize,
    /// Windows in a training step.
    pub batch: usize,
    /// The most windows in an epoch (a fresh random choice each).
    pub windows_per_epoch: usize,
}

impl Size {
    /// The smallest that is worth its name: about 1 M parameters, milliseconds a tick on one core.
    pub const fn nano() -> Self {
        Self {
            width: 96,
            heads: 4,
            encoder_layers: 4,
            predictor_layers: 4,
            latent: 64,
            window: 48,
            batch: 2,
            windows_per_epoch: 64,
        }
    }

    /// About 4 M parameters: for several cameras or hundreds of tags.
    pub const fn tiny() -> Self {
        Self { width: 160, heads: 5, encoder_layers: 5, latent: 128, ..Self::nano() }
    }

    /// About 15 M parameters, for a computer with cores or a GPU to spare.
    pub const fn small() -> Self {
        Self { width: 288, heads: 9, encoder_layers: 5, predictor_layers: 6, latent: 192, ..Self::nano() }
    }

    /// Learns in seconds, little: for tests, and for lines of a few tags.
    pub const fn least() -> Self {
        Self {
            width: 16,
            heads: 2,
            encoder_layers: 1,
            predictor_layers: 2,
            latent: 16,
            window: 40,
            batch: 2,
            windows_per_epoch: 16,
        }
    }
}

/// How far training is.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The epoch, from 1.
    pub epoch: usize,
    /// The most epochs.
    pub epochs_max: usize,
    /// The step within the epoch (or stage), from 1.
    pub step: usize,
    /// Steps in the epoch (or stage).
    pub steps: usize,
    /// The training loss of the last step.
    pub loss: f32,
    /// The loss on held-back data after the last whole epoch.
    pub held_back_loss: Option<f32>,
    /// The effective rank of the held-back states after the last whole epoch.
    pub effective_rank: Option<f32>,
    /// How long the network takes at most at the pace so far; it ends sooner where nothing more is learned.
    pub seconds_left: Option<f64>,
    /// What is being done.
    pub stage: &'static str,
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Not enough to learn from.
    #[error("{ticks} ticks are too few to learn from: at least {min} are needed; record a longer normal run")]
    TooFewTicks {
        /// What there is.
        ticks: usize,
        /// What is needed.
        min: usize,
    },
    /// No tag and no camera that the model could watch.
    #[error("there is nothing to watch: the line has no camera, and no measurement or output that is not excluded")]
    NothingToWatch,
    /// More tags move than the regressions have room for.
    #[error(
        "{moving} tags of the line move, a model predicts at most {max}: mark those that matter least with 'exclude = true', \
         or divide the line into several"
    )]
    TooManyTags {
        /// Tags that move in the given data.
        moving: usize,
        /// The most.
        max: usize,
    },
    /// A tick does not have the line's tags or cameras.
    #[error("the tick at {time} has {got} {what} where the line has {want}: the recording is of another plant")]
    OtherLine {
        /// When.
        time: String,
        /// "tags" or "cameras".
        what: &'static str,
        /// In the tick.
        got: usize,
        /// In the line.
        want: usize,
    },
    /// The latent state does not tell ticks apart.
    #[error(
        "the model collapsed: its state has an effective rank of {effective_rank:.2}, at least {bound:.2} is needed; \
         train on a longer or more varied run, or with another seed"
    )]
    Collapsed {
        /// On held-back data.
        effective_rank: f32,
        /// The least that is accepted.
        bound: f32,
    },
    /// Saying "as it is now" would have been better.
    #[error(
        "the model predicts worse than persistence: its one-step error on held-back data is {model:.4} (in standard \
         deviations), that of the last value {persistence:.4}; train on a longer run"
    )]
    WorseThanPersistence {
        /// The model's.
        model: f64,
        /// Persistence's.
        persistence: f64,
    },
    /// Asked to stop; the checkpoint, if one was wanted, is on disk.
    #[error("training was stopped after {epochs} epochs; the checkpoint, if one was asked for, holds them")]
    Stopped {
        /// Whole epochs.
        epochs: usize,
    },
    /// The checkpoint cannot be used.
    #[error("the checkpoint {path} cannot be used: {reason}; remove it to start afresh")]
    Checkpoint {
        /// Its path.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The frozen camera encoder failed.
    #[error("the frozen camera encoder cannot be used")]
    Encoder(#[from] Vjepa2Error),
    /// What the frozen camera encoder sees would fill the memory.
    #[error(
        "the frozen camera encoder's tokens of {ticks} ticks take {gib:.1} GiB, at most {gib_max} GiB are kept; train on a \
         shorter run, or without 'encoder'"
    )]
    TooManyTokens {
        /// What there is.
        ticks: usize,
        /// What they take.
        gib: f64,
        /// What is kept.
        gib_max: u32,
    },
    /// The tensor library failed.
    #[error("the network cannot be computed")]
    Network(#[from] candle_core::Error),
}
