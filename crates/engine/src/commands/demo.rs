//! `sightglass demo`: the whole engine on the simulated line.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::Ordering;

use serde_json::json;
use sightglass_ingest::{Feed, Pace};
use sightglass_plant_sim::{Change, ChangeEvent, Fault, FaultEvent, Scenario, SimOptions, Violation, ViolationEvent};
use sightglass_protocol::{Advisory, AdvisoryChange, PlantInfo, UtcNanos, time::SECOND};

use super::{print, stop};
use crate::notice::Notice;
use crate::run::RunOptions;
use crate::sim_feed::SimFeed;
use crate::{EngineError, card, demo_plant, model_files};

/// The first simulated moment of a headless run: fixed, so that two runs are the same.
const HEADLESS_START: &str = "2026-01-05T06:00:00Z";
/// How many of an advisory's causes an operator reads.
const CAUSES_READ: usize = 3;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// No window, simulated time, as fast as it goes.
    #[arg(long)]
    headless: bool,
    /// The fault to inject (`none` for none).
    #[arg(long, default_value = "underfill", value_parser = parse_fault)]
    fault: ChosenFault,
    /// Changes that are no faults, at 60 s and every 90 s after.
    #[arg(long, value_parser = Change::from_str)]
    change: Vec<Change>,
    /// Something that cannot happen, seen by the camera alone, at `--onset`.
    #[arg(long, value_parser = Violation::from_str)]
    violation: Option<Violation>,
    /// An operator makes normal changes at random.
    #[arg(long)]
    operator: bool,
    /// When the fault (or the violation) begins, in seconds from the start.
    #[arg(long, default_value_t = 60.0)]
    onset: f64,
    /// How strong the fault is, 0 to 1.
    #[arg(long, default_value_t = 1.0)]
    severity: f64,
    /// How long to simulate; without a window 180.
    #[arg(long)]
    seconds: Option<f64>,
    /// The seed of the simulated line.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to keep the history (headless: a temporary folder, removed at the end).
    #[arg(long)]
    data: Option<PathBuf>,
    /// With a window: a multiple of real time.
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// Another model than the shipped one.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Print JSON lines.
    #[arg(long)]
    json: bool,
    /// With `--json`: a line a tick too.
    #[arg(long)]
    ticks: bool,
}

#[derive(Clone, Copy)]
struct ChosenFault(Option<Fault>);

fn parse_fault(text: &str) -> Result<ChosenFault, String> {
    if text == "none" {
        return Ok(ChosenFault(None));
    }
    Fault::from_str(text).map(|fault| ChosenFault(Some(fault))).map_err(|error| format!("{error}, or none"))
}

pub(super) fn run(arguments: Arguments) -> Result<(), EngineError> {
    if !(arguments.speed > 0.0 && arguments.speed.is_finite()) {
        return Err(EngineError::Usage(format!("--speed {} is not above 0", arguments.speed)));
    }
    let model = match &arguments.model {
        Some(model) => model.clone(),
        None => model_files::shipped(model_files::DEMO_MODEL)?,
    };
    let plant = demo_plant::plant(&model)?;
    let info = plant.info();
    let seconds = arguments.seconds.or(arguments.headless.then_some(180.0));
    let start = if arguments.headless {
        HEADLESS_START.parse().map_err(|error| EngineError::Usage(format!("{error}")))?
    } else {
        card::wall_clock().floor_to(SECOND)
    };
    let scenario = scenario(&arguments, seconds);
    let seed = arguments.seed;
    let feed = |_| -> Option<Box<dyn Feed>> {
        Some(Box::new(SimFeed::new(SimOptions { seed, start, scenario: scenario.clone() })))
    };
    let stop = stop::on_signal()?;
    let folder = DataFolder::choose(&arguments)?;
    let options = RunOptions {
        pace: if arguments.headless { Pace::Max } else { Pace::Speed(arguments.speed) },
        data: Some(folder.path().to_owned()),
        serve: !arguments.headless,
        mode: "simulated".to_owned(),
        live: false,
        from: None,
        to: None,
        stop: stop.clone(),
    };
    let onset = start + (arguments.onset * SECOND as f64) as i64;
    let mut findings = Findings { fault: arguments.fault.0, onset, advisories: Vec::new(), flagged: None };
    if !arguments.json {
        announce(&arguments, &info, folder.path(), onset);
    }
    let outcome = crate::run::run(&plant, options, &feed, |notice| {
        print::notice(&info, notice, arguments.json, arguments.ticks);
        if findings.take(&info, notice) && arguments.json {
            print::line(findings.flag_event());
        }
    })?;
    let ended_early = stop.load(Ordering::Relaxed);
    let summary = json!({
        "event": "summary",
        "ended_early": ended_early,
        "counters": print::counters(&outcome.counters),
        "fault": arguments.fault.0.map(Fault::name),
        "onset": arguments.fault.0.map(|_| onset.to_string()),
        "flagged": findings.flagged.is_some(),
        "delay_s": findings.flagged.map(|(time, _)| time.since(onset) as f64 / SECOND as f64),
        "causes": arguments.fault.0.map(Fault::causes),
        "cause_named": findings.flagged.map(|(_, named)| named),
        "advisories": findings.advisories.iter().map(|advisory| print::advisory(&info, advisory)).collect::<Vec<_>>(),
        "history": outcome.history,
    });
    if arguments.json {
        print::line(summary);
    } else {
        print::line(format_args!(
            "{} ticks, {} pictures, {} samples, {} advisories",
            outcome.counters.ticks,
            outcome.counters.frames,
            outcome.counters.samples,
            findings.advisories.len()
        ));
    }
    Ok(())
}

