//! The samples of one line in the order of their times, in one file: for a replay, which must see what the line saw.

use std::path::Path;

use polars::prelude::*;
use sightglass_protocol::{LineId, PlantInfo, UtcNanos};

use crate::{
    chunk::Row,
    error::HistoryError,
    export::{ExportStats, file::Watched},
    frames::{frame_error, time_column, time_type},
    open::History,
    plant::look_up,
    raw::blocking,
    steps::checked,
};

impl History {
    /// Writes the samples of a line of `plant` from `from` to `to` (both within) to one Parquet file: columns `tag`,
    /// `time`, `value`, `quality`, sorted by time and, within one time of one tag, in the order of arrival. `plant` may
    /// be an earlier description of the same plant. Nothing beyond a page is in memory.
    ///
    /// # Errors
    /// A line or tag that the file does not have, [`HistoryError::Damaged`], [`HistoryError::TargetFull`],
    /// [`HistoryError::Io`], SQLite's own.
    pub async fn export_run(
        &self,
        plant: &PlantInfo,
        line: LineId,
        from: UtcNanos,
        to: UtcNanos,
        path: &Path,
    ) -> Result<ExportStats, HistoryError> {
        checked(from, to)?;
        let mut snapshot = self.snapshot().await?;
        let ids = look_up(&mut snapshot, plant).await.map_err(|error| match error {
            sqlx::Error::RowNotFound => HistoryError::BadQuery {
                what: "the plant's description has a line, tag (with its unit) or camera that this history never had; \
                       give the description that it was recorded with"
                    .to_owned(),
            },
            error => self.error(error),
        })?;
        drop(snapshot);
        let line = plant.lines.get(line.index()).ok_or(HistoryError::Unknown { what: "line", id: line.0.into() })?;
        let tags: Vec<(i64, String)> =
            line.tags.iter().filter_map(|&tag| Some((ids.tag(tag)?, plant.tags[tag.index()].name.clone()))).collect();
        let mut pages = self.pages(tags.iter().map(|(id, _)| *id).collect(), from, to);
        let (file, watch) = Watched::create(path)?;
        // Unbuffered: what it writes are whole pages, and a buffer of its own it would not give back to be flushed.
        let mut writer = ParquetWriter::new(file)
            .with_compression(ParquetCompression::Zstd(None))
            .batched(&schema())
            .map_err(|source| watch.error(source))?;
        let mut samples = 0;
        while let Some(page) = pages.next_rows().await? {
            let (tags, watch) = (tags.clone(), watch.clone());
            (writer, samples) = blocking(move || {
                let table = table(page, &tags).map_err(frame_error("make a table of samples"))?;
                writer.write_batch(&table).map_err(|source| watch.error(source))?;
                Ok((writer, samples + table.height() as u64))
            })
            .await?;
        }
        blocking(move || {
            let bytes = writer.finish().map_err(|source| watch.error(source))?;
            watch.sync()?;
            Ok(ExportStats { samples, files: 1, bytes })
        })
        .await
    }
}

fn schema() -> Schema {
    Schema::from_iter([
        Field::new("tag".into(), DataType::String),
        Field::new("time".into(), time_type()),
        Field::new("value".into(), DataType::Float64),
        Field::new("quality".into(), DataType::String),
    ])
}

fn table(page: Vec<(i64, Vec<Row>)>, tags: &[(i64, String)]) -> PolarsResult<DataFrame> {
    let mut rows: Vec<(&str, Row)> = Vec::new();
    for (tag, of_tag) in page {
        let Some((_, name)) = tags.iter().find(|(id, _)| *id == tag) else { continue };
        rows.extend(of_tag.into_iter().map(|row| (name.as_str(), row)));
    }
    // Stable: what came first of one tag and time stays first.
    rows.sort_by_key(|(_, row)| row.time);
    DataFrame::new_infer_height(vec![
        Column::new("tag".into(), rows.iter().map(|(name, _)| *name).collect::<Vec<_>>()),
        time_column(rows.iter().map(|(_, row)| row.time).collect())?,
        Column::new(
            "value".into(),
            rows.iter().map(|(_, row)| (!row.value.is_nan()).then_some(row.value)).collect::<Vec<_>>(),
        ),
        Column::new("quality".into(), rows.iter().map(|(_, row)| row.quality().word()).collect::<Vec<_>>()),
    ])
}
