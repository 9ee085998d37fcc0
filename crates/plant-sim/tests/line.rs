//! The simulated line through its public door.

use sightglass_plant_sim::{
    CAMERA_HEIGHT, CAMERA_NAME, CAMERA_ROI, CAMERA_WIDTH, Change, ChangeEvent, Fault, FaultEvent, Scenario, SimItem,
    SimOptions, Simulation, Truth, Violation, ViolationEvent, tags,
};
use sightglass_protocol::{Frame, Role, Sample, UtcNanos, time::SECOND};

const START: UtcNanos = UtcNanos(1_790_000_000 * SECOND);

fn options(seed: u64, duration_s: f64) -> SimOptions {
    SimOptions { seed, start: START, scenario: Scenario { duration_s: Some(duration_s), ..Scenario::default() } }
}

fn with_fault(fault: Fault, onset_s: f64, duration_s: f64) -> SimOptions {
    let mut options = options(7, duration_s);
    options.scenario.fault = Some(FaultEvent { fault, onset_s, severity: 1.0 });
    options
}

fn with_change(change: Change, at_s: f64, duration_s: f64) -> SimOptions {
    let mut options = options(7, duration_s);
    options.scenario.changes.push(ChangeEvent { change, at_s });
    options
}

fn items(options: SimOptions) -> Vec<SimItem> {
    let mut simulation = Simulation::new(options);
    std::iter::from_fn(|| simulation.next()).collect()
}

fn samples(options: SimOptions) -> Vec<Sample> {
    let mut simulation = Simulation::without_camera(options);
    let mut all = Vec::new();
    while let Some(item) = simulation.next() {
        match item {
            SimItem::Samples(samples) => all.extend(samples),
            SimItem::Frame(_) => panic!("a picture from a line without a camera"),
        }
    }
    all
}

fn frames(options: SimOptions) -> Vec<Frame> {
    items(options)
        .into_iter()
        .filter_map(|item| match item {
            SimItem::Frame(frame) => Some(frame),
            SimItem::Samples(_) => None,
        })
        .collect()
}

/// The pictures with these numbers, in rising order: a run's worth of pictures does not fit into memory.
fn frames_at(options: SimOptions, numbers: &[usize]) -> Vec<Frame> {
    let mut simulation = Simulation::new(options);
    let (mut kept, mut number) = (Vec::new(), 0);
    while kept.len() < numbers.len() {
        let Some(item) = simulation.next() else { panic!("the run has only {number} pictures") };
        if let SimItem::Frame(frame) = item {
            if numbers.contains(&number) {
                kept.push(frame);
            }
            number += 1;
        }
    }
    kept
}

/// The physical state once a second.
fn truths(options: SimOptions) -> Vec<Truth> {
    let mut simulation = Simulation::without_camera(options);
    let mut truths: Vec<Truth> = Vec::new();
    while simulation.next().is_some() {
        let truth = simulation.truth();
        if truths.last().is_none_or(|last| truth.elapsed_s >= last.elapsed_s.floor() + 1.0) {
            truths.push(truth);
        }
    }
    truths
}

fn tag(name: &str) -> usize {
    tags().iter().position(|tag| tag.name == name).unwrap_or_else(|| panic!("no tag {name}"))
}

