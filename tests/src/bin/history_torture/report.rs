//! What a data folder says of its disk, for `cargo xtask torture disk`, which cannot read it itself.

use std::path::PathBuf;

use sightglass_history::History;
use sightglass_protocol::UtcNanos;

#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// The data folder
    #[arg(long)]
    folder: PathBuf,
}

/// Figures as `key=value`: outages, events of deleting to make room, the newest sample's time.
pub(crate) async fn report(options: &Options) -> Result<String, String> {
    let said = |error: sightglass_history::HistoryError| error.to_string();
    let history = History::open_read_only(&options.folder).await.map_err(said)?;
    let outages = history.outages(UtcNanos::MIN, UtcNanos::MAX).await.map_err(said)?;
    for (_, outage) in &outages {
        let end = outage.to.map_or("now".to_owned(), |to| to.to_string());
        eprintln!("{}: {} to {end}: {}", outage.kind.word(), outage.from, outage.reason);
    }
    let entries = history.entries(UtcNanos::MIN, UtcNanos::MAX, u32::MAX).await.map_err(said)?;
    let deletions = entries.iter().filter(|entry| entry.subject == "disk").count();
    let mut last = i64::MIN;
    for line in &history.plant().lines {
        last = last.max(history.range(line.id).await.map_err(said)?.map_or(i64::MIN, |(_, last)| last.0));
    }
    Ok(format!("outages={} deletions={deletions} last_ns={last}", outages.len()))
}
