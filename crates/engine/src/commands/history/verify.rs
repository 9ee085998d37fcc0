//! `sightglass history verify`: whether everything in a data folder is as it was written.

use std::path::PathBuf;

use serde_json::json;
use sightglass_history::verify_folder;

use super::{folder, progress::Bar, runtime};
use crate::{EngineError, commands::print};

#[derive(clap::Args)]
pub(in crate::commands) struct Arguments {
    /// The data folder, or the database in it.
    db: PathBuf,
    /// For programs: one JSON line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), EngineError> {
    let db = &arguments.db;
    let mut bar = Bar::new();
    let problems = runtime()?.block_on(verify_folder(folder(db), &mut bar.teller()))?;
    bar.end();
    if arguments.json {
        print::line(json!({"whole": problems.is_empty(), "problems": problems}));
    } else {
        problems.iter().for_each(print::line);
    }
    if problems.is_empty() {
        if !arguments.json {
            print::line(format_args!("{}: everything is as it was written", db.display()));
        }
        return Ok(());
    }
    let count = problems.len();
    Err(EngineError::FoundWrong(format!(
        "{}: {count} {}",
        db.display(),
        if count == 1 { "problem" } else { "problems" }
    )))
}
