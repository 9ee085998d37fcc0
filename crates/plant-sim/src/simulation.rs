//! A run of the line: what its sensors and its camera deliver, in the order of time.

use std::collections::VecDeque;

use sightglass_protocol::{Frame, Sample, UtcNanos, time::SECOND};

use crate::{
    camera::{CAMERA_FPS, Camera, PX_PER_M},
    conveyor::Conveyor,
    fault::{Effects, Fault},
    instruments::Instruments,
    operator::{Dial, Operator},
    process::{Process, STEP_S},
    scenario::{FaultEvent, Scenario, SimOptions},
    truth::{BottleTruth, Truth},
    violation::ViolationEvent,
};

/// How long the line has run, unseen, before the start: no start-up is recorded.
const WARM_UP_STEPS: u64 = 18_000;
const STEP_NS: i64 = SECOND / 100;

/// What the line delivers.
#[derive(Clone, Debug, PartialEq)]
pub enum SimItem {
    /// Samples of one moment, in the order of their tags.
    Samples(Vec<Sample>),
    /// A picture of `CameraId(0)`.
    Frame(Frame),
}

impl SimItem {
    /// When it was captured.
    pub fn time(&self) -> UtcNanos {
        match self {
            Self::Samples(samples) => samples.first().map_or(UtcNanos::MIN, |sample| sample.time),
            Self::Frame(frame) => frame.time,
        }
    }
}

/// A run of the simulated line.
#[derive(Clone, Debug)]
pub struct Simulation {
    start: UtcNanos,
    scenario: Scenario,
    /// Steps since the start.
    step: u64,
    frames: u64,
    operator: Operator,
    process: Process,
    conveyor: Conveyor,
    instruments: Instruments,
    camera: Option<Camera>,
    effects: Effects,
    ready: VecDeque<SimItem>,
}

impl Simulation {
    /// A run with its camera. Takes a few milliseconds for the unseen running-in.
    pub fn new(options: SimOptions) -> Self {
        let camera = Camera::new(options.seed);
        Self::start(options, Some(camera))
    }

    /// The same run without pictures: the same samples, many times faster.
    pub fn without_camera(options: SimOptions) -> Self {
        Self::start(options, None)
    }

    fn start(options: SimOptions, camera: Option<Camera>) -> Self {
        let SimOptions { seed, start, scenario } = options;
        let operator = Operator::new(seed, &scenario);
        let mut simulation = Self {
            start,
            step: 0,
            frames: 0,
            process: Process::new(seed, &operator.setpoints),
            conveyor: Conveyor::new(seed),
            instruments: Instruments::new(seed),
            camera,
            effects: Effects::default(),
            ready: VecDeque::new(),
            operator,
            scenario,
        };
        for _ in 0..WARM_UP_STEPS {
            simulation.advance_plant();
        }
        simulation.act_and_deliver();
        simulation
    }

    /// What the line delivers next; `None` when the run's duration is over.
    #[expect(clippy::should_implement_trait, reason = "an endless run would make most of an iterator's methods hang")]
    pub fn next(&mut self) -> Option<SimItem> {
        while self.ready.is_empty() {
            if self.is_over((self.step + 1) as i64 * STEP_NS) {
                return None;
            }
            self.advance_plant();
            self.step += 1;
            self.act_and_deliver();
        }
        self.ready.pop_front()
    }

    fn is_over(&self, elapsed_ns: i64) -> bool {
        self.scenario.duration_s.is_some_and(|duration_s| elapsed_ns as f64 >= duration_s * SECOND as f64)
    }

    fn elapsed_s(&self) -> f64 {
        self.step as f64 * STEP_S
    }

    fn advance_plant(&mut self) {
        let (setpoints, mode) = (self.operator.setpoints, self.operator.mode);
        let draw = self.conveyor.step(&setpoints, mode, self.process.bowl_bar, self.process.air_bar, &self.effects);
        self.process.step(&setpoints, draw, &self.effects);
    }

