//! What goes into a line's pipeline and what comes out of it.

use std::path::PathBuf;

use sightglass_protocol::{CameraId, Frame, Health, Sample, Segment, Tick, UtcNanos, time::SECOND};

/// One piece of an in-process feed.
#[derive(Clone, Debug, PartialEq)]
pub enum FeedItem {
    /// Samples, in time order; none is earlier than what the feed gave before.
    Samples(Vec<Sample>),
    /// A whole picture of one of the line's cameras whose feed is the simulator.
    Frame(Frame),
}

/// An in-process source of samples and pictures: the simulated line, or the history.
///
/// One feed serves every simulator source and simulator camera of a line. It gives its items in time order; `None` is
/// its end. It is called from a thread of its own, and waits there when the line cannot take more.
pub trait Feed: Send {
    /// The next piece.
    fn next(&mut self) -> Option<FeedItem>;
}

/// How fast recorded and simulated time passes. Ticks do not depend on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as the reader of the events can take it.
    Max,
    /// This many times real time, by the pipeline's clock. Must be above 0.
    Speed(f64),
}

/// How to run a line.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineOptions {
    /// How fast time passes.
    pub pace: Pace,
    /// Where to keep the video, if anywhere.
    pub record: Option<RecordOptions>,
    /// The time of day at the start, from which cameras count that have no time of their own. Without it they count
    /// from their line's first recorded or simulated sample, or where there is none from 1970.
    pub now: Option<UtcNanos>,
    /// Nothing captured before this is delivered.
    pub from: Option<UtcNanos>,
    /// Nothing captured after this is delivered.
    pub to: Option<UtcNanos>,
    /// Whether to send [`IngestEvent::Picture`].
    pub pictures: bool,
}

impl Default for PipelineOptions {
    fn default() -> Self {
        Self { pace: Pace::Max, record: None, now: None, from: None, to: None, pictures: false }
    }
}

/// How video is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordOptions {
    /// The data folder; a segment is `video/<camera>/<start>.mkv` below it.
    pub dir: PathBuf,
    /// A new file is begun at the first key picture that is at least this long after the file's first one.
    pub segment_ns: i64,
}

impl RecordOptions {
    /// Records into `dir` in segments of one minute.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), segment_ns: 60 * SECOND }
    }
}

/// What a line's pipeline delivers.
#[derive(Clone, Debug, PartialEq)]
pub enum IngestEvent {
    /// Samples as they came in, before the tick that they are part of.
    Samples(Vec<Sample>),
    /// The line's state at one moment.
    Tick(Tick),
    /// A whole picture, at most [`PICTURES_PER_SECOND_MAX`] a second of capture time and camera.
    Picture {
        /// Whose picture.
        camera: CameraId,
        /// When it was captured.
        time: UtcNanos,
        /// The picture, RGB.
        frame: Frame,
    },
    /// So many pictures came in since the last such event of this camera (sent with each tick).
    Frames {
        /// Whose pictures.
        camera: CameraId,
        /// How many.
        count: u32,
    },
    /// A file of recorded video was begun.
    SegmentOpened(Segment),
    /// A file of recorded video is whole.
    SegmentClosed(Segment),
    /// The state of a source changed, or a place in a file could not be used.
    Health(Health),
    /// Every source has ended and every segment is closed: the last event.
    EndOfStream,
}

/// Events that wait for their reader; a full queue holds the sources back (recorded and simulated data wait, nothing is
/// lost).
pub const EVENTS_MAX: usize = 64;

/// The most whole pictures a second of capture time that a camera hands to the window.
pub const PICTURES_PER_SECOND_MAX: i64 = 15;
