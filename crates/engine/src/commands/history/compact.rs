//! `sightglass history compact`: everything merged, and what is free given back to the disk.

use std::path::PathBuf;

use serde_json::json;
use sightglass_history::compact;

use super::{folder, progress::Bar, runtime};
use crate::{EngineError, commands::print};

#[derive(clap::Args)]
pub(in crate::commands) struct Arguments {
    /// The data folder, or the database in it; no engine may be using it.
    db: PathBuf,
    /// For programs: one JSON line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), EngineError> {
    let mut bar = Bar::new();
    let done = runtime()?.block_on(compact(folder(&arguments.db), &mut bar.teller()))?;
    bar.end();
    if arguments.json {
        print::line(json!(done));
    } else {
        print::line(format_args!(
            "{}: {} bytes before, {} after; {} samples merged",
            arguments.db.display(),
            done.bytes_before,
            done.bytes_after,
            done.merged.samples
        ));
    }
    Ok(())
}
