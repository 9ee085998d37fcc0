//! What keys do.

use egui::{Key, Modifiers};
use egui_kittest::kittest::Queryable as _;
use sightglass_protocol::{
    AdvisoryId, CameraId, LineId, UtcNanos,
    message::{At, Request},
    time::SECOND,
};
use sightglass_ui::Screen;

use crate::{
    Driver,
    engine::{Engine, FIRST, FPS, FROZEN_SINCE, NO_VIDEO, NOW, UNDERFILL_SINCE},
};

fn in_review_of_the_underfill() -> Driver {
    let mut driver = Driver::small(Engine::default());
    driver.press(Key::F3);
    driver.press(Key::ArrowDown);
    driver.press(Key::ArrowDown);
    assert_eq!(driver.status().advisory, Some(AdvisoryId(11)));
    driver.press(Key::R);
    driver
}

#[test]
fn function_keys_change_the_screen() {
    let mut driver = Driver::small(Engine::default());
    assert_eq!(driver.status().screen, Screen::Overview);
    for (key, screen) in [(Key::F3, Screen::Line), (Key::F4, Screen::Review), (Key::F2, Screen::Overview)] {
        driver.press(key);
        assert_eq!(driver.status().screen, screen);
    }
}

#[test]
fn enter_opens_the_line_that_is_selected() {
    let mut driver = Driver::small(Engine::default());
    driver.press(Key::Enter);
    assert_eq!(driver.status().screen, Screen::Line);
    assert_eq!(driver.status().at, Some(NOW));
    assert!(driver.status().frame.is_some(), "the line's picture is shown");
}

#[test]
fn a_click_opens_the_line() {
    let mut driver = Driver::small(Engine::default());
    driver.harness.get_by_label("Filling line 1: ADVISORY, 2 open advisories").click();
    driver.settle();
    assert_eq!(driver.status().screen, Screen::Line);
}

#[test]
fn a_click_on_an_advisory_shows_why() {
    let mut driver = Driver::small(Engine::default());
    driver.press(Key::F3);
    assert!(driver.harness.query_by_label("off its prediction").is_none());
    driver.harness.get_by_label_contains("process advisory: Feed flow").click();
    driver.settle();
    assert_eq!(driver.status().advisory, Some(AdvisoryId(11)));
    assert!(driver.harness.query_by_label("off its prediction").is_some());
    assert!(driver.harness.query_by_label("predicted 61.8 to 66.4").is_some());
}

#[test]
fn tags_of_open_advisories_come_first() {
    let mut driver = Driver::small(Engine::default());
    driver.press(Key::F3);
    let top = |driver: &Driver, label: &str| driver.harness.get_by_label_contains(label).rect().top();
    assert!(top(&driver, "air pressure frozen") < top(&driver, "tank level 6"));
    assert!(top(&driver, "feed flow 5") < top(&driver, "tank level 6"));
}

#[test]
fn the_live_screen_follows_the_engine() {
    let mut driver = Driver::small(Engine::default());
    driver.press(Key::F3);
    let first = driver.status();
    driver.engine.borrow_mut().now = NOW + 3 * SECOND;
    driver.settle();
    assert_eq!(driver.status().at, Some(NOW + 3 * SECOND));
    assert!(driver.status().frame > first.frame);
}

#[test]
fn r_goes_to_a_few_seconds_before_the_advisory() {
    let driver = in_review_of_the_underfill();
    let status = driver.status();
    assert_eq!(status.screen, Screen::Review);
    assert_eq!(status.at, Some(UNDERFILL_SINCE - 5 * SECOND));
    assert_eq!(status.advisory, Some(AdvisoryId(11)), "it stays selected, though it begins later");
    let frame = status.frame.expect("there is video");
    assert!(frame <= UNDERFILL_SINCE - 5 * SECOND && frame > UNDERFILL_SINCE - 6 * SECOND);
}

