//! The engineer's questions, with polars: tags as columns on one time axis. Lazy: nothing is read before `collect`, and
//! then no more than the question needs ([`scan`]); what is longer than memory comes page by page ([`pages`]).

mod compare;
mod events;
mod pages;
mod percentiles;
mod print;
mod scan;
mod shifts;

use polars::prelude::*;
use sightglass_protocol::UtcNanos;

pub use self::{
    compare::compare_runs,
    events::{asof_events, events_frame},
    pages::{AlignedPages, ResampledPages, align_pages, resample_pages},
    percentiles::{percentiles_by_product, percentiles_by_shift},
    print::{ParquetFile, csv_header, csv_lines, json_lines},
    scan::{samples_frame, tags_frame},
    shifts::Shifts,
};
use crate::{error::HistoryError, steps::checked};

/// Computes an answer. Takes as long as it takes: call it off the threads that answer others.
///
/// # Errors
/// What is damaged, and polars' own.
pub fn collect(frame: LazyFrame) -> Result<DataFrame, HistoryError> {
    frame.collect().map_err(frame_error("compute an answer"))
}

/// A page as something that can be asked further.
pub fn lazy(page: DataFrame) -> LazyFrame {
    page.lazy()
}

/// The most rows of a time axis made by [`align`].
const AXIS_ROWS_MAX: i64 = 1 << 26;

/// UTC nanoseconds, the type of every `time` column. The zone is not part of the type: polars keeps one only when it is
/// built with the calendars of all of them.
pub(crate) fn time_type() -> DataType {
    DataType::Datetime(TimeUnit::Nanoseconds, None)
}

pub(crate) fn time_column(times: Vec<i64>) -> PolarsResult<Column> {
    Column::new("time".into(), times).cast(&time_type())
}

pub(crate) fn frame_error(action: &str) -> impl Fn(PolarsError) -> HistoryError + '_ {
    move |source| HistoryError::Frame { action: action.to_owned(), source }
}

/// Brings frames (`time`, `value`; each under its name) onto one time axis from `from` to `to` (both within) every
/// `every_ns`: the last value at or before each moment, null where that is older than `age_ns_max`, or not usable.
///
/// # Errors
/// A step below 1 ns, a range upside down, or more than 2^26 moments.
pub fn align(
    frames: Vec<(String, LazyFrame)>,
    from: UtcNanos,
    to: UtcNanos,
    every_ns: i64,
    age_ns_max: i64,
) -> Result<LazyFrame, HistoryError> {
    let (from, to) = checked(from, to)?;
    let rows = if every_ns < 1 { i128::MAX } else { (i128::from(to) - i128::from(from)) / i128::from(every_ns) + 1 };
    if rows > i128::from(AXIS_ROWS_MAX) {
        return Err(HistoryError::BadQuery {
            what: format!(
                "a time axis every {every_ns} ns over this range is not possible: choose a step of 1 ns or more with at most {AXIS_ROWS_MAX} moments"
            ),
        });
    }
    let error = frame_error("make a time axis");
    let axis = (0..rows as i64).map(|index| from + index * every_ns).collect();
    let axis = DataFrame::new_infer_height(vec![time_column(axis).map_err(&error)?]).map_err(&error)?;
    let mut aligned = axis.lazy();
    for (name, frame) in frames {
        // The value's own time comes along, so that its age can be told whatever the columns' type.
        let found = format!("{name}\u{0}time");
        let frame = frame.select([
            col("time"),
            col("value").alias(name.as_str()),
            col("time").cast(DataType::Int64).alias(found.as_str()),
        ]);
        let age = col("time").cast(DataType::Int64) - col(found.as_str());
        aligned = aligned
            .join_builder()
            .with(frame)
            .on([col("time")])
            .how(JoinType::AsOf(Box::new(AsOfOptions {
                strategy: AsofStrategy::Backward,
                allow_eq: true,
                check_sortedness: false,
                ..Default::default()
            })))
            .finish()
            .with_column(
                when(age.lt_eq(lit(age_ns_max))).then(col(name.as_str())).otherwise(lit(NULL)).alias(name.as_str()),
            )
            .drop(cols([found.as_str()]));
    }
    Ok(aligned)
}

/// Sums up a frame (`time`, `value`) in steps of `every_ns` from the epoch: columns `time` (the step's start), `min`,
/// `max`, `mean`, `count` (usable values), oldest first. Steps without a row are absent; steps without a usable value
/// have a count of 0 and nulls.
pub fn resample(frame: LazyFrame, every_ns: i64) -> LazyFrame {
    let every = every_ns.max(1);
    let time = || col("time").cast(DataType::Int64);
    // Twice, so that times before the epoch go down to their step's start as well.
    let start = time() - (time() % lit(every) + lit(every)) % lit(every);
    frame
        .with_column(start.cast(time_type()).alias("time"))
        .group_by([col("time")])
        .agg([
            col("value").min().alias("min"),
            col("value").max().alias("max"),
            col("value").mean().alias("mean"),
            col("value").count().alias("count"),
        ])
        .sort(["time"], SortMultipleOptions::default())
}
