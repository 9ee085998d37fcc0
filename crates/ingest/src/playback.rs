//! Reads recorded video back: one picture at a time, or all of them in order.
//!
//! Works on files whose writer was killed: what is whole of them is read, and what follows is as if it had never been.
//! A picture's time is its offset from the file's first one, in nanoseconds, kept to a tenth of a millisecond; its camera
//! is left 0, since a file does not know whose it is.

use std::path::{Path, PathBuf};

use gst::prelude::*;
use gst_video::prelude::*;
use sightglass_protocol::{CameraId, Frame, UtcNanos};

use crate::{
    IngestError,
    elements::{app_sink, branch, init},
    picture::RgbView,
};

/// Pictures of a group that are looked at: a camera that sends its next key picture later is shown up to here.
const GROUP_PICTURES_MAX: usize = 4_096;
/// Encoded pictures that may wait to be taken: a hand-over each would cost more than they do.
const ENCODED_WAITING_MAX: u32 = 256;
/// Decoded pictures that may wait to be taken: what nobody asks for is not decoded.
const RAW_WAITING_MAX: u32 = 1;
/// How long one picture may take.
const PICTURE_MAX: gst::ClockTime = gst::ClockTime::from_seconds(10);
/// How often a wait looks for errors.
const LOOK: gst::ClockTime = gst::ClockTime::from_mseconds(50);

/// The newest picture at or before `offset_ns` from the file's beginning, and its own offset; `None` where the file
/// begins later. Only the pictures since the last key picture are decoded. Who asks more than once asks a
/// [`Player`](crate::player::Player).
///
/// # Errors
/// When the file cannot be opened or holds no video that this PC can decode.
pub fn picture_at(path: &Path, offset_ns: i64) -> Result<Option<(Frame, i64)>, IngestError> {
    crate::player::Player::default().picture_at(path, offset_ns)
}

/// All pictures of a file in order, each with its offset from the file's beginning.
///
/// # Errors
/// When the file cannot be opened.
pub fn pictures(path: &Path) -> Result<Pictures, IngestError> {
    let source = file_source(path)?;
    Pictures::decode(path, &source, DECODE, 1)
}

/// As the decoder gives them.
const DECODE_RAW: &str = "decodebin name=head ! capsfilter name=tail caps=video/x-raw";
const DECODE: &str =
    "decodebin name=head ! videoconvert n-threads=1 ! capsfilter name=tail caps=video/x-raw,format=RGB";

/// See [`pictures`]. Ends at the end of what can be read; [`Pictures::error`] then says whether that was the file's end.
pub struct Pictures {
    path: PathBuf,
    pipeline: gst::Pipeline,
    sink: gst_app::AppSink,
    error: Option<IngestError>,
}

impl Pictures {
    /// Why the pictures ended before the file's end, if they did.
    pub fn error(&self) -> Option<&IngestError> {
        self.error.as_ref()
    }

    /// Pictures as the decoder gives them, for people to look at: decoded on as many cores as there are.
    pub(crate) fn decode_raw(path: &Path, source: &gst::Element) -> Result<Self, IngestError> {
        init()?;
        let branch = branch(DECODE_RAW).map_err(|error| IngestError::video(path, error))?;
        // After what makes decoders deterministic: nobody computes with these pictures.
        branch.connect_deep_element_added(|_, _, element| {
            if element.has_property("max-threads") {
                element.set_property_from_str("max-threads", "0");
            }
        });
        Self::start(path, source, branch, RAW_WAITING_MAX)
    }

    fn decode(path: &Path, source: &gst::Element, line: &str, waiting_max: u32) -> Result<Self, IngestError> {
        init()?;
        let branch = branch(line).map_err(|error| IngestError::video(path, error))?;
        Self::start(path, source, branch, waiting_max)
    }

    fn start(path: &Path, source: &gst::Element, branch: gst::Bin, waiting_max: u32) -> Result<Self, IngestError> {
        let error = |reason: &dyn std::fmt::Display| IngestError::video(path, reason);
        let sink = app_sink("pictures");
        sink.set_max_buffers(waiting_max);
        // So that the first picture waits for PLAYING, and not PLAYING for the pictures to be taken: a sink that is full
        // (or at the end, with pictures left) holds the lock that its step to PLAYING needs.
        sink.set_async(true);
        sink.set_wait_on_eos(false);
        let pipeline = gst::Pipeline::new();
        pipeline.add_many([source, branch.upcast_ref(), sink.upcast_ref()]).map_err(|e| error(&e))?;
        gst::Element::link_many([source, branch.upcast_ref(), sink.upcast_ref()]).map_err(|e| error(&e))?;
        let pictures = Self { path: path.to_owned(), pipeline, sink, error: None };
        pictures
            .pipeline
            .set_state(gst::State::Playing)
            .map_err(|state| first_error(&pictures.pipeline, path).unwrap_or_else(|| error(&state)))?;
        Ok(pictures)
    }

    /// The next picture, not brought into RGB.
    pub(crate) fn next_sample(&self) -> Result<Option<gst::Sample>, IngestError> {
        next_sample(&self.pipeline, &self.sink, &self.path)
    }

