//! From prediction errors to scores of tags: smoothed over several spans, scaled by regime, whitened across tags.
//!
//! One-step errors say what is off now; errors many ticks ahead and long averages say what drifts while a controller
//! hides it. A tag is judged alone (`z`) and given all others (`P z / sqrt(P_ii)`, with P the inverse of their
//! correlation): the second is largest at the tag that is wrong, whatever it drags along (reconstruction-based
//! contribution, Alcala and Qin 2009).

use sightglass_protocol::ScorePart;

use crate::arx::inverse;
use crate::calibration::{Cut, robust_scale, wander_to_come};
use crate::file::{Broken, Store};
use crate::residual::{Residuals, SOURCES};

/// Ticks since an action at which the regimes end; the last one is steady running.
const REGIME_ENDS: [u32; 5] = [5, 15, 30, 60, 120];
const REGIMES: usize = REGIME_ENDS.len() + 1;
/// How much larger errors are expected in a regime that training never showed.
const UNSEEN_REGIME: [f32; REGIMES] = [4.0, 3.5, 3.0, 2.0, 1.5, 1.0];
/// Fewer actions than this in training: their regimes are trusted less.
const ACTIONS_FEW: usize = 4;
const ACTIONS_FEW_FACTOR: f32 = 1.5;
/// A single error counts at most this many scales in an average.
const CLIP: f32 = 5.0;

/// A smoothed kind of error.
struct Channel {
    source: usize,
    /// Seconds (ticks, where a tick is longer than a second); 0 for none.
    span: f32,
    part: ScorePart,
}

const fn channel(source: usize, span: f32, part: ScorePart) -> Channel {
    Channel { source, span, part }
}

const CHANNELS: [Channel; 8] = [
    channel(0, 0.0, ScorePart::Residual),
    channel(0, 4.0, ScorePart::Residual),
    channel(0, 20.0, ScorePart::Drift),
    channel(0, 60.0, ScorePart::Drift),
    channel(1, 10.0, ScorePart::Drift),
    channel(2, 30.0, ScorePart::Drift),
    channel(3, 8.0, ScorePart::Drift),
    channel(3, 40.0, ScorePart::Drift),
];

fn regime(since_change: u32) -> usize {
    REGIME_ENDS.iter().position(|&end| since_change < end).unwrap_or(REGIMES - 1)
}

#[derive(Clone, Debug, PartialEq)]
struct ChannelFit {
    /// By regime, then tag.
    scale: Vec<f32>,
    /// Row-major square.
    precision: Vec<f64>,
    alone: Vec<f32>,
    given_others: Vec<f32>,
    together: f32,
}

/// The calibrated channels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Drift {
    tags: usize,
    /// Ticks a second of span.
    ticks_per_second: f32,
    /// By source, regime, tag.
    source_scale: Vec<Vec<f32>>,
    channels: Vec<ChannelFit>,
    /// Over all.
    pub(crate) factor: f32,
}

/// The averages of a stream.
#[derive(Clone, Default)]
pub(crate) struct DriftState {
    averages: Vec<Vec<f32>>,
}

/// The scores of a tick's tags.
#[derive(Clone, Debug)]
pub(crate) struct TagScores {
    /// Score and strongest part, one a moving tag; `None` for a tag without a value.
    pub(crate) tags: Vec<Option<(f32, ScorePart)>>,
    pub(crate) residual: f32,
    pub(crate) drift: f32,
}

/// One channel's statistics at a tick.
struct Statistics {
    alone: Vec<f32>,
    given_others: Vec<f32>,
    together: f32,
}

fn statistics(z: &[f32], precision: &[f64]) -> Statistics {
    let n = z.len();
    let mut given_others = vec![f32::NAN; n];
    let mut total = 0f64;
    let mut count = 0usize;
    for i in 0..n {
        if z[i].is_nan() {
            continue;
        }
        let row = &precision[i * n..(i + 1) * n];
        let pull: f64 = row.iter().zip(z).filter(|(_, z)| !z.is_nan()).map(|(p, z)| p * f64::from(*z)).sum();
        given_others[i] = (pull / row[i].max(1e-9).sqrt()).abs() as f32;
        total += pull * f64::from(z[i]);
        count += 1;
    }
    let together = if count == 0 { f32::NAN } else { (total.max(0.0) / count as f64).sqrt() as f32 };
    Statistics { alone: z.iter().map(|v| v.abs()).collect(), given_others, together }
}

