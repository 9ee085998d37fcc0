//! `sightglass history backup`: a history to another folder or a stick, also while an engine writes into it.

use std::path::PathBuf;

use serde_json::json;
use sightglass_history::{BackupOptions, backup};

use super::{folder, progress::Bar, runtime};
use crate::{EngineError, card, commands::print};

#[derive(clap::Args)]
pub(in crate::commands) struct Arguments {
    /// The data folder, or the database in it.
    db: PathBuf,
    /// The folder for the backup; one that has an earlier backup of the same history is brought up to date.
    #[arg(long)]
    to: PathBuf,
    /// Leave video out.
    #[arg(long)]
    no_video: bool,
    /// For programs: one JSON line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), EngineError> {
    let mut bar = Bar::new();
    let options = BackupOptions { video: !arguments.no_video };
    let mut teller = bar.teller();
    let done = backup(folder(&arguments.db), &arguments.to, options, card::wall_clock(), &mut teller);
    let done = runtime()?.block_on(done)?;
    drop(teller);
    bar.end();
    if arguments.json {
        print::line(json!(done));
    } else {
        done.left_out.iter().for_each(print::line);
        print::line(format_args!(
            "{}: {} rows and {} files of video copied ({} bytes), {} rows removed; the backup holds {} samples and {} \
             files of video, and is whole",
            arguments.to.display(),
            done.rows,
            done.segments,
            done.video_bytes,
            done.rows_removed,
            done.manifest.samples,
            done.manifest.segments
        ));
    }
    if done.left_out.is_empty() {
        return Ok(());
    }
    Err(EngineError::FoundWrong(format!(
        "{} is damaged: {} rows or files of it are not in the backup, which is whole otherwise",
        arguments.db.display(),
        done.left_out.len()
    )))
}
