//! Values that are physically impossible.

use sightglass_protocol::UtcNanos;

use super::{
    cause::{Cause, Finding, plain},
    streak::Streak,
};

/// A value is beyond its range from this share of it on: instruments show a little more than they are made for.
const MARGIN: f64 = 0.02;
/// So many values in a row, …
const BEYOND_MIN: u32 = 2;
/// … or one that stays for so many periods.
const BEYOND_PERIODS: i64 = 2;

/// Whether a tag's values lie within its range.
#[derive(Clone, Debug)]
pub(super) struct Range {
    limits: Option<(f64, f64)>,
    unit: String,
    lasts_ns: i64,
    beyond: Streak,
    value: f64,
}

impl Range {
    pub(super) fn new(limits: Option<(f64, f64)>, unit: String, period_ns: i64, tick_ns: i64) -> Self {
        let lasts_ns = BEYOND_PERIODS.saturating_mul(period_ns.max(tick_ns));
        Self { limits, unit, lasts_ns, beyond: Streak::default(), value: f64::NAN }
    }

    /// Takes in a value; whether it is possible.
    pub(super) fn take(&mut self, time: UtcNanos, value: f64) -> bool {
        let Some((low, high)) = self.limits else { return true };
        let margin = (high - low) * MARGIN;
        let is_within = (low - margin..=high + margin).contains(&value);
        self.beyond.note(!is_within, time);
        self.value = value;
        is_within
    }

    pub(super) fn finding(&self, now: UtcNanos) -> Option<Finding> {
        let (low, high) = self.limits?;
        let since = self.beyond.lasted_or(BEYOND_MIN, self.lasts_ns, now)?;
        let (value, unit) = (plain(self.value), &self.unit);
        let reason = format!("reads {value} {unit}, outside of {low} to {high}; check the sensor, or its range");
        Some(Finding::new(Cause::OutOfRange, since, reason))
    }
}
