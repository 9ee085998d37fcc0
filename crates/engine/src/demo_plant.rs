//! The plant description of the simulated line, made from what the simulator says of itself.

use std::fmt::Write as _;
use std::path::Path;

use sightglass_plant::Plant;
use sightglass_plant_sim::{CAMERA_FPS, CAMERA_NAME, CAMERA_ROI, Dial, tags};
use sightglass_protocol::{Role, UtcNanos};

use crate::EngineError;

/// Where the simulated line's data comes from.
pub(crate) enum DemoSource<'a> {
    /// The simulator, in this process.
    Simulator,
    /// Files that `sightglass sim record` wrote.
    Files { samples: &'a str, video: &'a str, start: UtcNanos },
}

/// The description as text. `model` is the path of the model's file.
pub(crate) fn text(source: &DemoSource<'_>, model: &Path) -> String {
    let mut toml = String::new();
    // Writing to a String cannot fail, so the results of `write!` carry nothing.
    let _ = write!(
        toml,
        "[plant]\nname = \"Simulated bottling hall\"\n\n[model]\npath = {:?}\nfalse_alarms_per_week = 1\n\n\
         [[line]]\nname = \"bottling\"\ntick = \"1s\"\n\n[[source]]\nname = \"line-plc\"\n",
        model.display().to_string()
    );
    let _ = match source {
        DemoSource::Simulator => writeln!(toml, "kind = \"simulator\"\n"),
        DemoSource::Files { samples, .. } => {
            writeln!(toml, "kind = \"file\"\npath = {samples:?}\ntime_column = \"time\"\n")
        }
    };
    for tag in tags() {
        let role = match tag.role {
            Role::Measurement => "measurement",
            Role::Setpoint => "setpoint",
            Role::Output => "output",
            Role::Mode => "mode",
        };
        let _ = writeln!(
            toml,
            "[[tag]]\nname = {:?}\ndescription = {:?}\nunit = {:?}\nrange = [{:?}, {:?}]\nrole = \"{role}\"\nperiod = \"{}ms\"",
            tag.name, tag.description, tag.unit, tag.range.0, tag.range.1, tag.period_ms
        );
        if let Some(dial) = Dial::ALL.into_iter().find(|dial| dial.tag() == tag.name) {
            // A quarter of the usual range a minute.
            let (low, high) = dial.usual();
            let _ = writeln!(toml, "advise = [{low:?}, {high:?}]\nadvise_per_min = {:?}", (high - low) / 4.0);
        }
        let _ = writeln!(toml);
    }
    let roi = CAMERA_ROI;
    let _ = writeln!(
        toml,
        "[[camera]]\nname = {CAMERA_NAME:?}\nroi = [{}, {}, {}, {}]\nfps = {CAMERA_FPS}",
        roi.x, roi.y, roi.width, roi.height
    );
    let _ = match source {
        DemoSource::Simulator => writeln!(toml, "simulator = true"),
        DemoSource::Files { video, start, .. } => writeln!(toml, "uri = {video:?}\nstart = \"{start}\""),
    };
    toml
}

/// The simulated line as a plant, through the same parser as any other.
///
/// # Errors
/// When the simulator describes a line that the parser refuses.
pub(crate) fn plant(model: &Path) -> Result<Plant, EngineError> {
    Ok(sightglass_plant::parse(&text(&DemoSource::Simulator, model), "the simulated line", Path::new("."))?)
}
