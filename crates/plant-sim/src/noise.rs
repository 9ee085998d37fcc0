//! Seeded randomness: one independent stream a part, so that what happens in one part never shifts another's.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The parts that draw random numbers. Instruments take `Instruments as u64 + tag position`.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(crate) enum Stream {
    Process = 1,
    Bottles = 2,
    Operator = 3,
    Daylight = 4,
    Camera = 5,
    Lens = 6,
    Scripted = 7,
    Belt = 8,
    Instruments = 100,
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Noise {
    rng: ChaCha8Rng,
    spare: Option<f64>,
}

impl Noise {
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self { rng, spare: None }
    }

    /// Uniform in `[0, 1)`.
    pub(crate) fn uniform(&mut self) -> f64 {
        self.rng.random()
    }

    /// Uniform in `[low, high)`.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Uniform in `0..count`.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.rng.random_range(0..count)
    }

    /// Standard normal (Box and Muller, 1958).
    pub(crate) fn gauss(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.uniform()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }
}

/// A stationary first-order autoregressive disturbance around zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wander {
    pub(crate) value: f64,
    keep: f64,
    kick: f64,
}

impl Wander {
    /// With standard deviation `sigma` and correlation time `tau_s`, advanced every `dt_s`.
    pub(crate) fn new(sigma: f64, tau_s: f64, dt_s: f64) -> Self {
        let keep = (-dt_s / tau_s).exp();
        Self { value: 0.0, keep, kick: sigma * (1.0 - keep * keep).sqrt() }
    }

    pub(crate) fn step(&mut self, noise: &mut Noise) -> f64 {
        self.value = self.keep * self.value + self.kick * noise.gauss();
        self.value
    }
}
