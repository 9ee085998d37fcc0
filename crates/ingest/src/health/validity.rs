//! Values that are none.

use sightglass_protocol::{Quality, Sample, UtcNanos};

use super::{
    cause::{Cause, Finding},
    streak::Streak,
};

/// One bad value alone is no state of its source.
const BAD_MIN: u32 = 2;
/// Unless nothing better follows: a source that goes away says so once.
const BAD_PERIODS: i64 = 2;

/// Whether a tag's values are values.
#[derive(Clone, Debug)]
pub(super) struct Validity {
    lasts_ns: i64,
    bad: Streak,
    quality: Quality,
}

impl Validity {
    pub(super) fn new(period_ns: i64, tick_ns: i64) -> Self {
        let lasts_ns = BAD_PERIODS.saturating_mul(period_ns.max(tick_ns));
        Self { lasts_ns, bad: Streak::default(), quality: Quality::Good }
    }

    /// Takes in a sample; whether it is a value.
    pub(super) fn take(&mut self, sample: &Sample) -> bool {
        let is_value = sample.quality.is_usable() && sample.value.is_finite();
        self.bad.note(!is_value, sample.time);
        self.quality = sample.quality;
        is_value
    }

    pub(super) fn finding(&self, now: UtcNanos) -> Option<Finding> {
        let since = self.bad.lasted_or(BAD_MIN, self.lasts_ns, now)?;
        let reason = if self.quality.is_usable() {
            "the value is not a number; check its source and the sensor".to_owned()
        } else {
            format!("its source says that the value is {}; check the sensor and its wiring", self.quality.word())
        };
        Some(Finding::new(Cause::BadValue, since, reason))
    }
}
