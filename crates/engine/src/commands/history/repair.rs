//! `sightglass history repair`: all that is whole of a damaged history, into a new folder.

use std::path::PathBuf;

use serde_json::json;
use sightglass_history::repair;

use super::{folder, progress::Bar, runtime};
use crate::{EngineError, card, commands::print};

#[derive(clap::Args)]
pub(in crate::commands) struct Arguments {
    /// The damaged data folder, or the database in it; it is only read.
    db: PathBuf,
    /// The new data folder.
    #[arg(long)]
    out: PathBuf,
    /// For programs: one JSON line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), EngineError> {
    let mut bar = Bar::new();
    let repaired =
        runtime()?.block_on(repair(folder(&arguments.db), &arguments.out, card::wall_clock(), &mut bar.teller()))?;
    bar.end();
    let out = arguments.out.display();
    if arguments.json {
        print::line(json!(repaired));
    } else {
        repaired.lost.iter().for_each(print::line);
        let rows: u64 = repaired.saved.values().sum();
        print::line(format_args!(
            "{out}: {rows} rows and {} files of video were saved, and are whole; {} not, or not as they were",
            repaired.segments,
            repaired.lost.len()
        ));
    }
    if repaired.lost.is_empty() {
        return Ok(());
    }
    Err(EngineError::FoundWrong(format!(
        "{} could not be saved in full; {out} has the rest, and its audit says what is missing",
        arguments.db.display()
    )))
}
