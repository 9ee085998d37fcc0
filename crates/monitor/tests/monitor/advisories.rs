//! From surprise to advisory.

use crate::line::{CAMERA, FLOW, LEVEL, MODE, PUMP, Run, SPEED_SETPOINT, TEMPERATURE, plant};
use sightglass_monitor::{Monitor, MonitorOptions, OPEN_MAX};
use sightglass_protocol::{
    AdvisoryChange, AdvisoryId, AdvisoryKind, CameraId, Quality, Subject, TagId, TagInfo, TagReading, UnknownGround,
    UtcNanos, message::LineState, time::SECOND,
};

fn tag(position: usize) -> Subject {
    Subject::Tag(TagId::from_index(position))
}

#[test]
fn two_wild_ticks_raise_nothing() {
    let mut run = Run::new();
    run.quiet(20);
    run.steps(2, 50.0, &[(FLOW, 80.0)]);
    run.quiet(40);
    assert_eq!(run.changes, []);
}

#[test]
fn options_cannot_make_two_ticks_enough() {
    let options = MonitorOptions { over_ticks: 1, strong_ticks: 1, window_ticks: 1, ..MonitorOptions::default() };
    let mut run = Run::with(None, options);
    run.steps(2, 50.0, &[(FLOW, 80.0)]);
    run.quiet(40);
    assert_eq!(run.changes, []);
}

#[test]
fn surprise_that_lasts_opens_one_advisory_with_its_start_and_its_causes() {
    let mut run = Run::new();
    run.quiet(20);
    let since = run.now();
    run.step(1.4, &[(FLOW, 1.5), (PUMP, 1.2)]);
    run.step(0.9, &[]);
    run.steps(2, 1.4, &[(FLOW, 1.5), (PUMP, 1.2)]);
    assert_eq!(run.changes, []);
    run.step(1.6, &[(FLOW, 1.9), (PUMP, 1.2), (CAMERA, 1.1)]);
    let [AdvisoryChange::Opened(advisory)] = &run.changes[..] else { panic!("{:?}", run.changes) };
    assert_eq!((advisory.id, advisory.kind), (AdvisoryId(7), AdvisoryKind::Process));
    assert_eq!((advisory.since, advisory.opened), (since, since + 4 * SECOND));
    assert_eq!(advisory.title, "flow_feed below its prediction, with pump_speed");
    let subjects: Vec<_> = advisory.causes.iter().map(|cause| cause.subject).collect();
    assert_eq!(subjects, [tag(FLOW), tag(PUMP), Subject::Camera(CameraId(0))]);
    assert!((advisory.causes.iter().map(|cause| cause.share).sum::<f32>() - 1.0).abs() < 1e-5);
    assert!(advisory.causes[0].share > 0.6, "{:?}", advisory.causes);
    assert_eq!(advisory.causes[0].predicted.unwrap().mid, 65.0);
    assert!((50.0..51.0).contains(&advisory.causes[0].actual.unwrap()));
    assert_eq!((advisory.peak, advisory.patches.len()), (1.6, 1));
    assert!(advisory.confidence > 0.4 && advisory.confidence < 0.6, "{}", advisory.confidence);
    assert_eq!(run.monitor.line_state(), LineState::Advisory);
}

#[test]
fn strong_surprise_opens_after_three_ticks() {
    let mut run = Run::new();
    run.quiet(20);
    run.steps(3, 5.0, &[(LEVEL, 6.0)]);
    assert_eq!(run.opened(), 1);
    assert!(run.monitor.open()[0].confidence > 0.99);
}

#[test]
fn an_advisory_stays_one_while_its_fault_spreads() {
    let mut run = Run::new();
    run.quiet(20);
    run.steps(10, 1.5, &[(FLOW, 1.8)]);
    run.steps(30, 2.5, &[(FLOW, 1.4), (LEVEL, 2.6)]);
    run.steps(30, 2.0, &[(LEVEL, 2.2), (PUMP, 1.5)]);
    assert_eq!((run.opened(), run.monitor.open().len()), (1, 1));
    let advisory = &run.monitor.open()[0];
    assert_eq!(advisory.peak, 2.5);
    assert!(advisory.causes[..3].iter().any(|cause| cause.subject == tag(FLOW)));
    let updates = run.changes.len() - 1;
    assert!((2..10).contains(&updates), "news, not one at every tick: {updates}");
}

#[test]
fn another_part_of_the_line_opens_its_own_advisory() {
    let mut run = Run::new();
    run.steps(90, 1.5, &[(FLOW, 1.8)]);
    run.steps(10, 2.5, &[(FLOW, 1.2), (TEMPERATURE, 3.0)]);
    assert_eq!(run.opened(), 2);
    assert_eq!(run.monitor.open()[1].title, "temperature below its prediction");
    run.steps(15, 2.5, &[(TEMPERATURE, 3.0)]);
    assert_eq!(run.closed(), 1, "the first is over while the second lasts");
    assert_eq!(run.monitor.open()[0].causes[0].subject, tag(TEMPERATURE));
}

