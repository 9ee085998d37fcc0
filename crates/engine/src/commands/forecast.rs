//! `sightglass forecast`: what the tags will do from a recorded moment on, as it is or with other setpoints, and when they
//! reach their limits. Advisory: nothing is carried out.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sightglass_plant::{Plant, nearest};
use sightglass_protocol::{AdvisoryId, LineId, TagId, UtcNanos};
use sightglass_world_model::{Course, ForesightError, Outlook, Side, Stream, TimeToLimit};

use super::{parse_span, parse_time, print, recorded};
use crate::judge::Judge;
use crate::{EngineError, model_files};

/// Ticks before the moment that the model sees, so that its slowest averages have settled.
const PAST_TICKS: i64 = 1_200;
/// Rows of the table for people.
const ROWS: usize = 12;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The plant's description; it names the model's file.
    plant: PathBuf,
    /// The moment from which to look ahead.
    #[arg(long, value_parser = parse_time)]
    at: UtcNanos,
    /// Read this folder's history instead of the plant's own files.
    #[arg(long)]
    data: Option<PathBuf>,
    /// How far to look, such as 90s, 30min or 2h.
    #[arg(long, default_value = "30min", value_parser = parse_span)]
    ahead: f64,
    /// Only these tags (default: all that are predicted).
    #[arg(long)]
    tag: Vec<String>,
    /// What if this setpoint or mode were set now; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), EngineError> {
    let plant = sightglass_plant::load(&arguments.plant)?;
    let wanted = arguments.tag.iter().map(|name| tag(&plant, name)).collect::<Result<Vec<_>, _>>()?;
    let set = arguments.set.iter().map(|text| assignment(&plant, text)).collect::<Result<Vec<_>, _>>()?;
    for line in &plant.lines {
        let is_of_line = |tag: &TagId| plant.tags[tag.index()].line == line.id;
        let wanted: Vec<TagId> = wanted.iter().copied().filter(is_of_line).collect();
        let set: Vec<(TagId, f64)> = set.iter().copied().filter(|(tag, _)| is_of_line(tag)).collect();
        // A line that nothing of the question is about is left out.
        if (wanted.is_empty() && !arguments.tag.is_empty()) || (set.is_empty() && !arguments.set.is_empty()) {
            continue;
        }
        let stream = stream_at(&plant, line.id, arguments.data.as_deref(), arguments.at)?;
        let ahead = ((arguments.ahead * 1e9 / line.tick_ns as f64).ceil() as usize).max(1);
        let outlook = if set.is_empty() {
            stream.outlook(ahead)
        } else {
            let course = set.iter().fold(Course::held(), |course, &(tag, value)| course.set(0, tag, value));
            stream.what_if(&course, ahead)
        };
        let outlook = outlook.map_err(|error| refused(&plant, line.id, &error))?;
        if arguments.json {
            print::line(outlook_json(&plant, &outlook, &wanted));
        } else {
            tell(&plant, &outlook, &wanted);
        }
    }
    Ok(())
}

/// The tag with this name.
pub(super) fn tag(plant: &Plant, name: &str) -> Result<TagId, EngineError> {
    if let Some(tag) = plant.tags.iter().find(|tag| tag.name == name) {
        return Ok(tag.id);
    }
    let names: Vec<&str> = plant.tags.iter().map(|tag| tag.name.as_str()).collect();
    let hint = nearest(name, &names).map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
    Err(EngineError::Usage(format!("the plant has no tag '{name}'{hint}")))
}

fn assignment(plant: &Plant, text: &str) -> Result<(TagId, f64), EngineError> {
    let wrong = || EngineError::Usage(format!("--set {text} is not of the form NAME=VALUE with a number"));
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let value = value.trim().parse::<f64>().ok().filter(|value| value.is_finite()).ok_or_else(wrong)?;
    Ok((tag(plant, name.trim())?, value))
}

/// The model's stream after what was recorded up to a moment.
pub(super) fn stream_at(plant: &Plant, line: LineId, data: Option<&Path>, at: UtcNanos) -> Result<Stream, EngineError> {
    let described = &plant.lines[line.index()];
    let model = model_files::load(plant, line, &model_files::device(plant)?)?.ok_or_else(|| {
        EngineError::Usage(format!("line {} has no model yet; `sightglass train` makes one", described.name))
    })?;
    let from = at - PAST_TICKS.saturating_mul(described.tick_ns);
    let ticks = recorded::ticks(plant, line, data, Some(from), Some(at))?;
    let mut judge = Judge::new(plant, line, Some(&model), AdvisoryId(1));
    for tick in ticks.into_iter().filter(|tick| tick.time <= at) {
        judge.step(tick);
    }
    match judge.stream() {
        Some(stream) if stream.outlook(1) != Err(ForesightError::NoPresent) => Ok(stream.clone()),
        _ => Err(EngineError::Usage(format!(
            "nothing of line {} was recorded in the {} s before {at}; check --at and --data",
            described.name,
            PAST_TICKS.saturating_mul(described.tick_ns) / 1_000_000_000
        ))),
    }
}

