//! Ways in which a sensor or a camera fails, each injected into the simulated line: found in time, with the right state,
//! kept from the model, and over by itself; and normal running, in which nothing is found.

use std::sync::Arc;

use sightglass_ingest::{Feed, FeedItem, IngestEvent, LinePipeline, Pace, PipelineOptions};
use sightglass_plant::Plant;
use sightglass_plant_sim::{
    CAMERA_NAME, Change, ChangeEvent, Fault, FaultEvent, Scenario, SimOptions, Simulation, tags,
};
use sightglass_protocol::{
    Frame, Health, HealthState, LineId, Quality, Sample, Subject, Tick, UtcNanos,
    time::{MILLISECOND, SECOND},
};

use crate::simulated::{SimFeed, plant};

/// 2026-11-24T08:00:00Z.
const START: UtcNanos = UtcNanos(1_795_507_200 * SECOND);
/// A way to fail is found within so many periods of its tag, or within so long.
const FOUND_PERIODS: i64 = 3;
const FOUND_NS: i64 = 10 * SECOND;
/// How long each is there, …
const FAILS_NS: i64 = 16 * SECOND;
/// … by when its state is over, and when the next one comes.
const OVER_NS: i64 = 34 * SECOND;
const EACH_NS: i64 = 40 * SECOND;

/// A way to fail.
struct Way {
    name: &'static str,
    /// The tag or camera that fails.
    of: &'static str,
    state: HealthState,
    /// What its reason must say.
    says: &'static str,
    bend: Bend,
}

/// How what is delivered is bent; `ns` is the time since the way began.
enum Bend {
    /// A sample; `None` loses it.
    Sample(fn(Sample, &mut Memory) -> Option<Sample>),
    /// A picture.
    Picture(fn(Frame, &mut Memory) -> Option<Frame>),
}

/// What a bend may need to know.
#[derive(Default)]
struct Memory {
    /// Samples or pictures since the way began.
    count: i64,
    /// The first of them.
    value: f64,
    picture: Option<Frame>,
}

use Bend::{Picture, Sample as Value};
use HealthState::{CheckFunction, Failure, MaintenanceRequired, OutOfSpecification};

const fn way(name: &'static str, of: &'static str, state: HealthState, says: &'static str, bend: Bend) -> Way {
    Way { name, of, state, says, bend }
}

#[rustfmt::skip]
fn ways_of_tags() -> Vec<Way> {
    vec![
        way("no data", "product_temperature", Failure, "nothing has come", Value(|_, _| None)),
        way("slow data", "air_pressure", MaintenanceRequired, "comes every 2.00 s instead of every 1.00 s",
            Value(|sample, memory| (memory.count % 2 == 0).then_some(sample))),
        way("frozen value", "pump_pressure", Failure, "it always moved",
            Value(|sample, memory| Some(Sample { value: memory.value, ..sample }))),
        way("frozen value of a slow tag", "supply_temperature", Failure, "it always moved",
            Value(|sample, memory| Some(Sample { value: memory.value, ..sample }))),
        way("above its range", "tank_level", OutOfSpecification, "outside of 0 to 100",
            Value(|sample, _| Some(Sample { value: sample.value + 80.0, ..sample }))),
        way("below its range", "supply_temperature", OutOfSpecification, "outside of 0 to 40",
            Value(|sample, _| Some(Sample { value: sample.value - 60.0, ..sample }))),
        way("not a number", "inlet_flow", Failure, "not a number",
            Value(|sample, _| Some(Sample { value: f64::NAN, ..sample }))),
        way("bad by its source", "filler_pressure", Failure, "its source says that the value is bad",
            Value(|sample, _| Some(Sample { quality: Quality::Bad, ..sample }))),
        way("rate jump", "conveyor_speed", CheckFunction, "at once",
            Value(|sample, _| Some(Sample { value: sample.value + 40.0, ..sample }))),
        way("coarser steps", "filler_flow", OutOfSpecification, "moves in steps of 0.2000",
            Value(|sample, _| Some(Sample { value: (sample.value / 0.2).round() * 0.2, ..sample }))),
        way("noise vanished", "inlet_flow", CheckFunction, "without the noise",
            Value(|sample, memory| Some(Sample { value: memory.value + (memory.count as f64 / 40.0).sin(), ..sample }))),
        way("clock ahead", "air_pressure", MaintenanceRequired, "ahead of this plant's clock",
            Value(|sample, _| Some(Sample { time: sample.time + 5 * SECOND / 2, ..sample }))),
        way("clock went back", "product_temperature", OutOfSpecification, "its clock went back",
            Value(|sample, _| Some(Sample { time: sample.time - 60 * SECOND, ..sample }))),
        way("jitter", "fill_weight", MaintenanceRequired, "comes unevenly",
            Value(|sample, memory| {
                let late_ns = if memory.count % 2 == 0 { 400 * MILLISECOND } else { 0 };
                Some(Sample { time: sample.time + late_ns, ..sample })
            })),
    ]
}

