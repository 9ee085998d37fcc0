//! The completeness certificate: what share of the expected samples is there, and why each gap is there.
//!
//! Nearly all of it comes from what is stored *about* samples: a chunk's row says how many samples lie between its first
//! and its last and how far they are apart, and roll-ups say how many of them are usable. Only where these leave a
//! question (a hole, mixed quality, an end of the range within a chunk, late samples that are not merged yet) are samples
//! themselves read. [`stored`] reads, [`walk`] goes through one tag's time, [`reasons`] knows what else happened then.

mod held;
mod reasons;
mod stored;
mod walk;

use serde::Serialize;
use sightglass_protocol::{Role, TagId, UtcNanos};

use crate::{error::HistoryError, open::History, steps::checked, verify::Problem};

use self::{
    reasons::Reasons,
    stored::{Series, Stock},
};

/// A source that misses fewer than this many values in a row has no gap: the same rule as for a stale value.
const GAP_PERIODS: i64 = 3;
/// The most gaps of one tag that are listed; further ones are summed up.
pub const CERTIFICATE_GAPS_MAX: usize = 1_000;

/// Why there is a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapReason {
    /// The tag, or a source of its plant, did not deliver.
    SourceDown,
    /// Samples are there, but not usable.
    BadQuality,
    /// The engine did not run.
    EngineStopped,
    /// The disk had no space left.
    DiskFull,
    /// The data folder was gone or could not be written.
    FolderAway,
    /// It is older than what is kept.
    Retention,
    /// The tag was not recorded before.
    NotYetBegun,
    /// The plant's description of then did not have the tag.
    NotInPlant,
    /// It is stored, but does not pass its checksum.
    Damaged,
    /// It is after the last record of a run that goes on.
    NotYetRecorded,
    /// No sample came, and nothing says why.
    Unexplained,
}

impl GapReason {
    /// The reason for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::SourceDown => "source down",
            Self::BadQuality => "bad quality",
            Self::EngineStopped => "engine stopped",
            Self::DiskFull => "disk full",
            Self::FolderAway => "folder away",
            Self::Retention => "retention",
            Self::NotYetBegun => "not yet begun",
            Self::NotInPlant => "not in the plant",
            Self::Damaged => "damaged",
            Self::NotYetRecorded => "not yet recorded",
            Self::Unexplained => "no sample came (unexplained)",
        }
    }
}

/// A stretch of time without usable values of a tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// When the first missing (or unusable) sample was due.
    pub from: UtcNanos,
    /// The next usable moment, or the end of the range: not in the gap any more.
    pub to: UtcNanos,
    /// Why.
    pub reason: GapReason,
    /// Samples that should be there; 0 where they are there and unusable, and for tags by exception.
    pub missing: u64,
    /// What else is known; may be empty.
    pub detail: String,
}

/// One tag of a certificate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TagCompleteness {
    /// Its name.
    pub tag: String,
    /// Its line.
    pub line: String,
    /// The units under which it was recorded, today's first. All of them are counted.
    pub units: Vec<String>,
    /// Setpoints and modes are recorded when they change: what counts is the time for which their value is known.
    pub by_exception: bool,
    /// The usual times between samples in the range, in nanoseconds, that of most samples first; empty by exception.
    pub intervals_ns: Vec<i64>,
    /// Samples that should be there: `present` and those that are missing. `None` by exception.
    pub expected: Option<u64>,
    /// Samples that are there.
    pub present: u64,
    /// Of them, those with a usable (good or uncertain), finite value.
    pub good: u64,
    /// Nanoseconds of the range outside of all gaps.
    pub covered_ns: i64,
    /// `present` of `expected`, 0 to 1; by exception, the covered share of the range.
    pub share: f64,
    /// `good` of `expected`, 0 to 1; by exception, the covered share of the range.
    pub good_share: f64,
    /// The gaps, oldest first, at most [`CERTIFICATE_GAPS_MAX`]. One or two samples missing in a row are no gap, but are
    /// counted.
    pub gaps: Vec<Gap>,
    /// Gaps that are not listed, since there are too many.
    pub gaps_left_out: u64,
    /// Time and missing samples of all gaps, listed or not, by reason.
    pub by_reason: Vec<ReasonSum>,
}

/// All gaps of one reason together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ReasonSum {
    /// Why.
    pub reason: GapReason,
    /// How many gaps.
    pub gaps: u64,
    /// Their length together.
    pub ns: i64,
    /// Samples that should be in them.
    pub missing: u64,
}

/// What a certificate rests on: the end of the chain of events, and what was read for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Number of the chain's last entry.
    pub journal_seq: u64,
    /// Its hash (SHA-256, in hexadecimal). A chain that goes on from it still has all that this certificate saw.
    pub journal_hash: String,
    /// Chunks that were counted by what their row says.
    pub chunks_by_header: u64,
    /// Roll-up blocks that were read, each with its checksum.
    pub blocks: u64,
    /// Chunks and batches that were decoded, each with its checksum.
    pub decoded: u64,
    /// Samples in them.
    pub samples_decoded: u64,
    /// What of that did not pass its checksum.
    pub damaged: Vec<Problem>,
}

