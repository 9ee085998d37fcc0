//! `sightglass train-demo`: the shipped model of the simulated line, from a seed.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use sightglass_plant_sim::{Change, ChangeEvent, Scenario, SimOptions};
use sightglass_protocol::{LineId, Tick, UtcNanos, time::SECOND};
use sightglass_world_model::{ComputeDevice, Size, TrainOptions};

use crate::sim_feed::SimFeed;
use crate::{EngineError, card, demo_plant, model_files, tick_source};

/// The seeds of training runs start here, far from those that anyone gives to a demonstration.
const SEED_BASE: u64 = 1_000_000;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Where to write the model.
    #[arg(long, default_value = "models/demo-line.safetensors")]
    out: PathBuf,
    /// The seed of the simulated runs and of training.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many runs to learn from; each starts anew with a seed of its own.
    #[arg(long, default_value_t = 10)]
    runs: u64,
    /// The length of each run.
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// The most epochs.
    #[arg(long, default_value_t = 40)]
    epochs: usize,
    /// Stop training after this many minutes, with the best model so far.
    #[arg(long)]
    minutes_max: Option<f64>,
}

/// How long the line is left alone in a quiet run.
const QUIET_S: f64 = 420.0;
/// 2026-01-01.
const FIRST_DAY_S: i64 = 1_767_225_600;

pub(super) fn run(arguments: Arguments) -> Result<(), EngineError> {
    let plant = demo_plant::plant(&arguments.out)?;
    let line = LineId(0);
    let seconds = arguments.minutes * 60.0;
    let bar = card::bar((arguments.runs as f64 * seconds) as u64, "simulating");
    let simulate = |index: u64| {
        // Every other run is one of long quiet stretches with few changes: an operator who is always busy would never
        // show what the line does when it is left alone.
        let scenario = if index.is_multiple_of(2) {
            Scenario { operator: true, duration_s: Some(seconds), ..Scenario::default() }
        } else {
            Scenario { changes: few_changes(seconds, index), duration_s: Some(seconds), ..Scenario::default() }
        };
        let seed = SEED_BASE + arguments.seed * 1_000 + index;
        // Each run lies in a day of its own, so that no two overlap.
        let start = UtcNanos(FIRST_DAY_S * SECOND) + index as i64 * 86_400 * SECOND;
        let feed = SimFeed::new(SimOptions { seed, start, scenario });
        tick_source::collect(&plant, line, None, None, Some(Box::new(feed)), |_| bar.inc(1))
    };
    let runs = in_parallel(arguments.runs, &simulate)?;
    bar.finish_and_clear();
    let options = TrainOptions {
        seed: arguments.seed,
        epochs_max: arguments.epochs,
        patience: 3,
        false_alarms_per_week: plant.model.false_alarms_per_week,
        checkpoint: None,
        minutes_max: arguments.minutes_max,
        // Whatever this PC has, the shipped model is the same.
        device: ComputeDevice::cpu(),
        encoder: None,
        size: Size::nano(),
    };
    super::print::line(card::train_and_write(&model_files::spec(&plant, line), &runs, &options, &arguments.out)?);
    let manifest = write_manifest(&arguments.out)?;
    super::print::line(format_args!("written to {}, its hash to {}", arguments.out.display(), manifest.display()));
    Ok(())
}

/// Writes the model's SHA-256 beside it, in the form that `sha256sum --check` reads.
fn write_manifest(model: &Path) -> Result<PathBuf, EngineError> {
    let bytes = std::fs::read(model).map_err(EngineError::io("reading the model", model))?;
    let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let name = model.file_name().unwrap_or_default().to_string_lossy();
    let path = model.with_file_name("SHA256SUMS");
    std::fs::write(&path, format!("{hash}  {name}\n")).map_err(EngineError::io("writing the hash", &path))?;
    Ok(path)
}

/// One change every [`QUIET_S`], each kind in turn.
fn few_changes(seconds: f64, first: u64) -> Vec<ChangeEvent> {
    let kinds = Change::ALL.into_iter().cycle().skip(first as usize / 2);
    let count = (seconds / QUIET_S) as usize;
    kinds.take(count).enumerate().map(|(n, change)| ChangeEvent { change, at_s: QUIET_S * (n as f64 + 0.8) }).collect()
}

/// The runs in their order, however many are made at a time.
fn in_parallel(
    count: u64,
    simulate: &(dyn Fn(u64) -> Result<Vec<Tick>, EngineError> + Sync),
) -> Result<Vec<Vec<Tick>>, EngineError> {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let done = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|worker| {
                let mine = (worker..count).step_by(workers as usize);
                scope.spawn(move || mine.map(|index| (index, simulate(index))).collect::<Vec<_>>())
            })
            .collect();
        workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let mut runs = Vec::new();
    for worker in done {
        let made = worker.map_err(|_| EngineError::FoundWrong("a simulated run ended unexpectedly".to_owned()))?;
        for (index, ticks) in made {
            runs.push((index, ticks?));
        }
    }
    runs.sort_by_key(|(index, _)| *index);
    Ok(runs.into_iter().map(|(_, ticks)| ticks).collect())
}