/// Scales by regime and tag; `value(t, i)` is NaN where there is none.
fn scales(tags: usize, since: &[u32], value: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    let actions = since.iter().filter(|s| **s == 0).count();
    let mut out = vec![0f32; REGIMES * tags];
    let regimes: Vec<usize> = since.iter().map(|&s| regime(s)).collect();
    for i in 0..tags {
        let of = |wanted: usize| {
            let ticks = regimes.iter().enumerate().filter(move |(_, r)| **r == wanted);
            ticks.map(|(t, _)| value(t, i)).filter(|v| v.is_finite())
        };
        let mut steady = robust_scale(of(REGIMES - 1));
        if of(REGIMES - 1).count() < 30 {
            steady = steady.max(robust_scale((0..since.len()).map(|t| value(t, i))));
        }
        let mut last = steady.max(1e-6);
        out[(REGIMES - 1) * tags + i] = last;
        for r in (0..REGIMES - 1).rev() {
            let seen = of(r).count();
            let scale = if seen == 0 || actions == 0 && r < 2 {
                steady * UNSEEN_REGIME[r]
            } else {
                robust_scale(of(r)) * if actions < ACTIONS_FEW { ACTIONS_FEW_FACTOR } else { 1.0 }
            };
            last = last.max(scale);
            out[r * tags + i] = last;
        }
    }
    out
}

impl Drift {
    /// Calibrates on errors of models that did not see the scored ticks. Gives, beside the calibrated channels with a
    /// factor of 1, the highest score of each tick.
    pub(crate) fn fit(tags: usize, tick_ns: i64, residuals: &[Residuals], cut: &Cut) -> (Self, Vec<f32>, bool) {
        let since: Vec<u32> = residuals.iter().map(|r| r.since_change).collect();
        let source_scale = (0..SOURCES)
            .map(|s| scales(tags, &since, |t, i| residuals[t].errors[s][i] / residuals[t].unknown))
            .collect();
        let ticks_per_second = (1e9 / tick_ns.max(1) as f32).max(1.0);
        let mut drift = Self { tags, ticks_per_second, source_scale, channels: Vec::new(), factor: 1.0 };
        let wander = wander_to_come(residuals.len() as f64 * tick_ns as f64 / 1e9);
        let mut highest = vec![0f32; residuals.len()];
        let mut extrapolated = false;
        for (c, channel) in CHANNELS.iter().enumerate() {
            let mut series = vec![f32::NAN; residuals.len() * tags];
            for run in &cut.runs {
                let mut average = vec![0f32; tags];
                for t in run.clone() {
                    drift.smooth(c, &residuals[t], &mut average, &mut series[t * tags..(t + 1) * tags]);
                }
            }
            let scale = scales(tags, &since, |t, i| series[t * tags + i]);
            for (t, row) in series.chunks_mut(tags).enumerate() {
                let at = regime(since[t]) * tags;
                row.iter_mut().zip(&scale[at..at + tags]).for_each(|(v, s)| *v /= s);
            }
            let span = (channel.span * ticks_per_second).max(1.0);
            let precision = precision(&series, tags, span);
            let rows: Vec<Statistics> = series.chunks(tags).map(|z| statistics(z, &precision)).collect();
            let to_come = if channel.part == ScorePart::Drift { wander } else { 1.0 };
            let mut fitted = |pick: &dyn Fn(&Statistics) -> f32| {
                let values: Vec<f32> = rows.iter().map(pick).collect();
                let limit = cut.limit(&values, &mut highest);
                extrapolated |= limit.extrapolated;
                limit.value * to_come
            };
            let fit = ChannelFit {
                alone: (0..tags).map(|i| fitted(&|s| s.alone[i])).collect(),
                given_others: (0..tags).map(|i| fitted(&|s| s.given_others[i])).collect(),
                together: fitted(&|s| s.together),
                scale,
                precision,
            };
            drift.channels.push(fit);
        }
        (drift, highest, extrapolated)
    }

    /// The channel's value at a tick, before its own scale. An average stands still while its tag has no value.
    fn smooth(&self, channel: usize, residuals: &Residuals, average: &mut [f32], out: &mut [f32]) {
        let Channel { source, span, .. } = CHANNELS[channel];
        let at = regime(residuals.since_change) * self.tags;
        let scale = &self.source_scale[source][at..at + self.tags];
        for i in 0..self.tags {
            let error = residuals.errors[source][i] / (scale[i] * residuals.unknown);
            out[i] = if error.is_nan() || span == 0.0 {
                error
            } else {
                average[i] += (error.clamp(-CLIP, CLIP) - average[i]) / (span * self.ticks_per_second);
                average[i]
            };
        }
    }

