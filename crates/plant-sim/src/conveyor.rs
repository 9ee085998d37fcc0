//! The dry side: belt, bottles, the filling nozzle and the capper that walk with them.
//!
//! Positions in metres along the belt from the left edge of the picture.

use std::collections::VecDeque;

use crate::{
    controller::Pi,
    fault::Effects,
    noise::{Noise, Stream, Wander},
    operator::{Format, Mode, Setpoints},
    process::{BOWL_BAR, Draw, STEP_S},
    violation::Violation,
};

/// Bottle to bottle.
pub(crate) const PITCH_M: f64 = 0.1;
const PITCH_JITTER: f64 = 0.02;
/// Bottles closer than this touch.
const TOUCH_M: f64 = 0.058;
const ENTRY_M: f64 = -0.08;
const EXIT_M: f64 = 0.76;
/// On the belt at once, touching all the way.
const BOTTLES_MAX: usize = 16;

/// The belt at full drive: 60 bottles a minute.
pub(crate) const BELT_M_S_MAX: f64 = 0.1;
const BELT_LAG_S: f64 = 0.4;
/// Change of the wanted speed, in m/s per second.
const RAMP_M_S2: f64 = 0.015;

/// Where the nozzle walks with a bottle, and where it must have given all.
const NOZZLE_M: (f64, f64) = (0.224, 0.299);
const NOZZLE_FULL_M: f64 = 0.290;
const CAPPER_M: (f64, f64) = (0.367, 0.417);
const CAPPER_CLOSE_M: f64 = 0.391;
/// Where bottles jam.
const JAM_M: (f64, f64) = (0.44, 0.47);

/// Where a bottle stands that no tool touches, and what violations do to it.
const UNTOUCHED_M: (f64, f64) = (0.305, 0.345);
const JUMP_M: f64 = 0.04;
const INSIDE_M: f64 = 0.022;
const RISE_ML_S: f64 = 40.0;
const RISE_ML: f64 = 70.0;
/// How much of the belt behind the gate must be empty before a bottle passes it shut: no straggler.
const EMPTY_M: f64 = 0.3;

/// An underfill of severity 1 leaves out this share.
const UNDERFILL_SHARE: f64 = 0.22;
const JAM_SLIP: f64 = 0.75;
const JAM_A: f64 = 3.6;

/// A bottle on the belt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bottle {
    pub(crate) x_m: f64,
    pub(crate) speed_m_s: f64,
    pub(crate) format: Format,
    /// What the filler believes to have given.
    dosed_ml: f64,
    pub(crate) filled_ml: f64,
    pub(crate) capped: bool,
    pub(crate) capper_done: bool,
    cap_draw: f64,
    torque_draw: f64,
    /// What the bottle holds has a colour that is on no line.
    pub(crate) miscoloured: bool,
    /// It will fill up by itself by this much more.
    rises_ml: f64,
    /// It does not touch the one before it.
    inside: bool,
}

impl Bottle {
    fn new(x_m: f64, speed_m_s: f64, format: Format, noise: &mut Noise) -> Self {
        Self {
            x_m,
            speed_m_s,
            format,
            dosed_ml: 0.0,
            filled_ml: 0.0,
            capped: false,
            capper_done: false,
            cap_draw: noise.uniform(),
            torque_draw: noise.gauss(),
            miscoloured: false,
            rises_ml: 0.0,
            inside: false,
        }
    }
}

/// A tool that walks with a bottle, dips, and returns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) x_m: f64,
    /// 0 up, 1 down.
    pub(crate) down: f64,
    home_m: f64,
}

impl Head {
    const SPEED_M_S: f64 = 0.45;
    const STROKE_S: f64 = 0.1;

    const fn new(home_m: f64) -> Self {
        Self { x_m: home_m, down: 0.0, home_m }
    }

    /// Moves towards `bottle_m`, or home; whether it is down on the bottle.
    fn step(&mut self, bottle_m: Option<f64>) -> bool {
        let target_m = bottle_m.unwrap_or(self.home_m);
        let off_m = target_m - self.x_m;
        let reach_m = Self::SPEED_M_S * STEP_S;
        let aligned = bottle_m.is_some() && off_m.abs() <= reach_m;
        if aligned || self.down <= 0.0 {
            self.x_m += off_m.clamp(-reach_m, reach_m);
        }
        let stroke = STEP_S / Self::STROKE_S;
        self.down = (self.down + if aligned { stroke } else { -stroke }).clamp(0.0, 1.0);
        aligned && self.down > 0.8
    }
}

/// The state of the dry side.
#[derive(Clone, Debug)]
pub(crate) struct Conveyor {
    noise: Noise,
    bottle_noise: Noise,
    friction: Wander,
    /// Rightmost first.
    pub(crate) bottles: VecDeque<Bottle>,
    next_gap_m: f64,
    speed_wanted_m_s: f64,
    pub(crate) speed_m_s: f64,
    pub(crate) drive: f64,
    pub(crate) current_a: f64,
    pub(crate) belt_m: f64,
    pub(crate) nozzle: Head,
    pub(crate) dosing: bool,
    pub(crate) capper: Head,
    pub(crate) capper_turns: f64,
    /// How far heads are lowered for the bottle: 0 large, 1 small.
    pub(crate) heads_for_small: f64,
    pub(crate) torque_nm: f64,
    since_cap_s: f64,
    pub(crate) weighed_ml: f64,
    pub(crate) capper_strokes: u64,
    pub(crate) bottles_out: u64,
    speed_controller: Pi,
}

