//! `e^x` and GELU in two forms, without branches, so that the compiler vectorises them where they are inlined.

/// `e^x` for `x` in -87 to 88 (clamped beyond), relative error below 4e-7.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// Adding it rounds to a whole number, which then lies in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // e^x = 2^(n + f) with f in -0.5 to 0.5, and 2^f by its series in f ln 2.
    let t = x.clamp(-87.0, 88.0) * std::f32::consts::LOG2_E;
    let rounded = t + ROUND;
    let f = (t - (rounded - ROUND)) * std::f32::consts::LN_2;
    // Written out, since a fold over an array is not always inlined, and then nothing is vectorised.
    let p = (1.0f32 / 720.0).mul_add(f, 1.0 / 120.0).mul_add(f, 1.0 / 24.0).mul_add(f, 1.0 / 6.0);
    let p = p.mul_add(f, 0.5).mul_add(f, 1.0).mul_add(f, 1.0);
    f32::from_bits(rounded.to_bits().wrapping_add(127) << 23) * p
}

/// `x Phi(x)`, GELU in its exact form (Hendrycks and Gimpel, arXiv 1606.08415), absolute error below 1e-6.
///
/// The tail `1 - erf` is approximated by Abramowitz and Stegun, 7.1.26, whose error is at most 1.5e-7.
#[inline(always)]
pub(super) fn gelu(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / z.mul_add(0.327_591_1, 1.0);
    let series = [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6, 0.0];
    let series = series.into_iter().fold(1.061_405_4, |sum: f32, next| sum.mul_add(t, next));
    x.max(0.0) - 0.5 * x.abs() * series * exp(-z * z)
}

/// Twice the root of 2 / pi.
const TANH_A: f32 = 1.595_769;
const TANH_B: f32 = 0.044_715;

/// GELU in its tanh form (Hendrycks and Gimpel, arXiv 1606.08415), which the plant model is trained with.
#[inline(always)]
pub(crate) fn gelu_tanh(x: f32) -> f32 {
    x / (1.0 + exp(-TANH_A * (x + TANH_B * x * x * x)))
}

/// The same, and its slope.
#[inline(always)]
pub(crate) fn gelu_tanh_and_slope(x: f32) -> (f32, f32) {
    let s = 1.0 / (1.0 + exp(-TANH_A * (x + TANH_B * x * x * x)));
    (x * s, s + x * s * (1.0 - s) * TANH_A * (1.0 + 3.0 * TANH_B * x * x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exp() {
        for i in -8600..8700 {
            let x = i as f32 * 0.01;
            let true_value = f64::from(x).exp();
            // The argument's own rounding counts: half a unit in the last place of x log2 e.
            let allowed = 4e-7 + f64::from(x.abs()) * 1.2e-7;
            assert!((f64::from(exp(x)) / true_value - 1.0).abs() < allowed, "{x}");
        }
    }

    #[test]
    fn gelu_is_the_exact_form() {
        for (x, expected) in [
            (-5.0f32, -1.433_258e-6f64),
            (-3.0, -0.004_049_694),
            (-1.0, -0.158_655_254),
            (-0.5, -0.154_268_77),
            (0.0, 0.0),
            (0.1, 0.053_982_784),
            (0.5, 0.345_731_23),
            (1.0, 0.841_344_746),
            (3.0, 2.995_950_306),
            (8.0, 8.0),
        ] {
            assert!((f64::from(gelu(x)) - expected).abs() < 1e-6, "{x}: {}", gelu(x));
        }
    }
}
