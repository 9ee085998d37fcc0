//! `sightglass history info`: what a data folder holds.

use std::path::PathBuf;

use serde_json::json;
use sightglass_history::History;

use super::{folder, runtime};
use crate::{EngineError, commands::print};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The data folder, or the database in it.
    db: PathBuf,
    /// For programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), EngineError> {
    runtime()?.block_on(async {
        let history = History::open_read_only(folder(&arguments.db)).await?;
        let summary = history.summary().await?;
        if arguments.json {
            print::line(json!(summary));
        } else {
            print::line(format_args!("{}: {}", history.plant().name, json!(summary)));
        }
        Ok(())
    })
}