/// A certificate: what is there of some tags over some time, and why the rest is not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Completeness {
    /// The plant's name.
    pub plant: String,
    /// The range's beginning.
    pub from: UtcNanos,
    /// The range's end: the first moment that is left out.
    pub to: UtcNanos,
    /// Each tag, in the order asked.
    pub tags: Vec<TagCompleteness>,
    /// What all of that rests on.
    pub evidence: Evidence,
}

impl History {
    /// What share of the expected samples of `tags` is there from `from` up to `to` (left out), and why the rest is not.
    ///
    /// Samples are expected at the tag's usual interval at that time (the median between neighbours there, so that a tag
    /// may have several over the range). Setpoints and modes have no interval: for them it is told for how much of the
    /// time their value is known. A tag that changed its unit is one tag here. Nothing reads the clock: a range that
    /// reaches beyond the last record says so.
    ///
    /// # Errors
    /// An unknown tag, a range upside down or empty, SQLite's own. What is damaged is a gap, and is listed as evidence.
    pub async fn completeness(
        &self,
        tags: &[TagId],
        from: UtcNanos,
        to: UtcNanos,
    ) -> Result<Completeness, HistoryError> {
        let (from_ns, to_ns) = checked(from, to)?;
        if from_ns == to_ns {
            return Err(HistoryError::BadQuery {
                what: format!("a certificate needs a range: it would begin and end at {from}"),
            });
        }
        let mut snapshot = self.snapshot().await?;
        let mut evidence = stored::journal_head(&mut snapshot).await.map_err(self.wrap())?;
        let mut series = Vec::with_capacity(tags.len());
        for &tag in tags {
            series.push(Series::of(self, &mut snapshot, tag).await?);
        }
        let reasons = Reasons::read(self, &mut snapshot, &series, from_ns, to_ns).await?;
        let batches = self.unmerged(&mut snapshot, i64::MIN, to_ns - 1).await?;
        let mut stock = Stock::new(snapshot, batches, from_ns, to_ns, evidence_of(&mut evidence));
        let mut rows = Vec::with_capacity(tags.len());
        for series in &series {
            rows.push(if series.by_exception {
                held::tag(self, &mut stock, &reasons, series).await?
            } else {
                walk::tag(self, &mut stock, &reasons, series).await?
            });
        }
        let evidence = stock.evidence;
        Ok(Completeness { plant: self.plant().name.clone(), from, to, tags: rows, evidence })
    }
}

fn evidence_of(evidence: &mut Evidence) -> Evidence {
    std::mem::take(evidence)
}

/// Whether a tag is recorded when it changes.
const fn is_by_exception(role: Role) -> bool {
    matches!(role, Role::Setpoint | Role::Mode)
}

/// Gathers the gaps of one tag, cut up by their reasons.
struct Gaps<'a> {
    reasons: &'a Reasons,
    series: &'a Series,
    listed: Vec<Gap>,
    left_out: u64,
    sums: Vec<ReasonSum>,
}

impl<'a> Gaps<'a> {
    const fn new(reasons: &'a Reasons, series: &'a Series) -> Self {
        Self { reasons, series, listed: Vec::new(), left_out: 0, sums: Vec::new() }
    }

    /// Adds a stretch without samples, the first of which was due at `from` and then one every `interval`.
    fn absent(&mut self, from: i64, to: i64, interval: i64) {
        for piece in self.reasons.explain(self.series, from, to) {
            let due = |until: i64| {
                let span = i128::from(until) - i128::from(from);
                // Due at `from`, `from + interval`, …; one at the end itself is not missing.
                u64::try_from((span - i128::from(interval) / 4 - 1).div_euclid(interval.max(1).into()) + 1).unwrap_or(0)
            };
            let missing = due(piece.to).saturating_sub(if piece.from > from { due(piece.from) } else { 0 });
            self.put(piece.from, piece.to, piece.reason, missing, piece.detail);
        }
    }

    /// Adds a gap; one that goes on from the last for the same reason makes it longer.
    fn put(&mut self, from: i64, to: i64, reason: GapReason, missing: u64, detail: String) {
        if from >= to {
            return;
        }
        let (from, to) = (UtcNanos(from), UtcNanos(to));
        let sum = match self.sums.iter().position(|sum| sum.reason == reason) {
            Some(at) => &mut self.sums[at],
            None => {
                self.sums.push(ReasonSum { reason, gaps: 0, ns: 0, missing: 0 });
                let last = self.sums.len() - 1;
                &mut self.sums[last]
            }
        };
        sum.ns = sum.ns.saturating_add(to.since(from));
        sum.missing += missing;
        if let Some(last) = self.listed.last_mut()
            && self.left_out == 0
            && (last.to, last.reason, &last.detail) == (from, reason, &detail)
        {
            last.to = to;
            last.missing += missing;
            return;
        }
        sum.gaps += 1;
        if self.listed.len() < CERTIFICATE_GAPS_MAX {
            self.listed.push(Gap { from, to, reason, missing, detail });
        } else {
            self.left_out += 1;
        }
    }

    fn total_ns(&self) -> i64 {
        self.sums.iter().fold(0, |total, sum| total.saturating_add(sum.ns))
    }
}