    /// People and faults act, then camera and instruments look.
    fn act_and_deliver(&mut self) {
        self.operator.step(self.elapsed_s());
        self.effects = Effects::at(self.scenario.fault.as_ref(), self.elapsed_s());
        if let Some(ViolationEvent { violation, at_s }) = self.scenario.violation
            && self.elapsed_s() >= at_s
            && self.conveyor.violate(violation, &self.operator.setpoints, self.operator.mode)
        {
            self.scenario.violation = None;
        }
        let now_ns = self.step as i64 * STEP_NS;
        if self.is_over(now_ns) {
            return;
        }
        loop {
            let frame_ns = (i128::from(self.frames) * i128::from(SECOND) / i128::from(CAMERA_FPS)) as i64;
            if frame_ns > now_ns {
                break;
            }
            self.frames += 1;
            if let Some(camera) = &mut self.camera {
                let late_s = (now_ns - frame_ns) as f64 / SECOND as f64;
                let (format, daylight) = (self.operator.setpoints.format, self.operator.daylight.level);
                let time = self.start + frame_ns;
                let frame = camera.shoot(time, late_s, &self.conveyor, format, daylight, &self.effects);
                self.ready.push_back(SimItem::Frame(frame));
            }
        }
        let time = self.start + now_ns;
        let samples =
            self.instruments.sample(self.step, time, &self.operator, &self.process, &self.conveyor, &self.effects);
        if !samples.is_empty() {
            self.ready.push_back(SimItem::Samples(samples));
        }
    }

    /// Sets a setpoint from outside, between two items: what a person does who follows advice. It acts from the next step.
    pub fn set(&mut self, dial: Dial, value: f64) {
        self.operator.set(dial, value);
    }

    /// Takes `litres` out of the supply tank at once, between two items; pours in where negative.
    pub fn drain_tank(&mut self, litres: f64) {
        self.process.drain(litres);
    }

    /// Begins a fault now, or changes it, or ends it.
    pub fn set_fault(&mut self, fault: Option<(Fault, f64)>) {
        let onset_s = self.elapsed_s();
        self.scenario.fault = fault.map(|(fault, severity)| FaultEvent { fault, onset_s, severity });
    }

    /// The physical state when the latest item was captured (or up to one step later).
    pub fn truth(&self) -> Truth {
        let (process, conveyor) = (&self.process, &self.conveyor);
        Truth {
            elapsed_s: self.elapsed_s(),
            tank_level_percent: process.level_percent(),
            tank_l: process.tank_l,
            level_error_percent: process.level_error_percent,
            inlet_l_min: 60.0 * process.inlet_l_s,
            outlet_l_min: 60.0 * process.outlet_l_s,
            leak_l_min: 60.0 * process.leak_l_s,
            inlet_total_l: process.totals.inlet_l,
            outlet_total_l: process.totals.outlet_l,
            leak_total_l: process.totals.leak_l,
            dispensed_total_l: process.totals.dispensed_l,
            pump_speed_percent: process.pump_speed_percent,
            pump_bar: process.pump_bar,
            pump_vibration_mm_s: process.vibration_mm_s,
            valve_command_percent: 100.0 * process.valve_command,
            valve_position_percent: 100.0 * process.valve_opening,
            filler_bar: process.bowl_bar,
            product_c: process.product_c,
            belt_mm_s: 1000.0 * conveyor.speed_m_s,
            conveyor_a: conveyor.current_a,
            capper_strokes: conveyor.capper_strokes,
            bottles_out: conveyor.bottles_out,
            sensor_frozen: self.effects.sensor_frozen,
            lens_dirt: self.effects.lens_dirt,
            camera_frozen: self.effects.camera_frozen,
            daylight: self.operator.daylight.level,
            bottles: conveyor
                .bottles
                .iter()
                .map(|bottle| BottleTruth {
                    x_px: bottle.x_m * PX_PER_M,
                    filled_ml: bottle.filled_ml,
                    capped: bottle.capped,
                    past_capper: bottle.capper_done,
                    format: bottle.format as u8,
                })
                .collect(),
        }
    }
}
