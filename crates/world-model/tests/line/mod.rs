//! A line made up for tests: a tank with a level controller, seen by sensors and, if wanted, by a camera.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of it")]

use std::sync::Arc;

use sightglass_protocol::tick::MODEL_PIXELS;
use sightglass_protocol::{CameraId, CameraReading, Frame, LineId, Quality, Role, TagId, TagReading, Tick, UtcNanos};
use sightglass_world_model::{
    CameraSpec, ModelSpec, Output, PlantModel, Size, Stream, TagSpec, TrainError, TrainOptions, train,
};

pub const SECOND: i64 = 1_000_000_000;
/// Positions of the tags in a tick.
pub const SETPOINT: usize = 0;
pub const LEVEL: usize = 1;
pub const VALVE: usize = 2;
pub const INFLOW: usize = 3;
pub const OUTFLOW: usize = 4;
pub const TWIN: usize = 5;
pub const FIXED: usize = 6;
pub const MODE: usize = 7;

const TAGS: [(&str, &str, Role, (f64, f64)); 8] = [
    ("level setpoint", "%", Role::Setpoint, (0.0, 100.0)),
    ("level", "%", Role::Measurement, (0.0, 100.0)),
    ("valve", "%", Role::Output, (0.0, 100.0)),
    ("inflow", "l/s", Role::Measurement, (0.0, 10.0)),
    ("outflow", "l/s", Role::Measurement, (0.0, 10.0)),
    ("level twin", "%", Role::Measurement, (0.0, 100.0)),
    ("line voltage", "V", Role::Measurement, (0.0, 500.0)),
    ("mode", "", Role::Mode, (0.0, 2.0)),
];

pub fn spec(camera: bool) -> ModelSpec {
    let tags = TAGS.iter().enumerate().map(|(i, (name, unit, role, range))| TagSpec {
        id: TagId(i as u32),
        name: (*name).to_owned(),
        unit: (*unit).to_owned(),
        role: *role,
        range: Some(*range),
        excluded: false,
    });
    let cameras = if camera { vec![CameraSpec { id: CameraId(0), name: "belt".to_owned() }] } else { Vec::new() };
    ModelSpec { line: LineId(0), tick_ns: SECOND, tags: tags.collect(), cameras }
}

/// A line of a camera alone.
pub fn picture_spec(tick_ns: i64) -> ModelSpec {
    ModelSpec { tick_ns, tags: Vec::new(), ..spec(true) }
}

pub struct Noise(pub u64);

impl Noise {
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }

    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// What is wrong, from which tick on.
#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    /// The level sensor reads this much too high.
    LevelOffset(f64),
    /// The level sensor drifts by this much a tick.
    LevelDrift(f64),
    /// A square of the picture is gone.
    SquareGone,
}

/// Runs the line for `ticks` ticks. The setpoint changes every 130 ticks.
pub fn run(ticks: usize, seed: u64, camera: bool, fault: Fault, from: usize) -> Vec<Tick> {
    let mut noise = Noise(seed);
    let (mut level, mut integral, mut valve, mut demand) = (50.0, 50.0, 50.0, 5.0);
    let mut setpoint = 50.0;
    (0..ticks)
        .map(|t| {
            if t % 130 == 100 {
                setpoint = [40.0, 50.0, 60.0][(noise.uniform() * 3.0) as usize % 3];
            }
            let past = t.saturating_sub(from) as f64;
            let bias = match fault {
                Fault::LevelOffset(offset) if t >= from => offset,
                Fault::LevelDrift(rate) if t >= from => rate * past,
                _ => 0.0,
            };
            demand += (5.0 - demand) * 0.02 + noise.normal() * 0.05;
            let seen = level + bias + noise.normal() * 0.1;
            let error = setpoint - seen;
            integral = (integral + 0.05 * error).clamp(0.0, 100.0);
            let wanted = (2.0 * error + integral).clamp(0.0, 100.0);
            valve += (wanted - valve) * 0.5;
            let inflow = valve * 0.1;
            let outflow = demand * (level / 50.0_f64).max(0.0).sqrt();
            level += (inflow - outflow) * 0.5;
            let twin = level + noise.normal() * 0.1;
            let values = [
                setpoint,
                seen,
                valve,
                inflow + noise.normal() * 0.03,
                outflow + noise.normal() * 0.03,
                twin,
                400.0,
                1.0,
            ];
            let time = UtcNanos(1_000 * SECOND + t as i64 * SECOND);
            let tags = values.iter().enumerate().map(|(i, &value)| TagReading {
                tag: TagId(i as u32),
                value,
                age_ns: 0,
                quality: Quality::Good,
            });
            let gone = fault == Fault::SquareGone && t >= from;
            let cameras = if camera { vec![picture(t, time, gone, 0, &mut noise)] } else { Vec::new() };
            Tick { line: LineId(0), index: t as u64, time, tags: tags.collect(), cameras }
        })
        .collect()
}

/// A belt of squares that moves to the right, under a fixed lamp (a square at the top left that may be gone), with noise.
pub fn picture(t: usize, time: UtcNanos, lamp_gone: bool, brighter: i32, noise: &mut Noise) -> CameraReading {
    let side = MODEL_PIXELS as usize;
    let frames = [0, 1].map(|half| {
        let shift = (t * 2 + half) * 3;
        let mut pixels = Vec::with_capacity(side * side * 3);
        for row in 0..side {
            for col in 0..side {
                let belt = (60..84).contains(&row) && (col + 1000 * side - shift) % 28 < 14;
                let lamp = !lamp_gone && (18..24).contains(&row) && (32..38).contains(&col);
                let base = if belt || lamp { 180 } else { 80 };
                let grain = ((noise.0 >> 40) % 5) as i32 - 2;
                noise.uniform();
                let v = (base + grain + brighter).clamp(0, 255) as u8;
                pixels.extend([v, v, if belt { v / 2 } else { v }]);
            }
        }
        Frame { camera: CameraId(0), time, width: MODEL_PIXELS, height: MODEL_PIXELS, pixels: Arc::from(pixels) }
    });
    CameraReading { camera: CameraId(0), frames: frames.to_vec(), quality: Quality::Good }
}

pub fn options(epochs_max: usize) -> TrainOptions {
    TrainOptions { epochs_max, size: Size::least(), ..TrainOptions::default() }
}

pub fn trained(spec: &ModelSpec, runs: &[Vec<Tick>], epochs_max: usize) -> Result<PlantModel, TrainError> {
    train(spec, runs, &options(epochs_max), &mut |_| true)
}

pub fn outputs(stream: &mut Stream, ticks: &[Tick]) -> Vec<Output> {
    ticks.iter().map(|tick| stream.step(tick)).collect()
}

/// Outputs as text with every bit, to compare NaN too.
pub fn bits(outputs: &[Output]) -> String {
    format!("{outputs:?}")
}
