//! `sightglass query`: an engineer's questions about recorded tags, as CSV, JSON lines or a Parquet file.

use std::path::PathBuf;

use clap::Subcommand;
use sightglass_history::{
    AlignedPages, DataFrame, History, LazyFrame, ParquetFile, ResampledPages, Shifts, align_pages, asof_events,
    compare_runs, csv_header, csv_lines, events_frame, json_lines, percentiles_by_product, percentiles_by_shift,
    resample_pages,
};
use sightglass_protocol::UtcNanos;
use sightglass_protocol::time::SECOND;

use super::history::certificate::tags_of;
use super::history::{folder, runtime};
use super::parse_time;
use crate::EngineError;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The data folder, or the database in it.
    db: PathBuf,
    #[command(subcommand)]
    question: Question,
}

/// What is asked for in every question.
#[derive(clap::Args)]
struct Asked {
    /// Tags by name, separated by commas (default: all of the plant).
    #[arg(long, value_delimiter = ',')]
    tags: Vec<String>,
    /// Write a Parquet file instead of CSV.
    #[arg(long)]
    parquet: Option<PathBuf>,
    /// JSON lines instead of CSV.
    #[arg(long, conflicts_with = "parquet")]
    json: bool,
}

#[derive(clap::Args)]
struct Range {
    /// The earliest moment.
    #[arg(long, value_parser = parse_time)]
    from: UtcNanos,
    /// The latest moment.
    #[arg(long, value_parser = parse_time)]
    to: UtcNanos,
}

#[derive(Subcommand)]
enum Question {
    /// Tags beside each other on one time axis.
    Align {
        #[command(flatten)]
        asked: Asked,
        #[command(flatten)]
        range: Range,
        /// Seconds between rows.
        #[arg(long, default_value_t = 1.0)]
        every: f64,
        /// Seconds after which a measurement's value is too old; setpoints and modes hold.
        #[arg(long, default_value_t = 10.0)]
        age: f64,
        /// Also the last event at each moment, of these kinds (separated by commas; `any`).
        #[arg(long, value_delimiter = ',')]
        events: Vec<String>,
    },
    /// Minimum, maximum, mean and count of each tag in steps.
    Resample {
        #[command(flatten)]
        asked: Asked,
        #[command(flatten)]
        range: Range,
        /// Seconds of a step.
        #[arg(long, default_value_t = 60.0)]
        every: f64,
    },
    /// Two runs beside each other, each from a moment or an event on.
    Compare {
        #[command(flatten)]
        asked: Asked,
        /// Where the first run begins: a time, or an event's number as `#12`.
        #[arg(long)]
        first: String,
        /// Where the second run begins.
        #[arg(long)]
        second: String,
        /// Seconds that are compared.
        #[arg(long)]
        seconds: f64,
        /// Seconds between rows.
        #[arg(long, default_value_t = 1.0)]
        every: f64,
        /// Seconds after which a measurement's value is too old.
        #[arg(long, default_value_t = 10.0)]
        age: f64,
    },
    /// How values are spread, by shift or by product.
    Percentiles {
        #[command(flatten)]
        asked: Asked,
        #[command(flatten)]
        range: Range,
        /// Percentiles, separated by commas.
        #[arg(long, value_delimiter = ',', default_value = "5,50,95")]
        percentiles: Vec<f64>,
        /// The mode or setpoint tag whose value is the product (default: by shift).
        #[arg(long)]
        product: Option<String>,
        /// Shifts as `HH:MM=NAME`, separated by commas.
        #[arg(long, value_delimiter = ',', default_value = "06:00=early,14:00=late,22:00=night")]
        shifts: Vec<String>,
        /// The time zone of the shifts, such as `Europe/Berlin`.
        #[arg(long, default_value = "UTC")]
        zone: String,
    },
}

pub(super) fn run(arguments: &Arguments) -> Result<(), EngineError> {
    runtime()?.block_on(async {
        let history = History::open_read_only(folder(&arguments.db)).await?;
        answer(&history, &arguments.question).await?;
        history.close().await?;
        Ok(())
    })
}

/// Seconds as nanoseconds.
fn nanos(seconds: f64, option: &str) -> Result<i64, EngineError> {
    let nanos = (seconds * SECOND as f64).round();
    if (1.0..i64::MAX as f64).contains(&nanos) {
        return Ok(nanos as i64);
    }
    Err(EngineError::Usage(format!("{option} {seconds} is not a time of 1 ns or more")))
}

