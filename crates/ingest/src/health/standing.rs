//! From findings to states: raised at once, held for a while, cleared by themselves.

use sightglass_protocol::{HealthState, UtcNanos};

use super::cause::{Cause, Finding};

/// The state of one tag or camera.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    cause: Option<Cause>,
    /// The last tick at which the cause was found.
    found: UtcNanos,
    /// A state is left only when its cause was not found for so long.
    hold_ns: i64,
}

/// A state that begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) state: HealthState,
    pub(super) since: UtcNanos,
    pub(super) reason: String,
}

impl Standing {
    pub(super) fn new(hold_ns: i64) -> Self {
        Self { cause: None, found: UtcNanos::MIN, hold_ns }
    }

    /// What is wrong, as of the last tick.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// Takes in what was found at the tick `now`; the change, where there is one.
    pub(super) fn take(&mut self, now: UtcNanos, finding: Option<Finding>) -> Option<Change> {
        let is_held = |found: UtcNanos| now.since(found) < self.hold_ns;
        match (self.cause, finding) {
            (None, None) => None,
            (Some(cause), Some(finding)) if finding.cause == cause => {
                self.found = now;
                None
            }
            // What explains less waits until what explains more is over.
            (Some(cause), Some(finding)) if finding.cause > cause && is_held(self.found) => None,
            (_, Some(finding)) => {
                (self.cause, self.found) = (Some(finding.cause), now);
                Some(Change { state: finding.cause.state(), since: finding.since, reason: finding.reason })
            }
            (Some(_), None) if is_held(self.found) => None,
            (Some(_), None) => {
                self.cause = None;
                Some(Change { state: HealthState::Good, since: now, reason: "delivers again as it should".to_owned() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sightglass_protocol::time::SECOND;

    use super::*;

    #[test]
    fn a_state_is_raised_at_once_held_against_flutter_and_cleared_by_itself() {
        let mut standing = Standing::new(3 * SECOND);
        let mut at = |second: i64, cause: Option<Cause>| {
            let now = UtcNanos(second * SECOND);
            let change = standing.take(now, cause.map(|cause| Finding::new(cause, now - SECOND, "why")));
            change.map(|change| (change.state, change.since.0 / SECOND))
        };
        assert_eq!(at(0, None), None);
        assert_eq!(at(1, Some(Cause::Jitter)), Some((HealthState::MaintenanceRequired, 0)));
        assert_eq!(at(2, Some(Cause::Frozen)), Some((HealthState::Failure, 1)), "what explains more is told at once");
        assert_eq!(at(3, Some(Cause::Jitter)), None, "what explains less waits");
        assert_eq!(at(4, Some(Cause::Frozen)), None);
        assert_eq!(at(6, None), None, "held");
        assert_eq!(at(7, Some(Cause::Jitter)), Some((HealthState::MaintenanceRequired, 6)));
        assert_eq!(at(9, None), None);
        assert_eq!(at(10, None), Some((HealthState::Good, 10)));
        assert_eq!(at(11, None), None);
    }
}
