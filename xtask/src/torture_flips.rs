//! `cargo xtask torture flips`: one byte is changed in each of many copies of a history; `history verify` must find every
//! change that matters, and nothing may panic.

use std::process::Command;

use crate::outcome::{Outcome, step};
use crate::workspace::Workspace;
use crate::{process, setup};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many copies
    #[arg(long, default_value_t = 1000)]
    copies: u64,
    /// Chooses what is changed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Exit with 1 when a change was not found, or something panicked
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    setup::for_building(workspace)?;
    workspace.build_everything()?;
    step(format_args!("change a byte in each of {} copies", arguments.copies));
    let mut program = Command::new(workspace.program("history_flips"));
    program.args(["--copies", &arguments.copies.to_string(), "--seed", &arguments.seed.to_string()]);
    program.args(arguments.check.then_some("--check"));
    process::run(&mut program)
}
