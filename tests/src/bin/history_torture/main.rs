//! Whether a history keeps what it acknowledged, whatever happens: `cargo xtask torture kill`, `power` and `disk`.
//!
//! The program starts itself: once as the writer that is killed, once as the reader that looks at what is left. What is
//! written is a function of a seed and a number (`plan.rs`), so that a list of numbers tells all that must be there.

mod acknowledged;
mod check;
mod dice;
mod disk_image;
mod kill;
mod plan;
mod power;
mod report;
mod trace;
mod writer;

use std::path::Path;
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::acknowledged::Acknowledged;
use crate::check::Found;

#[derive(Parser)]
#[command(about = "Kills and power cuts for a history, and what they leave")]
struct Cli {
    #[command(subcommand)]
    command: Torture,
}

#[derive(Subcommand)]
enum Torture {
    /// Kill a writer at random moments and look for what it had acknowledged
    Kill(kill::Options),
    /// Cut the power of a writer at random writes and look for what it had acknowledged
    Power(power::Options),
    /// Write until killed, saying what was acknowledged
    Write(writer::Options),
    /// Say what a folder knows of a full disk
    Report(report::Options),
    /// Hold a folder against what was acknowledged
    Check(check::Options),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Torture::Kill(options) => kill::run(&options),
        Torture::Power(options) => power::run(&options),
        Torture::Write(options) => runtime().and_then(|runtime| runtime.block_on(writer::write(options))),
        Torture::Report(options) => runtime().and_then(|runtime| {
            println!("{}", runtime.block_on(report::report(&options))?);
            Ok(())
        }),
        Torture::Check(options) => runtime().and_then(|runtime| {
            let found = runtime.block_on(check::check(&options))?;
            println!("{}", found.line());
            Ok(())
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start threads: {error}"))
}

/// This program.
fn own() -> Result<Command, String> {
    std::env::current_exe().map(Command::new).map_err(|error| format!("cannot find this program: {error}"))
}

/// The writer, going on after what was acknowledged.
fn writer_command(folder: &Path, seed: u64, all: &Acknowledged) -> Result<Command, String> {
    let mut command = own()?;
    command.arg("write").arg("--folder").arg(folder);
    command.args(["--seed", &seed.to_string()]);
    command.args(["--first-step", &all.next_step().to_string(), "--first-entry", &all.next_entry().to_string()]);
    Ok(command)
}

/// Looks at the folder in a process of its own. The inner error says why it cannot be opened.
fn check_in_a_process(folder: &Path, seed: u64, log: &Path, close: bool) -> Result<Result<Found, String>, String> {
    let mut command = own()?;
    command.arg("check").arg("--folder").arg(folder).arg("--log").arg(log);
    command.args(["--seed", &seed.to_string()]);
    if close {
        command.arg("--close");
    }
    let output = command.output().map_err(|error| format!("cannot start the check: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Ok(Err(format!("{} ({})", told.trim(), output.status)));
    }
    eprint!("{told}");
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().last().and_then(Found::parse);
    Ok(Ok(found.ok_or_else(|| format!("the check said '{}'", text.trim()))?))
}

/// A bar that shows `length` steps on the terminal (and nothing where there is none).
fn bar(length: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{msg:32} {bar:30} {pos}/{len} {elapsed} (left {eta})") {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    bar
}
