//! What was recorded of a line, as ticks: from the plant's own files, or from a data folder's history.

use std::path::Path;

use sightglass_history::History;
use sightglass_plant::Plant;
use sightglass_protocol::{LineId, Tick, UtcNanos};

use crate::tick_source::{self, HistoryFeed};
use crate::{EngineError, card};

/// The ticks of `line` from `from` to `to` (default: all there are), by the very path of the running line.
///
/// # Errors
/// When a source or the history cannot be read.
pub(super) fn ticks(
    plant: &Plant,
    line: LineId,
    data: Option<&Path>,
    from: Option<UtcNanos>,
    to: Option<UtcNanos>,
) -> Result<Vec<Tick>, EngineError> {
    let bar = card::bar(0, "reading");
    let progress = |_: &Tick| bar.inc(1);
    let ticks = match data {
        None => tick_source::collect(plant, line, from, to, None, progress)?,
        Some(data) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .map_err(EngineError::io("starting threads for", "the history"))?;
            let history = runtime.block_on(History::open_read_only(data))?;
            let Some((first, last)) = runtime.block_on(history.range(line))? else { return Ok(Vec::new()) };
            let (from, to) = (from.unwrap_or(first), to.unwrap_or(last + 1));
            let cameras = &plant.lines[line.index()].cameras;
            let feed = HistoryFeed::new(runtime.handle().clone(), &history, data, cameras, from, to)?;
            let fed = tick_source::fed_in_process(plant);
            tick_source::collect(&fed, line, Some(from), Some(to), Some(Box::new(feed)), progress)?
        }
    };
    bar.finish_and_clear();
    Ok(ticks)
}
