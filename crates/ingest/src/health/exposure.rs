//! Pictures that are black, or as bright as they can be.

use sightglass_protocol::{UtcNanos, time::SECOND};

use super::{
    cause::{Cause, Finding},
    streak::Streak,
};

/// A pixel without a channel above this is black …
const BLACK_MAX: u8 = 20;
/// … and so is a picture with this share of them.
const BLACK_SHARE: f64 = 0.98;
/// A grey level from which on a pixel is as bright as it can be.
const BRIGHT_MIN: u8 = 248;
/// A picture is overexposed from this share of such pixels on, …
const BRIGHT_SHARE: f64 = 0.4;
/// … and where it is so many more than usual.
const BRIGHT_SHARE_MORE: f64 = 0.3;
/// It must be so over so many pictures, and for so long.
const PICTURES_MIN: u32 = 3;
const LASTS_NS: i64 = SECOND;
/// What is usual is an average over about so many pictures.
const USUAL_PICTURES: f64 = 1024.0;

/// How a camera's pictures are exposed.
#[derive(Clone, Debug, Default)]
pub(super) struct Exposure {
    black: Streak,
    bright: Streak,
    bright_share: f64,
    usual_bright_share: f64,
    pictures: u32,
}

impl Exposure {
    /// Takes in a picture's bytes and its grey levels. Whether its scene can be looked at.
    pub(super) fn take(&mut self, time: UtcNanos, pixels: &[u8], grey: &[u8]) -> bool {
        let (rgb, _) = pixels.as_chunks::<3>();
        let black = rgb.iter().filter(|rgb| rgb.iter().all(|level| *level <= BLACK_MAX)).count();
        let bright = grey.iter().filter(|level| **level >= BRIGHT_MIN).count();
        let share = |count: usize| count as f64 / grey.len().max(1) as f64;
        let is_black = share(black) >= BLACK_SHARE;
        self.bright_share = share(bright);
        let is_bright =
            self.bright_share >= BRIGHT_SHARE && self.bright_share >= self.usual_bright_share + BRIGHT_SHARE_MORE;
        self.black.note(is_black, time);
        self.bright.note(is_bright, time);
        if !is_bright && !is_black {
            self.pictures = self.pictures.saturating_add(1);
            let share = 1.0 / USUAL_PICTURES.min(f64::from(self.pictures));
            self.usual_bright_share += (self.bright_share - self.usual_bright_share) * share;
        }
        !is_black && !is_bright
    }

    pub(super) fn findings(&self, now: UtcNanos) -> [Option<Finding>; 2] {
        let lasted = |streak: &Streak| streak.lasted(PICTURES_MIN).filter(|since| now.since(*since) >= LASTS_NS);
        let black = lasted(&self.black).map(|since| {
            Finding::new(Cause::BlackPicture, since, "the picture is black; check its lens, its cover and the light")
        });
        let bright = lasted(&self.bright).map(|since| {
            let percent = self.bright_share * 100.0;
            let reason = format!("{percent:.0} % of the picture is overexposed; check the light and the exposure");
            Finding::new(Cause::Overexposed, since, reason)
        });
        [black, bright]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(level: impl Fn(usize, usize) -> u8) -> Option<Cause> {
        let mut exposure = Exposure::default();
        for at in 0..60 {
            let grey: Vec<u8> = (0..400).map(|pixel| level(at, pixel)).collect();
            let pixels: Vec<u8> = grey.iter().flat_map(|level| [*level; 3]).collect();
            exposure.take(UtcNanos(at as i64 * SECOND / 10), &pixels, &grey);
        }
        exposure.findings(UtcNanos(6 * SECOND)).into_iter().flatten().map(|finding| finding.cause).min()
    }

    #[test]
    fn black_and_overexposed_pictures_are_found_and_bright_scenes_are_not() {
        assert_eq!(found(|_, pixel| if pixel == 0 { 200 } else { 9 }), Some(Cause::BlackPicture));
        assert_eq!(found(|_, pixel| if pixel < 40 { 200 } else { 9 }), None);
        assert_eq!(found(|at, pixel| if at > 40 || pixel < 100 { 255 } else { 120 }), Some(Cause::Overexposed));
        assert_eq!(found(|_, pixel| if pixel < 100 { 255 } else { 120 }), None);
        assert_eq!(found(|at, _| if at == 30 { 255 } else { 120 }), None, "a flash");
    }
}