#[test]
fn r_without_a_selection_takes_the_newest_open_advisory() {
    let mut driver = Driver::small(Engine::default());
    driver.press(Key::F3);
    driver.press(Key::R);
    assert_eq!(driver.status().at, Some(FROZEN_SINCE - 5 * SECOND));
}

#[test]
fn all_panels_ask_for_the_same_moment() {
    let driver = in_review_of_the_underfill();
    let at = At::Time(UNDERFILL_SINCE - 5 * SECOND);
    let engine = driver.engine.borrow();
    let line = engine.asked.iter().rev().find(|request| matches!(request, Request::Line { .. }));
    assert!(matches!(line, Some(Request::Line { at: asked, .. }) if *asked == at));
    assert!(engine.asked.contains(&Request::Picture { camera: CameraId(0), at }));
}

#[test]
fn full_stop_and_comma_step_by_one_picture() {
    let mut driver = in_review_of_the_underfill();
    let before = driver.status().frame.expect("there is video");
    driver.press(Key::Period);
    let step = Request::Step { camera: CameraId(0), time: before, forward: true };
    assert!(driver.engine.borrow().asked.contains(&step));
    let after = driver.status().frame.expect("there is video");
    assert_eq!(after.since(before), SECOND / FPS);
    assert_eq!(driver.status().at, Some(after), "the time cursor moves with the picture");
    driver.press(Key::Comma);
    assert_eq!(driver.status().frame, Some(before));
    driver.press(Key::Period);
    assert_eq!(driver.status().frame, Some(after), "the same step can be asked for again");
}

#[test]
fn arrows_step_by_one_second() {
    let mut driver = in_review_of_the_underfill();
    let start = UNDERFILL_SINCE - 5 * SECOND;
    driver.press(Key::ArrowRight);
    assert_eq!(driver.status().at, Some(start + SECOND));
    driver.press(Key::ArrowLeft);
    driver.press(Key::ArrowLeft);
    assert_eq!(driver.status().at, Some(start - SECOND));
}

#[test]
fn a_replay_plays_at_its_speed_and_pauses() {
    let mut driver = in_review_of_the_underfill();
    driver.press(Key::Plus);
    driver.press(Key::Plus);
    let start = driver.status().at.expect("a replay has a time");
    let clock = |driver: &Driver| driver.harness.ctx.input(|input| input.time);
    let begun = clock(&driver);
    driver.press(Key::P);
    let passed = clock(&driver) - begun;
    let played = driver.status().at.expect("a replay has a time").since(start) as f64 / SECOND as f64;
    let a_frame = f64::from(crate::STEP_SECONDS);
    assert!((played / 4.0 - passed).abs() <= a_frame, "{passed} s passed, {played} s were played");
    driver.press(Key::Space);
    let paused = driver.status().at;
    driver.settle();
    assert_eq!(driver.status().at, paused);
}

#[test]
fn a_replay_stops_at_the_end_of_the_recording() {
    let mut driver = in_review_of_the_underfill();
    driver.press(Key::End);
    driver.press(Key::P);
    assert_eq!(driver.status().at, Some(NOW));
    driver.press(Key::Home);
    assert_eq!(driver.status().at, Some(FIRST));
}

#[test]
fn n_and_b_jump_between_advisories() {
    let mut driver = in_review_of_the_underfill();
    driver.press(Key::N);
    assert_eq!(driver.status().at, Some(FROZEN_SINCE - 5 * SECOND));
    driver.press(Key::B);
    assert_eq!(driver.status().at, Some(UNDERFILL_SINCE - 5 * SECOND));
    driver.press_with(Modifiers::SHIFT, Key::ArrowLeft);
    assert_eq!(driver.status().advisory, Some(AdvisoryId(10)));
    driver.press_with(Modifiers::SHIFT, Key::ArrowRight);
    assert_eq!(driver.status().advisory, Some(AdvisoryId(11)));
}

