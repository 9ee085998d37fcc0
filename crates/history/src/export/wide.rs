//! Wide tables: one row a time, one column a tag.

use std::{collections::BTreeSet, fs, path::Path};

use polars::prelude::*;
use sightglass_protocol::Sample;

use crate::{
    error::HistoryError,
    export::{ExportStats, file::write_parquet},
    frames::{frame_error, time_column},
};

/// Writes samples as a wide table: one row a time (sorted), column `time` (UTC nanoseconds), then one `f64` column a tag
/// of `tag_names` (in order; `samples[..].tag` is its position), null where that tag has no usable value at that time.
/// zstd. The file appears under its name only when it is complete. Blocks: call it off the async threads.
///
/// # Errors
/// A tag beyond `tag_names`, a name twice, [`HistoryError::TargetFull`], [`HistoryError::Io`].
pub fn write_wide_parquet(path: &Path, tag_names: &[String], samples: &[Sample]) -> Result<ExportStats, HistoryError> {
    let times: BTreeSet<i64> = samples.iter().map(|sample| sample.time.0).collect();
    let times: Vec<i64> = times.into_iter().collect();
    let mut columns = vec![vec![None::<f64>; times.len()]; tag_names.len()];
    for sample in samples {
        let column =
            columns.get_mut(sample.tag.index()).ok_or(HistoryError::Unknown { what: "tag", id: sample.tag.0 })?;
        if let (Ok(row), true) = (times.binary_search(&sample.time.0), sample.quality.is_usable())
            && !sample.value.is_nan()
        {
            column[row] = Some(sample.value);
        }
    }
    let rows = times.len();
    let mut table = vec![time_column(times).map_err(frame_error("make a table of samples"))?];
    table.extend(tag_names.iter().zip(columns).map(|(name, values)| Column::new(name.as_str().into(), values)));
    let mut table = DataFrame::new(rows, table).map_err(frame_error("make a table of samples"))?;
    let partial = path.with_extension("parquet.partial");
    let bytes = write_parquet(&partial, &mut table)?;
    fs::rename(&partial, path).map_err(|source| HistoryError::target("name", path, source))?;
    Ok(ExportStats { samples: samples.len() as u64, files: 1, bytes })
}
