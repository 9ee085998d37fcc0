//! The aligner: from samples and pictures of many sources to one state a tick.
//!
//! Time here is capture time only. Each source has a *watermark*: the time up to which it has delivered; a source that
//! has ended has delivered everything. Tick `T` is emitted when every watermark is at or past `T` plus the grace time,
//! so the ticks are a function of the data and not of how it arrived, in which pieces, or how fast.
//!
//! What is kept is bounded: of a tag, one pending sample a tick (the last before it); of a camera, the pictures that
//! some tick will show. When [`PENDING_MAX`] of them wait for a source that lags, ticks are emitted without that source:
//! a source that is stuck cannot hold the others for ever. What it delivers afterwards is late, and counted.

use std::{
    cmp::Reverse,
    collections::{HashMap, VecDeque},
};

use sightglass_protocol::{CameraId, CameraReading, Frame, LineId, Quality, Sample, TagId, TagReading, Tick, UtcNanos};

/// The most samples of a tag, or pictures of a camera, that wait for ticks to be emitted.
pub const PENDING_MAX: usize = 1024;
/// After so many ticks without any data at all, ticks are left out until there is some (their indices stay free).
pub const SILENT_TICKS_MAX: i64 = 3600;
/// A value is stale when it is older than so many of its periods and so many ticks.
pub const STALE_PERIODS: i64 = 3;

/// What the aligner needs to know of a tag.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TagSettings {
    /// Its identity.
    pub tag: TagId,
    /// How often a value is due.
    pub period_ns: i64,
    /// Whether it holds until changed (setpoints and modes) and so is never stale.
    pub holds: bool,
}

/// What the aligner needs to know of a line.
#[derive(Clone, Debug, PartialEq)]
pub struct AlignerSettings {
    /// Its identity.
    pub line: LineId,
    /// The tick period, above 0.
    pub tick_ns: i64,
    /// How long data of a tick may be late, in capture time; not negative.
    pub grace_ns: i64,
    /// Its tags, in the order of [`Tick::tags`].
    pub tags: Vec<TagSettings>,
    /// Its cameras, in the order of [`Tick::cameras`].
    pub cameras: Vec<CameraId>,
    /// How many sources deliver.
    pub sources: usize,
}

/// What came after its tick had been emitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LateCounts {
    /// Samples.
    pub samples: u64,
    /// Pictures.
    pub frames: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Aligner {
    settings: AlignerSettings,
    tag_at: HashMap<TagId, usize>,
    camera_at: HashMap<CameraId, usize>,
    tags: Vec<TagTrack>,
    cameras: Vec<CameraTrack>,
    /// Per source; `UtcNanos::MIN` before its first data, `UtcNanos::MAX` after its end.
    watermarks: Vec<UtcNanos>,
    /// No tick is before it.
    begins: UtcNanos,
    earliest: Option<UtcNanos>,
    latest: UtcNanos,
    /// The last moment with data that an emitted tick has seen.
    heard: UtcNanos,
    emitted: Option<UtcNanos>,
    next_index: u64,
    late: LateCounts,
}

#[derive(Debug, Default)]
struct TagTrack {
    /// The latest sample at or before the last emitted tick.
    current: Option<Sample>,
    /// Later ones, in time order.
    pending: VecDeque<Sample>,
}

#[derive(Debug, Default)]
struct CameraTrack {
    /// In time order.
    frames: VecDeque<Frame>,
}

impl Aligner {
    /// An aligner that has seen nothing yet.
    ///
    /// # Panics
    /// When `tick_ns` is not above 0 or `grace_ns` is negative; a validated plant has neither.
    pub fn new(settings: AlignerSettings) -> Self {
        assert!(settings.tick_ns > 0, "the tick period must be above 0");
        assert!(settings.grace_ns >= 0, "the grace time must not be negative");
        Self {
            tag_at: settings.tags.iter().enumerate().map(|(at, tag)| (tag.tag, at)).collect(),
            camera_at: settings.cameras.iter().enumerate().map(|(at, camera)| (*camera, at)).collect(),
            tags: settings.tags.iter().map(|_| TagTrack::default()).collect(),
            cameras: settings.cameras.iter().map(|_| CameraTrack::default()).collect(),
            watermarks: vec![UtcNanos::MIN; settings.sources],
            begins: UtcNanos::MIN,
            earliest: None,
            latest: UtcNanos::MIN,
            heard: UtcNanos::MIN,
            emitted: None,
            next_index: 0,
            late: LateCounts::default(),
            settings,
        }
    }

    /// Lets ticks begin at `time`: what was captured before, which a live source may still have to give, makes no tick of
    /// its own, and the first tick knows it.
    pub fn begin_at(&mut self, time: UtcNanos) {
        self.begins = time;
    }

