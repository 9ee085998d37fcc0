//! The real window, from the line to the screen: simulated line, engine, socket, shell, webview, page.
//!
//! A virtual display, the engine and the window are started by the test itself, and the page is asked through
//! WebDriver. It tells what it shows in attributes of the document: `data-screen`, `data-frame` (the capture time of
//! the picture on the screen) and `data-at` (the moment that the screen is of).

mod processes;
mod webdriver;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use serde_json::Value;

use crate::processes::{Display, Running, target, until};
use crate::webdriver::{Driver, Session, key};
use sightglass_protocol::{UtcNanos, time::SECOND};

/// Set to `required` by `cargo xtask test`, which installs and builds what the test needs.
const REQUIRED_VARIABLE: &str = "SIGHTGLASS_WINDOW_TEST";
/// Until the simulated line's fault is flagged, in real time.
const FLAGGED_TIME_MAX: Duration = Duration::from_secs(150);
/// Until the page, compiled and drawn in software, shows what it was asked for.
const SHOWN_TIME_MAX: Duration = Duration::from_secs(60);

/// How fast the simulated line runs, as a multiple of real time: what the fault takes is waited for in real time.
const SPEED: &str = "3";
/// The review of an advisory begins at most so long before its start.
const REVIEW_REACH: i64 = 6 * SECOND;

struct Parts {
    engine: PathBuf,
    window: PathBuf,
    page: PathBuf,
}

impl Parts {
    /// What the test needs; `None`, with a message, where this machine was not set up for it.
    fn find() -> Option<Self> {
        let target = target();
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("ui").join("dist");
        let parts =
            Self { engine: target.join("debug/sightglass"), window: target.join("debug/sightglass-desktop"), page };
        let files = [&parts.engine, &parts.window, &parts.page.join("sightglass_ui_bg.wasm")];
        let mut missing: Vec<String> =
            files.iter().filter(|file| !file.is_file()).map(|file| file.display().to_string()).collect();
        for program in ["Xvfb", "WebKitWebDriver"] {
            let path = std::env::var_os("PATH").unwrap_or_default();
            if !std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
                missing.push(program.to_owned());
            }
        }
        if missing.is_empty() {
            return Some(parts);
        }
        let message = format!("missing: {}; `cargo xtask test` makes them", missing.join(", "));
        assert!(std::env::var(REQUIRED_VARIABLE).as_deref() != Ok("required"), "{message}");
        eprintln!("the test of the real window is left out; {message}");
        None
    }

    /// What drives windows on `display`.
    fn driver(&self, display: &Display) -> Driver {
        Driver::start(&[
            ("DISPLAY", display.name.as_ref()),
            ("SIGHTGLASS_UI", self.page.as_os_str()),
            // A virtual display shares no buffers with a GPU, even where the machine has one.
            ("WEBKIT_DISABLE_DMABUF_RENDERER", "1".as_ref()),
        ])
    }
}

/// From the first screen to the line's live video.
fn watch_the_line(window: &Session<'_>) {
    wait_for_screen(window, "overview");
    window.press(key::F3);
    wait_for_screen(window, "line");
    let first = until("the window shows a picture", SHOWN_TIME_MAX, || moment(window, "frame"));
    until("the picture changes", SHOWN_TIME_MAX, || moment(window, "frame").filter(|frame| *frame > first));
}

/// The engine's next line that reports `event`.
fn event(lines: &Receiver<String>, event: &str, time_max: Duration) -> Value {
    let deadline = std::time::Instant::now() + time_max;
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        let line = lines.recv_timeout(left).unwrap_or_else(|error| panic!("the engine reports no {event}: {error}"));
        let value: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if value["event"] == event {
            return value;
        }
    }
}

fn wait_for_screen(window: &Session<'_>, name: &str) {
    until(&format!("the window shows the screen {name}"), SHOWN_TIME_MAX, || {
        (window.data("screen").as_deref() == Some(name)).then_some(())
    });
}

/// The moment that the attribute `data-NAME` holds, in nanoseconds.
fn moment(window: &Session<'_>, name: &str) -> Option<UtcNanos> {
    let text = window.data(name).filter(|text| !text.is_empty())?;
    Some(UtcNanos(text.parse().unwrap_or_else(|error| panic!("data-{name}={text} is no time: {error}"))))
}

