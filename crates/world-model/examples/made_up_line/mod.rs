//! A made-up line of any size, whose content does not matter: measurements that follow setpoints, and pictures of noise.

use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sightglass_protocol::tick::MODEL_PIXELS;
use sightglass_protocol::{CameraId, CameraReading, Frame, LineId, Quality, Role, TagId, TagReading, Tick, UtcNanos};
use sightglass_world_model::{CameraSpec, ModelSpec, TagSpec};

const SECOND: i64 = 1_000_000_000;
/// Pictures that are shown in turn.
const PICTURES: usize = 8;

/// How large the line is.
#[derive(Clone, Copy)]
pub(crate) struct MadeUpLine {
    pub(crate) measurements: usize,
    pub(crate) setpoints: usize,
    pub(crate) cameras: usize,
}

impl MadeUpLine {
    pub(crate) fn spec(self) -> ModelSpec {
        let tag = |i: usize| TagSpec {
            id: TagId::from_index(i),
            name: format!("tag {i}"),
            unit: String::new(),
            role: if i < self.measurements { Role::Measurement } else { Role::Setpoint },
            range: Some((-5.0, 5.0)),
            excluded: false,
        };
        let camera = |i: usize| CameraSpec { id: camera_id(i), name: format!("camera {i}") };
        ModelSpec {
            line: LineId(0),
            tick_ns: SECOND,
            tags: (0..self.measurements + self.setpoints).map(tag).collect(),
            cameras: (0..self.cameras).map(camera).collect(),
        }
    }

    /// So many ticks from a seed.
    pub(crate) fn ticks(self, count: usize, seed: u64) -> Vec<Tick> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let side = MODEL_PIXELS as usize;
        let pictures: Vec<Arc<[u8]>> =
            (0..PICTURES).map(|_| (0..side * side * 3).map(|_| rng.random::<u8>()).collect()).collect();
        let mut settled = vec![0f64; self.measurements + self.setpoints];
        (0..count)
            .map(|t| {
                let mut values = Vec::with_capacity(settled.len());
                for i in 0..settled.len() {
                    let noise = rng.random::<f64>() - 0.5;
                    if i < self.measurements {
                        settled[i] += 0.2 * (settled[self.measurements + i % self.setpoints] - settled[i]);
                        values.push(settled[i] + noise);
                    } else {
                        if rng.random::<f64>() < 0.02 {
                            settled[i] = 4.0 * noise;
                        }
                        values.push(settled[i]);
                    }
                }
                let time = UtcNanos(t as i64 * SECOND);
                let reading =
                    |(i, &value)| TagReading { tag: TagId::from_index(i), value, age_ns: 0, quality: Quality::Good };
                let seen = |camera: usize| {
                    let frame = |half: usize| Frame {
                        camera: camera_id(camera),
                        time,
                        width: MODEL_PIXELS,
                        height: MODEL_PIXELS,
                        pixels: pictures[(2 * t + half + camera) % PICTURES].clone(),
                    };
                    CameraReading {
                        camera: camera_id(camera),
                        frames: vec![frame(0), frame(1)],
                        quality: Quality::Good,
                    }
                };
                Tick {
                    line: LineId(0),
                    index: t as u64,
                    time,
                    tags: values.iter().enumerate().map(reading).collect(),
                    cameras: (0..self.cameras).map(seen).collect(),
                }
            })
            .collect()
    }
}

fn camera_id(index: usize) -> CameraId {
    CameraId(index as u16)
}
