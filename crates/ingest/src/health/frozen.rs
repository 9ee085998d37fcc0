//! A value that repeats itself where noise is expected.
//!
//! How often a value repeats, and how often it does so again, is learned from the tag itself. A value that hardly ever does
//! is frozen after a few repetitions; one that sticks (a source that sends changes, a coarse instrument) after many, and not
//! before three times the longest hold that it has shown.

use sightglass_protocol::{UtcNanos, time::SECOND};

use super::cause::{Cause, Finding, plain};

/// A tag must have changed so often before it is known to be one that moves.
const CHANGES_MIN: u32 = 20;
/// Samples from which the share of repetitions is known well enough.
const SAMPLES_MIN: u32 = 40;
/// The share of repetitions is that of the last so many samples, or of half as many.
const SAMPLES_MAX: u32 = 8192;
/// A shorter hold is never frozen.
const HOLD_NS_MIN: i64 = 2 * SECOND;
const REPEATS_MIN: f64 = 3.0;
/// By chance alone a tag is called frozen once in so many seconds …
const CHANCE_S: f64 = 1e7;
/// … and no more often than once in so many samples. Of slow tags there are few to go by.
const CHANCE_SAMPLES: f64 = 1e6;
const SLOW_PERIOD_NS: i64 = 2 * SECOND;
/// Repetitions are not by chance where their share is above this: holds then have lengths of their own, …
const HOLDING_SHARE: f64 = 0.2;
/// … and a frozen value holds for so many times the longest, …
const HOLD_RATIO: f64 = 3.0;
/// … and for so many times what would be enough by chance.
const CHANCE_RATIO: f64 = 2.0;
/// The share of repetitions that repeat again is taken for that of all until there are many more than so many.
const AGAIN_PRIOR: f64 = 4.0;
/// The share of repetitions of late counts from here on: its steps may have become coarser.
const LATE_SHARE_MIN: f64 = 0.35;
const LATE_SAMPLES: f64 = 16.0;

/// How a measurement repeats itself.
#[derive(Clone, Debug)]
pub(super) struct Frozen {
    period_ns: i64,
    value: f64,
    changes: u32,
    samples: u32,
    repeats: u32,
    /// Repetitions of what was one already.
    again: u32,
    /// The share of repetitions among the last few samples …
    late_share: f64,
    /// … and what it was when the present hold began.
    share_before: f64,
    held_since: UtcNanos,
    held: u32,
    held_longest: u32,
    is_frozen: bool,
}

impl Frozen {
    pub(super) fn new(period_ns: i64) -> Self {
        Self {
            period_ns,
            value: f64::NAN,
            changes: 0,
            samples: 0,
            repeats: 0,
            again: 0,
            late_share: 0.0,
            share_before: 0.0,
            held_since: UtcNanos::MIN,
            held: 0,
            held_longest: 0,
            is_frozen: false,
        }
    }

    /// Takes in a value. `may_hold` is whether it may repeat itself now: the line stands, or the value is clipped.
    pub(super) fn take(&mut self, time: UtcNanos, value: f64, may_hold: bool) {
        let repeats = value.to_bits() == self.value.to_bits();
        if !repeats {
            // The first hold of a run began before the run did, so its length is not known.
            if self.changes > 0 && !self.is_frozen {
                self.held_longest = self.held_longest.max(self.held);
            }
            self.changes = self.changes.saturating_add(1);
        }
        if !repeats || may_hold {
            (self.value, self.held, self.held_since) = (value, 0, time);
            (self.share_before, self.is_frozen) = (self.late_share, false);
        } else {
            self.held = self.held.saturating_add(1);
        }
        if may_hold || self.is_frozen {
            return;
        }
        self.late_share += (f64::from(u8::from(repeats)) - self.late_share) / LATE_SAMPLES;
        self.samples += 1;
        self.repeats += u32::from(repeats);
        self.again += u32::from(repeats && self.held > 1);
        if self.samples >= SAMPLES_MAX {
            (self.samples, self.repeats, self.again) = (self.samples / 2, self.repeats / 2, self.again / 2);
        }
        self.is_frozen = self.is_known()
            && f64::from(self.held) >= self.repeats_limit()
            && time.since(self.held_since) >= HOLD_NS_MIN;
        if self.is_frozen {
            // What a frozen sensor did is not how this one is.
            self.samples = self.samples.saturating_sub(self.held).max(SAMPLES_MIN);
            self.repeats = self.repeats.saturating_sub(self.held);
            self.again = self.again.saturating_sub(self.held);
        }
    }