#[test]
fn no_more_than_the_limit_are_open_at_once() {
    let mut run = Run::with(None, MonitorOptions { attribution_ticks: 1, ..MonitorOptions::default() });
    let mut plant = plant();
    let count = OPEN_MAX + 2;
    plant.lines[0].tags = (0..count).map(TagId::from_index).collect();
    plant.tags = (0..count)
        .map(|index| TagInfo {
            id: TagId::from_index(index),
            name: format!("flow_{index}"),
            ..plant.tags[FLOW].clone()
        })
        .collect();
    run.monitor = Monitor::new(
        &plant.lines[0],
        &plant,
        None,
        AdvisoryId(0),
        MonitorOptions { attribution_ticks: 1, close_ticks: 10_000, ..MonitorOptions::default() },
    );
    let like = (run.tick(), run.surprise(2.0, &[]));
    for culprit in 0..count {
        for _ in 0..8 {
            let (mut tick, mut surprise) = like.clone();
            tick.time = run.now();
            tick.tags =
                (0..count).map(|index| TagReading { tag: TagId::from_index(index), ..tick.tags[FLOW] }).collect();
            surprise.tags[0].tag = TagId::from_index(culprit);
            surprise.tags[0].score = 2.0;
            surprise.tags.truncate(1);
            run.changes.extend(run.monitor.observe(&tick, Some(&surprise)).advisories);
            run.index += 1;
        }
        assert_eq!(run.monitor.open().len(), (culprit + 1).min(OPEN_MAX), "one more a culprit, up to the limit");
    }
}

#[test]
fn an_advisory_closes_after_it_has_been_quiet_for_long_enough() {
    let mut run = Run::new();
    run.steps(20, 1.5, &[(FLOW, 1.8)]);
    let last_seen = UtcNanos(19 * SECOND);
    run.quiet(10);
    run.step(0.9, &[]);
    run.quiet(14);
    assert_eq!((run.closed(), run.monitor.open()[0].closed), (0, None));
    run.quiet(1);
    let Some(AdvisoryChange::Closed(advisory)) = run.changes.last() else { panic!("{:?}", run.changes) };
    assert_eq!((advisory.closed, advisory.last_seen), (Some(UtcNanos(45 * SECOND)), last_seen));
    assert_eq!(run.monitor.open(), []);
    assert_eq!(run.monitor.line_state(), LineState::Normal);
}

#[test]
fn nothing_is_raised_before_the_model_has_settled() {
    let mut run = Run::new();
    for _ in 0..20 {
        let mut surprise = run.surprise(9.0, &[(FLOW, 9.0)]);
        surprise.settled = false;
        run.observe(Some(&surprise));
    }
    assert_eq!(run.changes, []);
    assert_eq!(run.monitor.line_state(), LineState::Learning);
}

#[test]
fn shortly_after_a_setpoint_change_evidence_must_last_longer() {
    let mut run = Run::new();
    run.quiet(20);
    run.values[SPEED_SETPOINT] = Some(80.0);
    run.steps(9, 4.0, &[(FLOW, 4.0)]);
    run.quiet(20);
    assert_eq!(run.changes, [], "the line answers a setpoint");
    run.values[SPEED_SETPOINT] = Some(60.0);
    run.steps(10, 4.0, &[(FLOW, 4.0)]);
    assert_eq!(run.opened(), 1, "but a fault is not hidden by it");
}

#[test]
fn data_that_is_not_good_raises_nothing_about_the_process() {
    let mut run = Run::new();
    run.quiet(20);
    run.qualities[FLOW] = Some(Quality::Bad);
    run.steps(30, 5.0, &[(FLOW, 9.0), (LEVEL, 1.5)]);
    assert_eq!(run.changes, []);
    run.qualities[FLOW] = None;
    run.steps(2, 5.0, &[(FLOW, 9.0)]);
    run.quiet(20);
    assert_eq!(run.changes, []);
}

#[test]
fn most_of_the_line_missing_is_not_judged() {
    let mut run = Run::new();
    run.quiet(20);
    for position in [FLOW, LEVEL, TEMPERATURE] {
        run.qualities[position] = Some(Quality::Missing);
    }
    run.steps(30, 5.0, &[(PUMP, 9.0)]);
    assert_eq!(run.changes, []);
}

#[test]
fn a_gap_in_the_ticks_ends_a_run_and_closes_nothing() {
    let mut run = Run::new();
    run.steps(3, 1.5, &[(FLOW, 1.8)]);
    run.index += 60;
    run.steps(3, 1.5, &[(FLOW, 1.8)]);
    assert_eq!(run.changes, []);
    run.step(1.5, &[(FLOW, 1.8)]);
    assert_eq!(run.opened(), 1);
    assert_eq!(run.monitor.open()[0].since, UtcNanos(63 * SECOND));
    run.quiet(10);
    run.index += 3600;
    run.quiet(14);
    assert_eq!(run.closed(), 0);
    run.quiet(1);
    assert_eq!(run.closed(), 1);
}

