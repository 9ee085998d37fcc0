//! Building roll-ups from what lies below them, once all samples before a slot's end are merged.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use sqlx::{Sqlite, Transaction};

use crate::{
    codec::row_crc,
    error::HistoryError,
    merge::{MergeStats, insert_due},
    open::History,
    raw::blocking,
    rollup::{self, LEVELS, REDUCTION_MIN, bucket_ns, slot_range, sum_up},
    signals::collect,
    writer::Durability,
};

/// The most roll-up blocks that one step builds: bounds memory and the length of its transaction.
const STEP_BLOCKS_MAX: i64 = 64;

/// A block that was built; without a body where it would not pay.
struct Built {
    level: u32,
    tag: i64,
    slot: i64,
    body: Option<Vec<u8>>,
}

impl History {
    /// One step of roll-ups: at most [`STEP_BLOCKS_MAX`] slots, lowest level first; `false` when nothing is due.
    pub(crate) async fn build_blocks(&self, stats: &mut MergeStats) -> Result<bool, HistoryError> {
        let mut snapshot = self.snapshot().await?;
        let due: Vec<(u32, i64, i64)> = sqlx::query_as(
            "SELECT level, tag, slot FROM rollup_due
             WHERE end_time < (SELECT merged_until FROM merge_progress)
               AND level = (SELECT min(level) FROM rollup_due
                            WHERE end_time < (SELECT merged_until FROM merge_progress))
             LIMIT ?1",
        )
        .bind(STEP_BLOCKS_MAX)
        .fetch_all(&mut *snapshot)
        .await
        .map_err(self.wrap())?;
        if due.is_empty() {
            return Ok(false);
        }
        // Tags with the same slot are read together.
        let mut slots: BTreeMap<(u32, i64), Vec<i64>> = BTreeMap::new();
        for &(level, tag, slot) in &due {
            slots.entry((level, slot)).or_default().push(tag);
        }
        let mut built = Vec::with_capacity(due.len());
        for ((level, slot), tags) in slots {
            let (from, to) = slot_range(level, slot);
            let stored = collect(&mut snapshot, &tags, level.checked_sub(1), from, to).await.map_err(self.wrap())?;
            built.extend(
                blocking(move || {
                    Ok(stored
                        .into_iter()
                        .map(|(tag, stored)| {
                            let summed = stored.sum_up(from, to, bucket_ns(level));
                            if let Some(error) = summed.damaged.first() {
                                // Without a block the readers look at what is left of the level below, and say so.
                                tracing::error!(%error, "a roll-up was not built");
                                return Built { level, tag, slot, body: None };
                            }
                            let buckets = sum_up(&summed.cells, bucket_ns(level));
                            let pays = summed.entries >= buckets.len() * REDUCTION_MIN;
                            Built { level, tag, slot, body: pays.then(|| rollup::encode(&buckets, level, slot)) }
                        })
                        .collect::<Vec<_>>())
                })
                .await?,
            );
        }
        drop(snapshot);
        stats.blocks += built.iter().filter(|built| built.body.is_some()).count() as u64;
        let bytes = built.iter().flat_map(|built| &built.body).map(Vec::len).sum();
        let mut writing = self.writing("merging").await?;
        let locked = Instant::now();
        let mut transaction = writing.begin(Durability::Process).await?;
        store(&mut transaction, &built).await.map_err(self.wrap())?;
        transaction.commit().await.map_err(self.wrap())?;
        drop(writing);
        stats.locked_us_max = stats.locked_us_max.max(locked.elapsed().as_micros() as u64);
        self.logged(bytes);
        Ok(true)
    }
}

async fn store(transaction: &mut Transaction<'_, Sqlite>, built: &[Built]) -> Result<(), sqlx::Error> {
    for Built { level, tag, slot, body } in built {
        if let Some(body) = body {
            sqlx::query(
                "INSERT INTO rollup (tag, level, slot, crc, body) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (tag, level, slot) DO UPDATE SET crc = excluded.crc, body = excluded.body",
            )
            .bind(tag)
            .bind(level)
            .bind(slot)
            .bind(row_crc(&[*tag, i64::from(*level), *slot], &[body]))
            .bind(body)
            .execute(&mut **transaction)
            .await?;
        }
        sqlx::query("DELETE FROM rollup_due WHERE level = ?1 AND end_time = ?2 AND tag = ?3 AND slot = ?4")
            .bind(level)
            .bind(slot_range(*level, *slot).1)
            .bind(tag)
            .bind(slot)
            .execute(&mut **transaction)
            .await?;
    }
    let above: BTreeSet<(i64, i64, i64)> = built
        .iter()
        .filter(|built| built.level + 1 < LEVELS)
        .map(|built| (i64::from(built.level) + 1, built.tag, built.slot.div_euclid(10)))
        .collect();
    insert_due(transaction, &above.into_iter().collect::<Vec<_>>()).await
}
