//! The line's tags.

use sightglass_protocol::Role;

/// A tag of the simulated line. Its position in [`tags`] is its `TagId`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SimTag {
    /// Its name.
    pub name: &'static str,
    /// One phrase for people.
    pub description: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// What the instrument can show, low and high.
    pub range: (f64, f64),
    /// Its role.
    pub role: Role,
    /// How often it is sampled. Setpoints and modes are sent at once, too, when they change.
    pub period_ms: u32,
}

/// Positions in [`tags`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum T {
    LineMode,
    BottleFormat,
    LevelSetpoint,
    SpeedSetpoint,
    FillSetpoint,
    TemperatureSetpoint,
    PumpSpeed,
    ValveCommand,
    HeaterPower,
    ConveyorDrive,
    TankLevel,
    TankPressure,
    InletFlow,
    PumpPressure,
    PumpCurrent,
    PumpVibration,
    ValvePosition,
    FillerFlow,
    FillerPressure,
    FillWeight,
    SupplyTemperature,
    ProductTemperature,
    ConveyorSpeed,
    ConveyorCurrent,
    CapperTorque,
    AirPressure,
}

/// How many tags there are.
pub(crate) const TAG_COUNT: usize = T::AirPressure as usize + 1;

const fn tag(
    name: &'static str,
    description: &'static str,
    unit: &'static str,
    range: (f64, f64),
    role: Role,
    period_ms: u32,
) -> SimTag {
    SimTag { name, description, unit, range, role, period_ms }
}

#[rustfmt::skip]
static TAGS: [SimTag; TAG_COUNT] = [
    tag("line_mode", "Line: 0 stopped, 1 manual (run empty), 2 automatic", "", (0.0, 2.0), Role::Mode, 1000),
    tag("bottle_format", "Bottle on the line: 1 large, 2 small", "", (1.0, 2.0), Role::Setpoint, 1000),
    tag("level_setpoint", "Supply tank level, wanted", "%", (0.0, 100.0), Role::Setpoint, 1000),
    tag("speed_setpoint", "Line speed, wanted", "1/min", (0.0, 60.0), Role::Setpoint, 1000),
    tag("fill_setpoint", "Fill per bottle, wanted", "ml", (200.0, 400.0), Role::Setpoint, 1000),
    tag("temperature_setpoint", "Product temperature, wanted", "°C", (0.0, 40.0), Role::Setpoint, 1000),
    tag("pump_speed", "Feed pump drive, from the level controller", "%", (0.0, 105.0), Role::Output, 200),
    tag("valve_command", "Control valve, from the flow controller", "%", (-5.0, 105.0), Role::Output, 100),
    tag("heater_power", "Heater, from the temperature controller", "%", (-5.0, 105.0), Role::Output, 500),
    tag("conveyor_drive", "Conveyor drive, from the speed controller", "%", (-5.0, 105.0), Role::Output, 200),
    tag("tank_level", "Supply tank level", "%", (0.0, 100.0), Role::Measurement, 500),
    tag("tank_pressure", "Supply tank, pressure of the liquid column", "mbar", (-5.0, 120.0), Role::Measurement, 500),
    tag("inlet_flow", "Flow from the feed pump into the supply tank", "l/min", (-1.0, 30.0), Role::Measurement, 200),
    tag("pump_pressure", "Feed pump, discharge pressure", "bar", (-0.5, 6.0), Role::Measurement, 200),
    tag("pump_current", "Feed pump, motor current", "A", (0.0, 10.0), Role::Measurement, 500),
    tag("pump_vibration", "Feed pump, bearing vibration", "mm/s", (0.0, 15.0), Role::Measurement, 200),
    tag("valve_position", "Control valve, stem position", "%", (-5.0, 105.0), Role::Measurement, 100),
    tag("filler_flow", "Flow through the control valve to the filler", "l/min", (-1.0, 30.0), Role::Measurement, 100),
    tag("filler_pressure", "Filler bowl, pressure", "bar", (0.0, 1.5), Role::Measurement, 200),
    tag("fill_weight", "Check-weigher, content of the bottle filled last", "g", (0.0, 450.0), Role::Measurement, 1000),
    tag("supply_temperature", "Supply tank temperature", "°C", (0.0, 40.0), Role::Measurement, 2000),
    tag("product_temperature", "Product temperature at the filler", "°C", (0.0, 60.0), Role::Measurement, 1000),
    tag("conveyor_speed", "Conveyor belt speed", "mm/s", (-5.0, 120.0), Role::Measurement, 100),
    tag("conveyor_current", "Conveyor, motor current", "A", (0.0, 12.0), Role::Measurement, 200),
    tag("capper_torque", "Capper, torque of the last stroke", "Nm", (-0.5, 5.0), Role::Measurement, 500),
    tag("air_pressure", "Compressed air", "bar", (0.0, 10.0), Role::Measurement, 1000),
];

/// The line's tags; the tag with `TagId(i)` is at position `i`.
pub fn tags() -> &'static [SimTag] {
    &TAGS
}
