//! `sightglass review`: the window on a data folder, with nothing acquired.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sightglass_history::History;
use sightglass_world_model::ComputeDevice;

use super::stop;
use crate::EngineError;
use crate::server::{self, Shared};

/// How often to look whether to stop.
const STOP_LOOK: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The data folder of an earlier run.
    data: PathBuf,
}

pub(super) fn run(arguments: Arguments) -> Result<(), EngineError> {
    sightglass_ingest::init()?;
    let stop = stop::on_signal()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(EngineError::io("starting threads for", "the history"))?;
    let history = runtime.block_on(History::open_read_only(&arguments.data))?;
    let shared = Shared {
        plant: history.plant().clone(),
        history,
        live: None,
        data: arguments.data,
        player: Arc::default(),
        mode: "recording".to_owned(),
        device: ComputeDevice::cpu().description().to_owned(),
    };
    let serving = server::start(&runtime, Arc::new(shared))?;
    while !stop.load(Ordering::Relaxed) {
        std::thread::park_timeout(STOP_LOOK);
    }
    serving.abort();
    Ok(())
}
