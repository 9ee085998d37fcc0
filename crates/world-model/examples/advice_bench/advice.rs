//! Fifty disturbed lines: does advice bring them back, and do others?

use std::time::{Duration, Instant};

use sightglass_plant_sim::{Dial, Fault, Scenario};
use sightglass_protocol::Tick;
use sightglass_world_model::{AdviceRequest, Aim, Lever, PlantModel, Stream};

use crate::line::{Line, tag};

/// Ticks before the disturbance, over the last of which the wanted state is measured.
const BEFORE: usize = 300;
const MEASURED: usize = 60;
/// Ticks that a disturbance acts before anybody does anything.
const ACTS: usize = 60;
/// Ticks within which the line must be back, at the end of which it is judged, and between two pieces of advice.
const WITHIN: usize = 420;
const JUDGED: usize = 40;
const ASK_EVERY: usize = 30;

/// What must be back, and how near: half widths, in units, about five times the scatter of a mean over [`JUDGED`] ticks.
const WANTED: [(&str, f64); 4] =
    [("tank_pressure", 1.2), ("product_temperature", 0.25), ("fill_weight", 1.5), ("conveyor_speed", 1.5)];

/// The loop that holds each of [`WANTED`].
const LOOPS: [Dial; 4] = [Dial::Level, Dial::Temperature, Dial::Fill, Dial::Speed];

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upset {
    /// Two setpoints were left somewhere else.
    WrongHand,
    /// The filling valve gives less than it is told.
    Underfill,
    /// The level sensor reads too high, more and more.
    SensorDrift,
    /// Product was taken out of the tank.
    Drained,
    /// The tank leaks.
    Leak,
}

impl Upset {
    pub(crate) const ALL: [Self; 5] = [Self::WrongHand, Self::Underfill, Self::SensorDrift, Self::Drained, Self::Leak];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::WrongHand => "setpoints left wrong",
            Self::Underfill => "filler gives too little",
            Self::SensorDrift => "level sensor drifts",
            Self::Drained => "tank drained in part",
            Self::Leak => "tank leaks",
        }
    }
}

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Nobody,
    /// The line's own controllers: their setpoints are given what is wanted.
    Controllers,
    Advice,
}

/// A line with something wrong, and what it was like before.
pub(crate) struct Start {
    line: Line,
    stream: Stream,
    /// Means of [`WANTED`] before.
    wanted: [f64; 4],
    /// Setpoints before.
    setpoints: [f64; 4],
}

/// A sequence of numbers from a seed.
struct Dice(u64);

impl Dice {
    fn between(&mut self, low: f64, high: f64) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        low + (high - low) * (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn means(ticks: &[Tick]) -> [f64; 4] {
    WANTED.map(|(name, _)| {
        let at = tag(name).index();
        ticks.iter().map(|t| t.tags[at].value).sum::<f64>() / ticks.len() as f64
    })
}

impl Start {
    /// The `n`th start. Nothing of it is in training.
    pub(crate) fn new(model: &PlantModel, seed: u64, n: usize) -> Self {
        let upset = Upset::ALL[n % Upset::ALL.len()];
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ n as u64);
        dice.between(0.0, 1.0);
        let mut line = Line::new(seed + n as u64, Scenario::default());
        let mut setpoints = [0.0; 4];
        for (dial, value) in LOOPS.into_iter().zip(&mut setpoints) {
            // Away from the ends, so that there is room to correct in either direction.
            let (low, high) = dial.usual();
            *value = (dice.between(low + 0.3 * (high - low), high - 0.3 * (high - low)) * 10.0).round() / 10.0;
            line.set(dial, *value);
        }
        let mut stream = model.stream();
        let mut run = |line: &mut Line, ticks: usize| -> Vec<Tick> {
            (0..ticks).filter_map(|_| line.tick()).inspect(|tick| drop(stream.step(tick))).collect()
        };
        let before = run(&mut line, BEFORE);
        let wanted = means(&before[BEFORE - MEASURED..]);
        match upset {
            Upset::WrongHand => {
                let first = (dice.between(0.0, 4.0) as usize).min(3);
                for which in [first, (first + 1 + dice.between(0.0, 3.0) as usize) % 4] {
                    let (low, high) = LOOPS[which].usual();
                    let far = dice.between(0.2, 0.3) * (high - low);
                    let way = if dice.between(0.0, 1.0) < 0.5 { -1.0 } else { 1.0 };
                    line.set(LOOPS[which], ((setpoints[which] + way * far) * 10.0).round() / 10.0);
                }
            }
            Upset::Underfill => line.set_fault(Fault::Underfill, dice.between(0.04, 0.09)),
            Upset::SensorDrift => line.set_fault(Fault::LevelSensorDrift, dice.between(0.06, 0.12)),
            Upset::Drained => line.drain_tank(dice.between(4.0, 8.0)),
            Upset::Leak => line.set_fault(Fault::TankLeak, dice.between(0.3, 0.8)),
        }
        run(&mut line, ACTS);
        Self { line, stream, wanted, setpoints }
    }

    fn request(&self, seed: u64) -> AdviceRequest {
        let levers = LOOPS.map(|dial| {
            let (low, high) = dial.usual();
            // A quarter of the range a minute.
            Lever { tag: tag(dial.tag()), low, high, rate_per_min: Some((high - low) / 4.0) }
        });
        let aim = |((name, half), wanted): ((&str, f64), f64)| Aim {
            tag: tag(name),
            low: wanted - half,
            high: wanted + half,
            weight: 1.0,
        };
        let aims = WANTED.into_iter().zip(self.wanted).map(aim).collect();
        AdviceRequest { seed, ..AdviceRequest::new(levers.to_vec(), aims) }
    }

    /// Whether the line is back at the end, how far it is off in half widths, and how long each piece of advice took.
    pub(crate) fn bring_back(&self, who: Who) -> Result<(bool, [f64; 4], Vec<Duration>), String> {
        let (mut line, mut stream, mut took) = (self.line.clone(), self.stream.clone(), Vec::new());
        if who == Who::Controllers {
            LOOPS.into_iter().zip(self.setpoints).for_each(|(dial, value)| line.set(dial, value));
        }
        let mut ticks = Vec::with_capacity(WITHIN);
        for t in 0..WITHIN {
            if who == Who::Advice && t % ASK_EVERY == 0 {
                let began = Instant::now();
                let advice = stream.advise(&self.request(t as u64)).map_err(|e| e.to_string())?;
                took.push(began.elapsed());
                // What is due until the next piece of advice is carried out.
                let due = advice.course.steps().iter().filter(|s| (s.after_ticks as usize) < ASK_EVERY);
                for step in due {
                    let dial = LOOPS.into_iter().find(|dial| tag(dial.tag()) == step.tag);
                    dial.into_iter().for_each(|dial| line.set(dial, step.value));
                }
            }
            let tick = line.tick().ok_or("the simulated line ended")?;
            stream.step(&tick);
            ticks.push(tick);
        }
        let got = means(&ticks[WITHIN - JUDGED..]);
        let off: [f64; 4] = std::array::from_fn(|i| (got[i] - self.wanted[i]) / WANTED[i].1);
        Ok((off.iter().all(|o| o.abs() <= 1.0), off, took))
    }
}
