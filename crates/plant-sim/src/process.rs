//! The wet side: cellar, feed pump, supply tank, control valve, heater, filler bowl, and compressed air.
//!
//! Lumped balances of mass and heat, advanced by explicit Euler steps of [`STEP_S`]; every time constant is at least
//! fifteen steps long. Volumes in litres, flows in l/s, pressures in bar, temperatures in °C, openings 0 to 1.

use crate::{
    controller::Pi,
    fault::Effects,
    noise::{Noise, Stream, Wander},
    operator::Setpoints,
};

/// The integrator's step.
pub(crate) const STEP_S: f64 = 0.01;
pub(crate) const STEP_MS: u64 = 10;

pub(crate) const TANK_L: f64 = 60.0;
/// The liquid column of a full tank, 1 m.
pub(crate) const TANK_COLUMN_MBAR: f64 = 98.1;
const TANK_GAS_BAR: f64 = 1.0;

/// Feed pump: head at full speed and no flow, and its loss with flow together with the pipe's (bar per (l/s)²).
const PUMP_HEAD_BAR: f64 = 4.5;
const PUMP_LOSS: f64 = 15.0;
const PIPE_LOSS: f64 = 12.0;
/// What the pump must lift against, less what the cellar gives.
const PIPE_STATIC_BAR: f64 = 0.3;
const CELLAR_BAR: f64 = 0.1;
const PUMP_SPEED_MIN: f64 = 20.0;

const VALVE_CV: f64 = 1.32;
/// Equal-percentage characteristic.
const VALVE_RANGEABILITY: f64 = 25.0;
const VALVE_ACTUATOR_S: f64 = 0.35;
/// Below this demand the valve is shut.
const SHUT_L_S: f64 = 0.005;

/// How fast the controllers follow a new setpoint.
const LEVEL_RAMP_PERCENT_S: f64 = 0.12;
const TEMPERATURE_RAMP_K_S: f64 = 0.1;

pub(crate) const BOWL_BAR: f64 = 0.6;
/// Stiffness of the gas cushion above the bowl.
const BOWL_BAR_PER_L: f64 = 0.12;

const HEATER_L: f64 = 1.5;
const HEATER_KW: f64 = 9.0;
const HEATER_LAG_S: f64 = 3.0;
const WATER_KJ_PER_L_K: f64 = 4.19;
const CELLAR_C: f64 = 12.0;
const HALL_C: f64 = 20.0;

const AIR_BAR: f64 = 6.2;

/// A leak of severity 1 at half a tank.
const LEAK_L_S: f64 = 0.09;
/// A drift of severity 1, and where the sensor's error ends.
const DRIFT_PERCENT_PER_S: f64 = 0.11;
const DRIFT_PERCENT_MAX: f64 = 35.0;
/// The stick band and the jump of a sticking valve of severity 1.
const STICK_BAND: f64 = 0.06;
const STICK_JUMP: f64 = 0.025;

/// Litres that have passed since the start, for the balance.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) inlet_l: f64,
    pub(crate) outlet_l: f64,
    pub(crate) leak_l: f64,
    pub(crate) dispensed_l: f64,
}

/// What the filler takes during a step.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Draw {
    /// What the filler expects to take on average, from bottles and line speed.
    pub(crate) demand_l_s: f64,
    /// What runs into bottles at this moment.
    pub(crate) dispensed_l_s: f64,
    /// Belt speed, as a share of the fastest: what uses compressed air.
    pub(crate) pace: f64,
}

/// The state of the wet side.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    noise: Noise,
    cellar_bar: Wander,
    gas_bar: Wander,
    cellar_c: Wander,
    air_wander: Wander,
    bearing: Wander,
    bubbles: Wander,

    pub(crate) tank_l: f64,
    pub(crate) tank_c: f64,
    pub(crate) level_error_percent: f64,
    pub(crate) pump_speed_percent: f64,
    pub(crate) pump_output_percent: f64,
    pub(crate) inlet_l_s: f64,
    pub(crate) pump_bar: f64,
    pub(crate) pump_a: f64,
    pub(crate) vibration_mm_s: f64,
    pub(crate) leak_l_s: f64,
    pub(crate) valve_command: f64,
    pub(crate) valve_opening: f64,
    pub(crate) outlet_l_s: f64,
    pub(crate) bowl_bar: f64,
    pub(crate) product_c: f64,
    pub(crate) heater_output: f64,
    heater_kw: f64,
    pub(crate) air_bar: f64,
    demand_l_s: f64,
    level_wanted_percent: f64,
    wanted_c: f64,
    pub(crate) totals: Totals,

    level_controller: Pi,
    bowl_controller: Pi,
    flow_controller: Pi,
    temperature_controller: Pi,
}

