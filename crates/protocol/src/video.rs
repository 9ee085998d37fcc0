//! Recorded video.

use serde::{Deserialize, Serialize};

use crate::{CameraId, UtcNanos};

/// One file of recorded video, as the camera sent it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Whose pictures.
    pub camera: CameraId,
    /// The file, relative to the data folder, with `/`.
    pub path: String,
    /// Capture time of the first picture: the file's own time 0.
    pub start: UtcNanos,
    /// Capture time of the last picture; `None` while it is being written (or was, when the engine died).
    pub end: Option<UtcNanos>,
    /// Pictures; 0 while it is being written.
    pub frames: u32,
    /// Bytes; 0 while it is being written.
    pub bytes: u64,
}
