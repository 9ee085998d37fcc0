//! What the window needs to know of the plant.

use serde::{Deserialize, Serialize};

use crate::{CameraId, LineId, TagId};

/// What a tag is to the line and to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Observed and predicted.
    Measurement,
    /// An operator's action: given, never predicted, never a surprise.
    Setpoint,
    /// A controller's answer: drives what comes next, and is predicted.
    Output,
    /// Says who has the hand (auto, manual, stopped): given.
    Mode,
}

impl Role {
    /// Whether the model predicts it (and may be surprised by it).
    pub const fn is_predicted(self) -> bool {
        matches!(self, Self::Measurement | Self::Output)
    }

    /// Whether the predictor is conditioned on it.
    pub const fn is_action(self) -> bool {
        matches!(self, Self::Setpoint | Self::Output | Self::Mode)
    }
}

/// A region of a camera's picture, in its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roi {
    /// Left edge.
    pub x: u32,
    /// Top edge.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// A tag, as the window shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TagInfo {
    /// Its identity.
    pub id: TagId,
    /// Its line.
    pub line: LineId,
    /// Its name.
    pub name: String,
    /// One phrase for people; may be empty.
    pub description: String,
    /// Its unit; may be empty.
    pub unit: String,
    /// Its range in that unit.
    pub range: Option<(f64, f64)>,
    /// Its role.
    pub role: Role,
}

/// A camera, as the window shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameraInfo {
    /// Its identity.
    pub id: CameraId,
    /// Its line.
    pub line: LineId,
    /// Its name.
    pub name: String,
    /// What the model sees of it; the whole picture where absent.
    pub roi: Option<Roi>,
    /// Pictures a second.
    pub fps: f64,
}

/// A line, as the window shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineInfo {
    /// Its identity.
    pub id: LineId,
    /// Its name.
    pub name: String,
    /// The tick period.
    pub tick_ns: i64,
    /// Its tags, in the order of [`crate::Tick::tags`].
    pub tags: Vec<TagId>,
    /// Its cameras, in the order of [`crate::Tick::cameras`].
    pub cameras: Vec<CameraId>,
}

/// A plant, as the window shows it. `tags[id.index()]` has that id, and likewise lines and cameras.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlantInfo {
    /// Its name.
    pub name: String,
    /// Its lines.
    pub lines: Vec<LineInfo>,
    /// Its tags.
    pub tags: Vec<TagInfo>,
    /// Its cameras.
    pub cameras: Vec<CameraInfo>,
}
