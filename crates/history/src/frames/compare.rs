//! Two runs beside each other: the same tags from two moments on, on one relative time axis.

use polars::prelude::*;
use sightglass_protocol::{TagId, UtcNanos};

use super::{align_pages, frame_error, pages::collected};
use crate::{error::HistoryError, open::History};

/// The most rows of a comparison: it is looked at as a whole.
const ROWS_MAX: i64 = 1 << 20;

/// `tags` from `first` and from `second` on (the starts of two batches, two advisories), each for `length_ns`, every
/// `every_ns`: columns `offset_s` (seconds from the start), and for each tag `NAME first`, `NAME second` and
/// `NAME difference` (second less first). Values as [`align_pages`] has them.
///
/// # Errors
/// A step below 1 ns or more than 1,048,576 of them, an unknown tag, SQLite's own.
pub async fn compare_runs(
    history: &History,
    tags: &[TagId],
    (first, second): (UtcNanos, UtcNanos),
    length_ns: i64,
    every_ns: i64,
    age_ns_max: i64,
) -> Result<LazyFrame, HistoryError> {
    if every_ns < 1 || length_ns < 0 || length_ns / every_ns >= ROWS_MAX {
        return Err(HistoryError::BadQuery {
            what: format!(
                "a comparison over {length_ns} ns every {every_ns} ns is not possible: choose a step of 1 ns or more and at most {ROWS_MAX} of them"
            ),
        });
    }
    let first = whole(history, tags, first, length_ns, every_ns, age_ns_max).await?;
    let second = whole(history, tags, second, length_ns, every_ns, age_ns_max).await?;
    let rows = first.height().min(second.height());
    let error = frame_error("compare two runs");
    let offsets: Vec<f64> = (0..rows as i64).map(|row| (row * every_ns) as f64 / 1e9).collect();
    let mut columns = vec![Column::new("offset_s".into(), offsets)];
    let mut differences = Vec::with_capacity(tags.len());
    let mut order = vec![col("offset_s")];
    for &tag in tags {
        let name = history.plant().tags[tag.index()].name.as_str();
        let (one, other) = (format!("{name} first"), format!("{name} second"));
        for (frame, new_name) in [(&first, &one), (&second, &other)] {
            let mut column = frame.column(name).map_err(&error)?.head(Some(rows));
            column.rename(new_name.as_str().into());
            columns.push(column);
        }
        let difference = format!("{name} difference");
        differences.push((col(other.as_str()) - col(one.as_str())).alias(difference.as_str()));
        order.extend([one, other, difference].map(|name| col(name.as_str())));
    }
    let frame = DataFrame::new(rows, columns).map_err(&error)?;
    let frame = frame.lazy().with_columns(differences).select(order);
    Ok(collected(frame, "compare two runs").await?.lazy())
}

async fn whole(
    history: &History,
    tags: &[TagId],
    from: UtcNanos,
    length_ns: i64,
    every_ns: i64,
    age_ns_max: i64,
) -> Result<DataFrame, HistoryError> {
    let mut pages = align_pages(history, tags, from, from + length_ns, every_ns, age_ns_max).await?;
    let mut whole: Option<DataFrame> = None;
    while let Some(page) = pages.next().await? {
        match &mut whole {
            None => whole = Some(page),
            Some(whole) => {
                whole.vstack_mut(&page).map_err(frame_error("compare two runs"))?;
            }
        }
    }
    Ok(whole.unwrap_or_default())
}
