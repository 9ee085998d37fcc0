//! What can go wrong, and how strongly it acts at a moment.

use std::{fmt, str::FromStr};

use crate::{names::UnknownName, scenario::FaultEvent};

/// Something that goes wrong on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Vapour in the feed pump: head lost in bursts, vibration up.
    PumpCavitation,
    /// The control valve sticks and jumps; its loop oscillates.
    ValveStiction,
    /// Product runs out of the supply tank past the valve.
    TankLeak,
    /// The supply tank's level sensor reads more and more too high; its controller believes it.
    LevelSensorDrift,
    /// The pump's pressure sensor repeats its last value, with fresh times.
    FrozenSensor,
    /// Bottles stand at a blockage; the belt drags under them.
    ConveyorJam,
    /// The cap chute runs empty: bottles leave open.
    MissingCaps,
    /// The filling valve lets less through than it was told to.
    Underfill,
    /// Dirt spreads on the camera's lens.
    DirtyLens,
    /// The camera repeats its last picture, with fresh times.
    FrozenCamera,
}

impl Fault {
    /// All faults.
    pub const ALL: [Self; 10] = [
        Self::PumpCavitation,
        Self::ValveStiction,
        Self::TankLeak,
        Self::LevelSensorDrift,
        Self::FrozenSensor,
        Self::ConveyorJam,
        Self::MissingCaps,
        Self::Underfill,
        Self::DirtyLens,
        Self::FrozenCamera,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PumpCavitation => "pump-cavitation",
            Self::ValveStiction => "valve-stiction",
            Self::TankLeak => "tank-leak",
            Self::LevelSensorDrift => "level-sensor-drift",
            Self::FrozenSensor => "frozen-sensor",
            Self::ConveyorJam => "conveyor-jam",
            Self::MissingCaps => "missing-caps",
            Self::Underfill => "underfill",
            Self::DirtyLens => "dirty-lens",
            Self::FrozenCamera => "frozen-camera",
        }
    }

    /// The tags and cameras any of which is a right cause of an advisory about it: those at the place of the fault
    /// whose behaviour it changes, not those that only follow.
    pub const fn causes(self) -> &'static [&'static str] {
        match self {
            Self::PumpCavitation => &["pump_vibration", "pump_pressure", "pump_current", "inlet_flow", "pump_speed"],
            Self::ValveStiction => &["valve_position", "valve_command", "filler_flow"],
            Self::TankLeak | Self::LevelSensorDrift => &["tank_level", "tank_pressure", "inlet_flow", "pump_speed"],
            Self::FrozenSensor => &["pump_pressure"],
            Self::ConveyorJam => &["conveyor_current", "conveyor_speed", "conveyor_drive", "filler-camera"],
            Self::MissingCaps | Self::DirtyLens | Self::FrozenCamera => &["filler-camera"],
            Self::Underfill => &["fill_weight", "filler-camera"],
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|fault| fault.name() == text).ok_or_else(|| UnknownName {
            what: "fault",
            given: text.to_owned(),
            allowed: Self::ALL.map(Self::name).to_vec(),
        })
    }
}

/// A minute: a frozen device of severity 0.5 is frozen for half of each.
const FREEZE_CYCLE_S: f64 = 60.0;

/// How strongly each fault acts at a moment: 0 not at all, 1 as in the demonstration.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Effects {
    pub(crate) cavitation: f64,
    pub(crate) stiction: f64,
    pub(crate) leak: f64,
    pub(crate) drift: f64,
    pub(crate) sensor_frozen: bool,
    pub(crate) jam: f64,
    pub(crate) caps_missing: f64,
    pub(crate) underfill: f64,
    pub(crate) lens_dirt: f64,
    pub(crate) camera_frozen: bool,
}

impl Effects {
    /// The effects of `event` at `elapsed_s` from the start of the run.
    pub(crate) fn at(event: Option<&FaultEvent>, elapsed_s: f64) -> Self {
        let mut effects = Self::default();
        let Some(event) = event else { return effects };
        let since_s = elapsed_s - event.onset_s;
        if since_s < 0.0 {
            return effects;
        }
        let severity = event.severity.clamp(0.0, 1.0);
        let ramp = |seconds: f64| severity * (since_s / seconds).min(1.0);
        let frozen = since_s % FREEZE_CYCLE_S < severity * FREEZE_CYCLE_S;
        match event.fault {
            Fault::PumpCavitation => effects.cavitation = ramp(6.0),
            Fault::ValveStiction => effects.stiction = ramp(8.0),
            Fault::TankLeak => effects.leak = ramp(4.0),
            Fault::LevelSensorDrift => effects.drift = severity,
            Fault::FrozenSensor => effects.sensor_frozen = frozen,
            Fault::ConveyorJam => effects.jam = ramp(1.5),
            Fault::MissingCaps => effects.caps_missing = severity,
            Fault::Underfill => effects.underfill = severity,
            Fault::DirtyLens => effects.lens_dirt = severity * (1.0 - (-since_s / 18.0).exp()),
            Fault::FrozenCamera => effects.camera_frozen = frozen,
        }
        effects
    }
}
