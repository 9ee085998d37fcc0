//! One camera in the line's pipeline.
//!
//! ```text
//! source ─► parsebin ─► tee ─┬─► queue ─► [decodebin] ─► RGB ─► what the model sees, whole pictures
//!                            └─► queue ─► [jpegenc]   ─► recorder
//! ```
//!
//! An encoded stream is recorded as it is sent; a raw one as JPEG, while the model sees it as it came.

use std::{path::Path, sync::Arc};

use gst::{glib, prelude::*};
use sightglass_plant::{Camera, CameraFeed};
use sightglass_protocol::UtcNanos;

use crate::{
    IngestError,
    decode_ledger::DecodeLedger,
    elements::{app_sink, branch, make},
    picture_tap::PictureTap,
    record_tap::RecordTap,
    watch::Watch,
};

/// Pictures between a camera and its decoder, or its recorder.
const QUEUE_PICTURES: u32 = 4;
/// JPEG for cameras that send raw pictures. JPEG's colours are BT.601 over the full range (colorimetry 1:4:0:0), which
/// the encoder takes for granted and does not ask for.
pub(crate) const JPEG_ENCODER: &str =
    "videoconvert n-threads=1 ! video/x-raw,format=I420,colorimetry=1:4:0:0 ! jpegenc quality=85";

/// A camera that is not yet part of a pipeline.
pub(crate) struct CameraParts {
    pub(crate) bin: gst::Bin,
    /// Where an in-process feed puts this camera's pictures.
    pub(crate) feed: Option<gst_app::AppSrc>,
    /// Whether it reads a recorded file.
    pub(crate) is_file: bool,
}

/// What takes a camera's pictures.
pub(crate) struct CameraTaps {
    pub(crate) pictures: PictureTap,
    pub(crate) record: Option<RecordTap>,
}

/// Builds the camera's part of the pipeline.
pub(crate) fn build(
    name: &str,
    camera: &Camera,
    start: UtcNanos,
    watch: &Arc<Watch>,
    taps: CameraTaps,
) -> Result<CameraParts, IngestError> {
    let bin = gst::Bin::with_name(name);
    let error = |reason: &dyn std::fmt::Display| IngestError::camera(&camera.name, reason);
    let mut is_file = false;
    match &camera.feed {
        CameraFeed::Simulator | CameraFeed::Clips(_) => {
            let source = gst_app::AppSrc::builder()
                .format(gst::Format::Time)
                .stream_type(gst_app::AppStreamType::Stream)
                .max_buffers(u64::from(QUEUE_PICTURES))
                .max_bytes(0)
                .block(true)
                .build();
            bin.add(&source).map_err(|e| error(&e))?;
            let pad = source.static_pad("src").ok_or_else(|| error(&"appsrc has no pad"))?;
            link_branches(&bin, &pad, true, watch, taps).map_err(|e| error(&e))?;
            return Ok(CameraParts { bin, feed: Some(source), is_file: false });
        }
        CameraFeed::Launch(line) => {
            // A launch line may end with caps, which are no element.
            let source = gst::parse::bin_from_description(&format!("{line} ! identity"), true)
                .map_err(|e| error(&format!("the launch line '{line}' is wrong: {e}")))?;
            if source.static_pad("src").is_none() {
                return Err(error(&format!(
                    "the launch line '{line}' has no free source pad at its end; it must end with a source of video"
                )));
            }
            let parser = make("parsebin")?;
            bin.add_many([source.upcast_ref(), &parser]).map_err(|e| error(&e))?;
            source.link(&parser).map_err(|e| error(&e))?;
            follow_parser(&bin, &parser, camera, start, watch, taps);
        }
        CameraFeed::Uri(uri) => {
            let parser = make("parsebin")?;
            bin.add(&parser).map_err(|e| error(&e))?;
            if let Some(path) = local_path(uri).map_err(|e| error(&e))? {
                std::fs::File::open(&path).map_err(|e| {
                    error(&format!("cannot open {}: {e}; check the camera's uri in the plant file", path.display()))
                })?;
                is_file = true;
                let source = make("filesrc")?;
                source.set_property("location", path.to_string_lossy().as_ref());
                bin.add(&source).map_err(|e| error(&e))?;
                source.link(&parser).map_err(|e| error(&e))?;
            } else {
                let source = make("urisourcebin")?;
                source.set_property("uri", uri);
                bin.add(&source).map_err(|e| error(&e))?;
                link_when_there(&source, &parser, watch);
            }
            follow_parser(&bin, &parser, camera, start, watch, taps);
        }
        CameraFeed::Rtsp(_) => return Err(error(&"it is connected by a thread of its own")),
    }
    Ok(CameraParts { bin, feed: None, is_file })
}

