//! `sightglass history verify`: whether everything in a data folder is as it was written.

use std::path::PathBuf;

use sightglass_history::History;

use super::{folder, runtime};
use crate::{EngineError, commands::print};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The data folder, or the database in it.
    db: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), EngineError> {
    let db = &arguments.db;
    runtime()?.block_on(async {
        let history = History::open_read_only(folder(db)).await?;
        let problems = history.verify().await?;
        if problems.is_empty() {
            print::line(format_args!("{}: every chunk and the audit chain are whole", db.display()));
            return Ok(());
        }
        for problem in &problems {
            print::line(problem);
        }
        Err(EngineError::FoundWrong(format!("{}: {} problems", db.display(), problems.len())))
    })
}
