//! How long the picture at any time takes, out of recorded segments of 10 s: `cargo xtask bench history video`.
//!
//! Records half a minute of two cameras as a line does (Motion JPEG of 640x480, and H.264 of 1920x1080 with a key picture
//! every second, both at 15 a second and kept as they were sent), then asks for pictures at random times, as the
//! window does when somebody drags the cursor, and for one picture after the other, as it does for a step. `--check`
//! exits 1 where the 95th percentile is above the floor. The machine's page cache is warm.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use sightglass_ingest::{IngestEvent, LinePipeline, PipelineOptions, RecordOptions, player::Player};
use sightglass_plant::{Camera, CameraFeed, Line, ModelChoice, Plant, Retention};
use sightglass_protocol::{
    CameraId, LineId, UtcNanos,
    time::{MILLISECOND, SECOND},
};

/// The floor: the picture at any time, 95th percentile.
const P95_MS_MAX: f64 = 150.0;
const SECONDS: i64 = 30;
const FPS: i64 = 15;
const QUESTIONS: usize = 80;

struct Kind {
    name: &'static str,
    launch: &'static str,
}

const KINDS: [Kind; 2] = [
    Kind { name: "mjpeg_640x480", launch: "video/x-raw,framerate=15/1,width=640,height=480 ! jpegenc" },
    Kind {
        name: "h264_1080p",
        launch: "video/x-raw,framerate=15/1,width=1920,height=1080 ! openh264enc gop-size=15 bitrate=6000000 complexity=low",
    },
];

fn plant(launch: String) -> Plant {
    Plant {
        name: "bench".to_owned(),
        lines: vec![Line {
            id: LineId(0),
            name: "line".to_owned(),
            tick_ns: SECOND,
            grace_ns: 200 * MILLISECOND,
            tags: Vec::new(),
            cameras: vec![CameraId(0)],
        }],
        sources: Vec::new(),
        tags: Vec::new(),
        cameras: vec![Camera {
            id: CameraId(0),
            line: LineId(0),
            name: "eye".to_owned(),
            feed: CameraFeed::Launch(launch),
            roi: None,
            fps: FPS as f64,
            start: Some(UtcNanos(0)),
        }],
        model: ModelChoice::default(),
        retention: Retention {
            samples_days: 1.0,
            samples_gib: 1.0,
            rollups_days: 1.0,
            rollups_gib: 1.0,
            video_days: 1.0,
            video_gib: 1.0,
        },
    }
}

/// The closed segments of one camera: file, and length in nanoseconds.
fn record(dir: &Path, kind: &Kind) -> Result<Vec<(PathBuf, i64)>, Box<dyn std::error::Error>> {
    let launch =
        format!("videotestsrc num-buffers={} pattern=zone-plate kx2=20 ky2=20 kt=1 ! {}", SECONDS * FPS, kind.launch);
    let record = Some(RecordOptions { dir: dir.to_owned(), segment_ns: 10 * SECOND });
    let pipeline =
        LinePipeline::start(&plant(launch), LineId(0), PipelineOptions { record, ..Default::default() }, None)?;
    let mut segments = Vec::new();
    let mut take = |event| {
        if let IngestEvent::SegmentClosed(segment) = event {
            let length = segment.end.map_or(0, |end| end.since(segment.start));
            segments.push((dir.join(&segment.path), length));
        }
    };
    while let Ok(event) = pipeline.events().recv_timeout(Duration::from_secs(60)) {
        if event == IngestEvent::EndOfStream {
            break;
        }
        take(event);
    }
    pipeline.stop().into_iter().for_each(take);
    if segments.is_empty() {
        return Err(format!("{}: nothing was recorded", kind.name).into());
    }
    Ok(segments)
}

/// Milliseconds at 50 and 95 in a hundred.
fn percentiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
    (at(0.5), at(0.95))
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let is_checked = std::env::args().any(|argument| argument == "--check");
    sightglass_ingest::init()?;
    let mut seed = 1u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as i64
    };
    let mut figures = String::new();
    let mut missed = Vec::new();
    for kind in &KINDS {
        let dir = tempfile::tempdir()?;
        let segments = record(dir.path(), kind)?;
        println!(
            "{}: {} segments, {} questions at random times, then as many steps",
            kind.name,
            segments.len(),
            QUESTIONS
        );
        let ask = |player: &Player, path: &Path, offset: i64| -> Result<Duration, Box<dyn std::error::Error>> {
            let start = Instant::now();
            let found = player.picture_at(path, offset)?;
            let took = start.elapsed();
            let (_, at) = found.ok_or("there is no picture")?;
            if !(0..=SECOND / FPS + MILLISECOND).contains(&(offset - at)) {
                return Err(format!("the picture at {offset} ns is that of {at} ns").into());
            }
            Ok(took)
        };
        let mut jumps = Vec::with_capacity(QUESTIONS);
        for _ in 0..QUESTIONS {
            let (path, length) = &segments[random() as usize % segments.len()];
            // A player that has nothing open: every jump goes to a place that nobody has looked at.
            jumps.push(ask(&Player::default(), path, random() % (length + 1))?);
        }
        let (path, length) = &segments[0];
        let player = Player::default();
        let mut steps = Vec::with_capacity(QUESTIONS);
        for step in 0..QUESTIONS as i64 {
            steps.push(ask(&player, path, ((step + 20) * SECOND / FPS + MILLISECOND).min(*length))?);
        }
        for (what, times) in [("jump", jumps), ("step", steps)] {
            let (p50, p95) = percentiles(times);
            println!("  {what}: p50 {p50:.1} ms, p95 {p95:.1} ms");
            figures.push_str(&format!(" {0}_{what}_p50_ms={p50:.1} {0}_{what}_p95_ms={p95:.1}", kind.name));
            if p95 > P95_MS_MAX {
                missed.push(format!("{} {what}: p95 {p95:.1} ms is above {P95_MS_MAX} ms", kind.name));
            }
        }
    }
    println!("history_video{figures}");
    if is_checked && !missed.is_empty() {
        missed.iter().for_each(|missed| eprintln!("floor missed: {missed}"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
