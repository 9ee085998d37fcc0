//! One connection to a camera, from its opening to its end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gst::{glib, prelude::*};
use sightglass_protocol::time::SECOND;

use super::{
    LOOK, Stop, Subject,
    device_clock::{DeviceClock, sender_report},
};
use crate::{IngestError, camera, elements::make, line::error_text, live::now};

/// How long a camera may take to be reached, in microseconds.
const REACH_US_MAX: u64 = 5_000_000;
/// How long it is waited for the camera to take note of the end, in nanoseconds.
const TEARDOWN_NS_MAX: u64 = 300_000_000;
/// Without a picture for so long, or for so many of its periods, a connection is given up.
const STALL_MIN: Duration = Duration::from_secs(5);
const STALL_PERIODS: f64 = 20.0;
/// Without a picture for so long, the line goes on.
const LATE: Duration = Duration::from_secs(1);
/// After so long it is told where capture times come from, also where the camera reports none.
const CLOCK_TOLD_AFTER: Duration = Duration::from_secs(12);

/// Why a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The line stops.
    Stopped,
    /// It failed, for a reason with what to do.
    Failed(String),
    /// The camera refuses the user; asking again soon may lock it out.
    Refused(String),
}

pub(super) struct Session<'a> {
    subject: &'a Subject,
    pipeline: gst::Pipeline,
    clock: Arc<DeviceClock>,
}

impl<'a> Session<'a> {
    /// Builds everything from the camera to model and recorder, and starts it.
    pub(super) fn open(subject: &'a Subject) -> Result<Self, IngestError> {
        let pipeline = gst::Pipeline::new();
        let system = gst::SystemClock::obtain();
        pipeline.use_clock(Some(&system));
        // Fixed before anything runs, so that the time of day at the pipeline's time 0 is known.
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(system.time());
        let clock = Arc::new(DeviceClock::new(now()));
        // What an earlier connection failed of, beside what ended it, is not this one's.
        let _of_another = subject.watch.take_failure();
        let source = source(subject, &clock)?;
        let taps = subject.taps(&clock);
        let bin = camera::build_rtsp(&subject.camera, &source, &subject.watch, taps)?;
        let error = |reason: &dyn std::fmt::Display| IngestError::camera(&subject.camera.name, reason);
        pipeline.add(&bin).map_err(|e| error(&e))?;
        let session = Self { subject, pipeline, clock };
        session.pipeline.set_state(gst::State::Playing).map_err(|e| error(&e))?;
        Ok(session)
    }

    /// Follows the connection to its end. `on_picture` is called once, when the first picture has come, and `on_clock`
    /// once, when it is known where capture times come from.
    pub(super) fn follow(self, stop: &Stop, mut on_picture: impl FnMut(), mut on_clock: impl FnMut(String)) -> End {
        let watch = &self.subject.watch;
        let stall = STALL_MIN.max(Duration::from_secs_f64(STALL_PERIODS / self.subject.camera.fps.max(0.1)));
        let began = Instant::now();
        let (mut seen, mut last, mut told) = (watch.deliveries(), Instant::now(), false);
        let first = seen;
        let Some(bus) = self.pipeline.bus() else { return End::Failed("its pipeline has no bus".to_owned()) };
        loop {
            if stop.is_set() {
                return End::Stopped;
            }
            let wait = gst::ClockTime::try_from(LOOK).unwrap_or(gst::ClockTime::SECOND);
            if let Some(message) = bus.timed_pop(wait)
                && let Some(end) = self.read(&message)
            {
                return end;
            }
            if let Some(reason) = watch.take_failure() {
                return End::Failed(reason);
            }
            let deliveries = watch.deliveries();
            if deliveries > seen {
                if seen == first {
                    on_picture();
                }
                (seen, last) = (deliveries, Instant::now());
            }
            if !told && seen > first && (self.clock.is_known() || began.elapsed() > CLOCK_TOLD_AFTER) {
                told = true;
                on_clock(format!("{}; {}", watch.media(), self.clock.describe()));
            }
            if seen == first || last.elapsed() > LATE {
                self.subject.let_pass();
            }
            if last.elapsed() > stall {
                let seconds = stall.as_secs();
                return End::Failed(format!("has sent no picture for {seconds} s; check its power and its network"));
            }
        }
    }

