//! Tags: what is a surprise, what is not, and what the file keeps.

mod line;

use line::*;
use sightglass_protocol::{HORIZONS, LineId, Quality, Role, ScorePart, TagId, TagReading, Tick, UtcNanos};
use sightglass_world_model::{
    ComputeDevice, LoadError, ModelSpec, Output, PlantModel, TagSpec, TrainError, TrainOptions, train,
};

const TRAINING: usize = 2_600;

fn model() -> PlantModel {
    trained(&spec(false), &[run(TRAINING, 1, false, Fault::None, 0)], 2).unwrap()
}

/// Ticks from the settled ones on whose score is above 1 for three in a row.
fn persistent(outputs: &[Output]) -> Option<usize> {
    let above = |o: &Output| o.surprise.settled && o.surprise.score > 1.0;
    outputs.windows(3).position(|w| w.iter().all(above))
}

#[test]
fn normal_running_with_setpoint_changes_is_no_surprise() {
    let model = model();
    for seed in 20..24 {
        let outputs = outputs(&mut model.stream(), &run(1_000, seed, false, Fault::None, 0));
        let worst = outputs.iter().max_by(|a, b| a.surprise.score.total_cmp(&b.surprise.score)).unwrap();
        assert_eq!(persistent(&outputs), None, "seed {seed}, worst {:?}", worst.surprise);
    }
}

#[test]
fn a_sensor_that_jumps_is_blamed_at_once() {
    let ticks = run(420, 7, false, Fault::LevelOffset(3.0), 300);
    let outputs = outputs(&mut model().stream(), &ticks);
    let found = persistent(&outputs).expect("the jump is found");
    assert!((300..310).contains(&found), "{found}");
    let tags = &outputs[301].surprise.tags;
    // Its controller acts on it within the same tick, so the valve is as far off.
    let level = tags.iter().find(|t| t.tag.index() == LEVEL).unwrap();
    let worse = tags.iter().filter(|t| t.score > level.score).count();
    assert!(worse <= 1, "{tags:?}");
    assert!(level.score > 1.0 && level.predicted.is_some() && level.actual.is_some());
}

#[test]
fn a_sensor_that_drifts_behind_its_controller_is_found_and_blamed() {
    let ticks = run(520, 9, false, Fault::LevelDrift(0.02), 300);
    let outputs = outputs(&mut model().stream(), &ticks);
    let found = persistent(&outputs).expect("the drift is found");
    assert!((300..420).contains(&found), "{found}");
    let tags = &outputs[found + 10].surprise.tags;
    let mut by_score: Vec<_> = tags.iter().map(|t| (t.tag.index(), t.score)).collect();
    by_score.sort_by(|a, b| b.1.total_cmp(&a.1));
    assert!(by_score[..3].iter().any(|(tag, _)| *tag == LEVEL), "{by_score:?}");
}

#[test]
fn a_tag_that_never_moved_may_not_begin_to() {
    let mut ticks = run(200, 11, false, Fault::None, 0);
    ticks[150..].iter_mut().for_each(|t| t.tags[FIXED].value = 300.0);
    let outputs = outputs(&mut model().stream(), &ticks);
    let fixed = |o: &Output| o.surprise.tags.iter().find(|t| t.tag.index() == FIXED).unwrap().score;
    assert_eq!(fixed(&outputs[149]), 0.0);
    assert!(fixed(&outputs[150]) > 1.0);
}

