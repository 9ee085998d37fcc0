//! Takes a camera's decoded pictures out of the pipeline: as the model sees them, and whole for the window.

use std::sync::Arc;

use gst::prelude::*;
use gst_video::prelude::*;
use sightglass_protocol::{CameraId, Frame, Health, HealthState, Roi, UtcNanos, tick::MODEL_PIXELS, time::SECOND};

use crate::{
    decode_ledger::DecodeLedger,
    event::PICTURES_PER_SECOND_MAX,
    health_event,
    inlets::Delivery,
    picture::{RgbView, Scaler},
    rtsp::DeviceClock,
    watch::Watch,
};

/// A picture this much early still counts as due, for cameras whose pace trembles.
const EARLY_NS: i64 = 5_000_000;

/// Where a camera's time lies.
#[derive(Clone, Debug)]
pub(crate) struct StreamTime {
    /// The capture time at the stream's time 0.
    pub(crate) start: UtcNanos,
    pub(crate) from: Option<UtcNanos>,
    pub(crate) to: Option<UtcNanos>,
    /// The clock of a camera that tells its own time, instead of `start`.
    pub(crate) device: Option<Arc<DeviceClock>>,
}

/// How a picture's time lies to what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Before,
    Within(UtcNanos),
    After,
}

impl StreamTime {
    /// That of a camera which tells its own time, without bounds.
    pub(crate) fn of_device(clock: Arc<DeviceClock>) -> Self {
        Self { start: UtcNanos(0), from: None, to: None, device: Some(clock) }
    }

    /// The capture time of a buffer; `None` where it has none.
    pub(crate) fn place(&self, sample: &gst::Sample) -> Option<Wanted> {
        let pts = sample.buffer()?.pts()?;
        let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
        let offset_ns = match segment.to_stream_time_full(pts)? {
            gst::Signed::Positive(time) => i64::try_from(time.nseconds()).ok()?,
            gst::Signed::Negative(time) => -i64::try_from(time.nseconds()).ok()?,
        };
        let time = match &self.device {
            Some(clock) => clock.capture(offset_ns),
            None => self.start + offset_ns,
        };
        Some(if self.from.is_some_and(|from| time < from) {
            Wanted::Before
        } else if self.to.is_some_and(|to| time > to) {
            Wanted::After
        } else {
            Wanted::Within(time)
        })
    }
}

pub(crate) struct PictureTap {
    pub(crate) camera: CameraId,
    pub(crate) camera_name: String,
    pub(crate) roi: Option<Roi>,
    pub(crate) time: StreamTime,
    /// Whether the window wants whole pictures.
    pub(crate) whole: bool,
    /// Whether the feed says by gaps that it has no picture.
    pub(crate) gaps: bool,
}

/// What is worked out once for pictures of one size.
struct Geometry {
    caps: gst::Caps,
    info: gst_video::VideoInfo,
    scaler: Scaler,
}

impl PictureTap {
    /// Lets pictures flow from `sink` to the line. `ledger` knows what went into the decoder, if there is one.
    pub(crate) fn attach(self, sink: &gst_app::AppSink, watch: &Arc<Watch>, ledger: DecodeLedger) {
        let (start, gaps) = (self.time.start, self.gaps);
        let on_event = Arc::clone(watch);
        follow_events(sink, on_event, gaps.then_some(start));
        let on_end = Arc::clone(watch);
        let ledger_at_end = ledger.clone();
        let watch = Arc::clone(watch);
        let mut flow = Flow { tap: self, ledger, geometry: None, next_whole: UtcNanos::MIN };
        sink.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    flow.take(&sample, &watch)
                })
                .eos(move |_| {
                    tell_lost(&on_end, ledger_at_end.lost_at_end());
                    on_end.finish();
                })
                .build(),
        );
    }
}

fn tell_lost(watch: &Watch, pictures: usize) {
    match pictures {
        0 => {}
        1 => watch.trouble("a picture cannot be decoded: it is damaged".to_owned()),
        _ => watch.trouble(format!("{pictures} pictures cannot be decoded: they are damaged")),
    }
}

/// Takes what comes between the buffers: health, and where `gaps_from` is given the times up to which there is nothing.
pub(crate) fn follow_events(sink: &gst_app::AppSink, watch: Arc<Watch>, gaps_from: Option<UtcNanos>) {
    let Some(pad) = sink.static_pad("sink") else { return };
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        let Some(event) = info.event() else { return gst::PadProbeReturn::Ok };
        match event.view() {
            gst::EventView::Gap(gap) => {
                if let Some(start) = gaps_from {
                    let (timestamp, _) = gap.get();
                    watch.advance(start + i64::try_from(timestamp.nseconds()).unwrap_or(i64::MAX));
                }
                gst::PadProbeReturn::Handled
            }
            gst::EventView::CustomDownstream(_) => match health_event::read(event) {
                Some(health) => {
                    // An error says that the line is being stopped; the next buffer's flow return tells the source so.
                    let _stopping = watch.tell(health);
                    gst::PadProbeReturn::Handled
                }
                None => gst::PadProbeReturn::Ok,
            },
            _ => gst::PadProbeReturn::Ok,
        }
    });
}