fn values(samples: &[Sample], name: &str) -> Vec<f64> {
    let tag = tag(name);
    samples.iter().filter(|sample| sample.tag.index() == tag).map(|sample| sample.value).collect()
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = values.into_iter().fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

fn deviation(values: &[f64]) -> f64 {
    let middle = mean(values.iter().copied());
    mean(values.iter().map(|value| (value - middle).powi(2))).sqrt()
}

#[test]
fn the_same_seed_gives_bit_identical_samples_and_pictures() {
    assert_eq!(items(options(3, 20.0)), items(options(3, 20.0)));
}

#[test]
fn other_seeds_give_other_samples_and_pictures() {
    assert_ne!(samples(options(3, 5.0)), samples(options(4, 5.0)));
    assert_ne!(frames(options(3, 1.0)), frames(options(4, 1.0)));
}

#[test]
fn leaving_out_the_camera_leaves_the_samples_as_they_are() {
    let with: Vec<Sample> = items(options(5, 30.0))
        .into_iter()
        .filter_map(|item| match item {
            SimItem::Samples(samples) => Some(samples),
            SimItem::Frame(_) => None,
        })
        .flatten()
        .collect();
    assert_eq!(with, samples(options(5, 30.0)));
}

#[test]
fn items_come_in_the_order_of_time_and_end_with_the_run() {
    let items = items(options(1, 10.0));
    assert!(items.windows(2).all(|pair| pair[0].time() <= pair[1].time()));
    assert_eq!(items[0].time(), START);
    let last = items.last().expect("a run of ten seconds has items").time();
    assert!(last < START + 10 * SECOND && last > START + 10 * SECOND - SECOND / 10);
    let pictures = items.iter().filter(|item| matches!(item, SimItem::Frame(_))).count();
    assert_eq!(pictures, 150);
}

#[test]
fn every_tag_comes_with_its_period() {
    let samples = samples(options(1, 60.0));
    for (index, tag) in tags().iter().enumerate() {
        let count = samples.iter().filter(|sample| sample.tag.index() == index).count();
        assert_eq!(count as u32, 60_000 / tag.period_ms, "{}", tag.name);
    }
}

#[test]
fn the_line_has_setpoints_outputs_and_a_mode() {
    let count = |role| tags().iter().filter(|tag| tag.role == role).count();
    assert!(count(Role::Setpoint) >= 4 && count(Role::Output) >= 4 && count(Role::Mode) == 1);
    assert!(count(Role::Measurement) >= 14);
}

#[test]
fn an_hour_of_normal_running_stays_steady() {
    let samples = samples(options(11, 3600.0));
    for sample in &samples {
        let tag = &tags()[sample.tag.index()];
        assert!(sample.value > tag.range.0 || tag.role != Role::Measurement, "{} at its lower end", tag.name);
        assert!(sample.value < tag.range.1 || tag.role != Role::Measurement, "{} at its upper end", tag.name);
    }
    for (name, wanted, off) in [
        ("tank_level", 55.0, 2.0),
        ("conveyor_speed", 53.3, 3.0),
        ("fill_weight", 330.0, 10.0),
        ("product_temperature", 18.0, 0.8),
    ] {
        assert!(values(&samples, name).iter().all(|value| (value - wanted).abs() < off), "{name} wanders off {wanted}");
    }
    // No start-up: the first minute is like the last.
    for name in ["pump_speed", "valve_position", "heater_power", "conveyor_drive", "filler_pressure"] {
        let all = values(&samples, name);
        let minute = all.len() / 60;
        let (first, last) = (&all[..minute], &all[all.len() - minute..]);
        let apart = (mean(first.iter().copied()) - mean(last.iter().copied())).abs();
        assert!(apart < 4.0 * deviation(&all), "{name}: {apart} between the first and the last minute");
    }
}

#[test]
fn mass_is_neither_made_nor_lost() {
    let mut options = with_fault(Fault::TankLeak, 60.0, 600.0);
    options.scenario.operator = true;
    let truths = truths(options);
    let (first, last) = (&truths[0], &truths[truths.len() - 1]);
    let gained = last.tank_l - first.tank_l;
    let inlet = last.inlet_total_l - first.inlet_total_l;
    let outlet = last.outlet_total_l - first.outlet_total_l;
    let leak = last.leak_total_l - first.leak_total_l;
    assert!(inlet > 50.0 && leak > 20.0);
    assert!((inlet - outlet - leak - gained).abs() < 1e-6, "{inlet} in, {outlet} out, {leak} lost, {gained} gained");
}

#[test]
fn what_flows_to_the_filler_ends_in_bottles() {
    let truths = truths(options(2, 600.0));
    let (first, last) = (&truths[0], &truths[truths.len() - 1]);
    let outlet = last.outlet_total_l - first.outlet_total_l;
    let dispensed = last.dispensed_total_l - first.dispensed_total_l;
    // The bowl's cushion holds a little at either end.
    assert!((outlet - dispensed).abs() < 0.5, "{outlet} to the filler, {dispensed} into bottles");
    let bottles = (last.bottles_out - first.bottles_out) as f64;
    assert!((dispensed - 0.330 * bottles).abs() < 0.02 * dispensed, "{dispensed} l into {bottles} bottles");
}

#[test]
fn a_working_measurement_never_holds_its_value_for_long() {
    const HELD_MAX: usize = 8;
    for options in [options(13, 3600.0), with_change(Change::PlannedStop, 20.0, 60.0)] {
        let samples = samples(options);
        for tag in tags().iter().filter(|tag| tag.role.is_predicted()) {
            let values = values(&samples, tag.name);
            let held = values.chunk_by(|a, b| a == b).map(<[f64]>::len).max().unwrap_or(0);
            assert!(held <= HELD_MAX, "{} holds a value for {held} samples", tag.name);
        }
    }
}

#[test]
fn every_cause_names_a_tag_or_the_camera() {
    for fault in Fault::ALL {
        assert!(!fault.causes().is_empty());
        for cause in fault.causes() {
            assert!(*cause == CAMERA_NAME || tags().iter().any(|tag| tag.name == *cause), "{fault}: {cause}");
        }
        assert_eq!(fault.name().parse(), Ok(fault));
    }
    for change in Change::ALL {
        assert_eq!(change.name().parse(), Ok(change));
    }
    let error = "jam".parse::<Fault>().expect_err("there is no such fault").to_string();
    assert!(error.contains("'jam'") && error.contains("conveyor-jam"), "{error}");
}

/// How far a tag's second minute (the fault's first, less ten seconds to develop) lies from the same run without the
/// fault, in standard deviations of that run.
fn shift(fault: Fault, name: &str) -> f64 {
    let late = |samples: &[Sample]| -> Vec<f64> {
        let late: Vec<Sample> = samples.iter().filter(|sample| sample.time >= START + 70 * SECOND).copied().collect();
        values(&late, name)
    };
    let (with, without) = (late(&samples(with_fault(fault, 60.0, 120.0))), late(&samples(options(7, 120.0))));
    let off = mean(with.iter().zip(&without).map(|(a, b)| (a - b).abs()));
    off / deviation(&without)
}

#[test]
fn a_fault_of_the_process_shows_in_its_tags_within_a_minute() {
    for (fault, names) in [
        (Fault::PumpCavitation, ["pump_vibration", "pump_speed"]),
        (Fault::TankLeak, ["inlet_flow", "pump_speed"]),
        (Fault::LevelSensorDrift, ["inlet_flow", "tank_pressure"]),
        (Fault::ConveyorJam, ["conveyor_current", "conveyor_speed"]),
        (Fault::Underfill, ["fill_weight", "filler_flow"]),
    ] {
        for name in names {
            let shift = shift(fault, name);
            assert!(shift > 2.5, "{fault} moves {name} by only {shift:.1} deviations");
        }
    }
}

#[test]
fn a_sticking_valve_rests_and_jumps() {
    let late = |options| truths(options).split_off(60);
    let gap = |truths: &[Truth]| {
        mean(truths.iter().map(|truth| (truth.valve_command_percent - truth.valve_position_percent).abs()))
    };
    let (sticking, usual) = (late(with_fault(Fault::ValveStiction, 10.0, 120.0)), late(options(7, 120.0)));
    assert!(gap(&sticking) > 2.0 && gap(&usual) < 0.5, "{} and usually {}", gap(&sticking), gap(&usual));
    let steps: Vec<f64> = sticking
        .windows(2)
        .map(|pair| (pair[1].valve_position_percent - pair[0].valve_position_percent).abs())
        .collect();
    assert!(steps.iter().filter(|step| **step == 0.0).count() > 10, "never rests: {steps:?}");
    assert!(steps.iter().filter(|step| **step > 3.0).count() > 5, "never jumps: {steps:?}");
    let flows = |truths: &[Truth]| deviation(&truths.iter().map(|truth| truth.outlet_l_min).collect::<Vec<_>>());
    assert!(flows(&sticking) > 2.5 * flows(&usual), "flow {} and usually {}", flows(&sticking), flows(&usual));
}

#[test]
fn a_drifting_level_sensor_makes_its_controller_empty_the_tank() {
    let truths = truths(with_fault(Fault::LevelSensorDrift, 10.0, 130.0));
    let (before, after) = (&truths[5], &truths[truths.len() - 1]);
    assert!(after.level_error_percent > 10.0);
    assert!(after.tank_level_percent < before.tank_level_percent - 8.0);
    let seen = after.tank_level_percent + after.level_error_percent;
    assert!((seen - 55.0).abs() < 3.0, "the controller sees {seen}");
}

#[test]
fn a_frozen_sensor_repeats_its_value_with_fresh_times() {
    let samples = samples(with_fault(Fault::FrozenSensor, 10.0, 40.0));
    let frozen: Vec<&Sample> = samples
        .iter()
        .filter(|sample| sample.tag.index() == tag("pump_pressure") && sample.time >= START + 10 * SECOND)
        .collect();
    assert!(frozen.windows(2).all(|pair| pair[0].value.to_bits() == pair[1].value.to_bits()));
    assert!(frozen.windows(2).all(|pair| pair[0].time < pair[1].time));
    assert_eq!(frozen.len(), 150);
}

#[test]
fn bottles_stand_in_a_jam() {
    let truths = truths(with_fault(Fault::ConveyorJam, 10.0, 60.0));
    let (a, b) = (&truths[50], &truths[58]);
    let in_front = |truth: &Truth| truth.bottles.iter().map(|bottle| bottle.x_px).collect::<Vec<_>>();
    assert_eq!(in_front(a), in_front(b));
    assert!(b.belt_mm_s < 30.0 && b.belt_mm_s > 5.0);
}

#[test]
fn missing_caps_change_the_picture_and_no_tag() {
    assert_eq!(samples(with_fault(Fault::MissingCaps, 5.0, 60.0)), samples(options(7, 60.0)));
    let numbers = [0, 74, 449];
    let with = frames_at(with_fault(Fault::MissingCaps, 5.0, 30.0), &numbers);
    let without = frames_at(options(7, 30.0), &numbers);
    assert_eq!(with[..2], without[..2]);
    assert_ne!(with[2].pixels, without[2].pixels);
    let truths = truths(with_fault(Fault::MissingCaps, 5.0, 30.0));
    let last = &truths[truths.len() - 1];
    assert!(last.bottles.iter().filter(|bottle| bottle.past_capper).all(|bottle| !bottle.capped));
    assert!(truths[0].bottles.iter().filter(|bottle| bottle.past_capper).all(|bottle| bottle.capped));
}

#[test]
fn camera_faults_leave_the_tags_as_they_are() {
    for fault in [Fault::DirtyLens, Fault::FrozenCamera] {
        assert_eq!(samples(with_fault(fault, 5.0, 30.0)), samples(options(7, 30.0)), "{fault}");
    }
}

#[test]
fn an_underfill_shows_in_the_bottles() {
    let filled = |options: SimOptions| {
        let truths = truths(options);
        let bottles = &truths[truths.len() - 1].bottles;
        mean(bottles.iter().filter(|bottle| bottle.past_capper).map(|bottle| bottle.filled_ml))
    };
    let usual = filled(options(7, 60.0));
    let under = filled(with_fault(Fault::Underfill, 5.0, 60.0));
    assert!((usual - 330.0).abs() < 6.0 && under < 285.0, "{usual} ml, {under} ml");
}

/// Mean difference of two pictures within the region of interest, in grey levels.
fn apart(a: &Frame, b: &Frame) -> f64 {
    let roi = CAMERA_ROI;
    let columns = (roi.x * 3) as usize..((roi.x + roi.width) * 3) as usize;
    mean((roi.y..roi.y + roi.height).flat_map(|row| {
        let from = (row * CAMERA_WIDTH * 3) as usize;
        let range = from + columns.start..from + columns.end;
        a.pixels[range.clone()].iter().zip(&b.pixels[range]).map(|(a, b)| f64::from(a.abs_diff(*b)))
    }))
}

#[test]
fn pictures_differ_while_bottles_move_and_hardly_while_they_stand() {
    let pictures = frames_at(with_change(Change::PlannedStop, 5.0, 30.0), &[30, 38, 300, 308]);
    assert_eq!(pictures[0].pixels.len(), (CAMERA_WIDTH * CAMERA_HEIGHT * 3) as usize);
    let (moving, standing) = (apart(&pictures[0], &pictures[1]), apart(&pictures[2], &pictures[3]));
    assert!(moving > 2.0 * standing, "{moving} moving, {standing} standing");
    assert!(standing > 0.5, "the sensor has noise: {standing}");
    assert!(frames(options(7, 3.0)).windows(2).all(|pair| pair[0].pixels != pair[1].pixels));
}

#[test]
fn a_frozen_camera_repeats_its_picture_with_fresh_times() {
    let frames = frames(with_fault(Fault::FrozenCamera, 2.0, 6.0));
    assert!(frames[31..].iter().all(|frame| frame.pixels == frames[30].pixels));
    assert!(frames.windows(2).all(|pair| pair[0].time < pair[1].time));
    assert_ne!(frames[10].pixels, frames[11].pixels);
}

#[test]
fn a_dirty_lens_spreads_over_the_picture() {
    let numbers = [30, 464];
    let with = frames_at(with_fault(Fault::DirtyLens, 1.0, 31.0), &numbers);
    let without = frames_at(options(7, 31.0), &numbers);
    let (early, late) = (apart(&with[0], &without[0]), apart(&with[1], &without[1]));
    assert!(late > 15.0 && late > 3.0 * early, "{early} at first, {late} later");
}

#[test]
fn a_planned_stop_rests_and_starts_again() {
    let truths = truths(with_change(Change::PlannedStop, 20.0, 120.0));
    assert!(truths[18].belt_mm_s > 45.0 && truths[118].belt_mm_s > 45.0);
    assert!(truths[50].belt_mm_s < 0.1 && truths[50].outlet_l_min < 0.5);
}

#[test]
fn a_change_over_brings_the_other_bottle() {
    let truths = truths(with_change(Change::ChangeOver, 10.0, 90.0));
    assert!(truths[5].bottles.iter().all(|bottle| bottle.format == 1));
    assert!(truths[36].bottles.is_empty(), "the line is run empty first");
    let last = &truths[truths.len() - 1];
    assert!(last.bottles.len() > 5 && last.bottles.iter().all(|bottle| bottle.format == 2));
}

#[test]
fn daylight_changes_slowly_and_clearly() {
    let every_ten_s: Vec<usize> = (0..13).map(|i| i * 150).collect();
    let pictures = frames_at(with_change(Change::Daylight, 1.0, 125.0), &every_ten_s);
    assert!(apart(&pictures[0], &pictures[12]) > 15.0);
    let light = |frame: &Frame| mean(frame.pixels.iter().map(|value| f64::from(*value)));
    let lights: Vec<f64> = pictures.iter().map(light).collect();
    assert!(lights.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 8.0), "{lights:?}");
}

