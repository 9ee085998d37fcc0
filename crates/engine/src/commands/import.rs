//! `sightglass import`: what other programs recorded, into the history.

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::json;
use sightglass_history::{BATCH_SAMPLES_MAX, FILE_NAME, History};
use sightglass_plant::{ImportMap, Plant};
use sightglass_protocol::UtcNanos;

use super::history::runtime;
use super::print;
use crate::import::{self, Layout, Options, Reader, Report, TimeForm, Zone};
use crate::{EngineError, bundle, card};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// CSV and Parquet files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The data folder; it is made where there is none.
    #[arg(long)]
    data: PathBuf,
    /// The plant's description.
    #[arg(long)]
    plant: PathBuf,
    /// Which column is which tag, and which are ignored.
    #[arg(long)]
    map: Option<PathBuf>,
    /// One column a tag, one row a sample, or whichever the columns tell.
    #[arg(long, value_enum, default_value = "auto")]
    layout: ChosenLayout,
    /// The column with the time.
    #[arg(long)]
    time_column: Option<String>,
    /// How times are written: auto, unix-s, unix-ms, unix-us, unix-ns, or a pattern such as "%d.%m.%Y %H:%M:%S".
    #[arg(long, default_value = "auto")]
    time_format: TimeForm,
    /// Where times without an offset were taken: UTC, a zone such as Europe/Berlin, or an offset such as +01:00.
    #[arg(long, default_value = "UTC")]
    timezone: Zone,
    /// What separates the fields of CSV files: one character (found out from the header line).
    #[arg(long, value_parser = parse_separator)]
    separator: Option<u8>,
    /// Numbers have decimal commas also where commas separate fields (which then are in quotes).
    #[arg(long)]
    decimal_comma: bool,
    /// Leave out rows that cannot be used, instead of importing nothing.
    #[arg(long)]
    skip_bad: bool,
    /// Say what would be imported, and import nothing.
    #[arg(long)]
    dry_run: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ChosenLayout {
    Wide,
    Long,
    Auto,
}

