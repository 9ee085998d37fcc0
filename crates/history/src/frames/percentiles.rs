//! How values are spread, by shift or by product: exact percentiles, not estimates.

use std::collections::BTreeMap;

use polars::prelude::*;
use sightglass_protocol::{TagId, UtcNanos};

use super::{Shifts, frame_error, scan::usable, time_column};
use crate::{error::HistoryError, open::History, raw::blocking, steps::checked};

/// The most values of one tag that are gathered at a time (256 MiB): those of a shift, or of all products.
const VALUES_MAX: usize = 1 << 25;

/// One group's percentiles.
struct GroupRow {
    start: i64,
    group: String,
    tag: String,
    count: u64,
    values: Vec<f64>,
}

fn too_many(tag: &str) -> HistoryError {
    HistoryError::BadQuery {
        what: format!("'{tag}' has more than {VALUES_MAX} values in one group: choose a shorter range"),
    }
}

fn percents_checked(percents: &[f64]) -> Result<(), HistoryError> {
    match percents.iter().find(|percent| !(0.0..=100.0).contains(*percent)) {
        None if !percents.is_empty() => Ok(()),
        None => Err(HistoryError::BadQuery { what: "no percentile was asked for".to_owned() }),
        Some(percent) => {
            Err(HistoryError::BadQuery { what: format!("{percent} is not a percentile between 0 and 100") })
        }
    }
}

