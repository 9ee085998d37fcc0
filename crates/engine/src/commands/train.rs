//! `sightglass train`: a model from recorded normal running.

use std::path::PathBuf;

use sightglass_protocol::{Tick, UtcNanos};
use sightglass_world_model::TrainOptions;

use super::{parse_time, recorded};
use crate::{EngineError, card, model_files};

/// Epochs without progress on held-back data before training stops.
const PATIENCE: usize = 4;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The plant's description; it names the model's file.
    plant: PathBuf,
    /// The beginning of normal running (default: the first data).
    #[arg(long, value_parser = parse_time)]
    from: Option<UtcNanos>,
    /// The end of normal running (default: the last data).
    #[arg(long, value_parser = parse_time)]
    to: Option<UtcNanos>,
    /// Train from this folder's history instead of the plant's own files.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Write the model here instead of to the plant's path.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Stop after this many minutes, with the best model so far.
    #[arg(long)]
    minutes_max: Option<f64>,
}

pub(super) fn run(arguments: Arguments) -> Result<(), EngineError> {
    let plant = sightglass_plant::load(&arguments.plant)?;
    if let (Some(from), Some(to)) = (arguments.from, arguments.to)
        && from >= to
    {
        return Err(EngineError::Usage(format!("--from {from} is not before --to {to}")));
    }
    crate::low_priority::stand_back()?;
    let device = model_files::device(&plant)?;
    for line in &plant.lines {
        let out = match (&arguments.out, model_files::path(&plant, line.id)) {
            (Some(out), _) => out.clone(),
            (None, Some(path)) => path,
            (None, None) => {
                return Err(EngineError::Usage(
                    "the plant names no model file: add path = \"models/NAME.safetensors\" under [model], or give --out"
                        .to_owned(),
                ));
            }
        };
        let ticks = recorded::ticks(&plant, line.id, arguments.data.as_deref(), arguments.from, arguments.to)?;
        if ticks.is_empty() {
            return Err(EngineError::Usage(format!(
                "there is no data of line {} in the given time; check --from and --to",
                line.name
            )));
        }
        let options = TrainOptions {
            seed: plant.model.seed,
            epochs_max: plant.model.epochs_max,
            patience: PATIENCE,
            false_alarms_per_week: plant.model.false_alarms_per_week,
            checkpoint: Some(out.with_extension("checkpoint")),
            minutes_max: arguments.minutes_max,
            device: device.clone(),
            encoder: model_files::encoder(&plant)?,
            size: model_files::size(&plant),
        };
        let runs = contiguous(ticks, line.tick_ns);
        super::print::line(card::train_and_write(&model_files::spec(&plant, line.id), &runs, &options, &out)?);
        super::print::line(format_args!("model of line {} written to {}", line.name, out.display()));
    }
    Ok(())
}

/// Cuts where ticks are missing: a model learns only from what really followed.
fn contiguous(ticks: Vec<Tick>, tick_ns: i64) -> Vec<Vec<Tick>> {
    let mut runs: Vec<Vec<Tick>> = Vec::new();
    for tick in ticks {
        match runs.last_mut() {
            Some(run) if run.last().is_some_and(|last| tick.time.since(last.time) == tick_ns) => run.push(tick),
            _ => runs.push(vec![tick]),
        }
    }
    runs
}
