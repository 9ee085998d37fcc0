//! The scores of a bundle: every tick's, with every bit.

use std::collections::BTreeMap;
use std::path::Path;

use sightglass_history::RecordedScore;
use sightglass_protocol::{ScorePart, Surprise, UtcNanos};

use super::Recorded;
use crate::EngineError;
use crate::notice::Notice;

const HEADER: [&str; 9] = [
    "time",
    "score",
    "settled",
    "score_bits",
    "latent_bits",
    "appearance_bits",
    "residual_bits",
    "drift_bits",
    "recorded_score_bits",
];
const PARTS: [ScorePart; 4] = [ScorePart::Latent, ScorePart::Appearance, ScorePart::Residual, ScorePart::Drift];

/// What is compared of one tick: the bits of its score and of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TickScore {
    score: u32,
    parts: [u32; 4],
    settled: bool,
}

impl TickScore {
    fn of(surprise: &Surprise) -> Self {
        let part = |wanted: ScorePart| {
            let found = surprise.parts.iter().find(|(part, _)| *part == wanted);
            found.map_or(f32::NAN, |(_, score)| *score).to_bits()
        };
        Self { score: surprise.score.to_bits(), parts: PARTS.map(part), settled: surprise.settled }
    }
}

/// The scores of a replay by tick; ticks without a model have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scores(BTreeMap<UtcNanos, Option<TickScore>>);

/// What comes of holding two replays against each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Every tick is there and has the same bits.
    Identical { ticks: usize },
    /// The first tick that is not.
    Differs { at: UtcNanos, what: String },
}

impl Scores {
    /// Takes the ticks of a run as they are told.
    pub(crate) fn take(&mut self, notice: &Notice) {
        if let Notice::Tick { time, surprise, .. } = notice {
            self.0.insert(*time, surprise.as_ref().map(TickScore::of));
        }
    }

    /// Ticks with a score.
    pub(super) fn judged(&self) -> usize {
        self.0.values().flatten().count()
    }

    /// Holds these against those of the bundle.
    pub(crate) fn against(&self, stored: &Self) -> Verdict {
        let times: std::collections::BTreeSet<&UtcNanos> = self.0.keys().chain(stored.0.keys()).collect();
        for &time in times {
            let what = match (stored.0.get(&time), self.0.get(&time)) {
                (Some(a), Some(b)) if a == b => continue,
                (None, _) => "the bundle has no such tick".to_owned(),
                (_, None) => "the replay has no such tick".to_owned(),
                (Some(a), Some(b)) => {
                    let text = |score: &Option<TickScore>| match score {
                        Some(score) => format!("{:?} ({:08x})", f32::from_bits(score.score), score.score),
                        None => "none".to_owned(),
                    };
                    format!("the score is {} here and {} in the bundle", text(b), text(a))
                }
            };
            return Verdict::Differs { at: time, what };
        }
        Verdict::Identical { ticks: self.0.len() }
    }

    /// Holds these against what was recorded when the line ran.
    pub(super) fn against_recorded(&self, recorded: &[RecordedScore]) -> Recorded {
        let mut summary = Recorded::default();
        for tick in recorded {
            let Some(Some(replayed)) = self.0.get(&tick.time) else { continue };
            summary.ticks += 1;
            if replayed.score == tick.score.to_bits() && replayed.settled == tick.settled {
                summary.identical += 1;
                continue;
            }
            summary.first_difference.get_or_insert_with(|| tick.time.to_string());
            let difference = (f32::from_bits(replayed.score) - tick.score).abs();
            summary.largest_difference = summary.largest_difference.max(difference);
            if replayed.settled && tick.settled {
                summary.largest_difference_settled = summary.largest_difference_settled.max(difference);
            }
        }
        summary
    }

    /// Writes them, with the recorded ones beside.
    ///
    /// # Errors
    /// When the disk does not take them.
    pub(super) fn write(&self, path: &Path, recorded: &[RecordedScore]) -> Result<(), EngineError> {
        let failed = |error: csv::Error| EngineError::io("writing", path)(error.into());
        let recorded: BTreeMap<UtcNanos, u32> = recorded.iter().map(|tick| (tick.time, tick.score.to_bits())).collect();
        let mut writer = csv::Writer::from_path(path).map_err(failed)?;
        writer.write_record(HEADER).map_err(failed)?;
        for (time, score) in &self.0 {
            let mut record = vec![time.to_string()];
            match score {
                Some(score) => {
                    record.extend([format!("{:?}", f32::from_bits(score.score)), score.settled.to_string()]);
                    record.push(format!("{:08x}", score.score));
                    record.extend(score.parts.iter().map(|bits| format!("{bits:08x}")));
                }
                None => record.extend(std::iter::repeat_n(String::new(), 7)),
            }
            record.push(recorded.get(time).map_or(String::new(), |bits| format!("{bits:08x}")));
            writer.write_record(&record).map_err(failed)?;
        }
        writer.flush().map_err(EngineError::io("writing", path))
    }

    /// Reads what [`Scores::write`] wrote.
    ///
    /// # Errors
    /// When it cannot be read, naming the line.
    pub(super) fn read(path: &Path) -> Result<Self, EngineError> {
        let failed = |error: csv::Error| EngineError::io("reading", path)(error.into());
        let mut reader = csv::Reader::from_path(path).map_err(failed)?;
        if reader.headers().map_err(failed)?.iter().ne(HEADER) {
            return Err(EngineError::Usage(format!("{}: it has another header line than scores have", path.display())));
        }
        let mut scores = BTreeMap::new();
        for (number, record) in (2..).zip(reader.records()) {
            let record = record.map_err(failed)?;
            let wrong = |what: &str| EngineError::Usage(format!("{}, line {number}: {what}", path.display()));
            let time: UtcNanos = record[0].parse().map_err(|_| wrong("its time is no time"))?;
            let bits = |at: usize| u32::from_str_radix(&record[at], 16).map_err(|_| wrong("its bits are no number"));
            let score = if record[3].is_empty() {
                None
            } else {
                let settled = record[2].parse().map_err(|_| wrong("settled is neither true nor false"))?;
                Some(TickScore { score: bits(3)?, parts: [bits(4)?, bits(5)?, bits(6)?, bits(7)?], settled })
            };
            scores.insert(time, score);
        }
        Ok(Self(scores))
    }
}
