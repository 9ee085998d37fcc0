//! One table of the file: its keys read into values, each complaint noted with its place.

use std::{cell::RefCell, ops::Range};

use sightglass_protocol::time::{MILLISECOND, SECOND};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::errors::Found;

/// Nanoseconds in a minute.
pub(crate) const MINUTE: i64 = 60 * SECOND;
/// Nanoseconds in an hour.
pub(crate) const HOUR: i64 = 60 * MINUTE;

/// Collects what is wrong, so that all of it is reported at once.
#[derive(Debug, Default)]
pub(crate) struct Complaints(RefCell<Vec<Found>>);

impl Complaints {
    pub(crate) fn add(&self, span: Range<usize>, message: impl Into<String>, advice: impl Into<String>) {
        self.push(span, message.into(), advice.into(), None, false);
    }

    pub(crate) fn add_absence(&self, span: Range<usize>, message: impl Into<String>, advice: impl Into<String>) {
        self.push(span, message.into(), advice.into(), None, true);
    }

    pub(crate) fn add_clash(&self, span: Range<usize>, first: Range<usize>, message: String, advice: &str) {
        self.push(span, message, advice.to_owned(), Some(first), false);
    }

    fn push(&self, span: Range<usize>, message: String, advice: String, first: Option<Range<usize>>, absent: bool) {
        self.0.borrow_mut().push(Found { span, message, advice, first, rests_on_absence: absent });
    }

    pub(crate) fn into_found(self) -> Vec<Found> {
        self.0.into_inner()
    }
}

/// A value with the place it was read from.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

/// One table. A reader that complains gives `None`, like one whose key is not there; the plant is thrown away then.
pub(crate) struct Section<'a> {
    pub(crate) what: &'static str,
    pub(crate) span: Range<usize>,
    table: &'a DeTable<'a>,
    complaints: &'a Complaints,
}

impl<'a> Section<'a> {
    /// Opens a table and complains about keys that it does not have.
    pub(crate) fn open(
        what: &'static str,
        span: Range<usize>,
        table: &'a DeTable<'a>,
        keys: &[&str],
        complaints: &'a Complaints,
    ) -> Self {
        for key in table.keys() {
            let name: &str = key.get_ref();
            if !keys.contains(&name) {
                let advice = match nearest(name, keys) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => format!("allowed are {}", keys.join(", ")),
                };
                complaints.add(key.span(), format!("{what} has no key '{name}'"), advice);
            }
        }
        Self { what, span, table, complaints }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where a key's value stands, or the table's header.
    pub(crate) fn span_of(&self, key: &str) -> Range<usize> {
        self.get(key).map_or_else(|| self.span.clone(), Spanned::span)
    }

    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.get(key)
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let is = value.get_ref().type_str();
        let article = if is.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        self.complaints.add(value.span(), format!("'{key}' of {} is {article} {is}", self.what), wanted.to_owned());
    }

    /// Complains that a key is not there.
    pub(crate) fn missing(&self, key: &str, advice: impl Into<String>) {
        self.complaints.add_absence(self.span.clone(), format!("{} has no '{key}'", self.what), advice);
    }

    /// Text that is not empty.
    pub(crate) fn text(&self, key: &str) -> Option<At<String>> {
        let text = self.raw_text(key)?;
        if text.value.trim().is_empty() {
            self.complaints.add(text.span, format!("'{key}' of {} is empty", self.what), "give it at least one letter");
            return None;
        }
        Some(text)
    }

    /// Text as it stands, blanks and all.
    pub(crate) fn raw_text(&self, key: &str) -> Option<At<String>> {
        let value = self.get(key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(key, value, "it must be text in quotes");
        }
        text.map(|text| At { value: text.to_owned(), span: value.span() })
    }

    /// Text that may be empty; empty too where the key is not there.
    pub(crate) fn text_or_empty(&self, key: &str) -> String {
        self.raw_text(key).map(|text| text.value.trim().to_owned()).unwrap_or_default()
    }

    /// Text that must be there.
    pub(crate) fn required_text(&self, key: &str, advice: &str) -> Option<At<String>> {
        if !self.has(key) {
            self.missing(key, advice);
        }
        self.text(key)
    }

    /// A name that must be there: text of at most `chars_max` characters without control characters.
    pub(crate) fn name(&self, chars_max: usize) -> Option<At<String>> {
        let name = self.required_text("name", "give it one, as name = \"…\"")?;
        let trimmed = name.value.trim();
        if trimmed.chars().count() > chars_max || trimmed.chars().any(char::is_control) {
            let advice = format!("at most {chars_max} characters on one line are allowed");
            self.complaints.add(name.span, format!("'name' of {} cannot be used as a name", self.what), advice);
            return None;
        }
        Some(At { value: trimmed.to_owned(), span: name.span })
    }

    /// A finite number within `[low, high]`, or `(low, high]` where `low` is 0 and `above_low` is set.
    pub(crate) fn number(&self, key: &str, low: f64, high: f64, above_low: bool) -> Option<f64> {
        let value = self.get(key)?;
        let Some(number) = number_of(value.get_ref()) else {
            self.wrong_type(key, value, "it must be a number");
            return None;
        };
        if number.is_finite() && number <= high && (number > low || (number == low && !above_low)) {
            return Some(number);
        }
        let bound = if above_low { "above" } else { "from" };
        let advice = format!("allowed is a number {bound} {low} up to {high}");
        self.complaints.add(value.span(), format!("'{key}' of {} is {number}", self.what), advice);
        None
    }

    /// A whole number within `low..=high`.
    pub(crate) fn whole(&self, key: &str, low: u64, high: u64) -> Option<u64> {
        let value = self.get(key)?;
        let DeValue::Integer(integer) = value.get_ref() else {
            self.wrong_type(key, value, "it must be a whole number");
            return None;
        };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if (low..=high).contains(&number) => Some(number),
            _ => {
                let message = format!("'{key}' of {} is {integer}", self.what);
                self.complaints.add(value.span(), message, format!("allowed is a whole number from {low} to {high}"));
                None
            }
        }
    }

    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong_type(key, value, "it must be true or false");
        }
        flag
    }

    /// A time span as text (`"200ms"`, `"1s"`) within `low_ns..=high_ns`, in nanoseconds.
    pub(crate) fn duration(&self, key: &str, low_ns: i64, high_ns: i64) -> Option<i64> {
        let value = self.get(key)?;
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(key, value, "it must be a time span in quotes, such as \"200ms\" or \"1s\"");
            return None;
        };
        let Some(nanos) = duration_ns(text) else {
            let message = format!("'{key}' of {} is \"{text}\", which is no time span", self.what);
            self.complaints.add(
                value.span(),
                message,
                "write a number and one of us, ms, s, min, h, such as \"200ms\"",
            );
            return None;
        };
        if (low_ns..=high_ns).contains(&nanos) {
            return Some(nanos);
        }
        let advice = format!("allowed is {} to {}", duration_text(low_ns), duration_text(high_ns));
        self.complaints.add(value.span(), format!("'{key}' of {} is \"{}\"", self.what, text.trim()), advice);
        None
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let chosen = choices.iter().find(|(word, _)| *word == text.value).map(|(_, choice)| *choice);
        if chosen.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.complaints.add(
                text.span,
                format!("'{key}' of {} is \"{}\"", self.what, text.value),
                format!("allowed are {}", words.join(", ")),
            );
        }
        chosen
    }

    /// A list of values of one kind.
    pub(crate) fn list<T>(
        &self,
        key: &str,
        wanted: &str,
        read: impl Fn(&DeValue<'_>) -> Option<T>,
    ) -> Option<At<Vec<At<T>>>> {
        let value = self.get(key)?;
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, value, wanted);
            return None;
        };
        let mut items = Vec::with_capacity(array.len());
        for item in array.iter() {
            match read(item.get_ref()) {
                Some(value) => items.push(At { value, span: item.span() }),
                None => {
                    let message = format!("an item of '{key}' of {} cannot be used", self.what);
                    self.complaints.add(item.span(), message, wanted.to_owned());
                    return None;
                }
            }
        }
        Some(At { value: items, span: value.span() })
    }

    /// Text or a TOML date-time, as text.
    pub(crate) fn moment_text(&self, key: &str) -> Option<At<String>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Datetime(moment) => Some(At { value: moment.to_string(), span: value.span() }),
            _ => self.text(key),
        }
    }

    /// A table within this one.
    pub(crate) fn table(&self, key: &str, what: &'static str, keys: &[&str], wanted: &str) -> Option<Section<'a>> {
        let value = self.get(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_type(key, value, wanted);
            return None;
        };
        Some(Section::open(what, value.span(), table, keys, self.complaints))
    }

    /// Complains about keys that mean nothing beside what else the table says.
    pub(crate) fn refuse(&self, keys: &[&str], why: &str) {
        for key in keys.iter().filter(|key| self.has(key)) {
            let message = format!("'{key}' of {} means nothing {why}", self.what);
            self.complaints.add(self.span_of(key), message, "leave it out");
        }
    }
}

