//! What a camera looks at: whether it is the scene that it always was, where it was, and sharp.
//!
//! Once a second the picture, as the model sees it, is compared with a reference that is the average of what was seen
//! before. Where things move (bottles on a belt) the reference is uncertain and counts little. Brightness and contrast are
//! taken out, so that daylight is no change.
//!
//! - *Moved*: the fine picture fits the reference better at a shift than where it is.
//! - *Covered*: the coarse picture does not fit, at no shift, or much of it is something else.
//! - *Out of focus* (or dirty): the coarse picture fits, but the details of most places are weaker than they were.
//!
//! The reference follows slowly, and only while nothing is found; so dirt that grows over days is followed, and is not
//! found here.

use sightglass_protocol::{UtcNanos, tick::MODEL_PIXELS, time::SECOND};

use super::{
    cause::{Cause, Finding},
    matching::{best_shift, fit, shrink},
    streak::Streak,
};

const SIDE: usize = MODEL_PIXELS as usize;
/// The coarse picture: each pixel the mean of so many squared.
const FACTOR: usize = 4;
const COARSE: usize = SIDE / FACTOR;
/// Details are measured in squares of so many pixels.
const BLOCK: usize = 16;
const BLOCKS: usize = SIDE / BLOCK;

/// A look a second is enough.
const LOOK_NS: i64 = SECOND;
/// Looks from which the reference is known.
const LOOKS_MIN: u32 = 20;
/// The reference is an average over about so many looks.
const USUAL_LOOKS: f32 = 120.0;
/// A state needs so many looks in a row.
const SUSPECT_MIN: u32 = 3;

/// Pixels are scaled to this mean.
const MEAN: f32 = 128.0;
/// The variance of a pixel at which it counts half as much as one that never changes.
const VARIANCE: f32 = 36.0;

/// The shifts that are looked at, in coarse pixels and, around the best of them, in fine ones.
const REACH_COARSE: i32 = 7;
const REACH_FINE: i32 = 4;
/// The fine picture is looked at in every second pixel.
const STRIDE: usize = 2;
/// A camera has moved from so many fine pixels on …
const SHIFT_MIN: i32 = 2;
/// … where the picture fits so much better there, of what it lacks here.
const SHIFT_GAIN: f32 = 0.35;
/// Below this share of its usual fit, a picture does not fit; above the other, it does.
const LOST_SHARE: f32 = 0.5;
const FIT_SHARE: f32 = 0.75;
/// A coarse pixel is something else when it deviates by so many usual deviations and by this share of the mean; …
const OTHER_DEVIATIONS: f32 = 5.0;
const OTHER_SHARE: f32 = 0.15;
/// … and the scene is covered from this share of them on.
const COVERED_SHARE: f32 = 0.4;
/// A place is blurred when its details are below this share of what they were, …
const BLUR_SHARE: f32 = 0.6;
/// … and a picture when this share of the places with details is.
const BLURRED_SHARE: f32 = 0.8;

/// The scene of one camera.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    next_look: UtcNanos,
    looks: u32,
    /// The picture at hand, scaled to [`MEAN`], fine and coarse.
    fine: Vec<f32>,
    coarse: Vec<f32>,
    reference: Reference,
    moved: Streak,
    covered: Streak,
    blurred: Streak,
    shift: (i32, i32),
    covered_share: f32,
    detail_share: f32,
}

/// What was seen before.
#[derive(Clone, Debug)]
struct Reference {
    fine: Vec<f32>,
    coarse: Vec<f32>,
    fine_variance: Vec<f32>,
    coarse_variance: Vec<f32>,
    fine_weights: Vec<f32>,
    coarse_weights: Vec<f32>,
    details: [f32; BLOCKS * BLOCKS],
    /// How well pictures usually fit, fine and coarse.
    fit: f32,
    coarse_fit: f32,
    /// The share of the coarse picture that is usually something else.
    other: f32,
}

impl Scene {
    pub(super) fn new() -> Self {
        let (fine, coarse) = (vec![0.0; SIDE * SIDE], vec![0.0; COARSE * COARSE]);
        let reference = Reference {
            fine: fine.clone(),
            coarse: coarse.clone(),
            fine_variance: fine.clone(),
            coarse_variance: coarse.clone(),
            fine_weights: vec![1.0; fine.len()],
            coarse_weights: vec![1.0; coarse.len()],
            details: [0.0; BLOCKS * BLOCKS],
            fit: 0.0,
            coarse_fit: 0.0,
            other: 0.0,
        };
        Self {
            next_look: UtcNanos::MIN,
            looks: 0,
            fine,
            coarse,
            reference,
            moved: Streak::default(),
            covered: Streak::default(),
            blurred: Streak::default(),
            shift: (0, 0),
            covered_share: 0.0,
            detail_share: 1.0,
        }
    }