    /// Takes samples of a source, whose watermark rises to the latest of them. Samples of tags of other lines are
    /// ignored.
    pub fn samples(&mut self, source: usize, samples: &[Sample]) {
        for sample in samples {
            self.advance(source, sample.time);
            let Some(&at) = self.tag_at.get(&sample.tag) else { continue };
            self.heard_of(sample.time);
            let track = &mut self.tags[at];
            if self.emitted.is_some_and(|emitted| sample.time <= emitted) {
                self.late.samples += 1;
                self.heard = self.heard.max(sample.time);
                if track.current.is_none_or(|current| current.time <= sample.time) {
                    track.current = Some(*sample);
                }
            } else {
                track.insert(*sample, self.settings.tick_ns);
            }
        }
    }

    /// Takes a picture (as the model sees it) of a source, whose watermark rises to its time.
    pub fn frame(&mut self, source: usize, frame: Frame) {
        self.advance(source, frame.time);
        let Some(&at) = self.camera_at.get(&frame.camera) else { return };
        self.heard_of(frame.time);
        if self.emitted.is_some_and(|emitted| frame.time <= emitted) {
            self.late.frames += 1;
            self.heard = self.heard.max(frame.time);
        }
        self.cameras[at].insert(frame, self.settings.tick_ns);
    }

    /// Notes that `source` has delivered everything up to `watermark`.
    pub fn advance(&mut self, source: usize, watermark: UtcNanos) {
        let mark = &mut self.watermarks[source];
        *mark = (*mark).max(watermark);
    }

    /// Notes that `source` delivers nothing more.
    pub fn end(&mut self, source: usize) {
        self.watermarks[source] = UtcNanos::MAX;
    }

    /// What came too late for its tick so far.
    pub fn late(&self) -> LateCounts {
        self.late
    }

    /// The next tick that is complete, if there is one. Call until `None` after every delivery.
    pub fn next_tick(&mut self) -> Option<Tick> {
        let tick_ns = self.settings.tick_ns;
        let mut time = match self.emitted {
            Some(emitted) => emitted + tick_ns,
            None => ceil_to(self.earliest?.max(self.begins), tick_ns),
        };
        let mut skipped = 0;
        if self.emitted.is_some() && time.since(self.heard) > SILENT_TICKS_MAX.saturating_mul(tick_ns) {
            let pending = self.earliest_pending()?;
            if pending > time {
                let jump = ceil_to(pending, tick_ns);
                skipped = jump.since(time) / tick_ns;
                time = jump;
            }
        }
        if !self.is_complete(time) {
            return None;
        }
        self.next_index += skipped.unsigned_abs();
        Some(self.emit(time))
    }

    fn is_complete(&self, time: UtcNanos) -> bool {
        let lowest = self.watermarks.iter().copied().min().unwrap_or(UtcNanos::MAX);
        if lowest == UtcNanos::MAX {
            return time <= self.latest;
        }
        let due = time + self.settings.grace_ns;
        due <= lowest || (self.is_overfull() && due <= self.latest)
    }

    fn is_overfull(&self) -> bool {
        self.tags.iter().any(|track| track.pending.len() > PENDING_MAX)
            || self.cameras.iter().any(|track| track.frames.len() > PENDING_MAX)
    }

    fn earliest_pending(&self) -> Option<UtcNanos> {
        let emitted = self.emitted.unwrap_or(UtcNanos::MIN);
        let samples = self.tags.iter().filter_map(|track| track.pending.front().map(|sample| sample.time));
        let frames = self.cameras.iter().filter_map(|track| track.frames.iter().map(|f| f.time).find(|t| *t > emitted));
        samples.chain(frames).min()
    }

    fn heard_of(&mut self, time: UtcNanos) {
        self.earliest = Some(self.earliest.map_or(time, |earliest| earliest.min(time)));
        self.latest = self.latest.max(time);
    }

    fn emit(&mut self, time: UtcNanos) -> Tick {
        let tick_ns = self.settings.tick_ns;
        let mut heard = self.heard;
        let tags = self
            .tags
            .iter_mut()
            .zip(&self.settings.tags)
            .map(|(track, settings)| {
                track.take_until(time);
                if let Some(current) = &track.current {
                    heard = heard.max(current.time);
                }
                track.reading(settings, time, tick_ns)
            })
            .collect();
        let cameras = self
            .cameras
            .iter_mut()
            .zip(&self.settings.cameras)
            .map(|(track, camera)| {
                let reading = track.reading(*camera, time, tick_ns);
                if let Some(frame) = reading.frames.last() {
                    heard = heard.max(frame.time);
                }
                track.forget_before(time, tick_ns);
                reading
            })
            .collect();
        self.heard = heard;
        self.emitted = Some(time);
        let index = self.next_index;
        self.next_index += 1;
        Tick { line: self.settings.line, index, time, tags, cameras }
    }
}

