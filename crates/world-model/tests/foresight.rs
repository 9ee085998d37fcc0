//! What comes, what if, and what to do: on a made-up plant of two setpoints whose answers are known.

use std::path::Path;
use std::sync::OnceLock;

use sightglass_protocol::{CameraId, HORIZONS, LineId, Quality, Role, TagId, TagReading, Tick, UtcNanos};
use sightglass_world_model::{
    AdviceRequest, Aim, CameraSpec, Course, ForesightError, Lever, ModelSpec, PlantModel, Side, Size, Stream, TagSpec,
    TrainOptions, Unseen, train,
};

const SECOND: i64 = 1_000_000_000;
const HEAT: TagId = TagId(0);
const FEED: TagId = TagId(1);
const WARM: TagId = TagId(2);
const LEVEL: TagId = TagId(3);

fn spec() -> ModelSpec {
    let tags = [
        ("heat", Role::Setpoint, (0.0, 100.0)),
        ("feed", Role::Setpoint, (0.0, 10.0)),
        ("warm", Role::Measurement, (0.0, 200.0)),
        ("level", Role::Measurement, (0.0, 100.0)),
    ];
    let tags = tags.iter().enumerate().map(|(i, (name, role, range))| TagSpec {
        id: TagId(i as u32),
        name: (*name).to_owned(),
        unit: String::new(),
        role: *role,
        range: Some(*range),
        excluded: false,
    });
    ModelSpec { line: LineId(0), tick_ns: SECOND, tags: tags.collect(), cameras: Vec::new() }
}

struct Dice(u64);

impl Dice {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// `warm` follows `heat` by a lag of 25 ticks; `level` follows `feed` by two lags of 12 ticks. Both wander and are noisy.
#[derive(Clone)]
struct Line {
    heat: f64,
    feed: f64,
    warm: f64,
    inner: f64,
    level: f64,
    wander: [f64; 2],
    dice: u64,
    t: u64,
}

impl Line {
    fn new(seed: u64) -> Self {
        Self { heat: 50.0, feed: 5.0, warm: 60.0, inner: 50.0, level: 50.0, wander: [0.0; 2], dice: seed, t: 0 }
    }

    fn tick(&mut self) -> Tick {
        let mut dice = Dice(self.dice);
        for wander in &mut self.wander {
            *wander += -*wander / 30.0 + 0.15 * dice.normal();
        }
        self.warm += (10.0 + self.heat + self.wander[0] - self.warm) / 25.0;
        self.inner += (10.0 * self.feed + self.wander[1] - self.inner) / 12.0;
        self.level += (self.inner - self.level) / 12.0;
        let values = [self.heat, self.feed, self.warm + 0.1 * dice.normal(), self.level + 0.1 * dice.normal()];
        self.dice = dice.0;
        let time = UtcNanos(1_000 * SECOND + self.t as i64 * SECOND);
        let reading =
            |(i, &value): (usize, &f64)| TagReading { tag: TagId(i as u32), value, age_ns: 0, quality: Quality::Good };
        let tags = values.iter().enumerate().map(reading).collect();
        let tick = Tick { line: LineId(0), index: self.t, time, tags, cameras: Vec::new() };
        self.t += 1;
        tick
    }

    fn set(&mut self, tag: TagId, value: f64) {
        match tag {
            HEAT => self.heat = value,
            _ => self.feed = value,
        }
    }

    /// `ticks` ticks in which somebody sets something now and then: `heat` from 30 to 70, `feed` from 3 to 7.
    fn busy(&mut self, ticks: usize) -> Vec<Tick> {
        let mut hand = Dice(self.dice ^ 0xface);
        let mut next = self.t + 30;
        (0..ticks)
            .map(|_| {
                if self.t >= next {
                    if hand.uniform() < 0.5 {
                        self.heat = (30.0 + 40.0 * hand.uniform()).round();
                    } else {
                        self.feed = (30.0 + 40.0 * hand.uniform()).round() / 10.0;
                    }
                    next = self.t + 30 + (60.0 * hand.uniform()) as u64;
                }
                self.tick()
            })
            .collect()
    }
}

fn model() -> &'static PlantModel {
    static MODEL: OnceLock<PlantModel> = OnceLock::new();
    MODEL.get_or_init(|| {
        let runs: Vec<Vec<Tick>> = (1..=6).map(|seed| Line::new(seed).busy(1_500)).collect();
        let options = TrainOptions { epochs_max: 1, size: Size::least(), ..TrainOptions::default() };
        train(&spec(), &runs, &options, &mut |_| true).unwrap()
    })
}