/// A TOML integer or float as a number; NaN and infinities as they are.
pub(crate) fn number_of(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Integer(integer) => {
            i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|number| number as f64)
        }
        DeValue::Float(float) => float.as_str().parse().ok(),
        _ => None,
    }
}

/// The word of `words` that was most likely meant, if any is near.
pub fn nearest<'w>(word: &str, words: &[&'w str]) -> Option<&'w str> {
    let near = |candidate: &&'w str| edits(&word.to_lowercase(), &candidate.to_lowercase());
    let best = words.iter().copied().min_by_key(near)?;
    let edits_max = (best.chars().count() / 3).max(1);
    (near(&best) <= edits_max).then_some(best)
}

/// The number of single-character edits between two words, a swap of neighbours being one (optimal string alignment).
fn edits(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let width = to.len() + 1;
    let mut cost = vec![0; (from.len() + 1) * width];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            cost[i * width + j] = if i == 0 || j == 0 {
                i + j
            } else {
                let changed = usize::from(from[i - 1] != to[j - 1]);
                let mut least = (cost[(i - 1) * width + j - 1] + changed)
                    .min(cost[(i - 1) * width + j] + 1)
                    .min(cost[i * width + j - 1] + 1);
                if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                    least = least.min(cost[(i - 2) * width + j - 2] + 1);
                }
                least
            }
        }
    }
    cost[from.len() * width + to.len()]
}

const UNITS: [(&str, i64); 5] = [("us", 1_000), ("ms", MILLISECOND), ("s", SECOND), ("min", MINUTE), ("h", HOUR)];

/// `"200ms"` → nanoseconds; `None` where it is no time span. May be negative.
pub(crate) fn duration_ns(text: &str) -> Option<i64> {
    let text = text.trim();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let nanos = number.trim().parse::<f64>().ok()? * *nanos as f64;
    (nanos.is_finite() && nanos.abs() < i64::MAX as f64).then(|| nanos.round() as i64)
}

fn duration_text(nanos: i64) -> String {
    let (name, unit) = UNITS.iter().rev().find(|(_, unit)| nanos % unit == 0 && nanos >= *unit).unwrap_or(&UNITS[2]);
    format!("{}{name}", nanos / unit)
}
