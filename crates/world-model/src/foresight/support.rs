//! Where the model has support: what training showed of setpoints, their steps, and both together with the line's state.
//!
//! Three questions. Does the value lie in one of the stretches in which the setpoint was? Was it ever moved that far at
//! once? And is the nearest of the remembered situations (actions and the state's principal components) no further than
//! the nearest one was for running that was held back (a nearest-neighbour conformal test, Papernot and McDaniel 2018)?

use crate::actions::ActionCode;
use crate::bands::conformal;
use crate::file::{Broken, Store};
use crate::spec::ModelSpec;

/// Principal components of the tags that tell a state.
const COMPONENTS: usize = 3;
/// Remembered situations, half of them from just after somebody did something.
const SITUATIONS_MAX: usize = 768;
/// Weights in the distance: of a setpoint's half range (1), of a mode, of a component's standard deviation.
const MODE_WEIGHT: f32 = 2.0;
const STATE_WEIGHT: f32 = 0.6;
/// Held-back situations within the limit.
const SHARE_INSIDE: f64 = 0.98;
/// A setpoint's values further apart than so many of the widest gaps that even draws would leave (`span * ln n / n` for
/// `n` values), and than this share of its span, leave a gap in which nothing is known.
const GAPS: f64 = 3.0;
const GAP_SHARE: f64 = 0.15;
/// Values that go this share of the span further are still known, and steps that are longer by that share.
const MARGIN_SHARE: f64 = 0.03;
const STEP_SHARE: f64 = 0.15;
/// Situations that tell what a setpoint was like when all else was as it is now.
const NEIGHBOURS: usize = 24;

/// What lies outside of what the model has seen.
#[derive(Clone, Debug, PartialEq)]
pub enum Unseen {
    /// The setpoint never was there.
    Value {
        /// The setpoint's name.
        name: String,
        /// What was asked.
        asked: f64,
        /// Where it was, low and high of each stretch, in its unit.
        seen: Vec<(f64, f64)>,
    },
    /// The setpoint never was moved so far at once.
    Step {
        /// The setpoint's name.
        name: String,
        /// From where.
        from: f64,
        /// To where.
        to: f64,
        /// The furthest move that was seen in that direction, in its unit.
        furthest: f64,
    },
    /// The mode never had the value, or never went to it from the present one.
    Mode {
        /// The mode's name.
        name: String,
        /// From where.
        from: f64,
        /// To where.
        to: f64,
    },
    /// Each by itself was seen, but not this together with the other setpoints, modes and the line's state.
    Together {
        /// The setpoint that fits the rest least.
        name: String,
        /// What was asked.
        asked: f64,
        /// Where it was when all else was most like this, low and high, in its unit.
        seen: (f64, f64),
        /// The distance to the nearest situation that was seen, in limits: above 1 is outside.
        distance: f32,
    },
    /// A measurement or output itself is further out than it ever was, whatever is set.
    Tag {
        /// Its name.
        name: String,
        /// Where it was, low and high, in its unit.
        seen: (f64, f64),
    },
    /// The line's present state itself is unlike any that was seen, whatever is set.
    State {
        /// The distance to the nearest situation that was seen, in limits: above 1 is outside.
        distance: f32,
    },
}

impl std::fmt::Display for Unseen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value { name, asked, seen } => {
                write!(f, "'{name}' = {asked} was never seen: in training it was ")?;
                for (i, (low, high)) in seen.iter().enumerate() {
                    let or = if i > 0 { " or " } else { "" };
                    if low == high { write!(f, "{or}{low}")? } else { write!(f, "{or}{low} to {high}")? }
                }
                Ok(())
            }
            Self::Step { name, from, to, furthest } => write!(
                f,
                "'{name}' from {from} to {to} at once was never seen: the furthest step that way was {furthest}"
            ),
            Self::Mode { name, from, to } => write!(f, "'{name}' from {from} to {to} was never seen"),
            Self::Together { name, asked, seen: (low, high), distance } => write!(
                f,
                "'{name}' = {asked} was never seen together with the rest: in the most similar situations it was {low} to \
                 {high} (the nearest is {distance:.1} times as far as it may be)"
            ),
            Self::Tag { name, seen: (low, high) } => {
                write!(f, "'{name}' is now further out than ever in training, where it was {low} to {high}")
            }
            Self::State { distance } => write!(
                f,
                "the line's present state is unlike anything in training, whatever is set (the nearest is {distance:.1} \
                 times as far as it may be)"
            ),
        }
    }
}