/// A line that nobody touches at these setpoints, for so long that it is settled, and a stream that saw it.
fn settled(seed: u64, heat: f64, feed: f64) -> (Line, Stream) {
    let mut line = Line { heat, feed, warm: 10.0 + heat, inner: 10.0 * feed, level: 10.0 * feed, ..Line::new(seed) };
    let mut stream = model().stream();
    for _ in 0..250 {
        stream.step(&line.tick());
    }
    (line, stream)
}

fn done(ticks: &[Tick], t: usize, ahead: usize) -> Course {
    let mut course = Course::held();
    for k in 1..=ahead {
        for tag in [HEAT, FEED] {
            let value = |t: usize| ticks[t].tags[tag.index()].value;
            if value(t + k) != value(t + k - 1) {
                course = course.set(k as u32 - 1, tag, value(t + k));
            }
        }
    }
    course
}

#[test]
fn bands_hold_as_often_as_they_say_at_every_horizon_of_fresh_runs() {
    const AHEAD: usize = 128;
    let horizons: Vec<usize> = HORIZONS.iter().map(|h| *h as usize).chain([12, 48, 64, AHEAD]).collect();
    let mut counts = vec![[0usize; 4]; horizons.len()];
    for seed in 100..108 {
        let ticks = Line::new(seed).busy(1_500);
        let mut stream = model().stream();
        for t in 0..ticks.len() - AHEAD {
            stream.step(&ticks[t]);
            if t < 60 || t % 5 != 0 {
                continue;
            }
            let held = stream.outlook(AHEAD).unwrap();
            let given = stream.what_if(&done(&ticks, t, AHEAD), AHEAD).ok();
            for (count, &k) in counts.iter_mut().zip(&horizons) {
                for tag in [WARM, LEVEL] {
                    let actual = ticks[t + k].tags[tag.index()].value as f32;
                    let band = held.tag(tag).unwrap().bands[k - 1];
                    count[0] += usize::from(band.low <= actual && actual <= band.high);
                    count[1] += 1;
                    if let Some(given) = &given {
                        let band = given.tag(tag).unwrap().bands[k - 1];
                        assert!(band.low <= band.mid && band.mid <= band.high);
                        count[2] += usize::from(band.low <= actual && actual <= band.high);
                        count[3] += 1;
                    }
                }
            }
        }
    }
    for (count, k) in counts.iter().zip(&horizons) {
        let (held, given) = (count[0] as f64 / count[1] as f64, count[2] as f64 / count[3] as f64);
        assert!((0.76..=0.84).contains(&held), "{k} ticks ahead, nothing known: {held:.3}");
        assert!((0.76..=0.84).contains(&given), "{k} ticks ahead, what people did given: {given:.3}");
        assert!(count[3] * 10 > count[1] * 7, "too much of what people really did is refused: {count:?}");
    }
}

#[test]
fn looking_ahead_does_not_disturb_the_stream() {
    let (line, stream) = settled(3, 50.0, 5.0);
    let (mut one, mut other) = (stream.clone(), stream);
    let (mut line_one, mut line_other) = (line.clone(), line);
    for _ in 0..20 {
        other.outlook(100).unwrap();
        other.what_if(&Course::held().set(0, HEAT, 60.0), 100).unwrap();
        other.advise(&request(55.0, 58.0)).unwrap();
        let (a, b) = (one.step(&line_one.tick()), other.step(&line_other.tick()));
        assert_eq!(format!("{a:?}"), format!("{b:?}"));
    }
}