/// Builds the part of a camera from `source`, which speaks RTSP.
pub(crate) fn build_rtsp(
    camera: &Camera,
    source: &gst::Element,
    watch: &Arc<Watch>,
    taps: CameraTaps,
) -> Result<gst::Bin, IngestError> {
    let bin = gst::Bin::new();
    let error = |reason: &dyn std::fmt::Display| IngestError::camera(&camera.name, reason);
    let parser = make("parsebin")?;
    bin.add_many([source, &parser]).map_err(|e| error(&e))?;
    link_when_there(source, &parser, watch);
    follow_parser(&bin, &parser, camera, UtcNanos(0), watch, taps);
    Ok(bin)
}

/// Links the first stream of `source` to `parser`, once it is there.
fn link_when_there(source: &gst::Element, parser: &gst::Element, watch: &Arc<Watch>) {
    let parser = parser.clone();
    let watch = Arc::clone(watch);
    source.connect_pad_added(move |_, pad| {
        let Some(sink) = parser.static_pad("sink").filter(|sink| !sink.is_linked()) else { return };
        if let Err(error) = pad.link(&sink) {
            watch.fail(format!("its stream cannot be read: {error}"));
        }
    });
}

/// Whether the camera is recorded data, which begins at a time of its own.
fn local_path(uri: &str) -> Result<Option<std::path::PathBuf>, String> {
    if uri.starts_with("file:") {
        let (path, _) = glib::filename_from_uri(uri).map_err(|e| format!("'{uri}' names no file: {e}"))?;
        return Ok(Some(path));
    }
    let has_scheme = uri.split_once("://").is_some_and(|(scheme, _)| scheme.bytes().all(|b| b.is_ascii_alphanumeric()));
    Ok((!has_scheme).then(|| Path::new(uri).to_owned()))
}

/// Links the first video that the parser finds, once it does.
fn follow_parser(
    bin: &gst::Bin,
    parser: &gst::Element,
    camera: &Camera,
    start: UtcNanos,
    watch: &Arc<Watch>,
    taps: CameraTaps,
) {
    let taps = std::sync::Mutex::new(Some(taps));
    let bin = bin.downgrade();
    let frame_ns = (1e9 / camera.fps.max(0.1)) as i64;
    let added = Arc::clone(watch);
    parser.connect_pad_added(move |_, pad| {
        let caps = caps_of(pad);
        let media = caps.structure(0).map(|structure| structure.name().to_string()).unwrap_or_default();
        if !media.starts_with("video/") && !media.starts_with("image/") {
            return;
        }
        let Some(bin) = bin.upgrade() else { return };
        let Some(taps) = taps.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() else { return };
        if let Some(duration) = pad.query_duration::<gst::ClockTime>() {
            // A header's duration includes the last picture's own, and is rounded.
            added.promise(start + i64::try_from(duration.nseconds()).unwrap_or(i64::MAX) - frame_ns * 3 / 2);
        }
        if let Err(error) = link_branches(&bin, pad, media == "video/x-raw", &added, taps) {
            added.fail(format!("its stream of {media} cannot be used: {error}"));
        }
    });
    let ended = Arc::clone(watch);
    parser.connect("drained", false, move |_| {
        ended.fail_unless_linked("it holds no video; check the camera's uri or launch line");
        None
    });
}