/// What the model refuses, with the line's name.
pub(super) fn refused(plant: &Plant, line: LineId, error: &ForesightError) -> EngineError {
    let text = format!("line {}: {error}", plant.lines[line.index()].name);
    match error {
        ForesightError::Unseen(_) => EngineError::FoundWrong(text),
        _ => EngineError::Usage(text),
    }
}

/// When a tag of the outlook reaches its alarm limits, or where there are none the ends of its range.
fn limit(plant: &Plant, outlook: &Outlook, tag: TagId) -> Option<TimeToLimit> {
    let described = &plant.tags[tag.index()];
    let (low, high) = described.alarm.or(described.range)?;
    outlook.time_to_limit(tag, Some(low), Some(high))
}

fn seconds(outlook: &Outlook, ticks: usize) -> f64 {
    ticks as f64 * outlook.tick_ns as f64 / 1e9
}

/// An outlook for programs.
pub(super) fn outlook_json(plant: &Plant, outlook: &Outlook, wanted: &[TagId]) -> Value {
    let shown = outlook.tags.iter().filter(|tag| wanted.is_empty() || wanted.contains(&tag.tag));
    let tags: Vec<Value> = shown
        .map(|tag| {
            let ends =
                |pick: &dyn Fn(&sightglass_protocol::Band) -> f32| tag.bands.iter().map(pick).collect::<Vec<f32>>();
            let limit = limit(plant, outlook, tag.tag).map(|told| {
                let after = |ticks: Option<usize>| ticks.map(|ticks| seconds(outlook, ticks));
                json!({
                    "side": if told.side == Side::Low { "low" } else { "high" }, "limit": told.limit,
                    "earliest_s": after(told.earliest), "likely_s": after(told.likely), "latest_s": after(told.latest),
                })
            });
            json!({
                "name": plant.tags[tag.tag.index()].name, "unit": plant.tags[tag.tag.index()].unit,
                "low": ends(&|band| band.low), "mid": ends(&|band| band.mid), "high": ends(&|band| band.high),
                "time_to_limit": limit,
            })
        })
        .collect();
    json!({
        "line": plant.lines[outlook.line.index()].name, "time": outlook.time.to_string(),
        "tick_s": seconds(outlook, 1), "measured_s": seconds(outlook, outlook.measured_ticks),
        "course": outlook.course.as_ref().map(|course| course_json(plant, outlook, course)), "tags": tags,
    })
}

/// A course for programs.
pub(super) fn course_json(plant: &Plant, outlook: &Outlook, course: &Course) -> Vec<Value> {
    let step = |step: &sightglass_world_model::CourseStep| {
        json!({
            "after_s": seconds(outlook, step.after_ticks as usize), "tag": plant.tags[step.tag.index()].name,
            "value": step.value,
        })
    };
    course.steps().iter().map(step).collect()
}

/// An outlook for people.
pub(super) fn tell(plant: &Plant, outlook: &Outlook, wanted: &[TagId]) {
    let line = &plant.lines[outlook.line.index()].name;
    print::line(format_args!("line {line} from {} on; 80 % bands as low … middle … high", outlook.time));
    for tag in outlook.tags.iter().filter(|tag| wanted.is_empty() || wanted.contains(&tag.tag)) {
        let described = &plant.tags[tag.tag.index()];
        print::line(format_args!("{} ({})", described.name, described.unit));
        let every = tag.bands.len().div_ceil(ROWS).max(1);
        for (k, band) in tag.bands.iter().enumerate().filter(|(k, _)| (k + 1) % every == 0) {
            let after = seconds(outlook, k + 1);
            print::line(format_args!(
                "  {after:>8.0} s  {:>10.3} … {:>10.3} … {:>10.3}",
                band.low, band.mid, band.high
            ));
        }
        if let Some(told) = limit(plant, outlook, tag.tag) {
            let side = if told.side == Side::Low { "low" } else { "high" };
            let after = |ticks: Option<usize>| {
                ticks.map_or_else(
                    || "not within this time".to_owned(),
                    |ticks| format!("{:.0} s", seconds(outlook, ticks)),
                )
            };
            if told.earliest.is_some() {
                print::line(format_args!(
                    "  {side} limit {}: earliest {}, likely {}, latest {}",
                    told.limit,
                    after(told.earliest),
                    after(told.likely),
                    after(told.latest)
                ));
            }
        }
    }
    if outlook.tags.first().is_some_and(|tag| tag.bands.len() > outlook.measured_ticks) {
        let measured = seconds(outlook, outlook.measured_ticks);
        print::line(format_args!("beyond {measured:.0} s bands are grown from what was measured before"));
    }
}
