//! Whether sensors and cameras can be trusted: values that do not move, pictures that stay the same.
//!
//! Ingest judges every tag and camera by its own history, and marks what is not to be used; that is taken as it is, and a
//! value that it calls frozen, or a picture that it refuses, opens an advisory. What is added here is what the model's card
//! knows of normal running, before a tag has a history of its own.
//!
//! A sensor is frozen when its value is exactly the same, over fresh samples, for much longer than it ever was in normal
//! running. Setpoints, modes and outputs hold by nature and are not asked. Nor is a measurement at 0 or at an end of its
//! range (it may be clipped there), nor any while the line stands. Pictures are compared pixel by pixel: a still scene
//! through a live camera has noise.

use sightglass_protocol::{
    CameraInfo, CameraReading, Frame, Health, HealthState, Quality, Role, Subject, TagInfo, TagReading, Tick, UtcNanos,
    time::SECOND,
};

use crate::{MonitorOptions, Normal};

/// A hold shorter than this is never a frozen sensor.
const HOLD_TICKS_MIN: f32 = 10.0;
/// A frozen sensor holds this many times as long as the longest hold in normal running …
const HOLD_RATIO: f32 = 3.0;
/// … and this many ticks longer.
const HOLD_MARGIN_TICKS: f32 = 5.0;
/// Where normal running is not known, a hold shorter than this is never a frozen sensor, …
const HOLD_TICKS_MIN_UNKNOWN: f32 = 120.0;
/// … and the value must have changed this often, so that it is known to be one that moves.
const CHANGES_MIN_UNKNOWN: u32 = 20;
/// A hold spans at least this many samples beyond its first: a slow sensor is not a frozen one.
const HOLD_SAMPLES_MIN: u32 = 3;
/// A hold this much beyond the longest of normal running makes a sensor suspect, before it is called frozen.
const SUSPECT_MARGIN_TICKS: f32 = 1.0;

/// A picture that stays for no longer than this is never a frozen camera.
const STILL_TICKS_MIN: f32 = 5.0;
const STILL_MARGIN_TICKS: f32 = 2.0;
const STILL_TICKS_MIN_UNKNOWN: f32 = 120.0;

/// How far the evidence of a tag or camera may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    Trusted,
    /// It may turn out to be frozen.
    Suspect,
    Unusable,
}

/// A tag or camera that is frozen now (or was, and has not proved itself again).
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    /// Position among the line's tags, then cameras.
    pub(crate) position: usize,
    /// From when on it did not change.
    pub(crate) since: UtcNanos,
    /// How long it lasted, over how long it may.
    pub(crate) ratio: f32,
    /// One less the share of it that normal running has shown.
    pub(crate) confidence: f32,
    /// The value that it holds (tags only).
    pub(crate) value: Option<f64>,
    /// Whether it holds at this very tick.
    pub(crate) now: bool,
    /// Whether it is unfit for another reason than that it stays the same (cameras only).
    pub(crate) is_unfit: bool,
}

/// Ingest tells a frozen tag or camera only when chance would do that once in months.
const TOLD_CONFIDENCE: f32 = 0.99;

/// Whether it was told that a tag or camera is frozen, where ingest has not told it.
#[derive(Clone, Debug)]
struct Standing {
    state: HealthState,
    good_ticks: u32,
}

/// Why something is frozen.
struct Wrong {
    since: UtcNanos,
    reason: String,
}

impl Standing {
    fn new() -> Self {
        Self { state: HealthState::Good, good_ticks: 0 }
    }

    /// Takes in one tick; the new state, since when and why, where it changed.
    fn take(
        &mut self,
        wrong: Option<Wrong>,
        now: UtcNanos,
        options: &MonitorOptions,
    ) -> Option<(HealthState, UtcNanos, String)> {
        let Some(wrong) = wrong else {
            self.good_ticks = self.good_ticks.saturating_add(1);
            if self.state != HealthState::Good && self.good_ticks >= options.recover_ticks {
                self.state = HealthState::Good;
                return Some((HealthState::Good, now, "delivers again".to_owned()));
            }
            return None;
        };
        self.good_ticks = 0;
        if self.state == HealthState::Failure {
            return None;
        }
        self.state = HealthState::Failure;
        Some((self.state, wrong.since, wrong.reason))
    }
}

