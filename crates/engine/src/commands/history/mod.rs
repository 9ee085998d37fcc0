//! `sightglass history`: what a data folder holds, whether it is whole, and how it is kept so.

mod backup;
pub(super) mod certificate;
mod compact;
mod info;
mod pin;
mod progress;
mod repair;
mod restore;
mod verify;

use std::path::Path;

use clap::Subcommand;

use crate::EngineError;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Check every checksum, the audit chain, video and SQLite's own structure; exit code 1 and what is wrong.
    Verify(verify::Arguments),
    /// Save all that is whole of a damaged history into a new folder; exit code 1 and what is lost.
    Repair(repair::Arguments),
    /// Copy it, also while an engine writes, to a folder or stick; goes on where it was cut off.
    Backup(backup::Arguments),
    /// Make a data folder of a backup.
    Restore(restore::Arguments),
    /// Merge everything and give free space back to the disk.
    Compact(compact::Arguments),
    /// What it holds.
    Info(info::Arguments),
    /// What share of the expected samples of a range is there, and why the rest is not.
    Certificate(certificate::Arguments),
    /// Keep the video of a range whatever its age.
    Pin(pin::Arguments),
    /// Let retention take the video of a range again.
    Unpin(pin::Arguments),
}

/// The data folder of `db`.
pub(super) fn folder(db: &Path) -> &Path {
    if db.is_file() { db.parent().unwrap_or(db) } else { db }
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime, EngineError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(EngineError::io("starting threads for", "the history"))
}

pub(super) fn run(command: Command) -> Result<(), EngineError> {
    match command {
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Repair(arguments) => repair::run(&arguments),
        Command::Backup(arguments) => backup::run(&arguments),
        Command::Restore(arguments) => restore::run(&arguments),
        Command::Compact(arguments) => compact::run(&arguments),
        Command::Info(arguments) => info::run(&arguments),
        Command::Certificate(arguments) => certificate::run(&arguments),
        Command::Pin(arguments) => pin::run(&arguments, true),
        Command::Unpin(arguments) => pin::run(&arguments, false),
    }
}