impl Process {
    /// Near the steady state of the usual setpoints.
    pub(crate) fn new(seed: u64, setpoints: &Setpoints) -> Self {
        let wander = |sigma, tau_s| Wander::new(sigma, tau_s, STEP_S);
        Self {
            noise: Noise::new(seed, Stream::Process as u64),
            cellar_bar: wander(0.03, 6.0),
            gas_bar: wander(0.025, 8.0),
            cellar_c: wander(0.25, 40.0),
            air_wander: wander(0.03, 5.0),
            bearing: wander(0.07, 0.8),
            bubbles: wander(1.0, 0.25),
            tank_l: TANK_L * setpoints.level_percent / 100.0,
            tank_c: CELLAR_C,
            level_error_percent: 0.0,
            pump_speed_percent: 49.0,
            pump_output_percent: 49.0,
            inlet_l_s: 0.17,
            pump_bar: 0.7,
            pump_a: 2.5,
            vibration_mm_s: 1.5,
            leak_l_s: 0.0,
            valve_command: 0.55,
            valve_opening: 0.55,
            outlet_l_s: 0.17,
            bowl_bar: BOWL_BAR,
            product_c: setpoints.temperature_c,
            heater_output: 0.5,
            heater_kw: 4.5,
            air_bar: AIR_BAR,
            demand_l_s: 0.17,
            level_wanted_percent: setpoints.level_percent,
            wanted_c: setpoints.temperature_c,
            totals: Totals::default(),
            level_controller: Pi::new(6.0, 70.0, (PUMP_SPEED_MIN, 100.0), 49.0),
            bowl_controller: Pi::new(1.6, 7.0, (0.0, 0.5), 0.0),
            flow_controller: Pi::new(0.3, 0.3, (0.0, 1.0), 0.55),
            temperature_controller: Pi::new(0.05, 14.0, (0.0, 1.0), 0.0),
        }
    }

    pub(crate) fn level_percent(&self) -> f64 {
        100.0 * self.tank_l / TANK_L
    }

    /// What the level sensor tells its controller.
    pub(crate) fn level_seen_percent(&self) -> f64 {
        (self.level_percent() + self.level_error_percent).clamp(0.0, 100.0)
    }

    /// Takes product out of the supply tank at once (or pours some in, where negative).
    pub(crate) fn drain(&mut self, litres: f64) {
        let before = self.tank_l;
        self.tank_l = (self.tank_l - litres).clamp(0.0, TANK_L);
        self.totals.leak_l += before - self.tank_l;
    }

    pub(crate) fn step(&mut self, setpoints: &Setpoints, draw: Draw, effects: &Effects) {
        // Drawn every step whatever happens, so that a fault never shifts the randomness of the rest.
        let cellar_bar = CELLAR_BAR + self.cellar_bar.step(&mut self.noise);
        let gas_bar = TANK_GAS_BAR + self.gas_bar.step(&mut self.noise);
        let cellar_c = CELLAR_C + self.cellar_c.step(&mut self.noise);
        let air_wander = self.air_wander.step(&mut self.noise);
        let bearing = self.bearing.step(&mut self.noise);
        let bubbles = self.bubbles.step(&mut self.noise);

        self.step_pump(setpoints, cellar_bar, bearing, bubbles, effects);
        self.step_valve(gas_bar, draw, effects);
        self.step_tank(cellar_c, effects);
        self.step_bowl(draw);
        self.step_heater(setpoints);
        let air_target = AIR_BAR - 0.25 * draw.pace + air_wander;
        self.air_bar += (air_target - self.air_bar) * STEP_S / 2.0;
    }

    fn step_pump(&mut self, setpoints: &Setpoints, cellar_bar: f64, bearing: f64, bubbles: f64, effects: &Effects) {
        self.level_wanted_percent = ramp(self.level_wanted_percent, setpoints.level_percent, LEVEL_RAMP_PERCENT_S);
        let error = self.level_wanted_percent - self.level_seen_percent();
        self.pump_output_percent = self.level_controller.step(error, 0.0, STEP_S);
        self.pump_speed_percent += (self.pump_output_percent - self.pump_speed_percent) * STEP_S / 0.5;
        let speed = self.pump_speed_percent / 100.0;

        // Vapour takes head away, in bursts, and never all of it.
        let lost = (effects.cavitation * (0.34 + 0.10 * bubbles)).clamp(0.0, 0.9);
        let head_bar = PUMP_HEAD_BAR * speed * speed * (1.0 - lost);
        let drive_bar = cellar_bar + head_bar - PIPE_STATIC_BAR;
        // The check valve lets nothing back.
        let flow = (drive_bar.max(0.0) / (PUMP_LOSS + PIPE_LOSS)).sqrt();
        self.inlet_l_s += (flow - self.inlet_l_s) * STEP_S / 0.3;
        let discharge_bar = cellar_bar + head_bar - PUMP_LOSS * self.inlet_l_s * self.inlet_l_s;
        self.pump_bar += (discharge_bar.max(0.0) - self.pump_bar) * STEP_S / 0.15;

        let amps = 0.8 + 2.2 * speed * speed + 5.0 * self.inlet_l_s * speed;
        let amps = amps * (1.0 - 0.25 * effects.cavitation * (1.0 + 0.3 * bubbles));
        self.pump_a += (amps - self.pump_a) * STEP_S / 0.3;
        let vibration = 0.7 + 2.2 * speed * speed + bearing + effects.cavitation * (3.2 + 0.9 * bubbles);
        self.vibration_mm_s += (vibration.max(0.1) - self.vibration_mm_s) * STEP_S / 0.15;
    }