#[derive(Clone, Debug)]
struct TagWatch {
    subject: Subject,
    name: String,
    range: Option<(f64, f64)>,
    is_measurement: bool,
    longest_hold_ticks: Option<f32>,
    value: f64,
    captured: UtcNanos,
    held_since: UtcNanos,
    held_ticks: u32,
    held_samples: u32,
    held_ticks_max: u32,
    changes: u32,
    is_frozen: bool,
    /// Whether ingest has told that it is.
    is_told: bool,
    /// Frozen, or was and is not good again.
    was_frozen: bool,
    distrust_ticks: u32,
    standing: Standing,
}

impl TagWatch {
    fn new(tag: &TagInfo, longest_hold_ticks: Option<f32>) -> Self {
        Self {
            subject: Subject::Tag(tag.id),
            name: tag.name.clone(),
            range: tag.range,
            is_measurement: tag.role == Role::Measurement,
            longest_hold_ticks,
            value: f64::NAN,
            captured: UtcNanos::MIN,
            held_since: UtcNanos::MIN,
            held_ticks: 0,
            held_samples: 0,
            held_ticks_max: 0,
            changes: 0,
            is_frozen: false,
            is_told: false,
            was_frozen: false,
            distrust_ticks: 0,
            standing: Standing::new(),
        }
    }

    /// The longest hold that is not called frozen; `None` where that cannot be said yet.
    fn hold_ticks_max(&self) -> Option<f32> {
        match self.longest_hold_ticks {
            Some(longest) => Some((HOLD_RATIO * longest + HOLD_MARGIN_TICKS).max(HOLD_TICKS_MIN)),
            None if self.changes < CHANGES_MIN_UNKNOWN => None,
            None => {
                let longest = self.held_ticks_max as f32;
                Some((HOLD_RATIO * longest + HOLD_MARGIN_TICKS).max(HOLD_TICKS_MIN_UNKNOWN))
            }
        }
    }

    fn may_hold(&self) -> bool {
        let at_end = self.range.is_some_and(|(low, high)| self.value <= low || self.value >= high);
        !self.is_measurement || self.value == 0.0 || at_end
    }

    fn take(&mut self, reading: &mut TagReading, now: UtcNanos, stands: bool, options: &MonitorOptions) -> Trust {
        let is_told = reading.quality == Quality::Frozen;
        let usable = (reading.quality.is_usable() || is_told) && reading.value.is_finite();
        if !usable {
            self.distrust_ticks = options.distrust_ticks;
            return Trust::Unusable;
        }
        let captured = now - reading.age_ns;
        if reading.value.to_bits() == self.value.to_bits() {
            if captured != self.captured {
                self.held_samples = self.held_samples.saturating_add(1);
            }
            if !stands && !self.may_hold() {
                self.held_ticks = self.held_ticks.saturating_add(1);
            }
        } else {
            // The first hold of a run began before the run did, so its length is not known.
            if self.changes > 0 && !self.is_frozen {
                self.held_ticks_max = self.held_ticks_max.max(self.held_ticks);
            }
            self.changes = self.changes.saturating_add(1);
            (self.held_ticks, self.held_samples, self.held_since) = (0, 0, captured);
            (self.is_frozen, self.is_told) = (false, false);
        }
        (self.value, self.captured) = (reading.value, captured);

        self.is_told |= is_told;
        let over = self.hold_ticks_max().is_some_and(|most| self.held_ticks as f32 > most);
        if is_told || (over && self.held_samples >= HOLD_SAMPLES_MIN) {
            (self.is_frozen, self.was_frozen) = (true, true);
        }
        if self.is_frozen {
            reading.quality = Quality::Frozen;
            self.distrust_ticks = options.distrust_ticks;
            return Trust::Unusable;
        }
        let suspect = |longest: f32| self.held_ticks as f32 > longest + SUSPECT_MARGIN_TICKS;
        if self.distrust_ticks > 0 {
            self.distrust_ticks -= 1;
            Trust::Suspect
        } else if self.longest_hold_ticks.is_some_and(suspect) {
            Trust::Suspect
        } else {
            Trust::Trusted
        }
    }

    fn wrong(&self, now: UtcNanos) -> Option<Wrong> {
        self.is_frozen.then(|| {
            let seconds = whole_seconds(self.held_since, now);
            let reason =
                format!("has not changed for {seconds} s though samples come; check the sensor and its wiring");
            Wrong { since: self.held_since, reason }
        })
    }
}

