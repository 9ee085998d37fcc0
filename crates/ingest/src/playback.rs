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

/// Pictures that may stand between two that follow each other in time (H.264 and H.265 reorder at most so many).
const REORDERED_MAX: usize = 16;
/// How long one picture may take.
const PICTURE_MAX: gst::ClockTime = gst::ClockTime::from_seconds(10);
/// How often a wait looks for errors.
const LOOK: gst::ClockTime = gst::ClockTime::from_mseconds(50);

/// The newest picture at or before `offset_ns` from the file's beginning, and its own offset; `None` where the file
/// begins later. Only the pictures since the last key picture are decoded.
///
/// # Errors
/// When the file cannot be opened or holds no video that this PC can decode.
pub fn picture_at(path: &Path, offset_ns: i64) -> Result<Option<(Frame, i64)>, IngestError> {
    let Some((caps, group)) = group_around(path, offset_ns)? else { return Ok(None) };
    let source = gst_app::AppSrc::builder()
        .caps(&caps)
        .format(gst::Format::Time)
        .stream_type(gst_app::AppStreamType::Stream)
        .max_bytes(0)
        .build();
    let mut decoded = Pictures::decode(path, source.upcast_ref(), DECODE)?;
    for buffer in group {
        source.push_buffer(buffer).map_err(|flow| IngestError::video(path, flow))?;
    }
    source.end_of_stream().map_err(|flow| IngestError::video(path, flow))?;
    let mut newest = None;
    for (offset, frame) in decoded.by_ref() {
        if offset > offset_ns {
            break;
        }
        newest = Some((frame, offset));
    }
    match decoded.error.take() {
        Some(error) if newest.is_none() => Err(error),
        _ => Ok(newest),
    }
}

/// All pictures of a file in order, each with its offset from the file's beginning.
///
/// # Errors
/// When the file cannot be opened.
pub fn pictures(path: &Path) -> Result<Pictures, IngestError> {
    let source = file_source(path)?;
    Pictures::decode(path, &source, DECODE)
}

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

    fn decode(path: &Path, source: &gst::Element, line: &str) -> Result<Self, IngestError> {
        init()?;
        let error = |reason: &dyn std::fmt::Display| IngestError::video(path, reason);
        let branch = branch(line).map_err(|e| error(&e))?;
        let sink = app_sink("pictures");
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

/// The encoded pictures from the last key picture at or before `offset_ns` up to that time, in the order of the file.
fn group_around(path: &Path, offset_ns: i64) -> Result<Option<(gst::Caps, Vec<gst::Buffer>)>, IngestError> {
    let source = file_source(path)?;
    let encoded = Pictures::decode(path, &source, "parsebin name=head ! identity name=tail")?;
    let mut caps = None;
    let mut group = Vec::new();
    let mut later = 0;
    while later <= REORDERED_MAX {
        let sample = match next_sample(&encoded.pipeline, &encoded.sink, path) {
            Ok(Some(sample)) => sample,
            Ok(None) => break,
            // The pictures before a file's broken end can still be shown.
            Err(_) if !group.is_empty() => break,
            Err(error) => return Err(error),
        };
        let (Some(buffer), Some(offset)) = (sample.buffer_owned(), offset_of(&sample)) else { continue };
        let is_key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        if offset > offset_ns {
            if is_key {
                break;
            }
            later += 1;
        } else if is_key {
            group.clear();
            later = 0;
            caps = sample.caps_owned();
        }
        if caps.is_some() {
            let mut buffer = buffer;
            buffer.make_mut().set_pts(gst::ClockTime::from_nseconds(offset.unsigned_abs()));
            group.push(buffer);
        }
    }
    Ok(caps.map(|caps| (caps, group)))
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

fn offset_of(sample: &gst::Sample) -> Option<i64> {
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
