//! `cargo xtask torture power`: a writer's power is cut at random writes; what was not synced is lost in part. The next
//! writer must open what is left and find all that was promised.

use crate::outcome::{Outcome, step};
use crate::workspace::Workspace;
use crate::{process, torture};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often
    #[arg(long, default_value_t = 500)]
    cuts: u64,
    #[command(flatten)]
    common: torture::Common,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    let mut program = torture::program(workspace, "power", &arguments.common)?;
    step(format_args!("cut a writer's power {} times", arguments.cuts));
    process::run(program.args(["--cuts", &arguments.cuts.to_string()]))
}