fn link_branches(
    bin: &gst::Bin,
    pad: &gst::Pad,
    raw: bool,
    watch: &Arc<Watch>,
    taps: CameraTaps,
) -> Result<(), IngestError> {
    let error = |reason: &dyn std::fmt::Display| IngestError::camera(bin.name().as_str(), reason);
    watch.set_media(media_of(pad));
    let tee = make("tee")?;
    bin.add(&tee).map_err(|e| error(&e))?;
    let queue = format!("queue name=head max-size-buffers={QUEUE_PICTURES} max-size-bytes=0 max-size-time=0");
    let decode = if raw { "" } else { "decodebin ! " };
    let pictures =
        format!("{queue} ! {decode}videoconvert n-threads=1 ! capsfilter name=tail caps=video/x-raw,format=RGB");
    let sink = app_sink("pictures");
    let ledger = DecodeLedger::default();
    taps.pictures.attach(&sink, watch, ledger.clone());
    let pictures = add_branch(bin, &tee, &pictures, &sink)?;
    if let Some(queue) = pictures.by_name("head").and_then(|queue| queue.static_pad("src")).filter(|_| !raw) {
        ledger.follow(&queue);
    }
    if let Some(record) = taps.record {
        let caps = caps_of(pad);
        let media = caps.structure(0).map(|structure| structure.name().to_string()).unwrap_or_default();
        let keep = match media.as_str() {
            _ if raw => format!("{queue} ! {JPEG_ENCODER} name=tail"),
            // Matroska keeps these with lengths instead of start codes; the pictures' bytes stay as sent.
            "video/x-h264" => {
                format!("{queue} ! h264parse ! capsfilter name=tail caps=video/x-h264,stream-format=avc,alignment=au")
            }
            "video/x-h265" => {
                format!("{queue} ! h265parse ! capsfilter name=tail caps=video/x-h265,stream-format=hvc1,alignment=au")
            }
            _ => format!("{queue} ! identity name=tail"),
        };
        let sink = app_sink("record");
        record.attach(&sink);
        add_branch(bin, &tee, &keep, &sink)?;
    }
    watch.set_linked();
    tee.sync_state_with_parent().map_err(|e| error(&e))?;
    let sink_pad = tee.static_pad("sink").ok_or_else(|| error(&"tee has no pad"))?;
    pad.link(&sink_pad).map_err(|e| error(&e))?;
    Ok(())
}

/// What comes from a pad, or could.
fn caps_of(pad: &gst::Pad) -> gst::Caps {
    pad.current_caps().unwrap_or_else(|| pad.query_caps(None))
}

/// What comes from a pad, in words: codec and size.
fn media_of(pad: &gst::Pad) -> String {
    let caps = caps_of(pad);
    let Some(structure) = caps.structure(0) else { return "an unknown codec".to_owned() };
    let codec = match structure.name().as_str() {
        "video/x-h264" => "H.264",
        "video/x-h265" => "H.265",
        "image/jpeg" => "JPEG",
        "video/x-raw" => "raw pictures",
        other => other.split('/').next_back().unwrap_or(other),
    };
    match (structure.get::<i32>("width"), structure.get::<i32>("height")) {
        (Ok(width), Ok(height)) => format!("{codec}, {width} x {height}"),
        _ => codec.to_owned(),
    }
}

fn add_branch(
    bin: &gst::Bin,
    tee: &gst::Element,
    line: &str,
    sink: &gst_app::AppSink,
) -> Result<gst::Bin, IngestError> {
    let error = |reason: &dyn std::fmt::Display| IngestError::camera(bin.name().as_str(), reason);
    let branch = branch(line).map_err(|e| error(&e))?;
    bin.add_many([branch.upcast_ref::<gst::Element>(), sink.upcast_ref()]).map_err(|e| error(&e))?;
    gst::Element::link_many([tee, branch.upcast_ref(), sink.upcast_ref()]).map_err(|e| error(&e))?;
    sink.sync_state_with_parent().map_err(|e| error(&e))?;
    branch.sync_state_with_parent().map_err(|e| error(&e))?;
    Ok(branch)
}