#[test]
fn a_time_without_video_shows_no_picture() {
    let mut driver = in_review_of_the_underfill();
    driver.press(Key::B);
    assert!(driver.status().at.is_some_and(|at| at > NO_VIDEO.0 && at < NO_VIDEO.1));
    assert_eq!(driver.status().frame, None);
    assert!(driver.harness.query_by_label_contains("no picture at this time").is_some());
}

#[test]
fn escape_and_l_return_to_live() {
    for key in [Key::Escape, Key::L] {
        let mut driver = in_review_of_the_underfill();
        driver.press(key);
        assert_eq!(driver.status().screen, Screen::Line);
        assert_eq!(driver.status().at, Some(NOW));
    }
}

#[test]
fn escape_closes_the_help_before_it_leaves_review() {
    let mut driver = in_review_of_the_underfill();
    driver.press(Key::F1);
    assert!(driver.harness.query_by_label("Keys").is_some());
    driver.press(Key::Escape);
    assert!(driver.harness.query_by_label("Keys").is_none());
    assert_eq!(driver.status().screen, Screen::Review);
}

#[test]
fn brackets_change_the_shown_time() {
    let mut driver = Driver::small(Engine::default());
    driver.press(Key::F3);
    let span = |driver: &Driver| {
        driver.engine.borrow().asked.iter().rev().find_map(|request| match request {
            Request::Line { span_ns, .. } => Some(*span_ns / SECOND / 60),
            _ => None,
        })
    };
    assert_eq!(span(&driver), Some(5));
    for (key, minutes) in
        [(Key::CloseBracket, 15), (Key::CloseBracket, 60), (Key::CloseBracket, 60), (Key::OpenBracket, 15)]
    {
        driver.press(key);
        assert_eq!(span(&driver), Some(minutes));
    }
}

#[test]
fn o_hides_the_surprise_map() {
    let mut driver = Driver::small(Engine::default());
    driver.press(Key::F3);
    assert!(driver.harness.query_by_label_contains("patches: looks unlike normal running").is_some());
    driver.press(Key::O);
    assert!(driver.harness.query_by_label_contains("surprise map hidden").is_some());
}

#[test]
fn dragging_the_time_line_scrubs() {
    let mut driver = in_review_of_the_underfill();
    let line = driver.harness.get_by_label_contains("Time line from").rect();
    driver.harness.drag_at(line.center());
    driver.settle();
    driver.harness.drop_at(line.center());
    driver.settle();
    let at = driver.status().at.expect("a replay has a time");
    let middle = UtcNanos(i64::midpoint(FIRST.0, NOW.0));
    assert!(at.since(middle).abs() < 10 * SECOND, "half of the hour, not {at}");
}

#[test]
fn neither_space_nor_enter_changes_an_advisory() {
    let mut driver = Driver::small(Engine::default());
    for screen in [Key::F2, Key::F3, Key::F4] {
        driver.press(screen);
        driver.press(Key::Space);
        driver.press(Key::Enter);
    }
    // The window has no request that could change anything; what the engine was asked are questions alone.
    assert_eq!(driver.engine.borrow().asked.len(), {
        let engine = driver.engine.borrow();
        [
            Request::Hello { protocol: 1 },
            Request::Overview,
            Request::Line { line: LineId(0), at: At::Now, span_ns: 0, pixels: 0 },
            Request::Picture { camera: CameraId(0), at: At::Now },
            Request::Advisories { line: None, from: NOW, to: NOW },
            Request::Recorded { line: LineId(0) },
        ]
        .iter()
        .map(|question| engine.asked_like(question))
        .sum::<usize>()
    });
    assert!(driver.harness.query_all_by_label_contains("process advisory: Feed flow").next().is_some());
}

#[test]
fn tab_reaches_the_buttons_and_enter_presses_them() {
    let mut driver = Driver::small(Engine::default());
    driver.harness.get_by_label("F4 Review").focus();
    driver.settle();
    driver.press(Key::Enter);
    assert_eq!(driver.status().screen, Screen::Review);
    driver.press(Key::Tab);
    assert!(driver.harness.query_all_by(|node| node.is_focused()).next().is_some());
}
