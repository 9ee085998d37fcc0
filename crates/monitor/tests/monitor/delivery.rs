//! Sensors that do not move and cameras that show the same picture.

use crate::line::{CAMERA, FLOW, LEVEL, MODE, PUMP, Run, normal, plant};
use sightglass_monitor::{Monitor, MonitorOptions, Normal};
use sightglass_protocol::{
    AdvisoryChange, AdvisoryId, AdvisoryKind, CameraId, HealthState, LineId, Quality, Subject, TagId, UtcNanos,
    message::LineState, time::SECOND,
};

#[test]
fn a_sensor_that_stops_moving_is_a_sensor_advisory_and_not_one_about_the_process() {
    let mut run = Run::new();
    run.quiet(30);
    run.values[LEVEL] = Some(50.25);
    run.steps(20, 2.0, &[(LEVEL, 2.5)]);
    assert_eq!(run.opened(), 1, "{:?}", run.changes);
    assert_eq!(run.monitor.open()[0].title, "level_tank: has not changed for 19 s");
    let advisory = run.changes[0].advisory();
    assert_eq!(advisory.kind, AdvisoryKind::Sensor);
    assert_eq!(advisory.title, "level_tank: has not changed for 11 s");
    assert_eq!(advisory.since, UtcNanos(30 * SECOND - SECOND / 10));
    assert_eq!(advisory.causes[0].subject, Subject::Tag(TagId::from_index(LEVEL)));
    assert_eq!(advisory.causes[0].actual, Some(50.25));
    assert!(advisory.confidence > 0.8);
    let [health] = &run.health[..] else { panic!("{:?}", run.health) };
    assert_eq!((health.state, health.source.as_str()), (HealthState::Failure, "level_tank"));
    assert_eq!(run.monitor.line_state(), LineState::SensorAdvisory);

    let mut tick = run.tick();
    run.monitor.check(&mut tick);
    assert_eq!(tick.tags[LEVEL].quality, Quality::Frozen, "the model must not see it");
    run.values[LEVEL] = None;
    run.quiet(10);
    assert_eq!((run.closed(), run.monitor.open().len()), (1, 0));
    assert_eq!(run.health.last().unwrap().state, HealthState::Good);
}

#[test]
fn surprise_that_came_before_the_hold_was_long_enough_becomes_the_sensors_advisory() {
    let mut run = Run::new();
    run.quiet(30);
    run.values[LEVEL] = Some(50.25);
    // Three strong ticks, while the hold is no longer than normal running has shown.
    run.steps(3, 6.0, &[(LEVEL, 8.0)]);
    assert_eq!(run.monitor.open()[0].kind, AdvisoryKind::Process);
    run.steps(12, 6.0, &[(LEVEL, 8.0)]);
    assert_eq!((run.opened(), run.monitor.open().len()), (1, 1));
    assert_eq!((run.monitor.open()[0].kind, run.monitor.open()[0].id), (AdvisoryKind::Sensor, AdvisoryId(7)));
}

#[test]
fn a_measurement_that_held_for_long_in_normal_running_may_hold() {
    let mut longest = normal();
    longest.longest_hold_ticks[LEVEL] = 40.0;
    let mut run = Run::with(Some(longest), MonitorOptions::default());
    run.quiet(5);
    run.values[LEVEL] = Some(50.25);
    run.quiet(120);
    assert_eq!((run.changes.len(), run.health.len()), (0, 0));
    run.quiet(10);
    assert_eq!(run.opened(), 1);
}

#[test]
fn outputs_setpoints_and_modes_may_hold() {
    let mut run = Run::new();
    run.values[PUMP] = Some(55.0);
    run.quiet(500);
    assert_eq!((run.changes.len(), run.health.len()), (0, 0));
}

#[test]
fn a_measurement_clipped_at_the_end_of_its_range_may_hold() {
    let mut run = Run::new();
    run.quiet(5);
    run.values[LEVEL] = Some(100.0);
    run.values[FLOW] = Some(0.0);
    run.quiet(100);
    assert_eq!((run.changes.len(), run.health.len()), (0, 0));
}

#[test]
fn values_may_hold_while_the_line_stands_but_pictures_may_not() {
    let mut run = Run::new();
    run.quiet(30);
    run.values[MODE] = Some(0.0);
    run.values[LEVEL] = Some(50.25);
    run.quiet(100);
    assert_eq!(run.changes, []);
    run.picture = Some(120);
    run.quiet(10);
    assert_eq!(run.monitor.open()[0].causes[0].subject, Subject::Camera(CameraId(0)));
}

#[test]
fn without_a_card_a_hold_is_judged_late_and_only_for_a_value_that_is_known_to_move() {
    let mut run = Run::with(None, MonitorOptions::default());
    run.values[FLOW] = Some(12.5);
    run.quiet(30);
    run.values[LEVEL] = Some(50.25);
    run.quiet(119);
    assert_eq!(run.changes, []);
    run.quiet(5);
    assert_eq!(run.opened(), 1);
    assert_eq!(run.monitor.open()[0].causes[0].subject, Subject::Tag(TagId::from_index(LEVEL)));
    run.quiet(500);
    assert_eq!(run.opened(), 1, "a value that never moved may be one that never does");
}

#[test]
fn a_slow_sensor_is_not_a_frozen_one() {
    let mut run = Run::new();
    let mut held = (0, 0.0);
    for _ in 0..200 {
        let mut tick = run.tick();
        // A sample every twenty seconds.
        if run.index.is_multiple_of(20) {
            held = (run.index, tick.tags[LEVEL].value);
        }
        tick.tags[LEVEL].value = held.1;
        tick.tags[LEVEL].age_ns = (run.index - held.0) as i64 * SECOND;
        assert_eq!(run.monitor.check(&mut tick), []);
        assert_eq!(run.monitor.observe(&tick, None).advisories, []);
        run.index += 1;
    }
}

