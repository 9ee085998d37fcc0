//! What can be wrong with a tag or camera, and which state of NAMUR NE 107 that is.

use sightglass_protocol::{HealthState, Quality, UtcNanos};

/// What is wrong, in the order of how much it explains: of several causes at once, the first is told. A value that is out
/// of range has also jumped; a picture that is black is also out of focus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Nothing comes for longer than the tag's period allows.
    NoData,
    /// The value is no number, or its source says that it is bad.
    BadValue,
    /// No picture comes.
    NoPicture,
    /// The picture is black.
    BlackPicture,
    /// The picture does not change by so much as its noise.
    FrozenPicture,
    /// Most of the picture is as bright as it can be.
    Overexposed,
    /// Pictures have another size than they had.
    SizeChanged,
    /// Much of the scene is not to be seen.
    Covered,
    /// The scene is shifted.
    Moved,
    /// The scene is there, its details are not.
    OutOfFocus,
    /// The source's clock went back.
    ClockBack,
    /// The value is outside of what is physically possible.
    OutOfRange,
    /// The value repeats where it never did for so long.
    Frozen,
    /// The value moves in steps that are coarser than they were.
    CoarserSteps,
    /// The value moves, but without its noise.
    NoiseVanished,
    /// The value went further in one step than it ever did.
    RateJump,
    /// The source's clock is off.
    ClockOffset,
    /// Values come more rarely than they should.
    Slow,
    /// Values come in uneven intervals.
    Jitter,
    /// Pictures come faster or slower than they did.
    PictureRate,
}

impl Cause {
    /// The state of NE 107.
    pub const fn state(self) -> HealthState {
        match self {
            Self::NoData
            | Self::BadValue
            | Self::Frozen
            | Self::NoPicture
            | Self::BlackPicture
            | Self::FrozenPicture
            | Self::Covered => HealthState::Failure,
            Self::RateJump | Self::NoiseVanished => HealthState::CheckFunction,
            Self::OutOfRange
            | Self::CoarserSteps
            | Self::ClockBack
            | Self::Overexposed
            | Self::SizeChanged
            | Self::Moved
            | Self::OutOfFocus => HealthState::OutOfSpecification,
            Self::ClockOffset | Self::Slow | Self::Jitter | Self::PictureRate => HealthState::MaintenanceRequired,
        }
    }

    /// The best quality that a reading may have meanwhile. What only wants attention is data still.
    pub(super) const fn quality(self) -> Quality {
        match self {
            Self::Frozen | Self::FrozenPicture => Quality::Frozen,
            // The aligner says so itself, and says which.
            Self::NoData | Self::NoPicture => Quality::Stale,
            _ if matches!(self.state(), HealthState::MaintenanceRequired) => Quality::Good,
            _ => Quality::Bad,
        }
    }
}

/// One thing that is wrong at a tick.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finding {
    pub(super) cause: Cause,
    /// From when on it was so.
    pub(super) since: UtcNanos,
    /// What is seen, and what to do.
    pub(super) reason: String,
}

impl Finding {
    pub(super) fn new(cause: Cause, since: UtcNanos, reason: impl Into<String>) -> Self {
        Self { cause, since, reason: reason.into() }
    }
}

/// A value as people read it: to the millionth.
pub(super) fn plain(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
