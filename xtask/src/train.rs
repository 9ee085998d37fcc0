//! `cargo xtask train-demo`: the shipped model of the simulated line.

use std::process::Command;

use crate::outcome::{Outcome, step};
use crate::process::run;
use crate::setup;
use crate::workspace::Workspace;

/// Where the model lies in the checkout.
const MODEL: &str = "models/demo-line.safetensors";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The seed of the simulated runs and of training
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Further options of `sightglass train-demo`, after `--`
    #[arg(last = true)]
    more: Vec<String>,
}

pub(crate) fn train(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    setup::for_building(workspace)?;
    workspace.build_programs()?;
    step(format_args!("train {MODEL} from seed {}", arguments.seed));
    let mut engine = Command::new(workspace.program("sightglass"));
    engine.current_dir(&workspace.root).args(["train-demo", "--out", MODEL, "--seed"]);
    engine.arg(arguments.seed.to_string()).args(&arguments.more);
    run(&mut engine)
}
