//! What the window asks for, how often, and what it does without an answer.

use egui::Key;
use egui_kittest::kittest::Queryable as _;
use sightglass_protocol::message::Request;
use sightglass_ui::{IN_FLIGHT_MAX, REPLY_SECONDS_MAX, Screen};

use crate::{Driver, STEP_SECONDS, engine::Engine};

/// A key that is pressed and released takes two frames, and one is drawn after it.
const FRAMES_A_KEY: f32 = 3.0;

#[test]
fn a_slow_engine_is_not_flooded() {
    let mut driver = Driver::small(Engine::default());
    driver.press(Key::F4);
    driver.press(Key::P);
    driver.engine.borrow_mut().silent = true;
    let before = driver.engine.borrow().asked.len();
    // Scrubbing at every frame, for as long as the window waits for one answer.
    let frames = (REPLY_SECONDS_MAX as f32 / STEP_SECONDS / FRAMES_A_KEY) as usize - 2;
    for _ in 0..frames {
        driver.harness.key_press(Key::ArrowLeft);
        driver.harness.step();
    }
    let engine = driver.engine.borrow();
    assert!(engine.asked.len() - before <= IN_FLIGHT_MAX, "{} requests", engine.asked.len() - before);
    assert!(!engine.doubled, "two requests of one kind were on their way");
    assert!(engine.waiting_max <= IN_FLIGHT_MAX);
}

#[test]
fn a_still_replay_asks_for_its_signals_once() {
    let mut driver = Driver::small(Engine::default());
    driver.press(Key::F4);
    driver.settle();
    let lines = |driver: &Driver| {
        driver.engine.borrow().asked.iter().filter(|request| matches!(request, Request::Line { .. })).count()
    };
    let before = lines(&driver);
    driver.settle();
    assert_eq!(lines(&driver), before);
}

#[test]
fn an_engine_that_falls_silent_is_noticed_and_found_again() {
    let mut driver = Driver::small(Engine::default());
    driver.press(Key::F3);
    driver.engine.borrow_mut().silent = true;
    driver.harness.run_steps((REPLY_SECONDS_MAX as f32 / STEP_SECONDS) as usize + 8);
    assert_eq!(driver.status().link, "no answer within 10 s");
    assert!(driver.harness.query_by_label_contains("NO ANSWER FROM THE ENGINE for").is_some());
    assert!(driver.harness.query_by_label_contains("what is shown is of 2026-11-24 08:15:00 UTC").is_some());
    assert_eq!(driver.status().screen, Screen::Line, "the last known picture stays");
    driver.engine.borrow_mut().silent = false;
    driver.harness.run_steps(40);
    assert_eq!(driver.status().link, "connected");
    assert!(driver.harness.query_by_label_contains("NO ANSWER").is_none());
}

#[test]
fn a_missing_engine_is_asked_for_ever_more_seldom() {
    let gone = Some("no engine in this data folder".to_owned());
    let mut driver = Driver::small(Engine { gone, ..Engine::default() });
    assert!(driver.harness.query_by_label_contains("NO ANSWER FROM THE ENGINE").is_some());
    assert!(driver.harness.query_by_label("no engine in this data folder").is_some());
    driver.harness.run_steps(240);
    let asked = driver.engine.borrow().asked.len();
    assert!((10..=24).contains(&asked), "{asked} attempts in a minute");
    driver.engine.borrow_mut().gone = None;
    driver.harness.run_steps(24);
    assert_eq!(driver.status().link, "connected");
}

#[test]
fn an_engine_of_another_protocol_is_refused_with_what_to_do() {
    let driver = Driver::small(Engine { protocol: 99, ..Engine::default() });
    assert!(driver.status().link.contains("speaks protocol 99"), "{}", driver.status().link);
    assert!(driver.status().link.contains("install the same version"), "{}", driver.status().link);
}