impl TagTrack {
    /// Keeps `pending` in time order, the later of two equal times winning, and only the last sample before each tick.
    fn insert(&mut self, sample: Sample, tick_ns: i64) {
        let at = self.pending.partition_point(|other| other.time <= sample.time);
        if self.pending.get(at).is_some_and(|next| same_tick(sample.time, next.time, tick_ns)) {
            return;
        }
        if at > 0 && same_tick(self.pending[at - 1].time, sample.time, tick_ns) {
            self.pending[at - 1] = sample;
        } else {
            self.pending.insert(at, sample);
        }
    }

    fn take_until(&mut self, time: UtcNanos) {
        while self.pending.front().is_some_and(|sample| sample.time <= time) {
            self.current = self.pending.pop_front();
        }
    }

    fn reading(&self, settings: &TagSettings, time: UtcNanos, tick_ns: i64) -> TagReading {
        let Some(sample) = &self.current else {
            return TagReading { tag: settings.tag, value: f64::NAN, age_ns: i64::MAX, quality: Quality::Missing };
        };
        let age_ns = time.since(sample.time);
        let limit_ns = STALE_PERIODS.saturating_mul(settings.period_ns.max(tick_ns));
        let is_stale = !settings.holds && age_ns > limit_ns;
        let quality = if is_stale { sample.quality.max(Quality::Stale) } else { sample.quality };
        TagReading { tag: settings.tag, value: sample.value, age_ns, quality }
    }
}

impl CameraTrack {
    fn insert(&mut self, frame: Frame, tick_ns: i64) {
        let at = self.frames.partition_point(|other| other.time < frame.time);
        if self.frames.get(at).is_some_and(|other| other.time == frame.time) {
            self.frames[at] = frame;
        } else {
            self.frames.insert(at, frame);
        }
        // Whether a picture is shown depends on its neighbours only, and those of at most three have changed. The later
        // ones first, so that the positions of the others stay.
        for at in (at.saturating_sub(1)..=at + 1).rev() {
            if self.is_never_shown(at, tick_ns) {
                self.frames.remove(at);
            }
        }
    }

    /// A picture is shown as the latest of a tick when a tick lies between it and the next one; and as the one nearest
    /// to half a tick before (the earlier of two that are equally near) when such a moment lies between the middles
    /// towards its neighbours. The first and the last may still be either.
    fn is_never_shown(&self, at: usize, tick_ns: i64) -> bool {
        let (Some(before), Some(frame), Some(after)) = (
            at.checked_sub(1).and_then(|before| self.frames.get(before)),
            self.frames.get(at),
            self.frames.get(at + 1),
        ) else {
            return false;
        };
        if !same_tick(frame.time, after.time, tick_ns) {
            return false;
        }
        let [before, frame, after] = [before, frame, after].map(|frame| i128::from(frame.time.0));
        let tick = i128::from(tick_ns);
        // Half-tick moments, doubled, are the odd multiples of the tick.
        let odd_multiples_until = |doubled: i128| (doubled + tick).div_euclid(2 * tick);
        odd_multiples_until(before + frame) == odd_multiples_until(frame + after)
    }

    fn reading(&self, camera: CameraId, time: UtcNanos, tick_ns: i64) -> CameraReading {
        let oldest = time - tick_ns.saturating_mul(2);
        let candidates = || self.frames.iter().filter(|frame| frame.time > oldest && frame.time <= time);
        let Some(latest) = candidates().next_back() else {
            return CameraReading { camera, frames: Vec::new(), quality: Quality::Missing };
        };
        let half_doubled = 2 * i128::from(time.0) - i128::from(tick_ns);
        let distance = |frame: &Frame| (2 * i128::from(frame.time.0) - half_doubled).abs();
        let nearest = candidates().max_by_key(|frame| Reverse((distance(frame), frame.time))).unwrap_or(latest);
        let is_fresh = time.since(latest.time) < tick_ns;
        let quality = if is_fresh { Quality::Good } else { Quality::Stale };
        CameraReading { camera, frames: vec![nearest.clone(), latest.clone()], quality }
    }

    /// Forgets what the tick after the one at `time` cannot show.
    fn forget_before(&mut self, time: UtcNanos, tick_ns: i64) {
        let oldest = time - tick_ns;
        while self.frames.front().is_some_and(|frame| frame.time <= oldest) {
            self.frames.pop_front();
        }
    }
}

/// The first multiple of the period at or after `time`.
fn ceil_to(time: UtcNanos, period_ns: i64) -> UtcNanos {
    let floor = time.floor_to(period_ns);
    if floor == time { time } else { floor + period_ns }
}

/// Whether the same tick is the first to see data of both times.
fn same_tick(a: UtcNanos, b: UtcNanos, tick_ns: i64) -> bool {
    ceil_to(a, tick_ns) == ceil_to(b, tick_ns)
}
