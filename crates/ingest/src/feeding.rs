//! The thread that puts an in-process feed into the pipeline: samples and each camera's pictures on sources of their own.
//!
//! The feed is in time order as a whole, so what it gives at one time says of every other pad that it has nothing before
//! that time. A gap event tells them so; without it, the merge would wait for a camera that has no pictures.

use std::{collections::BTreeMap, sync::Arc};

use gst::prelude::*;
use sightglass_protocol::{CameraId, Frame, Sample, UtcNanos};

use crate::{Feed, FeedItem, payload};

pub(crate) struct Feeding {
    pub(crate) feed: Box<dyn Feed>,
    /// What the feed has already given, to learn when it begins.
    pub(crate) first: Option<FeedItem>,
    /// Capture time at PTS 0.
    pub(crate) base: UtcNanos,
    pub(crate) from: Option<UtcNanos>,
    pub(crate) to: Option<UtcNanos>,
    pub(crate) samples: Option<gst_app::AppSrc>,
    pub(crate) cameras: BTreeMap<CameraId, CameraPad>,
}

pub(crate) struct CameraPad {
    source: gst_app::AppSrc,
    fps: gst::Fraction,
    size: Option<(u32, u32)>,
}

impl CameraPad {
    pub(crate) fn new(source: gst_app::AppSrc, fps: f64) -> Self {
        let fps = gst::Fraction::approximate_f64(fps).unwrap_or_else(|| gst::Fraction::new(0, 1));
        Self { source, fps, size: None }
    }
}

/// The capture time of an item: that of its first sample, or of its picture; `None` for no samples.
pub(crate) fn time_of(item: &FeedItem) -> Option<UtcNanos> {
    match item {
        FeedItem::Samples(samples) => samples.iter().map(|sample| sample.time).min(),
        FeedItem::Frame(frame) => Some(frame.time),
    }
}

/// The pipeline takes no more: it is being stopped.
struct Refused;

impl Feeding {
    /// Runs until the feed ends or the pipeline takes no more.
    pub(crate) fn run(mut self) {
        let mut told_stray = false;
        while let Some(item) = self.first.take().or_else(|| self.feed.next()) {
            let Some(time) = time_of(&item) else { continue };
            if self.from.is_some_and(|from| time < from) {
                continue;
            }
            if self.to.is_some_and(|to| time > to) {
                break;
            }
            let pushed = match item {
                FeedItem::Samples(samples) => self.push_samples(time, &samples),
                FeedItem::Frame(frame) => self.push_frame(frame, &mut told_stray),
            };
            if pushed.is_err() {
                return;
            }
        }
        for source in self.samples.iter().chain(self.cameras.values().map(|camera| &camera.source)) {
            if let Err(flow) = source.end_of_stream() {
                tracing::debug!("the feed's end is not taken: {flow}");
            }
        }
    }

    fn push_samples(&self, time: UtcNanos, samples: &[Sample]) -> Result<(), Refused> {
        let pts = self.pts(time);
        for camera in self.cameras.values() {
            tell_gap(&camera.source, pts);
        }
        let Some(source) = &self.samples else { return Ok(()) };
        let mut buffer = gst::Buffer::from_mut_slice(payload::encode(samples));
        buffer.make_mut().set_pts(pts);
        source.push_buffer(buffer).map(|_| ()).map_err(|_| Refused)
    }

    fn push_frame(&mut self, frame: Frame, told_stray: &mut bool) -> Result<(), Refused> {
        let pts = self.pts(frame.time);
        for (_, camera) in self.cameras.iter().filter(|(id, _)| **id != frame.camera) {
            tell_gap(&camera.source, pts);
        }
        if let Some(samples) = &self.samples {
            tell_gap(samples, pts);
        }
        let Some(camera) = self.cameras.get_mut(&frame.camera) else {
            if !std::mem::replace(told_stray, true) {
                tracing::error!(camera = frame.camera.0, "the feed gives pictures of a camera that it does not serve");
            }
            return Ok(());
        };
        if camera.size != Some((frame.width, frame.height)) {
            camera.size = Some((frame.width, frame.height));
            camera.source.set_caps(Some(&rgb_caps(frame.width, frame.height, camera.fps)));
        }
        let Some(mut buffer) = rgb_buffer(&frame) else {
            tracing::error!(
                camera = frame.camera.0,
                "a picture of {} bytes is not {} x {}",
                frame.pixels.len(),
                frame.width,
                frame.height
            );
            return Ok(());
        };
        buffer.make_mut().set_pts(pts);
        camera.source.push_buffer(buffer).map(|_| ()).map_err(|_| Refused)
    }

    fn pts(&self, time: UtcNanos) -> gst::ClockTime {
        gst::ClockTime::from_nseconds(u64::try_from(time.since(self.base)).unwrap_or(0))
    }
}

fn tell_gap(source: &gst_app::AppSrc, pts: gst::ClockTime) {
    // Refused only when stopping, which the next buffer tells.
    let _stopping = source.send_event(gst::event::Gap::new(pts, gst::ClockTime::NONE));
}

/// The caps of raw RGB pictures.
pub(crate) fn rgb_caps(width: u32, height: u32, fps: gst::Fraction) -> gst::Caps {
    let side = |pixels: u32| i32::try_from(pixels).unwrap_or(i32::MAX);
    gst::Caps::builder("video/x-raw")
        .field("format", "RGB")
        .field("width", side(width))
        .field("height", side(height))
        .field("framerate", fps)
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
        .build()
}

/// A picture as a buffer, without copying it where GStreamer's rows are as long. `None` when the pixels do not fit the
/// size.
pub(crate) fn rgb_buffer(frame: &Frame) -> Option<gst::Buffer> {
    let row_bytes = frame.width as usize * 3;
    if row_bytes == 0 || frame.pixels.len() != row_bytes * frame.height as usize {
        return None;
    }
    if row_bytes.is_multiple_of(4) {
        struct Shared(Arc<[u8]>);
        impl AsRef<[u8]> for Shared {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        return Some(gst::Buffer::from_slice(Shared(Arc::clone(&frame.pixels))));
    }
    let padding = [0; 3];
    let mut padded = Vec::with_capacity((row_bytes + 3) * frame.height as usize);
    for row in frame.pixels.chunks_exact(row_bytes) {
        padded.extend_from_slice(row);
        padded.extend_from_slice(&padding[..row_bytes.next_multiple_of(4) - row_bytes]);
    }
    Some(gst::Buffer::from_mut_slice(padded))
}
