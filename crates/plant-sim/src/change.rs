//! What people and the day do to the line on purpose: changes that are not faults.

use std::{fmt, str::FromStr};

use crate::names::UnknownName;

/// A change that is not a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// The operator gives one of the setpoints another value.
    SetpointChange,
    /// The line is stopped and started again after about 40 s.
    PlannedStop,
    /// The line is run empty and started again with the other bottle.
    ChangeOver,
    /// The daylight in the hall becomes brighter or dimmer over two minutes.
    Daylight,
}

impl Change {
    /// All changes.
    pub const ALL: [Self; 4] = [Self::SetpointChange, Self::PlannedStop, Self::ChangeOver, Self::Daylight];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SetpointChange => "setpoint-change",
            Self::PlannedStop => "planned-stop",
            Self::ChangeOver => "change-over",
            Self::Daylight => "daylight",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Change {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|change| change.name() == text).ok_or_else(|| UnknownName {
            what: "change",
            given: text.to_owned(),
            allowed: Self::ALL.map(Self::name).to_vec(),
        })
    }
}
