//! `sightglass replay`: recorded files through the very same path, with the same result at any speed.

use std::path::PathBuf;

use serde_json::json;
use sightglass_ingest::Pace;
use sightglass_protocol::UtcNanos;

use super::{parse_pace, parse_time, print, stop};
use crate::EngineError;
use crate::run::RunOptions;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The plant's description; its sources are files.
    plant: PathBuf,
    /// `max`, or a multiple of the recorded speed.
    #[arg(long, default_value = "max", value_parser = parse_pace)]
    speed: Pace,
    /// Print JSON lines: every tick's score, advisories, health, and a summary.
    #[arg(long)]
    json: bool,
    /// Record into this folder too.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Leave out what is earlier.
    #[arg(long, value_parser = parse_time)]
    from: Option<UtcNanos>,
    /// Leave out what is later.
    #[arg(long, value_parser = parse_time)]
    to: Option<UtcNanos>,
}

pub(super) fn run(arguments: Arguments) -> Result<(), EngineError> {
    let plant = sightglass_plant::load(&arguments.plant)?;
    let info = plant.info();
    let options = RunOptions {
        pace: arguments.speed,
        data: arguments.data,
        serve: false,
        mode: "replay".to_owned(),
        live: false,
        from: arguments.from,
        to: arguments.to,
        stop: stop::on_signal()?,
    };
    let outcome =
        crate::run::run(&plant, options, &|_| None, |notice| print::notice(&info, notice, arguments.json, true))?;
    if arguments.json {
        let mut summary = print::counters(&outcome.counters);
        summary["event"] = json!("summary");
        summary["history"] = json!(outcome.history);
        print::line(summary);
    } else {
        print::line(format_args!("{} ticks, {} pictures", outcome.counters.ticks, outcome.counters.frames));
    }
    Ok(())
}
