//! What a running line tells the command that started it.

use sightglass_protocol::{AdvisoryChange, Health, LineId, Surprise, UtcNanos};

/// One thing that happened, in the order of a line's ticks.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    /// A tick was judged (or, without a model, passed).
    Tick { line: LineId, time: UtcNanos, surprise: Option<Surprise> },
    /// An advisory opened, changed or closed.
    Advisory(AdvisoryChange),
    /// A source, tag or camera changed its state.
    Health(Health),
    /// The line's sources have ended and everything is judged.
    Ended(LineId),
    /// The line stopped because of an error.
    Failed(LineId, String),
}
