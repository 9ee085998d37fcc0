//! Training of the network: windows of consecutive ticks, AdamW, early stopping on held-back blocks, checkpoints.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use candle_core::Tensor;
use candle_nn::ParamsAdamW;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use sightglass_protocol::{HORIZONS, Tick};

use crate::camera_encoder::{PATCHES, TUBELET};
use crate::card::EpochLoss;
use crate::file::{FORMAT, Store};
use crate::latent::TickInput;
use crate::network::{Batch, Network, Shape};
use crate::optimiser::AdamW;
use crate::patch_features::PatchFeatures;
use crate::sigreg::effective_rank;
use crate::spec::{Progress, TrainError, TrainOptions};

const LEARNING_RATE: f64 = 3e-4;
const WARM_UP_STEPS: usize = 20;
/// The learning rate falls to this share of itself by the last epoch.
const LAST_RATE: f64 = 0.1;
/// Held-back windows that are looked at after each epoch.
const HELD_BACK_WINDOWS_MAX: usize = 16;
/// Windows whose pictures tell what places look like on average.
const FEATURE_WINDOWS: usize = 12;
/// The fewest windows from which a network is trained.
pub(crate) const WINDOWS_MIN: usize = 4;

/// Everything the network learns from, one entry a tick.
pub(crate) struct Lessons<'a> {
    pub(crate) ticks: &'a [&'a Tick],
    pub(crate) inputs: &'a [TickInput],
    /// Normalised values and linear forecasts; empty without moving tags.
    pub(crate) values: &'a [Vec<f32>],
    pub(crate) forecasts: &'a [Vec<f32>],
    pub(crate) scale: &'a [f32],
    pub(crate) training: Vec<Range<usize>>,
    pub(crate) held_back: Vec<Range<usize>>,
}

#[derive(Serialize, Deserialize)]
struct CheckpointHead {
    format: u32,
    shape: Shape,
    seed: u64,
    ticks: usize,
    /// SHA-256 of the frozen camera encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encoder: Option<String>,
    epochs_max: usize,
    epochs: Vec<EpochLoss>,
}

/// Windows of `length` ticks, one after the other from a random offset in each range.
fn windows(ranges: &[Range<usize>], length: usize, mut offset: impl FnMut(usize) -> usize) -> Vec<usize> {
    let mut out = Vec::new();
    for range in ranges.iter().filter(|r| r.len() >= length) {
        let spare = range.len() % length;
        let mut at = range.start + offset(spare + 1);
        while at + length <= range.end {
            out.push(at);
            at += length;
        }
    }
    out
}

/// Whether there is enough for a network.
pub(crate) fn suffice(training: &[Range<usize>], held_back: &[Range<usize>], window: usize) -> bool {
    windows(training, window, |_| 0).len() >= WINDOWS_MIN && !windows(held_back, window, |_| 0).is_empty()
}

impl Lessons<'_> {
    fn batch(&self, starts: &[usize], window: usize) -> Batch {
        let mut batch = Batch { sequences: starts.len(), ticks: window, ..Batch::default() };
        let pictures: usize =
            starts.iter().map(|&s| self.ticks[s..s + window].iter().map(|t| t.cameras.len()).sum::<usize>()).sum();
        batch.tubelets.reserve_exact(pictures * PATCHES * TUBELET);
        for &start in starts {
            for t in start..start + window {
                self.inputs[t].append(self.ticks[t], &mut batch);
                if self.values.is_empty() {
                    continue;
                }
                let tags = self.values[t].len();
                for (h, &horizon) in HORIZONS.iter().enumerate() {
                    let later = t + horizon as usize;
                    for i in 0..tags {
                        let at = h * tags + i;
                        // Beyond the window may lie another fold or run.
                        let actual = if later < start + window { self.values[later][i] } else { f32::NAN };
                        let target = (actual - self.forecasts[t][at]) / self.scale[at];
                        batch.weights.push(if target.is_nan() { 0.0 } else { 1.0 });
                        batch.targets.push(if target.is_nan() { 0.0 } else { target.clamp(-8.0, 8.0) });
                    }
                }
            }
        }
        batch
    }
}

