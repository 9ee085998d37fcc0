//! From forecasts to bands in the tags' units that hold as often as they say (conformalised quantile regression, Romano
//! et al. 2019).

use sightglass_protocol::{Band, HORIZONS};

use crate::file::{Broken, Store};
use crate::normalise::Scaling;
use crate::readout::HALF_WIDTH;

/// The share of values that a band is to hold.
pub(crate) const COVERAGE: f64 = 0.8;

/// The calibrated bands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bands {
    tags: usize,
    /// The linear forecast's error by horizon and tag, normalised.
    pub(crate) scale: Vec<f32>,
    /// What is added on either side, in those units.
    pub(crate) widen: Vec<f32>,
    /// By horizon, whether the network's read-out is better than the linear forecast alone.
    pub(crate) read_out: Vec<bool>,
}

impl Bands {
    pub(crate) fn new(tags: usize, scale: Vec<f32>) -> Self {
        Self { tags, scale, widen: vec![0.0; HORIZONS.len() * tags], read_out: vec![false; HORIZONS.len()] }
    }

    /// Low, middle and high before widening, in units of the linear forecast's errors.
    pub(crate) fn raw(&self, at: usize, read_out: Option<&[Vec<f32>; 3]>) -> [f32; 3] {
        match read_out {
            Some(r) if self.read_out[at / self.tags] => [r[0][at], r[1][at], r[2][at]],
            _ => [-HALF_WIDTH as f32, 0.0, HALF_WIDTH as f32],
        }
    }

    /// The band of a tag (`horizon * tags + tag`) in its unit.
    pub(crate) fn band(&self, scaling: &Scaling, at: usize, linear: &[f32], read_out: Option<&[Vec<f32>; 3]>) -> Band {
        let [low, middle, high] = self.raw(at, read_out);
        let low = (low - self.widen[at]).min(middle);
        let high = (high + self.widen[at]).max(middle);
        let unit = |v: f32| scaling.denormalise(at % self.tags, f64::from(linear[at] + v * self.scale[at])) as f32;
        Band { low: unit(low), mid: unit(middle), high: unit(high) }
    }

    pub(crate) fn store(&self, store: &mut Store) {
        store.put_floats("bands.scale", &self.scale);
        store.put_floats("bands.widen", &self.widen);
        store.put("bands.read_out", self.read_out.iter().map(|&b| f64::from(u8::from(b))));
    }

    pub(crate) fn restore(tags: usize, store: &Store) -> Result<Self, Broken> {
        let (scale, widen) = (store.floats("bands.scale")?, store.floats("bands.widen")?);
        if scale.len() != HORIZONS.len() * tags || widen.len() != scale.len() {
            return Err(Broken::new("bands.scale", "has another length"));
        }
        let read_out = store.get_len("bands.read_out", HORIZONS.len())?.into_iter().map(|v| v > 0.5).collect();
        Ok(Self { tags, scale, widen, read_out })
    }
}

/// The conformal quantile of scores at `coverage`: with it, a fresh score lies below as often as that.
pub(crate) fn conformal(scores: &mut [f32], coverage: f64) -> f32 {
    if scores.is_empty() {
        return 0.0;
    }
    let rank = ((scores.len() + 1) as f64 * coverage).ceil() as usize;
    let at = rank.clamp(1, scores.len()) - 1;
    *scores.select_nth_unstable_by(at, f32::total_cmp).1
}