#[test]
fn bands_hold_what_they_promise_on_fresh_data() {
    let model = trained(&spec(false), &[run(6_000, 1, false, Fault::None, 0)], 1).unwrap();
    let ticks = run(1_500, 31, false, Fault::None, 0);
    let outputs = outputs(&mut model.stream(), &ticks);
    for (h, &horizon) in HORIZONS.iter().enumerate() {
        let (mut inside, mut count) = (0, 0);
        for t in 40..ticks.len() - horizon as usize {
            for tag in &outputs[t].forecast.as_ref().unwrap().tags {
                let actual = ticks[t + horizon as usize].tags[tag.tag.index()].value as f32;
                let band = tag.bands[h];
                assert!(band.low <= band.mid && band.mid <= band.high);
                inside += usize::from(band.low <= actual && actual <= band.high);
                count += 1;
            }
        }
        let share = inside as f64 / count as f64;
        assert!((0.7..0.9).contains(&share), "{horizon} ticks ahead: {share}");
    }
    let error = model.card().one_step_error.unwrap();
    assert!(error.model < 0.9 * error.persistence, "{error:?}");
    let methods = &model.card().methods;
    let names: Vec<&str> = methods.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names[..3], ["model", "ridge", "persistence"]);
    assert_eq!(names.len(), 7, "{names:?}");
    assert_eq!(methods[0].errors[0], Some(error.model));
    // Classics begin anew in each held-back stretch, so that theirs rest on a few ticks more.
    let last = methods[2].errors[0].unwrap();
    assert!((last / error.persistence - 1.0).abs() < 0.1, "{last} and {}", error.persistence);
    assert!(methods[2..].iter().all(|m| m.false_alarms.is_some_and(|share| share < 0.1)), "{methods:?}");
    assert!(model.card().to_text().contains("canonical variate analysis"));
}

#[test]
fn a_setpoint_or_a_mode_never_enters_an_encoder() {
    let model = model();
    let ticks = run(60, 5, false, Fault::None, 0);
    let mut other = ticks.clone();
    other.iter_mut().for_each(|t| t.tags[SETPOINT].value += 7.0);
    other.iter_mut().for_each(|t| t.tags[MODE].value = 2.0);
    let (mut a, mut b) = (model.stream(), model.stream());
    let mut forecasts_differ = false;
    for (x, y) in ticks.iter().zip(&other) {
        forecasts_differ |= a.step(x).forecast != b.step(y).forecast;
        assert_eq!(a.latents(), b.latents());
    }
    assert!(forecasts_differ, "the predictor must see what people do");
}

#[test]
fn the_same_ticks_give_the_same_bits_also_from_the_file() {
    let model = model();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    model.save(&path).unwrap();
    let loaded = PlantModel::load(&path, &spec(false)).unwrap();
    assert_eq!(loaded.card(), model.card());
    let ticks = run(150, 13, false, Fault::LevelOffset(1.0), 100);
    let first = bits(&outputs(&mut model.stream(), &ticks));
    assert!(first == bits(&outputs(&mut model.stream(), &ticks)));
    assert!(first == bits(&outputs(&mut loaded.stream(), &ticks)));
    let again = folder.path().join("again.safetensors");
    loaded.save(&again).unwrap();
    assert!(std::fs::read(&path).unwrap() == std::fs::read(&again).unwrap());
    assert!(model.card().to_text().contains("persistence"));
}

#[test]
fn the_same_seed_trains_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["a", "b"].map(|name| {
        let path = folder.path().join(name);
        model().save(&path).unwrap();
        std::fs::read(path).unwrap()
    });
    assert!(files[0] == files[1]);
}

#[test]
fn a_file_that_is_not_this_lines_model_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    model().save(&path).unwrap();
    let refused = |change: &dyn Fn(&mut sightglass_world_model::ModelSpec)| {
        let mut spec = spec(false);
        change(&mut spec);
        PlantModel::load(&path, &spec).unwrap_err().to_string()
    };
    assert!(
        refused(&|s| s.tags[LEVEL].unit = "m".to_owned()).contains("tag 'level' has the unit 'm', the model's '%'")
    );
    assert!(
        refused(&|s| s.tags[LEVEL].name = "height".to_owned())
            .contains("tag 'level', which the model knows, is missing")
    );
    assert!(
        refused(&|s| s.tags.push(sightglass_world_model::TagSpec { name: "new".to_owned(), ..s.tags[0].clone() }))
            .contains("tag 'new' is unknown")
    );
    assert!(refused(&|s| s.tags[VALVE].role = Role::Measurement).contains("tag 'valve'"));
    assert!(refused(&|s| s.tick_ns = 2 * SECOND).contains("tick"));
    assert!(refused(&|s| s.cameras = spec(true).cameras).contains("camera 'belt'"));
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(matches!(PlantModel::load(&path, &spec(false)), Err(LoadError::Damaged { .. })), "{length} bytes");
    }
    let named = br#"\"format\":2"#;
    let at = whole.windows(named.len()).position(|w| w == named).expect("the head names its format");
    let mut newer = whole.clone();
    newer[at + named.len() - 1] = b'9';
    std::fs::write(&path, &newer).unwrap();
    assert!(matches!(PlantModel::load(&path, &spec(false)), Err(LoadError::Version { found: 9, .. })));
    let absent = folder.path().join("none.safetensors");
    assert!(matches!(PlantModel::load(&absent, &spec(false)), Err(LoadError::Io { .. })));
}