#[test]
fn a_step_of_a_setpoint_is_foreseen_and_only_where_it_acts() {
    let (mut line, stream) = settled(5, 45.0, 5.0);
    let told = stream.what_if(&Course::held().set(0, HEAT, 65.0), 150).unwrap();
    let held = stream.what_if(&Course::held(), 150).unwrap();
    line.set(HEAT, 65.0);
    let ticks: Vec<Tick> = (0..150).map(|_| line.tick()).collect();
    for k in [10, 30, 60, 150] {
        let (mid, still) = (told.tag(WARM).unwrap().bands[k - 1].mid, held.tag(WARM).unwrap().bands[k - 1].mid);
        let actual = ticks[k - 1].tags[WARM.index()].value as f32;
        assert!((mid - actual).abs() < 2.5, "{k} ticks ahead: {mid} for {actual}");
        let wanted = 20.0 * (1.0 - (-(k as f32) / 25.0).exp());
        assert!(
            (mid - still - wanted).abs() < 1.5,
            "{k} ticks ahead the step moves it by {}, not {wanted}",
            mid - still
        );
        let beside = told.tag(LEVEL).unwrap().bands[k - 1].mid - held.tag(LEVEL).unwrap().bands[k - 1].mid;
        assert!(beside.abs() < 1.0, "the other tag is moved by {beside}");
    }
}

#[test]
fn what_was_never_seen_is_refused_and_the_setpoint_and_its_range_are_named() {
    let (_, stream) = settled(7, 50.0, 5.0);
    let ask = |course: Course| stream.what_if(&course, 60).unwrap_err();
    let beyond = ask(Course::held().set(0, HEAT, 95.0));
    let ForesightError::Unseen(Unseen::Value { name, asked, seen }) = &beyond else { panic!("{beyond}") };
    assert_eq!((name.as_str(), *asked), ("heat", 95.0));
    assert!(seen[0].0 >= 30.0 && seen[seen.len() - 1].1 <= 70.0, "{seen:?}");
    assert!(beyond.to_string().contains("'heat' = 95 was never seen: in training it was 3"), "{beyond}");
    let (_, high) = settled(7, 69.0, 5.0);
    let Err(ForesightError::Unseen(step)) = high.what_if(&Course::held().set(0, HEAT, 20.0), 60) else { panic!() };
    assert!(matches!(&step, Unseen::Value { asked, .. } if *asked == 20.0), "{step}");
    assert_eq!(ask(Course::held().set(0, WARM, 50.0)), ForesightError::NoAction { name: "warm".to_owned() });
    assert_eq!(ask(Course::held().set(0, TagId(9), 5.0)), ForesightError::UnknownTag { tag: TagId(9) });
    assert!(matches!(ask(Course::held().set(0, HEAT, f64::NAN)), ForesightError::NoNumber { .. }));
    assert!(matches!(stream.outlook(0), Err(ForesightError::TooFar { .. })));
    assert_eq!(model().stream().outlook(5), Err(ForesightError::NoPresent));
}

#[test]
fn a_state_unlike_any_in_training_is_refused_as_such() {
    let (mut line, mut stream) = settled(9, 50.0, 5.0);
    line.warm = 140.0;
    stream.step(&line.tick());
    let refused = stream.what_if(&Course::held().set(0, FEED, 5.5), 60).unwrap_err();
    assert!(matches!(&refused, ForesightError::Unseen(Unseen::Tag { name, .. }) if name == "warm"), "{refused}");
    assert!(refused.to_string().contains("'warm' is now further out than ever in training"), "{refused}");
    assert!(stream.outlook(60).is_ok(), "a forecast is given all the same");
}

#[test]
fn the_time_to_a_limit_lies_in_its_interval_as_often_as_it_says() {
    const AHEAD: usize = 120;
    let (mut inside, mut count, mut crossed) = (0, 0, 0);
    for seed in 200..206 {
        let ticks = Line::new(seed).busy(1_500);
        let mut stream = model().stream();
        for t in 0..ticks.len() - AHEAD {
            stream.step(&ticks[t]);
            if t < 60 || t % 7 != 0 {
                continue;
            }
            let told = stream.outlook(AHEAD).unwrap();
            for (tag, limit) in [(WARM, 66.0), (LEVEL, 57.0)] {
                let value = |k: usize| ticks[t + k].tags[tag.index()].value;
                if value(0) >= limit {
                    continue;
                }
                let told = told.time_to_limit(tag, None, Some(limit)).unwrap();
                let when = (1..=AHEAD).find(|&k| value(k) >= limit);
                if when.is_none() && told.earliest.is_none() {
                    continue;
                }
                let not_before = when.is_none_or(|k| told.earliest.is_some_and(|e| e <= k));
                let by_then = told.latest.is_none_or(|l| when.is_some_and(|k| k <= l));
                inside += usize::from(not_before && by_then);
                crossed += usize::from(when.is_some());
                count += 1;
            }
        }
    }
    let share = f64::from(inside as u32) / f64::from(count);
    assert!(crossed > 300, "{crossed} of {count} cases show anything");
    assert!(share >= 0.78, "{share:.3} of {count}");
}

