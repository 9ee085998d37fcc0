//! Figures of a benchmark, and the floors that they are held against.

use serde_json::Value;

use crate::outcome::Outcome;

/// The floors that were missed.
#[derive(Default)]
pub(crate) struct Floors {
    pub(crate) missed: Vec<String>,
}

impl Floors {
    pub(crate) fn at_least(&mut self, name: &str, found: f64, floor: f64) {
        // A figure that is no number misses, too.
        if !(found >= floor) {
            self.missed.push(format!("{name} is {found:.2}, the floor is at least {floor:.2}"));
        }
    }

    pub(crate) fn at_most(&mut self, name: &str, found: f64, floor: f64) {
        if !(found <= floor) {
            self.missed.push(format!("{name} is {found:.2}, the floor is at most {floor:.2}"));
        }
    }
}

impl Floors {
    /// Tells what was missed; with `check` that is a failure.
    pub(crate) fn conclude(self, check: bool) -> Outcome {
        for floor in &self.missed {
            eprintln!("missed: {floor}");
        }
        if check && !self.missed.is_empty() { Err(format!("{} floors were missed", self.missed.len())) } else { Ok(()) }
    }
}

/// A number among figures.
pub(crate) fn number(figures: &Value, key: &str) -> Outcome<f64> {
    figures[key].as_f64().ok_or_else(|| format!("the figures lack {key}"))
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