    /// Scores the next tick.
    pub(crate) fn step(&self, state: &mut DriftState, residuals: &Residuals) -> TagScores {
        state.averages.resize(CHANNELS.len(), vec![0.0; self.tags]);
        let mut scores = TagScores { tags: vec![None; self.tags], residual: 0.0, drift: 0.0 };
        let regime = regime(residuals.since_change) * self.tags;
        let mut z = vec![0f32; self.tags];
        for (c, (channel, fit)) in CHANNELS.iter().zip(&self.channels).enumerate() {
            self.smooth(c, residuals, &mut state.averages[c], &mut z);
            z.iter_mut().zip(&fit.scale[regime..]).for_each(|(z, s)| *z /= s);
            let found = statistics(&z, &fit.precision);
            let mut part = found.together / fit.together;
            for i in 0..self.tags {
                if z[i].is_nan() {
                    continue;
                }
                let score = (found.alone[i] / fit.alone[i]).max(found.given_others[i] / fit.given_others[i]);
                part = part.max(score);
                let score = score / self.factor;
                if scores.tags[i].is_none_or(|(best, _)| score > best) {
                    scores.tags[i] = Some((score, channel.part));
                }
            }
            let part = if part.is_nan() { 0.0 } else { part / self.factor };
            match channel.part {
                ScorePart::Residual => scores.residual = scores.residual.max(part),
                _ => scores.drift = scores.drift.max(part),
            }
        }
        scores
    }

    pub(crate) fn store(&self, store: &mut Store) {
        store.put("drift.factor", [f64::from(self.factor), f64::from(self.ticks_per_second)]);
        for (s, scale) in self.source_scale.iter().enumerate() {
            store.put_floats(&format!("drift.source.{s}"), scale);
        }
        for (c, fit) in self.channels.iter().enumerate() {
            store.put_floats(&format!("drift.{c}.scale"), &fit.scale);
            store.put(&format!("drift.{c}.precision"), fit.precision.iter().copied());
            store.put_floats(&format!("drift.{c}.alone"), &fit.alone);
            store.put_floats(&format!("drift.{c}.given_others"), &fit.given_others);
            store.put_floats(&format!("drift.{c}.together"), &[fit.together]);
        }
    }

    pub(crate) fn restore(tags: usize, store: &Store) -> Result<Self, Broken> {
        let floats = |name: String, len: usize| {
            let values = store.floats(&name)?;
            if values.len() == len { Ok(values) } else { Err(Broken::new(&name, "has another length")) }
        };
        let factor = store.get_len("drift.factor", 2)?;
        Ok(Self {
            tags,
            ticks_per_second: factor[1] as f32,
            factor: factor[0] as f32,
            source_scale: (0..SOURCES)
                .map(|s| floats(format!("drift.source.{s}"), REGIMES * tags))
                .collect::<Result<_, _>>()?,
            channels: (0..CHANNELS.len())
                .map(|c| {
                    Ok(ChannelFit {
                        scale: floats(format!("drift.{c}.scale"), REGIMES * tags)?,
                        precision: store.get_len(&format!("drift.{c}.precision"), tags * tags)?,
                        alone: floats(format!("drift.{c}.alone"), tags)?,
                        given_others: floats(format!("drift.{c}.given_others"), tags)?,
                        together: floats(format!("drift.{c}.together"), 1)?[0],
                    })
                })
                .collect::<Result<_, Broken>>()?,
        })
    }
}

/// The inverse of the tags' correlation, pulled towards independence the more, the fewer independent rows there are.
fn precision(series: &[f32], tags: usize, span: f32) -> Vec<f64> {
    let mut sums = vec![0f64; tags * tags];
    let mut rows = 0f64;
    for z in series.chunks(tags) {
        if z.iter().all(|v| v.is_nan()) {
            continue;
        }
        rows += 1.0;
        // Wild values must not make tags look alike that are not.
        let z: Vec<f64> = z.iter().map(|v| if v.is_nan() { 0.0 } else { f64::from(v.clamp(-4.0, 4.0)) }).collect();
        for i in 0..tags {
            for j in 0..=i {
                sums[i * tags + j] += z[i] * z[j];
            }
        }
    }
    let independent = rows / f64::from(2.0 * span).max(1.0);
    let shrink = (2.0 * tags as f64 / independent.max(1.0)).clamp(0.03, 1.0);
    let mut correlation = vec![0f64; tags * tags];
    for i in 0..tags {
        for j in 0..=i {
            let norm = (sums[i * tags + i] * sums[j * tags + j]).sqrt().max(1e-9);
            let r = if i == j { 1.0 } else { sums[i * tags + j] / norm * (1.0 - shrink) };
            correlation[i * tags + j] = r;
            correlation[j * tags + i] = r;
        }
    }
    inverse(&correlation, tags)
}
