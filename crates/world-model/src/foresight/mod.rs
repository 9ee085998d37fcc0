//! What comes, what if, and what to do: the plant model rolled out from a stream's present state.
//!
//! `roll_out` takes tags to any tick ahead under a course of action, in batches; `reach` says how far off that may be;
//! `support` where it means nothing, because training never showed the like; `time_to_limit` when a limit is crossed;
//! `advice` searches courses (`search`) for one that brings the line where it should be. `calibrate` learns all of it in
//! training, on running that the regressions did not see. All of it only reads a stream, and all of it is advice: nothing
//! here writes to a controller.

mod advice;
pub(crate) mod calibrate;
mod course;
mod outlook;
mod reach;
pub(crate) mod roll_out;
mod search;
pub(crate) mod support;
mod time_to_limit;

pub use advice::{Advice, AdviceRequest, Aim, Lever};
pub use course::{Course, CourseStep};
pub use outlook::{AHEAD_TICKS_MAX, Outlook, TagOutlook};
pub use support::Unseen;
pub use time_to_limit::{Side, TimeToLimit};

use sightglass_protocol::TagId;

/// Why there is no forecast, what-if or advice.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ForesightError {
    /// The line has no tag that moves.
    #[error("no tag of this line is predicted, so that there is nothing to forecast")]
    NothingPredicted,
    /// The stream has not seen a tick.
    #[error("nothing was seen yet from which to forecast; begin earlier")]
    NoPresent,
    /// The model was trained before there was foresight, or on too little.
    #[error(
        "the model was trained by an older version or on too little to calibrate this; train it again, with at least an \
         hour of normal running"
    )]
    NotCalibrated,
    /// Too far ahead.
    #[error("{asked} ticks ahead were asked for; allowed are 1 to {max}")]
    TooFar {
        /// Ticks.
        asked: usize,
        /// Ticks.
        max: usize,
    },
    /// The line has no such tag.
    #[error("the line has no tag {}", tag.0)]
    UnknownTag {
        /// Which.
        tag: TagId,
    },
    /// The tag is not predicted.
    #[error("'{name}' is not predicted: it is given, left out, or never moved in training")]
    NotPredicted {
        /// Its name.
        name: String,
    },
    /// The tag is not for people to set.
    #[error("'{name}' cannot be set: only setpoints and modes can")]
    NoAction {
        /// Its name.
        name: String,
    },
    /// The setpoint is left out or had no value in training.
    #[error("'{name}' had no value in training, so that nothing is known of what it does")]
    NeverSeen {
        /// Its name.
        name: String,
    },
    /// A value that is no number.
    #[error("tag {} is to be set to a value that is no finite number", tag.0)]
    NoNumber {
        /// Which.
        tag: TagId,
    },
    /// Outside of what the model has seen.
    #[error("outside of what the model has seen: {0}")]
    Unseen(Unseen),
    /// Limits, bands or numbers of a request that make no sense.
    #[error("{0}")]
    Request(String),
}