#[test]
fn a_camera_that_shows_the_same_picture_is_a_camera_advisory() {
    let mut run = Run::new();
    run.quiet(30);
    run.picture = Some(120);
    run.steps(12, 2.0, &[(CAMERA, 2.0)]);
    assert_eq!(run.opened(), 1, "{:?}", run.changes);
    let advisory = &run.monitor.open()[0];
    assert_eq!(advisory.kind, AdvisoryKind::Camera);
    assert!(advisory.title.starts_with("filler-camera: shows the same picture for"), "{}", advisory.title);
    let mut tick = run.tick();
    run.monitor.check(&mut tick);
    assert_eq!(tick.cameras[0].quality, Quality::Frozen);
    run.picture = None;
    run.quiet(10);
    assert_eq!(run.closed(), 1);
}

#[test]
fn a_camera_that_sends_nothing_new_is_not_called_frozen() {
    let mut run = Run::new();
    run.quiet(10);
    let still = run.tick().cameras;
    for _ in 0..60 {
        let mut tick = run.tick();
        tick.cameras = still.clone();
        run.monitor.check(&mut tick);
        assert_eq!(run.monitor.observe(&tick, None).advisories, []);
        run.index += 1;
    }
}

#[test]
fn a_picture_that_ingest_refuses_is_a_camera_advisory_until_it_does_no_more() {
    let mut run = Run::new();
    run.quiet(10);
    run.picture_quality = Some(Quality::Bad);
    run.steps(8, 2.0, &[(CAMERA, 2.0)]);
    let [advisory] = run.monitor.open() else { panic!("{:?}", run.changes) };
    assert_eq!((advisory.kind, advisory.causes[0].subject), (AdvisoryKind::Camera, Subject::Camera(CameraId(0))));
    assert!(advisory.title.starts_with("filler-camera: its picture has not been usable for"), "{}", advisory.title);
    run.picture_quality = None;
    run.quiet(2);
    assert_eq!((run.closed(), run.monitor.open().len()), (1, 0));
    assert_eq!(run.health, [], "ingest has told it");
}

#[test]
fn a_value_that_ingest_calls_frozen_is_a_sensor_advisory_at_once() {
    let mut run = Run::with(None, MonitorOptions::default());
    run.quiet(5);
    run.values[LEVEL] = Some(50.25);
    run.qualities[LEVEL] = Some(Quality::Frozen);
    run.quiet(1);
    let advisory = &run.monitor.open()[0];
    assert_eq!(advisory.kind, AdvisoryKind::Sensor);
    assert!(advisory.confidence > 0.9, "{}", advisory.confidence);
    run.quiet(5);
    assert_eq!(run.opened(), 1);
    (run.values[LEVEL], run.qualities[LEVEL]) = (None, None);
    run.quiet(2);
    assert_eq!((run.closed(), run.health.len()), (1, 0));
}

#[test]
fn what_is_missing_is_no_advisory_and_was_told_by_ingest() {
    let mut run = Run::new();
    run.quiet(10);
    for quality in [Quality::Missing, Quality::Stale, Quality::Bad] {
        run.qualities[FLOW] = Some(quality);
        run.quiet(20);
        run.qualities[FLOW] = None;
        run.quiet(10);
    }
    assert_eq!((run.health.len(), run.changes.len()), (0, 0));
}

#[test]
fn a_line_without_any_data_says_so() {
    let mut run = Run::new();
    run.quiet(10);
    let mut tick = run.tick();
    for reading in &mut tick.tags {
        (reading.quality, reading.value) = (Quality::Missing, f64::NAN);
    }
    tick.cameras[0].quality = Quality::Missing;
    tick.cameras[0].frames.clear();
    run.monitor.check(&mut tick);
    assert_eq!(run.monitor.line_state(), LineState::NoData);
}

#[test]
fn a_tick_that_was_not_checked_is_checked_when_it_is_observed() {
    let mut run = Run::new();
    run.quiet(10);
    run.values[LEVEL] = Some(50.25);
    let (mut health, mut changes) = (Vec::new(), Vec::new());
    for _ in 0..14 {
        let findings = run.monitor.observe(&run.tick(), None);
        health.extend(findings.health);
        changes.extend(findings.advisories);
        run.index += 1;
    }
    assert_eq!(health.len(), 1);
    assert!(matches!(changes[..], [AdvisoryChange::Opened(_)]));
}

#[test]
fn lines_of_one_plant_never_give_the_same_id() {
    let mut plant = plant();
    let mut second = plant.lines[0].clone();
    second.id = LineId(1);
    plant.lines.push(second);
    let mut ids = Vec::new();
    for line in plant.lines.clone() {
        let mut run = Run::new();
        let normal: Option<Normal> = None;
        run.monitor = Monitor::new(&line, &plant, normal, AdvisoryId(100), MonitorOptions::default());
        for _ in 0..4 {
            run.steps(6, 2.0, &[(FLOW, 2.0)]);
            run.quiet(20);
        }
        ids.extend(run.changes.iter().filter_map(|change| match change {
            AdvisoryChange::Opened(advisory) => Some(advisory.id.0),
            _ => None,
        }));
    }
    ids.sort_unstable();
    assert_eq!(ids, (100..108).collect::<Vec<_>>());
}
