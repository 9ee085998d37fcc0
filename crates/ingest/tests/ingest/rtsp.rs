//! Cameras that speak RTSP, against gst-rtsp-server on loopback.

use std::thread::JoinHandle;

use gst_rtsp_server::prelude::*;
use gst_rtsp_server::{RTSPAuth, RTSPFilterResult, RTSPMediaFactory, RTSPServer, RTSPToken, gio, gst, gst_rtsp};
use sightglass_ingest::{IngestError, LinePipeline, Pace, PipelineOptions, RecordOptions};
use sightglass_plant::{CameraFeed, Plant, RtspCamera, RtspTransport, SecretRef};
use sightglass_protocol::{HealthState, LineId, Quality, Subject, time::SECOND};

use crate::{
    peers::{Live, left_out},
    plants::{plant, with_camera},
};

const USER: &str = "viewer";
const PASSWORD: &str = "geheim 1";
const PICTURES: &str = "videotestsrc is-live=true ! video/x-raw,format=I420,width=160,height=120,framerate=15/1";

/// A server of cameras, on a thread of its own.
struct Cameras {
    port: i32,
    server: RTSPServer,
    context: gst::glib::MainContext,
    main_loop: gst::glib::MainLoop,
    source: Option<gst::glib::Source>,
    thread: Option<JoinHandle<()>>,
}

impl Cameras {
    /// Serves `encoder`'s stream at `/eye`; at a port that the system picks, where none is given. `None` where the encoder is
    /// not installed.
    fn serve(encoder: &str, port: Option<i32>, with_user: bool) -> Option<Self> {
        gst::init().expect("GStreamer starts");
        for element in encoder.split('!').filter_map(|part| part.split_whitespace().next()) {
            if gst::ElementFactory::find(element).is_none() {
                left_out(&format!("GStreamer lacks {element}"));
                return None;
            }
        }
        let context = gst::glib::MainContext::new();
        let main_loop = gst::glib::MainLoop::new(Some(&context), false);
        let server = RTSPServer::new();
        server.set_address("127.0.0.1");
        server.set_service(&port.unwrap_or(0).to_string());
        let factory = RTSPMediaFactory::new();
        factory.set_launch(&format!("( {PICTURES} ! {encoder} name=pay0 )"));
        factory.set_shared(true);
        if with_user {
            let auth = RTSPAuth::new();
            auth.set_supported_methods(gst_rtsp::RTSPAuthMethod::Digest);
            let token = RTSPToken::builder().field("media.factory.role", USER).build();
            auth.add_digest(USER, PASSWORD, &token);
            server.set_auth(Some(&auth));
            let role = gst::Structure::builder(USER)
                .field("media.factory.access", true)
                .field("media.factory.construct", true)
                .build();
            factory.add_role_from_structure(&role);
        }
        server.mount_points().expect("it has some").add_factory("/eye", factory);
        let source = server.create_source(gio::Cancellable::NONE).expect("a port on loopback");
        source.attach(Some(&context));
        let (runs_in, runs) = (context.clone(), main_loop.clone());
        let thread = std::thread::spawn(move || {
            runs_in.with_thread_default(|| runs.run()).expect("the context is its own");
        });
        let port = server.bound_port();
        Some(Self { port, server, context, main_loop, source: Some(source), thread: Some(thread) })
    }

