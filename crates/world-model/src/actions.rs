//! What people did, as numbers: setpoints scaled, modes one-hot. It conditions predictions and never enters an encoder.

use sightglass_protocol::{Role, Tick};

use crate::file::{Broken, Store};
use crate::normalise::usable;
use crate::spec::ModelSpec;

/// The most values that a mode may take and still be told apart.
const MODE_VALUES_MAX: usize = 8;
/// A setpoint that moves by less than this share of its range in a tick did not change.
const CHANGE_SHARE: f64 = 0.005;
/// Setpoints further outside of training than this share of its range are unknown ground.
const BEYOND_SHARE: f64 = 0.05;

/// A setpoint's scaling.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setpoint {
    pub(crate) at: usize,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// What counts as one unit of change.
    pub(crate) span: f64,
}

/// A mode's values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mode {
    pub(crate) at: usize,
    pub(crate) values: Vec<f64>,
}

/// How actions become numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ActionCode {
    pub(crate) setpoints: Vec<Setpoint>,
    pub(crate) modes: Vec<Mode>,
}

/// The actions at one tick.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Actions {
    /// Setpoints around 0 and of size about 1, then one value a mode and mode value.
    pub(crate) values: Vec<f32>,
    /// Raw, to see changes: setpoints then modes.
    pub(crate) raw: Vec<f64>,
    /// 1 on ground that was seen in training, more beyond it: the factor for what errors are to be expected.
    pub(crate) unknown: f32,
}

/// A setpoint or mode that stands where it never stood in training.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Beyond {
    /// The tag in the line's order.
    pub(crate) at: usize,
    pub(crate) value: f64,
    /// Where it was, low and high of each stretch.
    pub(crate) seen: Vec<(f64, f64)>,
}

impl Setpoint {
    /// How far a value lies outside of training, in shares of the span.
    fn outside(&self, value: f64) -> f64 {
        (self.low - value).max(value - self.high).max(0.0) / self.span
    }

    fn scaled(&self, value: f64) -> f32 {
        ((value - (self.low + self.high) / 2.0) / self.span * 2.0).clamp(-4.0, 4.0) as f32
    }
}

impl Mode {
    fn one_hot(&self, value: f64) -> impl Iterator<Item = f32> + '_ {
        self.values.iter().map(move |v| f32::from(u8::from(*v == value)))
    }
}

