//! From a range and a number of pixels to the width of a point.

use sightglass_protocol::UtcNanos;

use crate::error::HistoryError;

/// More pixels than any screen has; a query for more is answered as for this many.
pub(crate) const PIXELS_MAX: u32 = 16_384;

/// The widest point: 158 years. All of time has four of them.
const STEP_MAX: i64 = 5_000_000_000_000_000_000;

/// Ends of a range, both within it; an error when upside down.
pub(crate) fn checked(from: UtcNanos, to: UtcNanos) -> Result<(i64, i64), HistoryError> {
    if from > to {
        return Err(HistoryError::BadQuery { what: format!("the range ends ({to}) before it starts ({from})") });
    }
    Ok((from.0, to.0))
}

/// The width of a point: the smallest of 1, 2 and 5 x 10^n nanoseconds (so that points stay where they are while a view
/// moves) with which the range has at most two points a pixel.
pub(crate) fn step(from: i64, to: i64, pixels: u32) -> i64 {
    let points = i128::from(pixels.clamp(1, PIXELS_MAX)) * 2;
    let count = |step: i64| i128::from(to.div_euclid(step)) - i128::from(from.div_euclid(step)) + 1;
    let steps = (0..=18).flat_map(|power| [1, 2, 5].map(|factor| factor * 10i64.pow(power)));
    steps.into_iter().find(|&step| count(step) <= points).unwrap_or(STEP_MAX)
}

/// The range made whole: from the start of its first step to the end of its last.
pub(crate) fn whole(from: i64, to: i64, step: i64) -> (i64, i64) {
    let clamp = |time: i128| time.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
    let wide = i128::from(step);
    let first = i128::from(from.div_euclid(step)) * wide;
    let last = (i128::from(to.div_euclid(step)) + 1) * wide - 1;
    (clamp(first), clamp(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_never_has_more_than_two_points_a_pixel() {
        for (from, to) in [(0, 0), (-5, 7), (i64::MIN, i64::MAX), (0, 3_600_000_000_000), (i64::MAX - 1, i64::MAX)] {
            for pixels in [2, 7, 1920, u32::MAX] {
                let step = step(from, to, pixels);
                let points = i128::from(to.div_euclid(step)) - i128::from(from.div_euclid(step)) + 1;
                assert!(points <= 2 * i128::from(pixels.min(PIXELS_MAX)), "{from}..{to} at {pixels}: {step}");
            }
        }
    }
}