#[test]
fn every_bottle_is_filled_and_capped_whatever_the_operator_does() {
    let mut options = options(23, 7200.0);
    options.scenario.operator = true;
    let mut looked_at = 0;
    for truth in truths(options) {
        for bottle in truth.bottles.iter().filter(|bottle| bottle.past_capper) {
            let usual_ml = if bottle.format == 1 { 330.0 } else { 250.0 };
            let off = (bottle.filled_ml / usual_ml - 1.0).abs();
            assert!(off < 0.10, "{} ml in a bottle of {usual_ml} ml after {} s", bottle.filled_ml, truth.elapsed_s);
            assert!(bottle.capped);
            looked_at += 1;
        }
    }
    assert!(looked_at > 10_000);
}

#[test]
fn an_operator_does_everything_that_can_be_done_in_two_hours() {
    let mut options = options(21, 7200.0);
    options.scenario.operator = true;
    let mut simulation = Simulation::without_camera(options);
    let mut seen: Vec<Vec<f64>> = vec![Vec::new(); tags().len()];
    let mut daylight = (1.0_f64, 0.0_f64);
    while let Some(item) = simulation.next() {
        let SimItem::Samples(samples) = item else { continue };
        for sample in samples {
            let seen = &mut seen[sample.tag.index()];
            if matches!(tags()[sample.tag.index()].role, Role::Setpoint | Role::Mode)
                && seen.last() != Some(&sample.value)
            {
                seen.push(sample.value);
            }
        }
        let level = simulation.truth().daylight;
        daylight = (daylight.0.min(level), daylight.1.max(level));
    }
    let changes = |name: &str| seen[tag(name)].len() - 1;
    let stops = seen[tag("line_mode")].iter().filter(|mode| **mode == 0.0).count();
    assert!((10..60).contains(&stops), "{stops} stops");
    assert!((5..30).contains(&changes("bottle_format")), "{} change-overs", changes("bottle_format"));
    for name in ["level_setpoint", "speed_setpoint", "fill_setpoint", "temperature_setpoint"] {
        assert!(changes(name) >= 5, "{name} changes {} times", changes(name));
    }
    assert!(daylight.0 < 0.05 && daylight.1 > 0.95, "daylight between {} and {}", daylight.0, daylight.1);
}

