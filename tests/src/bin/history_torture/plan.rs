//! What is written: a function of the seed and a number, so that it can be told afterwards what must be there.
//!
//! A *step* is one commit of samples; it lies thirty seconds of data time after the one before. A sample of a step may
//! come late (with a later step), come again unchanged, or be corrected by a later step.

use sightglass_protocol::{
    Advisory, AdvisoryChange, AdvisoryId, AdvisoryKind, LineId, LineInfo, PlantInfo, Quality, Role, Sample, TagId,
    TagInfo, TimeSource, UtcNanos, time::SECOND,
};

use crate::dice::hash;

pub(crate) const TAGS: u32 = 36;
/// Data time from one step to the next.
pub(crate) const STEP_NS: i64 = 30 * SECOND;
/// 2026-11-24T08:00:00Z.
const START: UtcNanos = UtcNanos(1_795_507_200 * SECOND);
/// By how many steps a sample is late, repeated or corrected.
const DELAYS: [u64; 5] = [1, 5, 40, 300, 2_000];
/// Every so many steps a commit is large, so that it fills many pages.
const LARGE_EVERY: u64 = 97;

/// What becomes of a sample.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Comes with its step and stays.
    Plain,
    /// Comes so many steps later.
    Late(u64),
    /// Comes with its step, and again so many steps later.
    Repeated(u64),
    /// Comes with its step, and with another value so many steps later.
    Corrected(u64),
}

/// An entry whose loss would be noticed by an auditor.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Event { time: UtcNanos, kind: String, text: String },
    Audit { time: UtcNanos, who: String, what: String },
    Advisory(AdvisoryChange),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
}

impl Plan {
    pub(crate) fn plant() -> PlantInfo {
        let tag = |id: u32| TagInfo {
            id: TagId(id),
            line: LineId(0),
            name: format!("tag {id}"),
            description: String::new(),
            unit: "bar".to_owned(),
            range: None,
            role: Role::Measurement,
        };
        PlantInfo {
            name: "Torture".to_owned(),
            lines: vec![LineInfo {
                id: LineId(0),
                name: "Line".to_owned(),
                tick_ns: SECOND,
                tags: (0..TAGS).map(TagId).collect(),
                cameras: Vec::new(),
            }],
            tags: (0..TAGS).map(tag).collect(),
            cameras: Vec::new(),
        }
    }

    pub(crate) fn time(step: u64) -> UtcNanos {
        START + (step as i64) * STEP_NS
    }

    /// The samples of one commit, no time of a tag twice.
    pub(crate) fn samples(self, step: u64) -> Vec<Sample> {
        let mut samples = Vec::new();
        for tag in 0..TAGS {
            for index in 0..count(tag, step) {
                if !matches!(self.fate(tag, step, index), Fate::Late(_)) {
                    samples.push(self.sample(tag, step, index));
                }
            }
            for delay in DELAYS {
                let Some(then) = step.checked_sub(delay) else { continue };
                for index in 0..count(tag, then) {
                    match self.fate(tag, then, index) {
                        Fate::Late(by) | Fate::Repeated(by) if by == delay => {
                            samples.push(self.sample(tag, then, index));
                        }
                        Fate::Corrected(by) if by == delay => {
                            let before = self.sample(tag, then, index);
                            let value = if before.value.is_finite() { before.value + 1_000.0 } else { 0.5 };
                            samples.push(Sample { value, quality: Quality::Uncertain, ..before });
                        }
                        _ => {}
                    }
                }
            }
        }
        samples
    }

    fn fate(self, tag: u32, step: u64, index: u64) -> Fate {
        let dice = hash(&[self.seed, 1, tag.into(), step, index]);
        let delay = DELAYS[(dice >> 32) as usize % DELAYS.len()];
        match dice % 100 {
            0..4 => Fate::Late(delay),
            4..8 => Fate::Repeated(delay),
            8..12 => Fate::Corrected(delay),
            _ => Fate::Plain,
        }
    }

    fn sample(self, tag: u32, step: u64, index: u64) -> Sample {
        let dice = hash(&[self.seed, 2, tag.into(), step, index]);
        let within = STEP_NS / (count(tag, step).max(1) as i64) * index as i64;
        let time = Self::time(step) + within + i64::from(tag);
        let (value, quality) = match dice % 1_000 {
            0 => (f64::NAN, Quality::Missing),
            1 => (f64::INFINITY, Quality::Bad),
            2 => (-0.0, Quality::Good),
            3 => (dice as f64, Quality::Frozen),
            _ if tag.is_multiple_of(3) => ((step * 7 + index) as f64, Quality::Good),
            _ if tag % 3 == 1 => (((step as f64) / 50.0).sin() + (dice % 128) as f64 / 1_024.0, Quality::Good),
            _ => ((dice % 100_000) as f64 / 100.0, Quality::Good),
        };
        Sample { tag: TagId(tag), time, value, quality, time_source: TimeSource::Device }
    }

    /// The entry with this number. Advisories open and close by turns.
    pub(crate) fn entry(self, number: u64) -> Entry {
        let time = START + (number as i64) * SECOND;
        let dice = hash(&[self.seed, 3, number]);
        match number % 4 {
            0 => Entry::Event { time, kind: "torture".to_owned(), text: format!("event {number}: {dice:x}") },
            1 => Entry::Audit { time, who: "operator".to_owned(), what: format!("action {number}: {dice:x}") },
            turn => {
                let opened = START + ((number - turn + 2) as i64) * SECOND;
                let mut advisory = Advisory {
                    id: AdvisoryId(number / 4 + 1),
                    line: LineId(0),
                    kind: AdvisoryKind::Process,
                    title: format!("advisory {}", number / 4 + 1),
                    since: opened,
                    opened,
                    last_seen: time,
                    closed: None,
                    peak: 1.5,
                    confidence: 0.5,
                    causes: Vec::new(),
                    patches: Vec::new(),
                };
                if turn == 2 {
                    return Entry::Advisory(AdvisoryChange::Opened(advisory));
                }
                advisory.closed = Some(time);
                Entry::Advisory(AdvisoryChange::Closed(advisory))
            }
        }
    }
}

/// Samples of a tag that belong to a step.
fn count(tag: u32, step: u64) -> u64 {
    match tag {
        0..4 if step.is_multiple_of(LARGE_EVERY) => 500,
        0..4 => 5,
        _ => u64::from(step.is_multiple_of(u64::from(1 + tag % 5))),
    }
}