    fn step_valve(&mut self, gas_bar: f64, draw: Draw, effects: &Effects) {
        self.demand_l_s += (draw.demand_l_s - self.demand_l_s) * STEP_S / 0.8;
        let flow_wanted = self.bowl_controller.step(BOWL_BAR - self.bowl_bar, self.demand_l_s, STEP_S);
        // Without bottles an interlock shuts the valve and leaves the controller's memory as it was.
        self.valve_command = if self.demand_l_s < SHUT_L_S {
            (self.valve_command - 0.5 * STEP_S).max(0.0)
        } else {
            self.flow_controller.step(flow_wanted - self.outlet_l_s, 0.0, STEP_S)
        };

        let off = self.valve_command - self.valve_opening;
        if effects.stiction > 0.0 {
            // Choudhury, Thornhill, Shah (2005): the stem rests within the stick band, then slips and jumps past.
            if off.abs() > STICK_BAND * effects.stiction {
                // No two slips end alike: the friction met on the way is as uneven as the bubbles.
                let jump = STICK_JUMP * (1.0 + 0.8 * self.bubbles.value).clamp(0.0, 2.5);
                self.valve_opening = self.valve_command + off.signum() * jump * effects.stiction;
            }
        } else {
            // The actuator is as quick as its air is strong.
            self.valve_opening += off * STEP_S / VALVE_ACTUATOR_S * (self.air_bar / AIR_BAR);
        }
        self.valve_opening = self.valve_opening.clamp(0.0, 1.0);

        let shut = 1.0 / VALVE_RANGEABILITY;
        let characteristic = (VALVE_RANGEABILITY.powf(self.valve_opening - 1.0) - shut) / (1.0 - shut);
        let column_bar = self.tank_l / TANK_L * TANK_COLUMN_MBAR / 1000.0;
        let drop_bar = (gas_bar + column_bar - self.bowl_bar).max(0.0);
        let available = (self.tank_l / 0.5).clamp(0.0, 1.0);
        let flow = VALVE_CV * characteristic * drop_bar.sqrt() * available;
        self.outlet_l_s += (flow - self.outlet_l_s) * STEP_S / 0.15;
    }

    fn step_tank(&mut self, cellar_c: f64, effects: &Effects) {
        self.leak_l_s = effects.leak * LEAK_L_S * (2.0 * self.tank_l / TANK_L).max(0.0).sqrt();
        let before = self.tank_l;
        let room = self.inlet_l_s - self.outlet_l_s - self.leak_l_s;
        self.tank_l = (self.tank_l + room * STEP_S).clamp(0.0, TANK_L);
        // What does not fit runs over, what is not there does not run out: the balance stays closed.
        let clipped_l = before + room * STEP_S - self.tank_l;
        self.totals.inlet_l += self.inlet_l_s * STEP_S;
        self.totals.outlet_l += self.outlet_l_s * STEP_S;
        self.totals.leak_l += self.leak_l_s * STEP_S + clipped_l;

        let renewed = self.inlet_l_s / self.tank_l.max(1.0);
        self.tank_c += (renewed * (cellar_c - self.tank_c) + (HALL_C - self.tank_c) / 4000.0) * STEP_S;
        self.level_error_percent += effects.drift * DRIFT_PERCENT_PER_S * STEP_S;
        self.level_error_percent = self.level_error_percent.min(DRIFT_PERCENT_MAX);
    }

    fn step_bowl(&mut self, draw: Draw) {
        self.bowl_bar += BOWL_BAR_PER_L * (self.outlet_l_s - draw.dispensed_l_s) * STEP_S;
        self.bowl_bar = self.bowl_bar.max(0.0);
        self.totals.dispensed_l += draw.dispensed_l_s * STEP_S;
    }

    fn step_heater(&mut self, setpoints: &Setpoints) {
        self.wanted_c = ramp(self.wanted_c, setpoints.temperature_c, TEMPERATURE_RAMP_K_S);
        let lift = (self.wanted_c - self.tank_c).max(0.0);
        let feed_forward = self.outlet_l_s * WATER_KJ_PER_L_K * lift / HEATER_KW;
        let error = self.wanted_c - self.product_c;
        self.heater_output = self.temperature_controller.step(error, feed_forward, STEP_S);
        self.heater_kw += (self.heater_output * HEATER_KW - self.heater_kw) * STEP_S / HEATER_LAG_S;
        let carried = self.outlet_l_s / HEATER_L * (self.tank_c - self.product_c);
        let heated = self.heater_kw / (WATER_KJ_PER_L_K * HEATER_L);
        let lost = (HALL_C - self.product_c) / 300.0;
        self.product_c += (carried + heated + lost) * STEP_S;
    }
}

/// One step from `now` towards `to`.
fn ramp(now: f64, to: f64, per_s: f64) -> f64 {
    now + (to - now).clamp(-per_s * STEP_S, per_s * STEP_S)
}
