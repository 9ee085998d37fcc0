//! The network on a stream: one tick in, its state, what was expected of it, and what is expected next.

use std::collections::VecDeque;

use candle_core::{Result, Tensor};
use sightglass_protocol::{HORIZONS, Role, Tick};

use crate::camera_encoder::{PATCHES, is_visible, tubelets};
use crate::device::ComputeDevice;
use crate::file::{Broken, Store};
use crate::network::{Batch, Network, Shape};
use crate::normalise::Scaling;
use crate::patch_features::FEATURES;
use crate::predictor::{CONTEXT, Memory};
use crate::residual::{Plan, TagState, action_values, known_values};
use crate::spec::{ModelSpec, Size};
use crate::tag_encoder::VALUES;

/// Normalised inputs are cut at this size.
const INPUT_MAX: f32 = 6.0;
/// Ticks over which latent errors are averaged.
const SPAN: f32 = 3.0;

/// What of a line goes where in the network.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    cameras: usize,
    /// Indices into the moving tags of the controllers' outputs.
    outputs: Vec<usize>,
    tick_ns: i64,
}

impl Layout {
    pub(crate) fn new(spec: &ModelSpec, scaling: &Scaling) -> Self {
        let role = |moving: usize| spec.tags[scaling.watched[scaling.moving[moving]]].role;
        Self {
            cameras: spec.cameras.len(),
            outputs: (0..scaling.moving.len()).filter(|&i| role(i) == Role::Output).collect(),
            tick_ns: spec.tick_ns,
        }
    }

    pub(crate) fn shape(&self, plan: &Plan, size: Size, frozen: Option<usize>) -> Shape {
        let actions = plan.code.len();
        Shape {
            size,
            cameras: self.cameras,
            tags: plan.tags,
            actions: 2 * (actions + self.outputs.len()),
            extra: (1 + HORIZONS.len()) * plan.tags + actions,
            frozen,
        }
    }
}

/// The network's inputs at one tick, but for the pictures where its own encoder looks at them.
#[derive(Clone)]
pub(crate) struct TickInput {
    tag_patches: Vec<f32>,
    present: Vec<bool>,
    actions: Vec<f32>,
    pub(crate) extra: Vec<f32>,
    /// A frozen encoder's tokens of all cameras.
    pub(crate) tokens: Option<Vec<f32>>,
}

/// What has to be remembered to make inputs.
#[derive(Clone, Default)]
pub(crate) struct InputState {
    values: VecDeque<Vec<f32>>,
    outputs: Vec<f32>,
}

impl TickInput {
    /// `values` are the tick's normalised values, `tags` has taken them, `forecast` was made after that. No setpoint and
    /// no mode is among `tag_patches`.
    pub(crate) fn new(
        layout: &Layout,
        scaling: &Scaling,
        tick: &Tick,
        values: &[f32],
        tags: &TagState,
        forecast: &[f32],
        state: &mut InputState,
    ) -> Self {
        state.values.push_front(values.to_vec());
        state.values.truncate(VALUES);
        let mut tag_patches = Vec::new();
        for i in 0..values.len() {
            let past = (0..VALUES).map(|k| state.values.get(k).map_or(f32::NAN, |v| v[i]));
            let past: Vec<f32> = past.collect();
            tag_patches.extend(past.iter().map(|v| if v.is_nan() { 0.0 } else { v.clamp(-INPUT_MAX, INPUT_MAX) }));
            tag_patches.extend(past.iter().map(|v| f32::from(u8::from(v.is_nan()))));
            let age = tick.tags[scaling.watched[scaling.moving[i]]].age_ns as f32 / layout.tick_ns.max(1) as f32;
            tag_patches.push((age / 8.0).clamp(0.0, 1.0));
        }
        let known = known_values(tags);
        let outputs: Vec<f32> = layout.outputs.iter().map(|&i| known[i].clamp(-INPUT_MAX, INPUT_MAX)).collect();
        if state.outputs.is_empty() {
            state.outputs.clone_from(&outputs);
        }
        let (now, before) = action_values(tags);
        let mut actions = now.to_vec();
        actions.extend(now.iter().zip(before).map(|(a, b)| a - b));
        actions.extend(&outputs);
        actions.extend(outputs.iter().zip(&state.outputs).map(|(a, b)| a - b));
        state.outputs = outputs;
        let mut extra: Vec<f32> = known.iter().map(|v| v.clamp(-INPUT_MAX, INPUT_MAX)).collect();
        extra.extend(now);
        extra.extend(forecast.iter().map(|v| v.clamp(-INPUT_MAX, INPUT_MAX)));
        let present = values.iter().map(|v| !v.is_nan()).collect();
        Self { tag_patches, present, actions, extra, tokens: None }
    }

