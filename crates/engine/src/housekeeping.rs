//! What keeps the history small and fast, beside the recording: merging, and deleting what is beyond the budgets.
//!
//! It runs in a task of its own, so that no commit waits for it, and is woken by the data's progress: when it runs does
//! not change what is answered.

use sightglass_history::{Budget, History, Keep};
use sightglass_plant::Retention;
use sightglass_protocol::{UtcNanos, time::SECOND};
use tokio::sync::watch;

use crate::card;

/// Batches are merged into chunks this often, by the data's own time.
const MERGE_EVERY_NS: i64 = 60 * SECOND;
/// Batches younger than this are left alone, since late samples may still join them.
const MERGE_BEHIND_NS: i64 = 30 * SECOND;
/// Merging begins at once when this many samples more than the last merge left wait for it: questions then stay fast, and
/// merging in reach, however quickly a source delivers.
const UNMERGED_SAMPLES_MAX: u64 = 1_000_000;
/// What is too old is deleted this often, by the data's own time.
const DELETE_EVERY_NS: i64 = 3_600 * SECOND;
/// Unused pages of the file that are given back in one step.
const GIVE_BACK_PAGES: u32 = 64;
/// Such steps at one turn.
const GIVE_BACK_STEPS_MAX: u32 = 256;
const GIB: f64 = (1_u64 << 30) as f64;

/// How far recording has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// The newest data time.
    pub newest: Option<UtcNanos>,
}

/// What the plant wants kept; a part of a day counts as a day.
pub(crate) fn keep(retention: Retention) -> Keep {
    let budget = |days: f64, gib: f64| Budget { days: Some(days.ceil() as u32), bytes: Some((gib * GIB) as u64) };
    Keep {
        samples: budget(retention.samples_days, retention.samples_gib),
        rollups: budget(retention.rollups_days, retention.rollups_gib),
        video: budget(retention.video_days, retention.video_gib),
    }
}

/// Merges and deletes, one at a time.
pub(crate) struct Housekeeping {
    history: History,
    keep: Keep,
    merged_at: Option<UtcNanos>,
    /// Samples that the last merge left, since later ones may still join them.
    left_samples: u64,
    deleted_at: Option<UtcNanos>,
}

impl Housekeeping {
    pub(crate) fn new(history: History, keep: Keep) -> Self {
        Self { history, keep, merged_at: None, left_samples: 0, deleted_at: None }
    }

    /// Works until nobody records any more; what is under way then is finished.
    pub(crate) async fn run(mut self, mut progress: watch::Receiver<Progress>) {
        while progress.changed().await.is_ok() {
            let now = *progress.borrow_and_update();
            self.turn(now).await;
        }
    }

    /// Merges and deletes where it is time. A failure here loses nothing and is tried again at the next turn.
    async fn turn(&mut self, progress: Progress) {
        let Some(newest) = progress.newest else { return };
        let is_much = self.history.unmerged_samples() >= self.left_samples + UNMERGED_SAMPLES_MAX;
        if is_much || newest.since(*self.merged_at.get_or_insert(newest)) >= MERGE_EVERY_NS {
            self.merged_at = Some(newest);
            if let Err(error) = self.history.merge(newest - MERGE_BEHIND_NS).await {
                tracing::warn!("merging the history is put off: {error}");
            }
            self.left_samples = self.history.unmerged_samples();
        }
        if newest.since(*self.deleted_at.get_or_insert(newest)) >= DELETE_EVERY_NS {
            self.deleted_at = Some(newest);
            // A source with a wrong clock must not make everything else look old.
            let now = newest.min(card::wall_clock());
            if let Err(error) = self.delete(now).await {
                tracing::warn!("deleting what is beyond the budgets is put off: {error}");
            }
        }
    }

    async fn delete(&self, now: UtcNanos) -> Result<(), sightglass_history::HistoryError> {
        let removed = self.history.apply_retention(now, self.keep).await?;
        if !removed.is_nothing() {
            tracing::info!(?removed, "deleted what is beyond the budgets of plant.toml");
        }
        give_back(&self.history).await
    }
}

/// Gives unused pages of the file back to the file system, in steps that no commit has to wait for.
pub(crate) async fn give_back(history: &History) -> Result<(), sightglass_history::HistoryError> {
    for _ in 0..GIVE_BACK_STEPS_MAX {
        if history.give_back(GIVE_BACK_PAGES).await? == 0 {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sightglass_protocol::{Quality, Sample, TagId, TimeSource};

    use super::*;
    use crate::one_tag::plant;

    fn sample(second: i64) -> Sample {
        let (tag, time) = (TagId(0), UtcNanos(second * SECOND));
        Sample { tag, time, value: second as f64, quality: Quality::Good, time_source: TimeSource::Device }
    }

    fn progress(second: i64) -> Progress {
        Progress { newest: Some(UtcNanos(second * SECOND)) }
    }

    /// Batches that a merge would still find.
    async fn unmerged(history: &History) -> u64 {
        history.merge(UtcNanos::MAX).await.unwrap().batches
    }

    #[tokio::test]
    async fn merging_goes_by_the_time_of_the_data() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::open(folder.path(), &plant()).await.unwrap();
        let mut housekeeping = Housekeeping::new(history.clone(), Keep::default());
        for second in 0..60 {
            history.append(&[sample(second)]).await.unwrap();
            housekeeping.turn(progress(second)).await;
        }
        assert_eq!(history.merge(UtcNanos(10 * SECOND)).await.unwrap().batches, 10, "it was not time yet");
        history.append(&[sample(60)]).await.unwrap();
        housekeeping.turn(progress(60)).await;
        assert_eq!(unmerged(&history).await, 31, "those of the last thirty seconds stay");
    }

    #[tokio::test]
    async fn merging_begins_early_where_much_comes_in() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::open(folder.path(), &plant()).await.unwrap();
        let mut housekeeping = Housekeeping::new(history.clone(), Keep::default());
        // Two hundred thousand samples a second.
        let second = |second: i64| {
            let sample = move |part: i64| Sample { time: UtcNanos(second * SECOND + part * 5_000), ..sample(second) };
            (0..200_000).map(sample).collect::<Vec<_>>()
        };
        history.append(&second(0)).await.unwrap();
        for at in 35..39 {
            housekeeping.turn(progress(at - 1)).await;
            assert_eq!(history.unmerged_samples(), (at - 34) as u64 * 200_000, "it was not time yet");
            history.append(&second(at)).await.unwrap();
        }
        housekeeping.turn(progress(38)).await;
        assert_eq!(history.unmerged_samples(), 800_000, "those of the last thirty seconds stay");
        history.append(&second(39)).await.unwrap();
        housekeeping.turn(progress(39)).await;
        assert_eq!(history.unmerged_samples(), 1_000_000, "and do not have it tried again at every turn");
    }

    #[tokio::test]
    async fn what_is_under_way_is_finished_when_nobody_records_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::open(folder.path(), &plant()).await.unwrap();
        history.append(&[sample(0)]).await.unwrap();
        history.append(&[sample(100)]).await.unwrap();
        let (sender, receiver) = watch::channel(Progress::default());
        let mut housekeeping = Housekeeping::new(history.clone(), Keep::default());
        housekeeping.turn(progress(0)).await;
        let task = tokio::spawn(housekeeping.run(receiver));
        sender.send(progress(100)).unwrap();
        drop(sender);
        task.await.unwrap();
        assert_eq!(history.unmerged_samples(), 1);
    }
}
