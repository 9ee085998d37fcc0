//! What the instruments make of the state: noise, quantisation, sampling periods, and the sensor that freezes.

use sightglass_protocol::{Quality, Role, Sample, TagId, TimeSource, UtcNanos};

use crate::{
    conveyor::Conveyor,
    fault::Effects,
    noise::{Noise, Stream},
    operator::Operator,
    process::{Process, STEP_MS, TANK_COLUMN_MBAR, TANK_L},
    tags::{T, TAG_COUNT, tags},
};

/// The sensor that freezes.
const FREEZES: usize = T::PumpPressure as usize;

/// Quanta in one standard deviation of noise: enough that a working sensor hardly ever repeats itself.
const QUANTA_PER_SIGMA: f64 = 5.0;

/// Standard deviation of the noise, in the tag's unit; 0 for what is typed rather than measured.
const fn sigma(index: usize) -> f64 {
    const fn is(index: usize, tag: T) -> bool {
        index == tag as usize
    }
    match index {
        i if is(i, T::PumpSpeed) => 0.1,
        i if is(i, T::ValveCommand) => 0.1,
        i if is(i, T::HeaterPower) => 0.2,
        i if is(i, T::ConveyorDrive) => 0.1,
        i if is(i, T::TankLevel) => 0.1,
        i if is(i, T::TankPressure) => 0.2,
        i if is(i, T::InletFlow) => 0.08,
        i if is(i, T::PumpPressure) => 0.01,
        i if is(i, T::PumpCurrent) => 0.025,
        i if is(i, T::PumpVibration) => 0.06,
        i if is(i, T::ValvePosition) => 0.15,
        i if is(i, T::FillerFlow) => 0.1,
        i if is(i, T::FillerPressure) => 0.003,
        i if is(i, T::FillWeight) => 0.8,
        i if is(i, T::SupplyTemperature) => 0.03,
        i if is(i, T::ProductTemperature) => 0.05,
        i if is(i, T::ConveyorSpeed) => 0.3,
        i if is(i, T::ConveyorCurrent) => 0.04,
        i if is(i, T::CapperTorque) => 0.02,
        i if is(i, T::AirPressure) => 0.01,
        _ => 0.0,
    }
}

/// All instruments of the line.
#[derive(Clone, Debug)]
pub(crate) struct Instruments {
    noise: Vec<Noise>,
    last: [f64; TAG_COUNT],
}

impl Instruments {
    pub(crate) fn new(seed: u64) -> Self {
        let noise = (0..TAG_COUNT as u64).map(|i| Noise::new(seed, Stream::Instruments as u64 + i)).collect();
        Self { noise, last: [f64::NAN; TAG_COUNT] }
    }

    /// The samples due at step `step`, captured at `time`.
    pub(crate) fn sample(
        &mut self,
        step: u64,
        time: UtcNanos,
        operator: &Operator,
        process: &Process,
        conveyor: &Conveyor,
        effects: &Effects,
    ) -> Vec<Sample> {
        let ms = step * STEP_MS;
        let state = state(operator, process, conveyor);
        let mut samples = Vec::new();
        for (index, tag) in tags().iter().enumerate() {
            let typed = matches!(tag.role, Role::Setpoint | Role::Mode);
            let due = ms.is_multiple_of(u64::from(tag.period_ms));
            let has_changed = typed && state[index] != self.last[index];
            if !(due || has_changed) {
                continue;
            }
            let measured = if typed {
                state[index]
            } else {
                let sigma = sigma(index);
                let quantum = sigma / QUANTA_PER_SIGMA;
                // Drawn even while frozen, so that the sensor goes on as if nothing had been.
                let noisy = state[index] + sigma * self.noise[index].gauss();
                ((noisy / quantum).round() * quantum).clamp(tag.range.0, tag.range.1)
            };
            let frozen = index == FREEZES && effects.sensor_frozen && self.last[index].is_finite();
            if !frozen {
                self.last[index] = measured;
            }
            samples.push(Sample {
                tag: TagId::from_index(index),
                time,
                value: self.last[index],
                quality: Quality::Good,
                time_source: TimeSource::Device,
            });
        }
        samples
    }
}

/// The state in the tags' units, before any noise.
fn state(operator: &Operator, process: &Process, conveyor: &Conveyor) -> [f64; TAG_COUNT] {
    let mut state = [0.0; TAG_COUNT];
    let mut set = |tag: T, value: f64| state[tag as usize] = value;
    let setpoints = &operator.setpoints;
    set(T::LineMode, f64::from(operator.mode as u8));
    set(T::BottleFormat, f64::from(setpoints.format as u8));
    set(T::LevelSetpoint, setpoints.level_percent);
    set(T::SpeedSetpoint, setpoints.bottles_per_min);
    set(T::FillSetpoint, setpoints.fill_ml);
    set(T::TemperatureSetpoint, setpoints.temperature_c);
    set(T::PumpSpeed, process.pump_output_percent);
    set(T::ValveCommand, 100.0 * process.valve_command);
    set(T::HeaterPower, 100.0 * process.heater_output);
    set(T::ConveyorDrive, 100.0 * conveyor.drive);
    set(T::TankLevel, process.level_seen_percent());
    set(T::TankPressure, TANK_COLUMN_MBAR * process.tank_l / TANK_L);
    set(T::InletFlow, 60.0 * process.inlet_l_s);
    set(T::PumpPressure, process.pump_bar);
    set(T::PumpCurrent, process.pump_a);
    set(T::PumpVibration, process.vibration_mm_s);
    set(T::ValvePosition, 100.0 * process.valve_opening);
    set(T::FillerFlow, 60.0 * process.outlet_l_s);
    set(T::FillerPressure, process.bowl_bar);
    set(T::FillWeight, conveyor.weighed_ml);
    set(T::SupplyTemperature, process.tank_c);
    set(T::ProductTemperature, process.product_c);
    set(T::ConveyorSpeed, 1000.0 * conveyor.speed_m_s);
    set(T::ConveyorCurrent, conveyor.current_a);
    set(T::CapperTorque, conveyor.torque_nm);
    set(T::AirPressure, process.air_bar);
    state
}
