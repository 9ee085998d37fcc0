//! The state of what delivers data, after NAMUR NE 107.

use serde::{Deserialize, Serialize};

use crate::{Subject, UtcNanos};

/// The states of NE 107, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HealthState {
    /// Delivers as it should.
    Good,
    /// Delivers, but wants attention.
    MaintenanceRequired,
    /// Delivers outside of what it is made for.
    OutOfSpecification,
    /// Cannot be judged for now.
    CheckFunction,
    /// Does not deliver.
    Failure,
}

/// The state of one source of data from one moment on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Which tag or camera; `None` is a source file or the line's pipeline as a whole.
    pub subject: Option<Subject>,
    /// The source's name, for people.
    pub source: String,
    /// Its state.
    pub state: HealthState,
    /// Since when.
    pub since: UtcNanos,
    /// Why, with the place (file and line where there is one), and what to do.
    pub reason: String,
}
