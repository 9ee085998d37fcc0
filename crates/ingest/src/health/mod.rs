//! The state of every tag and camera by NAMUR NE 107, from its data.
//!
//! A source that is connected is not healthy for that: it may repeat its last value, show the same picture, or show
//! another scene. So each tag and each camera is judged by what it delivers, against what it delivered before. What is
//! usual (noise, steps, intervals, repetitions; the scene, its details, the noise of pictures) is learned from the data
//! itself while nothing is wrong, in bounded memory.
//!
//! A detector is a file: it takes samples or pictures in, and says at a tick what is wrong, since when, why, and what to do
//! ([`cause`]). [`standing`] makes states of findings: raised at once, left when the cause is gone for a while. While the
//! state is worse than *maintenance required*, the tick's reading is not usable, so that the model does not see it and
//! nothing is raised about the process on it.
//!
//! Time is the data's: what a tick says depends on what was captured up to it. Only a source's clock is judged by when, and
//! in which order, its samples came, and only that is not the same when a live line is replayed.

mod camera;
mod cause;
mod clock;
mod exposure;
mod frozen;
mod jump;
mod matching;
mod noise;
mod pace;
mod picture_stream;
mod range;
mod scene;
mod silence;
mod standing;
mod steps;
mod still;
mod streak;
mod tag;
mod validity;
mod window;

use std::collections::HashMap;

use sightglass_protocol::{CameraId, Frame, Health, HealthState, Role, Sample, Subject, TagId, Tick, UtcNanos};

pub use camera::CameraHealthSettings;
pub use cause::Cause;
pub use tag::TagHealthSettings;

use camera::CameraHealth;
use standing::Change;
use tag::TagHealth;

/// What must be known of a line.
#[derive(Clone, Debug, PartialEq)]
pub struct LineHealthSettings {
    /// The tick period, above 0.
    pub tick_ns: i64,
    /// Its tags, in the order of [`Tick::tags`].
    pub tags: Vec<TagHealthSettings>,
    /// Its cameras, in the order of [`Tick::cameras`].
    pub cameras: Vec<CameraHealthSettings>,
    /// How many sources deliver.
    pub sources: usize,
}

/// What the line does, as far as it explains data.
#[derive(Clone, Copy, Debug, Default)]
struct LineNow {
    /// Whether every mode says so: then values may hold.
    stands: bool,
    /// When people last changed a setpoint or mode.
    acted: Option<UtcNanos>,
}

/// The health of a line's tags and cameras; see the module's documentation.
#[derive(Clone, Debug)]
pub struct LineHealth {
    tags: Vec<TagHealth>,
    cameras: Vec<CameraHealth>,
    tag_at: HashMap<TagId, usize>,
    camera_at: HashMap<CameraId, usize>,
    /// Per source, the plant's clock at its last delivery, as far as is known.
    clocks: Vec<UtcNanos>,
    line: LineNow,
}

impl LineHealth {
    /// Nothing has come in yet.
    pub fn new(settings: LineHealthSettings) -> Self {
        let tick_ns = settings.tick_ns;
        let tags: Vec<_> = settings.tags.into_iter().map(|tag| TagHealth::new(tag, tick_ns)).collect();
        let cameras: Vec<_> = settings.cameras.into_iter().map(|camera| CameraHealth::new(camera, tick_ns)).collect();
        Self {
            tag_at: tags.iter().enumerate().map(|(at, tag)| (tag.settings().tag, at)).collect(),
            camera_at: cameras.iter().enumerate().map(|(at, camera)| (camera.settings().camera, at)).collect(),
            clocks: vec![UtcNanos::MIN; settings.sources],
            line: LineNow::default(),
            tags,
            cameras,
        }
    }

    /// Takes samples of a source, which came together. `arrived` is when, by the plant's clock, where that is known; a
    /// recorded source is taken to come when its samples were captured.
    pub fn samples(&mut self, source: usize, arrived: Option<UtcNanos>, samples: &[Sample]) {
        let Some(earliest) = samples.iter().map(|sample| sample.time).min() else { return };
        let clock = &mut self.clocks[source];
        *clock = (*clock).max(arrived.unwrap_or(earliest));
        for sample in samples {
            if let Some(&at) = self.tag_at.get(&sample.tag) {
                self.tags[at].arrived(*clock, *sample, &self.line);
            }
        }
    }

    /// Takes a picture as the model sees it; `size` is the whole picture's, in pixels.
    pub fn picture(&mut self, frame: Frame, size: (u32, u32)) {
        if let Some(&at) = self.camera_at.get(&frame.camera) {
            self.cameras[at].arrived(frame, size, &self.line);
        }
    }

    /// What is to be told when a source tells `health` of itself: that; and what the data says where it is worse, so that
    /// the worse one stands.
    pub fn told(&self, health: Health) -> Vec<Health> {
        let camera = match health.subject {
            Some(Subject::Camera(camera)) => self.camera_at.get(&camera).map(|at| &self.cameras[*at]),
            _ => None,
        };
        let Some((camera, worse)) = camera.and_then(|camera| Some((camera, camera.worse_than(health.state)?))) else {
            return vec![health];
        };
        let stands = Health {
            subject: health.subject,
            source: camera.settings().name.clone(),
            state: worse.state,
            since: worse.since.max(health.since),
            reason: worse.reason.clone(),
        };
        if health.state == HealthState::Good { Vec::new() } else { vec![health, stands] }
    }

    /// Judges a tick: marks the readings that are not to be used, and gives the states that change.
    pub fn tick(&mut self, tick: &mut Tick) -> Vec<Health> {
        let now = tick.time;
        // What people did explains what the line did in the same tick.
        for tag in self.tags.iter_mut().filter(|tag| tag.is_typed()) {
            if tag.advance(now, &self.line) {
                self.line.acted = Some(now);
            }
        }
        let mut modes = self.tags.iter().filter(|tag| tag.settings().role == Role::Mode).map(TagHealth::value);
        // While no mode is known, the line runs.
        self.line.stands = modes.next().is_some_and(|first| first == 0.0) && modes.all(|mode| mode == 0.0);
        let mut changes = Vec::new();
        for (tag, reading) in self.tags.iter_mut().zip(&mut tick.tags) {
            tag.advance(now, &self.line);
            let change = tag.judge(now, reading);
            let TagHealthSettings { tag, name, .. } = tag.settings();
            changes.extend(change.map(|change| health(Subject::Tag(*tag), name, change)));
        }
        for (camera, reading) in self.cameras.iter_mut().zip(&mut tick.cameras) {
            camera.advance(now, &self.line);
            let change = camera.judge(now, reading);
            let CameraHealthSettings { camera, name, .. } = camera.settings();
            changes.extend(change.map(|change| health(Subject::Camera(*camera), name, change)));
        }
        changes
    }
}

fn health(subject: Subject, name: &str, change: Change) -> Health {
    let Change { state, since, reason } = change;
    Health { subject: Some(subject), source: name.to_owned(), state, since, reason }
}
