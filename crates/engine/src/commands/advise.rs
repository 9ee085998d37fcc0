//! `sightglass advise`: which setpoints would bring tags where they should be, or the line back to normal, from a recorded
//! moment on. Advisory: nothing is carried out.

use std::path::PathBuf;

use serde_json::json;
use sightglass_plant::{AdviceLimits, Plant};
use sightglass_protocol::{LineId, UtcNanos};
use sightglass_world_model::{Advice, AdviceRequest, Aim, Lever};

use super::forecast::{course_json, outlook_json, refused, stream_at, tag, tell};
use super::{parse_time, print};
use crate::EngineError;

#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("goal").required(true).args(["reach", "calm"])))]
pub(super) struct Arguments {
    /// The plant's description; it names the model's file and says how far each setpoint may be moved (`advise`).
    plant: PathBuf,
    /// The moment from which to advise.
    #[arg(long, value_parser = parse_time)]
    at: UtcNanos,
    /// Read this folder's history instead of the plant's own files.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Where a tag should be; may be given several times.
    #[arg(long, value_name = "NAME=LOW..HIGH")]
    reach: Vec<String>,
    /// Bring the line back to what its setpoints lead to expect.
    #[arg(long)]
    calm: bool,
    /// The seed of the search.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), EngineError> {
    let plant = sightglass_plant::load(&arguments.plant)?;
    let aims = arguments.reach.iter().map(|text| aim(&plant, text)).collect::<Result<Vec<_>, _>>()?;
    let line = line(&plant, &aims)?;
    let levers: Vec<Lever> = plant
        .tags
        .iter()
        .filter(|tag| tag.line == line)
        .filter_map(|tag| {
            let AdviceLimits { low, high, rate_per_min } = tag.advise?;
            Some(Lever { tag: tag.id, low, high, rate_per_min })
        })
        .collect();
    if levers.is_empty() {
        return Err(EngineError::Usage(format!(
            "the plant says of no setpoint of line {} how far advice may move it: add advise = [LOW, HIGH], and \
             advise_per_min, to its [[tag]]",
            plant.lines[line.index()].name
        )));
    }
    let stream = stream_at(&plant, line, arguments.data.as_deref(), arguments.at)?;
    let request = AdviceRequest { seed: arguments.seed, ..AdviceRequest::new(levers, aims) };
    let advice = stream.advise(&request).map_err(|error| refused(&plant, line, &error))?;
    if arguments.json {
        print::line(json!({
            "better": advice.better, "remaining": advice.remaining, "distance": advice.distance,
            "course": course_json(&plant, &advice.outlook, &advice.course),
            "expected": outlook_json(&plant, &advice.outlook, &[]), "held": outlook_json(&plant, &advice.held, &[]),
        }));
    } else {
        tell_advice(&plant, &request, &advice);
    }
    Ok(())
}

/// `NAME=LOW..HIGH`.
fn aim(plant: &Plant, text: &str) -> Result<Aim, EngineError> {
    let parsed = text.split_once('=').and_then(|(name, band)| {
        let (low, high) = band.split_once("..")?;
        Some((name.trim(), low.trim().parse::<f64>().ok()?, high.trim().parse::<f64>().ok()?))
    });
    match parsed {
        Some((name, low, high)) if low < high && low.is_finite() && high.is_finite() => {
            Ok(Aim { tag: tag(plant, name)?, low, high, weight: 1.0 })
        }
        _ => Err(EngineError::Usage(format!("--reach {text} is not of the form NAME=LOW..HIGH with LOW below HIGH"))),
    }
}

/// The line that the aims are of, or the only one with setpoints that may be moved.
fn line(plant: &Plant, aims: &[Aim]) -> Result<LineId, EngineError> {
    let of = |aim: &Aim| plant.tags[aim.tag.index()].line;
    if let Some(first) = aims.first() {
        return match aims.iter().find(|aim| of(aim) != of(first)) {
            Some(_) => Err(EngineError::Usage("advice is for one line; ask for each by itself".to_owned())),
            None => Ok(of(first)),
        };
    }
    let movable = |line: LineId| plant.tags.iter().any(|tag| tag.line == line && tag.advise.is_some());
    let mut lines = plant.lines.iter().map(|line| line.id).filter(|line| movable(*line));
    match (lines.next(), lines.next()) {
        (Some(_), Some(_)) => Err(EngineError::Usage(
            "several lines have setpoints that advice may move; say which by --reach NAME=LOW..HIGH".to_owned(),
        )),
        (first, _) => Ok(first.unwrap_or(plant.lines[0].id)),
    }
}

fn tell_advice(plant: &Plant, request: &AdviceRequest, advice: &Advice) {
    if !advice.better {
        print::line("no course is better than doing nothing");
    }
    for step in advice.course.steps() {
        let tag = &plant.tags[step.tag.index()];
        let after = f64::from(step.after_ticks) * advice.outlook.tick_ns as f64 / 1e9;
        let when = if step.after_ticks == 0 { "now".to_owned() } else { format!("after {after:.0} s") };
        print::line(format_args!("{when}: set {} to {} {}", tag.name, step.value, tag.unit));
    }
    if advice.better {
        print::line(format_args!(
            "expected: {:.0} % less off than by doing nothing; nothing has been carried out",
            100.0 * (1.0 - advice.remaining)
        ));
    }
    if advice.distance > 1.0 {
        print::line("the line is, or would be, outside of what the model has seen: its bands are not to be relied on");
    }
    let aimed: Vec<_> = request.aims.iter().map(|aim| aim.tag).collect();
    tell(plant, &advice.outlook, &aimed);
}