/// Between the two nearest values, linearly. `values` has at least one and is sorted.
fn percentile(values: &[f64], percent: f64) -> f64 {
    let place = percent / 100.0 * (values.len() - 1) as f64;
    let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

fn group_row(start: i64, group: &str, tag: &str, mut values: Vec<f64>, percents: &[f64]) -> Option<GroupRow> {
    if values.is_empty() {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    let count = values.len() as u64;
    let values = percents.iter().map(|&percent| percentile(&values, percent)).collect();
    Some(GroupRow { start, group: group.to_owned(), tag: tag.to_owned(), count, values })
}

/// Columns `group_from`, `group`, `tag`, `count` (usable values), and `pN` for each percentile.
fn frame(mut rows: Vec<GroupRow>, group_name: &str, percents: &[f64]) -> PolarsResult<DataFrame> {
    rows.sort_by(|a, b| (a.start, &a.group, &a.tag).cmp(&(b.start, &b.group, &b.tag)));
    let mut starts = time_column(rows.iter().map(|row| row.start).collect())?;
    starts.rename("from".into());
    let mut columns = vec![
        starts,
        Column::new(group_name.into(), rows.iter().map(|row| row.group.as_str()).collect::<Vec<_>>()),
        Column::new("tag".into(), rows.iter().map(|row| row.tag.as_str()).collect::<Vec<_>>()),
        Column::new("count".into(), rows.iter().map(|row| row.count).collect::<Vec<_>>()),
    ];
    for (index, percent) in percents.iter().enumerate() {
        let values: Vec<f64> = rows.iter().map(|row| row.values[index]).collect();
        columns.push(Column::new(format!("p{percent}").as_str().into(), values));
    }
    DataFrame::new(rows.len(), columns)
}

/// Percentiles of the usable values of `tags` from `from` to `to` (both within), of each shift of each day: columns `from`
/// (the shift's beginning), `shift`, `tag`, `count`, and `pN` for each of `percents` (0 to 100).
///
/// # Errors
/// A percentile out of its range, a range upside down, an unknown tag, more values in one shift than fit in memory, what
/// [`History::raw`] has.
pub async fn percentiles_by_shift(
    history: &History,
    tags: &[TagId],
    from: UtcNanos,
    to: UtcNanos,
    shifts: &Shifts,
    percents: &[f64],
) -> Result<LazyFrame, HistoryError> {
    checked(from, to)?;
    percents_checked(percents)?;
    let mut rows = Vec::new();
    for &tag in tags {
        let file_tag = history.file_tag(tag)?;
        let name = history.plant().tags[tag.index()].name.as_str();
        let mut pages = history.pages(vec![file_tag], from, to);
        // Shifts follow each other in time, so that one at a time is gathered.
        let mut open: Option<(&str, i64, i64, Vec<f64>)> = None;
        while let Some(page) = pages.next_rows().await? {
            for row in page.iter().flat_map(|(_, rows)| rows) {
                let Some(value) = usable(row) else { continue };
                if open.as_ref().is_none_or(|(_, _, end, _)| row.time >= *end) {
                    if let Some((shift, start, _, values)) = open.take() {
                        rows.extend(group_row(start, shift, name, values, percents));
                    }
                    open = shifts.at(UtcNanos(row.time)).map(|(shift, start, end)| (shift, start, end, Vec::new()));
                }
                if let Some((.., values)) = &mut open {
                    if values.len() >= VALUES_MAX {
                        return Err(too_many(name));
                    }
                    values.push(value);
                }
            }
        }
        if let Some((shift, start, _, values)) = open {
            rows.extend(group_row(start, shift, name, values, percents));
        }
    }
    finish(rows, "shift", percents).await
}

/// The same by product: a group is all of the time at which `product` (a mode or setpoint tag) had one value. Columns
/// `from` (when the product was first made in the range), `product` (that value), `tag`, `count`, and `pN`.
///
/// # Errors
/// As [`percentiles_by_shift`].
pub async fn percentiles_by_product(
    history: &History,
    tags: &[TagId],
    from: UtcNanos,
    to: UtcNanos,
    product: TagId,
    percents: &[f64],
) -> Result<LazyFrame, HistoryError> {
    checked(from, to)?;
    percents_checked(percents)?;
    let changes = changes(history, product, from, to).await?;
    let mut rows = Vec::new();
    for &tag in tags {
        let file_tag = history.file_tag(tag)?;
        let name = history.plant().tags[tag.index()].name.as_str();
        let mut pages = history.pages(vec![file_tag], from, to);
        let mut groups: BTreeMap<u64, (i64, Vec<f64>)> = BTreeMap::new();
        let mut total = 0;
        while let Some(page) = pages.next_rows().await? {
            for row in page.iter().flat_map(|(_, rows)| rows) {
                let Some(value) = usable(row) else { continue };
                let change = changes.partition_point(|(time, _)| *time <= row.time).checked_sub(1);
                let Some((since, Some(made))) = change.map(|change| changes[change]) else { continue };
                total += 1;
                if total > VALUES_MAX {
                    return Err(too_many(name));
                }
                groups.entry(made.to_bits()).or_insert_with(|| (since.max(from.0), Vec::new())).1.push(value);
            }
        }
        for (made, (start, values)) in groups {
            rows.extend(group_row(start, &f64::from_bits(made).to_string(), name, values, percents));
        }
    }
    finish(rows, "product", percents).await
}

/// When the product changed and to what; the first one from before the range. `None` while it is not known.
async fn changes(
    history: &History,
    product: TagId,
    from: UtcNanos,
    to: UtcNanos,
) -> Result<Vec<(i64, Option<f64>)>, HistoryError> {
    let mut changes: Vec<(i64, Option<f64>)> = Vec::new();
    let before = history.signals(&[product], from, from, 1).await?;
    if let Some(point) = before.first().and_then(|signal| signal.points.first()).filter(|point| point.time < from) {
        changes.push((point.time.0, point.last.is_finite().then_some(point.last)));
    }
    let mut pages = history.pages(vec![history.file_tag(product)?], from, to);
    while let Some(page) = pages.next_rows().await? {
        for row in page.iter().flat_map(|(_, rows)| rows) {
            let value = usable(row);
            if changes.last().is_none_or(|(_, last)| last.map(f64::to_bits) != value.map(f64::to_bits)) {
                changes.push((row.time, value));
            }
        }
    }
    Ok(changes)
}

async fn finish(rows: Vec<GroupRow>, group: &'static str, percents: &[f64]) -> Result<LazyFrame, HistoryError> {
    let percents = percents.to_vec();
    blocking(move || {
        frame(rows, group, &percents).map(IntoLazy::lazy).map_err(frame_error("make a table of percentiles"))
    })
    .await
}
