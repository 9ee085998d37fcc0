//! The model on a stream of ticks: one tick in, one forecast and one surprise out.

use std::sync::Arc;

use sightglass_protocol::{
    Band, CameraReading, Forecast, HORIZONS, PatchMap, Quality, ScorePart, Surprise, TagForecast, TagId, TagReading,
    TagSurprise, Tick, UnknownGround,
};

use crate::actions::{ActionCode, Beyond};
use crate::appearance::AppearanceState;
use crate::camera_encoder::{PATCHES, SIDE};
use crate::combine::norm;
use crate::drift::DriftState;
use crate::foresight::ForesightError;
use crate::foresight::calibrate::Calibrated;
use crate::frozen_encoder::Views;
use crate::latent::{InputState, LatentOutput, LatentState, TickInput};
use crate::model::{Inner, TagParts};
use crate::normalise::{Kind, usable};
use crate::residual::{Snapshot, TagState};
use crate::spec::ModelSpec;

/// Up to this many ticks that were dropped are taken as ticks without values; after more the stream begins anew.
const DROPPED_MAX: u64 = 3;
/// No score is larger, so that the rest can add and compare without care.
const SCORE_MAX: f32 = 1e4;

/// What the model says at a tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// What it expects; absent where no tag is predicted.
    pub forecast: Option<Forecast>,
    /// How unexpected the tick was.
    pub surprise: Surprise,
}

/// The latent states at a tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Latents {
    /// Of tags and pictures together.
    pub fused: Vec<f32>,
    /// Of pictures alone; empty for a line with one kind of input.
    pub video: Vec<f32>,
    /// Of tags alone; empty for a line with one kind of input.
    pub sensor: Vec<f32>,
}

#[derive(Clone, Default)]
struct State {
    seen: u64,
    tags: TagState,
    drift: DriftState,
    inputs: InputState,
    latent: LatentState,
    views: Views,
    looks: Vec<AppearanceState>,
    /// The bands one tick ahead that were made last, one a moving tag.
    expected: Vec<Band>,
    /// All bands that were made last, one row a moving tag.
    shown: Vec<[Band; 6]>,
    latents: Option<Latents>,
}

/// The model on one stream of ticks. Deterministic: the same ticks give the same bits.
#[derive(Clone)]
pub struct Stream {
    model: Arc<Inner>,
    state: State,
    last: Option<(u64, sightglass_protocol::UtcNanos)>,
}

/// A stream's present, as roll-outs see it.
pub(crate) struct Present<'a> {
    model: &'a Inner,
    pub(crate) parts: &'a TagParts,
    pub(crate) tags: &'a TagState,
    pub(crate) snapshot: Snapshot,
    pub(crate) shown: &'a [[Band; 6]],
    pub(crate) time: sightglass_protocol::UtcNanos,
}

impl Present<'_> {
    pub(crate) fn spec(&self) -> &ModelSpec {
        &self.model.spec
    }

    pub(crate) fn code(&self) -> &ActionCode {
        &self.parts.plan.code
    }

    pub(crate) fn foresight(&self) -> Result<&Calibrated, ForesightError> {
        self.parts.foresight.as_ref().ok_or(ForesightError::NotCalibrated)
    }

    /// The identity of a moving tag.
    pub(crate) fn tag(&self, moving: usize) -> TagId {
        let scaling = &self.model.scaling;
        self.model.spec.tags[scaling.watched[scaling.moving[moving]]].id
    }

    /// The moving tag with this identity.
    pub(crate) fn moving(&self, tag: TagId) -> Result<usize, ForesightError> {
        let known = self.model.spec.tags.iter().find(|t| t.id == tag).ok_or(ForesightError::UnknownTag { tag })?;
        let moving = (0..self.parts.plan.tags).find(|&m| self.tag(m) == tag);
        moving.ok_or_else(|| ForesightError::NotPredicted { name: known.name.clone() })
    }

    /// The name of a moving tag, and its lowest and highest value in training, where a normalised value lies beyond.
    pub(crate) fn beyond(&self, moving: usize, value: f32) -> Option<(String, f64, f64)> {
        /// The share of the range by which noise may exceed it.
        const NOISE_SHARE: f64 = 0.15;
        let at = self.model.scaling.moving[moving];
        let (low, high) = self.model.scaling.seen[at];
        let (value, margin) = (self.model.scaling.denormalise(moving, f64::from(value)), NOISE_SHARE * (high - low));
        let name = &self.model.spec.tags[self.model.scaling.watched[at]].name;
        (value < low - margin || value > high + margin).then(|| (name.clone(), low, high))
    }

    /// One normalised unit of a moving tag in its own.
    pub(crate) fn scale(&self, moving: usize) -> f32 {
        self.model.scaling.scale[self.model.scaling.moving[moving]] as f32
    }

    pub(crate) fn normalise(&self, moving: usize, value: f32) -> f32 {
        let at = self.model.scaling.moving[moving];
        ((f64::from(value) - self.model.scaling.center[at]) / self.model.scaling.scale[at]) as f32
    }

    /// A band in the tag's unit from its normalised middle and offsets.
    pub(crate) fn band(&self, moving: usize, mid: f32, low: f32, high: f32) -> Band {
        let unit = |v: f32| self.model.scaling.denormalise(moving, f64::from(v)) as f32;
        Band { low: unit(mid + low), mid: unit(mid), high: unit(mid + high) }
    }
}

