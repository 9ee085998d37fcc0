//! A camera that shows the same picture: a live one has noise, whatever it looks at.

use sightglass_protocol::{UtcNanos, time::SECOND};

use super::cause::{Cause, Finding};

/// A picture that stays for less is never frozen, …
const STILL_NS_MIN: i64 = 4 * SECOND;
/// … nor one that came so often only.
const STILL_PICTURES_MIN: u32 = 3;
/// Pictures must have changed so often before a camera is known to have noise; those while the line stands are counted for
/// themselves, since an encoder may send nothing new of a scene in which nothing moves.
const CHANGES_MIN: u32 = 20;
/// A picture is still when it differs from the one before by less than this share of the least usual difference: what is
/// encoded anew is never quite the same.
const SHARE_MAX: f64 = 0.15;
/// The least usual difference is followed up and down at these rates a picture.
const DOWN: f64 = 0.05;
const UP: f64 = 0.002;
/// Where pictures repeat by nature, a frozen one stays for so many times the longest stay.
const STAY_RATIO: i64 = 3;

/// How a camera's pictures differ from one to the next.
#[derive(Clone, Debug)]
pub(super) struct Still {
    before: Option<Vec<u8>>,
    least: f64,
    changes: [u32; 2],
    still_since: UtcNanos,
    still: u32,
    /// The last picture that was the same.
    last: UtcNanos,
    stay_ns: i64,
    is_frozen: bool,
}

impl Still {
    pub(super) fn new() -> Self {
        Self {
            before: None,
            least: 0.0,
            changes: [0; 2],
            still_since: UtcNanos::MIN,
            still: 0,
            last: UtcNanos::MIN,
            stay_ns: 0,
            is_frozen: false,
        }
    }

    /// Takes in a picture's bytes.
    pub(super) fn take(&mut self, time: UtcNanos, pixels: &[u8], stands: bool) {
        let Some(before) = self.before.as_mut().filter(|before| before.len() == pixels.len()) else {
            self.before = Some(pixels.to_vec());
            (self.still_since, self.still) = (time, 0);
            return;
        };
        let sum: u64 = before.iter().zip(pixels).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let difference = sum as f64 / pixels.len().max(1) as f64;
        if sum > 0 && difference > SHARE_MAX * self.least {
            before.copy_from_slice(pixels);
            if self.changes[0] > 0 && !self.is_frozen && !stands {
                self.stay_ns = self.stay_ns.max(self.last.since(self.still_since));
            }
            let rate = if difference < self.least || self.least == 0.0 { DOWN } else { UP };
            self.least = if self.changes[0] == 0 { difference } else { self.least + (difference - self.least) * rate };
            self.changes[0] = self.changes[0].saturating_add(1);
            self.changes[1] = self.changes[1].saturating_add(u32::from(stands));
            (self.still_since, self.last, self.still, self.is_frozen) = (time, time, 0, false);
            return;
        }
        self.still = self.still.saturating_add(1);
        self.last = time;
        let is_known = self.changes[usize::from(stands)] >= CHANGES_MIN;
        if !is_known {
            (self.still_since, self.still) = (time, 0);
        }
        let limit_ns = STILL_NS_MIN.max(self.stay_ns.saturating_mul(STAY_RATIO));
        self.is_frozen = is_known && self.still >= STILL_PICTURES_MIN && time.since(self.still_since) >= limit_ns;
    }

    pub(super) fn finding(&self, now: UtcNanos) -> Option<Finding> {
        self.is_frozen.then(|| {
            let seconds = now.since(self.still_since) / SECOND;
            let reason = format!("shows the same picture for {seconds} s; restart the camera and check its link");
            Finding::new(Cause::FrozenPicture, self.still_since, reason)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds pictures at ten a second; whether it is frozen at the end.
    fn feed(still: &mut Still, from: i64, count: i64, stands: bool, level: impl Fn(i64) -> u8) -> bool {
        for at in from..from + count {
            let level = level(at);
            still.take(UtcNanos(at * SECOND / 10), &[level, 255 - level, 9, level / 2], stands);
        }
        still.finding(UtcNanos((from + count) * SECOND / 10)).is_some()
    }

    fn noisy(at: i64) -> u8 {
        (100 + at * 31 % 7) as u8
    }

    #[test]
    fn a_picture_that_stays_is_frozen_after_four_seconds_until_it_changes() {
        let mut still = Still::new();
        assert!(!feed(&mut still, 0, 100, false, noisy));
        assert!(!feed(&mut still, 100, 35, false, |_| 50));
        assert!(feed(&mut still, 135, 15, false, |_| 50));
        assert!(!feed(&mut still, 150, 1, false, noisy));
    }

    #[test]
    fn one_that_repeats_by_nature_or_never_changed_is_not() {
        let mut slow = Still::new();
        assert!(!feed(&mut slow, 0, 1500, false, |at| noisy(at / 30)));
        assert!(!feed(&mut slow, 1500, 60, false, |_| 50));
        assert!(!feed(&mut Still::new(), 0, 1000, false, |_| 50));
    }

    #[test]
    fn of_a_line_that_stands_a_camera_must_have_shown_noise_before() {
        let mut still = Still::new();
        assert!(!feed(&mut still, 0, 200, false, noisy));
        assert!(!feed(&mut still, 200, 100, true, |_| 50));
        assert!(!feed(&mut still, 300, 100, true, noisy));
        assert!(feed(&mut still, 400, 100, true, |_| 50));
    }
}
