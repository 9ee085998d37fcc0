//! What there is, in numbers.

use serde::Serialize;
use sightglass_protocol::{LineId, UtcNanos};

use crate::{
    error::HistoryError,
    open::{FILE_NAME, History},
    raw::json_list,
    signals::or_gap,
};

/// What a history holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Samples of all tags.
    pub samples: u64,
    /// Of them, in batches that are not merged yet.
    pub samples_unmerged: u64,
    /// Ticks that the model judged.
    pub ticks: u64,
    /// Segments of video.
    pub segments: u64,
    /// Pictures in them.
    pub frames: u64,
    /// Advisories.
    pub advisories: u64,
    /// Events and audit entries.
    pub entries: u64,
    /// Bytes of the history's files, without video.
    pub bytes: u64,
    /// Bytes of video.
    pub video_bytes: u64,
    /// The first moment of any sample.
    pub first: Option<UtcNanos>,
    /// The last moment of any sample.
    pub last: Option<UtcNanos>,
}

impl History {
    /// What the file holds. Reads every index once: for a summary, not for a status bar (see [`History::bytes`]).
    ///
    /// # Errors
    /// SQLite's own.
    pub async fn summary(&self) -> Result<Summary, HistoryError> {
        let mut snapshot = self.snapshot().await?;
        let (mut numbers, mut times) = (Vec::new(), Vec::new());
        for sql in [
            "SELECT coalesce(sum(samples), 0) FROM chunk",
            "SELECT coalesce(sum(samples), 0) FROM sample_batch",
            "SELECT coalesce(sum(ticks), 0) FROM output",
            "SELECT count(*) FROM clip",
            "SELECT coalesce(sum(frames), 0) FROM clip",
            "SELECT count(*) FROM advisory",
            "SELECT count(*) FROM journal",
            "SELECT coalesce(sum(bytes), 0) FROM clip",
        ] {
            let number: i64 = sqlx::query_scalar(sql).fetch_one(&mut *snapshot).await.map_err(self.wrap())?;
            numbers.push(number as u64);
        }
        for sql in [
            "SELECT min(t) FROM (SELECT min(first_time) AS t FROM chunk UNION ALL SELECT min(first_time) FROM sample_batch)",
            "SELECT max(t) FROM (SELECT max(last_time) AS t FROM chunk UNION ALL SELECT max(last_time) FROM sample_batch)",
        ] {
            let time: Option<i64> = sqlx::query_scalar(sql).fetch_one(&mut *snapshot).await.map_err(self.wrap())?;
            times.push(time.map(UtcNanos));
        }
        drop(snapshot);
        Ok(Summary {
            samples: numbers[0] + numbers[1],
            samples_unmerged: numbers[1],
            ticks: numbers[2],
            segments: numbers[3],
            frames: numbers[4],
            advisories: numbers[5],
            entries: numbers[6],
            bytes: self.bytes()?,
            video_bytes: numbers[7],
            first: times[0],
            last: times[1],
        })
    }

    /// Bytes of the history's files (the log included), without video. Costs two looks at the file system.
    ///
    /// # Errors
    /// When the file is gone.
    pub fn bytes(&self) -> Result<u64, HistoryError> {
        let path = self.inner.dir.join(FILE_NAME);
        let file = std::fs::metadata(&path).map_err(|source| HistoryError::io("look at", &path, source))?;
        let mut log = path.into_os_string();
        log.push("-wal");
        // There is no log between a clean end and the next write.
        let log = std::fs::metadata(log).map_or(0, |log| log.len());
        Ok(file.len() + log)
    }

    /// The first and the last recorded moment of `line`: samples of its tags and ticks of its model.
    ///
    /// # Errors
    /// An unknown line, SQLite's own.
    pub async fn range(&self, line: LineId) -> Result<Option<(UtcNanos, UtcNanos)>, HistoryError> {
        let file_line = self.file_line(line)?;
        let mut snapshot = self.snapshot().await?;
        let tags: Vec<i64> = sqlx::query_scalar("SELECT id FROM tag WHERE line = ?1")
            .bind(file_line)
            .fetch_all(&mut *snapshot)
            .await
            .map_err(self.wrap())?;
        let (mut first, mut last): (Option<i64>, Option<i64>) = sqlx::query_as(
            "SELECT min(a), max(b) FROM (
                SELECT (SELECT min(first_time) FROM chunk WHERE tag = wanted.value) AS a,
                       (SELECT last_time FROM chunk WHERE tag = wanted.value ORDER BY first_time DESC LIMIT 1) AS b
                FROM json_each(?1) AS wanted
                UNION ALL SELECT min(first_time), max(last_time) FROM output WHERE line = ?2)",
        )
        .bind(json_list(tags.iter().copied()))
        .bind(file_line)
        .fetch_one(&mut *snapshot)
        .await
        .map_err(self.wrap())?;
        // Only batches that reach beyond what is known can add to it.
        let before = self.unmerged(&mut snapshot, i64::MIN, first.map_or(i64::MAX, |first| first.saturating_sub(1)));
        let mut batches = before.await?;
        if let Some(last) = last {
            batches.extend(self.unmerged(&mut snapshot, last.saturating_add(1), i64::MAX).await?);
        }
        for batch in batches.into_iter().filter_map(or_gap) {
            for row in tags.iter().flat_map(|&tag| batch.rows(tag)) {
                first = Some(first.map_or(row.time, |first| first.min(row.time)));
                last = Some(last.map_or(row.time, |last| last.max(row.time)));
            }
        }
        Ok(first.zip(last).map(|(first, last)| (UtcNanos(first), UtcNanos(last))))
    }
}