#[test]
fn a_missing_sensor_is_no_surprise_and_the_rest_goes_on() {
    let model = model();
    let mut ticks = run(600, 17, false, Fault::LevelOffset(4.0), 500);
    for (t, tick) in ticks.iter_mut().enumerate() {
        if (200..400).contains(&t) {
            tick.tags[INFLOW].quality = if t % 2 == 0 { Quality::Bad } else { Quality::Missing };
            tick.tags[INFLOW].value = if t % 2 == 0 { 1e9 } else { f64::NAN };
        }
    }
    let outputs = outputs(&mut model.stream(), &ticks);
    assert!(outputs.iter().all(|o| o.surprise.score.is_finite()));
    let inflow = |o: &Output| *o.surprise.tags.iter().find(|t| t.tag.index() == INFLOW).unwrap();
    assert!(outputs[200..400].iter().all(|o| inflow(o).score == 0.0 && inflow(o).actual.is_none()));
    let found = persistent(&outputs).expect("the jump is still found");
    assert!((500..515).contains(&found), "{found}");
}

#[test]
fn training_that_cannot_work_says_why() {
    let ticks = run(64, 1, false, Fault::None, 0);
    let few = trained(&spec(false), &[ticks[..10].to_vec()], 1).unwrap_err();
    assert!(matches!(few, TrainError::TooFewTicks { ticks: 10, min: 16 }), "{few}");
    assert!(matches!(
        trained(&spec(true), std::slice::from_ref(&ticks), 1),
        Err(TrainError::OtherLine { what: "cameras", .. })
    ));
    let mut blind = spec(false);
    blind.tags.iter_mut().for_each(|t| t.excluded = true);
    assert!(matches!(trained(&blind, &[ticks], 1), Err(TrainError::NothingToWatch)));
}

#[test]
fn more_tags_than_there_is_room_for_are_refused_with_what_to_do() {
    let mut noise = Noise(5);
    let tag = |i: usize| TagSpec {
        id: TagId::from_index(i),
        name: format!("tag {i}"),
        unit: String::new(),
        role: Role::Measurement,
        range: None,
        excluded: false,
    };
    let spec = ModelSpec { tags: (0..2_000).map(tag).collect(), ..spec(false) };
    let ticks = (0..64).map(|t| Tick {
        line: LineId(0),
        index: t,
        time: UtcNanos(t as i64 * SECOND),
        tags: (0..2_000)
            .map(|i| TagReading { tag: TagId::from_index(i), value: noise.normal(), age_ns: 0, quality: Quality::Good })
            .collect(),
        cameras: Vec::new(),
    });
    let refused = trained(&spec, &[ticks.collect()], 1).unwrap_err();
    assert!(matches!(refused, TrainError::TooManyTags { moving: 2_000, max: 512 }), "{refused}");
    assert!(refused.to_string().contains("exclude = true"), "{refused}");
}

#[test]
fn a_mode_that_was_hardly_on_is_noted() {
    let mut ticks = run(TRAINING, 1, false, Fault::None, 0);
    ticks[1_000..1_040].iter_mut().for_each(|tick| tick.tags[MODE].value = 2.0);
    let model = trained(&spec(false), &[ticks], 1).unwrap();
    let notes = &model.card().notes;
    let note = notes.iter().find(|note| note.starts_with("'mode' was 2 for 40 s only"));
    assert!(note.is_some(), "{notes:?}");
    assert!(!notes.iter().any(|note| note.starts_with("'mode' was 1")), "{notes:?}");
}

