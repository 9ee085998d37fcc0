//! `sightglass replay`: recorded files through the very same path, with the same result at any speed.

use std::path::PathBuf;

use serde_json::json;
use sightglass_ingest::Pace;
use sightglass_protocol::UtcNanos;

use super::{parse_pace, parse_time, print, stop};
use crate::EngineError;
use crate::bundle::{self, OpenBundle, Scores, Verdict};
use crate::run::RunOptions;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The plant's description, whose sources are files; or the folder of an incident's bundle.
    plant: PathBuf,
    /// `max`, or a multiple of the recorded speed.
    #[arg(long, default_value = "max", value_parser = parse_pace)]
    speed: Pace,
    /// Print JSON lines: every tick's score, advisories, health, and a summary.
    #[arg(long)]
    json: bool,
    /// Record into this folder too.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Leave out what is earlier.
    #[arg(long, value_parser = parse_time)]
    from: Option<UtcNanos>,
    /// Leave out what is later.
    #[arg(long, value_parser = parse_time)]
    to: Option<UtcNanos>,
}

pub(super) fn run(arguments: Arguments) -> Result<(), EngineError> {
    let bundle = if bundle::is_bundle(&arguments.plant) {
        if arguments.from.is_some() || arguments.to.is_some() {
            return Err(EngineError::Usage("a bundle is replayed as a whole; leave --from and --to out".to_owned()));
        }
        Some(bundle::open(&arguments.plant)?)
    } else {
        None
    };
    let plant = sightglass_plant::load(bundle.as_ref().map_or(&arguments.plant, |bundle| &bundle.plant))?;
    let info = plant.info();
    let options = RunOptions {
        pace: arguments.speed,
        data: arguments.data,
        serve: false,
        mode: "replay".to_owned(),
        live: false,
        from: bundle.as_ref().map(|bundle| bundle.about.from).or(arguments.from),
        to: bundle.as_ref().map(|bundle| bundle.about.to).or(arguments.to),
        stop: stop::on_signal()?,
    };
    let mut scores = Scores::default();
    let outcome = crate::run::run(&plant, options, &|_| None, |notice| {
        if bundle.is_some() {
            scores.take(notice);
        }
        print::notice(&info, notice, arguments.json, true);
    })?;
    if arguments.json {
        let mut summary = print::counters(&outcome.counters);
        summary["event"] = json!("summary");
        summary["history"] = json!(outcome.history);
        print::line(summary);
    } else {
        print::line(format_args!("{} ticks, {} pictures", outcome.counters.ticks, outcome.counters.frames));
    }
    match bundle {
        Some(bundle) => compare(&bundle, &scores, arguments.json),
        None => Ok(()),
    }
}

/// Says whether the scores are those of the bundle.
fn compare(bundle: &OpenBundle, scores: &Scores, as_json: bool) -> Result<(), EngineError> {
    let verdict = scores.against(&bundle.scores);
    if as_json {
        print::line(match &verdict {
            Verdict::Identical { ticks } => json!({"event": "bundle", "identical": true, "ticks": ticks}),
            Verdict::Differs { at, what } => json!({
                "event": "bundle", "identical": false, "first_difference": at.to_string(), "what": what,
            }),
        });
    } else if let Verdict::Identical { ticks } = &verdict {
        print::line(format_args!("identical: {ticks} ticks have the bundle's scores, to the bit"));
    }
    let Verdict::Differs { at, what } = verdict else { return Ok(()) };
    let here = bundle::processor();
    let made = &bundle.about;
    let why = if here != made.processor {
        format!("it was made on {}, and this is {here}, which may round the last bits otherwise", made.processor)
    } else {
        format!("it was made by {}, and this is {}", made.made_by, bundle::program())
    };
    Err(EngineError::FoundWrong(format!("first difference at {at}: {what}; {why}")))
}
