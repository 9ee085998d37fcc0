//! Recorded segments of cameras as one stream of pictures each, in the order of capture time.

use std::path::{Path, PathBuf};

use sightglass_protocol::{CameraId, Frame, UtcNanos};

use crate::{
    Feed, FeedItem, IngestError,
    playback::{self, Pictures},
};

/// The columns of an index of clips.
const INDEX_HEADER: [&str; 2] = ["path", "start"];

/// A file of recorded video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    /// The file.
    pub path: PathBuf,
    /// The capture time of its first picture.
    pub start: UtcNanos,
}

/// The pictures of one camera's clips, one after the other. A clip that is missing or broken is a gap, and told.
pub struct ClipTrack {
    camera: CameraId,
    clips: std::vec::IntoIter<Clip>,
    open: Option<(UtcNanos, Pictures)>,
    next: Option<Frame>,
}

impl ClipTrack {
    /// The pictures of `clips`, which are in the order of their starts.
    pub fn new(camera: CameraId, clips: Vec<Clip>) -> Self {
        Self { camera, clips: clips.into_iter(), open: None, next: None }
    }

    /// The capture time of the next picture; `None` at the end. Decodes it where that is not done yet.
    pub fn next_time(&mut self) -> Option<UtcNanos> {
        while self.next.is_none() {
            if let Some((start, pictures)) = &mut self.open {
                if let Some((offset, frame)) = pictures.next() {
                    self.next = Some(Frame { camera: self.camera, time: *start + offset, ..frame });
                    break;
                }
                if let Some(error) = pictures.error() {
                    tracing::warn!("a video segment is a gap from here on: {error}");
                }
                self.open = None;
            }
            let clip = self.clips.next()?;
            match playback::pictures(&clip.path) {
                Ok(pictures) => self.open = Some((clip.start, pictures)),
                Err(error) => tracing::warn!("a video segment is a gap: {error}"),
            }
        }
        self.next.as_ref().map(|frame| frame.time)
    }

    /// Takes the next picture.
    pub fn take(&mut self) -> Option<Frame> {
        self.next_time()?;
        self.next.take()
    }

    /// Of several tracks, the one whose next picture is the earliest.
    pub fn earliest(tracks: &mut [Self]) -> Option<(UtcNanos, &mut Self)> {
        let timed = tracks.iter_mut().filter_map(|track| track.next_time().map(|time| (time, track)));
        timed.min_by_key(|(time, _)| *time)
    }
}

/// A line's cameras whose pictures are clips.
pub(crate) struct ClipFeed(Vec<ClipTrack>);

impl ClipFeed {
    pub(crate) fn new(cameras: Vec<(CameraId, Vec<Clip>)>) -> Self {
        Self(cameras.into_iter().map(|(camera, clips)| ClipTrack::new(camera, clips)).collect())
    }
}

impl Feed for ClipFeed {
    fn next(&mut self) -> Option<FeedItem> {
        let (_, track) = ClipTrack::earliest(&mut self.0)?;
        track.take().map(FeedItem::Frame)
    }
}

/// Reads an index of clips: CSV with the columns `path` (beside the index) and `start`.
///
/// # Errors
/// When it cannot be read, or a line of it cannot be used.
pub(crate) fn read_index(camera: &str, index: &Path) -> Result<Vec<Clip>, IngestError> {
    let error = |reason: String| IngestError::camera(camera, format!("its clips in {}: {reason}", index.display()));
    let mut reader = csv::Reader::from_path(index).map_err(|e| error(e.to_string()))?;
    let header = reader.headers().map_err(|e| error(e.to_string()))?;
    if header.iter().ne(INDEX_HEADER) {
        return Err(error(format!("the header line must be {}", INDEX_HEADER.join(","))));
    }
    let beside = index.parent().unwrap_or(Path::new(""));
    let mut clips: Vec<Clip> = Vec::new();
    for (number, record) in (2..).zip(reader.records()) {
        let record = record.map_err(|e| error(e.to_string()))?;
        let start = record[1].parse().map_err(|e| error(format!("line {number}: {e}")))?;
        if clips.last().is_some_and(|last| last.start > start) {
            return Err(error(format!("line {number} starts before the line above it; sort them by their start")));
        }
        clips.push(Clip { path: beside.join(&record[0]), start });
    }
    Ok(clips)
}