/// What training showed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Support {
    tags: usize,
    actions: usize,
    modes_at: usize,
    /// [`COMPONENTS`] times the tags: the state's axes, each divided by its standard deviation.
    axes: Vec<f32>,
    /// Situations, row-major: weighted actions, then components.
    situations: Vec<f32>,
    /// Squared distances count by this.
    limit: f32,
    /// One a setpoint: the stretches in which it was.
    stretches: Vec<Vec<(f64, f64)>>,
    /// One a setpoint: the furthest it went down and up in a tick.
    steps: Vec<(f64, f64)>,
    /// Changes of modes that were seen: which, from, to.
    changes: Vec<[f64; 3]>,
}

/// A run's ticks as support is learned from them.
pub(crate) struct Seen<'a> {
    /// By tick: normalised values of the tags.
    pub(crate) values: &'a [Vec<f32>],
    /// By tick: actions as coded and raw.
    pub(crate) coded: &'a [Vec<f32>],
    pub(crate) raw: &'a [Vec<f64>],
    /// By tick: ticks since somebody did something.
    pub(crate) since: &'a [u32],
    /// By tick.
    pub(crate) fold: &'a [usize],
    pub(crate) runs: &'a [std::ops::Range<usize>],
}

impl Support {
    pub(crate) fn fit(code: &ActionCode, tags: usize, seen: &Seen<'_>) -> Self {
        let mut support = Self {
            tags,
            actions: code.len(),
            modes_at: code.modes_at(),
            axes: principal_axes(seen.values, tags),
            situations: Vec::new(),
            limit: 0.0,
            stretches: Vec::new(),
            steps: Vec::new(),
            changes: Vec::new(),
        };
        for (i, setpoint) in code.setpoints.iter().enumerate() {
            let mut values: Vec<f64> = seen.raw.iter().map(|raw| raw[i]).collect();
            values.sort_by(f64::total_cmp);
            values.dedup();
            let n = values.len() as f64;
            let gap = (GAPS * n.ln() / n).max(GAP_SHARE) * setpoint.span;
            let mut stretches: Vec<(f64, f64)> = Vec::new();
            for value in values {
                match stretches.last_mut() {
                    Some(last) if value - last.1 <= gap => last.1 = value,
                    _ => stretches.push((value, value)),
                }
            }
            support.stretches.push(stretches);
            let moves = pairs(seen.runs).map(|(a, b)| seen.raw[b][i] - seen.raw[a][i]);
            support.steps.push(moves.fold((0.0, 0.0), |(down, up), m| (m.min(down), m.max(up))));
        }
        for i in 0..code.modes.len() {
            let at = code.setpoints.len() + i;
            for (a, b) in pairs(seen.runs) {
                let change = [i as f64, seen.raw[a][at], seen.raw[b][at]];
                if change[1] != change[2] && !support.changes.contains(&change) {
                    support.changes.push(change);
                }
            }
        }
        support.remember(seen);
        support
    }

    /// Chooses situations, and the limit from how near others are that lie in another fold.
    fn remember(&mut self, seen: &Seen<'_>) {
        let ticks = seen.values.len();
        let changed: Vec<usize> = (0..ticks).filter(|&t| seen.since[t] < 6).collect();
        let thin = |of: &[usize], count: usize| -> Vec<usize> {
            let step = (of.len() as f64 / count as f64).max(1.0);
            (0..count).map(|i| (i as f64 * step) as usize).take_while(|i| *i < of.len()).map(|i| of[i]).collect()
        };
        let all: Vec<usize> = (0..ticks).collect();
        let mut chosen = thin(&changed, SITUATIONS_MAX / 2);
        chosen.extend(thin(&all, SITUATIONS_MAX / 2));
        let mut rows = Vec::new();
        for &t in &chosen {
            self.situation(&seen.coded[t], &seen.values[t], &mut rows);
        }
        self.situations = rows;
        let width = self.width();
        let mut probe = Vec::with_capacity(width);
        // Others than those that are remembered, as many from just after a change as a what-if begins with.
        let mut nearest = |of: &[usize]| -> Vec<f32> {
            let probes = thin(of, SITUATIONS_MAX).into_iter().filter(|t| !chosen.contains(t)).collect::<Vec<_>>();
            probes
                .iter()
                .map(|&t| {
                    probe.clear();
                    self.situation(&seen.coded[t], &seen.values[t], &mut probe);
                    let others = self.situations.chunks_exact(width).zip(&chosen);
                    others
                        .filter(|(_, other)| seen.fold[**other] != seen.fold[t])
                        .map(|(row, _)| squared(row, &probe))
                        .fold(f32::INFINITY, f32::min)
                })
                .filter(|d| d.is_finite())
                .collect()
        };
        let mut distances = nearest(&changed);
        distances.extend(nearest(&all));
        self.limit = conformal(&mut distances, SHARE_INSIDE).max(1e-3);
    }