/// Trains a network of `shape`. Gives it with the weights of the best epoch.
pub(crate) fn learn(
    shape: Shape,
    lessons: &Lessons<'_>,
    options: &TrainOptions,
    progress: &mut dyn FnMut(&Progress) -> bool,
) -> Result<(Network, Vec<EpochLoss>), TrainError> {
    let network = Network::seeded(shape, options.seed, &options.device)?;
    let size = shape.size;
    let whole = windows(&lessons.training, size.window, |_| 0);
    let some: Vec<usize> = whole.iter().copied().step_by(whole.len().div_ceil(FEATURE_WINDOWS).max(1)).collect();
    network.fit_features(&mut lessons.batch(&some, size.window))?;
    let trained = network
        .params
        .vars()
        .iter()
        .filter(|(name, _)| !name.starts_with("fusion.norm.") && !name.starts_with(PatchFeatures::PREFIX));
    let vars = trained.map(|(name, var)| (name.clone(), var.clone())).collect();
    let rates = ParamsAdamW { lr: LEARNING_RATE, ..ParamsAdamW::default() };
    let mut optimiser = AdamW::new(vars, rates, network.params.ops())?;
    let mut epochs: Vec<EpochLoss> = Vec::new();
    let mut best: Weights = network.params.snapshot()?;
    if let Some(path) = options.checkpoint.as_deref().filter(|p| p.exists()) {
        let (head, kept) = resume(path, shape, options, lessons.ticks.len(), &network, &mut optimiser)?;
        best = kept;
        epochs = head.epochs;
    }
    let mut held_starts = windows(&lessons.held_back, size.window, |_| 0);
    let step = held_starts.len().div_ceil(HELD_BACK_WINDOWS_MAX).max(1);
    held_starts = held_starts.into_iter().step_by(step).collect();
    let began = Instant::now();
    let mut steps_now = 0usize;
    while epochs.len() < options.epochs_max && !stalled(&epochs, options.patience) {
        let epoch = epochs.len();
        let mut rng = ChaCha8Rng::seed_from_u64(options.seed ^ (epoch as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut starts = windows(&lessons.training, size.window, |n| rng.random_range(0..n));
        starts.shuffle(&mut rng);
        starts.truncate(size.windows_per_epoch.max(size.batch));
        let steps = starts.len().div_ceil(size.batch);
        let mut sum = 0f32;
        for (step, starts) in starts.chunks(size.batch).enumerate() {
            let whole = (options.epochs_max * steps).max(1) as f64;
            let done = (epoch * steps + step) as f64 / whole;
            let cosine = LAST_RATE + (1.0 - LAST_RATE) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
            let warm = ((epoch * steps + step + 1) as f64 / WARM_UP_STEPS as f64).min(1.0);
            optimiser.set_learning_rate(LEARNING_RATE * cosine * warm);
            steps_now += 1;
            let mut batch = lessons.batch(starts, size.window);
            // On a thread of the pool, which the kernels' tasks then need not be handed to.
            let loss = rayon::scope(|_| {
                let loss = network.loss(&mut batch, &mut rng, true)?;
                optimiser.backward_step(&loss.total)?;
                Ok::<_, candle_core::Error>(loss)
            })?;
            let value: f32 = loss.total.to_scalar()?;
            sum += value;
            let pace = began.elapsed().as_secs_f64() / steps_now as f64;
            let steps_left = (options.epochs_max - epoch) * steps - (step + 1);
            let report = Progress {
                epoch: epoch + 1,
                epochs_max: options.epochs_max,
                step: step + 1,
                steps,
                loss: value,
                held_back_loss: epochs.last().map(|e| e.held_back),
                effective_rank: epochs.last().map(|e| e.effective_rank),
                seconds_left: Some(pace * steps_left as f64),
                stage: "network",
            };
            if !progress(&report) {
                return Err(TrainError::Stopped { epochs: epochs.len() });
            }
        }
        let (held_back, rank) = held_back(&network, lessons, &held_starts)?;
        let improved = epochs.iter().all(|e| held_back < e.held_back);
        epochs.push(EpochLoss { training: sum / steps as f32, held_back, effective_rank: rank });
        if improved {
            best = network.params.snapshot()?;
        }
        if let Some(path) = &options.checkpoint {
            Checkpoint {
                shape,
                options,
                ticks: lessons.ticks.len(),
                network: &network,
                optimiser: &optimiser,
                best: &best,
                epochs: &epochs,
            }
            .keep(path)?;
        }
        let spent = began.elapsed().as_secs_f64() / 60.0;
        let each = spent / (steps_now as f64 / steps as f64);
        if options.minutes_max.is_some_and(|most| spent + each > most) {
            break;
        }
    }
    network.params.restore(&best)?;
    Ok((network, epochs))
}

fn stalled(epochs: &[EpochLoss], patience: usize) -> bool {
    let best = epochs.iter().enumerate().min_by(|a, b| a.1.held_back.total_cmp(&b.1.held_back));
    best.is_some_and(|(at, _)| epochs.len() - 1 - at >= patience.max(1))
}

fn held_back(network: &Network, lessons: &Lessons<'_>, starts: &[usize]) -> Result<(f32, f32), TrainError> {
    let size = network.shape.size;
    let (mut sum, mut count) = (0f32, 0);
    let mut states = Vec::new();
    for starts in starts.chunks(size.batch) {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let loss = network.loss(&mut lessons.batch(starts, size.window), &mut rng, false)?;
        sum += loss.total.to_scalar::<f32>()? * starts.len() as f32;
        count += starts.len();
        states.extend(loss.states);
    }
    Ok((sum / count.max(1) as f32, effective_rank(&states, size.latent)))
}

fn unusable(path: &Path, reason: impl Into<String>) -> TrainError {
    TrainError::Checkpoint { path: path.to_owned(), reason: reason.into() }
}

/// What sees in place of the network's own camera encoder.
fn encoder_of(shape: Shape, options: &TrainOptions) -> Option<String> {
    shape.frozen.and(options.encoder.as_ref()).map(|encoder| encoder.sha256().to_owned())
}

type Weights = BTreeMap<String, Tensor>;

/// Takes up weights and the optimiser where the checkpoint left them, so that training goes on to the bit as if it had
/// not been stopped. Gives what was kept of the epochs, and the best weights.
fn resume(
    path: &Path,
    shape: Shape,
    options: &TrainOptions,
    ticks: usize,
    network: &Network,
    optimiser: &mut AdamW,
) -> Result<(CheckpointHead, Weights), TrainError> {
    let (store, head) = Store::read(path).map_err(|e| unusable(path, e.to_string()))?;
    let head: CheckpointHead = serde_json::from_str(&head).map_err(|e| unusable(path, e.to_string()))?;
    if head.format != FORMAT {
        return Err(unusable(path, format!("it has format {} where this program writes {FORMAT}", head.format)));
    }
    let is_same = head.seed == options.seed && head.encoder == encoder_of(shape, options);
    if head.shape != shape || head.ticks != ticks || !is_same {
        let reason = "it was made from other data, with another seed or camera encoder, or for another line";
        return Err(unusable(path, reason));
    }
    if head.epochs_max != options.epochs_max {
        return Err(unusable(
            path,
            format!(
                "it was made for at most {} epochs and now {} are asked for, which changes every step's learning rate",
                head.epochs_max, options.epochs_max
            ),
        ));
    }
    let weights = |prefix| store.tensors(prefix).map_err(|e| unusable(path, String::from(e)));
    network.params.restore(&weights("now.")?)?;
    optimiser.restore(&store).map_err(|e| unusable(path, String::from(e)))?;
    Ok((head, weights("best.")?))
}

/// What is kept after an epoch.
struct Checkpoint<'a> {
    shape: Shape,
    options: &'a TrainOptions,
    ticks: usize,
    network: &'a Network,
    optimiser: &'a AdamW,
    best: &'a Weights,
    epochs: &'a [EpochLoss],
}

impl Checkpoint<'_> {
    fn keep(&self, path: &Path) -> Result<(), TrainError> {
        let mut store = Store::default();
        self.optimiser.store(&mut store)?;
        for (name, var) in self.network.params.vars() {
            store.put_tensor(&format!("now.{name}"), var)?;
        }
        for (name, tensor) in self.best {
            store.put_tensor(&format!("best.{name}"), tensor)?;
        }
        let head = CheckpointHead {
            format: FORMAT,
            shape: self.shape,
            seed: self.options.seed,
            ticks: self.ticks,
            encoder: encoder_of(self.shape, self.options),
            epochs_max: self.options.epochs_max,
            epochs: self.epochs.to_vec(),
        };
        let head = serde_json::to_string(&head).map_err(|e| unusable(path, e.to_string()))?;
        store.write(path, &head).map_err(|e| unusable(path, e.to_string()))
    }
}
