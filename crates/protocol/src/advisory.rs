//! A model's finding, from its opening to its close.

use serde::{Deserialize, Serialize};

use crate::{Band, CameraId, LineId, PatchMap, TagId, UtcNanos};

/// Counts up within one plant's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AdvisoryId(pub u64);

/// What kind of thing an advisory blames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AdvisoryKind {
    /// The process behaves as it never did in normal running.
    Process,
    /// A sensor does not deliver what it measures.
    Sensor,
    /// A camera does not deliver what it sees.
    Camera,
    /// The line is run in a way that training never showed, so that it is the model which does not know.
    Model,
}

impl AdvisoryKind {
    /// One word for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Sensor => "sensor",
            Self::Camera => "camera",
            Self::Model => "model",
        }
    }
}

/// What a cause points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Subject {
    /// A tag.
    Tag(TagId),
    /// A camera, as a whole or at the patches of the advisory's map.
    Camera(CameraId),
}

/// One of the things that made an advisory, strongest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// What it points at.
    pub subject: Subject,
    /// Its share of the evidence, 0 to 1.
    pub share: f32,
    /// What was predicted at the peak (tags only).
    pub predicted: Option<Band>,
    /// What was seen at the peak (tags only).
    pub actual: Option<f64>,
    /// Why, in a short phrase ("off its prediction", "has not changed for 14 s").
    pub reason: String,
}

/// A model's finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Advisory {
    /// Its identity.
    pub id: AdvisoryId,
    /// Where.
    pub line: LineId,
    /// What kind of thing it blames.
    pub kind: AdvisoryKind,
    /// One line for the operator: what, in the field's words.
    pub title: String,
    /// The tick from which the surprise was there.
    pub since: UtcNanos,
    /// The tick at which it had persisted and was raised.
    pub opened: UtcNanos,
    /// The last tick at which it was seen.
    pub last_seen: UtcNanos,
    /// The tick at which it was over.
    pub closed: Option<UtcNanos>,
    /// The highest score so far; 1.0 is the limit.
    pub peak: f32,
    /// How sure, 0 to 1: the share of ticks since `since` above the limit, weighed by how far above.
    pub confidence: f32,
    /// Why, strongest first.
    pub causes: Vec<Cause>,
    /// Where in the picture, at the peak.
    pub patches: Vec<PatchMap>,
}

/// A step in an advisory's life, to be stored at once and shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AdvisoryChange {
    /// It was raised.
    Opened(Advisory),
    /// Its peak or its causes changed.
    Updated(Advisory),
    /// It is over.
    Closed(Advisory),
}

impl AdvisoryChange {
    /// The advisory as it now is.
    pub const fn advisory(&self) -> &Advisory {
        match self {
            Self::Opened(advisory) | Self::Updated(advisory) | Self::Closed(advisory) => advisory,
        }
    }
}
