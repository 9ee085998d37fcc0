//! The project's own commands: `cargo xtask COMMAND`.
//!
//! Each command does all of its own set-up on a fresh Debian 12 or Ubuntu 22.04 and later, prints each step, and skips
//! what is done already. This crate therefore builds with nothing but Rust: no crate that needs a system library may
//! come in here. One file a job; [`outcome`] is how steps are told and how they fail.

mod asked;
mod bench_advice;
mod bench_data;
mod bench_faults;
mod bench_health;
mod bench_history;
mod bench_physics;
mod bench_tick;
mod bench_train;
mod bench_vjepa2;
mod check_cuda;
mod check_metal;
mod demo;
mod display;
mod floors;
mod outcome;
mod process;
mod python;
mod screenshot;
mod setup;
mod simulated_run;
mod test;
mod torture;
mod torture_disk;
mod torture_flips;
mod torture_kill;
mod torture_power;
mod train;
mod ui_bundle;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building and testing need: system packages, the WebAssembly target, test tools
    Setup,
    /// Build the window's page into ui/dist
    Ui,
    /// Show the window on the simulated line
    Demo(demo::Arguments),
    /// Run every test
    Test(test::Arguments),
    /// Measure: prints a table, and as its last line the figures as `NAME key=value …`
    #[command(subcommand)]
    Bench(Bench),
    /// Kill, cut off and fill up: prints what was lost, and as its last line the figures as `torture_NAME key=value …`
    #[command(subcommand)]
    Torture(Torture),
    /// Compile the feature `cuda` to the end, with NVIDIA's compiler from PyPI; no GPU is needed
    CheckCuda,
    /// Compile the feature `metal` as far as that goes without a Mac
    CheckMetal,
    /// Make models/demo-line.safetensors anew
    TrainDemo(train::Arguments),
}

#[derive(Subcommand)]
enum Bench {
    /// Forecasts to any horizon, and advice that brings disturbed lines back, beside doing nothing and their controllers
    Advice(bench_advice::Arguments),
    /// How much normal running it takes to find the faults of the simulated line
    Data(bench_data::Arguments),
    /// Which faults of the simulated line are found, after how long, and what is flagged that is none
    Faults(bench_faults::Arguments),
    /// Whether normal running raises a state of a sensor or camera, and whether broken ones do
    Health(bench_health::Arguments),
    /// Whether what cannot happen surprises more than what can
    Physics(bench_physics::Arguments),
    /// The historian beside plain SQLite rows, DuckDB and Parquet files
    #[command(subcommand)]
    History(bench_history::What),
    /// A tick of the nano model, for one camera and for sixteen
    Tick(bench_tick::Arguments),
    /// A step of training the plant model's network, beside PyTorch
    Train(bench_train::Arguments),
    /// V-JEPA 2 beside PyTorch: a clip, and a tick of a live stream
    Vjepa2(bench_vjepa2::Arguments),
}

#[derive(Subcommand)]
enum Torture {
    /// Change a byte in each of many copies
    Flips(torture_flips::Arguments),
    /// Kill a writer at random moments
    Kill(torture_kill::Arguments),
    /// Cut a writer's power at random writes
    Power(torture_power::Arguments),
    /// Fill the engine's disk, and free it again
    Disk(torture_disk::Arguments),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = Workspace::find().and_then(|workspace| match cli.command {
        Command::Setup => setup::everything(&workspace),
        Command::Ui => setup::for_building(&workspace).and_then(|()| ui_bundle::build(&workspace)),
        Command::Demo(arguments) => demo::run(&workspace, arguments),
        Command::Test(arguments) => test::run_tests(&workspace, &arguments),
        Command::Bench(Bench::Advice(arguments)) => bench_advice::run(&workspace, &arguments),
        Command::Bench(Bench::Data(arguments)) => bench_data::run(&workspace, &arguments),
        Command::Bench(Bench::Faults(arguments)) => bench_faults::run(&workspace, &arguments),
        Command::Bench(Bench::Health(arguments)) => bench_health::run(&workspace, &arguments),
        Command::Bench(Bench::History(what)) => bench_history::run(&workspace, &what),
        Command::Bench(Bench::Physics(arguments)) => bench_physics::run(&workspace, &arguments),
        Command::Bench(Bench::Tick(arguments)) => bench_tick::run(&workspace, &arguments),
        Command::Bench(Bench::Train(arguments)) => bench_train::run(&workspace, &arguments),
        Command::Bench(Bench::Vjepa2(arguments)) => bench_vjepa2::run(&workspace, &arguments),
        Command::Torture(Torture::Flips(arguments)) => torture_flips::run(&workspace, &arguments),
        Command::Torture(Torture::Kill(arguments)) => torture_kill::run(&workspace, &arguments),
        Command::Torture(Torture::Power(arguments)) => torture_power::run(&workspace, &arguments),
        Command::Torture(Torture::Disk(arguments)) => torture_disk::run(&workspace, &arguments),
        Command::CheckCuda => check_cuda::check(&workspace),
        Command::CheckMetal => check_metal::check(&workspace),
        Command::TrainDemo(arguments) => train::train(&workspace, &arguments),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("cargo xtask: {problem}");
            ExitCode::FAILURE
        }
    }
}
