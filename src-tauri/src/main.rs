//! `sightglass-desktop`: the window of Sightglass.
//!
//! A shell, no more: it finds the engine of a data folder (or starts it, detached, so that closing or killing the
//! window stops nothing), opens a webview with the page of `ui/`, and carries messages between the two as bytes that
//! it never looks into. The parts: [`engine_process`] finds and starts, [`socket`] names the engine's local socket,
//! [`link`] carries, [`page`] serves the page, [`graphics`] settles how the webview draws, [`window`] ties them.

#![cfg_attr(all(windows, not(debug_assertions)), windows_subsystem = "windows")]

mod engine_process;
mod graphics;
mod link;
mod options;
mod page;
mod window;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;

use crate::options::Options;

/// Exit code for bad use or input, as everywhere in Sightglass.
const EXIT_BAD_USE: u8 = 2;

fn main() -> ExitCode {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("SIGHTGLASS_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .init();

    if let Err(problem) = graphics::prepare() {
        eprintln!("sightglass-desktop: {problem}");
        return ExitCode::from(EXIT_BAD_USE);
    }
    let launch = match options.launch() {
        Ok(launch) => launch,
        Err(problem) => {
            eprintln!("sightglass-desktop: {problem}");
            return ExitCode::from(EXIT_BAD_USE);
        }
    };
    match window::show(launch) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("sightglass-desktop: the window could not be opened: {problem}");
            ExitCode::FAILURE
        }
    }
}