fn bounded(score: f32) -> f32 {
    if score.is_nan() { 0.0 } else { score.clamp(0.0, SCORE_MAX) }
}

impl Stream {
    pub(crate) fn new(model: Arc<Inner>) -> Self {
        Self { model, state: State::default(), last: None }
    }

    /// The latent states after the last tick; absent without a network.
    pub fn latents(&self) -> Option<&Latents> {
        self.state.latents.as_ref()
    }

    /// Takes the next tick. A few dropped ticks are bridged; after a longer gap, or when time goes back, it begins anew.
    ///
    /// A tick must have the line's tags and cameras in the line's order; one that has not is not judged.
    pub fn step(&mut self, tick: &Tick) -> Output {
        let spec = &self.model.spec;
        if tick.tags.len() != spec.tags.len() || tick.cameras.len() != spec.cameras.len() {
            tracing::error!(
                time = %tick.time,
                "a tick has {} tags and {} cameras where the model's line has {} and {}; it is not judged",
                tick.tags.len(), tick.cameras.len(), spec.tags.len(), spec.cameras.len()
            );
            self.state = State::default();
            self.last = None;
            return Output { forecast: None, surprise: self.nothing(tick) };
        }
        let tick_ns = spec.tick_ns.max(1);
        if let Some((index, time)) = self.last {
            let ticks = (tick.time.since(time) + tick_ns / 2).div_euclid(tick_ns);
            let dropped = u64::try_from(ticks - 1).ok().filter(|d| *d <= DROPPED_MAX);
            match dropped {
                Some(dropped) if tick.index > index => {
                    for _ in 0..dropped {
                        let blank = self.blank(tick);
                        self.judge(&blank);
                    }
                }
                _ => self.state = State::default(),
            }
        }
        self.last = Some((tick.index, tick.time));
        self.judge(tick)
    }