#[derive(Clone, Debug)]
struct CameraWatch {
    subject: Subject,
    name: String,
    longest_still_ticks: Option<f32>,
    last: Option<Frame>,
    still_since: UtcNanos,
    still_ticks: u32,
    is_frozen: bool,
    /// Whether ingest has told that it is.
    is_told: bool,
    was_frozen: bool,
    /// Since when ingest refuses its pictures for what they show.
    unfit_since: Option<UtcNanos>,
    distrust_ticks: u32,
    standing: Standing,
}

impl CameraWatch {
    fn new(camera: &CameraInfo, longest_still_ticks: Option<f32>) -> Self {
        Self {
            subject: Subject::Camera(camera.id),
            name: camera.name.clone(),
            longest_still_ticks,
            last: None,
            still_since: UtcNanos::MIN,
            still_ticks: 0,
            is_frozen: false,
            is_told: false,
            was_frozen: false,
            unfit_since: None,
            distrust_ticks: 0,
            standing: Standing::new(),
        }
    }

    fn still_ticks_max(&self) -> f32 {
        self.longest_still_ticks
            .map_or(STILL_TICKS_MIN_UNKNOWN, |longest| (HOLD_RATIO * longest + STILL_MARGIN_TICKS).max(STILL_TICKS_MIN))
    }

    fn take(&mut self, reading: &mut CameraReading, options: &MonitorOptions) -> Trust {
        let is_told = reading.quality == Quality::Frozen;
        let is_unfit = reading.quality == Quality::Bad && !reading.frames.is_empty();
        self.unfit_since = is_unfit.then(|| self.unfit_since.or(Some(reading.frames.last()?.time))).flatten();
        if !(reading.quality.is_usable() || is_told || is_unfit) || reading.frames.is_empty() {
            self.distrust_ticks = options.distrust_ticks;
            return Trust::Unusable;
        }
        let (mut came, mut moved) = (false, false);
        for frame in &reading.frames {
            match &self.last {
                Some(last) if frame.time <= last.time => continue,
                Some(last)
                    if frame.width == last.width && frame.height == last.height && frame.pixels == last.pixels => {}
                _ => {
                    moved = true;
                    self.still_since = frame.time;
                }
            }
            came = true;
            self.last = Some(frame.clone());
        }
        if moved {
            self.still_ticks = 0;
            (self.is_frozen, self.is_told) = (false, false);
        } else if came {
            self.still_ticks = self.still_ticks.saturating_add(1);
        }
        self.is_told |= is_told;
        if is_told || self.still_ticks as f32 > self.still_ticks_max() {
            self.is_frozen = true;
        }
        if self.is_frozen {
            reading.quality = reading.quality.max(Quality::Frozen);
        }
        if self.is_frozen || is_unfit {
            self.was_frozen = true;
            self.distrust_ticks = options.distrust_ticks;
            return Trust::Unusable;
        }
        let suspect = |longest: f32| self.still_ticks as f32 > longest + SUSPECT_MARGIN_TICKS;
        if self.distrust_ticks > 0 {
            self.distrust_ticks -= 1;
            Trust::Suspect
        } else if self.longest_still_ticks.is_some_and(suspect) {
            Trust::Suspect
        } else {
            Trust::Trusted
        }
    }

    fn wrong(&self, now: UtcNanos) -> Option<Wrong> {
        self.is_frozen.then(|| {
            let seconds = whole_seconds(self.still_since, now);
            let reason = format!("shows the same picture for {seconds} s; restart the camera and check its link");
            Wrong { since: self.still_since, reason }
        })
    }
}

/// Watches all tags and cameras of a line.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    tags: Vec<TagWatch>,
    cameras: Vec<CameraWatch>,
}

impl Delivery {
    /// Tags and cameras are the line's, in its order.
    pub(crate) fn new(tags: &[&TagInfo], cameras: &[&CameraInfo], normal: Option<&Normal>) -> Self {
        let known = |list: fn(&Normal) -> &Vec<f32>, index: usize| {
            normal.and_then(|normal| list(normal).get(index).copied()).filter(|longest| longest.is_finite())
        };
        Self {
            tags: (tags.iter().enumerate())
                .map(|(index, tag)| TagWatch::new(tag, known(|normal| &normal.longest_hold_ticks, index)))
                .collect(),
            cameras: (cameras.iter().enumerate())
                .map(|(index, camera)| CameraWatch::new(camera, known(|normal| &normal.longest_still_ticks, index)))
                .collect(),
        }
    }

