//! What a run prints: lines for people, or JSON lines for programs.

use std::io::Write;

use serde_json::{Value, json};
use sightglass_protocol::message::Counters;
use sightglass_protocol::{Advisory, AdvisoryChange, HealthState, PlantInfo, Subject};

use crate::notice::Notice;

/// Prints a line. A reader that has gone (`| head`, a closed terminal) ends nothing: what is recorded does not depend on
/// who listens.
pub(super) fn line(text: impl std::fmt::Display) {
    if let Err(error) = writeln!(std::io::stdout().lock(), "{text}") {
        tracing::debug!("a line could not be printed: {error}");
    }
}

/// The name of what a cause points at.
pub(super) fn subject_name(plant: &PlantInfo, subject: Subject) -> &str {
    match subject {
        Subject::Tag(tag) => plant.tags.get(tag.index()).map_or("?", |tag| &tag.name),
        Subject::Camera(camera) => plant.cameras.get(camera.index()).map_or("?", |camera| &camera.name),
    }
}

/// An advisory for programs.
pub(crate) fn advisory(plant: &PlantInfo, advisory: &Advisory) -> Value {
    let causes: Vec<Value> = advisory
        .causes
        .iter()
        .map(|cause| {
            json!({
                "name": subject_name(plant, cause.subject),
                "share": cause.share,
                "reason": cause.reason,
                "predicted": cause.predicted.map(|band| json!({"low": band.low, "mid": band.mid, "high": band.high})),
                "actual": cause.actual,
            })
        })
        .collect();
    let patches: Vec<Value> = advisory
        .patches
        .iter()
        .map(|map| {
            json!({
                "camera": subject_name(plant, Subject::Camera(map.camera)),
                "rows": map.rows, "cols": map.cols, "scores": map.scores,
            })
        })
        .collect();
    json!({
        "id": advisory.id.0,
        "line": plant.lines[advisory.line.index()].name,
        "kind": advisory.kind.word(),
        "title": advisory.title,
        "since": advisory.since.to_string(),
        "opened": advisory.opened.to_string(),
        "last_seen": advisory.last_seen.to_string(),
        "closed": advisory.closed.map(|time| time.to_string()),
        "peak": advisory.peak,
        "confidence": advisory.confidence,
        "causes": causes,
        "patches": patches,
    })
}

/// Counters for programs.
pub(super) fn counters(counters: &Counters) -> Value {
    json!({
        "samples": counters.samples, "ticks": counters.ticks, "ticks_dropped": counters.ticks_dropped,
        "frames": counters.frames,
    })
}

/// Prints one notice. `ticks` includes a line a tick.
pub(super) fn notice(plant: &PlantInfo, notice: &Notice, as_json: bool, ticks: bool) {
    if as_json {
        if let Some(line) = notice_json(plant, notice, ticks) {
            self::line(line);
        }
    } else if let Some(line) = notice_text(plant, notice) {
        self::line(line);
    }
}

fn change_word(change: &AdvisoryChange) -> &'static str {
    match change {
        AdvisoryChange::Opened(_) => "opened",
        AdvisoryChange::Updated(_) => "updated",
        AdvisoryChange::Closed(_) => "closed",
    }
}

fn notice_json(plant: &PlantInfo, notice: &Notice, ticks: bool) -> Option<Value> {
    Some(match notice {
        Notice::Tick { .. } if !ticks => return None,
        Notice::Tick { line, time, surprise } => {
            let parts: Option<serde_json::Map<String, Value>> = surprise.as_ref().map(|surprise| {
                surprise.parts.iter().map(|(part, score)| (format!("{part:?}").to_lowercase(), json!(score))).collect()
            });
            json!({
                "event": "tick", "line": plant.lines[line.index()].name, "time": time.to_string(),
                "score": surprise.as_ref().map(|surprise| surprise.score),
                "settled": surprise.as_ref().map(|surprise| surprise.settled),
                "parts": parts,
            })
        }
        Notice::Advisory(change) => {
            let mut value = advisory(plant, change.advisory());
            value["event"] = json!(format!("advisory_{}", change_word(change)));
            value
        }
        Notice::Health(health) => json!({
            "event": "health",
            "subject": health.subject.map(|subject| subject_name(plant, subject)),
            "source": health.source, "state": format!("{:?}", health.state),
            "since": health.since.to_string(), "reason": health.reason,
        }),
        Notice::Ended(line) => json!({"event": "ended", "line": plant.lines[line.index()].name}),
        Notice::Failed(line, reason) => {
            json!({"event": "failed", "line": plant.lines[line.index()].name, "reason": reason})
        }
    })
}

fn notice_text(plant: &PlantInfo, notice: &Notice) -> Option<String> {
    Some(match notice {
        Notice::Tick { .. } | Notice::Ended(_) => return None,
        Notice::Advisory(AdvisoryChange::Updated(_)) => return None,
        Notice::Advisory(change) => {
            let advisory = change.advisory();
            let at = advisory.closed.unwrap_or(advisory.opened);
            format!(
                "{at}  {:7} {} advisory {}: {} (since {}, peak {:.1}, confidence {:.0} %)",
                change_word(change),
                advisory.kind.word(),
                advisory.id.0,
                advisory.title,
                advisory.since,
                advisory.peak,
                advisory.confidence * 100.0
            )
        }
        Notice::Health(health) => {
            let name = health.subject.map_or(health.source.as_str(), |subject| subject_name(plant, subject));
            let state = match health.state {
                HealthState::Good => "good",
                HealthState::MaintenanceRequired => "maintenance required",
                HealthState::OutOfSpecification => "out of specification",
                HealthState::CheckFunction => "check function",
                HealthState::Failure => "failure",
            };
            format!("{}  health  {name}: {state}: {}", health.since, health.reason)
        }
        Notice::Failed(_, reason) => format!("failed: {reason}"),
    })
}