#[test]
fn a_limit_that_a_step_leads_across_is_told_with_its_time() {
    let (_, stream) = settled(11, 45.0, 5.0);
    let told = stream.what_if(&Course::held().set(0, HEAT, 65.0), 150).unwrap();
    // 55 to 75 with a lag of 25 ticks is at 65 after 17.
    let when = told.time_to_limit(WARM, Some(20.0), Some(65.0)).unwrap();
    assert_eq!(when.side, Side::High);
    let (earliest, likely, latest) = (when.earliest.unwrap(), when.likely.unwrap(), when.latest.unwrap());
    assert!(earliest <= likely && likely <= latest, "{when:?}");
    assert!((14..=21).contains(&likely), "{when:?}");
    let never = stream.what_if(&Course::held(), 150).unwrap().time_to_limit(WARM, None, Some(75.0)).unwrap();
    assert_eq!((never.likely, never.latest), (None, None));
}

fn request(warm: f64, level: f64) -> AdviceRequest {
    let lever = |tag, low, high, rate| Lever { tag, low, high, rate_per_min: Some(rate) };
    let levers = vec![lever(HEAT, 32.0, 68.0, 12.0), lever(FEED, 3.2, 6.8, 2.0)];
    let aim = |tag, middle: f64| Aim { tag, low: middle - 1.0, high: middle + 1.0, weight: 1.0 };
    AdviceRequest::new(levers, vec![aim(WARM, warm), aim(LEVEL, level)])
}

#[test]
fn advice_brings_the_line_where_it_should_be_within_limits_and_rates() {
    let mut reached = 0;
    for seed in 0..10 {
        let mut dice = Dice(900 + seed);
        let (mut line, stream) = settled(300 + seed, 45.0 + 10.0 * dice.uniform(), 4.5 + dice.uniform());
        let request = request(52.0 + 16.0 * dice.uniform(), 42.0 + 16.0 * dice.uniform());
        let advice = stream.advise(&request).unwrap();
        assert!(advice.better && advice.remaining < 0.7, "{advice:?}");
        assert!(advice.distance <= 1.5, "{}", advice.distance);
        let mut at = [line.heat, line.feed];
        for step in advice.course.steps() {
            let lever = request.levers.iter().position(|l| l.tag == step.tag).unwrap();
            let Lever { low, high, rate_per_min, .. } = request.levers[lever];
            assert!(step.value >= low && step.value <= high, "{step:?}");
            // Moves lie a minute apart.
            assert_eq!(step.after_ticks % 60, 0);
            assert!((step.value - at[lever]).abs() <= rate_per_min.unwrap() + 1e-9, "{step:?} from {}", at[lever]);
            at[lever] = step.value;
        }
        let mut last = [0.0; 2];
        for t in 0..request.ahead_ticks {
            for step in advice.course.steps().iter().filter(|s| s.after_ticks as usize == t) {
                line.set(step.tag, step.value);
            }
            let tick = line.tick();
            last = [tick.tags[WARM.index()].value, tick.tags[LEVEL.index()].value];
        }
        // The wander of both tags is about 1.2 on top.
        let off = request.aims.iter().zip(last).map(|(aim, value)| (value - (aim.low + aim.high) / 2.0).abs());
        reached += usize::from(off.fold(0.0, f64::max) < 3.0);
    }
    assert!(reached >= 9, "{reached} of 10");
}