    fn next_picture(&mut self) -> Result<Option<(i64, Frame)>, IngestError> {
        let Some(sample) = next_sample(&self.pipeline, &self.sink, &self.path)? else { return Ok(None) };
        picture_of(&sample).map(Some).ok_or_else(|| IngestError::video(&self.path, "a picture has no time or no size"))
    }
}

impl Iterator for Pictures {
    type Item = (i64, Frame);

    fn next(&mut self) -> Option<(i64, Frame)> {
        if self.error.is_some() {
            return None;
        }
        match self.next_picture() {
            Ok(picture) => picture,
            Err(error) => {
                self.error = Some(error);
                None
            }
        }
    }
}

impl Drop for Pictures {
    fn drop(&mut self) {
        stop(&self.pipeline, &self.path);
    }
}

fn stop(pipeline: &gst::Pipeline, path: &Path) {
    if let Err(error) = pipeline.set_state(gst::State::Null) {
        tracing::error!(path = %path.display(), "the reader does not stop: {error}");
    }
}

fn file_source(path: &Path) -> Result<gst::Element, IngestError> {
    init()?;
    let error = |reason: &dyn std::fmt::Display| IngestError::video(path, reason);
    std::fs::File::open(path).map_err(|e| error(&e))?;
    let location = path.to_string_lossy();
    gst::ElementFactory::make("filesrc").property("location", location.as_ref()).build().map_err(|e| error(&e))
}

/// A key picture and all up to the next one, as they are in the file.
pub(crate) struct EncodedGroup {
    pub(crate) caps: gst::Caps,
    pub(crate) from: i64,
    /// The next key picture's offset; `None` where the file (or what can be read of it) ends before.
    pub(crate) to: Option<i64>,
    pub(crate) pictures: Vec<gst::Buffer>,
}

/// The encoded pictures from the last key picture at or before `offset_ns` up to the next one, in the order of the file.
pub(crate) fn group_around(path: &Path, offset_ns: i64) -> Result<Option<EncodedGroup>, IngestError> {
    let source = file_source(path)?;
    let encoded = Pictures::decode(path, &source, "parsebin name=head ! identity name=tail", ENCODED_WAITING_MAX)?;
    let mut group: Option<EncodedGroup> = None;
    loop {
        let sample = match encoded.next_sample() {
            Ok(Some(sample)) => sample,
            Ok(None) => break,
            // The pictures before a file's broken end can still be shown.
            Err(error) if group.is_some() => {
                tracing::warn!("the rest of a video segment is a gap: {error}");
                break;
            }
            Err(error) => return Err(error),
        };
        let (Some(buffer), Some(offset)) = (sample.buffer_owned(), offset_of(&sample)) else { continue };
        if !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT) {
            if offset > offset_ns {
                if let Some(group) = &mut group {
                    group.to = Some(offset);
                }
                break;
            }
            group = sample.caps_owned().map(|caps| EncodedGroup { caps, from: offset, to: None, pictures: Vec::new() });
        }
        if let Some(group) = &mut group
            && group.pictures.len() < GROUP_PICTURES_MAX
        {
            let mut buffer = buffer;
            buffer.make_mut().set_pts(gst::ClockTime::from_nseconds(offset.unsigned_abs()));
            group.pictures.push(buffer);
        }
    }
    Ok(group)
}

fn next_sample(
    pipeline: &gst::Pipeline,
    sink: &gst_app::AppSink,
    path: &Path,
) -> Result<Option<gst::Sample>, IngestError> {
    let mut waited = gst::ClockTime::ZERO;
    while waited < PICTURE_MAX {
        if let Some(sample) = sink.try_pull_sample(LOOK) {
            return Ok(Some(sample));
        }
        // The pictures before an error have been taken.
        if let Some(error) = first_error(pipeline, path) {
            return Err(error);
        }
        if sink.is_eos() {
            return Ok(None);
        }
        waited += LOOK;
    }
    Err(IngestError::video(path, "no picture came out of it in 10 s; it may hold no video"))
}

fn first_error(pipeline: &gst::Pipeline, path: &Path) -> Option<IngestError> {
    let message = pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
    match message.view() {
        gst::MessageView::Error(message) => Some(IngestError::video(path, message.error())),
        _ => None,
    }
}

pub(crate) fn offset_of(sample: &gst::Sample) -> Option<i64> {
    let pts = sample.buffer()?.pts()?;
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    match segment.to_stream_time_full(pts)? {
        gst::Signed::Positive(time) => i64::try_from(time.nseconds()).ok(),
        gst::Signed::Negative(_) => Some(0),
    }
}

fn picture_of(sample: &gst::Sample) -> Option<(i64, Frame)> {
    let offset = offset_of(sample)?;
    let info = gst_video::VideoInfo::from_caps(sample.caps()?).ok()?;
    let mapped = gst_video::VideoFrameRef::from_buffer_ref_readable(sample.buffer()?, &info).ok()?;
    let view = RgbView {
        bytes: mapped.plane_data(0).ok()?,
        width: mapped.width(),
        height: mapped.height(),
        stride: usize::try_from(mapped.plane_stride()[0]).ok()?,
    };
    let frame = Frame {
        camera: CameraId(0),
        time: UtcNanos(offset),
        width: view.width,
        height: view.height,
        pixels: view.packed(),
    };
    Some((offset, frame))
}