#[rustfmt::skip]
fn ways_of_cameras() -> Vec<Way> {
    let way = |name, state, says, bend| way(name, CAMERA_NAME, state, says, Picture(bend));
    vec![
        way("no picture", Failure, "no picture has come", |_, _| None),
        way("frozen picture", Failure, "shows the same picture", |frame, memory| {
            let pixels = Arc::clone(&memory.picture.get_or_insert_with(|| frame.clone()).pixels);
            Some(Frame { pixels, ..frame })
        }),
        way("black", Failure, "is black", |frame, _| Some(each(frame, |level| level / 24))),
        way("overexposed", OutOfSpecification, "overexposed", |frame, _| {
            Some(each(frame, |level| level.saturating_mul(3).saturating_add(60)))
        }),
        way("out of focus", OutOfSpecification, "out of focus", |frame, _| Some(blurred(&frame, 6))),
        way("moved a little", OutOfSpecification, "was moved", |frame, _| Some(shifted(&frame, 9, 0))),
        way("moved far", OutOfSpecification, "was moved", |frame, _| Some(shifted(&frame, 50, -30))),
        way("covered", Failure, "covered", |frame, memory| Some(painted(frame, memory.count, 1.0))),
        way("sprayed", Failure, "sprayed", |frame, memory| Some(painted(frame, memory.count, 0.6))),
        way("rate changed", MaintenanceRequired, "sends 5.0 pictures a second where it sent 15.0", |frame, memory| {
            (memory.count % 3 == 0).then_some(frame)
        }),
        way("size changed", OutOfSpecification, "its pictures are 320 x 180", |frame, _| Some(halved(&frame))),
    ]
}

fn each(frame: Frame, bend: impl Fn(u8) -> u8) -> Frame {
    Frame { pixels: frame.pixels.iter().map(|level| bend(*level)).collect(), ..frame }
}

/// The frame made anew from where each of its pixels comes from.
fn drawn(frame: &Frame, width: u32, height: u32, from: impl Fn(i32, i32) -> [u8; 3]) -> Frame {
    let pixels = (0..height as i32).flat_map(|y| (0..width as i32).map(move |x| (x, y))).flat_map(|(x, y)| from(x, y));
    Frame { width, height, pixels: pixels.collect(), ..frame.clone() }
}

fn pixel(frame: &Frame, x: i32, y: i32) -> [u8; 3] {
    let (x, y) = (x.clamp(0, frame.width as i32 - 1), y.clamp(0, frame.height as i32 - 1));
    let at = (y as usize * frame.width as usize + x as usize) * 3;
    [frame.pixels[at], frame.pixels[at + 1], frame.pixels[at + 2]]
}

fn shifted(frame: &Frame, dx: i32, dy: i32) -> Frame {
    drawn(frame, frame.width, frame.height, |x, y| pixel(frame, x - dx, y - dy))
}

fn halved(frame: &Frame) -> Frame {
    drawn(frame, frame.width / 2, frame.height / 2, |x, y| pixel(frame, 2 * x, 2 * y))
}

