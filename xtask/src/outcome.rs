//! How a step is told, and how it fails.

use std::fmt::Display;

/// What went wrong, as sentences for the person at the terminal.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// Says what is being done.
pub(crate) fn step(what: impl Display) {
    println!("==> {what}");
}

/// Adds what was being done to an error.
pub(crate) trait Doing<T> {
    /// `what` reads on from "could not": "could not start Xvfb: …".
    fn could_not(self, what: impl Display) -> Outcome<T>;
}

impl<T, E: Display> Doing<T> for Result<T, E> {
    fn could_not(self, what: impl Display) -> Outcome<T> {
        self.map_err(|error| format!("could not {what}: {error}"))
    }
}
