//! The line's controllers.

/// A proportional-integral controller with feed-forward, in the units of its loop. It stops integrating where its output
/// is at a limit and the error would push it further.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pi {
    gain: f64,
    integral_s: f64,
    low: f64,
    high: f64,
    integral: f64,
}

impl Pi {
    pub(crate) const fn new(gain: f64, integral_s: f64, (low, high): (f64, f64), bias: f64) -> Self {
        Self { gain, integral_s, low, high, integral: bias }
    }

    /// The output for `error` (setpoint less measurement) on top of `feed_forward`.
    pub(crate) fn step(&mut self, error: f64, feed_forward: f64, dt_s: f64) -> f64 {
        let wanted = feed_forward + self.gain * error + self.integral;
        let pushes_on = (wanted > self.high && error > 0.0) || (wanted < self.low && error < 0.0);
        if !pushes_on {
            self.integral += self.gain * error * dt_s / self.integral_s;
        }
        wanted.clamp(self.low, self.high)
    }
}
