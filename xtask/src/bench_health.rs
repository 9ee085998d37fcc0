//! `cargo xtask bench health`: whether hours of normal running raise a state of a sensor or camera, and whether those that
//! break do. The ways to fail are injected one by one in ingest's tests; `docs/health.md` has the table.

use crate::outcome::Outcome;
use crate::setup;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Hours of normal running, for each seed
    #[arg(long, default_value_t = 24.0)]
    hours: f64,
    /// How many seeds, from `--seed` on
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leave the camera out: many times faster
    #[arg(long)]
    no_camera: bool,
    /// Exit with 1 where a state was raised that is none, or a broken sensor or camera was not found
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    setup::for_building(workspace)?;
    let mut cargo = workspace.cargo();
    cargo.args(["run", "-q", "-p", "sightglass-ingest", "--example", "health_bench", "--"]);
    cargo.arg("--hours").arg(arguments.hours.to_string()).arg("--seeds").arg(arguments.seeds.to_string());
    cargo.arg("--seed").arg(arguments.seed.to_string());
    cargo.args(arguments.no_camera.then_some("--no-camera")).args(arguments.check.then_some("--check"));
    crate::process::run(&mut cargo)
}