/// A lens out of focus, with the noise of the sensor behind it.
fn blurred(frame: &Frame, radius: i32) -> Frame {
    let along = |frame: &Frame, dx: i32, dy: i32| {
        drawn(frame, frame.width, frame.height, |x, y| {
            let taken = (-radius..=radius).map(|at| pixel(frame, x + at * dx, y + at * dy));
            let sums = taken.fold([0_u32; 3], |sums, rgb| std::array::from_fn(|i| sums[i] + u32::from(rgb[i])));
            sums.map(|sum| (sum / (2 * radius as u32 + 1)) as u8)
        })
    };
    let seed = (frame.time.0 / MILLISECOND) as u32;
    let mut soft = along(&along(frame, 1, 0), 0, 1);
    let noisy = soft.pixels.iter().zip(0..).map(|(level, at)| level.saturating_add(noise(at, seed) % 5));
    soft.pixels = noisy.collect();
    soft
}

fn noise(at: u32, seed: u32) -> u8 {
    (at.wrapping_add(seed.wrapping_mul(7919)).wrapping_mul(2_654_435_761) >> 24) as u8
}

/// Grey paint with the sensor's noise over the left share of the picture.
fn painted(frame: Frame, count: i64, share: f64) -> Frame {
    let edge = (f64::from(frame.width) * share) as u32;
    let of = |at: u32, level: u8| if at / 3 % frame.width < edge { 90 + noise(at, count as u32) % 5 } else { level };
    let pixels = frame.pixels.iter().zip(0..).map(|(level, at)| of(at, *level)).collect();
    Frame { pixels, ..frame }
}

/// The simulated line, of which one tag or camera after the other fails.
struct Failing {
    line: SimFeed,
    ways: Vec<Way>,
    /// When the first one fails.
    first: UtcNanos,
    now: usize,
    memory: Memory,
}

impl Failing {
    fn way_at(&mut self, time: UtcNanos) -> Option<&Way> {
        let ns = time.since(self.first);
        let at = usize::try_from(ns.div_euclid(EACH_NS)).ok().filter(|_| ns.rem_euclid(EACH_NS) < FAILS_NS)?;
        if self.now != at {
            (self.now, self.memory) = (at, Memory::default());
        }
        self.ways.get(at)
    }
}

impl Feed for Failing {
    fn next(&mut self) -> Option<FeedItem> {
        loop {
            let item = match self.line.next()? {
                FeedItem::Samples(samples) => {
                    let time = samples.first()?.time;
                    let Some(Way { of, bend: Value(bend), .. }) = self.way_at(time) else {
                        return Some(FeedItem::Samples(samples));
                    };
                    let (of, bend) = (*of, *bend);
                    let memory = &mut self.memory;
                    let bent = samples.into_iter().filter_map(|sample| {
                        if tags()[sample.tag.index()].name != of {
                            return Some(sample);
                        }
                        if memory.count == 0 {
                            memory.value = sample.value;
                        }
                        let bent = bend(sample, memory);
                        memory.count += 1;
                        bent
                    });
                    Some(FeedItem::Samples(bent.collect()))
                }
                FeedItem::Frame(frame) => match self.way_at(frame.time) {
                    Some(Way { bend: Picture(bend), .. }) => {
                        let bend = *bend;
                        let bent = bend(frame, &mut self.memory);
                        self.memory.count += 1;
                        bent.map(FeedItem::Frame)
                    }
                    _ => Some(FeedItem::Frame(frame)),
                },
            };
            if item.is_some() {
                return item;
            }
        }
    }
}

/// A state, and the tick that it was told with.
struct Told {
    at: UtcNanos,
    health: Health,
}

/// What a line tells of its tags and cameras, and its ticks.
fn run(plant: &Plant, feed: impl Feed + 'static) -> (Vec<Told>, Vec<Tick>) {
    run_at(Pace::Max, plant, feed)
}

fn run_at(pace: Pace, plant: &Plant, feed: impl Feed + 'static) -> (Vec<Told>, Vec<Tick>) {
    let options = PipelineOptions { pace, ..Default::default() };
    let line = LinePipeline::start(plant, LineId(0), options, Some(Box::new(feed))).expect("starts");
    let (mut told, mut waiting, mut ticks) = (Vec::new(), Vec::new(), Vec::new());
    for event in line.events() {
        match event {
            IngestEvent::Health(health) if health.subject.is_some() => waiting.push(health),
            IngestEvent::Tick(mut tick) => {
                told.extend(waiting.drain(..).map(|health| Told { at: tick.time, health }));
                tick.cameras.iter_mut().for_each(|camera| camera.frames.clear());
                ticks.push(tick);
            }
            IngestEvent::EndOfStream => break,
            _ => {}
        }
    }
    (told, ticks)
}

