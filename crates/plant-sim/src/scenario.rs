//! What happens in a run.

use sightglass_protocol::UtcNanos;

use crate::{change::Change, fault::Fault, violation::ViolationEvent};

/// Everything a run follows from.
#[derive(Clone, Debug, PartialEq)]
pub struct SimOptions {
    /// The seed of all that is random.
    pub seed: u64,
    /// The capture time of the first samples and the first picture.
    pub start: UtcNanos,
    /// What happens.
    pub scenario: Scenario,
}

/// What happens in a run. By default nothing does, endlessly: the line runs at its usual setpoints.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scenario {
    /// What goes wrong.
    pub fault: Option<FaultEvent>,
    /// What breaks physics.
    pub violation: Option<ViolationEvent>,
    /// What is changed on purpose, in any order.
    pub changes: Vec<ChangeEvent>,
    /// Whether an operator works the line (other setpoints, planned stops, change-overs, at random) and the daylight
    /// wanders: training data.
    pub operator: bool,
    /// How long the run is, in seconds; endless if absent.
    pub duration_s: Option<f64>,
}

/// A fault in a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaultEvent {
    /// Which.
    pub fault: Fault,
    /// Seconds from the start of the run; from then on it stays.
    pub onset_s: f64,
    /// How bad, 0 (not at all) to 1 (as in the demonstration). For the frozen sensor and the frozen camera: the share of
    /// each minute in which it is frozen; for missing caps: the share of bottles without.
    pub severity: f64,
}

/// A change in a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChangeEvent {
    /// Which.
    pub change: Change,
    /// Seconds from the start of the run.
    pub at_s: f64,
}
