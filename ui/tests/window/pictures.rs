//! Each screen as a picture. `UPDATE_SNAPSHOTS=1` makes them anew; look at them before committing.

use egui::{Key, Theme, Vec2};
use egui_kittest::{
    HarnessBuilder, SnapshotOptions,
    wgpu::{create_render_state, default_wgpu_setup},
};

use crate::{Driver, Window, builder, engine::Engine};

/// Pixels that may differ: text rasterises a little differently from one processor to the next.
const DIFFERENT_PIXELS_MAX: usize = 60;

/// Draws with the software rasteriser alone, so that the pictures do not depend on a graphics card. The harness prefers
/// it; this makes sure that it is there.
fn software(builder: HarnessBuilder<Window>) -> HarnessBuilder<Window> {
    let info = create_render_state(default_wgpu_setup(), Default::default()).adapter.get_info();
    assert_eq!(
        format!("{:?}", info.device_type),
        "Cpu",
        "the pictures need a software Vulkan driver, not '{}'; install mesa-vulkan-drivers",
        info.name
    );
    builder.wgpu()
}

fn window(theme: Theme, engine: Engine) -> Driver {
    Driver::over(software(builder(Vec2::new(1366.0, 768.0), 1.0, theme)), engine)
}

/// A 3840x2160 screen, at the zoom that the window chooses there.
fn large_window(theme: Theme, engine: Engine) -> Driver {
    Driver::over(software(builder(Vec2::new(1536.0, 864.0), 2.5, theme)), engine)
}

fn compare(mut driver: Driver, name: &str) {
    let options = SnapshotOptions::new().max_failed_pixels(DIFFERENT_PIXELS_MAX);
    driver.harness.snapshot_options(name, &options);
}

/// *Line* with the advisory about the process selected.
fn line_with_advisory(mut driver: Driver) -> Driver {
    driver.press(Key::F3);
    driver.press(Key::ArrowDown);
    driver.press(Key::ArrowDown);
    driver
}

/// *Review* at the start of that advisory.
fn review_of_advisory(driver: Driver) -> Driver {
    let mut driver = line_with_advisory(driver);
    driver.press(Key::R);
    driver
}

#[test]
fn the_light_overview_looks_as_agreed() {
    compare(window(Theme::Light, Engine::default()), "overview_light");
}

#[test]
fn the_dark_overview_looks_as_agreed() {
    compare(window(Theme::Dark, Engine::default()), "overview_dark");
}

#[test]
fn a_quiet_overview_has_no_colour() {
    compare(window(Theme::Light, Engine::quiet()), "overview_quiet_light");
}

#[test]
fn the_light_line_looks_as_agreed() {
    compare(line_with_advisory(window(Theme::Light, Engine::default())), "line_light");
}

#[test]
fn the_dark_line_looks_as_agreed() {
    compare(line_with_advisory(window(Theme::Dark, Engine::default())), "line_dark");
}

#[test]
fn the_line_is_readable_on_a_large_screen() {
    compare(line_with_advisory(large_window(Theme::Light, Engine::default())), "line_large_light");
}

#[test]
fn the_lower_lanes_show_gaps_and_bad_values() {
    let mut driver = window(Theme::Dark, Engine::default());
    driver.press(Key::F3);
    for _ in 0..3 {
        driver.press(Key::PageDown);
    }
    compare(driver, "line_lower_dark");
}

#[test]
fn the_light_review_looks_as_agreed() {
    compare(review_of_advisory(window(Theme::Light, Engine::default())), "review_light");
}

#[test]
fn the_dark_review_looks_as_agreed() {
    compare(review_of_advisory(window(Theme::Dark, Engine::default())), "review_dark");
}

#[test]
fn the_light_help_looks_as_agreed() {
    let mut driver = window(Theme::Light, Engine::default());
    driver.press(Key::F1);
    compare(driver, "help_light");
}

#[test]
fn the_dark_help_looks_as_agreed() {
    let mut driver = window(Theme::Dark, Engine::default());
    driver.press(Key::F1);
    compare(driver, "help_dark");
}

#[test]
fn a_window_without_an_engine_says_so() {
    let gone = Some("the engine's socket /var/lib/sightglass/engine.sock refuses the connection".to_owned());
    compare(window(Theme::Light, Engine { gone, ..Engine::default() }), "no_engine_light");
}

#[test]
fn a_window_that_lost_its_engine_marks_what_it_shows_as_old() {
    let mut driver = window(Theme::Light, Engine::default());
    driver.press(Key::F3);
    driver.engine.borrow_mut().gone = Some("the engine has closed the connection".to_owned());
    driver.settle();
    compare(driver, "lost_engine_light");
}