    /// Takes in a picture's grey levels, where a look is due.
    pub(super) fn take(&mut self, time: UtcNanos, grey: &[u8]) {
        if time < self.next_look || grey.len() != SIDE * SIDE {
            return;
        }
        self.next_look = time + LOOK_NS;
        let mean = grey.iter().map(|level| u32::from(*level)).sum::<u32>() as f32 / grey.len() as f32;
        let gain = MEAN / mean.max(1.0);
        for (level, grey) in self.fine.iter_mut().zip(grey) {
            *level = f32::from(*grey) * gain;
        }
        shrink(&self.fine, SIDE, FACTOR, &mut self.coarse);
        let details = details(&self.fine);
        if self.looks < LOOKS_MIN {
            self.reference.learn(&self.fine, &self.coarse, &details, self.looks);
            self.looks += 1;
            return;
        }
        let is_suspect = self.judge(time, &details);
        if !is_suspect {
            self.looks = self.looks.saturating_add(1);
            self.reference.learn(&self.fine, &self.coarse, &details, self.looks);
        }
    }

    /// Forgets what was about to be found: the picture cannot be looked at.
    pub(super) fn interrupt(&mut self, time: UtcNanos) {
        for streak in [&mut self.moved, &mut self.covered, &mut self.blurred] {
            streak.note(false, time);
        }
    }

    fn judge(&mut self, time: UtcNanos, details: &[f32]) -> bool {
        let reference = &self.reference;
        let fine_at = |shift| fit(&self.fine, &reference.fine, &reference.fine_weights, SIDE, shift, STRIDE);
        let here = fine_at((0, 0));
        let coarse_here = fit(&self.coarse, &reference.coarse, &reference.coarse_weights, COARSE, (0, 0), 1);
        let is_textured = reference.fit > 0.3;
        let covered_share = reference.other_share(&self.coarse);
        let has_doubt = here < 0.9 * reference.fit || covered_share > reference.other + 0.1;
        let fine_around =
            |around| best_shift(&self.fine, &reference.fine, &reference.fine_weights, SIDE, around, REACH_FINE, STRIDE);
        let (mut shift, mut there) = if is_textured { fine_around((0, 0)) } else { ((0, 0), here) };
        if is_textured && has_doubt {
            let weights = &reference.coarse_weights;
            let (coarse, _) = best_shift(&self.coarse, &reference.coarse, weights, COARSE, (0, 0), REACH_COARSE, 1);
            let found = fine_around((coarse.0 * FACTOR as i32, coarse.1 * FACTOR as i32));
            if found.1 > there {
                (shift, there) = found;
            }
        }
        let is_far = shift.0.abs().max(shift.1.abs()) >= SHIFT_MIN;
        let has_moved = is_textured
            && is_far
            && there - here > SHIFT_GAIN * (reference.fit - here)
            && there > FIT_SHARE * here.max(0.5);
        let is_lost = is_textured && coarse_here < LOST_SHARE * reference.coarse_fit;
        let is_covered = !has_moved && (is_lost || covered_share > reference.other + COVERED_SHARE);
        let (blurred, detail_share) = reference.blurred(details);
        let is_blurred =
            !has_moved && !is_covered && blurred > BLURRED_SHARE && coarse_here > FIT_SHARE * reference.coarse_fit;
        self.moved.note(has_moved, time);
        self.covered.note(is_covered, time);
        self.blurred.note(is_blurred, time);
        (self.shift, self.covered_share, self.detail_share) = (shift, covered_share, detail_share);
        has_moved || is_covered || is_blurred
    }

