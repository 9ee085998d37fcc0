//! What a line sees and measures, brought into one clock.
//!
//! A line is one GStreamer pipeline ([`LinePipeline`]). Its cameras are GStreamer sources as they are; its samples come
//! through source elements of our own ([`samplefilesrc`], [`modbussrc`], [`mqttsrc`], [`opcuasrc`]) as buffers of [`payload`]; a [`Feed`] puts the simulated line or
//! the history into the same pipeline. One thread takes all of it in the order of capture time, paces it by the
//! pipeline's clock, and lets the [`aligner`] make one tick of it at a time. Beside that, each camera's video is kept as
//! it was sent, in segments that [`playback`] reads. Time comes with the data; the wall clock is read only where a live
//! source has to say when something arrived.

pub mod aligner;
mod camera;
pub mod capture;
mod clips;
mod decode_ledger;
mod elements;
mod error;
mod event;
mod feeding;
pub mod health;
mod health_event;
mod inlets;
pub mod key_store;
mod line;
mod live;
mod matroska;
mod merge;
pub mod modbussrc;
pub mod mqttsrc;
pub mod opcuasrc;
mod pacer;
pub mod payload;
mod picture;
mod picture_tap;
pub mod playback;
pub mod player;
mod properties;
mod record_tap;
mod recorder;
mod rtsp;
mod samplefile;
pub mod samplefilesrc;
pub mod secret;
mod watch;

pub use clips::{Clip, ClipTrack};
pub use elements::init;
pub use error::IngestError;
pub use event::{
    EVENTS_MAX, Feed, FeedItem, IngestEvent, PICTURES_PER_SECOND_MAX, Pace, PipelineOptions, RecordOptions,
};
pub use line::LinePipeline;
pub use samplefile::TROUBLES_PER_FILE_MAX;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), gst::glib::BoolError> {
    samplefilesrc::register(Some(plugin))?;
    modbussrc::register(Some(plugin))?;
    mqttsrc::register(Some(plugin))?;
    opcuasrc::register(Some(plugin))
}

gst::plugin_define!(
    sightglass_ingest,
    "Samples of tags as GStreamer streams",
    plugin_init,
    env!("CARGO_PKG_VERSION"),
    "MIT/X11",
    "sightglass",
    "sightglass",
    "sightglass"
);
