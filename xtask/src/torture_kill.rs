//! `cargo xtask torture kill`: a writer is killed at random moments (also while it opens, merges, deletes and closes),
//! again and again on one folder; all that it had acknowledged must be there.

use crate::outcome::{Outcome, step};
use crate::workspace::Workspace;
use crate::{process, torture};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often
    #[arg(long, default_value_t = 200)]
    kills: u64,
    #[command(flatten)]
    common: torture::Common,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    let mut program = torture::program(workspace, "kill", &arguments.common)?;
    step(format_args!("kill a writer {} times", arguments.kills));
    process::run(program.args(["--kills", &arguments.kills.to_string()]))
}
