//! Loading: long stretches of sorted samples straight into chunks, without the way through batches.

use sightglass_protocol::{Sample, TagId};

use crate::{
    chunk::Row,
    error::HistoryError,
    merge::{Plan, store_plan},
    open::History,
    raw::blocking,
    writer::Durability,
};

/// A stretch of one tag's samples.
#[derive(Clone, Debug)]
pub struct Stretch {
    /// Whose; the samples' own tag is not looked at.
    pub tag: TagId,
    /// In any order.
    pub samples: Vec<Sample>,
}

impl History {
    /// Stores whole stretches of samples, each a tag's, as chunks. Several times as fast as [`History::append`] where
    /// nothing was recorded at their times yet; a stretch that overlaps what is there goes the usual way and joins it at
    /// the next merge. Roll-ups are built by the next merge. On return everything survives the end of the process.
    ///
    /// # Errors
    /// As [`History::append`]; nothing of this call is stored then, unless a part of it had to go the usual way.
    pub async fn load(&self, stretches: Vec<Stretch>) -> Result<(), HistoryError> {
        let mut made = Vec::with_capacity(stretches.len());
        for Stretch { tag, samples } in stretches {
            let file_tag = self.file_tag(tag)?;
            // Before anything is held: others may go on meanwhile.
            let stretch = blocking(move || {
                let mut rows: Vec<Row> = samples.iter().map(Row::of).collect();
                rows.sort_by_key(|row| row.time);
                let range = rows.first().zip(rows.last()).map(|(first, last)| (first.time, last.time));
                Ok((tag, file_tag, range, Plan::of_new(file_tag, rows), samples))
            });
            made.push(stretch.await?);
        }
        let mut usual = Vec::new();
        let mut plan = Plan::default();
        let _rewriting = self.inner.rewriting.lock().await;
        for (tag, file_tag, range, stretch, samples) in made {
            let Some((first, last)) = range else { continue };
            let overlaps: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT 1 FROM chunk WHERE tag = ?1 AND first_time BETWEEN ?2 AND ?3)
                     OR coalesce((SELECT last_time FROM chunk WHERE tag = ?1 AND first_time <= ?2
                         ORDER BY first_time DESC LIMIT 1) >= ?2, FALSE)",
            )
            .bind(file_tag)
            .bind(first)
            .bind(last)
            .fetch_one(&self.inner.readers)
            .await
            .map_err(self.wrap())?;
            if overlaps || plan.has(file_tag) {
                usual.extend(samples.into_iter().map(|sample| Sample { tag, ..sample }));
            } else {
                plan.extend(stretch);
            }
        }
        let bytes = plan.chunks.iter().map(|chunk| chunk.body.len()).sum();
        let mut writing = self.writing("loading samples").await?;
        let mut transaction = writing.begin(Durability::Process).await?;
        store_plan(&mut transaction, plan).await.map_err(self.wrap())?;
        transaction.commit().await.map_err(self.wrap())?;
        drop(writing);
        self.logged(bytes);
        self.append(&usual).await
    }
}
