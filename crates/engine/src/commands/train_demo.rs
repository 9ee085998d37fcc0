//! `sightglass train-demo`: the shipped model of the simulated line, from a seed.

use std::path::PathBuf;

use sightglass_plant_sim::{Scenario, SimOptions};
use sightglass_protocol::{LineId, Tick, UtcNanos, time::SECOND};
use sightglass_world_model::TrainOptions;

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
    #[arg(long, default_value_t = 9)]
    runs: u64,
    /// The length of each run.
    #[arg(long, default_value_t = 20.0)]
    minutes: f64,
    /// The most epochs.
    #[arg(long, default_value_t = 12)]
    epochs: usize,
    /// Stop training after this many minutes, with the best model so far.
    #[arg(long)]
    minutes_max: Option<f64>,
}

pub(super) fn run(arguments: Arguments) -> Result<(), EngineError> {
    let plant = demo_plant::plant(&arguments.out)?;
    let line = LineId(0);
    let seconds = arguments.minutes * 60.0;
    let bar = card::bar((arguments.runs as f64 * seconds) as u64, "simulating");
    let mut runs: Vec<Vec<Tick>> = Vec::new();
    for index in 0..arguments.runs {
        let scenario = Scenario { operator: true, duration_s: Some(seconds), ..Scenario::default() };
        let seed = SEED_BASE + arguments.seed * 1_000 + index;
        // Each run lies in a day of its own, so that no two overlap.
        let start = UtcNanos(1_767_225_600 * SECOND) + index as i64 * 86_400 * SECOND;
        let feed = SimFeed::new(SimOptions { seed, start, scenario });
        runs.push(tick_source::collect(&plant, line, None, None, Some(Box::new(feed)), |_| bar.inc(1))?);
    }
    bar.finish_and_clear();
    let options = TrainOptions {
        seed: arguments.seed,
        epochs_max: arguments.epochs,
        patience: 3,
        false_alarms_per_week: plant.model.false_alarms_per_week,
        checkpoint: None,
        minutes_max: arguments.minutes_max,
    };
    card::train_and_write(&model_files::spec(&plant, line), &runs, &options, &arguments.out)?;
    println!("written to {}", arguments.out.display());
    Ok(())
}
