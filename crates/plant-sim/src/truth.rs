//! The physical state, without any instrument between: for tests and for judging findings.

/// The physical state at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// Seconds from the start of the run.
    pub elapsed_s: f64,
    /// Supply tank, true level.
    pub tank_level_percent: f64,
    /// Supply tank, content.
    pub tank_l: f64,
    /// What the level sensor reads too much.
    pub level_error_percent: f64,
    /// Flow from the feed pump into the tank.
    pub inlet_l_min: f64,
    /// Flow from the tank through the control valve.
    pub outlet_l_min: f64,
    /// Flow from the tank to the floor.
    pub leak_l_min: f64,
    /// Litres into the tank since before the start.
    pub inlet_total_l: f64,
    /// Litres through the control valve since before the start.
    pub outlet_total_l: f64,
    /// Litres to the floor since before the start.
    pub leak_total_l: f64,
    /// Litres into bottles since before the start.
    pub dispensed_total_l: f64,
    /// Feed pump, share of full speed.
    pub pump_speed_percent: f64,
    /// Feed pump, discharge pressure.
    pub pump_bar: f64,
    /// Feed pump, vibration.
    pub pump_vibration_mm_s: f64,
    /// Control valve, what it is told.
    pub valve_command_percent: f64,
    /// Control valve, where it is.
    pub valve_position_percent: f64,
    /// Filler bowl.
    pub filler_bar: f64,
    /// Product at the filler.
    pub product_c: f64,
    /// The belt.
    pub belt_mm_s: f64,
    /// Conveyor motor.
    pub conveyor_a: f64,
    /// Strokes of the capper since before the start, with or without a cap.
    pub capper_strokes: u64,
    /// Bottles that left the line since before the start.
    pub bottles_out: u64,
    /// Whether the pump's pressure sensor is frozen.
    pub sensor_frozen: bool,
    /// Dirt on the lens, 0 to 1.
    pub lens_dirt: f64,
    /// Whether the camera repeats its last picture.
    pub camera_frozen: bool,
    /// Daylight, 0 (dull) to 1 (bright).
    pub daylight: f64,
    /// Bottles on the line, rightmost first.
    pub bottles: Vec<BottleTruth>,
}

/// A bottle on the line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BottleTruth {
    /// Column of its middle in the camera's picture; outside of the picture at the ends of the line.
    pub x_px: f64,
    /// What is in it.
    pub filled_ml: f64,
    /// Whether it has a cap.
    pub capped: bool,
    /// Whether it stands in view behind the capper, where a cap belongs on it.
    pub past_capper: bool,
    /// 1 large, 2 small.
    pub format: u8,
}
