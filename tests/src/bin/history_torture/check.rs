//! Holds what a data folder has against what was acknowledged.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use sightglass_history::{EntryClass, History};
use sightglass_protocol::{Sample, TagId, UtcNanos};

use crate::acknowledged::{Acknowledged, Word};
use crate::plan::{Entry, Plan, STEP_NS, TAGS};

/// Details of one kind that are printed.
const TOLD_MAX: usize = 5;

#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// The data folder
    #[arg(long)]
    pub(crate) folder: PathBuf,
    /// What was written depends on it
    #[arg(long)]
    pub(crate) seed: u64,
    /// What was acknowledged
    #[arg(long)]
    pub(crate) log: PathBuf,
    /// Close the folder afterwards, as an engine that is asked to stop does
    #[arg(long)]
    pub(crate) close: bool,
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Acknowledged samples that must be there and are looked for.
    pub(crate) samples: u64,
    pub(crate) missing_samples: u64,
    /// Samples that nobody wrote, or that are there twice.
    pub(crate) surplus_samples: u64,
    pub(crate) missing_entries: u64,
    pub(crate) verify_problems: u64,
}

impl Found {
    const KEYS: [&str; 5] = ["samples", "missing_samples", "surplus_samples", "missing_entries", "verify_problems"];

    /// One line for [`Found::parse`].
    pub(crate) fn line(&self) -> String {
        let values =
            [self.samples, self.missing_samples, self.surplus_samples, self.missing_entries, self.verify_problems];
        Self::KEYS.iter().zip(values).map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut values = line.split(' ').zip(Self::KEYS).map(|(word, key)| {
            let (found, value) = word.split_once('=')?;
            (found == key).then(|| value.parse().ok()).flatten()
        });
        let mut next = || values.next().flatten();
        Some(Self {
            samples: next()?,
            missing_samples: next()?,
            surplus_samples: next()?,
            missing_entries: next()?,
            verify_problems: next()?,
        })
    }

