//! The operator's panel, the hand that works it, and the daylight.

use std::collections::VecDeque;

use crate::{
    change::Change,
    noise::{Noise, Stream},
    scenario::Scenario,
};

/// Who runs the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Belt and valve are at rest.
    Stopped = 0,
    /// The infeed gate is shut and the belt runs at the drive's present output: the line runs empty.
    Manual = 1,
    /// The controllers have it.
    Automatic = 2,
}

/// Which bottle is on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Large = 1,
    Small = 2,
}

impl Format {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Large => Self::Small,
            Self::Small => Self::Large,
        }
    }

    /// What a bottle usually gets.
    pub(crate) const fn fill_ml(self) -> f64 {
        match self {
            Self::Large => 330.0,
            Self::Small => 250.0,
        }
    }
}

/// What the operator has set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Setpoints {
    pub(crate) level_percent: f64,
    pub(crate) bottles_per_min: f64,
    pub(crate) fill_ml: f64,
    pub(crate) temperature_c: f64,
    pub(crate) format: Format,
}

/// A setpoint that can be set from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dial {
    /// `level_setpoint`, in %.
    Level,
    /// `speed_setpoint`, in bottles a minute.
    Speed,
    /// `fill_setpoint`, in ml.
    Fill,
    /// `temperature_setpoint`, in °C.
    Temperature,
}

impl Dial {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Level, Self::Speed, Self::Fill, Self::Temperature];

    /// Its tag's name.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Level => "level_setpoint",
            Self::Speed => "speed_setpoint",
            Self::Fill => "fill_setpoint",
            Self::Temperature => "temperature_setpoint",
        }
    }

    /// Within what the line's own operators move it, for the large bottle.
    pub const fn usual(self) -> (f64, f64) {
        match self {
            Self::Level => LEVEL_PERCENT,
            Self::Speed => BOTTLES_PER_MIN,
            Self::Fill => (330.0 * FILL_SHARE.0, 330.0 * FILL_SHARE.1),
            Self::Temperature => TEMPERATURE_C,
        }
    }
}

const LEVEL_PERCENT: (f64, f64) = (45.0, 65.0);
const BOTTLES_PER_MIN: (f64, f64) = (24.0, 42.0);
/// Around the format's usual fill.
const FILL_SHARE: (f64, f64) = (0.965, 1.035);
const TEMPERATURE_C: (f64, f64) = (16.0, 20.0);

/// A planned stop on request.
const STOP_S: f64 = 40.0;
/// How long the last bottle takes past the camera at the lowest speed.
const RUN_EMPTY_S: f64 = 24.0;
const CHANGE_PARTS_S: f64 = 8.0;
/// A change of daylight on request.
const DAYLIGHT_S: f64 = 120.0;

#[derive(Clone, Copy, Debug)]
enum Act {
    NewSetpoint,
    Stop,
    Start,
    RunEmpty,
    SwapFormat,
}

/// The panel and the hand.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    pub(crate) setpoints: Setpoints,
    pub(crate) mode: Mode,
    /// The speed to come back to after a stop.
    speed_kept: f64,
    /// Acts to come, by time.
    agenda: VecDeque<(f64, Act)>,
    random: Option<Noise>,
    scripted: Noise,
    next_idea_s: f64,
    pub(crate) daylight: Daylight,
}

impl Operator {
    pub(crate) fn new(seed: u64, scenario: &Scenario) -> Self {
        let format = Format::Large;
        let setpoints = Setpoints {
            level_percent: 55.0,
            bottles_per_min: 32.0,
            fill_ml: format.fill_ml(),
            temperature_c: 18.0,
            format,
        };
        let mut random = scenario.operator.then(|| Noise::new(seed, Stream::Operator as u64));
        let next_idea_s = random.as_mut().map_or(f64::INFINITY, |random| random.between(20.0, 60.0));
        let mut operator = Self {
            setpoints,
            mode: Mode::Automatic,
            speed_kept: setpoints.bottles_per_min,
            agenda: VecDeque::new(),
            random,
            scripted: Noise::new(seed, Stream::Scripted as u64),
            next_idea_s,
            daylight: Daylight::new(seed, scenario),
        };
        for event in &scenario.changes {
            match event.change {
                Change::SetpointChange => operator.plan(event.at_s, Act::NewSetpoint),
                Change::PlannedStop => operator.plan_stop(event.at_s, STOP_S),
                Change::ChangeOver => {
                    operator.plan_change_over(event.at_s);
                }
                Change::Daylight => {}
            }
        }
        operator
    }

    /// Sets a setpoint by hand, as if it had been typed at the panel. Of a stopped line the speed is what it starts with.
    pub(crate) fn set(&mut self, dial: Dial, value: f64) {
        match dial {
            Dial::Level => self.setpoints.level_percent = value.clamp(0.0, 100.0),
            Dial::Fill => self.setpoints.fill_ml = value.clamp(0.0, 400.0),
            Dial::Temperature => self.setpoints.temperature_c = value.clamp(0.0, 40.0),
            Dial::Speed => {
                self.speed_kept = value.clamp(0.0, 60.0);
                if self.mode == Mode::Automatic {
                    self.setpoints.bottles_per_min = self.speed_kept;
                }
            }
        }
    }

    fn plan(&mut self, at_s: f64, act: Act) {
        let position = self.agenda.partition_point(|(planned_s, _)| *planned_s <= at_s);
        self.agenda.insert(position, (at_s, act));
    }

    fn plan_stop(&mut self, at_s: f64, for_s: f64) {
        self.plan(at_s, Act::Stop);
        self.plan(at_s + for_s, Act::Start);
    }

