//! Tag values to numbers around 0 and of size 1, learned from the training ticks; what cannot be learned is set aside.

use sightglass_protocol::{Tick, tick::TagReading};

use crate::file::{Broken, Store};
use crate::spec::{ModelSpec, TagSpec};

/// A tag with fewer usable training values than this share of the ticks is not judged.
const SEEN_SHARE_MIN: f64 = 0.3;
/// How far past the range of training a value still counts as it is when *other* tags are predicted from it, in ranges.
const BEYOND: f64 = 0.5;

/// What is done with a watched tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It moves: predicted.
    Moving,
    /// It never moved in training: any departure is a surprise.
    Constant,
    /// Hardly ever seen in training: not judged.
    Unseen,
}

/// The scaling of the watched tags: measurements and outputs that are not excluded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scaling {
    /// Positions in the line's tags.
    pub(crate) watched: Vec<usize>,
    /// One a watched tag.
    pub(crate) kinds: Vec<Kind>,
    pub(crate) center: Vec<f64>,
    /// Standard deviation; for a constant tag the departure that is tolerated.
    pub(crate) scale: Vec<f64>,
    /// Lowest and highest value in training.
    pub(crate) seen: Vec<(f64, f64)>,
    /// Indices into `watched` of the moving tags.
    pub(crate) moving: Vec<usize>,
}

/// The value of a reading that may be relied on.
pub(crate) fn usable(reading: &TagReading) -> Option<f64> {
    (reading.quality.is_usable() && reading.value.is_finite()).then_some(reading.value)
}

/// The departure from a value that never changed in training that is still tolerated.
fn tolerance(tag: &TagSpec, value: f64) -> f64 {
    let by_range = tag.range.map_or(0.0, |(low, high)| (high - low).abs() * 0.02);
    by_range.max(value.abs() * 0.01).max(1e-6)
}

impl Scaling {
    pub(crate) fn fit<'a>(spec: &ModelSpec, ticks: impl Iterator<Item = &'a Tick> + Clone) -> Self {
        let watched: Vec<usize> =
            (0..spec.tags.len()).filter(|&i| spec.tags[i].role.is_predicted() && !spec.tags[i].excluded).collect();
        let mut scaling = Self {
            watched: watched.clone(),
            kinds: Vec::new(),
            center: Vec::new(),
            scale: Vec::new(),
            seen: Vec::new(),
            moving: Vec::new(),
        };
        for (i, &at) in watched.iter().enumerate() {
            let (mut count, mut total, mut sum) = (0usize, 0usize, 0f64);
            let (mut low, mut high) = (f64::MAX, f64::MIN);
            for tick in ticks.clone() {
                total += 1;
                if let Some(value) = usable(&tick.tags[at]) {
                    count += 1;
                    sum += value;
                    low = low.min(value);
                    high = high.max(value);
                }
            }
            let mean = if count > 0 { sum / count as f64 } else { 0.0 };
            let mut squares = 0f64;
            for tick in ticks.clone() {
                if let Some(value) = usable(&tick.tags[at]) {
                    squares += (value - mean).powi(2);
                }
            }
            let deviation = (squares / count.max(1) as f64).sqrt();
            let kind = if (count as f64) < SEEN_SHARE_MIN * total as f64 || count < 4 {
                Kind::Unseen
            } else if high - low <= 1e-9 * (1.0 + high.abs().max(low.abs())) {
                Kind::Constant
            } else {
                scaling.moving.push(i);
                Kind::Moving
            };
            scaling.kinds.push(kind);
            scaling.center.push(mean);
            scaling.scale.push(match kind {
                Kind::Moving => deviation.max(1e-12),
                _ => tolerance(&spec.tags[at], mean),
            });
            scaling.seen.push(if count > 0 { (low, high) } else { (0.0, 0.0) });
        }
        scaling
    }

    /// The normalised value of a watched tag; NaN without a usable one.
    pub(crate) fn value(&self, watched: usize, tick: &Tick) -> f32 {
        match usable(&tick.tags[self.watched[watched]]) {
            Some(value) => ((value - self.center[watched]) / self.scale[watched]).clamp(-1e6, 1e6) as f32,
            None => f32::NAN,
        }
    }

    /// The normalised values of the moving tags.
    pub(crate) fn moving_values(&self, tick: &Tick) -> Vec<f32> {
        self.moving.iter().map(|&i| self.value(i, tick)).collect()
    }

    /// How far a moving tag's value counts when other tags are predicted from it, normalised.
    pub(crate) fn bounds(&self, moving: usize) -> (f32, f32) {
        let i = self.moving[moving];
        let (low, high) = self.seen[i];
        let beyond = (high - low) * BEYOND;
        let at = |v: f64| ((v - self.center[i]) / self.scale[i]) as f32;
        (at(low - beyond), at(high + beyond))
    }

    /// A moving tag's normalised value in its unit.
    pub(crate) fn denormalise(&self, moving: usize, value: f64) -> f64 {
        let i = self.moving[moving];
        self.center[i] + self.scale[i] * value
    }

    pub(crate) fn store(&self, store: &mut Store) {
        store.put("scaling.watched", self.watched.iter().map(|&v| v as f64));
        store.put("scaling.kinds", self.kinds.iter().map(|k| f64::from(*k as u8)));
        store.put("scaling.center", self.center.iter().copied());
        store.put("scaling.scale", self.scale.iter().copied());
        store.put("scaling.seen", self.seen.iter().flat_map(|s| [s.0, s.1]));
    }

    pub(crate) fn restore(store: &Store) -> Result<Self, Broken> {
        let watched = store.indices("scaling.watched")?;
        let kinds: Vec<Kind> = store
            .get("scaling.kinds")?
            .iter()
            .map(|k| match *k as u8 {
                0 => Kind::Moving,
                1 => Kind::Constant,
                _ => Kind::Unseen,
            })
            .collect();
        let moving = (0..kinds.len()).filter(|&i| kinds[i] == Kind::Moving).collect();
        let scaling = Self {
            center: store.get_len("scaling.center", watched.len())?,
            scale: store.get_len("scaling.scale", watched.len())?,
            seen: store.get_len("scaling.seen", 2 * watched.len())?.chunks(2).map(|c| (c[0], c[1])).collect(),
            watched,
            kinds,
            moving,
        };
        if scaling.kinds.len() != scaling.watched.len() {
            return Err(Broken::new("scaling.kinds", "has another length than the tags"));
        }
        Ok(scaling)
    }
}