    fn width(&self) -> usize {
        self.actions + COMPONENTS
    }

    fn situation(&self, actions: &[f32], values: &[f32], out: &mut Vec<f32>) {
        let (setpoints, modes) = actions.split_at(self.modes_at);
        out.extend_from_slice(setpoints);
        out.extend(modes.iter().map(|m| m * MODE_WEIGHT));
        for axis in self.axes.chunks_exact(self.tags) {
            let dot: f32 =
                axis.iter().zip(values).map(|(a, v)| if v.is_nan() { 0.0 } else { a * v.clamp(-5.0, 5.0) }).sum();
            out.push(dot * STATE_WEIGHT);
        }
    }

    /// How far actions and a state are from what was seen, in limits: above 1 is outside.
    pub(crate) fn distance(&self, actions: &[f32], values: &[f32]) -> f32 {
        let mut probe = Vec::with_capacity(self.width());
        self.situation(actions, values, &mut probe);
        let rows = self.situations.chunks_exact(self.width());
        let nearest = rows.map(|row| squared(row, &probe)).fold(f32::INFINITY, f32::min);
        (nearest / self.limit).sqrt()
    }

    /// The furthest steps that were seen of a setpoint, down and up, both as sizes.
    pub(crate) fn furthest(&self, setpoint: usize) -> (f64, f64) {
        let (down, up) = self.steps[setpoint];
        (-down, up)
    }

    /// Whether a raw course was seen in its values and steps, tick after tick; `before` is the present.
    pub(crate) fn check(&self, code: &ActionCode, spec: &ModelSpec, before: &[f64], raw: &[f64]) -> Option<Unseen> {
        let width = before.len();
        let mut last = before;
        for now in raw.chunks_exact(width.max(1)) {
            for (i, setpoint) in code.setpoints.iter().enumerate() {
                let (from, to) = (last[i], now[i]);
                if from == to {
                    continue;
                }
                let name = || spec.tags[setpoint.at].name.clone();
                let margin = MARGIN_SHARE * setpoint.span;
                let inside = |(low, high): &(f64, f64)| to >= low - margin && to <= high + margin;
                if !self.stretches[i].iter().any(inside) {
                    return Some(Unseen::Value { name: name(), asked: to, seen: self.stretches[i].clone() });
                }
                let (down, up) = self.steps[i];
                let furthest = if to > from { up } else { -down };
                if (to - from).abs() > furthest * (1.0 + STEP_SHARE) + margin {
                    return Some(Unseen::Step { name: name(), from, to, furthest });
                }
            }
            for (i, mode) in code.modes.iter().enumerate() {
                let (from, to) = (last[code.setpoints.len() + i], now[code.setpoints.len() + i]);
                if from != to && !self.changes.contains(&[i as f64, from, to]) {
                    return Some(Unseen::Mode { name: spec.tags[mode.at].name.clone(), from, to });
                }
            }
            last = now;
        }
        None
    }

