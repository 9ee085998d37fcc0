//! `sightglass history restore`: from a backup to a data folder that an engine goes on with.

use std::path::PathBuf;

use serde_json::json;
use sightglass_history::{HistoryError, restore};

use super::{folder, progress::Bar, runtime};
use crate::{EngineError, commands::print};

#[derive(clap::Args)]
pub(in crate::commands) struct Arguments {
    /// The backup's folder.
    backup: PathBuf,
    /// The data folder to make; it must not have a history.
    #[arg(long)]
    to: PathBuf,
    /// For programs: one JSON line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), EngineError> {
    let mut bar = Bar::new();
    let restored = runtime()?.block_on(restore(folder(&arguments.backup), &arguments.to, &mut bar.teller()));
    bar.end();
    match restored {
        Ok(restored) if arguments.json => print::line(json!(restored)),
        Ok(restored) => print::line(format_args!(
            "{}: {} bytes and {} files of video restored, all as they were written",
            arguments.to.display(),
            restored.bytes,
            restored.segments
        )),
        Err(HistoryError::NotWhole { dir, problems }) => {
            problems.iter().for_each(print::line);
            return Err(EngineError::FoundWrong(format!(
                "{} is not whole, so that nothing was restored from it",
                dir.display()
            )));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
