//! Samples shaped like those of a plant: seven kinds of tags, each as its instrument would give it.

use sightglass_protocol::{
    LineId, LineInfo, PlantInfo, Quality, Role, Sample, TagId, TagInfo, TimeSource, UtcNanos, time::SECOND,
};

/// 2026-01-01T00:00:00Z.
pub(crate) const START: i64 = 1_767_225_600 * SECOND;

/// A plant of one line with `tags` measurements.
pub(crate) fn plant(tags: usize) -> PlantInfo {
    let tag = |index: usize| TagInfo {
        id: TagId::from_index(index),
        line: LineId(0),
        name: format!("tag{index:04}"),
        description: String::new(),
        unit: "1".to_owned(),
        range: None,
        role: Role::Measurement,
    };
    PlantInfo {
        name: "bench".to_owned(),
        lines: vec![LineInfo {
            id: LineId(0),
            name: "line".to_owned(),
            tick_ns: SECOND,
            tags: (0..tags).map(TagId::from_index).collect(),
            cameras: Vec::new(),
        }],
        tags: (0..tags).map(tag).collect(),
        cameras: Vec::new(),
    }
}

/// A tag that goes on for ever, sample by sample. The same seed gives the same samples.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    kind: usize,
    random: u64,
    state: f64,
    target: f64,
    count: u64,
    time: i64,
    interval_ns: i64,
}

impl Shape {
    /// The tag `index`, sampled about every `interval_ns` from `time` on.
    pub(crate) fn new(index: usize, time: i64, interval_ns: i64) -> Self {
        let random = (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self { kind: index % 7, random, state: 20.0 + index as f64 % 60.0, target: 50.0, count: 0, time, interval_ns }
    }

    /// Uniform in 0 to 1 (xorshift64*).
    fn uniform(&mut self) -> f64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// About normal, by the sum of uniforms.
    fn normal(&mut self) -> f64 {
        (0..4).map(|_| self.uniform()).sum::<f64>() * 1.732 - 3.464
    }

    /// The next sample, of `tag`.
    pub(crate) fn next(&mut self, tag: TagId) -> Sample {
        self.count += 1;
        let nominal = self.time + self.count as i64 * self.interval_ns;
        // Instruments are read by a cycle: to the millisecond, one in four cycles is a little late.
        let late_ms = if self.uniform() < 0.25 { (self.uniform() * 3.0) as i64 + 1 } else { 0 };
        let noise = self.normal();
        if self.uniform() < 0.001 {
            self.target = self.uniform() * 100.0;
        }
        self.state += (self.target - self.state) * 0.01;
        let quantum = |value: f64, quantum: f64| (value / quantum).round() * quantum;
        let value = match self.kind {
            // A temperature to a tenth of a degree.
            0 => quantum(self.state + 0.05 * noise, 0.1),
            // A pressure to a hundredth of a bar.
            1 => quantum(self.state / 10.0 + 0.02 * noise, 0.01),
            // A flow from a 12-bit converter.
            2 => ((self.state + 0.3 * noise) / 100.0 * 4095.0).round() / 4095.0 * 100.0,
            // A counter.
            3 => (self.count / 7) as f64,
            // A state.
            4 => f64::from(u8::from(self.target > 50.0)),
            // A setpoint.
            5 => quantum(self.target, 0.5),
            // A vibration as a 32-bit float, noise in every bit of it.
            _ => f64::from((self.state * 0.05 * (1.0 + 0.2 * noise)).abs() as f32),
        };
        let quality = if self.uniform() < 0.0005 { Quality::Uncertain } else { Quality::Good };
        Sample { tag, time: UtcNanos(nominal + late_ms * 1_000_000), value, quality, time_source: TimeSource::Device }
    }
}

/// Samples of all tags as they come in: cycle after cycle.
pub(crate) fn cycles(shapes: &mut [Shape], count: usize) -> Vec<Sample> {
    let mut samples = Vec::with_capacity(shapes.len() * count);
    for _ in 0..count {
        samples.extend(shapes.iter_mut().enumerate().map(|(index, shape)| shape.next(TagId::from_index(index))));
    }
    samples
}
