//! `sightglass export`: samples for other tools, or all that an incident needs to be replayed elsewhere.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde_json::json;
use sightglass_history::{ExportFormat, ExportRequest, History};
use sightglass_protocol::{AdvisoryId, UtcNanos, time::SECOND};

use super::history::{folder, runtime};
use super::{parse_time, print, stop};
use crate::bundle::{self, Wanted};
use crate::follow::{self, Target};
use crate::{EngineError, card};

/// A year.
const MINUTES_MAX: f64 = 366.0 * 24.0 * 60.0;
/// How often a wait looks whether it should stop.
const STOP_LOOK: Duration = Duration::from_millis(200);

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The data folder, or the database in it.
    db: PathBuf,
    /// The earliest sample.
    #[arg(long, value_parser = parse_time)]
    from: Option<UtcNanos>,
    /// The end: the first time that is left out.
    #[arg(long, value_parser = parse_time)]
    to: Option<UtcNanos>,
    /// The folder to write to.
    #[arg(long)]
    out: PathBuf,
    /// Parquet, or CSV.
    #[arg(long, value_enum, default_value = "parquet")]
    format: Format,
    /// Only these tags: names with commas between them.
    #[arg(long, value_delimiter = ',')]
    tags: Option<Vec<String>>,
    /// Only this line.
    #[arg(long)]
    line: Option<String>,
    /// A bundle of the incident with this advisory: a folder that `sightglass replay` recomputes on any PC.
    #[arg(long, conflicts_with_all = ["from", "to", "tags", "line", "bundle"])]
    incident: Option<u64>,
    /// A bundle of the time from --from to --to.
    #[arg(long, conflicts_with = "tags", requires = "from", requires = "to")]
    bundle: bool,
    /// Export days that are over, again and again; the target says itself what it has. It may be s3://BUCKET/PREFIX, with
    /// address and credentials from AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION.
    #[arg(long, conflicts_with_all = ["from", "to", "tags", "line", "incident", "bundle"])]
    follow: bool,
    /// With --follow: one pass, then end.
    #[arg(long, requires = "follow")]
    once: bool,
    /// With --follow: a day is over this many minutes after midnight UTC, when late samples have come.
    #[arg(long, default_value_t = 60.0, requires = "follow", value_parser = parse_minutes)]
    delay_minutes: f64,
    /// With --follow: how often to look for days that are over, or have changed.
    #[arg(long, default_value_t = 10.0, requires = "follow", value_parser = parse_minutes)]
    every_minutes: f64,
    /// For a bundle: the plant's description, in place of the one that was kept with the recording.
    #[arg(long)]
    plant: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Parquet,
    Csv,
}

fn parse_minutes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(minutes) if (0.0..=MINUTES_MAX).contains(&minutes) => Ok(minutes),
        _ => Err(format!("'{text}' is not a number of minutes from 0 to {MINUTES_MAX}")),
    }
}

pub(super) fn run(arguments: Arguments) -> Result<(), EngineError> {
    let data = folder(&arguments.db);
    if arguments.follow {
        return follow(data, &arguments);
    }
    if let Some(id) = arguments.incident {
        return bundle(data, Wanted::Incident(AdvisoryId(id)), &arguments);
    }
    let (Some(from), Some(to)) = (arguments.from, arguments.to) else {
        return Err(EngineError::Usage(
            "say what to export: --from and --to, or --incident with an advisory's number".to_owned(),
        ));
    };
    if from >= to {
        return Err(EngineError::Usage(format!("--from {from} is not before --to {to}")));
    }
    if arguments.bundle {
        return bundle(data, Wanted::Range { line: arguments.line.clone(), from, to: to - 1 }, &arguments);
    }
    let request = ExportRequest {
        from,
        to: to - 1,
        tags: arguments.tags,
        line: arguments.line,
        format: match arguments.format {
            Format::Parquet => ExportFormat::Parquet,
            Format::Csv => ExportFormat::Csv,
        },
    };
    runtime()?.block_on(async {
        let history = History::open_read_only(data).await?;
        let bar = card::bar(history.export_samples_about(&request).await?, "exporting");
        let stats = history.export(&request, &arguments.out, |samples| bar.set_position(samples)).await?;
        bar.finish_and_clear();
        if stats.samples == 0 {
            eprintln!("{}", nothing(&history, &request).await?);
        }
        print::line(json!(stats));
        Ok(())
    })
}

/// Why an export has no sample.
async fn nothing(history: &History, request: &ExportRequest) -> Result<String, EngineError> {
    let held = history.summary().await?;
    Ok(match held.first.zip(held.last) {
        Some((first, last)) => format!(
            "there is no such sample from {} to {}; the history holds samples from {first} to {last}",
            request.from, request.to
        ),
        None => "the history holds no sample at all".to_owned(),
    })
}

fn bundle(data: &Path, wanted: Wanted, arguments: &Arguments) -> Result<(), EngineError> {
    let made = bundle::make(data, wanted, arguments.plant.as_deref(), &arguments.out)?;
    print::line(json!(made));
    Ok(())
}

/// Tiers days until it is stopped. What goes wrong in one pass (a store that is out of reach) is told and tried again in
/// the next.
fn follow(data: &Path, arguments: &Arguments) -> Result<(), EngineError> {
    let target: Target = arguments.out.to_string_lossy().parse().map_err(EngineError::Usage)?;
    let delay_ns = (arguments.delay_minutes * 60.0 * SECOND as f64) as i64;
    let every = Duration::from_secs_f64(arguments.every_minutes * 60.0);
    let stop = stop::on_signal()?;
    let runtime = runtime()?;
    loop {
        let passed = runtime.block_on(async {
            let history = History::open_read_only(data).await?;
            let bar = card::bar(0, "tiering days");
            let passed = follow::pass(&history, &target, card::wall_clock(), delay_ns, |day, days| {
                bar.set_length(days);
                bar.set_position(day);
                !stop.load(Ordering::Relaxed)
            })
            .await;
            bar.finish_and_clear();
            let closed = history.close().await;
            let passed = passed?;
            closed?;
            Ok::<_, EngineError>(passed)
        });
        match passed {
            Ok(passed) => print::line(json!(passed)),
            Err(error) if arguments.once => return Err(error),
            Err(error) => tracing::error!("this pass did not reach its end, the next one goes on: {error}"),
        }
        if arguments.once {
            return Ok(());
        }
        let next = Instant::now() + every;
        while Instant::now() < next {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            std::thread::park_timeout(STOP_LOOK);
        }
    }
}
