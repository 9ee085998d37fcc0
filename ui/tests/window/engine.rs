//! An engine whose answers are formulas of time: a bottling line with 24 tags and a camera.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use sightglass_protocol::{
    Advisory, AdvisoryId, AdvisoryKind, Band, CameraId, CameraInfo, Cause, Forecast, HORIZONS, Health, HealthState,
    LineId, LineInfo, PatchMap, PlantInfo, Quality, Roi, Role, ScorePart, Subject, TagForecast, TagId, TagInfo,
    UtcNanos,
    message::{
        At, Counters, Envelope, LineState, LineSummary, LineView, Overview, PROTOCOL_VERSION, Picture, Point, Recorded,
        Reply, Request, Signal, Welcome,
    },
    time::SECOND,
};
use sightglass_ui::Link;

/// 2026-11-24T08:15:00Z.
pub(crate) const NOW: UtcNanos = UtcNanos(1_795_508_100 * SECOND);
/// Pictures a second.
pub(crate) const FPS: i64 = 15;
const FRAME_NS: i64 = SECOND / FPS;

/// Name, unit, range, role, usual value, swing, period in seconds.
type TagRow = (&'static str, &'static str, (f64, f64), Role, f64, f64, f64);
#[rustfmt::skip]
const TAGS: [TagRow; 24] = [
    ("tank level", "mm", (0.0, 1000.0), Role::Measurement, 620.0, 8.0, 40.0),
    ("tank level setpoint", "mm", (0.0, 1000.0), Role::Setpoint, 620.0, 0.0, 1.0),
    ("feed pump speed", "rpm", (0.0, 3000.0), Role::Output, 1480.0, 35.0, 40.0),
    ("feed pressure", "bar", (0.0, 10.0), Role::Measurement, 3.2, 0.12, 9.0),
    ("feed flow", "l/min", (0.0, 120.0), Role::Measurement, 64.0, 2.5, 14.0),
    ("feed flow setpoint", "l/min", (0.0, 120.0), Role::Setpoint, 64.0, 0.0, 1.0),
    ("control valve", "%", (0.0, 100.0), Role::Output, 47.0, 4.0, 14.0),
    ("filler bowl level", "mm", (0.0, 200.0), Role::Measurement, 120.0, 3.0, 6.0),
    ("filler bowl pressure", "mbar", (0.0, 500.0), Role::Measurement, 210.0, 5.0, 11.0),
    ("fill weight", "g", (0.0, 600.0), Role::Measurement, 503.0, 1.5, 5.0),
    ("air pressure", "bar", (0.0, 10.0), Role::Measurement, 6.1, 0.15, 22.0),
    ("air pressure setpoint", "bar", (0.0, 10.0), Role::Setpoint, 6.0, 0.0, 1.0),
    ("compressor load", "%", (0.0, 100.0), Role::Output, 71.0, 9.0, 22.0),
    ("conveyor speed", "m/s", (0.0, 1.0), Role::Measurement, 0.42, 0.01, 8.0),
    ("conveyor speed setpoint", "m/s", (0.0, 1.0), Role::Setpoint, 0.42, 0.0, 1.0),
    ("conveyor drive", "%", (0.0, 100.0), Role::Output, 55.0, 1.2, 8.0),
    ("conveyor current", "A", (0.0, 20.0), Role::Measurement, 7.8, 0.5, 4.0),
    ("capper torque", "Nm", (0.0, 5.0), Role::Measurement, 2.3, 0.25, 2.0),
    ("capper current", "A", (0.0, 10.0), Role::Measurement, 3.4, 0.3, 2.0),
    ("product temperature", "°C", (0.0, 60.0), Role::Measurement, 18.4, 0.3, 120.0),
    ("ambient temperature", "°C", (0.0, 60.0), Role::Measurement, 22.6, 0.4, 300.0),
    ("bottle count", "1/min", (0.0, 120.0), Role::Measurement, 84.0, 1.0, 30.0),
    ("reject count", "1/min", (0.0, 20.0), Role::Measurement, 0.0, 0.0, 1.0),
    ("line mode", "", (0.0, 3.0), Role::Mode, 1.0, 0.0, 1.0),
];
const FLOW: usize = 4;
const VALVE: usize = 6;
const AIR: usize = 10;
const TORQUE: usize = 17;
const AMBIENT: usize = 20;