fn announce(arguments: &Arguments, plant: &PlantInfo, data: &std::path::Path, onset: UtcNanos) {
    match arguments.fault.0 {
        Some(fault) => print::line(format_args!("{}: {} begins at {onset}", plant.name, fault.name())),
        None => print::line(format_args!("{}: no fault", plant.name)),
    }
    print::line(format_args!("history in {}", data.display()));
}

fn scenario(arguments: &Arguments, seconds: Option<f64>) -> Scenario {
    Scenario {
        fault: arguments.fault.0.map(|fault| FaultEvent {
            fault,
            onset_s: arguments.onset,
            severity: arguments.severity.clamp(0.0, 1.0),
        }),
        changes: arguments
            .change
            .iter()
            .enumerate()
            .map(|(index, &change)| ChangeEvent { change, at_s: 60.0 + 90.0 * index as f64 })
            .collect(),
        violation: arguments.violation.map(|violation| ViolationEvent { violation, at_s: arguments.onset }),
        operator: arguments.operator,
        duration_s: seconds,
    }
}

/// The data folder, removed at the end when nobody asked for it.
enum DataFolder {
    Kept(PathBuf),
    Temporary(PathBuf),
}

impl DataFolder {
    fn choose(arguments: &Arguments) -> Result<Self, EngineError> {
        if let Some(data) = &arguments.data {
            return Ok(Self::Kept(data.clone()));
        }
        let folder = std::env::temp_dir().join(format!("sightglass-demo-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(EngineError::io("making the folder", &folder))?;
        Ok(if arguments.headless { Self::Temporary(folder) } else { Self::Kept(folder) })
    }

    fn path(&self) -> &std::path::Path {
        match self {
            Self::Kept(path) | Self::Temporary(path) => path,
        }
    }
}

impl Drop for DataFolder {
    fn drop(&mut self) {
        if let Self::Temporary(path) = self
            && let Err(error) = std::fs::remove_dir_all(&*path)
        {
            tracing::warn!("{} could not be removed: {error}", path.display());
        }
    }
}

/// What was found, held against what was done to the line.
struct Findings {
    fault: Option<Fault>,
    onset: UtcNanos,
    /// Each advisory as it last was.
    advisories: Vec<Advisory>,
    /// When the fault was flagged, and whether a right cause is among the first that are read.
    flagged: Option<(UtcNanos, bool)>,
}

impl Findings {
    /// Takes a notice; true when it is the one that flags the fault with a right cause.
    fn take(&mut self, plant: &PlantInfo, notice: &Notice) -> bool {
        let Notice::Advisory(change) = notice else { return false };
        let advisory = change.advisory().clone();
        match self.advisories.iter_mut().find(|known| known.id == advisory.id) {
            Some(known) => *known = advisory.clone(),
            None => self.advisories.push(advisory.clone()),
        }
        let Some(fault) = self.fault else { return false };
        if advisory.opened < self.onset || matches!(change, AdvisoryChange::Closed(_)) {
            return false;
        }
        let named = advisory
            .causes
            .iter()
            .take(CAUSES_READ)
            .any(|cause| fault.causes().contains(&print::subject_name(plant, cause.subject)));
        match self.flagged {
            Some((_, true)) => false,
            Some((time, false)) => {
                self.flagged = Some((time, named));
                named
            }
            None => {
                self.flagged = Some((advisory.opened, named));
                named
            }
        }
    }

    fn flag_event(&self) -> serde_json::Value {
        json!({
            "event": "fault_flagged",
            "fault": self.fault.map(Fault::name),
            "onset": self.onset.to_string(),
            "opened": self.flagged.map(|(time, _)| time.to_string()),
            "delay_s": self.flagged.map(|(time, _)| time.since(self.onset) as f64 / SECOND as f64),
        })
    }
}
