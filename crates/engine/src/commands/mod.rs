//! The command line: each command is one file that wires the engine's parts for one purpose.

mod advise;
mod browse;
mod camera;
mod check;
mod demo;
mod export;
mod forecast;
mod history;
mod import;
mod model;
pub(crate) mod print;
mod query;
mod recorded;
mod replay;
mod review;
mod run;
mod score;
mod secret;
mod sim;
mod stop;
mod train;
mod train_demo;
mod trust;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sightglass_ingest::Pace;
use sightglass_protocol::UtcNanos;
use tracing_subscriber::EnvFilter;

use crate::EngineError;

/// Watches a production line, learns how it behaves, predicts it, and keeps what was seen.
#[derive(Parser)]
#[command(name = "sightglass", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Acquire, predict, record, and serve the window.
    Run(run::Arguments),
    /// The same on the simulated bottling line.
    Demo(demo::Arguments),
    /// Recorded files through the very same path.
    Replay(replay::Arguments),
    /// Show the window what a data folder holds, without acquiring anything.
    Review(review::Arguments),
    /// Make a model from recorded normal running; prints its card.
    Train(train::Arguments),
    /// Fit on tables of normal rows, and score another table.
    Score(score::Arguments),
    /// Make the shipped model of the simulated line.
    #[command(hide = true)]
    TrainDemo(train_demo::Arguments),
    /// What the tags will do, as it is or with other setpoints, and when they reach their alarm limits.
    Forecast(forecast::Arguments),
    /// Which setpoints would bring tags where they should be, or the line back to normal. Nothing is carried out.
    Advise(advise::Arguments),
    /// Check a plant description and say everything that is wrong with it.
    Check(check::Arguments),
    /// What an OPC UA server has; and a draft of a plant's description from it.
    Browse(browse::Arguments),
    /// Which OPC UA servers a plant trusts: lists what they have shown, or trusts one.
    Trust(trust::Arguments),
    /// Passwords in this PC's key store, to which a plant's description refers by name.
    #[command(subcommand)]
    Secret(secret::Command),
    /// Try a camera before it is in a plant file.
    Camera(camera::Arguments),
    /// The simulated line.
    #[command(subcommand)]
    Sim(sim::Command),
    /// What a data folder holds.
    #[command(subcommand)]
    History(history::Command),
    /// Ask about recorded tags: align, resample, compare, percentiles.
    Query(query::Arguments),
    /// Write what was recorded for other tools: samples by plant, line and day, or a bundle of an incident.
    Export(export::Arguments),
    /// Take in what other programs recorded: CSV and Parquet.
    Import(import::Arguments),
    /// Checkpoints of vision models.
    #[command(subcommand)]
    Model(model::Command),
}

/// What is logged where `RUST_LOG` says nothing else. What the OPC UA library says of a connection is told as health, with
/// what to do; it also warns of what is no trouble.
const LOGGED: &str = "warn,sightglass=info,opcua_core=off,opcua_crypto=off,opcua_client=off";

/// Parses the command line and runs it. Exit codes: 0; 1, something that was checked is wrong; 2, bad use or input.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    let result = match cli.command {
        Command::Run(arguments) => run::run(arguments),
        Command::Demo(arguments) => demo::run(arguments),
        Command::Replay(arguments) => replay::run(arguments),
        Command::Review(arguments) => review::run(arguments),
        Command::Train(arguments) => train::run(arguments),
        Command::Score(arguments) => score::run(&arguments),
        Command::TrainDemo(arguments) => train_demo::run(arguments),
        Command::Forecast(arguments) => forecast::run(&arguments),
        Command::Advise(arguments) => advise::run(&arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Browse(arguments) => browse::run(&arguments),
        Command::Trust(arguments) => trust::run(&arguments),
        Command::Camera(arguments) => camera::run(&arguments),
        Command::Secret(command) => secret::run(&command),
        Command::Sim(command) => sim::run(command),
        Command::History(command) => history::run(command),
        Command::Query(arguments) => query::run(&arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::Import(arguments) => import::run(arguments),
        Command::Model(command) => model::run(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error_text(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

fn error_text(error: &EngineError) -> String {
    match error {
        // People see the place itself, programs one line an error.
        EngineError::Plant(errors) if std::io::stderr().is_terminal() => errors.fancy(),
        EngineError::Plant(errors) => errors.to_string(),
        other => format!("error: {other}"),
    }
}

/// `max` or a multiple of real time.
fn parse_pace(text: &str) -> Result<Pace, String> {
    if text == "max" {
        return Ok(Pace::Max);
    }
    match text.parse::<f64>() {
        Ok(speed) if speed > 0.0 && speed.is_finite() => Ok(Pace::Speed(speed)),
        _ => Err(format!("'{text}' is neither max nor a number above 0")),
    }
}

fn parse_time(text: &str) -> Result<UtcNanos, String> {
    text.parse::<UtcNanos>().map_err(|error| error.to_string())
}

/// A time span such as `90s`, `30min` or `2h`, in seconds above 0.
fn parse_span(text: &str) -> Result<f64, String> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3_600.0,
        _ => return Err(format!("'{text}' is no time span; write a number and one of s, min, h, such as 30min")),
    };
    match number.trim().parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number * seconds),
        _ => Err(format!("'{text}' is no time span above 0, such as 30min")),
    }
}

/// The data folder that is used when none is named: beside the plant's description.
fn data_beside(plant: &std::path::Path) -> PathBuf {
    plant.parent().unwrap_or_else(|| std::path::Path::new(".")).join("sightglass-data")
}
