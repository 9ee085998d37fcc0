//! A line's state at one moment: what the aligner emits and the model reads.

use std::sync::Arc;

use crate::{CameraId, LineId, Quality, TagId, UtcNanos};

/// One picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Whose picture.
    pub camera: CameraId,
    /// When it was captured.
    pub time: UtcNanos,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// RGB, 8 bits a channel, row-major, `width * height * 3` bytes, no padding.
    pub pixels: Arc<[u8]>,
}

/// A tag at a tick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TagReading {
    /// Whose value.
    pub tag: TagId,
    /// The latest value at or before the tick; NaN where there is none.
    pub value: f64,
    /// Nanoseconds from its capture to the tick; `i64::MAX` where there is none.
    pub age_ns: i64,
    /// Its quality at the tick (a good value that is too old is [`Quality::Stale`]).
    pub quality: Quality,
}

/// A camera at a tick.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraReading {
    /// Whose pictures.
    pub camera: CameraId,
    /// The region of interest, scaled to the model's square (112 x 112): the picture nearest to half a tick ago and
    /// the latest one, oldest first; both at or before the tick. Empty where there is none.
    pub frames: Vec<Frame>,
    /// [`Quality::Missing`] without pictures, [`Quality::Stale`] when they are older than a tick.
    pub quality: Quality,
}

/// A line's state at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Which line.
    pub line: LineId,
    /// Counts up from 0 at the start of the run; a gap is a tick that was dropped.
    pub index: u64,
    /// The moment: a multiple of the line's tick period.
    pub time: UtcNanos,
    /// One reading a tag of the line, in the order of the line's tags.
    pub tags: Vec<TagReading>,
    /// One reading a camera of the line, in the order of the line's cameras.
    pub cameras: Vec<CameraReading>,
}

/// Width and height of the pictures in a [`Tick`].
pub const MODEL_PIXELS: u32 = 112;
