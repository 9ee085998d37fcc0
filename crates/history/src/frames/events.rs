//! Events beside samples: what had happened last at each moment.

use polars::prelude::*;
use sightglass_protocol::UtcNanos;

use super::{frame_error, time_column};
use crate::{error::HistoryError, events::EntryClass, open::History};

/// Events and audit entries from `from` to `to` (both within) as a frame, oldest first: `time`, `seq`, `class` (event,
/// audit), `kind` (the kind of event, or who did it), `text`.
///
/// # Errors
/// A range upside down, SQLite's own.
pub async fn events_frame(history: &History, from: UtcNanos, to: UtcNanos) -> Result<LazyFrame, HistoryError> {
    let mut entries = history.entries(from, to, u32::MAX).await?;
    entries.reverse();
    let times = entries.iter().map(|entry| entry.time.0).collect();
    let class = |class| if class == EntryClass::Audit { "audit" } else { "event" };
    let error = frame_error("make a table of events");
    let columns = vec![
        time_column(times).map_err(&error)?,
        Column::new("seq".into(), entries.iter().map(|entry| entry.seq).collect::<Vec<_>>()),
        Column::new("class".into(), entries.iter().map(|entry| class(entry.class)).collect::<Vec<_>>()),
        Column::new("kind".into(), entries.iter().map(|entry| entry.subject.as_str()).collect::<Vec<_>>()),
        Column::new("text".into(), entries.iter().map(|entry| entry.text.as_str()).collect::<Vec<_>>()),
    ];
    Ok(DataFrame::new(entries.len(), columns).map_err(&error)?.lazy())
}

/// Adds to each row of `frame` (any with a sorted `time`) the last event of one of `kinds` (of any, for none) at or before
/// it: `event_time`, `event_kind`, `event_text`; null before the first one.
pub fn asof_events(frame: LazyFrame, events: LazyFrame, kinds: &[String]) -> LazyFrame {
    let is_wanted = kinds.iter().map(|kind| col("kind").eq(lit(kind.as_str()))).reduce(Expr::or);
    let events = match is_wanted {
        Some(is_wanted) => events.filter(is_wanted),
        None => events,
    };
    let events = events.select([
        col("time"),
        col("time").alias("event_time"),
        col("kind").alias("event_kind"),
        col("text").alias("event_text"),
    ]);
    frame
        .join_builder()
        .with(events)
        .on([col("time")])
        .how(JoinType::AsOf(Box::new(AsOfOptions {
            strategy: AsofStrategy::Backward,
            allow_eq: true,
            check_sortedness: false,
            ..Default::default()
        })))
        .finish()
}