#[test]
fn ticks_that_the_model_dropped_count_neither_way() {
    let mut run = Run::new();
    for _ in 0..4 {
        run.step(1.5, &[(FLOW, 1.8)]);
        run.observe(None);
        run.observe(None);
    }
    assert_eq!(run.opened(), 1);
    for _ in 0..40 {
        run.observe(None);
    }
    assert_eq!(run.closed(), 0);
    assert_eq!(run.monitor.line_state(), LineState::Advisory);
}

#[test]
fn evidence_at_some_patches_is_about_the_process_and_says_where() {
    let mut run = Run::new();
    run.quiet(10);
    run.steps(6, 1.8, &[(CAMERA, 2.0)]);
    let advisory = &run.monitor.open()[0];
    assert_eq!(advisory.kind, AdvisoryKind::Process);
    assert_eq!(advisory.title, "filler-camera: picture unlike normal running at 2 patches (right)");
    assert_eq!(advisory.patches[0].scores[31], 2.0);
}

#[test]
fn evidence_all_over_the_picture_and_nowhere_else_is_about_the_camera() {
    let mut run = Run::new();
    run.quiet(10);
    for _ in 0..6 {
        let mut surprise = run.surprise(1.8, &[]);
        surprise.patches[0].scores[..50].fill(1.7);
        run.observe(Some(&surprise));
    }
    let advisory = &run.monitor.open()[0];
    assert_eq!(advisory.kind, AdvisoryKind::Camera);
    assert_eq!(advisory.title, "filler-camera: picture unlike normal running almost everywhere");
    assert_eq!(run.monitor.line_state(), LineState::SensorAdvisory);
}

#[test]
fn surprise_on_ground_that_training_never_showed_is_the_models_ignorance_and_says_what_is_set() {
    let mut run = Run::new();
    run.quiet(10);
    let ground =
        UnknownGround { tag: TagId::from_index(SPEED_SETPOINT), value: 92.5, seen: vec![(20.0, 60.0), (70.0, 70.0)] };
    let on_ground = |run: &Run, score: f32| {
        let mut surprise = run.surprise(score, &[(FLOW, score + 0.3)]);
        surprise.unknown_ground = vec![ground.clone()];
        surprise
    };
    for _ in 0..10 {
        let surprise = on_ground(&run, 0.9);
        run.observe(Some(&surprise));
    }
    assert_eq!(run.opened(), 0, "what a person did raises nothing by itself");
    for _ in 0..6 {
        let surprise = on_ground(&run, 1.8);
        run.observe(Some(&surprise));
    }
    let advisory = &run.monitor.open()[0];
    assert_eq!(advisory.kind, AdvisoryKind::Model);
    assert_eq!(
        advisory.title,
        "speed_setpoint at 92.5 % was never seen in training (20 to 60 or 70 %), with flow_feed"
    );
    let causes: Vec<_> = advisory.causes.iter().map(|cause| (cause.subject, cause.share, cause.actual)).collect();
    assert_eq!(causes[0], (Subject::Tag(TagId::from_index(SPEED_SETPOINT)), 0.5, Some(92.5)));
    assert_eq!((causes[1].0, causes[1].1), (Subject::Tag(TagId::from_index(FLOW)), 0.5));
    assert_eq!(run.monitor.line_state(), LineState::Advisory, "it may be a fault all the same");
    run.steps(20, 1.8, &[(FLOW, 2.1)]);
    assert_eq!(run.monitor.open()[0].kind, AdvisoryKind::Process, "most of it was on known ground");
}

#[test]
fn a_line_whose_mode_reads_zero_is_stopped() {
    let mut run = Run::new();
    run.quiet(5);
    assert_eq!(run.monitor.line_state(), LineState::Normal);
    run.values[MODE] = Some(0.0);
    run.quiet(1);
    assert_eq!(run.monitor.line_state(), LineState::Stopped);
}

#[test]
fn a_score_that_no_single_tag_explains_is_shared_by_the_nearest() {
    let mut run = Run::new();
    run.steps(6, 1.3, &[(FLOW, 0.9), (LEVEL, 0.8)]);
    let causes = &run.monitor.open()[0].causes;
    assert_eq!(causes.iter().map(|cause| cause.subject).collect::<Vec<_>>(), [tag(FLOW), tag(LEVEL)]);
}

#[test]
fn the_same_run_twice_gives_the_same_findings() {
    let play = || {
        let mut run = Run::new();
        for round in 0..5 {
            run.steps(7 + round, 1.2 + round as f32, &[(FLOW, 1.5), (CAMERA, 1.3)]);
            run.quiet(25);
        }
        (run.changes, run.health)
    };
    let (first, second) = (play(), play());
    assert_eq!(first, second);
    assert!(first.0.len() > 5);
}
