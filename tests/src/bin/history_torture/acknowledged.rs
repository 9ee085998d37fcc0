//! What was acknowledged, as the writer's lines and the log file have it.
//!
//! `s 12`: the commit of step 12 returned. `e 7`: entry 7 was stored. `r 1795…`: samples before this time may be deleted
//! from now on. `p merge`: what is being begun. In the log file also `ms 13` and `me 8`: it was under way, or so young
//! that a power cut may take it; it may be there or not.

use std::collections::BTreeMap;
use std::path::Path;

/// Whether something must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// It was acknowledged.
    Given,
    /// It may be there.
    Open,
}

/// Everything that was said to be stored.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) steps: BTreeMap<u64, Word>,
    pub(crate) entries: BTreeMap<u64, Word>,
    /// Samples from this time on were not deleted on purpose.
    pub(crate) kept_from: i64,
}

impl Default for Acknowledged {
    fn default() -> Self {
        Self { steps: BTreeMap::new(), entries: BTreeMap::new(), kept_from: i64::MIN }
    }
}

impl Acknowledged {
    /// Takes one line of the writer or of the log; false where it is none of those above.
    pub(crate) fn take(&mut self, line: &str) -> bool {
        let Some((kind, rest)) = line.split_once(' ') else { return false };
        if kind == "p" {
            return true;
        }
        let Ok(number) = rest.parse::<i64>() else { return false };
        match kind {
            "s" => self.steps.insert(number as u64, Word::Given),
            "e" => self.entries.insert(number as u64, Word::Given),
            "ms" => self.steps.insert(number as u64, Word::Open),
            "me" => self.entries.insert(number as u64, Word::Open),
            "r" => {
                self.kept_from = self.kept_from.max(number);
                None
            }
            _ => return false,
        };
        true
    }

    /// Notes what was under way when the writer ended, so that its number is not used again.
    pub(crate) fn note_under_way(&mut self) {
        self.steps.insert(self.next_step(), Word::Open);
        self.entries.insert(self.next_entry(), Word::Open);
    }

    pub(crate) fn next_step(&self) -> u64 {
        self.steps.last_key_value().map_or(0, |(step, _)| step + 1)
    }

    pub(crate) fn next_entry(&self) -> u64 {
        self.entries.last_key_value().map_or(0, |(entry, _)| entry + 1)
    }

    /// Writes the log that [`Acknowledged::read`] reads.
    pub(crate) fn write(&self, path: &Path) -> Result<(), String> {
        let mut text = format!("r {}\n", self.kept_from);
        for (all, given, open) in [(&self.steps, "s", "ms"), (&self.entries, "e", "me")] {
            for (number, word) in all {
                let kind = if *word == Word::Given { given } else { open };
                text.push_str(&format!("{kind} {number}\n"));
            }
        }
        std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
    }

    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let mut all = Self::default();
        for line in text.lines() {
            if !all.take(line) {
                return Err(format!("{} has a line that is no acknowledgement: {line}", path.display()));
            }
        }
        Ok(all)
    }
}