#[test]
fn where_nothing_is_better_the_advice_is_to_do_nothing() {
    let (_, stream) = settled(13, 50.0, 5.0);
    let advice = stream.advise(&request(60.0, 50.0)).unwrap();
    assert!(!advice.better && advice.course.steps().is_empty(), "{advice:?}");
    assert_eq!((advice.remaining, &advice.outlook), (1.0, &advice.held));
    let calm = stream.advise(&AdviceRequest { aims: Vec::new(), ..request(60.0, 50.0) }).unwrap();
    assert!(!calm.better, "a quiet line needs no calming: {:?}", calm.course);
}

#[test]
fn advice_is_the_same_each_time_and_what_it_promises_is_the_what_if_of_its_course() {
    let (_, stream) = settled(15, 50.0, 5.0);
    let request = request(66.0, 45.0);
    let (one, other) = (stream.advise(&request).unwrap(), stream.advise(&request).unwrap());
    assert_eq!(one, other);
    let told = stream.what_if(&one.course, request.ahead_ticks).unwrap();
    assert_eq!(told, one.outlook);
}

#[test]
fn a_request_that_makes_no_sense_is_refused() {
    let (_, stream) = settled(17, 50.0, 5.0);
    let ask = |change: &dyn Fn(&mut AdviceRequest)| {
        let mut request = request(60.0, 50.0);
        change(&mut request);
        stream.advise(&request).unwrap_err().to_string()
    };
    assert!(ask(&|r| r.levers.clear()).contains("no setpoint may be moved"));
    assert!(ask(&|r| r.levers[0].high = 1.0).contains("'heat' are 32 to 1"));
    assert!(ask(&|r| r.levers[1].tag = HEAT).contains("'heat' is named twice"));
    assert!(ask(&|r| r.levers[0].tag = WARM).contains("'warm' cannot be set"));
    assert!(ask(&|r| r.aims[0].tag = HEAT).contains("'heat' is not predicted"));
    assert!(ask(&|r| r.moves = 0).contains("1 to 12 moves"));
}

#[test]
fn a_model_that_was_saved_foresees_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    model().save(&path).unwrap();
    let loaded = PlantModel::load(&path, &spec()).unwrap();
    let (mut line, _) = settled(19, 50.0, 5.0);
    let (mut one, mut other) = (model().stream(), loaded.stream());
    for tick in line.busy(200) {
        one.step(&tick);
        other.step(&tick);
    }
    let course = Course::held().set(5, FEED, 5.4);
    assert_eq!(one.outlook(90), other.outlook(90));
    assert_eq!(one.what_if(&course, 90), other.what_if(&course, 90));
    assert_eq!(one.advise(&request(60.0, 55.0)), other.advise(&request(60.0, 55.0)));
}

#[test]
fn the_shipped_model_forecasts_minutes_ahead() {
    let tag = |(i, tag): (usize, &sightglass_plant_sim::SimTag)| TagSpec {
        id: TagId::from_index(i),
        name: tag.name.to_owned(),
        unit: tag.unit.to_owned(),
        role: tag.role,
        range: Some(tag.range),
        excluded: false,
    };
    let tags = sightglass_plant_sim::tags().iter().enumerate().map(tag).collect();
    let cameras = vec![CameraSpec { id: CameraId(0), name: sightglass_plant_sim::CAMERA_NAME.to_owned() }];
    let spec = ModelSpec { line: LineId(0), tick_ns: SECOND, tags, cameras };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo-line.safetensors");
    let model = PlantModel::load(&path, &spec).unwrap();
    let mut stream = model.stream();
    let missing =
        sightglass_protocol::CameraReading { camera: CameraId(0), frames: Vec::new(), quality: Quality::Missing };
    for t in 0..40 {
        let reading = |(i, tag): (usize, &TagSpec)| TagReading {
            tag: tag.id,
            value: model.card().tags[i].mean,
            age_ns: 0,
            quality: Quality::Good,
        };
        let tags = spec.tags.iter().enumerate().map(reading).collect();
        let time = UtcNanos(t as i64 * SECOND);
        stream.step(&Tick { line: LineId(0), index: t, time, tags, cameras: vec![missing.clone()] });
    }
    assert!(model.has_foresight());
    let outlook = stream.outlook(300).unwrap();
    assert!(outlook.measured_ticks >= 256, "{}", outlook.measured_ticks);
    assert!(outlook.tags.iter().all(|t| t.bands.iter().all(|b| b.low < b.high && b.mid.is_finite())));
}
