//! `cargo xtask bench tick`: how long the nano model takes for one tick on the CPU, from readings to forecast and surprise.

use std::process::Command;

use serde_json::Value;

use crate::floors::{Floors, number};
use crate::outcome::{Doing, Outcome, step};
use crate::workspace::Workspace;

/// Cameras, and the floor of the 99th percentile in milliseconds.
const LINES: [(usize, f64); 2] = [(1, 20.0), (16, 160.0)];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many tags the line has
    #[arg(long, default_value_t = 64)]
    tags: usize,
    /// How many ticks are measured
    #[arg(long, default_value_t = 1_000)]
    ticks: usize,
    /// Threads
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// The seed of the made-up line and of training
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Exit with 1 where a floor is missed
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    step("build the example");
    let mut cargo = workspace.cargo();
    crate::process::run(cargo.args(["build", "-p", "sightglass-world-model", "--example", "tick_bench"]))?;
    println!("| one tick of nano, {} tags, threads: {} | p50 | p99 | longest |", arguments.tags, arguments.threads);
    println!("| --- | --- | --- | --- |");
    let (mut figures, mut floors) = (Vec::new(), Floors::default());
    for (cameras, floor) in LINES {
        let mut command = Command::new(workspace.program("examples/tick_bench"));
        command.env("RAYON_NUM_THREADS", arguments.threads.to_string());
        command.args([cameras, arguments.tags, arguments.ticks].map(|n| n.to_string())).arg(arguments.seed.to_string());
        let text = crate::process::output(&mut command)?;
        let found: Value = serde_json::from_str(text.trim()).could_not("read what the example prints")?;
        let [p50, p99, max] = ["p50_ms", "p99_ms", "max_ms"].map(|key| number(&found, key));
        let (p50, p99) = (p50?, p99?);
        println!("| cameras: {cameras} | {p50:.1} ms | {p99:.1} ms | {:.1} ms |", max?);
        figures.push(format!("p50_ms_{cameras}={p50:.1} p99_ms_{cameras}={p99:.1}"));
        floors.at_most(&format!("p99_ms_{cameras}"), p99, floor);
    }
    println!("tick threads={} tags={} {}", arguments.threads, arguments.tags, figures.join(" "));
    floors.conclude(arguments.check)
}