    /// The larger of each, so that one loss that is found again after every kill is one loss.
    pub(crate) fn worse(self, other: &Self) -> Self {
        Self {
            samples: self.samples.max(other.samples),
            missing_samples: self.missing_samples.max(other.missing_samples),
            surplus_samples: self.surplus_samples.max(other.surplus_samples),
            missing_entries: self.missing_entries.max(other.missing_entries),
            verify_problems: self.verify_problems.max(other.verify_problems),
        }
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_clean(&self) -> bool {
        Self { samples: 0, ..*self } == Self::default()
    }
}

/// Prints what is wrong to standard error, only the first few of each kind.
struct Teller(HashMap<&'static str, usize>);

impl Teller {
    fn tell(&mut self, kind: &'static str, what: impl std::fmt::Display) {
        let told = self.0.entry(kind).or_default();
        *told += 1;
        if *told <= TOLD_MAX {
            eprintln!("{kind}: {what}");
        }
    }
}

/// A value with its quality, bit by bit.
type Bits = (u64, u8);

fn bits(sample: &Sample) -> Bits {
    (sample.value.to_bits(), sample.quality as u8)
}

/// Opens the folder as the next writer does and compares.
pub(crate) async fn check(options: &Options) -> Result<Found, String> {
    let log = Acknowledged::read(&options.log)?;
    let plan = Plan { seed: options.seed };
    let history = History::open(&options.folder, &Plan::plant()).await.map_err(|error| error.to_string())?;
    let mut found = Found::default();
    let mut teller = Teller(HashMap::new());
    for problem in history.verify().await.map_err(|error| error.to_string())? {
        found.verify_problems += 1;
        teller.tell("verify", problem);
    }
    check_samples(&history, plan, &log, &mut found, &mut teller).await?;
    check_entries(&history, plan, &log, &mut found, &mut teller).await?;
    if options.close {
        history.close().await.map_err(|error| error.to_string())?;
    }
    Ok(found)
}

async fn check_samples(
    history: &History,
    plan: Plan,
    log: &Acknowledged,
    found: &mut Found,
    teller: &mut Teller,
) -> Result<(), String> {
    // Of each tag and time: all that was written, in order, and whether each was acknowledged. What may be deleted is
    // not looked at; no step has samples of a later one.
    let mut written: Vec<BTreeMap<i64, Vec<(Bits, Word)>>> = vec![BTreeMap::new(); TAGS as usize];
    for (&step, &word) in &log.steps {
        if (Plan::time(step) + 2 * STEP_NS).0 < log.kept_from {
            continue;
        }
        for sample in plan.samples(step) {
            written[sample.tag.index()].entry(sample.time.0).or_default().push((bits(&sample), word));
        }
    }
    for (tag, written) in written.iter().enumerate() {
        let rows = match history.raw(TagId(tag as u32), UtcNanos(log.kept_from), UtcNanos::MAX).await {
            Ok(rows) => rows,
            Err(error) => {
                // Everything of this tag counts as lost.
                teller.tell("raw", error);
                Vec::new()
            }
        };
        let mut there: HashMap<i64, Vec<Bits>> = HashMap::with_capacity(rows.len());
        for row in &rows {
            let at = there.entry(row.time.0).or_default();
            let is_known = written.get(&row.time.0).is_some_and(|all| all.iter().any(|(known, _)| *known == bits(row)));
            if !is_known || at.contains(&bits(row)) {
                found.surplus_samples += 1;
                teller.tell("surplus sample", format_args!("{row:?}"));
            }
            at.push(bits(row));
        }
        for (&time, all) in written.range(log.kept_from..) {
            // What was acknowledged last holds, unless something that was under way came over it.
            let Some(last) = all.iter().rposition(|(_, word)| *word == Word::Given) else { continue };
            found.samples += 1;
            let allowed = &all[last..];
            let stored = there.get(&time).map_or(&[][..], Vec::as_slice);
            if !allowed.iter().any(|(value, _)| stored.contains(value)) {
                found.missing_samples += 1;
                let (value, quality) = all[last].0;
                let value = f64::from_bits(value);
                teller.tell(
                    "missing sample",
                    format_args!("tag {tag} at {}: {value} (quality {quality}); stored {stored:?}", UtcNanos(time)),
                );
            }
        }
    }
    Ok(())
}

async fn check_entries(
    history: &History,
    plan: Plan,
    log: &Acknowledged,
    found: &mut Found,
    teller: &mut Teller,
) -> Result<(), String> {
    let entries = history.entries(UtcNanos::MIN, UtcNanos::MAX, u32::MAX).await.map_err(|error| error.to_string())?;
    let stored: HashMap<(EntryWord, i64, &str, &str), u64> = entries.iter().fold(HashMap::new(), |mut all, entry| {
        *all.entry((word(entry.class), entry.time.0, entry.subject.as_str(), entry.text.as_str())).or_default() += 1;
        all
    });
    let advisories =
        history.advisories(None, UtcNanos::MIN, UtcNanos::MAX, u32::MAX).await.map_err(|error| error.to_string())?;
    let advisories: HashMap<u64, _> = advisories.iter().map(|advisory| (advisory.id.0, advisory)).collect();
    for (&number, &word) in &log.entries {
        if word == Word::Open {
            continue;
        }
        let is_there = match plan.entry(number) {
            Entry::Event { time, kind, text } => {
                stored.get(&(EntryWord::Event, time.0, kind.as_str(), text.as_str())) == Some(&1)
            }
            Entry::Audit { time, who, what } => {
                stored.get(&(EntryWord::Audit, time.0, who.as_str(), what.as_str())) == Some(&1)
            }
            Entry::Advisory(change) => {
                let wanted = change.advisory();
                advisories.get(&wanted.id.0).is_some_and(|found| {
                    found.title == wanted.title
                        && found.opened == wanted.opened
                        // Once closed it stays closed; one that is open may have been closed since.
                        && (wanted.closed.is_none() || found.closed == wanted.closed)
                })
            }
        };
        if !is_there {
            found.missing_entries += 1;
            teller.tell("missing entry", format_args!("{:?}", plan.entry(number)));
        }
    }
    Ok(())
}

/// [`EntryClass`] as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum EntryWord {
    Event,
    Audit,
}

fn word(class: EntryClass) -> EntryWord {
    match class {
        EntryClass::Event => EntryWord::Event,
        EntryClass::Audit => EntryWord::Audit,
    }
}