    /// Appends this tick to a batch.
    pub(crate) fn append(&self, tick: &Tick, batch: &mut Batch) {
        for reading in &tick.cameras {
            tubelets(reading, &mut batch.tubelets);
            batch.visible.push(is_visible(reading));
        }
        batch.frozen.extend(self.tokens.iter().flatten());
        batch.tag_patches.extend(&self.tag_patches);
        batch.present.extend(&self.present);
        batch.actions.extend(&self.actions);
        batch.extra.extend(&self.extra);
    }
}

/// The trained network with its limits.
pub(crate) struct Latent {
    pub(crate) network: Network,
    /// One a modality.
    pub(crate) limits: Vec<f32>,
    /// One a camera and patch.
    pub(crate) patch_limits: Vec<f32>,
    /// Over all.
    pub(crate) factor: f32,
}

/// What a stream remembers.
#[derive(Clone, Default)]
pub(crate) struct LatentState {
    memory: Memory,
    ahead: VecDeque<Vec<f32>>,
    patches: Option<Vec<f32>>,
    errors: Vec<f32>,
    patch_errors: Vec<f32>,
    /// Ticks since anything was absent, at most [`CONTEXT`].
    complete: usize,
}

/// What one tick gave.
pub(crate) struct LatentOutput {
    /// All modalities' states.
    pub(crate) states: Vec<f32>,
    /// (1, width).
    pub(crate) hidden: Tensor,
    /// Averaged errors by modality; empty before anything was predicted.
    pub(crate) errors: Vec<f32>,
    /// Errors by camera and patch; NaN for a camera that cannot be seen.
    pub(crate) patch_errors: Vec<f32>,
    /// Whether nothing was absent for as long as the predictor looks back.
    pub(crate) complete: bool,
}

fn layer_normed(values: &[f32]) -> Vec<f32> {
    let n = values.len() as f32;
    let mean = values.iter().sum::<f32>() / n;
    let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n + 1e-5).sqrt();
    values.iter().map(|v| (v - mean) / deviation).collect()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>() / a.len() as f32
}

fn average(into: &mut Vec<f32>, values: &[f32]) {
    if into.len() != values.len() {
        *into = values.to_vec();
    }
    for (a, v) in into.iter_mut().zip(values) {
        *a = if v.is_nan() || a.is_nan() { *v } else { *a + (v - *a) / SPAN };
    }
}

impl Latent {
    pub(crate) fn new(network: Network) -> Self {
        let limits = vec![1.0; network.shape.modalities()];
        let patch_limits = vec![1.0; network.shape.cameras * PATCHES];
        Self { network, limits, patch_limits, factor: 1.0 }
    }

