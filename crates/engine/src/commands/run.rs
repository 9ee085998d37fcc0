//! `sightglass run`: acquire, predict, record, serve the window.

use std::path::PathBuf;

use sightglass_ingest::Pace;
use sightglass_plant::{CameraFeed, Plant, SourceKind};
use sightglass_plant_sim::{Scenario, SimOptions};
use sightglass_protocol::UtcNanos;

use super::{data_beside, print, stop};
use crate::run::RunOptions;
use crate::sim_feed::SimFeed;
use crate::{EngineError, card};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The plant's description.
    plant: PathBuf,
    /// Where to keep the history (default: `sightglass-data` beside the plant's description).
    #[arg(long)]
    data: Option<PathBuf>,
    /// The seed of a simulated source.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) fn run(arguments: Arguments) -> Result<(), EngineError> {
    let plant = sightglass_plant::load(&arguments.plant)?;
    let data = arguments.data.unwrap_or_else(|| data_beside(&arguments.plant));
    let stop = stop::on_signal()?;
    let start = card::wall_clock();
    let simulated = is_simulated(&plant);
    let seed = arguments.seed;
    let info = plant.info();
    let options = RunOptions {
        pace: Pace::Speed(1.0),
        data: Some(data),
        serve: true,
        mode: if simulated { "simulated".to_owned() } else { "live".to_owned() },
        live: true,
        from: None,
        to: None,
        stop,
    };
    let feed = |_| -> Option<Box<dyn sightglass_ingest::Feed>> {
        simulated.then(|| Box::new(SimFeed::new(simulation(seed, start))) as _)
    };
    crate::run::run(&plant, options, &feed, |notice| print::notice(&info, notice, false, false))?;
    Ok(())
}

fn simulation(seed: u64, start: UtcNanos) -> SimOptions {
    SimOptions { seed, start, scenario: Scenario { operator: true, ..Scenario::default() } }
}

/// Whether the plant has a simulated source or camera.
fn is_simulated(plant: &Plant) -> bool {
    plant.sources.iter().any(|source| source.kind == SourceKind::Simulator)
        || plant.cameras.iter().any(|camera| camera.feed == CameraFeed::Simulator)
}