#[test]
fn a_violation_changes_nothing_before_its_time_and_the_picture_after() {
    for violation in Violation::ALL {
        let mut possible = options(7, 12.0);
        if violation == Violation::PassesClosedGate {
            possible = with_change(Change::ChangeOver, 1.0, 20.0);
        }
        let mut impossible = possible.clone();
        impossible.scenario.violation = Some(ViolationEvent { violation, at_s: 3.0 });
        let bottles = |options: &SimOptions| -> Vec<Vec<(f64, f64)>> {
            let of = |truth: Truth| truth.bottles.iter().map(|b| (b.x_px, b.filled_ml)).collect();
            truths(options.clone()).into_iter().map(of).collect()
        };
        let (before, after) = (bottles(&possible), bottles(&impossible));
        assert_eq!(before[..3], after[..3], "{violation}: nothing before its time");
        if violation != Violation::ChangesColour {
            assert_ne!(before, after, "{violation}");
        }
        let last = possible.scenario.duration_s.expect("the run ends") as usize * 15 - 1;
        let numbers: Vec<usize> = (45..=last).step_by(5).collect();
        let (before, after) = (frames_at(possible.clone(), &numbers), frames_at(impossible.clone(), &numbers));
        let differs = |(a, b): (&Frame, &Frame)| a.pixels != b.pixels;
        assert!(before.iter().zip(&after).any(differs), "{violation}: another picture after");
    }
}