fn parse_separator(text: &str) -> Result<u8, String> {
    match text {
        "\\t" | "tab" => Ok(b'\t'),
        _ => match text.as_bytes() {
            [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"\"\r\n.-+".contains(byte) => Ok(*byte),
            _ => Err(format!("'{text}' is not one character that can separate fields, such as ; or \\t")),
        },
    }
}

pub(super) fn run(arguments: Arguments) -> Result<(), EngineError> {
    let plant = sightglass_plant::load(&arguments.plant)?;
    let map = arguments.map.as_ref().map(|path| ImportMap::load(path, &plant)).transpose()?.unwrap_or_default();
    let options = Options {
        layout: match arguments.layout {
            ChosenLayout::Wide => Some(Layout::Wide),
            ChosenLayout::Long => Some(Layout::Long),
            ChosenLayout::Auto => None,
        },
        time_column: arguments.time_column.clone(),
        time_form: arguments.time_format.clone(),
        zone: arguments.timezone.clone(),
        separator: arguments.separator,
        decimal_comma: arguments.decimal_comma,
        map,
    };
    let runtime = runtime()?;
    let has_history = arguments.data.join(FILE_NAME).exists();
    let history = match (arguments.dry_run, has_history) {
        (true, false) => None,
        // A description that is not the history's own maps by other numbers, so that it is only read when they agree.
        (true, true) => Some(runtime.block_on(History::open_read_only(&arguments.data))?)
            .filter(|history| *history.plant() == plant.info()),
        (false, _) => Some(runtime.block_on(History::open(&arguments.data, &plant.info()))?),
    };
    let result = import(&arguments, &plant, &options, &runtime, history.as_ref());
    let closed = history.map(|history| runtime.block_on(history.close())).transpose();
    let report = result?;
    closed?;
    if !arguments.dry_run && report.bad > 0 && !arguments.skip_bad {
        return Err(EngineError::FoundWrong(format!(
            "{} rows cannot be used, so nothing was imported; correct them, or leave them out with --skip-bad",
            report.bad
        )));
    }
    if arguments.dry_run && report.bad > 0 {
        return Err(EngineError::FoundWrong(format!("{} rows cannot be used", report.bad)));
    }
    Ok(())
}

fn import(
    arguments: &Arguments,
    plant: &Plant,
    options: &Options,
    runtime: &tokio::runtime::Runtime,
    history: Option<&History>,
) -> Result<Report, EngineError> {
    let bar = card::bar(0, "checking");
    let stored = history.map(|history| (runtime.handle(), history));
    let report = import::check(&arguments.files, plant, options, stored, |reader| follow(&bar, reader))?;
    bar.finish_and_clear();
    let is_imported = !arguments.dry_run && (report.bad == 0 || arguments.skip_bad);
    tell(&report, arguments, is_imported);
    if let (Some(history), true) = (history, is_imported) {
        for (path, file) in arguments.files.iter().zip(&report.files) {
            let bar = card::bar(0, "importing");
            let mut reader = Reader::open(path, plant, options)?;
            let mut waiting = Vec::with_capacity(BATCH_SAMPLES_MAX);
            while let Some(row) = reader.next_row() {
                // What cannot be used was told by the first reading.
                let Ok(row) = row else { break };
                waiting.extend(row.content.unwrap_or_default());
                if waiting.len() >= BATCH_SAMPLES_MAX {
                    runtime.block_on(history.append(&waiting))?;
                    waiting.clear();
                    follow(&bar, &reader);
                }
            }
            runtime.block_on(history.append(&waiting))?;
            bar.finish_and_clear();
            let what = format!(
                "imported {} (sha256 {}): {} rows, {} samples, {} rows left out",
                path.display(),
                bundle::hash_of_file(path)?,
                file.rows,
                file.samples,
                file.bad
            );
            runtime.block_on(history.put_audit(card::wall_clock(), &who(), &what))?;
        }
        let bar = card::spinner("merging");
        // What lies ahead is left to the engine, which merges it when its time has come.
        let last = report.last().unwrap_or(UtcNanos::MIN);
        runtime.block_on(history.merge((last + 1).min(card::wall_clock())))?;
        bar.finish_and_clear();
    }
    Ok(report)
}

fn follow(bar: &indicatif::ProgressBar, reader: &Reader) {
    let (read, length) = reader.progress();
    bar.set_length(length);
    bar.set_position(read);
    bar.set_message(reader.path().file_name().unwrap_or_default().to_string_lossy().into_owned());
}

/// Who imports: the user of this PC.
fn who() -> String {
    let user = ["USER", "USERNAME", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    user.filter(|user| !user.is_empty()).unwrap_or_else(|| "unknown user".to_owned())
}

fn tell(report: &Report, arguments: &Arguments, is_imported: bool) {
    if arguments.json {
        let mut value = json!(report);
        value["dry_run"] = json!(arguments.dry_run);
        value["imported"] = json!(is_imported);
        print::line(value);
        return;
    }
    for file in &report.files {
        print::line(format_args!(
            "{}: {} rows, {} samples, {} rows that cannot be used",
            file.path.display(),
            file.rows,
            file.samples,
            file.bad
        ));
        file.bad_places.iter().for_each(|place| print::line(format_args!("  {place}")));
        let more = file.bad - file.bad_places.len() as u64;
        if more > 0 {
            print::line(format_args!("  and {more} more"));
        }
        if file.ambiguous_times > 0 {
            print::line(format_args!(
                "  {} times were shown twice by local clocks, and are taken as the first",
                file.ambiguous_times
            ));
        }
    }
    for (name, tag) in &report.tags {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| value.to_string());
        print::line(format_args!(
            "{name}: {} samples from {} to {}, values {} to {}, {} without a usable value, {} out of range",
            tag.samples,
            tag.first.as_deref().unwrap_or("-"),
            tag.last.as_deref().unwrap_or("-"),
            number(tag.min),
            number(tag.max),
            tag.unusable,
            tag.out_of_range
        ));
    }
    print::line(format_args!(
        "{} samples: {} new, {} there already, {} that correct another value{}",
        report.samples,
        report.new,
        report.duplicate,
        report.corrected,
        if arguments.dry_run { "; nothing was imported" } else { "" }
    ));
}
