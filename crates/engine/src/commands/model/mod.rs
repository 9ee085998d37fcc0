//! `sightglass model`: checkpoints of vision models.

mod verify;

use clap::Subcommand;

use crate::EngineError;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Run a V-JEPA 2 checkpoint against the outputs in its folder's io.safetensors; exit code 1 where one differs by more
    /// than 1e-4.
    Verify(verify::Arguments),
}

pub(super) fn run(command: Command) -> Result<(), EngineError> {
    match command {
        Command::Verify(arguments) => verify::run(&arguments),
    }
}