    /// The setpoint that fits the rest least, for a situation that is outside; `raw` are its actions.
    pub(crate) fn blame(
        &self,
        code: &ActionCode,
        spec: &ModelSpec,
        before: &[f64],
        raw: &[f64],
        values: &[f32],
        distance: f32,
    ) -> Unseen {
        let mut actions = Vec::new();
        code.encode(raw, &mut actions);
        let mut probe = Vec::new();
        self.situation(&actions, values, &mut probe);
        let mut worst: Option<(f64, Unseen)> = None;
        for (i, setpoint) in code.setpoints.iter().enumerate().filter(|(i, _)| raw[*i] != before[*i]) {
            let mut near: Vec<(f32, f32)> = self
                .situations
                .chunks_exact(self.width())
                .map(|row| (squared(row, &probe) - (row[i] - probe[i]).powi(2), row[i]))
                .collect();
            near.sort_by(|a, b| a.0.total_cmp(&b.0));
            let there = near.iter().take(NEIGHBOURS).map(|(_, v)| f64::from(*v));
            let (low, high) = there.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
            // As `Setpoint::scaled`, the other way.
            let unit = |v: f64| v * setpoint.span / 2.0 + (setpoint.low + setpoint.high) / 2.0;
            let off = (low - f64::from(probe[i])).max(f64::from(probe[i]) - high);
            if worst.as_ref().is_none_or(|(w, _)| off > *w) {
                let name = spec.tags[setpoint.at].name.clone();
                let tidy = |v: f64| (v * 1e3).round() / 1e3;
                let seen = (tidy(unit(low)), tidy(unit(high)));
                worst = Some((off, Unseen::Together { name, asked: raw[i], seen, distance }));
            }
        }
        worst.map_or(Unseen::State { distance }, |(_, unseen)| unseen)
    }

    pub(crate) fn store(&self, store: &mut Store) {
        store.put_floats("foresight.support.axes", &self.axes);
        store.put_floats("foresight.support.situations", &self.situations);
        store.put_floats("foresight.support.limit", &[self.limit]);
        let flat = self.stretches.iter().flat_map(|s| {
            std::iter::once(s.len() as f64).chain(s.iter().flat_map(|(low, high)| [*low, *high])).collect::<Vec<_>>()
        });
        store.put("foresight.support.stretches", flat);
        store.put("foresight.support.steps", self.steps.iter().flat_map(|(down, up)| [*down, *up]));
        store.put("foresight.support.changes", self.changes.iter().flatten().copied());
    }

    pub(crate) fn restore(code: &ActionCode, tags: usize, store: &Store) -> Result<Self, Broken> {
        let wrong = |name: &str| Broken::new(name, "does not fit the line");
        let flat = store.get("foresight.support.stretches")?;
        let mut stretches = Vec::new();
        let mut rest = flat.as_slice();
        while let [count, tail @ ..] = rest {
            let count = 2 * *count as usize;
            if count > tail.len() {
                return Err(wrong("foresight.support.stretches"));
            }
            stretches.push(tail[..count].chunks_exact(2).map(|c| (c[0], c[1])).collect());
            rest = &tail[count..];
        }
        let setpoints = code.setpoints.len();
        let steps = store.get_len("foresight.support.steps", 2 * setpoints)?;
        let limit = store.floats("foresight.support.limit")?;
        let support = Self {
            tags,
            actions: code.len(),
            modes_at: code.modes_at(),
            axes: store.floats("foresight.support.axes")?,
            situations: store.floats("foresight.support.situations")?,
            limit: limit.first().copied().ok_or_else(|| wrong("foresight.support.limit"))?,
            stretches,
            steps: steps.chunks_exact(2).map(|c| (c[0], c[1])).collect(),
            changes: store.get("foresight.support.changes")?.chunks_exact(3).map(|c| [c[0], c[1], c[2]]).collect(),
        };
        let fits = support.axes.len() == COMPONENTS * tags
            && support.situations.len().is_multiple_of(support.width())
            && support.stretches.len() == setpoints;
        if fits { Ok(support) } else { Err(wrong("foresight.support.situations")) }
    }
}

fn squared(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// Neighbouring ticks of the same run.
fn pairs(runs: &[std::ops::Range<usize>]) -> impl Iterator<Item = (usize, usize)> + '_ {
    runs.iter().flat_map(|run| (run.start..run.end.saturating_sub(1)).map(|t| (t, t + 1)))
}