#[test]
fn training_that_was_stopped_goes_on_to_the_bit_as_if_it_had_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let runs = [run(TRAINING, 1, false, Fault::None, 0)];
    let spec = spec(false);
    let saved = |model: sightglass_world_model::PlantModel, name: &str| {
        model.save(&file(name)).unwrap();
        std::fs::read(file(name)).unwrap()
    };
    for device in [ComputeDevice::cpu(), ComputeDevice::cpu_plain()] {
        let mut options = TrainOptions { device, ..options(3) };
        let whole = saved(train(&spec, &runs, &options, &mut |_| true).unwrap(), "whole");
        options.checkpoint = Some(file("checkpoint"));
        let stopped = train(&spec, &runs, &options, &mut |p| p.epoch < 3);
        assert!(matches!(stopped, Err(TrainError::Stopped { epochs: 2 })), "{stopped:?}");
        let (mut first, mut left) = (None, Vec::new());
        let resumed = train(&spec, &runs, &options, &mut |p| {
            if p.stage == "network" {
                first = first.or(Some(p.epoch));
                left.extend(p.seconds_left);
            }
            true
        });
        assert_eq!(first, Some(3));
        assert!(left.len() > 3 && left.last() == Some(&0.0), "{left:?}");
        assert!(saved(resumed.unwrap(), "resumed") == whole);
        let other = train(&spec, &runs, &TrainOptions { epochs_max: 4, ..options.clone() }, &mut |_| true);
        assert!(
            matches!(&other, Err(TrainError::Checkpoint { reason, .. }) if reason.contains("3 epochs")),
            "{other:?}"
        );
        options.seed += 1;
        let other = train(&spec, &runs, &options, &mut |_| true);
        assert!(matches!(other, Err(TrainError::Checkpoint { .. })), "{other:?}");
        std::fs::remove_file(file("checkpoint")).unwrap();
    }
}

#[test]
fn a_few_dropped_ticks_are_bridged_and_a_long_gap_begins_anew() {
    let model = model();
    let ticks = run(300, 19, false, Fault::None, 0);
    let mut stream = model.stream();
    let kept: Vec<_> = ticks.iter().filter(|t| t.index % 37 != 5).cloned().collect();
    let bridged = outputs(&mut stream, &kept);
    assert!(bridged[60..].iter().all(|o| o.surprise.settled));
    assert_eq!(persistent(&bridged), None);
    let mut stream = model.stream();
    outputs(&mut stream, &ticks[..100]);
    assert!(!stream.step(&ticks[200]).surprise.settled);
    assert!(!stream.step(&ticks[50]).surprise.settled, "time that goes back is a gap too");
}

#[test]
fn tags_that_are_identical_or_absent_do_no_harm() {
    let mut ticks = run(TRAINING, 1, false, Fault::None, 0);
    for tick in &mut ticks {
        tick.tags[TWIN].value = tick.tags[LEVEL].value;
        tick.tags[OUTFLOW].value = f64::NAN;
        tick.tags[OUTFLOW].quality = Quality::Missing;
    }
    let model = trained(&spec(false), std::slice::from_ref(&ticks), 1).unwrap();
    let outputs = outputs(&mut model.stream(), &ticks[..300]);
    assert_eq!(persistent(&outputs), None);
    assert!(outputs.iter().all(|o| o.surprise.parts.iter().all(|(_, s)| s.is_finite())));
    assert!(outputs[299].surprise.parts.iter().any(|(part, _)| *part == ScorePart::Drift));
    assert_eq!(model.card().longest_hold_ticks[FIXED], TRAINING as f32);
}

#[test]
fn what_people_set_beyond_training_is_named_with_where_it_was() {
    let model = model();
    let mut ticks = run(300, 23, false, Fault::None, 0);
    let mut stream = model.stream();
    assert!(outputs(&mut stream, &ticks).iter().all(|o| o.surprise.unknown_ground.is_empty()));
    let mut beyond = ticks.pop().unwrap();
    beyond.index += 1;
    beyond.time = UtcNanos(beyond.time.0 + SECOND);
    (beyond.tags[SETPOINT].value, beyond.tags[MODE].value) = (80.0, 2.0);
    let ground = stream.step(&beyond).surprise.unknown_ground;
    let named: Vec<_> = ground.iter().map(|g| (g.tag.index(), g.value, g.seen.clone())).collect();
    assert_eq!(named, [(SETPOINT, 80.0, vec![(40.0, 60.0)]), (MODE, 2.0, vec![(1.0, 1.0)])]);
}