impl ActionCode {
    pub(crate) fn fit<'a>(spec: &ModelSpec, ticks: impl Iterator<Item = &'a Tick> + Clone) -> Self {
        let mut code = Self::default();
        for (at, tag) in spec.tags.iter().enumerate() {
            if tag.excluded || !matches!(tag.role, Role::Setpoint | Role::Mode) {
                continue;
            }
            let mut values: Vec<f64> = Vec::new();
            let (mut low, mut high) = (f64::MAX, f64::MIN);
            for value in ticks.clone().filter_map(|tick| usable(&tick.tags[at])) {
                low = low.min(value);
                high = high.max(value);
                if values.len() <= MODE_VALUES_MAX && !values.contains(&value) {
                    values.push(value);
                }
            }
            if values.is_empty() {
                continue;
            }
            if tag.role == Role::Mode && values.len() <= MODE_VALUES_MAX {
                values.sort_by(f64::total_cmp);
                code.modes.push(Mode { at, values });
            } else {
                let range = tag.range.map_or(0.0, |(low, high)| (high - low) * 0.1);
                let span = (high - low).max(range).max(low.abs() * 0.05).max(1e-9);
                code.setpoints.push(Setpoint { at, low, high, span });
            }
        }
        code
    }

    /// Values of [`Actions::values`].
    pub(crate) fn len(&self) -> usize {
        self.setpoints.len() + self.modes.iter().map(|m| m.values.len()).sum::<usize>()
    }

    /// Whether all tags that it reads exist in a line of `tags` tags.
    pub(crate) fn fits(&self, tags: usize) -> bool {
        self.setpoints.iter().all(|s| s.at < tags) && self.modes.iter().all(|m| m.at < tags && !m.values.is_empty())
    }

    /// Where the modes' values begin.
    pub(crate) fn modes_at(&self) -> usize {
        self.setpoints.len()
    }

    /// The actions at a tick; an action that cannot be read holds its last value.
    pub(crate) fn read(&self, tick: &Tick, last: Option<&Actions>) -> Actions {
        let held = |i: usize, fallback: f64| last.map_or(fallback, |l| l.raw[i]);
        let mut actions = Actions { values: Vec::with_capacity(self.len()), raw: Vec::new(), unknown: 1.0 };
        for (i, s) in self.setpoints.iter().enumerate() {
            let value = usable(&tick.tags[s.at]).unwrap_or_else(|| held(i, (s.low + s.high) / 2.0));
            actions.values.push(s.scaled(value));
            let outside = s.outside(value);
            if outside > BEYOND_SHARE {
                actions.unknown = actions.unknown.max(1.0 + 6.0 * outside.min(2.0) as f32);
            }
            actions.raw.push(value);
        }
        for (i, mode) in self.modes.iter().enumerate() {
            let value = usable(&tick.tags[mode.at]).unwrap_or_else(|| held(self.setpoints.len() + i, mode.values[0]));
            if !mode.values.contains(&value) {
                actions.unknown = actions.unknown.max(6.0);
            }
            actions.values.extend(mode.one_hot(value));
            actions.raw.push(value);
        }
        actions
    }

    /// What of the actions at a tick training never showed.
    pub(crate) fn unknown(&self, actions: &Actions) -> Vec<Beyond> {
        let (setpoints, modes) = actions.raw.split_at(self.setpoints.len());
        let beyond = self.setpoints.iter().zip(setpoints).filter(|(s, value)| s.outside(**value) > BEYOND_SHARE);
        let setpoints = beyond.map(|(s, &value)| Beyond { at: s.at, value, seen: vec![(s.low, s.high)] });
        let modes = self.modes.iter().zip(modes).filter(|(mode, value)| !mode.values.contains(value));
        let modes = modes.map(|(mode, &value)| Beyond {
            at: mode.at,
            value,
            seen: mode.values.iter().map(|&seen| (seen, seen)).collect(),
        });
        setpoints.chain(modes).collect()
    }

    /// Appends [`Actions::values`] for raw values, setpoints then modes.
    pub(crate) fn encode(&self, raw: &[f64], out: &mut Vec<f32>) {
        let (setpoints, modes) = raw.split_at(self.setpoints.len());
        out.extend(self.setpoints.iter().zip(setpoints).map(|(s, &value)| s.scaled(value)));
        for (mode, &value) in self.modes.iter().zip(modes) {
            out.extend(mode.one_hot(value));
        }
    }

    /// Whether a person did something between two ticks.
    pub(crate) fn changed(&self, before: &Actions, now: &Actions) -> bool {
        let setpoints = self.setpoints.iter().enumerate();
        setpoints.clone().any(|(i, s)| (before.raw[i] - now.raw[i]).abs() > CHANGE_SHARE * s.span)
            || (self.setpoints.len()..before.raw.len()).any(|i| before.raw[i] != now.raw[i])
    }

    pub(crate) fn store(&self, store: &mut Store) {
        store.put("actions.setpoints", self.setpoints.iter().flat_map(|s| [s.at as f64, s.low, s.high, s.span]));
        let flat = self.modes.iter().flat_map(|m| {
            [m.at as f64, m.values.len() as f64].into_iter().chain(m.values.iter().copied()).collect::<Vec<_>>()
        });
        store.put("actions.modes", flat);
    }

    pub(crate) fn restore(store: &Store) -> Result<Self, Broken> {
        let setpoints = store
            .get("actions.setpoints")?
            .chunks_exact(4)
            .map(|c| Setpoint { at: c[0] as usize, low: c[1], high: c[2], span: c[3] })
            .collect();
        let flat = store.get("actions.modes")?;
        let mut modes = Vec::new();
        let mut rest = flat.as_slice();
        while let [at, count, tail @ ..] = rest {
            let count = *count as usize;
            if count > tail.len() {
                return Err(Broken::new("actions.modes", "is cut short"));
            }
            modes.push(Mode { at: *at as usize, values: tail[..count].to_vec() });
            rest = &tail[count..];
        }
        Ok(Self { setpoints, modes })
    }
}
