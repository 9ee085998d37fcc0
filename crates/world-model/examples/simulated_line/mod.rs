//! The simulated line as ticks, without a camera: what the model reads, and the hand that follows advice.

use sightglass_plant_sim::{Change, ChangeEvent, Dial, Fault, Scenario, SimItem, SimOptions, Simulation, tags};
use sightglass_protocol::time::SECOND;
use sightglass_protocol::{LineId, Quality, Sample, TagId, TagReading, Tick, UtcNanos};
use sightglass_world_model::{ModelSpec, TagSpec};

/// 2026-01-01.
const START: UtcNanos = UtcNanos(1_767_225_600 * SECOND);
/// How long the line is left alone in a quiet run of training.
const QUIET_S: f64 = 420.0;
/// Seeds of training runs; those of measured starts lie far from them.
const TRAINING_SEEDS: u64 = 1_000_000;

/// What a model of the line's tags is a model of.
pub(crate) fn spec() -> ModelSpec {
    let tag = |(i, tag): (usize, &sightglass_plant_sim::SimTag)| TagSpec {
        id: TagId::from_index(i),
        name: tag.name.to_owned(),
        unit: tag.unit.to_owned(),
        role: tag.role,
        range: Some(tag.range),
        excluded: false,
    };
    let tags = tags().iter().enumerate().map(tag).collect();
    ModelSpec { line: LineId(0), tick_ns: SECOND, tags, cameras: Vec::new() }
}

/// The tag with this name, which the line has.
pub(crate) fn tag(name: &str) -> TagId {
    TagId::from_index(tags().iter().position(|t| t.name == name).unwrap_or(usize::MAX))
}

/// A running line and its latest values.
#[derive(Clone)]
pub(crate) struct Line {
    simulation: Simulation,
    latest: Vec<Option<Sample>>,
    /// The first item beyond the last tick.
    ahead: Option<SimItem>,
    ticks: u64,
}

impl Line {
    /// The line at its usual setpoints, with the scenario's changes.
    pub(crate) fn new(seed: u64, scenario: Scenario) -> Self {
        let simulation = Simulation::without_camera(SimOptions { seed, start: START, scenario });
        Self { simulation, latest: vec![None; tags().len()], ahead: None, ticks: 0 }
    }

    /// The next tick; `None` at the end of the scenario.
    pub(crate) fn tick(&mut self) -> Option<Tick> {
        let time = START + self.ticks as i64 * SECOND;
        loop {
            let item = match self.ahead.take() {
                Some(item) => item,
                None => self.simulation.next()?,
            };
            if item.time() > time {
                self.ahead = Some(item);
                break;
            }
            if let SimItem::Samples(samples) = item {
                samples.into_iter().for_each(|s| self.latest[s.tag.index()] = Some(s));
            }
        }
        let missing = |i: usize| TagReading {
            tag: TagId::from_index(i),
            value: f64::NAN,
            age_ns: i64::MAX,
            quality: Quality::Missing,
        };
        let reading = |(i, sample): (usize, &Option<Sample>)| {
            sample.map_or_else(
                || missing(i),
                |s| TagReading { tag: s.tag, value: s.value, age_ns: time.since(s.time), quality: s.quality },
            )
        };
        let readings = self.latest.iter().enumerate().map(reading).collect();
        let tick = Tick { line: LineId(0), index: self.ticks, time, tags: readings, cameras: Vec::new() };
        self.ticks += 1;
        Some(tick)
    }

    pub(crate) fn set(&mut self, dial: Dial, value: f64) {
        self.simulation.set(dial, value);
    }

    pub(crate) fn set_fault(&mut self, fault: Fault, severity: f64) {
        self.simulation.set_fault(Some((fault, severity)));
    }

    pub(crate) fn drain_tank(&mut self, litres: f64) {
        self.simulation.drain_tank(litres);
    }
}

/// Runs of normal running, every other one with few changes, as the shipped model's.
pub(crate) fn training(seed: u64, runs: u64, minutes: f64) -> Vec<Vec<Tick>> {
    (0..runs).map(|index| normal(TRAINING_SEEDS + seed * 1_000 + index, index, minutes)).collect()
}

/// A run of normal running: an even `index` has a busy operator.
pub(crate) fn normal(seed: u64, index: u64, minutes: f64) -> Vec<Tick> {
    let seconds = minutes * 60.0;
    let kinds = Change::ALL.into_iter().cycle().skip(index as usize / 2).take((seconds / QUIET_S) as usize);
    let few = kinds.enumerate().map(|(n, change)| ChangeEvent { change, at_s: QUIET_S * (n as f64 + 0.8) });
    let operator = index.is_multiple_of(2);
    let changes = if operator { Vec::new() } else { few.collect() };
    let scenario = Scenario { operator, changes, duration_s: Some(seconds), ..Scenario::default() };
    let mut line = Line::new(seed, scenario);
    std::iter::from_fn(|| line.tick()).collect()
}