    /// What a roll-out begins from.
    pub(crate) fn present(&self) -> Result<Present<'_>, ForesightError> {
        let parts = self.model.tags.as_ref().ok_or(ForesightError::NothingPredicted)?;
        let snapshot = self.state.tags.snapshot().ok_or(ForesightError::NoPresent)?;
        let (_, time) = self.last.ok_or(ForesightError::NoPresent)?;
        Ok(Present { model: &self.model, parts, tags: &self.state.tags, snapshot, shown: &self.state.shown, time })
    }

    fn nothing(&self, tick: &Tick) -> Surprise {
        Surprise {
            line: self.model.spec.line,
            time: tick.time,
            score: 0.0,
            parts: Vec::new(),
            tags: Vec::new(),
            patches: Vec::new(),
            unknown_ground: Vec::new(),
            settled: false,
        }
    }

    /// A tick that was dropped: nothing known.
    fn blank(&self, next: &Tick) -> Tick {
        let tags = next.tags.iter().map(|t| TagReading {
            tag: t.tag,
            value: f64::NAN,
            age_ns: i64::MAX,
            quality: Quality::Missing,
        });
        let cameras = next.cameras.iter().map(|c| CameraReading {
            camera: c.camera,
            frames: Vec::new(),
            quality: Quality::Missing,
        });
        Tick { tags: tags.collect(), cameras: cameras.collect(), ..next.clone() }
    }

    fn judge(&mut self, tick: &Tick) -> Output {
        let model = Arc::clone(&self.model);
        let state = &mut self.state;
        state.seen += 1;
        let mut surprise = Surprise {
            line: model.spec.line,
            time: tick.time,
            score: 0.0,
            parts: Vec::new(),
            tags: Vec::new(),
            patches: Vec::new(),
            unknown_ground: Vec::new(),
            settled: state.seen >= model.settle_ticks,
        };
        let values = model.scaling.moving_values(tick);
        let expected = std::mem::take(&mut state.expected);
        let (mut residual, mut drift) = (0f32, 0f32);
        let mut moving_scores = Vec::new();
        let mut unknown = 1f32;
        let mut linear = Vec::new();
        if let Some(parts) = &model.tags {
            let residuals = parts.models.step(&parts.plan, &mut state.tags, tick, &values);
            unknown = residuals.unknown;
            let scores = parts.drift.step(&mut state.drift, &residuals);
            (residual, drift) = (scores.residual, scores.drift);
            moving_scores = scores.tags;
            linear = parts.models.forecast(&parts.plan, &state.tags);
            let beyond = state.tags.actions().map(|actions| parts.plan.code.unknown(actions)).unwrap_or_default();
            let ground = |Beyond { at, value, seen }| UnknownGround { tag: model.spec.tags[at].id, value, seen };
            surprise.unknown_ground = beyond.into_iter().map(ground).collect();
        }
        for (i, &at) in model.scaling.watched.iter().enumerate() {
            let actual = usable(&tick.tags[at]);
            let moving = model.scaling.moving.iter().position(|&m| m == i);
            let (score, part) = match (model.scaling.kinds[i], moving) {
                (Kind::Moving, Some(m)) => {
                    moving_scores.get(m).copied().flatten().unwrap_or((0.0, ScorePart::Residual))
                }
                (Kind::Constant, _) if actual.is_some() => {
                    let score = model.scaling.value(i, tick).abs() / unknown;
                    residual = residual.max(score);
                    (score, ScorePart::Residual)
                }
                _ => (0.0, ScorePart::Residual),
            };
            surprise.tags.push(TagSurprise {
                tag: model.spec.tags[at].id,
                score: bounded(score),
                part,
                predicted: actual.and(moving).and_then(|m| expected.get(m).copied()),
                actual,
            });
        }

        let mut latent_score = 0f32;
        let mut latent_patches = Vec::new();
        let mut read_out = None;
        if let Some(latent) = &model.latent {
            let mut input =
                TickInput::new(&model.layout, &model.scaling, tick, &values, &state.tags, &linear, &mut state.inputs);
            let seen = match &model.encoder {
                Some(encoder) => state.views.see(encoder, tick).map(Some),
                None => Ok(None),
            };
            let step = seen.map_err(candle_core::Error::wrap).and_then(|tokens| {
                input.tokens = tokens;
                latent.step(&mut state.latent, tick, &input)
            });
            match step {
                Ok(output) => {
                    latent_score = latent.score(&output);
                    latent_patches = latent.patch_scores(&output);
                    match latent.read_out(&output.hidden, &input) {
                        Ok(bands) => read_out = bands,
                        Err(error) => tracing::error!(%error, "the read-out failed; bands are the linear forecast's"),
                    }
                    state.latents = Some(latents(&output, latent.network.shape.modalities()));
                }
                Err(error) => {
                    tracing::error!(%error, "the network failed; this tick is judged without it");
                    (state.latent, state.views) = Default::default();
                    state.latents = None;
                }
            }
        }

        let mut appearance = 0f32;
        state.looks.resize_with(model.looks.len(), AppearanceState::default);
        for (c, look) in model.looks.iter().enumerate() {
            let Some(look) = look else { continue };
            let Some(scores) = look.step(&mut state.looks[c], &tick.cameras[c]) else { continue };
            let highest = scores.iter().copied().fold(0.0, f32::max);
            appearance = appearance.max(highest);
            let foreseen: &[f32] = latent_patches.get(c * PATCHES..(c + 1) * PATCHES).unwrap_or(&[]);
            let unforeseen = foreseen.iter().copied().fold(0.0, f32::max);
            latent_score = latent_score.max(unforeseen);
            let both = scores.iter().enumerate().map(|(p, s)| bounded(foreseen.get(p).map_or(*s, |f| f.max(*s))));
            surprise.patches.push(PatchMap {
                camera: model.spec.cameras[c].id,
                rows: SIDE as u16,
                cols: SIDE as u16,
                scores: both.collect(),
                part: if unforeseen > highest { ScorePart::Latent } else { ScorePart::Appearance },
            });
        }

        surprise.parts = [
            (ScorePart::Latent, latent_score),
            (ScorePart::Appearance, appearance),
            (ScorePart::Residual, residual),
            (ScorePart::Drift, drift),
        ]
        .map(|(part, score)| (part, bounded(score)))
        .to_vec();
        surprise.score = bounded(norm([latent_score, appearance, residual.max(drift)].map(bounded)));
        let forecast = model.tags.as_ref().map(|parts| {
            let tags = (0..parts.plan.tags)
                .map(|m| TagForecast {
                    tag: model.spec.tags[model.scaling.watched[model.scaling.moving[m]]].id,
                    bands: std::array::from_fn(|h| {
                        parts.bands.band(&model.scaling, h * parts.plan.tags + m, &linear, read_out.as_ref())
                    }),
                })
                .collect::<Vec<_>>();
            state.expected = tags.iter().map(|t| t.bands[0]).collect();
            state.shown = tags.iter().map(|t| t.bands).collect();
            Forecast { line: model.spec.line, time: tick.time, tick_ns: model.spec.tick_ns, tags }
        });
        Output { forecast, surprise }
    }
}