    fn is_known(&self) -> bool {
        self.changes >= CHANGES_MIN && self.samples >= SAMPLES_MIN
    }

    fn repeats_limit(&self) -> f64 {
        let repeats = self.repeats.saturating_sub(self.held);
        let samples = self.samples.saturating_sub(self.held);
        let again = self.again.saturating_sub(self.held);
        let of_all = (f64::from(repeats) + 2.0) / (f64::from(samples) + 4.0);
        let of_repeats = (f64::from(again) + AGAIN_PRIOR * of_all) / (f64::from(repeats) + AGAIN_PRIOR);
        let mut share = of_all.max(of_repeats);
        if self.share_before > LATE_SHARE_MIN {
            share = share.max(self.share_before);
        }
        let chance = if self.period_ns >= SLOW_PERIOD_NS {
            1.0 / CHANCE_SAMPLES
        } else {
            self.period_ns as f64 / SECOND as f64 / CHANCE_S
        };
        let by_chance = (chance.ln() / share.min(0.999).ln()).max(REPEATS_MIN);
        if share > HOLDING_SHARE {
            (CHANCE_RATIO * by_chance).max(HOLD_RATIO * f64::from(self.held_longest))
        } else {
            by_chance
        }
    }

    pub(super) fn finding(&self, now: UtcNanos) -> Option<Finding> {
        self.is_frozen.then(|| {
            let reason = format!(
                "has read {} for {} s, though samples come and it always moved; check the sensor and its wiring",
                plain(self.value),
                now.since(self.held_since) / SECOND
            );
            Finding::new(Cause::Frozen, self.held_since, reason)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `values` at one a second from second `from` on.
    fn feed(frozen: &mut Frozen, from: i64, values: impl Iterator<Item = f64>) -> i64 {
        let mut second = from;
        for value in values {
            frozen.take(UtcNanos(second * SECOND), value, false);
            second += 1;
        }
        second
    }

    #[test]
    fn a_noisy_value_that_repeats_is_frozen_within_ten_seconds_and_no_longer_when_it_moves() {
        let mut frozen = Frozen::new(SECOND);
        let next = feed(&mut frozen, 0, (0..200).map(|i| f64::from(i * 7919 % 31)));
        let frozen_at = feed(&mut frozen, next, std::iter::repeat_n(7.0, 9));
        let finding = frozen.finding(UtcNanos(frozen_at * SECOND)).expect("frozen");
        assert_eq!(finding.since, UtcNanos(next * SECOND));
        feed(&mut frozen, frozen_at, [8.0].into_iter());
        assert_eq!(frozen.finding(UtcNanos(frozen_at * SECOND)), None);
    }

    #[test]
    fn a_value_that_usually_holds_or_never_moved_is_not_frozen() {
        let mut holds = Frozen::new(SECOND);
        let next = feed(&mut holds, 0, (0..400).map(|i| f64::from(i / 10)));
        let now = feed(&mut holds, next, std::iter::repeat_n(39.0, 25));
        assert_eq!(holds.finding(UtcNanos(now * SECOND)), None);
        let now = feed(&mut holds, now, std::iter::repeat_n(39.0, 400));
        assert!(holds.finding(UtcNanos(now * SECOND)).is_some(), "but not for ever");
        let mut constant = Frozen::new(SECOND);
        let now = feed(&mut constant, 0, std::iter::repeat_n(5.0, 10_000));
        assert_eq!(constant.finding(UtcNanos(now * SECOND)), None);
    }
}