async fn answer(history: &History, question: &Question) -> Result<(), EngineError> {
    match question {
        Question::Align { asked, range, every, age, events } => {
            let tags = tags_of(history.plant(), &asked.tags)?;
            let (every, age) = (nanos(*every, "--every")?, nanos(*age, "--age")?);
            let pages = align_pages(history, &tags, range.from, range.to, every, age).await?;
            let entries = match events.as_slice() {
                [] => None,
                _ => Some(events_frame(history, UtcNanos::MIN, range.to).await?),
            };
            let kinds: Vec<String> = events.iter().filter(|kind| *kind != "any").cloned().collect();
            aligned(pages, entries, &kinds, &mut Sink::new(asked)).await
        }
        Question::Resample { asked, range, every } => {
            let tags = tags_of(history.plant(), &asked.tags)?;
            let pages = resample_pages(history, &tags, range.from, range.to, nanos(*every, "--every")?)?;
            resampled(pages, &mut Sink::new(asked)).await
        }
        Question::Compare { asked, first, second, seconds, every, age } => {
            let tags = tags_of(history.plant(), &asked.tags)?;
            let starts = (start(history, first).await?, start(history, second).await?);
            let length = nanos(*seconds, "--seconds")?;
            let (every, age) = (nanos(*every, "--every")?, nanos(*age, "--age")?);
            whole(compare_runs(history, &tags, starts, length, every, age).await?, asked)
        }
        Question::Percentiles { asked, range, percentiles, product, shifts, zone } => {
            let tags = tags_of(history.plant(), &asked.tags)?;
            let frame = match product {
                Some(product) => {
                    let product = tags_of(history.plant(), std::slice::from_ref(product))?[0];
                    percentiles_by_product(history, &tags, range.from, range.to, product, percentiles).await?
                }
                None => {
                    let shifts = Shifts::parse(zone, shifts)?;
                    percentiles_by_shift(history, &tags, range.from, range.to, &shifts, percentiles).await?
                }
            };
            whole(frame, asked)
        }
    }
}

/// A time, or that of the entry `#N` of the chain of events.
async fn start(history: &History, text: &str) -> Result<UtcNanos, EngineError> {
    let Some(number) = text.strip_prefix('#') else { return parse_time(text).map_err(EngineError::Usage) };
    let seq: u64 =
        number.parse().map_err(|_| EngineError::Usage(format!("'{text}' is not an event's number such as #12")))?;
    let entries = history.entries(UtcNanos::MIN, UtcNanos::MAX, u32::MAX).await?;
    let entry = entries.into_iter().find(|entry| entry.seq == seq);
    entry.map(|entry| entry.time).ok_or_else(|| EngineError::Usage(format!("there is no event {text}")))
}

async fn aligned(
    mut pages: AlignedPages,
    events: Option<LazyFrame>,
    kinds: &[String],
    sink: &mut Sink,
) -> Result<(), EngineError> {
    while let Some(page) = pages.next().await? {
        match &events {
            Some(events) => sink.put(&sightglass_history::collect(asof_events(
                sightglass_history::lazy(page),
                events.clone(),
                kinds,
            ))?)?,
            None => sink.put(&page)?,
        }
    }
    sink.finish()
}

async fn resampled(mut pages: ResampledPages, sink: &mut Sink) -> Result<(), EngineError> {
    while let Some(page) = pages.next().await? {
        sink.put(&page)?;
    }
    sink.finish()
}

fn whole(frame: LazyFrame, asked: &Asked) -> Result<(), EngineError> {
    let mut sink = Sink::new(asked);
    sink.put(&sightglass_history::collect(frame)?)?;
    sink.finish()
}

/// Where an answer goes, page by page.
enum Sink {
    Csv { has_header: bool },
    Json,
    Parquet(Option<Box<ParquetFile>>),
}

impl Sink {
    fn new(asked: &Asked) -> Self {
        match (&asked.parquet, asked.json) {
            (Some(path), _) => Self::Parquet(Some(Box::new(ParquetFile::new(path)))),
            (None, true) => Self::Json,
            (None, false) => Self::Csv { has_header: false },
        }
    }

    fn put(&mut self, page: &DataFrame) -> Result<(), EngineError> {
        match self {
            Self::Csv { has_header } => {
                if !std::mem::replace(has_header, true) {
                    super::print::line(csv_header(page));
                }
                print_lines(&csv_lines(page)?);
            }
            Self::Json => print_lines(&json_lines(page)?),
            Self::Parquet(file) => {
                if let Some(file) = file {
                    file.write(page)?;
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), EngineError> {
        if let Self::Parquet(file) = self
            && let Some(file) = file.take()
        {
            file.finish()?;
        }
        Ok(())
    }
}

/// Whole lines, each with its end.
fn print_lines(text: &str) {
    if let Some(text) = text.strip_suffix('\n') {
        super::print::line(text);
    }
}
