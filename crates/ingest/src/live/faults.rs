//! What is wrong with a source at present, told as one state that names the worst of it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use sightglass_protocol::HealthState;

/// Faults that one message names; the others are counted.
const NAMED_MAX: usize = 3;
/// Faults that are kept apart; more at one time are only known by their number.
const KEPT_MAX: usize = 4096;
/// What does not get worse is told at most this often, so that a fault that comes and goes does not flood the history.
const REST: Duration = Duration::from_secs(1);

/// The present faults, each under what it is a fault of.
#[derive(Debug)]
pub(crate) struct Faults<K> {
    present: BTreeMap<K, (HealthState, String)>,
    /// What is said when there is none.
    well: String,
    told: Option<(HealthState, String)>,
    told_at: Option<Instant>,
}

impl<K: Ord> Faults<K> {
    /// No fault. Nothing is told until the first fault, or until [`Faults::works`].
    pub(crate) fn new() -> Self {
        Self { present: BTreeMap::new(), well: String::new(), told: None, told_at: None }
    }

    /// Notes that `key` is at fault.
    pub(crate) fn set(&mut self, key: K, state: HealthState, reason: String) {
        if self.present.len() < KEPT_MAX || self.present.contains_key(&key) {
            self.present.insert(key, (state, reason));
        }
    }

    /// Notes that `key` is well.
    pub(crate) fn clear(&mut self, key: &K) {
        self.present.remove(key);
    }

    /// Forgets the faults whose key is not to be kept.
    pub(crate) fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.present.retain(|key, _| keep(key));
    }

    /// Notes that the source works, and what is said of that when nothing is wrong.
    pub(crate) fn works(&mut self, how: String) {
        self.well = how;
    }

    /// What is to be told now, if anything.
    pub(crate) fn news(&mut self, now: Instant) -> Option<(HealthState, String)> {
        let state = self.present.values().map(|(state, _)| *state).max().unwrap_or(HealthState::Good);
        if state == HealthState::Good && self.well.is_empty() {
            return None;
        }
        let is_worse = self.told.as_ref().is_none_or(|(told, _)| state > *told);
        if !is_worse && self.told_at.is_some_and(|at| now.duration_since(at) < REST) {
            return None;
        }
        let news = (state, self.summary(state));
        if self.told.as_ref() == Some(&news) {
            return None;
        }
        self.told = Some(news.clone());
        self.told_at = Some(now);
        Some(news)
    }

    fn summary(&self, worst: HealthState) -> String {
        if self.present.is_empty() {
            return self.well.clone();
        }
        let of_state = |wanted: bool| self.present.values().filter(move |(state, _)| (*state == worst) == wanted);
        let mut named: Vec<&str> =
            of_state(true).chain(of_state(false)).take(NAMED_MAX).map(|(_, reason)| reason.as_str()).collect();
        let more = self.present.len() - named.len();
        let rest = format!("and {more} more");
        if more > 0 {
            named.push(&rest);
        }
        named.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_told_at_once_and_what_gets_better_after_a_rest() {
        let mut faults = Faults::new();
        let start = Instant::now();
        assert_eq!(faults.news(start), None, "nothing is known yet");
        faults.set(2, HealthState::MaintenanceRequired, "b".to_owned());
        assert_eq!(faults.news(start), Some((HealthState::MaintenanceRequired, "b".to_owned())));
        assert_eq!(faults.news(start + REST), None, "once");
        faults.set(3, HealthState::Failure, "c".to_owned());
        assert_eq!(faults.news(start), Some((HealthState::Failure, "c; b".to_owned())));
        faults.works("reads".to_owned());
        faults.clear(&3);
        assert_eq!(faults.news(start), None, "it may come back");
        assert_eq!(faults.news(start + REST), Some((HealthState::MaintenanceRequired, "b".to_owned())));
        faults.clear(&2);
        assert_eq!(faults.news(start + 2 * REST), Some((HealthState::Good, "reads".to_owned())));
        for key in 0..10 {
            faults.set(key, HealthState::CheckFunction, format!("k{key}"));
        }
        let told = faults.news(start + 2 * REST).unwrap();
        assert_eq!(told, (HealthState::CheckFunction, "k0; k1; k2; and 7 more".to_owned()));
    }
}
