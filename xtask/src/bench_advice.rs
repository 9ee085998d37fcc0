//! `cargo xtask bench advice`: forecasts to any horizon, and advice that brings disturbed simulated lines back, beside
//! doing nothing and the line's own controllers.

use crate::outcome::{Outcome, step};
use crate::setup;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The seed of training and of the disturbed lines
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many disturbed lines
    #[arg(long, default_value_t = 50)]
    starts: u64,
    /// Exit with 1 where a floor is missed
    #[arg(long)]
    check: bool,
}

/// The program prints its figures and checks its floors itself. It gets one core, so that its times are of one.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    setup::for_building(workspace)?;
    step("train a model of the simulated line, and ask it for advice");
    let mut cargo = workspace.cargo();
    cargo.env("RAYON_NUM_THREADS", "1");
    cargo.args(["run", "-q", "-p", "sightglass-world-model", "--example", "advice_bench", "--"]);
    cargo.args(["--seed", &arguments.seed.to_string(), "--starts", &arguments.starts.to_string()]);
    if arguments.check {
        cargo.arg("--check");
    }
    crate::process::run(&mut cargo)
}