impl Conveyor {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            noise: Noise::new(seed, Stream::Belt as u64),
            bottle_noise: Noise::new(seed, Stream::Bottles as u64),
            friction: Wander::new(0.008, 4.0, STEP_S),
            bottles: VecDeque::with_capacity(BOTTLES_MAX),
            next_gap_m: PITCH_M,
            speed_wanted_m_s: 0.0,
            speed_m_s: 0.0,
            drive: 0.0,
            current_a: 1.2,
            belt_m: 0.0,
            nozzle: Head::new(NOZZLE_M.0),
            dosing: false,
            capper: Head::new(CAPPER_M.0),
            capper_turns: 0.0,
            heads_for_small: 0.0,
            torque_nm: 0.2,
            since_cap_s: 0.0,
            weighed_ml: 330.0,
            capper_strokes: 0,
            bottles_out: 0,
            speed_controller: Pi::new(0.6, 1.5, (0.0, 1.0), 0.03),
        }
    }

    /// Advances one step; what the filler takes from its bowl meanwhile.
    pub(crate) fn step(
        &mut self,
        setpoints: &Setpoints,
        mode: Mode,
        bowl_bar: f64,
        air_bar: f64,
        effects: &Effects,
    ) -> Draw {
        self.step_belt(setpoints, mode, effects);
        self.step_bottles(setpoints, mode, effects);
        let small = f64::from(u8::from(setpoints.format == Format::Small));
        self.heads_for_small += (small - self.heads_for_small).clamp(-STEP_S / 2.0, STEP_S / 2.0);
        self.step_capper(air_bar, effects);
        let mut draw = self.step_nozzle(setpoints, bowl_bar, effects);
        draw.pace = self.speed_m_s / BELT_M_S_MAX;
        draw
    }

    fn step_belt(&mut self, setpoints: &Setpoints, mode: Mode, effects: &Effects) {
        let friction = 0.035 + self.friction.step(&mut self.noise);
        let wanted_m_s = setpoints.bottles_per_min / 60.0 * PITCH_M;
        let reach = RAMP_M_S2 * STEP_S;
        self.speed_wanted_m_s += (wanted_m_s - self.speed_wanted_m_s).clamp(-reach, reach);
        if mode != Mode::Manual {
            self.drive = if self.speed_wanted_m_s > 1e-4 {
                let error = (self.speed_wanted_m_s - self.speed_m_s) / BELT_M_S_MAX;
                self.speed_controller.step(error, self.speed_wanted_m_s / BELT_M_S_MAX, STEP_S)
            } else {
                0.0
            };
        }
        let slip = friction + JAM_SLIP * effects.jam * (self.drive / 0.5).min(1.0);
        let pull_m_s = BELT_M_S_MAX * (self.drive - slip).max(0.0);
        let before_m_s = self.speed_m_s;
        self.speed_m_s += (pull_m_s - self.speed_m_s) * STEP_S / BELT_LAG_S;
        self.belt_m += self.speed_m_s * STEP_S;
        let gain_m_s2 = (self.speed_m_s - before_m_s) / STEP_S;
        let running = (self.speed_m_s / (0.1 * BELT_M_S_MAX)).min(1.0);
        let load_a = 0.9 * running + 1.4 * self.speed_m_s / BELT_M_S_MAX + 0.04 * self.bottles.len() as f64 * running;
        let amps = 0.5 + load_a + 6.0 * (friction - 0.035) * running + 20.0 * gain_m_s2.max(0.0);
        let amps = amps + JAM_A * effects.jam * (self.drive / 0.5).min(1.0);
        self.current_a += (amps - self.current_a) * STEP_S / 0.2;
    }

    fn step_bottles(&mut self, setpoints: &Setpoints, mode: Mode, effects: &Effects) {
        let mut ahead_m = f64::INFINITY;
        for bottle in &mut self.bottles {
            let held = if (JAM_M.0..=JAM_M.1).contains(&bottle.x_m) { 1.0 - effects.jam.min(1.0) } else { 1.0 };
            let free_m = bottle.x_m + self.speed_m_s * held * STEP_S;
            let next_m = if bottle.inside { free_m } else { free_m.min(ahead_m - TOUCH_M).max(bottle.x_m) };
            bottle.speed_m_s = (next_m - bottle.x_m) / STEP_S;
            bottle.x_m = next_m;
            ahead_m = next_m;
            let rise_ml = (RISE_ML_S * STEP_S).min(bottle.rises_ml);
            bottle.rises_ml -= rise_ml;
            bottle.filled_ml += rise_ml;
        }
        if self.bottles.pop_front_if(|bottle| bottle.x_m > EXIT_M).is_some() {
            self.bottles_out += 1;
        }
        let gate_open = mode == Mode::Automatic && setpoints.bottles_per_min > 0.0;
        let last_m = self.bottles.back().map_or(ENTRY_M + self.next_gap_m, |bottle| bottle.x_m);
        if gate_open && last_m - self.next_gap_m >= ENTRY_M && self.bottles.len() < BOTTLES_MAX {
            let x_m = last_m - self.next_gap_m;
            self.next_gap_m = PITCH_M * (1.0 + PITCH_JITTER * (2.0 * self.bottle_noise.uniform() - 1.0));
            self.bottles.push_back(Bottle::new(x_m, self.speed_m_s, setpoints.format, &mut self.bottle_noise));
        }
    }

    /// Lets happen what cannot; whether there was a bottle to befall, or the shut gate.
    pub(crate) fn violate(&mut self, violation: Violation, setpoints: &Setpoints, mode: Mode) -> bool {
        if violation == Violation::PassesClosedGate {
            let empty = self.bottles.back().is_none_or(|last| last.x_m > ENTRY_M + EMPTY_M);
            if mode != Mode::Manual || !empty {
                return false;
            }
            self.bottles.push_back(Bottle::new(ENTRY_M, self.speed_m_s, setpoints.format, &mut self.bottle_noise));
            return true;
        }
        let Some(at) = self.bottles.iter().position(|b| (UNTOUCHED_M.0..=UNTOUCHED_M.1).contains(&b.x_m)) else {
            return false;
        };
        let bottle = &mut self.bottles[at];
        match violation {
            Violation::Vanishes => drop(self.bottles.remove(at)),
            Violation::Jumps => bottle.x_m += JUMP_M,
            Violation::PassesClosedGate => {}
            Violation::ChangesColour => bottle.miscoloured = true,
            Violation::LiquidRises => bottle.rises_ml = RISE_ML,
            Violation::TwoInOnePlace => {
                let second = Bottle { x_m: bottle.x_m - INSIDE_M, inside: true, ..*bottle };
                self.bottles.insert(at + 1, second);
            }
        }
        true
    }

    fn step_nozzle(&mut self, setpoints: &Setpoints, bowl_bar: f64, effects: &Effects) -> Draw {
        let dose_ml = setpoints.fill_ml;
        let mut draw = Draw::default();
        // What the filler will need: a dose a bottle, as fast as bottles come by.
        if let Some(near) = self.bottles.iter().find(|bottle| bottle.x_m <= NOZZLE_M.1)
            && near.x_m > NOZZLE_M.0 - 0.6 * PITCH_M
        {
            draw.demand_l_s = dose_ml / 1000.0 * near.speed_m_s / PITCH_M;
        }
        self.dosing = false;
        let under = self
            .bottles
            .iter_mut()
            .find(|bottle| (NOZZLE_M.0..=NOZZLE_M.1).contains(&bottle.x_m) && bottle.dosed_ml < 0.999 * dose_ml);
        let Some(bottle) = under else {
            self.nozzle.step(None);
            return draw;
        };
        if self.nozzle.step(Some(bottle.x_m)) && bottle.speed_m_s > 1e-5 {
            // The cam spreads what is left of the dose over what is left of the way.
            let way_m = (NOZZLE_FULL_M - bottle.x_m).max(0.001);
            let rate_ml_s = (dose_ml - bottle.dosed_ml).max(0.0) * bottle.speed_m_s / way_m;
            let opening = (1.0 - UNDERFILL_SHARE * effects.underfill) * (bowl_bar / BOWL_BAR).sqrt();
            bottle.dosed_ml += rate_ml_s * STEP_S;
            bottle.filled_ml += rate_ml_s * opening * STEP_S;
            draw.dispensed_l_s = rate_ml_s * opening / 1000.0;
            self.dosing = true;
            if bottle.dosed_ml >= 0.999 * dose_ml {
                self.weighed_ml = bottle.filled_ml;
            }
        }
        draw
    }

    fn step_capper(&mut self, air_bar: f64, effects: &Effects) {
        let under = self
            .bottles
            .iter_mut()
            .find(|bottle| (CAPPER_M.0..=CAPPER_M.1).contains(&bottle.x_m) && !bottle.capper_done);
        self.since_cap_s += STEP_S;
        match under {
            None => {
                self.capper.step(None);
            }
            Some(bottle) => {
                if self.capper.step(Some(bottle.x_m)) {
                    self.capper_turns += 1.5 * STEP_S;
                    if bottle.x_m >= CAPPER_CLOSE_M && !bottle.capper_done {
                        bottle.capped = bottle.cap_draw >= effects.caps_missing;
                        bottle.capper_done = true;
                        let nominal_nm = if bottle.format == Format::Large { 2.1 } else { 1.6 };
                        self.torque_nm = nominal_nm * (1.0 + 0.02 * bottle.torque_draw) * (0.6 + 0.4 * air_bar / 6.1);
                        self.since_cap_s = 0.0;
                        self.capper_strokes += 1;
                    }
                }
            }
        }
        // Without bottles the head idles.
        if self.since_cap_s > 4.0 {
            self.torque_nm += (0.2 - self.torque_nm) * STEP_S;
        }
    }
}
