//! `sightglass history info`: what a data folder holds.

use std::path::PathBuf;

use serde_json::{Value, json};
use sightglass_history::{History, Info};
use sightglass_protocol::UtcNanos;

use super::{folder, runtime};
use crate::{EngineError, commands::print};

#[derive(clap::Args)]
pub(in crate::commands) struct Arguments {
    /// The data folder, or the database in it.
    db: PathBuf,
    /// For programs: one JSON line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), EngineError> {
    let info = runtime()?.block_on(async {
        let history = History::open_read_only(folder(&arguments.db)).await?;
        history.info().await
    })?;
    if arguments.json {
        let mut value = json!(info);
        // The sums stand at the top, where programs have always found them.
        if let (Some(object), Value::Object(summary)) = (value.as_object_mut(), json!(info.summary)) {
            object.remove("summary");
            object.extend(summary);
        }
        print::line(value);
    } else {
        page(&info);
    }
    Ok(())
}

fn page(info: &Info) {
    let summary = &info.summary;
    let newer = if info.is_newer { ", written by a newer Sightglass: only read by this one" } else { "" };
    print::line(format_args!("plant      {}", info.plant));
    print::line(format_args!("schema     {}{newer}", info.schema));
    print::line(format_args!("range      {} to {}", time(summary.first), time(summary.last)));
    print::line(format_args!("samples    {} ({} not merged yet)", summary.samples, summary.samples_unmerged));
    print::line(format_args!("model      {} ticks, {} advisories", summary.ticks, summary.advisories));
    print::line(format_args!(
        "video      {} segments, {} pictures, {}; {} gone",
        summary.segments,
        summary.frames,
        size(summary.video_bytes),
        info.segments_gone
    ));
    print::line(format_args!("journal    {} entries, the last with hash {}", info.journal_seq, info.journal_hash));
    let sessions = &info.sessions;
    print::line(format_args!(
        "runs       {} ended by themselves, {} did not, {} open",
        sessions.clean, sessions.died, sessions.open
    ));
    for (what, from) in &info.kept_from {
        print::line(format_args!("retention  {what} before {from} are deleted"));
    }
    print::line(format_args!(
        "file       {}, of it {} free (`sightglass history compact` gives that back)",
        size(info.database_bytes),
        size(info.free_bytes)
    ));
    print::line("");
    print::line(format_args!("{:<20} {:>12}", "table", "bytes"));
    for table in info.tables.iter().filter(|table| table.bytes > 0) {
        print::line(format_args!("{:<20} {:>12}", table.table, table.bytes));
    }
    print::line("");
    let (line, tag) = (widest(info, |series| &series.line), widest(info, |series| &series.tag));
    print::line(format_args!(
        "{:<line$}  {:<tag$}  {:<8} {:>14} {:>8}  {:<30}  last",
        "line", "tag", "unit", "samples", "B/sample", "first"
    ));
    for series in &info.series {
        let bytes = series.bytes_per_sample.map_or("-".to_owned(), |bytes| format!("{bytes:.2}"));
        print::line(format_args!(
            "{:<line$}  {:<tag$}  {:<8} {:>14} {bytes:>8}  {:<30}  {}",
            series.line,
            series.tag,
            series.unit,
            series.samples,
            time(series.first),
            time(series.last)
        ));
    }
}

fn widest(info: &Info, of: fn(&sightglass_history::Series) -> &String) -> usize {
    info.series.iter().map(|series| of(series).chars().count()).max().unwrap_or(0).max(4)
}

fn time(time: Option<UtcNanos>) -> String {
    time.map_or("-".to_owned(), |time| time.to_string())
}

fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}
