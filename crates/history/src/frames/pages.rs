//! Long questions piece by piece: however long the range, only a slice of one tag's samples is in memory beside the rows
//! that come out of it.

use polars::prelude::*;
use sightglass_protocol::{Role, TagId, UtcNanos};

use super::{align, frame_error, resample, samples_frame, time_column};
use crate::{error::HistoryError, open::History, raw::blocking, steps::checked};

/// The longest slice (unless one step is longer).
const SLICE_NS_MAX: i64 = 86_400_000_000_000;
/// Values of one page: rows times tags.
const PAGE_VALUES_MAX: i64 = 1 << 20;

/// Collects off the threads that answer others.
pub(super) async fn collected(frame: LazyFrame, action: &'static str) -> Result<DataFrame, HistoryError> {
    blocking(move || frame.collect().map_err(frame_error(action))).await
}

fn step_checked(every_ns: i64) -> Result<(), HistoryError> {
    if every_ns >= 1 {
        return Ok(());
    }
    Err(HistoryError::BadQuery { what: format!("a step of {every_ns} ns is not possible: choose 1 ns or more") })
}

/// Tags beside each other on one time axis, page by page; see [`align_pages`].
#[derive(Debug)]
pub struct AlignedPages {
    history: History,
    tags: Vec<TagId>,
    next: Option<i64>,
    to: i64,
    every_ns: i64,
    age_ns_max: i64,
    /// For each tag that holds its value, the newest one so far.
    held: Vec<Option<(i64, Option<f64>)>>,
}

/// `tags` beside each other on one time axis from `from` to `to` (both within) every `every_ns`: columns `time` and one a
/// tag by name, as [`align`] makes them. Setpoints and modes hold their value whatever its age.
///
/// # Errors
/// A step below 1 ns, a range upside down, an unknown tag, SQLite's own.
pub async fn align_pages(
    history: &History,
    tags: &[TagId],
    from: UtcNanos,
    to: UtcNanos,
    every_ns: i64,
    age_ns_max: i64,
) -> Result<AlignedPages, HistoryError> {
    checked(from, to)?;
    step_checked(every_ns)?;
    let mut held = Vec::with_capacity(tags.len());
    for signal in history.signals(tags, from, from, 1).await? {
        // The last value before the range comes first, at its own time.
        let point = signal.points.first().filter(|point| point.time <= from);
        let value = point.map(|point| (point.time.0, point.last.is_finite().then_some(point.last)));
        let holds = matches!(history.plant().tags[signal.tag.index()].role, Role::Setpoint | Role::Mode);
        held.push(value.filter(|_| holds).or(holds.then_some((i64::MIN, None))));
    }
    let history = history.clone();
    Ok(AlignedPages { history, tags: tags.to_vec(), next: Some(from.0), to: to.0, every_ns, age_ns_max, held })
}

