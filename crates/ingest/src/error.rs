//! Why a line cannot start, or a video cannot be read or written.

use std::path::PathBuf;

/// Why a line cannot start, or a video cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// GStreamer itself does not start.
    #[error("GStreamer cannot be started: {0}; install GStreamer 1.20 or later")]
    Gstreamer(String),
    /// An element of GStreamer is absent.
    #[error("GStreamer lacks the element '{element}'; install the package that holds it ({package})")]
    MissingElement {
        /// Its name.
        element: String,
        /// Where Debian and Ubuntu keep it.
        package: &'static str,
    },
    /// The plant has no such line.
    #[error("the plant has no line number {0}")]
    NoLine(usize),
    /// The line wants an in-process feed and none was given.
    #[error(
        "line '{line}' has a source or camera of kind \"simulator\", but nothing feeds it; run the simulated line with `sightglass demo`"
    )]
    NoFeed {
        /// The line.
        line: String,
    },
    /// Both would be fed, by different hands.
    #[error("line '{line}' has cameras of clips beside something of kind \"simulator\"; a line can have one of both")]
    ClipsBesideSimulator {
        /// The line.
        line: String,
    },
    /// A recorded file of samples cannot be used.
    #[error("source '{origin}': cannot read {path}: {reason}")]
    SampleFile {
        /// The source's name.
        origin: String,
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A source cannot be set up.
    #[error("source '{origin}': {reason}")]
    Source {
        /// The source's name.
        origin: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// What is measured now cannot be had again.
    #[error(
        "source '{origin}' delivers only what is measured now; run the line with `sightglass run`, and replay what that recorded"
    )]
    OnlyLive {
        /// The source's name.
        origin: String,
    },
    /// Recorded time and the present in one line.
    #[error("line '{line}' has recorded files beside live sources; give each a line of its own")]
    FilesBesideLive {
        /// The line.
        line: String,
    },
    /// A camera cannot be set up.
    #[error("camera '{camera}': {reason}")]
    Camera {
        /// Its name.
        camera: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A pace that is not a speed.
    #[error("a speed must be a number above 0, not {0}")]
    Speed(f64),
    /// The pipeline as a whole does not run.
    #[error("line '{line}': the pipeline does not start: {reason}")]
    Pipeline {
        /// The line.
        line: String,
        /// What is wrong.
        reason: String,
    },
    /// A video file cannot be read or written.
    #[error("video {path}: {reason}")]
    Video {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
}

impl IngestError {
    /// A [`IngestError::Video`] about `path`.
    pub(crate) fn video(path: &std::path::Path, reason: impl std::fmt::Display) -> Self {
        Self::Video { path: path.to_owned(), reason: reason.to_string() }
    }

    /// A [`IngestError::Camera`] about `camera`.
    pub(crate) fn camera(camera: &str, reason: impl std::fmt::Display) -> Self {
        Self::Camera { camera: camera.to_owned(), reason: reason.to_string() }
    }
}
