//! The historian's figures: how fast it takes samples in, how small it keeps them, how fast it gives them back.
//!
//! Run by `cargo xtask bench history`, which sets the peers beside it (`peers.py`) and checks the floors. Each command
//! prints one JSON object as its last line.

mod memory;
mod read;
mod shapes;
mod size;
mod write;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(about = "Measures the historian; see cargo xtask bench history")]
enum Command {
    /// Sustained recording.
    Write(write::Arguments),
    /// Bytes a sample on real recordings.
    Size(size::Arguments),
    /// Makes the history that `read` asks.
    Generate(read::GenerateArguments),
    /// Any range at any zoom.
    Read(read::Arguments),
}

fn main() -> ExitCode {
    // What the history reports (damage, a checkpoint that was put off) would falsify the figures.
    tracing_subscriber::fmt().with_env_filter("warn").with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("threads cannot be started: {error}");
            return ExitCode::from(2);
        }
    };
    let done = runtime.block_on(async {
        match Command::parse() {
            Command::Write(arguments) => write::run(arguments).await,
            Command::Size(arguments) => size::run(arguments).await,
            Command::Generate(arguments) => read::generate(arguments).await,
            Command::Read(arguments) => read::run(arguments).await,
        }
    });
    match done {
        Ok(figures) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// What a command gives: its figures, or why there are none.
type Figures = Result<serde_json::Value, String>;

/// For `map_err`: what was being done, and why it failed.
fn failed<E: std::fmt::Display>(doing: impl std::fmt::Display) -> impl Fn(E) -> String {
    move |error| format!("cannot {doing}: {error}")
}

/// The value at `share` (0 to 1) of sorted numbers.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let index = (share * sorted.len().saturating_sub(1) as f64).ceil() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}
