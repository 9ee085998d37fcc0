//! `sightglass model verify`: whether a checkpoint gives here what it gave elsewhere.

use std::path::PathBuf;

use serde_json::json;
use sightglass_world_model::vjepa2::{TOLERANCE, verify_on};
use sightglass_world_model::{ComputeDevice, DeviceChoice};

use crate::{EngineError, commands::print};

#[derive(clap::Args)]
pub(in crate::commands) struct Arguments {
    /// The folder of the checkpoint: config.json, model.safetensors and io.safetensors.
    dir: PathBuf,
    /// What to compute on: auto, cpu, cuda or metal.
    #[arg(long, default_value = "cpu")]
    device: DeviceChoice,
    /// For programs: one JSON line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), EngineError> {
    let outputs = verify_on(&arguments.dir, &ComputeDevice::open(arguments.device)?)?;
    let differing: Vec<&str> = outputs.iter().filter(|output| !output.is_same()).map(|output| output.name).collect();
    if arguments.json {
        print::line(json!({"same": differing.is_empty(), "tolerance": TOLERANCE, "outputs": outputs}));
    } else {
        for output in &outputs {
            print::line(format_args!("{} {:.3e}", output.name, output.max_abs_diff));
        }
    }
    if differing.is_empty() {
        return Ok(());
    }
    Err(EngineError::FoundWrong(format!(
        "{}: {} differs by more than {TOLERANCE:e}",
        arguments.dir.display(),
        differing.join(", ")
    )))
}