/// When the flow left its prediction.
pub(crate) const UNDERFILL_SINCE: UtcNanos = UtcNanos(NOW.0 - 75 * SECOND);
/// When the air pressure froze.
pub(crate) const FROZEN_SINCE: UtcNanos = UtcNanos(NOW.0 - 32 * SECOND);
/// The start of what is recorded.
pub(crate) const FIRST: UtcNanos = UtcNanos(NOW.0 - 3600 * SECOND);
/// A time without video.
pub(crate) const NO_VIDEO: (UtcNanos, UtcNanos) = (UtcNanos(NOW.0 - 1800 * SECOND), UtcNanos(NOW.0 - 1500 * SECOND));

/// The engine, and what a test wants to know of it.
pub(crate) struct Engine {
    /// The newest tick.
    pub(crate) now: UtcNanos,
    /// Every request so far.
    pub(crate) asked: Vec<Request>,
    /// Why it cannot be reached.
    pub(crate) gone: Option<String>,
    /// Takes requests and answers none.
    pub(crate) silent: bool,
    /// The protocol that it says it speaks.
    pub(crate) protocol: u32,
    /// Nothing wrong anywhere.
    pub(crate) quiet: bool,
    /// The most requests that waited at one time.
    pub(crate) waiting_max: usize,
    /// Whether two requests of one kind ever waited at one time.
    pub(crate) doubled: bool,
    /// Requests without an answer yet.
    pub(crate) waiting: VecDeque<Envelope<Request>>,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            now: NOW,
            asked: Vec::new(),
            gone: None,
            silent: false,
            protocol: PROTOCOL_VERSION,
            quiet: false,
            waiting_max: 0,
            doubled: false,
            waiting: VecDeque::new(),
        }
    }
}

/// The window's end.
pub(crate) struct EngineLink(pub(crate) Rc<RefCell<Engine>>);

impl Link for EngineLink {
    fn send(&mut self, bytes: Vec<u8>) {
        let mut engine = self.0.borrow_mut();
        let envelope = Envelope::<Request>::decode(&bytes).expect("the window sends requests");
        let kind = std::mem::discriminant(&envelope.body);
        let doubled = engine.waiting.iter().any(|waiting| std::mem::discriminant(&waiting.body) == kind);
        engine.doubled |= doubled;
        engine.asked.push(envelope.body.clone());
        engine.waiting.push_back(envelope);
        engine.waiting_max = engine.waiting_max.max(engine.waiting.len());
    }

    fn poll(&mut self) -> Option<Result<Vec<u8>, String>> {
        let mut engine = self.0.borrow_mut();
        if engine.silent {
            return None;
        }
        let envelope = engine.waiting.pop_front()?;
        if let Some(reason) = &engine.gone {
            return Some(Err(reason.clone()));
        }
        let reply = Envelope { id: envelope.id, body: engine.answer(&envelope.body) };
        Some(Ok(reply.encode().expect("replies can be encoded")))
    }
}