/// The first principal axes by power iteration, each divided by its standard deviation.
fn principal_axes(values: &[Vec<f32>], tags: usize) -> Vec<f32> {
    const ROUNDS: usize = 60;
    let mut covariance = vec![0f64; tags * tags];
    for row in values {
        for i in 0..tags {
            let a = if row[i].is_nan() { 0.0 } else { f64::from(row[i].clamp(-5.0, 5.0)) };
            for j in 0..tags {
                let b = if row[j].is_nan() { 0.0 } else { f64::from(row[j].clamp(-5.0, 5.0)) };
                covariance[i * tags + j] += a * b / values.len() as f64;
            }
        }
    }
    let mut axes = Vec::with_capacity(COMPONENTS * tags);
    for component in 0..COMPONENTS {
        let mut axis: Vec<f64> = (0..tags).map(|i| 1.0 + ((i + component) % 3) as f64 * 0.37).collect();
        let mut variance = 0.0;
        for _ in 0..ROUNDS {
            let next: Vec<f64> =
                covariance.chunks_exact(tags).map(|row| row.iter().zip(&axis).map(|(c, a)| c * a).sum()).collect();
            variance = next.iter().map(|v| v * v).sum::<f64>().sqrt();
            if variance < 1e-9 {
                break;
            }
            axis = next.into_iter().map(|v| v / variance).collect();
        }
        // Fewer tags than components, or nothing left: the axis says nothing.
        let scale = if variance < 1e-6 { 0.0 } else { 1.0 / variance.sqrt() };
        axes.extend(axis.iter().map(|a| (a * scale) as f32));
        for i in 0..tags {
            for j in 0..tags {
                covariance[i * tags + j] -= variance * axis[i] * axis[j];
            }
        }
    }
    axes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_setpoints_that_always_went_together_are_unseen_apart() {
        let setpoint = |at| crate::actions::Setpoint { at, low: 0.0, high: 10.0, span: 10.0 };
        let code = ActionCode { setpoints: vec![setpoint(0), setpoint(1)], modes: Vec::new() };
        let tag = |id, name: &str| crate::TagSpec {
            id: sightglass_protocol::TagId(id),
            name: name.to_owned(),
            unit: String::new(),
            role: sightglass_protocol::Role::Setpoint,
            range: None,
            excluded: false,
        };
        let spec = ModelSpec {
            line: sightglass_protocol::LineId(0),
            tick_ns: 1,
            tags: vec![tag(0, "first"), tag(1, "second")],
            cameras: Vec::new(),
        };
        let raw: Vec<Vec<f64>> = (0..800).map(|t| vec![f64::from(t / 20 % 11); 2]).collect();
        let code_of = |raw: &[f64]| {
            let mut out = Vec::new();
            code.encode(raw, &mut out);
            out
        };
        let coded: Vec<Vec<f32>> = raw.iter().map(|raw| code_of(raw)).collect();
        let values: Vec<Vec<f32>> =
            raw.iter().enumerate().map(|(t, r)| vec![r[0] as f32 / 3.0 + (t % 7) as f32 / 50.0]).collect();
        let (since, fold): (Vec<u32>, Vec<usize>) = (0..800).map(|t| (t % 20, t as usize / 100 % 4)).unzip();
        let runs = std::iter::once(0..800).collect::<Vec<_>>();
        let seen = Seen { values: &values, coded: &coded, raw: &raw, since: &since, fold: &fold, runs: &runs };
        let support = Support::fit(&code, 1, &seen);
        let (together, apart) = ([6.0, 6.0], [9.0, 2.0]);
        assert!(support.distance(&code_of(&together), &[2.0]) <= 1.0);
        let distance = support.distance(&code_of(&apart), &[2.0]);
        assert!(distance > 1.5, "{distance}");
        assert_eq!(support.check(&code, &spec, &[9.0, 3.0], &[9.0, 2.5]), None, "each by itself was seen");
        let step = support.check(&code, &spec, &[2.0, 2.0], &[7.0, 2.0]);
        assert!(
            matches!(&step, Some(Unseen::Step { name, furthest, .. }) if name == "first" && *furthest == 1.0),
            "{step:?}"
        );
        let blame = support.blame(&code, &spec, &[9.0, 9.0], &apart, &[2.0], distance);
        assert!(matches!(&blame, Unseen::Together { name, .. } if name == "second"), "{blame}");
        assert!(blame.to_string().contains("'second' = 2 was never seen together with the rest"), "{blame}");
    }
}