impl AlignedPages {
    /// The next rows, oldest first; `None` after the last.
    ///
    /// # Errors
    /// As [`History::raw`].
    pub async fn next(&mut self) -> Result<Option<DataFrame>, HistoryError> {
        let Some(from) = self.next else { return Ok(None) };
        let steps = (PAGE_VALUES_MAX / self.tags.len().max(1) as i64).min(SLICE_NS_MAX / self.every_ns).max(1);
        let last = from.saturating_add((steps - 1).saturating_mul(self.every_ns)).min(self.to);
        let action = "align tags";
        let mut page: Option<DataFrame> = None;
        for (index, &tag) in self.tags.iter().enumerate() {
            let name = self.history.plant().tags[tag.index()].name.clone();
            let begin = UtcNanos(from.saturating_sub(self.age_ns_max));
            let mut samples = samples_frame(&self.history, tag, begin, UtcNanos(last)).await?;
            let mut age_ns_max = self.age_ns_max;
            if let Some((time, value)) = self.held[index] {
                age_ns_max = i64::MAX;
                let samples_here = samples.filter(col("time").gt(lit(time).cast(super::time_type())));
                let first = time_column(vec![time]).map_err(frame_error(action))?;
                let first = DataFrame::new(1, vec![first, Column::new("value".into(), vec![value])]);
                let first = first.map_err(frame_error(action))?.lazy();
                let joined = concat([first, samples_here], UnionArgs::default()).map_err(frame_error(action))?;
                let joined = collected(joined, action).await?;
                self.held[index] = last_row(&joined).map_err(frame_error(action))?.or(self.held[index]);
                samples = joined.lazy();
            }
            let frames = vec![(name, samples)];
            let aligned = align(frames, UtcNanos(from), UtcNanos(last), self.every_ns, age_ns_max)?;
            let aligned = collected(aligned, action).await?;
            match &mut page {
                None => page = Some(aligned),
                Some(page) => {
                    let column = aligned.columns().last().cloned();
                    page.hstack_mut(column.as_slice()).map_err(frame_error(action))?;
                }
            }
        }
        self.next = last.checked_add(self.every_ns).filter(|&next| next <= self.to);
        Ok(page)
    }
}

/// Time and value of a frame's last row.
fn last_row(frame: &DataFrame) -> PolarsResult<Option<(i64, Option<f64>)>> {
    let Some(last) = frame.height().checked_sub(1) else { return Ok(None) };
    let times = frame.column("time")?.cast(&DataType::Int64)?;
    let time = times.i64()?.get(last);
    Ok(time.zip(Some(frame.column("value")?.f64()?.get(last))))
}

/// Tags summed up in steps, page by page; see [`resample_pages`].
#[derive(Debug)]
pub struct ResampledPages {
    history: History,
    tags: Vec<TagId>,
    from: i64,
    next: Option<i64>,
    to: i64,
    every_ns: i64,
}

/// `tags` summed up in steps of `every_ns` from the epoch: columns `tag`, then as [`resample`] makes them, of the samples
/// from `from` to `to` (both within). Sorted by page, tag and time.
///
/// # Errors
/// A step below 1 ns, a range upside down.
pub fn resample_pages(
    history: &History,
    tags: &[TagId],
    from: UtcNanos,
    to: UtcNanos,
    every_ns: i64,
) -> Result<ResampledPages, HistoryError> {
    checked(from, to)?;
    step_checked(every_ns)?;
    let next = Some(from.0);
    Ok(ResampledPages { history: history.clone(), tags: tags.to_vec(), from: from.0, next, to: to.0, every_ns })
}

impl ResampledPages {
    /// The next rows; `None` after the last.
    ///
    /// # Errors
    /// As [`History::raw`].
    pub async fn next(&mut self) -> Result<Option<DataFrame>, HistoryError> {
        let Some(from) = self.next else { return Ok(None) };
        let start = from.div_euclid(self.every_ns).saturating_mul(self.every_ns);
        let steps = (SLICE_NS_MAX / self.every_ns).max(1);
        let last = start.saturating_add(steps.saturating_mul(self.every_ns) - 1).min(self.to);
        let action = "sum up tags";
        let mut page: Option<DataFrame> = None;
        for &tag in &self.tags {
            let name = self.history.plant().tags[tag.index()].name.as_str();
            let samples = samples_frame(&self.history, tag, UtcNanos(from.max(self.from)), UtcNanos(last)).await?;
            let columns = ["tag", "time", "min", "max", "mean", "count"].map(col);
            let sums = resample(samples, self.every_ns).with_column(lit(name).alias("tag")).select(columns);
            let sums = collected(sums, action).await?;
            match &mut page {
                None => page = Some(sums),
                Some(page) => {
                    page.vstack_mut(&sums).map_err(frame_error(action))?;
                }
            }
        }
        self.next = last.checked_add(1).filter(|&next| next <= self.to);
        Ok(page)
    }
}
