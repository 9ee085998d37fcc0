//! Pictures for the window: the newest one, or one out of the recorded video.

use std::path::Path;
use std::sync::Arc;

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use sightglass_history::History;
use sightglass_ingest::player::Player;
use sightglass_protocol::message::Picture;
use sightglass_protocol::time::SECOND;
use sightglass_protocol::{CameraId, Frame, Segment, UtcNanos};

/// Good enough to judge a picture by, small enough for many a second.
const JPEG_QUALITY: u8 = 85;
/// How far before a moment to look for the segment that holds its picture.
const SEGMENT_BEFORE_NS: i64 = 120 * SECOND;
/// A picture that is older than this (or than three of its camera's periods, for a slow one) is not the picture of a
/// moment: what lies between was lost with the rest of a damaged file.
const PICTURE_AGE_NS_MAX: i64 = 2 * SECOND;
/// See [`PICTURE_AGE_NS_MAX`].
const PICTURE_PERIODS_MAX: f64 = 3.0;

/// A picture as JPEG.
///
/// # Errors
/// A picture larger than JPEG allows (65,535 pixels a side), as text.
pub(crate) fn encode(frame: &Frame) -> Result<Picture, String> {
    let size = |pixels: u32| u16::try_from(pixels).map_err(|_| format!("the picture's side of {pixels} is too long"));
    let mut jpeg = Vec::new();
    let mut encoder = Encoder::new(&mut jpeg, JPEG_QUALITY);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder
        .encode(&frame.pixels, size(frame.width)?, size(frame.height)?, ColorType::Rgb)
        .map_err(|error| format!("the picture cannot be encoded: {error}"))?;
    Ok(Picture { camera: frame.camera, time: frame.time, jpeg })
}

/// The newest recorded picture at or before `time`.
///
/// # Errors
/// When the history cannot be read, as text. A segment that is missing or broken is a gap: of what is before its damage
/// there are pictures, after it there is none.
pub(crate) async fn recorded(
    history: &History,
    data: &Path,
    player: &Arc<Player>,
    camera: CameraId,
    time: UtcNanos,
) -> Result<Option<Picture>, String> {
    let Some(segment) = history.segment_at(camera, time).await.map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let (start, is_closed) = (segment.start, segment.end.is_some());
    let player = Arc::clone(player);
    let frame = decode(data, &segment, move |path| player.picture_at(path, time.since(start)), camera).await;
    let frame = frame.filter(|frame| !is_closed || time.since(frame.time) <= age_ns_max(history, camera));
    frame.map(|frame| encode(&frame)).transpose()
}

/// The recorded picture next to the one at `time`.
///
/// # Errors
/// As [`recorded`].
pub(crate) async fn step(
    history: &History,
    data: &Path,
    player: &Arc<Player>,
    camera: CameraId,
    time: UtcNanos,
    forward: bool,
) -> Result<Option<Picture>, String> {
    if !forward {
        return recorded(history, data, player, camera, time - 1).await;
    }
    let from = time - SEGMENT_BEFORE_NS;
    let to = time + SEGMENT_BEFORE_NS;
    let segments = history.segments(camera, from, to).await.map_err(|error| error.to_string())?;
    for segment in segments.into_iter().filter(|segment| segment.end.is_none_or(|end| end > time)) {
        let after = time.since(segment.start);
        let player = Arc::clone(player);
        let next = move |path: &Path| player.picture_after(path, after);
        if let Some(frame) = decode(data, &segment, next, camera).await {
            return encode(&frame).map(Some);
        }
    }
    Ok(None)
}

fn age_ns_max(history: &History, camera: CameraId) -> i64 {
    let fps = history.plant().cameras.get(camera.index()).map_or(0.0, |camera| camera.fps);
    let periods = if fps > 0.0 { PICTURE_PERIODS_MAX / fps * SECOND as f64 } else { 0.0 };
    PICTURE_AGE_NS_MAX.max(periods as i64)
}

/// Decodes off the server's threads. A segment that cannot be read is a gap, and is logged.
async fn decode<F>(data: &Path, segment: &Segment, find: F, camera: CameraId) -> Option<Frame>
where
    F: FnOnce(&Path) -> Result<Option<(Frame, i64)>, sightglass_ingest::IngestError> + Send + 'static,
{
    let path = data.join(&segment.path);
    let start = segment.start;
    let found = tokio::task::spawn_blocking(move || {
        find(&path).unwrap_or_else(|error| {
            tracing::warn!("a video segment is a gap: {error}");
            None
        })
    });
    match found.await {
        Ok(found) => found.map(|(frame, offset)| Frame { camera, time: start + offset, ..frame }),
        Err(error) => {
            tracing::error!("decoding {} ended unexpectedly: {error}", segment.path);
            None
        }
    }
}
