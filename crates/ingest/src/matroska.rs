//! Writing one Matroska file through GStreamer.
//!
//! A small pipeline of its own (`appsrc ! matroskamux ! filesink`) a file, so that each file's time begins at exactly 0
//! and a file is whole once it is closed, whatever the line does.

use std::path::{Path, PathBuf};

use gst::prelude::*;

use crate::{IngestError, elements::make};

/// Times in a file are kept to this many nanoseconds. A cluster's own times are 16 bits, so that a cluster can be at most
/// 3.2 s long.
pub(crate) const TIME_SCALE_NS: i64 = 100_000;
/// A new cluster at least this often: what a killed writer loses.
const CLUSTER_NS: i64 = 1_000_000_000;
/// Bytes that wait for the disk.
const QUEUED_BYTES_MAX: u64 = 16 << 20;
/// How long the disk may take to close a file.
const CLOSE_MAX: gst::ClockTime = gst::ClockTime::from_seconds(30);

/// Whether a file is written from front to end only, or gets its duration and index when it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Readable at any moment, also when its writer was killed.
    Streamed,
    /// Whole only when closed.
    Indexed,
}

pub(crate) struct MatroskaWriter {
    path: PathBuf,
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
}

impl MatroskaWriter {
    /// Begins the file at `path`, whose pictures come as `caps`, through `encoder` (a launch line; empty: as they come).
    pub(crate) fn create(path: &Path, caps: &gst::Caps, encoder: &str, layout: Layout) -> Result<Self, IngestError> {
        let error = |reason: &dyn std::fmt::Display| IngestError::video(path, reason);
        let source = gst_app::AppSrc::builder()
            .caps(caps)
            .format(gst::Format::Time)
            .stream_type(gst_app::AppStreamType::Stream)
            .max_bytes(QUEUED_BYTES_MAX)
            .block(true)
            .build();
        let mux = make("matroskamux")?;
        mux.set_property("streamable", layout == Layout::Streamed);
        mux.set_property("timecodescale", TIME_SCALE_NS);
        mux.set_property("min-cluster-duration", CLUSTER_NS);
        mux.set_property("max-cluster-duration", CLUSTER_NS);
        mux.set_property("writing-app", "Sightglass");
        let sink = make("filesink")?;
        sink.set_property("location", path.to_string_lossy().as_ref());
        sink.set_property("sync", false);
        sink.set_property("async", false);
        // Every block reaches the operating system at once: what is written survives the death of this process.
        sink.set_property_from_str("buffer-mode", "unbuffered");
        let pipeline = gst::Pipeline::new();
        pipeline.add_many([source.upcast_ref(), &mux, &sink]).map_err(|e| error(&e))?;
        mux.link(&sink).map_err(|e| error(&e))?;
        if encoder.is_empty() {
            source.link(&mux).map_err(|e| error(&e))?;
        } else {
            let encoder = gst::parse::bin_from_description(encoder, true).map_err(|e| error(&e))?;
            pipeline.add(&encoder).map_err(|e| error(&e))?;
            gst::Element::link_many([source.upcast_ref(), encoder.upcast_ref(), &mux]).map_err(|e| error(&e))?;
        }
        let writer = Self { path: path.to_owned(), pipeline, source };
        match writer.pipeline.set_state(gst::State::Playing) {
            Ok(_) => Ok(writer),
            Err(state) => Err(writer.first_error().unwrap_or_else(|| error(&state))),
        }
    }

    /// Hands over a picture whose PTS counts from the file's beginning.
    pub(crate) fn push(&self, buffer: gst::Buffer) -> Result<(), IngestError> {
        if let Some(error) = self.first_error() {
            return Err(error);
        }
        let pushed = self.source.push_buffer(buffer);
        pushed.map(|_| ()).map_err(|flow| self.first_error().unwrap_or_else(|| IngestError::video(&self.path, flow)))
    }

    /// Writes what is left and closes the file. Gives its size in bytes.
    pub(crate) fn close(self) -> Result<u64, IngestError> {
        let error = |reason: &dyn std::fmt::Display| IngestError::video(&self.path, reason);
        if let Some(failed) = self.first_error() {
            return Err(failed);
        }
        self.source.end_of_stream().map_err(|flow| error(&flow))?;
        let bus = self.pipeline.bus().ok_or_else(|| error(&"the writer has no bus"))?;
        let last = bus.timed_pop_filtered(CLOSE_MAX, &[gst::MessageType::Eos, gst::MessageType::Error]);
        match last.as_deref().map(gst::MessageRef::view) {
            Some(gst::MessageView::Eos(_)) => {}
            Some(gst::MessageView::Error(message)) => return Err(error(&message.error())),
            _ => return Err(error(&"the disk did not take the end of the file in 30 s; look at the disk")),
        }
        self.pipeline.set_state(gst::State::Null).map_err(|state| error(&state))?;
        Ok(std::fs::metadata(&self.path).map_err(|e| error(&e))?.len())
    }

    fn first_error(&self) -> Option<IngestError> {
        let message = self.pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
        match message.view() {
            gst::MessageView::Error(message) => Some(IngestError::video(&self.path, message.error())),
            _ => None,
        }
    }
}

impl Drop for MatroskaWriter {
    fn drop(&mut self) {
        if let Err(error) = self.pipeline.set_state(gst::State::Null) {
            tracing::error!(path = %self.path.display(), "the writer does not stop: {error}");
        }
    }
}