    fn uri(&self, path: &str) -> String {
        format!("rtsp://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Cameras {
    fn drop(&mut self) {
        let server = self.server.clone();
        let source = self.source.take();
        let main_loop = self.main_loop.clone();
        self.context.invoke(move || {
            if let Some(source) = source {
                source.destroy();
            }
            server.client_filter(Some(&mut |_: &RTSPServer, _: &gst_rtsp_server::RTSPClient| RTSPFilterResult::Remove));
            main_loop.quit();
        });
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server ends");
        }
    }
}

fn rtsp(uri: String) -> RtspCamera {
    RtspCamera { uri, transport: RtspTransport::Tcp, user: None, password: None, latency_ns: SECOND / 5 }
}

fn plant_of(camera: RtspCamera) -> Plant {
    with_camera(plant(), "eye", CameraFeed::Rtsp(camera), None)
}

/// Whether the camera's last tick had pictures.
fn sees(outcome: &crate::plants::Outcome) -> bool {
    outcome
        .ticks
        .last()
        .is_some_and(|tick| tick.cameras[0].quality == Quality::Good && !tick.cameras[0].frames.is_empty())
}

#[test]
fn every_codec_comes_in_over_tcp_and_udp_with_the_cameras_own_time() {
    let encoders = [
        "openh264enc gop-size=15 ! h264parse config-interval=-1 ! rtph264pay",
        "x265enc speed-preset=ultrafast tune=zerolatency key-int-max=15 ! h265parse ! rtph265pay",
        "jpegenc ! rtpjpegpay",
    ];
    let transports = [RtspTransport::Tcp, RtspTransport::Udp, RtspTransport::Tcp];
    for ((encoder, transport), codec) in encoders.into_iter().zip(transports).zip(["H.264", "H.265", "JPEG"]) {
        let Some(cameras) = Cameras::serve(encoder, None, false) else { continue };
        let mut live = Live::start(&plant_of(RtspCamera { transport, ..rtsp(cameras.uri("/eye")) }));
        let told = format!("{codec}, 160 x 120; capture times are the camera's own (RTCP)");
        live.until("pictures, and where their times come from", |outcome| {
            sees(outcome) && outcome.health.iter().any(|h| h.reason.contains(&told))
        });
        let last = live.outcome.ticks.last().expect("a tick");
        let frame = last.cameras[0].frames.last().expect("a picture");
        let age_s = last.time.since(frame.time) as f64 / 1e9;
        assert!((-0.1..1.1).contains(&age_s), "{encoder}: a picture of {age_s} s at its tick");
        assert!(live.stop().as_secs() < 5, "{encoder}");
    }
}

#[test]
fn a_camera_that_goes_away_is_told_and_comes_back_by_itself_with_another_codec() {
    let Some(cameras) = Cameras::serve("openh264enc gop-size=15 ! rtph264pay config-interval=-1", None, false) else {
        return;
    };
    let (port, uri) = (cameras.port, cameras.uri("/eye"));
    let dir = tempfile::tempdir().expect("a folder");
    let mut live = Live::start_with(
        &plant_of(rtsp(uri)),
        PipelineOptions {
            record: Some(RecordOptions { dir: dir.path().to_owned(), segment_ns: 60 * SECOND }),
            ..PipelineOptions::default()
        },
    );
    live.until("pictures", sees);
    drop(cameras);
    live.until("that it is away", |outcome| {
        outcome.health.iter().any(|health| {
            health.state == HealthState::Failure
                && matches!(health.subject, Some(Subject::Camera(_)))
                && health.reason.contains("check")
        })
    });
    live.until("ticks without pictures", |outcome| {
        outcome.ticks.last().is_some_and(|tick| tick.cameras[0].frames.is_empty())
    });
    assert_eq!(live.outcome.closed.len(), 1, "the first segment is whole: {}", live.outcome.reasons());
    let _cameras = Cameras::serve("jpegenc ! rtpjpegpay", Some(port), false).expect("jpegenc was there");
    live.until("pictures again", |outcome| {
        sees(outcome) && outcome.health.iter().any(|h| h.state == HealthState::Good && h.reason.contains("again"))
    });
    let segments = live.outcome.opened.len();
    assert_eq!(segments, 2, "{}", live.outcome.reasons());
    let events = live.stop_with_events();
    let closed = events.closed.last().expect("the second segment is closed");
    assert!(closed.frames > 0 && dir.path().join(&closed.path).metadata().expect("a file").len() == closed.bytes);
}

#[test]
fn a_user_comes_in_by_digest_and_a_wrong_one_is_told_without_the_password() {
    let Some(cameras) = Cameras::serve("jpegenc ! rtpjpegpay", None, true) else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("a file");
        Some(SecretRef::File(path))
    };
    let with = |user: Option<&str>, password: Option<SecretRef>| {
        plant_of(RtspCamera { user: user.map(str::to_owned), password, ..rtsp(cameras.uri("/eye")) })
    };
    let mut live = Live::start(&with(Some(USER), file("right", PASSWORD)));
    live.until("pictures", sees);
    live.stop();
    for (plant, words) in [
        (with(Some(USER), file("wrong", "geheim 2")), "refuses user 'viewer'; check"),
        (with(None, None), "asks for a user; give the camera 'user' and 'password'"),
        (with(Some(USER), Some(SecretRef::File(dir.path().join("none")))), "cannot read"),
    ] {
        let mut live = Live::start(&plant);
        live.until(words, |outcome| {
            outcome.health.iter().any(|h| h.state == HealthState::Failure && h.reason.contains(words))
        });
        assert!(!live.outcome.reasons().contains("geheim"), "{}", live.outcome.reasons());
        assert!(live.stop().as_secs() < 5);
    }
}

#[test]
fn what_is_not_there_is_told_with_what_to_do_and_the_line_goes_on() {
    let Some(cameras) = Cameras::serve("jpegenc ! rtpjpegpay", None, false) else { return };
    let free = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("its address").port()
    };
    for (uri, words) in [
        (cameras.uri("/nothing"), "has no such stream; check the path"),
        (format!("rtsp://127.0.0.1:{free}/eye"), "cannot be reached; check its power"),
    ] {
        let plant = with_camera(plant_of(rtsp(uri)), "other", CameraFeed::Rtsp(rtsp(cameras.uri("/eye"))), None);
        let mut live = Live::start(&plant);
        live.until(words, |outcome| {
            outcome.health.iter().any(|h| h.state == HealthState::Failure && h.reason.contains(words))
        });
        live.until("the other camera's ticks", |outcome| {
            let seen = |tick: &&sightglass_protocol::Tick| {
                tick.cameras[0].frames.is_empty() && tick.cameras[1].quality == Quality::Good
            };
            outcome.ticks.iter().filter(seen).count() > 2
        });
        let failures = live.outcome.health.iter().filter(|h| h.state == HealthState::Failure).count();
        assert_eq!(failures, 1, "told once, not at each try: {}", live.outcome.reasons());
        live.stop();
    }
}

#[test]
fn a_camera_in_the_network_is_of_live_lines_only() {
    let plant = plant_of(rtsp("rtsp://127.0.0.1:9/eye".to_owned()));
    let options = PipelineOptions { pace: Pace::Max, ..PipelineOptions::default() };
    let refused = LinePipeline::start(&plant, LineId(0), options, None).err().expect("an error");
    assert!(matches!(&refused, IngestError::OnlyLive { origin } if origin == "eye"), "{refused}");
}