struct Flow {
    tap: PictureTap,
    ledger: DecodeLedger,
    geometry: Option<Geometry>,
    next_whole: UtcNanos,
}

impl Flow {
    fn take(&mut self, sample: &gst::Sample, watch: &Watch) -> Result<gst::FlowSuccess, gst::FlowError> {
        if let Some(pts) = sample.buffer().and_then(gst::BufferRef::pts) {
            tell_lost(watch, self.ledger.lost_before(pts));
        }
        let time = match self.tap.time.place(sample) {
            Some(Wanted::Within(time)) => time,
            Some(Wanted::Before) => return Ok(gst::FlowSuccess::Ok),
            Some(Wanted::After) => {
                watch.cut();
                return Err(gst::FlowError::Eos);
            }
            None => {
                watch.trouble("a picture without a time is left out".to_owned());
                return Ok(gst::FlowSuccess::Ok);
            }
        };
        match self.picture(sample, time, watch) {
            Ok(delivery) => {
                watch.deliver(time, delivery).map(|()| gst::FlowSuccess::Ok).map_err(|_| gst::FlowError::Eos)
            }
            Err(reason) => {
                watch.trouble(format!("a picture cannot be used: {reason}"));
                Ok(gst::FlowSuccess::Ok)
            }
        }
    }

    fn picture(&mut self, sample: &gst::Sample, time: UtcNanos, watch: &Watch) -> Result<Delivery, String> {
        let caps = sample.caps_owned().ok_or("it has no caps")?;
        if self.geometry.as_ref().is_none_or(|geometry| geometry.caps != caps) {
            self.geometry = Some(self.tap.geometry(caps, time, watch)?);
        }
        let geometry = self.geometry.as_mut().ok_or("it has no size")?;
        let buffer = sample.buffer().ok_or("it has no data")?;
        let mapped =
            gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &geometry.info).map_err(|e| e.to_string())?;
        let view = RgbView {
            bytes: mapped.plane_data(0).map_err(|e| e.to_string())?,
            width: mapped.width(),
            height: mapped.height(),
            stride: usize::try_from(mapped.plane_stride()[0]).map_err(|e| e.to_string())?,
        };
        let camera = self.tap.camera;
        let model =
            Frame { camera, time, width: MODEL_PIXELS, height: MODEL_PIXELS, pixels: geometry.scaler.scale(&view) };
        let is_due = self.tap.whole && time + EARLY_NS >= self.next_whole;
        let whole = is_due.then(|| {
            const PERIOD_NS: i64 = SECOND / PICTURES_PER_SECOND_MAX;
            self.next_whole = if self.next_whole == UtcNanos::MIN {
                time + PERIOD_NS
            } else {
                (self.next_whole + PERIOD_NS).max(time + PERIOD_NS / 2)
            };
            Frame { camera, time, width: view.width, height: view.height, pixels: view.packed() }
        });
        Ok(Delivery::Picture { model, size: (view.width, view.height), whole })
    }
}

impl PictureTap {
    fn geometry(&self, caps: gst::Caps, time: UtcNanos, watch: &Watch) -> Result<Geometry, String> {
        let info = gst_video::VideoInfo::from_caps(&caps).map_err(|e| e.to_string())?;
        let (roi, is_whole_roi) = Scaler::clip(self.roi, info.width(), info.height());
        if let (false, Some(wanted)) = (is_whole_roi, self.roi) {
            let reason = format!(
                "the region of interest ({}, {}, {} x {}) is not within the camera's {} x {} pixels; \
                 the model sees ({}, {}, {} x {}). Correct `roi` in the plant file",
                wanted.x,
                wanted.y,
                wanted.width,
                wanted.height,
                info.width(),
                info.height(),
                roi.x,
                roi.y,
                roi.width,
                roi.height
            );
            let state = HealthState::OutOfSpecification;
            let health = Health { subject: None, source: self.camera_name.clone(), state, since: time, reason };
            watch.tell(health).map_err(|_| "the line is being stopped")?;
        }
        let scaler =
            Scaler::new(roi).ok_or_else(|| format!("a region of {} x {} is too large", roi.width, roi.height))?;
        Ok(Geometry { caps, info, scaler })
    }
}
