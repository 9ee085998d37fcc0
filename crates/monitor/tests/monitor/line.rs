//! A small line and a run of it, tick by tick, for the tests.

use std::sync::Arc;

use sightglass_monitor::{Findings, Monitor, MonitorOptions, Normal};
use sightglass_protocol::{
    AdvisoryChange, AdvisoryId, Band, CameraId, CameraInfo, CameraReading, Frame, Health, LineId, LineInfo, PatchMap,
    PlantInfo, Quality, Role, ScorePart, Surprise, TagId, TagInfo, TagReading, TagSurprise, Tick, UtcNanos,
    time::SECOND,
};

pub(crate) const FLOW: usize = 0;
pub(crate) const LEVEL: usize = 1;
pub(crate) const TEMPERATURE: usize = 2;
pub(crate) const PUMP: usize = 3;
pub(crate) const SPEED_SETPOINT: usize = 4;
pub(crate) const MODE: usize = 5;
/// The position of the camera beside those of the tags.
pub(crate) const CAMERA: usize = 6;

const TAGS: [(&str, Role); 6] = [
    ("flow_feed", Role::Measurement),
    ("level_tank", Role::Measurement),
    ("temperature", Role::Measurement),
    ("pump_speed", Role::Output),
    ("speed_setpoint", Role::Setpoint),
    ("line_mode", Role::Mode),
];

pub(crate) fn plant() -> PlantInfo {
    let line = LineId(0);
    let tag = |(index, (name, role)): (usize, &(&str, Role))| TagInfo {
        id: TagId::from_index(index),
        line,
        name: (*name).to_owned(),
        description: String::new(),
        unit: "%".to_owned(),
        range: Some((0.0, 100.0)),
        role: *role,
    };
    PlantInfo {
        name: "plant".to_owned(),
        lines: vec![LineInfo {
            id: line,
            name: "line-1".to_owned(),
            tick_ns: SECOND,
            tags: (0..TAGS.len()).map(TagId::from_index).collect(),
            cameras: vec![CameraId(0)],
        }],
        tags: TAGS.iter().enumerate().map(tag).collect(),
        cameras: vec![CameraInfo { id: CameraId(0), line, name: "filler-camera".to_owned(), roi: None, fps: 15.0 }],
    }
}

/// Normal running in which measurements hold for at most one tick and pictures never stand still.
pub(crate) fn normal() -> Normal {
    Normal { longest_hold_ticks: vec![1.0; TAGS.len()], longest_still_ticks: vec![0.0] }
}

/// A run of the line: what it reads at each tick can be bent, and what the model says is given.
pub(crate) struct Run {
    pub(crate) monitor: Monitor,
    pub(crate) index: u64,
    /// Replaces a tag's value.
    pub(crate) values: [Option<f64>; 6],
    /// Replaces a tag's quality.
    pub(crate) qualities: [Option<Quality>; 6],
    /// Replaces the noise in the picture.
    pub(crate) picture: Option<u8>,
    /// Replaces the quality of the picture.
    pub(crate) picture_quality: Option<Quality>,
    pub(crate) changes: Vec<AdvisoryChange>,
    pub(crate) health: Vec<Health>,
}

impl Run {
    pub(crate) fn new() -> Self {
        Self::with(Some(normal()), MonitorOptions::default())
    }

    pub(crate) fn with(normal: Option<Normal>, options: MonitorOptions) -> Self {
        let plant = plant();
        let monitor = Monitor::new(&plant.lines[0], &plant, normal, AdvisoryId(7), options);
        let (values, qualities) = ([None; 6], [None; 6]);
        let (picture, picture_quality) = (None, None);
        let (changes, health) = (Vec::new(), Vec::new());
        Self { monitor, index: 0, values, qualities, picture, picture_quality, changes, health }
    }

    pub(crate) fn now(&self) -> UtcNanos {
        UtcNanos(self.index as i64 * SECOND)
    }

