//! Names of faults and changes, as people type them.

use std::fmt;

/// A name that is none of the allowed ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    /// What was named: "fault", "change" or "violation".
    pub what: &'static str,
    /// The name that was given.
    pub given: String,
    /// The allowed names.
    pub allowed: Vec<&'static str>,
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is not a {} of the simulated line; use one of {}",
            self.given,
            self.what,
            self.allowed.join(", ")
        )
    }
}

impl std::error::Error for UnknownName {}