    /// Forgets runs of sameness: nobody knows what happened in a gap.
    pub(crate) fn break_runs(&mut self) {
        for tag in &mut self.tags {
            if !tag.is_frozen {
                (tag.held_ticks, tag.held_samples) = (0, 0);
            }
        }
        for camera in &mut self.cameras {
            if !camera.is_frozen {
                camera.still_ticks = 0;
            }
        }
    }

    /// Takes in a tick, marks in it what is frozen, and says how far each tag and camera may be used.
    pub(crate) fn take(
        &mut self,
        tick: &mut Tick,
        stands: bool,
        options: &MonitorOptions,
    ) -> (Vec<Trust>, Vec<Health>) {
        assert_eq!(
            (tick.tags.len(), tick.cameras.len()),
            (self.tags.len(), self.cameras.len()),
            "a tick carries one reading for each tag and camera of its line"
        );
        let now = tick.time;
        let mut trust = Vec::with_capacity(self.tags.len() + self.cameras.len());
        let mut changes = Vec::new();
        for (watch, reading) in self.tags.iter_mut().zip(&mut tick.tags) {
            // What ingest refuses, it has told.
            let is_told = !reading.quality.is_usable();
            trust.push(watch.take(reading, now, stands, options));
            if !is_told {
                let change = watch.standing.take(watch.wrong(now), now, options);
                changes.extend(report(change, watch.subject, &watch.name));
            }
            watch.was_frozen &= watch.is_frozen || watch.standing.state != HealthState::Good;
        }
        for (watch, reading) in self.cameras.iter_mut().zip(&mut tick.cameras) {
            let is_told = !reading.quality.is_usable();
            trust.push(watch.take(reading, options));
            if !is_told {
                let change = watch.standing.take(watch.wrong(now), now, options);
                changes.extend(report(change, watch.subject, &watch.name));
            }
            watch.was_frozen &=
                watch.is_frozen || watch.unfit_since.is_some() || watch.standing.state != HealthState::Good;
        }
        (trust, changes)
    }

    /// Everything that is frozen or has not yet proved to be good again.
    pub(crate) fn frozen(&self) -> Vec<Frozen> {
        let beyond = |lasted: u32, most: f32, longest: Option<f32>| {
            let lasted = (lasted as f32).max(1.0);
            (lasted / most.max(1.0), (1.0 - longest.unwrap_or(most / HOLD_RATIO) / lasted).clamp(0.0, 1.0))
        };
        let tags = self.tags.iter().enumerate().filter(|(_, tag)| tag.was_frozen).map(|(position, tag)| {
            let most = tag.hold_ticks_max().unwrap_or(HOLD_TICKS_MIN_UNKNOWN);
            let (ratio, confidence) = beyond(tag.held_ticks, most, tag.longest_hold_ticks);
            let confidence = if tag.is_told { confidence.max(TOLD_CONFIDENCE) } else { confidence };
            let (since, value, now) = (tag.held_since, Some(tag.value), tag.is_frozen);
            Frozen { position, since, ratio, confidence, value, now, is_unfit: false }
        });
        let cameras = self.cameras.iter().enumerate().filter(|(_, camera)| camera.was_frozen).map(|(index, camera)| {
            let (ratio, confidence) = beyond(camera.still_ticks, camera.still_ticks_max(), camera.longest_still_ticks);
            let position = self.tags.len() + index;
            let is_unfit = camera.unfit_since.is_some() && !camera.is_frozen;
            let since = camera.unfit_since.filter(|_| is_unfit).unwrap_or(camera.still_since);
            let now = camera.is_frozen || is_unfit;
            let (ratio, confidence) = if is_unfit { (1.0, 1.0) } else { (ratio, confidence) };
            let confidence = if camera.is_told { confidence.max(TOLD_CONFIDENCE) } else { confidence };
            Frozen { position, since, ratio, confidence, value: None, now, is_unfit }
        });
        tags.chain(cameras).collect()
    }
}

fn report(change: Option<(HealthState, UtcNanos, String)>, subject: Subject, name: &str) -> Option<Health> {
    let (state, since, reason) = change?;
    Some(Health { subject: Some(subject), source: name.to_owned(), state, since, reason })
}

/// Seconds between two moments, at least 0.
pub(crate) fn whole_seconds(from: UtcNanos, to: UtcNanos) -> i64 {
    to.since(from).max(0) / SECOND
}