/// A number of 0 to 1 that looks random and is not.
fn noise(seed: i64) -> f64 {
    let mut bits = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x51_7c_c1_b7;
    bits ^= bits >> 31;
    bits = bits.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits ^= bits >> 29;
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

fn usual(tag: usize, time: UtcNanos) -> f64 {
    let (.., value, swing, period) = TAGS[tag];
    let phase = (time.0.rem_euclid(100_000 * SECOND)) as f64 / SECOND as f64 / period * std::f64::consts::TAU;
    value + swing * phase.sin()
}

impl Engine {
    /// An engine of a line where nothing is wrong.
    pub(crate) fn quiet() -> Self {
        Self { quiet: true, ..Self::default() }
    }

    /// How many requests were of the same kind as `like`.
    pub(crate) fn asked_like(&self, like: &Request) -> usize {
        let kind = std::mem::discriminant(like);
        self.asked.iter().filter(|request| std::mem::discriminant(*request) == kind).count()
    }

    fn answer(&self, request: &Request) -> Reply {
        match request {
            Request::Hello { .. } => Reply::Welcome(Box::new(self.welcome())),
            Request::Overview => Reply::Overview(self.overview()),
            Request::Line { at, span_ns, pixels, .. } => Reply::Line(Box::new(self.line(*at, *span_ns, *pixels))),
            Request::Picture { at, .. } => Reply::Picture(self.picture(self.moment(*at))),
            Request::Step { time, forward, .. } => {
                let next = if *forward { *time + FRAME_NS } else { *time - 1 };
                Reply::Picture(self.picture(next).filter(|picture| picture.time != *time))
            }
            Request::Advisories { from, to, .. } => Reply::Advisories(
                self.advisories()
                    .into_iter()
                    .filter(|advisory| advisory.since <= *to && advisory.closed.is_none_or(|closed| closed >= *from))
                    .collect(),
            ),
            Request::Recorded { .. } => Reply::Recorded(Recorded {
                range: Some((FIRST, self.now)),
                video: vec![(CameraId(0), vec![(FIRST, NO_VIDEO.0), (NO_VIDEO.1, self.now)])],
                advisories: self.advisories().iter().map(|a| (a.since, a.closed, a.id)).collect(),
            }),
        }
    }

    fn moment(&self, at: At) -> UtcNanos {
        match at {
            At::Now => self.now,
            At::Time(time) => time,
        }
    }

    fn welcome(&self) -> Welcome {
        let tags = TAGS.iter().enumerate().map(|(index, (name, unit, range, role, ..))| TagInfo {
            id: TagId::from_index(index),
            line: LineId(0),
            name: (*name).to_owned(),
            description: format!("the {name} of the line"),
            unit: (*unit).to_owned(),
            range: Some(*range),
            role: *role,
        });
        let line =
            |id, name: &str, tags, cameras| LineInfo { id, name: name.to_owned(), tick_ns: SECOND, tags, cameras };
        Welcome {
            protocol: self.protocol,
            version: "0.1.0".to_owned(),
            plant: PlantInfo {
                name: "Bottling hall".to_owned(),
                lines: vec![
                    line(
                        LineId(0),
                        "Filling line 1",
                        (0..TAGS.len()).map(TagId::from_index).collect(),
                        vec![CameraId(0)],
                    ),
                    line(LineId(1), "Filling line 2", Vec::new(), Vec::new()),
                ],
                tags: tags.collect(),
                cameras: vec![CameraInfo {
                    id: CameraId(0),
                    line: LineId(0),
                    name: "filler".to_owned(),
                    roi: Some(Roi { x: 140, y: 20, width: 320, height: 320 }),
                    fps: FPS as f64,
                }],
            },
            mode: "simulated".to_owned(),
            device: "CPU, 2 threads".to_owned(),
        }
    }

    /// Every advisory there ever was, newest first.
    fn advisories(&self) -> Vec<Advisory> {
        if self.quiet {
            return Vec::new();
        }
        let cause = |subject, share, predicted: Option<(f32, f32)>, actual, reason: &str| Cause {
            subject,
            share,
            predicted: predicted.map(|(low, high)| Band { low, mid: f32::midpoint(low, high), high }),
            actual,
            reason: reason.to_owned(),
        };
        let tag = |index| Subject::Tag(TagId::from_index(index));
        let camera = Subject::Camera(CameraId(0));
        let make = |id, kind, title: &str, since: UtcNanos, closed: Option<UtcNanos>, causes| Advisory {
            id: AdvisoryId(id),
            line: LineId(0),
            kind,
            title: title.to_owned(),
            since,
            opened: since + 6 * SECOND,
            last_seen: closed.unwrap_or(self.now),
            closed,
            peak: 3.4,
            confidence: 0.91,
            causes,
            patches: Vec::new(),
        };
        let ago = |seconds: i64| NOW - seconds * SECOND;
        vec![
            make(
                12,
                AdvisoryKind::Sensor,
                "Air pressure has not changed",
                FROZEN_SINCE,
                None,
                vec![cause(tag(AIR), 1.0, Some((6.0, 6.3)), Some(6.13), "has not changed for 32 s")],
            ),
            make(
                11,
                AdvisoryKind::Process,
                "Feed flow and camera: bottles are underfilled",
                UNDERFILL_SINCE,
                None,
                vec![
                    cause(tag(FLOW), 0.62, Some((61.8, 66.4)), Some(51.3), "off its prediction"),
                    cause(camera, 0.23, None, None, "looks unlike normal running"),
                    cause(tag(VALVE), 0.15, Some((44.0, 51.0)), Some(63.8), "drifting from its prediction"),
                ],
            ),
            make(
                10,
                AdvisoryKind::Camera,
                "Camera filler shows the same picture",
                ago(1700),
                Some(ago(1520)),
                vec![cause(camera, 1.0, None, None, "has not changed for 20 s")],
            ),
            make(
                9,
                AdvisoryKind::Process,
                "Capper torque off its prediction",
                ago(3000),
                Some(ago(2890)),
                vec![cause(tag(TORQUE), 0.8, Some((2.0, 2.6)), Some(3.4), "off its prediction")],
            ),
        ]
    }

    fn counters(&self) -> Counters {
        let seconds = self.now.since(FIRST) / SECOND;
        Counters {
            samples: seconds as u64 * 48,
            ticks: seconds as u64,
            ticks_dropped: 0,
            frames: (seconds * FPS) as u64,
            history_bytes: 48_300_000,
        }
    }

    fn health(&self) -> Vec<Health> {
        if self.quiet {
            return Vec::new();
        }
        vec![
            Health {
                subject: Some(Subject::Tag(TagId::from_index(AIR))),
                source: "plc-1".to_owned(),
                state: HealthState::Failure,
                since: FROZEN_SINCE,
                reason: "frozen at 6.13 bar where noise is expected; check the transmitter and its cable".to_owned(),
            },
            Health {
                subject: None,
                source: "lab.csv".to_owned(),
                state: HealthState::MaintenanceRequired,
                since: NOW - 700 * SECOND,
                reason: "lab.csv line 812: '18,4' is not a number; write 18.4".to_owned(),
            },
        ]
    }

    fn score(&self, time: UtcNanos) -> f32 {
        let base = 0.28 + 0.3 * noise(time.0 / SECOND) as f32;
        if self.quiet || time < UNDERFILL_SINCE {
            return base;
        }
        let passed = time.since(UNDERFILL_SINCE) as f32 / SECOND as f32;
        base + (passed / 12.0).min(1.9)
    }

    fn overview(&self) -> Overview {
        let open: Vec<Advisory> = self.advisories().into_iter().filter(|advisory| advisory.closed.is_none()).collect();
        let scores = (0..240).map(|index| {
            let time = self.now - (239 - index) * 5 * SECOND / 2;
            (time, self.score(time))
        });
        Overview {
            now: Some(self.now),
            lines: vec![
                LineSummary {
                    line: LineId(0),
                    state: if self.quiet { LineState::Normal } else { LineState::Advisory },
                    since: Some(if self.quiet { FIRST } else { UNDERFILL_SINCE }),
                    scores: scores.collect(),
                    open,
                },
                LineSummary {
                    line: LineId(1),
                    state: LineState::Stopped,
                    since: Some(NOW - 5_000 * SECOND),
                    scores: Vec::new(),
                    open: Vec::new(),
                },
            ],
            health: self.health(),
            counters: self.counters(),
        }
    }

    fn actual(&self, tag: usize, time: UtcNanos) -> f64 {
        let passed = time.since(UNDERFILL_SINCE) as f64 / SECOND as f64;
        let off = if self.quiet || passed < 0.0 { 0.0 } else { (passed / 20.0).min(1.0) };
        match tag {
            FLOW => usual(tag, time) - 12.5 * off,
            VALVE => usual(tag, time) + 14.0 * off,
            AIR if !self.quiet && time > FROZEN_SINCE => 6.13,
            _ => usual(tag, time),
        }
    }

    fn quality(&self, tag: usize, time: UtcNanos) -> Quality {
        let ago = NOW.since(time) / SECOND;
        match tag {
            _ if self.quiet => Quality::Good,
            AIR if time > FROZEN_SINCE => Quality::Frozen,
            TORQUE if (130..190).contains(&ago) => Quality::Bad,
            AMBIENT => Quality::Missing,
            _ => Quality::Good,
        }
    }

    fn signal(&self, index: usize, at: UtcNanos, span_ns: i64, pixels: u32) -> Signal {
        let (.., swing, _) = TAGS[index];
        let step = (span_ns / i64::from(pixels.max(1))).max(SECOND / 2);
        let mut points = Vec::new();
        let mut time = (at - span_ns).floor_to(step);
        while time <= at {
            // One tag has a gap: no points at all.
            let ago = NOW.since(time) / SECOND;
            if index == 3 && (80..140).contains(&ago) {
                time = time + step;
                continue;
            }
            let quality = self.quality(index, time);
            let value = self.actual(index, time);
            let spread = swing * 0.35 * (0.4 + noise(time.0 / step + index as i64 * 7919));
            let jitter = swing * 0.3 * (noise(time.0 / step + index as i64 * 104_729) - 0.5);
            let usable = quality.is_usable();
            let or_nan = |value: f64| if usable { value } else { f64::NAN };
            points.push(Point {
                time,
                min: or_nan(value + jitter - spread),
                max: or_nan(value + jitter + spread),
                mean: or_nan(value + jitter),
                last: or_nan(value + jitter),
                count: 4,
                quality,
            });
            time = time + step;
        }
        let predicted = TAGS[index].3.is_predicted() && index != AMBIENT;
        let tick = SECOND.max(step);
        let mut band = Vec::new();
        let mut time = (at - span_ns).floor_to(tick) + tick;
        while predicted && time <= at {
            let (mid, half) = (usual(index, time) as f32, (swing * 0.9) as f32);
            band.push((time, Band { low: mid - half, mid, high: mid + half }));
            time = time + tick;
        }
        Signal { tag: TagId::from_index(index), points, gap_ns: step * 3, band }
    }

    fn line(&self, at: At, span_ns: i64, pixels: u32) -> LineView {
        let at = self.moment(at).min(self.now);
        let forecast_of = |index: usize| TagForecast {
            tag: TagId::from_index(index),
            bands: HORIZONS.map(|ticks| {
                let mid = self.actual(index, at + i64::from(ticks) * SECOND) as f32;
                let half = TAGS[index].5 as f32 * (0.5 + f32::from(ticks as u16) * 0.06);
                Band { low: mid - half, mid, high: mid + half }
            }),
        };
        let predicted = (0..TAGS.len()).filter(|index| TAGS[*index].3.is_predicted() && *index != AMBIENT);
        let scores = (0..span_ns / SECOND).step_by((span_ns / SECOND / 400).max(1) as usize).map(|ago| {
            let time = at - (span_ns - SECOND - ago * SECOND);
            (time, self.score(time))
        });
        let wrong = !self.quiet && at > UNDERFILL_SINCE;
        let patches = (0..64).map(|cell: i64| {
            let (row, col) = (cell / 8, cell % 8);
            if wrong && (2..=4).contains(&row) && (3..=4).contains(&col) {
                0.8 + 0.35 * (row - 1) as f32
            } else {
                0.15 + 0.45 * noise(cell + 3) as f32
            }
        });
        let known = self
            .advisories()
            .into_iter()
            .filter(|advisory| advisory.since <= at && advisory.closed.is_none_or(|closed| closed >= at - span_ns));
        LineView {
            line: LineId(0),
            at,
            now: self.now,
            state: if wrong { LineState::Advisory } else { LineState::Normal },
            signals: (0..TAGS.len()).map(|index| self.signal(index, at, span_ns, pixels)).collect(),
            forecast: Some(Forecast {
                line: LineId(0),
                time: at.floor_to(SECOND),
                tick_ns: SECOND,
                tags: predicted.map(forecast_of).collect(),
            }),
            scores: scores.collect(),
            patches: vec![PatchMap {
                camera: CameraId(0),
                rows: 8,
                cols: 8,
                scores: patches.collect(),
                part: ScorePart::Appearance,
            }],
            advisories: known.collect(),
            health: self.health(),
            counters: self.counters(),
        }
    }

    /// The newest picture not after `time`: bottles that move to the right.
    fn picture(&self, time: UtcNanos) -> Option<Picture> {
        let time = time.min(self.now);
        if time < FIRST || (time > NO_VIDEO.0 && time < NO_VIDEO.1) {
            return None;
        }
        let time = FIRST + time.since(FIRST) / FRAME_NS * FRAME_NS;
        Some(Picture { camera: CameraId(0), time, jpeg: draw(time) })
    }
}

fn draw(time: UtcNanos) -> Vec<u8> {
    const WIDTH: usize = 640;
    const HEIGHT: usize = 360;
    let shift = (time.since(FIRST) / FRAME_NS * 3) as usize % 130;
    let mut pixels = Vec::with_capacity(WIDTH * HEIGHT * 3);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let along = (x + 130 - shift) % 130;
            let in_body = (20..90).contains(&along) && (110..300).contains(&y);
            let in_neck = (42..68).contains(&along) && (70..110).contains(&y);
            let liquid = in_body && y > 160;
            let colour: [u8; 3] = if y >= 300 {
                [70, 74, 80]
            } else if liquid {
                [190, 140, 60]
            } else if in_body || in_neck {
                [205, 215, 220]
            } else if (y / 4) % 24 == 0 {
                [110, 114, 118]
            } else {
                let shade = 140 - (y / 6) as u8;
                [shade, shade + 3, shade + 6]
            };
            pixels.extend_from_slice(&colour);
        }
    }
    let mut jpeg = Vec::new();
    jpeg_encoder::Encoder::new(&mut jpeg, 85)
        .encode(&pixels, WIDTH as u16, HEIGHT as u16, jpeg_encoder::ColorType::Rgb)
        .expect("a picture can be encoded");
    jpeg
}
