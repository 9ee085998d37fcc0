//! How well a picture fits a reference picture, and at which shift it fits best.

/// How well two pictures fit: 1 they are the same but for brightness and contrast, 0 they have nothing in common.
///
/// Pictures are square, row-major. `(dx, dy)` is where the picture's content lies against the reference's, in pixels; only
/// what both show counts, each pixel with its weight. Every `stride`th pixel of every `stride`th row is looked at. The
/// measure is the weighted correlation coefficient.
pub(super) fn fit(
    picture: &[f32],
    reference: &[f32],
    weights: &[f32],
    side: usize,
    (dx, dy): (i32, i32),
    stride: usize,
) -> f32 {
    let within = |shift: i32| {
        let shift = shift.unsigned_abs() as usize;
        side.saturating_sub(shift)
    };
    let (columns, rows) = (within(dx), within(dy));
    let (left, top) = (dx.min(0).unsigned_abs() as usize, dy.min(0).unsigned_abs() as usize);
    let (left_moved, top_moved) = (dx.max(0) as usize, dy.max(0) as usize);
    let [mut w, mut a, mut b, mut aa, mut bb, mut ab] = [0.0_f32; 6];
    for row in (0..rows).step_by(stride) {
        let reference_at = (top + row) * side + left;
        let picture_at = (top_moved + row) * side + left_moved;
        let mut sums = [0.0_f32; 6];
        let line = picture[picture_at..picture_at + columns]
            .iter()
            .zip(&reference[reference_at..reference_at + columns])
            .zip(&weights[reference_at..reference_at + columns]);
        for ((p, r), weight) in line.step_by(stride) {
            let (wp, wr) = (weight * p, weight * r);
            for (sum, more) in sums.iter_mut().zip([*weight, wp, wr, wp * p, wr * r, wp * r]) {
                *sum += more;
            }
        }
        for (total, sum) in [&mut w, &mut a, &mut b, &mut aa, &mut bb, &mut ab].into_iter().zip(sums) {
            *total += sum;
        }
    }
    if w <= 0.0 {
        return 0.0;
    }
    let (mean_a, mean_b) = (a / w, b / w);
    let (var_a, var_b) = (aa / w - mean_a * mean_a, bb / w - mean_b * mean_b);
    let least = 1.0;
    if var_a < least || var_b < least {
        return 0.0;
    }
    ((ab / w - mean_a * mean_b) / (var_a * var_b).sqrt()).clamp(-1.0, 1.0)
}

/// The shift within `reach` pixels of `around` at which the picture fits best, and how well.
pub(super) fn best_shift(
    picture: &[f32],
    reference: &[f32],
    weights: &[f32],
    side: usize,
    around: (i32, i32),
    reach: i32,
    stride: usize,
) -> ((i32, i32), f32) {
    let mut best = ((0, 0), f32::NEG_INFINITY);
    for dy in around.1 - reach..=around.1 + reach {
        for dx in around.0 - reach..=around.0 + reach {
            let found = fit(picture, reference, weights, side, (dx, dy), stride);
            if found > best.1 {
                best = ((dx, dy), found);
            }
        }
    }
    best
}

/// `from`, square, with each square of `factor` by `factor` pixels replaced by its mean.
pub(super) fn shrink(from: &[f32], side: usize, factor: usize, into: &mut [f32]) {
    let small = side / factor;
    into.fill(0.0);
    for row in 0..small * factor {
        let line = &from[row * side..row * side + small * factor];
        let target = &mut into[row / factor * small..][..small];
        for (column, level) in line.iter().enumerate() {
            target[column / factor] += level;
        }
    }
    let share = 1.0 / (factor * factor) as f32;
    into.iter_mut().for_each(|level| *level *= share);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 48;

    fn scene(dx: i32, dy: i32, gain: f32) -> Vec<f32> {
        let texture = |x: i32, y: i32| {
            let (x, y) = (x as f32, y as f32);
            60.0 * (x / 5.0).sin() * (y / 7.0).cos() + 40.0 * ((x + 2.0 * y) / 11.0).sin()
        };
        let side = SIDE as i32;
        (0..side * side).map(|at| 100.0 + gain * texture(at % side - dx, at / side - dy)).collect()
    }

    #[test]
    fn a_shift_is_found_whatever_the_light() {
        let weights = vec![1.0; SIDE * SIDE];
        let reference = scene(0, 0, 1.0);
        for (dx, dy) in [(0, 0), (3, 0), (0, -4), (-5, 2)] {
            let (shift, fitting) = best_shift(&scene(dx, dy, 0.6), &reference, &weights, SIDE, (0, 0), 6, 1);
            assert_eq!(shift, (dx, dy));
            assert!(fitting > 0.999, "{fitting}");
        }
        assert_eq!(fit(&vec![7.0; SIDE * SIDE], &reference, &weights, SIDE, (0, 0), 1), 0.0, "flat");
    }

    #[test]
    fn means_are_means() {
        let mut small = vec![0.0; 4];
        shrink(&(0..16).map(|level| level as f32).collect::<Vec<_>>(), 4, 2, &mut small);
        assert_eq!(small, [2.5, 4.5, 10.5, 12.5]);
    }
}
