//! What cannot happen: events that break the physics of the line, for pairs of possible and impossible clips (violation of
//! expectation; Riochet et al., "IntPhys", arXiv 1803.07616). The camera sees them as they happen; of the sensors only the
//! conveyor's current, by a bottle's load.

use std::{fmt, str::FromStr};

use crate::names::UnknownName;

/// Something that cannot happen. It befalls the first bottle between filler and capper, where no tool touches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// The bottle is gone.
    Vanishes,
    /// The bottle stands 4 cm further on at once.
    Jumps,
    /// A bottle comes through the infeed gate, which must be shut (a change-over's running empty).
    PassesClosedGate,
    /// What is in the bottle has another colour at once.
    ChangesColour,
    /// The bottle fills up although the nozzle has left it.
    LiquidRises,
    /// A second bottle stands in the first one.
    TwoInOnePlace,
}

impl Violation {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Vanishes,
        Self::Jumps,
        Self::PassesClosedGate,
        Self::ChangesColour,
        Self::LiquidRises,
        Self::TwoInOnePlace,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vanishes => "vanishes",
            Self::Jumps => "jumps",
            Self::PassesClosedGate => "passes-closed-gate",
            Self::ChangesColour => "changes-colour",
            Self::LiquidRises => "liquid-rises",
            Self::TwoInOnePlace => "two-in-one-place",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Violation {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|violation| violation.name() == text).ok_or_else(|| UnknownName {
            what: "violation",
            given: text.to_owned(),
            allowed: Self::ALL.map(Self::name).to_vec(),
        })
    }
}

/// A violation in a run. It happens once, at the first moment from `at_s` on at which there is a bottle to befall (or the
/// gate is shut).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ViolationEvent {
    /// Which.
    pub violation: Violation,
    /// Seconds from the start of the run.
    pub at_s: f64,
}