/// The quality that the model sees at a tick.
fn quality(plant: &Plant, tick: &Tick, name: &str) -> Quality {
    let tag = plant.tags.iter().position(|tag| tag.name == name);
    tag.map_or_else(|| tick.cameras[0].quality, |tag| tick.tags[tag].quality)
}

/// Lets the line run for `learn_s`, then fail in each of the ways.
fn check(ways: Vec<Way>, camera: bool, learn_s: i64) {
    let (names, count): (Vec<_>, _) = (ways.iter().map(|w| (w.name, w.of, w.state, w.says)).collect(), ways.len());
    let first = START + learn_s * SECOND;
    let duration_s = Some((learn_s + EACH_NS / SECOND * count as i64) as f64);
    let options = SimOptions {
        seed: 11,
        start: START,
        // Levels and speeds are changed, so that it is known how they move.
        scenario: Scenario {
            changes: (1..learn_s / 300)
                .map(|at| ChangeEvent { change: Change::ALL[at as usize % 3], at_s: at as f64 * 300.0 })
                .collect(),
            duration_s,
            ..Default::default()
        },
    };
    let simulation = if camera { Simulation::new(options) } else { Simulation::without_camera(options) };
    let plant = plant(camera);
    let failing = Failing { line: SimFeed(simulation), ways, first, now: usize::MAX, memory: Memory::default() };
    let (told, ticks) = run(&plant, failing);
    let mut missed = Vec::new();
    for (at, (name, of, state, says)) in names.into_iter().enumerate() {
        let onset = first + EACH_NS * at as i64;
        let within = |told: &&Told| told.at >= onset && told.at < onset + EACH_NS;
        let here: Vec<&Told> = told.iter().filter(within).collect();
        let period_ns = plant.tags.iter().find(|tag| tag.name == of).map_or(0, |tag| tag.period_ns);
        let found = here.iter().find(|told| told.health.state != HealthState::Good);
        let is_right = here.iter().any(|told| told.health.reason.contains(says))
            && here.iter().all(|told| [state, HealthState::Good].contains(&told.health.state));
        let delay_ns = found.map_or(i64::MAX, |found| found.at.since(onset));
        let is_over =
            here.last().is_some_and(|last| last.health.state == HealthState::Good && last.at <= onset + OVER_NS);
        let others = here.iter().any(|told| told.health.source != of);
        let is_dated = found.is_some_and(|found| (onset - 3 * SECOND..=found.at).contains(&found.health.since));
        let told_lines: Vec<_> = here
            .iter()
            .map(|told| {
                let Health { source, state, reason, .. } = &told.health;
                format!("    +{:.0} s {source}: {state:?}: {reason}", told.at.since(onset) as f64 / SECOND as f64)
            })
            .collect();
        println!("{name}: {}\n{}", if is_right { "right" } else { "WRONG" }, told_lines.join("\n"));
        // The tick of the finding, and the one after it.
        let seen = |tick: &&Tick| found.is_some_and(|found| (found.at..=found.at + SECOND).contains(&tick.time));
        let qualities: Vec<_> = ticks.iter().filter(seen).map(|tick| quality(&plant, tick, of)).collect();
        let must_miss = state > MaintenanceRequired;
        let is_kept_from_model = !must_miss || qualities.iter().all(|quality| !quality.is_usable());
        let is_in_time = delay_ns <= FOUND_NS.max(FOUND_PERIODS * period_ns);
        if !(is_right && is_in_time && is_over && is_dated && !others && is_kept_from_model) {
            missed.push(format!(
                "{name}: right {is_right}, in time {is_in_time}, over {is_over}, dated {is_dated}, others {others}, kept from \
                 the model {is_kept_from_model}"
            ));
        }
    }
    let before: Vec<_> = told.iter().filter(|told| told.at < first).map(|told| &told.health).collect();
    assert!(before.is_empty(), "while nothing failed: {before:?}");
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn each_way_in_which_a_tag_fails_is_found_with_its_state_and_is_over_by_itself() {
    check(ways_of_tags(), false, 1800);
}

#[test]
fn each_way_in_which_a_camera_fails_is_found_with_its_state_and_is_over_by_itself() {
    check(ways_of_cameras(), true, 120);
}

/// The states other than good of a run.
fn raised(seed: u64, camera: bool, scenario: Scenario) -> Vec<Health> {
    let options = SimOptions { seed, start: START, scenario };
    let simulation = if camera { Simulation::new(options) } else { Simulation::without_camera(options) };
    let (told, ticks) = run(&plant(camera), SimFeed(simulation));
    assert!(ticks.len() > 100);
    told.into_iter().map(|told| told.health).filter(|health| health.state != HealthState::Good).collect()
}

#[test]
fn hours_of_normal_running_raise_nothing() {
    for seed in [1, 2] {
        let scenario = Scenario { operator: true, duration_s: Some(3.0 * 3600.0), ..Default::default() };
        assert_eq!(raised(seed, false, scenario), []);
    }
    let scenario = Scenario { operator: true, duration_s: Some(600.0), ..Default::default() };
    assert_eq!(raised(3, true, scenario), []);
}

#[test]
fn what_goes_wrong_with_the_process_is_no_state_of_a_sensor_or_camera() {
    let duration_s = Some(220.0);
    for fault in Fault::ALL {
        let broken: &[&str] = match fault {
            Fault::FrozenSensor => &["pump_pressure"],
            Fault::DirtyLens | Fault::FrozenCamera => &[CAMERA_NAME],
            _ => &[],
        };
        let fault = FaultEvent { fault, onset_s: 120.0, severity: 1.0 };
        let found = raised(4, false, Scenario { fault: Some(fault), duration_s, ..Default::default() });
        assert!(found.iter().all(|health| broken.contains(&health.source.as_str())), "{found:?}");
        assert_eq!(found.iter().any(|health| health.source == "pump_pressure"), fault.fault == Fault::FrozenSensor);
    }
    for change in Change::ALL {
        let changes = vec![ChangeEvent { change, at_s: 120.0 }];
        assert_eq!(raised(4, false, Scenario { changes, duration_s, ..Default::default() }), []);
    }
}

#[test]
fn a_camera_that_stands_still_is_found_and_a_jam_before_it_is_not() {
    let of = |fault| {
        let fault = FaultEvent { fault, onset_s: 90.0, severity: 1.0 };
        let found = raised(5, true, Scenario { fault: Some(fault), duration_s: Some(120.0), ..Default::default() });
        found.into_iter().map(|health| (health.subject, health.state)).collect::<Vec<_>>()
    };
    assert_eq!(of(Fault::ConveyorJam), []);
    assert_eq!(of(Fault::FrozenCamera), [(Some(Subject::Camera(sightglass_protocol::CameraId(0))), Failure)]);
}

#[test]
fn states_are_the_same_however_fast_the_line_runs() {
    let options = || SimOptions {
        seed: 6,
        start: START,
        scenario: Scenario {
            fault: Some(FaultEvent { fault: Fault::FrozenSensor, onset_s: 30.0, severity: 0.5 }),
            duration_s: Some(120.0),
            ..Default::default()
        },
    };
    let at = |pace| {
        let (told, ticks) = run_at(pace, &plant(false), SimFeed(Simulation::without_camera(options())));
        let qualities = ticks.iter().map(|tick| quality(&plant(false), tick, "pump_pressure")).collect::<Vec<_>>();
        (told.into_iter().map(|told| (told.at, told.health)).collect::<Vec<_>>(), qualities)
    };
    let (told, qualities) = at(Pace::Max);
    assert!(told.len() >= 2 && qualities.contains(&Quality::Frozen), "{told:?}");
    assert_eq!((told, qualities), at(Pace::Speed(200.0)));
}
