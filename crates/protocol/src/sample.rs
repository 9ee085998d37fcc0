//! One value of one tag at one time.

use serde::{Deserialize, Serialize};

use crate::{Quality, TagId, TimeSource, UtcNanos};

/// One value as it came in. `value` is NaN where the source gave none; `quality` then is not usable.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Whose value.
    pub tag: TagId,
    /// When it was captured.
    pub time: UtcNanos,
    /// The value in the tag's unit.
    pub value: f64,
    /// How far it can be trusted.
    pub quality: Quality,
    /// Where `time` comes from.
    pub time_source: TimeSource,
}