#[test]
fn the_window_shows_the_live_line_and_reviews_an_advisory_from_its_start() {
    let Some(parts) = Parts::find() else { return };
    let data = tempfile::tempdir().unwrap();
    let display = Display::start();
    let mut command = Command::new(&parts.engine);
    command.args(["demo", "--json", "--onset", "30", "--speed", SPEED, "--data"]).arg(data.path());
    let (mut engine, events) = Running::start_reading("the engine", &mut command);

    let driver = parts.driver(&display);
    let window = driver.open(&parts.window, &["--data", data.path().to_str().unwrap()]);
    watch_the_line(&window);

    let advisory = event(&events, "advisory_opened", FLAGGED_TIME_MAX);
    let since: UtcNanos = advisory["since"].as_str().unwrap().parse().unwrap();
    until("the advisory is listed", SHOWN_TIME_MAX, || window.data("advisories").filter(|number| number != "0"));
    window.press(key::ENTER);
    let opened = until("the advisory's details are shown", SHOWN_TIME_MAX, || {
        window.data("advisory").filter(|id| !id.is_empty())
    });
    assert_eq!(opened, advisory["id"].to_string());

    window.press("r");
    wait_for_screen(&window, "review");
    let at = until("the window shows the advisory's start", SHOWN_TIME_MAX, || {
        moment(&window, "at").filter(|at| since.since(*at).abs() <= REVIEW_REACH)
    });
    until("the picture is of that moment", SHOWN_TIME_MAX, || {
        moment(&window, "frame").filter(|frame| at.since(*frame).abs() <= SECOND)
    });

    drop(window);
    engine.assert_runs();
}

#[test]
fn a_window_that_is_killed_costs_no_sample() {
    let Some(parts) = Parts::find() else { return };
    let display = Display::start();
    let simulated = ["demo", "--json", "--fault", "none", "--seconds", "90", "--data"];

    let watched = tempfile::tempdir().unwrap();
    let mut command = Command::new(&parts.engine);
    command.args(simulated).arg(watched.path()).args(["--speed", SPEED]);
    let (engine, events) = Running::start_reading("the engine", &mut command);
    let driver = parts.driver(&display);
    let window = driver.open(&parts.window, &["--data", watched.path().to_str().unwrap()]);
    watch_the_line(&window);
    kill_process(&parts.window, watched.path().to_str().unwrap());
    event(&events, "ended", FLAGGED_TIME_MAX);
    drop(engine);
    let with_window = event(&events, "summary", SHOWN_TIME_MAX);
    std::mem::forget(window);

    let alone = tempfile::tempdir().unwrap();
    let mut command = Command::new(&parts.engine);
    command.args(simulated).arg(alone.path()).arg("--headless");
    let (_engine, events) = Running::start_reading("the engine", &mut command);
    let without = event(&events, "summary", FLAGGED_TIME_MAX);
    let samples = |summary: &Value| summary["history"]["samples"].as_u64().unwrap();
    assert!(samples(&without) > 5_000, "{without}");
    assert_eq!(
        samples(&with_window),
        samples(&without),
        "the same line, with a window that was killed and without one"
    );
    assert_eq!(with_window["history"]["frames"], without["history"]["frames"]);
}

/// Kills the process that runs `program` with `argument` among its arguments.
fn kill_process(program: &Path, argument: &str) {
    let processes = std::fs::read_dir("/proc").expect("the list of processes");
    let is_wanted = |folder: &Path| {
        let arguments = std::fs::read(folder.join("cmdline")).unwrap_or_default();
        let mut arguments = arguments.split(|byte| *byte == 0);
        arguments.next() == Some(program.as_os_str().as_encoded_bytes()) && arguments.any(|a| a == argument.as_bytes())
    };
    let process = processes.filter_map(Result::ok).map(|entry| entry.path()).find(|folder| is_wanted(folder));
    let process = process.expect("the window runs");
    let killed = Command::new("kill").arg("-KILL").arg(process.file_name().expect("a number")).status();
    assert!(killed.expect("kill runs").success(), "the window can be killed");
}
