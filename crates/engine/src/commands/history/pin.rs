//! `sightglass history pin` and `unpin`: video that is kept whatever its age.

use std::path::PathBuf;

use sightglass_history::History;
use sightglass_protocol::{CameraId, UtcNanos};

use super::{folder, runtime};
use crate::commands::{parse_time, print};
use crate::{EngineError, card};

#[derive(clap::Args)]
pub(in crate::commands) struct Arguments {
    /// The data folder, or the database in it; no engine may be recording into it.
    db: PathBuf,
    /// The earliest moment.
    #[arg(long, value_parser = parse_time)]
    from: UtcNanos,
    /// The latest moment.
    #[arg(long, value_parser = parse_time)]
    to: UtcNanos,
    /// One camera by name (default: all of the plant).
    #[arg(long)]
    camera: Option<String>,
}

pub(super) fn run(arguments: &Arguments, pinned: bool) -> Result<(), EngineError> {
    runtime()?.block_on(async {
        let dir = folder(&arguments.db);
        let looked_at = History::open_read_only(dir).await?;
        let plant = looked_at.plant().clone();
        looked_at.close().await?;
        let cameras: Vec<CameraId> = plant
            .cameras
            .iter()
            .filter(|camera| arguments.camera.as_ref().is_none_or(|name| camera.name == *name))
            .map(|camera| camera.id)
            .collect();
        if cameras.is_empty() {
            let known: Vec<&str> = plant.cameras.iter().map(|camera| camera.name.as_str()).collect();
            let wanted =
                arguments.camera.as_deref().map_or("no camera".to_owned(), |name| format!("no camera '{name}'"));
            return Err(EngineError::Usage(format!(
                "the plant '{}' has {wanted}; it has [{}]",
                plant.name,
                known.join(", ")
            )));
        }
        let history = History::open(dir, &plant).await?;
        let (from, to) = (arguments.from, arguments.to);
        let changed = if pinned {
            history.pin(&cameras, from, to, &who(), card::wall_clock()).await
        } else {
            history.unpin(&cameras, from, to, &who(), card::wall_clock()).await
        };
        history.close().await?;
        let verb = if pinned { "kept whatever their age" } else { "left to retention" };
        print::line(format_args!("{} segments from {from} to {to} are now {verb}", changed?));
        Ok(())
    })
}

/// Who is at the command line, for the audit.
fn who() -> String {
    let name = ["SUDO_USER", "USER", "LOGNAME", "USERNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "command line".to_owned())
}