    fn read(&self, message: &gst::Message) -> Option<End> {
        match message.view() {
            gst::MessageView::Error(error) => {
                let text = error_text(&error.error(), error.debug());
                let uri = &self.subject.rtsp.uri;
                let kind = error.error().kind::<gst::ResourceError>();
                Some(match kind {
                    Some(gst::ResourceError::NotAuthorized) => End::Refused(match &self.subject.rtsp.user {
                        Some(user) => format!(
                            "{uri} refuses user '{user}'; check 'user' of the camera and what 'password' points at"
                        ),
                        None => {
                            format!("{uri} asks for a user; give the camera 'user' and 'password' in the plant file")
                        }
                    }),
                    Some(gst::ResourceError::NotFound) => {
                        End::Failed(format!("{uri} has no such stream; check the path in 'uri' ({text})"))
                    }
                    Some(gst::ResourceError::OpenRead | gst::ResourceError::OpenReadWrite) => End::Failed(format!(
                        "{uri} cannot be reached; check its power, its cable and its address ({text})"
                    )),
                    _ => End::Failed(format!("{uri} broke off ({text})")),
                })
            }
            gst::MessageView::Eos(_) => Some(End::Failed("the camera ended the stream".to_owned())),
            gst::MessageView::Warning(warning) => {
                tracing::debug!(camera = self.subject.camera.name, "{}", error_text(&warning.error(), warning.debug()));
                None
            }
            _ => None,
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.pipeline.set_state(gst::State::Null) {
            tracing::error!(camera = self.subject.camera.name, "the connection does not end: {error}");
        }
    }
}

/// The element that speaks RTSP, and takes the video alone.
fn source(subject: &Subject, clock: &Arc<DeviceClock>) -> Result<gst::Element, IngestError> {
    let source = make("rtspsrc")?;
    let rtsp = &subject.rtsp;
    source.set_property("location", &rtsp.uri);
    source.set_property_from_str("protocols", subject.protocols());
    source.set_property("latency", u32::try_from(rtsp.latency_ns / (SECOND / 1_000)).unwrap_or(u32::MAX));
    source.set_property("tcp-timeout", REACH_US_MAX);
    source.set_property("timeout", REACH_US_MAX);
    source.set_property("teardown-timeout", TEARDOWN_NS_MAX);
    if let Some(user) = &rtsp.user {
        source.set_property("user-id", user);
    }
    if let Some(password) = &rtsp.password {
        let password = crate::secret::read(password).map_err(|why| IngestError::camera(&subject.camera.name, &why))?;
        source.set_property("user-pw", password);
    }
    let chosen = std::sync::atomic::AtomicBool::new(false);
    source.connect("select-stream", false, move |values| {
        let caps = values.get(2).and_then(|caps| caps.get::<gst::Caps>().ok());
        let media = caps.and_then(|caps| caps.structure(0)?.get::<String>("media").ok());
        let is_first_video =
            media.as_deref() == Some("video") && !chosen.swap(true, std::sync::atomic::Ordering::Relaxed);
        Some(is_first_video.to_value())
    });
    follow_reports(&source, clock);
    Ok(source)
}

/// Reads the sender reports where the jitter buffer has placed them in the pipeline's time.
fn follow_reports(source: &gst::Element, clock: &Arc<DeviceClock>) {
    let clock = Arc::downgrade(clock);
    source.connect("new-manager", false, move |values| {
        let manager = values.get(1)?.get::<gst::Element>().ok()?;
        // Other managers than rtpbin have no jitter buffer that tells.
        glib::subclass::SignalId::lookup("new-jitterbuffer", manager.type_())?;
        let clock = clock.clone();
        manager.connect("new-jitterbuffer", false, move |values| {
            let buffer = values.get(1)?.get::<gst::Element>().ok()?;
            glib::subclass::SignalId::lookup("handle-sync", buffer.type_())?;
            let clock = clock.clone();
            buffer.connect("handle-sync", false, move |values| {
                let sync = values.get(1)?.get::<gst::Structure>().ok()?;
                if let (Some(clock), Some((pipeline_ns, captured))) = (clock.upgrade(), placed_report(&sync)) {
                    clock.report(pipeline_ns, captured);
                }
                None
            });
            None
        });
        None
    });
}

/// The pipeline's time of a sender report, and the camera's.
fn placed_report(sync: &gst::Structure) -> Option<(i64, sightglass_protocol::UtcNanos)> {
    let number = |field: &str| sync.get::<u64>(field).ok();
    let (base_rtp, base_ns, reported_rtp) = (number("base-rtptime")?, number("base-time")?, number("sr-ext-rtptime")?);
    let rate = i128::from(sync.get::<u32>("clock-rate").ok().filter(|rate| *rate > 0)?);
    let packet = sync.get::<gst::Buffer>("sr-buffer").ok()?;
    let (captured, _) = sender_report(&packet.map_readable().ok()?)?;
    let since_base = (i128::from(reported_rtp) - i128::from(base_rtp)) * i128::from(SECOND) / rate;
    Some((i64::try_from(i128::from(base_ns) + since_base).ok()?, captured))
}