    /// The line at the present tick: noise on the measurements and in the picture, fresh samples.
    pub(crate) fn tick(&self) -> Tick {
        let noise = |position: usize| ((self.index * 7919 + position as u64 * 104_729) % 1009) as f64 / 1009.0;
        let reading = |position: usize| {
            let moving = if position < SPEED_SETPOINT { 50.0 + noise(position) } else { 1.0 };
            TagReading {
                tag: TagId::from_index(position),
                value: self.values[position].unwrap_or(moving),
                age_ns: SECOND / 10,
                quality: self.qualities[position].unwrap_or(Quality::Good),
            }
        };
        let frame = |half: u64| {
            let level = self.picture.unwrap_or((100 + (self.index * 2 + half) % 97) as u8);
            let pixels: Arc<[u8]> = vec![level; 4 * 4 * 3].into();
            let time = self.now() - SECOND / 2 + half as i64 * SECOND / 2;
            Frame { camera: CameraId(0), time, width: 4, height: 4, pixels }
        };
        Tick {
            line: LineId(0),
            index: self.index,
            time: self.now(),
            tags: (0..TAGS.len()).map(reading).collect(),
            cameras: vec![CameraReading {
                camera: CameraId(0),
                frames: vec![frame(0), frame(1)],
                quality: self.picture_quality.unwrap_or(Quality::Good),
            }],
        }
    }

    /// What the model says: the score of the line, and of some positions above their limit.
    pub(crate) fn surprise(&self, score: f32, positions: &[(usize, f32)]) -> Surprise {
        let tick = self.tick();
        let tag = |position: usize| TagSurprise {
            tag: TagId::from_index(position),
            score: score_of(positions, position),
            part: ScorePart::Residual,
            predicted: Some(Band { low: 60.0, mid: 65.0, high: 70.0 }),
            actual: Some(tick.tags[position].value),
        };
        let mut patches = vec![0.3_f32; 64];
        // Rows 3 and 4, the rightmost column.
        (patches[31], patches[39]) = (score_of(positions, CAMERA), score_of(positions, CAMERA));
        Surprise {
            line: LineId(0),
            time: self.now(),
            score,
            parts: vec![(ScorePart::Residual, score)],
            tags: [FLOW, LEVEL, TEMPERATURE, PUMP].map(tag).to_vec(),
            patches: vec![PatchMap {
                camera: CameraId(0),
                rows: 8,
                cols: 8,
                scores: patches,
                part: ScorePart::Appearance,
            }],
            unknown_ground: Vec::new(),
            settled: true,
        }
    }

    pub(crate) fn observe(&mut self, surprise: Option<&Surprise>) -> Findings {
        let mut tick = self.tick();
        let health = self.monitor.check(&mut tick);
        let findings = self.monitor.observe(&tick, surprise);
        assert!(findings.health.is_empty(), "told by check");
        self.health.extend(health);
        self.changes.extend(findings.advisories.iter().cloned());
        self.index += 1;
        findings
    }

    /// One tick with this surprise.
    pub(crate) fn step(&mut self, score: f32, positions: &[(usize, f32)]) -> Findings {
        let surprise = self.surprise(score, positions);
        self.observe(Some(&surprise))
    }

    pub(crate) fn steps(&mut self, count: usize, score: f32, positions: &[(usize, f32)]) {
        for _ in 0..count {
            self.step(score, positions);
        }
    }

    /// Ticks as in normal running.
    pub(crate) fn quiet(&mut self, count: usize) {
        self.steps(count, 0.4, &[]);
    }

    pub(crate) fn opened(&self) -> usize {
        self.changes.iter().filter(|change| matches!(change, AdvisoryChange::Opened(_))).count()
    }

    pub(crate) fn closed(&self) -> usize {
        self.changes.iter().filter(|change| matches!(change, AdvisoryChange::Closed(_))).count()
    }
}

fn score_of(positions: &[(usize, f32)], position: usize) -> f32 {
    positions.iter().find(|(at, _)| *at == position).map_or(0.3, |(_, score)| *score)
}
