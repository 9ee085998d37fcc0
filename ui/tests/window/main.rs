//! The real window against an engine made of formulas: what it shows, what its keys do, what it asks for.

mod actions;
mod engine;
mod link;
mod page;
mod pictures;
mod table;
mod words;

use std::{cell::RefCell, rc::Rc};

use egui::{Key, Modifiers, Theme, Vec2};
use egui_kittest::{Harness, HarnessBuilder};
use engine::{Engine, EngineLink};
use sightglass_ui::{App, Status};

/// Seconds between two frames.
const STEP_SECONDS: f32 = 0.25;
/// Frames after which everything that was asked has been answered and drawn.
const SETTLE_STEPS: usize = 8;

/// A window and the engine that it talks to.
struct Window {
    app: Option<App>,
    engine: Rc<RefCell<Engine>>,
}

struct Driver {
    harness: Harness<'static, Window>,
    engine: Rc<RefCell<Engine>>,
}

fn builder(points: Vec2, pixels_per_point: f32, theme: Theme) -> HarnessBuilder<Window> {
    Harness::builder()
        .with_size(points)
        .with_pixels_per_point(pixels_per_point)
        .with_theme(theme)
        .with_step_dt(STEP_SECONDS)
        .with_render_cursor(false)
}

impl Driver {
    fn over(builder: HarnessBuilder<Window>, engine: Engine) -> Self {
        let engine = Rc::new(RefCell::new(engine));
        let window = Window { app: None, engine: Rc::clone(&engine) };
        let harness = builder.build_ui_state(
            |ui, window: &mut Window| {
                let engine = &window.engine;
                let start = || App::new(ui.ctx(), Box::new(EngineLink(Rc::clone(engine))));
                window.app.get_or_insert_with(start).ui(ui);
            },
            window,
        );
        let mut driver = Self { harness, engine };
        driver.settle();
        driver
    }

    /// A window of the smallest supported screen.
    fn small(engine: Engine) -> Self {
        Self::over(builder(Vec2::new(1366.0, 768.0), 1.0, Theme::Light), engine)
    }

    fn settle(&mut self) {
        self.harness.run_steps(SETTLE_STEPS);
    }

    fn press(&mut self, key: Key) {
        self.press_with(Modifiers::NONE, key);
    }

    fn press_with(&mut self, modifiers: Modifiers, key: Key) {
        self.harness.key_press_modifiers(modifiers, key);
        self.settle();
    }

    fn status(&self) -> Status {
        self.harness.state().app.as_ref().expect("the window has drawn its first frame").status()
    }
}
