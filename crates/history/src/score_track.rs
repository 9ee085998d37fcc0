//! Every recorded score of a line, bit by bit: what a replay is held against.

use sightglass_protocol::{LineId, UtcNanos};

use crate::{error::HistoryError, open::History, output::decode_scores, raw::blocking, steps::checked};

/// What was recorded of one tick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecordedScore {
    /// The tick.
    pub time: UtcNanos,
    /// Its one score.
    pub score: f32,
    /// Whether the model had seen enough to judge.
    pub settled: bool,
}

impl History {
    /// The score of every tick of `line` from `from` to `to` (both within), oldest first; of a tick that was judged more
    /// than once (in two runs over the same time) the last one. About 24 bytes a tick in memory.
    ///
    /// # Errors
    /// An unknown line, a range upside down, [`HistoryError::Damaged`], SQLite's own.
    pub async fn recorded_scores(
        &self,
        line: LineId,
        from: UtcNanos,
        to: UtcNanos,
    ) -> Result<Vec<RecordedScore>, HistoryError> {
        let (from, to) = checked(from, to)?;
        let bodies: Vec<(i64, Vec<u8>)> = sqlx::query_as(
            "SELECT id, scores FROM output WHERE line = ?1 AND last_time >= ?2 AND first_time <= ?3 ORDER BY id",
        )
        .bind(self.file_line(line)?)
        .bind(from)
        .bind(to)
        .fetch_all(&self.inner.readers)
        .await
        .map_err(self.wrap())?;
        blocking(move || {
            let mut scores = std::collections::BTreeMap::new();
            for (id, body) in bodies {
                let decoded = decode_scores(&body).map_err(|error| HistoryError::Damaged {
                    place: format!("output {id}"),
                    reason: error.to_string(),
                })?;
                for (time, score, settled) in decoded.into_iter().filter(|(time, ..)| (from..=to).contains(time)) {
                    scores.insert(time, RecordedScore { time: UtcNanos(time), score, settled });
                }
            }
            Ok(scores.into_values().collect())
        })
        .await
    }
}
