//! How far a value can be trusted, and where its time comes from.

use serde::{Deserialize, Serialize};

/// The trust in a value, best first, so that the worst of several is their maximum.
///
/// After OPC UA Part 8 (Good, Uncertain, Bad), with the reasons that Sightglass finds itself told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Quality {
    /// As the source measured it.
    Good = 0,
    /// The source doubts it.
    Uncertain = 1,
    /// Older than the tag's period allows.
    Stale = 2,
    /// Unchanged where noise is expected.
    Frozen = 3,
    /// The source, or a check of ours, says that it is wrong.
    Bad = 4,
    /// No value at all.
    #[default]
    Missing = 5,
}

impl Quality {
    /// All qualities, best first.
    pub const ALL: [Self; 6] = [Self::Good, Self::Uncertain, Self::Stale, Self::Frozen, Self::Bad, Self::Missing];

    /// Whether the model and the operator may rely on the value.
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Good | Self::Uncertain)
    }

    /// The quality with this number, as stored.
    pub const fn from_u8(number: u8) -> Option<Self> {
        if (number as usize) < Self::ALL.len() { Some(Self::ALL[number as usize]) } else { None }
    }

    /// One word for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Uncertain => "uncertain",
            Self::Stale => "stale",
            Self::Frozen => "frozen",
            Self::Bad => "bad",
            Self::Missing => "missing",
        }
    }
}

/// Where a capture time comes from, best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum TimeSource {
    /// The device that measured (RTCP sender report, OPC UA `SourceTimestamp`).
    Device = 0,
    /// A field of the payload or file.
    Payload = 1,
    /// Arrival at this PC.
    #[default]
    Arrival = 2,
}