fn latents(output: &LatentOutput, modalities: usize) -> Latents {
    let size = output.states.len() / modalities;
    let part = |m: usize| output.states.get(m * size..(m + 1) * size).unwrap_or(&[]).to_vec();
    Latents { fused: part(0), video: part(1), sensor: part(2) }
}

/// The number of horizons, as the forecast's arrays have it.
const _: () = assert!(HORIZONS.len() == 6);

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;
    use crate::spec::{Size, TagSpec, TrainOptions};
    use sightglass_protocol::{LineId, Role, UtcNanos};

    /// A stream of a small line (a setpoint, a mode, two tags) that saw some ticks.
    pub(crate) fn settled() -> Stream {
        let tag = |(i, role): (usize, Role)| TagSpec {
            id: TagId::from_index(i),
            name: format!("t{i}"),
            unit: String::new(),
            role,
            range: None,
            excluded: false,
        };
        let roles = [Role::Setpoint, Role::Mode, Role::Measurement, Role::Output];
        let tags = roles.into_iter().enumerate().map(tag).collect();
        let spec = ModelSpec { line: LineId(0), tick_ns: 1_000_000_000, tags, cameras: Vec::new() };
        let mut value = [5.0, 2.0];
        let ticks: Vec<Tick> = (0..500u64)
            .map(|t| {
                let (setpoint, mode) = ((t / 40 % 5) as f64, (t / 125 % 2) as f64);
                value[1] += (setpoint - value[0]) * 0.1 + (t * 7 % 5) as f64 * 0.01 - 0.02;
                value[0] += (value[1] + mode - value[0]) * 0.1 + (t * 3 % 7) as f64 * 0.01 - 0.03;
                let reading = |(i, value): (usize, f64)| TagReading {
                    tag: TagId::from_index(i),
                    value,
                    age_ns: 0,
                    quality: Quality::Good,
                };
                let readings = [setpoint, mode, value[0], value[1]].into_iter().enumerate().map(reading).collect();
                let time = UtcNanos(t as i64 * 1_000_000_000);
                Tick { line: LineId(0), index: t, time, tags: readings, cameras: Vec::new() }
            })
            .collect();
        let options = TrainOptions { epochs_max: 1, size: Size::least(), ..TrainOptions::default() };
        let trained = crate::train(&spec, std::slice::from_ref(&ticks), &options, &mut |_| true);
        let mut stream = trained.expect("the line can be learned").stream();
        ticks[..300].iter().for_each(|tick| drop(stream.step(tick)));
        stream
    }
}