    /// Takes the next tick.
    pub(crate) fn step(&self, state: &mut LatentState, tick: &Tick, input: &TickInput) -> Result<LatentOutput> {
        let shape = self.network.shape;
        let mut batch = Batch { sequences: 1, ticks: 1, ..Batch::default() };
        input.append(tick, &mut batch);
        let (pictures, states) = self.network.encode(&mut batch, &[], false)?;
        let latent = shape.size.latent;
        let width = shape.modalities() * latent;
        let seen: Vec<f32> = states.flatten_all()?.to_vec1()?;

        let whole = batch.visible.iter().chain(&batch.present).all(|seen| *seen);
        state.complete = if whole { (state.complete + 1).min(CONTEXT) } else { 0 };
        let mut errors = Vec::new();
        if !state.ahead.is_empty() {
            for m in 0..shape.modalities() {
                let part = m * latent..(m + 1) * latent;
                let actual = layer_normed(&seen[part.clone()]);
                let by_horizon = HORIZONS.iter().enumerate().filter_map(|(i, &h)| {
                    let made = state.ahead.len().checked_sub(h as usize)?;
                    let predicted = &state.ahead[made][i * width..(i + 1) * width][part.clone()];
                    Some(distance(&layer_normed(predicted), &actual))
                });
                errors.push(by_horizon.fold(f32::INFINITY, f32::min));
            }
            average(&mut state.errors, &errors);
        }
        let hidden = self.network.predictor.step(
            &states.reshape((1, 1, width))?,
            &self.network.actions(&batch)?,
            &mut state.memory,
        )?;
        let hidden = hidden.reshape((1, shape.size.width))?;
        state.ahead.push_back(self.network.predictor.ahead(&hidden)?.flatten_all()?.to_vec1()?);
        if state.ahead.len() > HORIZONS[5] as usize {
            state.ahead.pop_front();
        }
        if let Some(patches) = pictures {
            let now: Vec<f32> = patches.features.flatten_all()?.to_vec1()?;
            if let Some(expected) = &state.patches {
                let mut found: Vec<f32> =
                    expected.chunks(FEATURES).zip(now.chunks(FEATURES)).map(|(a, b)| distance(a, b)).collect();
                for (patches, visible) in found.chunks_mut(PATCHES).zip(&batch.visible) {
                    if !visible {
                        patches.fill(f32::NAN);
                    }
                }
                state.patch_errors = found;
            }
            // Nothing can be expected of the first picture after a gap.
            let all = batch.visible.iter().all(|v| *v);
            let expected = self.network.patches_ahead(&hidden, &patches)?.flatten_all()?.to_vec1()?;
            state.patches = all.then_some(expected);
        }
        let (errors, patch_errors) =
            if errors.is_empty() { (errors, Vec::new()) } else { (state.errors.clone(), state.patch_errors.clone()) };
        let complete = state.complete == CONTEXT;
        Ok(LatentOutput { states: seen, hidden, errors, patch_errors, complete })
    }

    /// Low, middle and high of all tags at all horizons, horizon-major, in units of the linear forecast's errors.
    pub(crate) fn read_out(&self, hidden: &Tensor, input: &TickInput) -> Result<Option<[Vec<f32>; 3]>> {
        let Some(readout) = &self.network.readout else { return Ok(None) };
        let extra = Tensor::from_slice(&input.extra, (1, input.extra.len()), hidden.device())?;
        let [low, middle, high] = readout.forward(hidden, &extra)?;
        let flat = |t: Tensor| t.flatten_all()?.to_vec1::<f32>();
        Ok(Some([flat(low)?, flat(middle)?, flat(high)?]))
    }

    pub(crate) fn store(&self, store: &mut Store) -> Result<()> {
        for (name, var) in self.network.params.vars() {
            store.put_tensor(&format!("weights.{name}"), var)?;
        }
        store.put_floats("latent.limits", &self.limits);
        store.put_floats("latent.patch_limits", &self.patch_limits);
        store.put("latent.factor", [f64::from(self.factor)]);
        Ok(())
    }

    pub(crate) fn restore(shape: Shape, store: &Store, device: &ComputeDevice) -> std::result::Result<Self, Broken> {
        let mut latent = Self::new(Network::given(shape, store.tensors("weights.")?, device)?);
        for (into, name) in [(&mut latent.limits, "latent.limits"), (&mut latent.patch_limits, "latent.patch_limits")] {
            let values = store.floats(name)?;
            if values.len() != into.len() {
                return Err(Broken::new(name, "has another length"));
            }
            *into = values;
        }
        latent.factor = store.one("latent.factor")? as f32;
        Ok(latent)
    }
}

impl Latent {
    /// The score of the states: the highest over modalities. Nothing is said while anything is absent, or was as far as
    /// the predictor looks back: a state without a camera or a sensor tells of that, not of the process.
    pub(crate) fn score(&self, output: &LatentOutput) -> f32 {
        if !output.complete {
            return 0.0;
        }
        let scores = output.errors.iter().zip(&self.limits).map(|(error, limit)| error / limit / self.factor);
        scores.fold(0.0, f32::max)
    }

    /// The scores of all cameras' patches; empty before anything was predicted.
    pub(crate) fn patch_scores(&self, output: &LatentOutput) -> Vec<f32> {
        if !output.complete {
            return Vec::new();
        }
        let scores = output.patch_errors.iter().zip(&self.patch_limits).map(|(e, l)| e / l / self.factor);
        scores.map(|s| if s.is_nan() { 0.0 } else { s }).collect()
    }
}
