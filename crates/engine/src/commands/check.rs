//! `sightglass check`: is this plant description right?

use std::path::PathBuf;

use crate::EngineError;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The plant's description.
    plant: PathBuf,
}

pub(super) fn run(arguments: Arguments) -> Result<(), EngineError> {
    let plant = sightglass_plant::load(&arguments.plant)?;
    let count = |number: usize, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
    super::print::line(format_args!(
        "{}: {}, {}, {}, {}: good",
        plant.name,
        count(plant.lines.len(), "line", "lines"),
        count(plant.sources.len(), "source", "sources"),
        count(plant.tags.len(), "tag", "tags"),
        count(plant.cameras.len(), "camera", "cameras")
    ));
    let kept = plant.retention;
    super::print::line(format_args!(
        "kept: samples {} days or {} GiB, roll-ups {} days or {} GiB, video {} days or {} GiB, whichever is less",
        kept.samples_days, kept.samples_gib, kept.rollups_days, kept.rollups_gib, kept.video_days, kept.video_gib
    ));
    Ok(())
}