    pub(super) fn findings(&self) -> [Option<Finding>; 3] {
        let covered = self.covered.lasted(SUSPECT_MIN).map(|since| {
            let percent = self.covered_share * 100.0;
            let reason = format!(
                "the scene is not to be seen: {percent:.0} % of the picture is something else; look whether the camera is \
                 covered, sprayed or turned away"
            );
            Finding::new(Cause::Covered, since, reason)
        });
        let moved = self.moved.lasted(SUSPECT_MIN).map(|since| {
            let percent = |pixels: i32| pixels as f32 * 100.0 / SIDE as f32;
            let (right, down) = (percent(self.shift.0), percent(self.shift.1));
            let reason = format!(
                "the scene lies {right:+.0} % to the right and {down:+.0} % further down than it did (of what the model \
                 sees): the camera was moved. Turn it back; or start the line anew, and train anew"
            );
            Finding::new(Cause::Moved, since, reason)
        });
        let blurred = self.blurred.lasted(SUSPECT_MIN).map(|since| {
            let percent = self.detail_share * 100.0;
            let reason =
                format!("shows {percent:.0} % of its usual details: out of focus, or dirty; clean and focus it");
            Finding::new(Cause::OutOfFocus, since, reason)
        });
        [covered, moved, blurred]
    }
}

impl Reference {
    /// Takes in a picture; `looks` were there before.
    fn learn(&mut self, fine: &[f32], coarse: &[f32], details: &[f32], looks: u32) {
        let share = 1.0 / (looks as f32 + 1.0).min(USUAL_LOOKS);
        let follow = |mean: &mut [f32], variance: &mut [f32], weights: &mut [f32], picture: &[f32]| {
            for (((mean, variance), weight), level) in mean.iter_mut().zip(variance).zip(weights).zip(picture) {
                let off = level - *mean;
                *mean += off * share;
                *variance += (off * off * (1.0 - share) - *variance) * share;
                *weight = VARIANCE / (VARIANCE + *variance);
            }
        };
        follow(&mut self.fine, &mut self.fine_variance, &mut self.fine_weights, fine);
        follow(&mut self.coarse, &mut self.coarse_variance, &mut self.coarse_weights, coarse);
        let towards = |usual: &mut f32, now: f32| *usual += (now - *usual) * share;
        for (usual, detail) in self.details.iter_mut().zip(details) {
            towards(usual, *detail);
        }
        towards(&mut self.fit, fit(fine, &self.fine, &self.fine_weights, SIDE, (0, 0), STRIDE));
        towards(&mut self.coarse_fit, fit(coarse, &self.coarse, &self.coarse_weights, COARSE, (0, 0), 1));
        if looks >= LOOKS_MIN {
            let other = self.other_share(coarse);
            self.other += (other - self.other) * share;
        }
    }

    /// The share of a coarse picture that is something else than it was.
    fn other_share(&self, coarse: &[f32]) -> f32 {
        let is_other = |((level, mean), variance): (&(&f32, &f32), &f32)| {
            (*level - *mean).abs() > OTHER_DEVIATIONS * variance.sqrt() + OTHER_SHARE * MEAN
        };
        let pixels = coarse.iter().zip(&self.coarse).zip(&self.coarse_variance);
        pixels.filter(|(pixel, variance)| is_other((pixel, variance))).count() as f32 / coarse.len() as f32
    }

    /// The share of the places with details whose details are weaker than they were, and what they all have left of them.
    fn blurred(&self, details: &[f32]) -> (f32, f32) {
        let mut usual = self.details;
        usual.sort_by(f32::total_cmp);
        // Half of the places; the others may have nothing but noise.
        let least = usual[usual.len() / 2];
        let (mut places, mut blurred, mut now_sum, mut usual_sum) = (0, 0, 0.0, 0.0);
        for (now, usual) in details.iter().zip(&self.details).filter(|(_, usual)| **usual >= least) {
            places += 1;
            blurred += u32::from(*now < BLUR_SHARE * usual);
            (now_sum, usual_sum) = (now_sum + now, usual_sum + usual);
        }
        (blurred as f32 / places.max(1) as f32, now_sum / f32::max(usual_sum, f32::MIN_POSITIVE))
    }
}

/// The mean absolute Laplacian of each block.
fn details(fine: &[f32]) -> [f32; BLOCKS * BLOCKS] {
    let mut details = [0.0; BLOCKS * BLOCKS];
    for row in 1..SIDE - 1 {
        for column in 1..SIDE - 1 {
            let at = row * SIDE + column;
            let around = fine[at - 1] + fine[at + 1] + fine[at - SIDE] + fine[at + SIDE];
            details[row / BLOCK * BLOCKS + column / BLOCK] += (4.0 * fine[at] - around).abs();
        }
    }
    details.map(|sum| sum / (BLOCK * BLOCK) as f32)
}