    fn plan_change_over(&mut self, at_s: f64) -> f64 {
        self.plan(at_s, Act::RunEmpty);
        self.plan(at_s + RUN_EMPTY_S, Act::Stop);
        self.plan(at_s + RUN_EMPTY_S + CHANGE_PARTS_S / 2.0, Act::SwapFormat);
        let start_s = at_s + RUN_EMPTY_S + CHANGE_PARTS_S;
        self.plan(start_s, Act::Start);
        start_s
    }

    /// Does what is due at `elapsed_s`.
    pub(crate) fn step(&mut self, elapsed_s: f64) {
        if elapsed_s >= self.next_idea_s {
            self.have_an_idea(elapsed_s);
        }
        while let Some((_, act)) = self.agenda.pop_front_if(|(at_s, _)| *at_s <= elapsed_s) {
            self.act(act);
        }
        self.daylight.step(elapsed_s);
    }

    /// One thing at a time: new setpoints every one to three minutes, a stop every six, a change-over every nine.
    fn have_an_idea(&mut self, elapsed_s: f64) {
        let Some(mut random) = self.random.take() else { return };
        let what = random.uniform();
        let busy_until_s = if what < 0.62 {
            self.plan(elapsed_s, Act::NewSetpoint);
            elapsed_s
        } else if what < 0.84 {
            let for_s = random.between(20.0, 60.0);
            self.plan_stop(elapsed_s, for_s);
            elapsed_s + for_s
        } else {
            self.plan_change_over(elapsed_s)
        };
        self.next_idea_s = busy_until_s + random.between(40.0, 110.0);
        self.random = Some(random);
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::NewSetpoint => self.choose_setpoint(),
            Act::Stop => {
                self.mode = Mode::Stopped;
                self.setpoints.bottles_per_min = 0.0;
            }
            Act::Start => {
                self.mode = Mode::Automatic;
                self.setpoints.bottles_per_min = self.speed_kept;
            }
            Act::RunEmpty => self.mode = Mode::Manual,
            Act::SwapFormat => {
                self.setpoints.format = self.setpoints.format.other();
                self.setpoints.fill_ml = self.setpoints.format.fill_ml();
            }
        }
    }

    fn choose_setpoint(&mut self) {
        let random = self.random.as_mut().unwrap_or(&mut self.scripted);
        let which = random.below(4);
        let usual_ml = self.setpoints.format.fill_ml();
        match which {
            0 => self.setpoints.level_percent = another(self.setpoints.level_percent, LEVEL_PERCENT, 0.5, random),
            1 => {
                self.speed_kept = another(self.speed_kept, BOTTLES_PER_MIN, 1.0, random);
                if self.mode == Mode::Automatic {
                    self.setpoints.bottles_per_min = self.speed_kept;
                }
            }
            2 => {
                let range = (usual_ml * FILL_SHARE.0, usual_ml * FILL_SHARE.1);
                self.setpoints.fill_ml = another(self.setpoints.fill_ml, range, 1.0, random);
            }
            _ => self.setpoints.temperature_c = another(self.setpoints.temperature_c, TEMPERATURE_C, 0.1, random),
        }
    }
}

/// A value on the grid of `step` within the range, at least a quarter of the range away from `now`.
fn another(now: f64, (low, high): (f64, f64), step: f64, random: &mut Noise) -> f64 {
    let apart = 0.25 * (high - low);
    let below = (now - apart - low).max(0.0);
    let above = (high - now - apart).max(0.0);
    let at = random.uniform() * (below + above);
    let value = if at < below { low + at } else { now + apart + (at - below) };
    // Tenths as a person would type them: 17.3, not 17.300000000000001.
    let per_unit = (1.0 / step).round();
    (value * per_unit).round() / per_unit
}

/// The daylight in the hall: 0 a dull evening, 1 a bright noon.
#[derive(Clone, Debug)]
pub(crate) struct Daylight {
    pub(crate) level: f64,
    from: f64,
    to: f64,
    begun_s: f64,
    takes_s: f64,
    requests_s: Vec<f64>,
    random: Option<Noise>,
}

impl Daylight {
    fn new(seed: u64, scenario: &Scenario) -> Self {
        let mut requests_s: Vec<f64> =
            scenario.changes.iter().filter(|event| event.change == Change::Daylight).map(|event| event.at_s).collect();
        requests_s.sort_by(f64::total_cmp);
        Self {
            level: 0.5,
            from: 0.5,
            to: 0.5,
            begun_s: 0.0,
            takes_s: 1.0,
            requests_s,
            random: scenario.operator.then(|| Noise::new(seed, Stream::Daylight as u64)),
        }
    }

    fn step(&mut self, elapsed_s: f64) {
        if self.requests_s.first().is_some_and(|at_s| *at_s <= elapsed_s) {
            self.requests_s.remove(0);
            let to = if self.level > 0.4 { 0.0 } else { 1.0 };
            self.go(to, DAYLIGHT_S, elapsed_s);
        } else if elapsed_s >= self.begun_s + self.takes_s
            && let Some(mut random) = self.random.take()
        {
            // Past the ends now and then, so that the ends themselves are visited often.
            let to = random.between(-0.15, 1.15).clamp(0.0, 1.0);
            self.go(to, random.between(90.0, 240.0), elapsed_s);
            self.random = Some(random);
        }
        let share = ((elapsed_s - self.begun_s) / self.takes_s).clamp(0.0, 1.0);
        self.level = self.from + (self.to - self.from) * share * share * (3.0 - 2.0 * share);
    }

    fn go(&mut self, to: f64, takes_s: f64, elapsed_s: f64) {
        (self.from, self.to, self.begun_s, self.takes_s) = (self.level, to, elapsed_s, takes_s);
    }
}
