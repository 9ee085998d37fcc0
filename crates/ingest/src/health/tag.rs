//! One tag: its samples in, its state out.

use std::collections::VecDeque;

use sightglass_protocol::{Role, Sample, TagId, TagReading, UtcNanos, time::SECOND};

use super::{
    LineNow,
    cause::Finding,
    clock::Clock,
    frozen::Frozen,
    jump::Jump,
    noise::Noise,
    pace::Pace,
    range::Range,
    silence::Silence,
    standing::{Change, Standing},
    steps::Steps,
    validity::Validity,
};

/// Samples that wait for their tick; of more, the oldest are looked at before it.
const WAITING_MAX: usize = 4096;
/// A state is left when its cause is gone for so long, or for so many periods.
const HOLD_NS: i64 = 3 * SECOND;
const HOLD_PERIODS: i64 = 3;
/// From so many periods on, an interval is a gap, over which neither steps nor noise tell anything.
const GAP_PERIODS: i64 = 3;

/// What must be known of a tag.
#[derive(Clone, Debug, PartialEq)]
pub struct TagHealthSettings {
    /// Its identity.
    pub tag: TagId,
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Its role: only measurements are asked for noise, setpoints and modes hold until people change them.
    pub role: Role,
    /// What is physically possible, low and high.
    pub range: Option<(f64, f64)>,
    /// How often a value is due.
    pub period_ns: i64,
}

/// The health of one tag.
#[derive(Clone, Debug)]
pub(super) struct TagHealth {
    settings: TagHealthSettings,
    waiting: VecDeque<Sample>,
    last: Option<UtcNanos>,
    /// Of setpoints and modes, the last value.
    value: f64,
    silence: Silence,
    validity: Validity,
    clock: Clock,
    range: Range,
    pace: Pace,
    frozen: Frozen,
    noise: Noise,
    jump: Jump,
    steps: Steps,
    standing: Standing,
}

impl TagHealth {
    pub(super) fn new(settings: TagHealthSettings, tick_ns: i64) -> Self {
        let TagHealthSettings { role, range, period_ns, .. } = settings;
        let unit = || settings.unit.clone();
        let is_observed = matches!(role, Role::Measurement | Role::Output);
        Self {
            waiting: VecDeque::new(),
            last: None,
            value: f64::NAN,
            silence: Silence::new(period_ns, tick_ns, !is_observed),
            validity: Validity::new(period_ns, tick_ns),
            clock: Clock::new(period_ns),
            range: Range::new(range.filter(|_| is_observed), unit(), period_ns, tick_ns),
            pace: Pace::new(period_ns),
            frozen: Frozen::new(period_ns),
            noise: Noise::new(period_ns),
            jump: Jump::new(range, unit()),
            steps: Steps::new(period_ns),
            standing: Standing::new(HOLD_NS.max(HOLD_PERIODS.saturating_mul(period_ns))),
            settings,
        }
    }

    pub(super) fn settings(&self) -> &TagHealthSettings {
        &self.settings
    }

    /// Whether people set it.
    pub(super) fn is_typed(&self) -> bool {
        matches!(self.settings.role, Role::Setpoint | Role::Mode)
    }

    /// The last value of a setpoint or mode; NaN before the first.
    pub(super) fn value(&self) -> f64 {
        self.value
    }

    /// A sample came when the plant's clock showed `clock`. It is looked at when its tick comes.
    pub(super) fn arrived(&mut self, clock: UtcNanos, sample: Sample, line: &LineNow) {
        self.silence.heard(clock, sample.time);
        if !self.is_typed() {
            self.clock.take(clock, sample.time);
        }
        if self.waiting.len() >= WAITING_MAX
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.look_at(&oldest, line);
        }
        let at = self.waiting.partition_point(|other| other.time <= sample.time);
        self.waiting.insert(at, sample);
    }

    /// Looks at everything up to the tick `now`. Whether a setpoint or mode was changed.
    pub(super) fn advance(&mut self, now: UtcNanos, line: &LineNow) -> bool {
        let before = self.value;
        while let Some(sample) = self.waiting.pop_front_if(|sample| sample.time <= now) {
            self.look_at(&sample, line);
        }
        before.is_finite() && before != self.value
    }

    fn look_at(&mut self, sample: &Sample, line: &LineNow) {
        let Sample { time, value, .. } = *sample;
        let before = self.last;
        if before.is_some_and(|last| time <= last) {
            return;
        }
        self.last = Some(time);
        let is_value = self.validity.take(sample);
        if self.is_typed() {
            if is_value {
                self.value = value;
            }
            return;
        }
        self.pace.take(time);
        if !is_value {
            self.noise.interrupt();
            self.jump.interrupt();
            return;
        }
        let is_possible = self.range.take(time, value);
        if self.settings.role != Role::Measurement {
            return;
        }
        if before.is_some_and(|last| time.since(last) > GAP_PERIODS.saturating_mul(self.settings.period_ns)) {
            self.noise.interrupt();
            self.jump.interrupt();
        }
        let is_clipped = value == 0.0 || self.settings.range.is_some_and(|(low, high)| value <= low || value >= high);
        let may_hold = line.stands || is_clipped;
        self.frozen.take(time, value, may_hold);
        self.noise.take(time, value, may_hold);
        if is_possible {
            self.jump.take(time, value, line.acted);
        } else {
            self.jump.interrupt();
        }
        self.steps.take(time, value);
    }

    /// The state at the tick `now`, where it changes. Marks the reading where it is not to be used.
    pub(super) fn judge(&mut self, now: UtcNanos, reading: &mut TagReading) -> Option<Change> {
        let found = self.find(now);
        let change = self.standing.take(now, found);
        if let Some(cause) = self.standing.cause() {
            reading.quality = reading.quality.max(cause.quality());
        }
        change
    }

    fn find(&mut self, now: UtcNanos) -> Option<Finding> {
        let late = self.clock.finding();
        let findings = [
            self.silence.finding(now),
            self.validity.finding(now),
            late,
            self.range.finding(now),
            self.frozen.finding(now),
            self.steps.finding(),
            self.noise.finding(),
            self.jump.finding(),
            self.pace.finding(),
        ];
        findings.into_iter().flatten().min_by_key(|finding| finding.cause)
    }
}
