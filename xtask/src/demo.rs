//! `cargo xtask demo`: the real window on the engine of the simulated line.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::display::VirtualDisplay;
use crate::outcome::{Doing, Outcome, step};
use crate::process::Running;
use crate::workspace::Workspace;
use crate::{screenshot, setup, ui_bundle};

/// How long the line may run until its fault is flagged, in seconds of real time.
const FLAGGED_TIME_MAX: Duration = Duration::from_secs(600);
/// How long the engine may be silent: it prints every tick.
const SILENCE_TIME_MAX: Duration = Duration::from_secs(60);
/// Ticks (of one second) that the window gets to show what was flagged, before its picture is taken.
const TICKS_TO_SHOW: usize = 5;
/// How long the window may take until its picture shows something.
const PICTURE_TIME_MAX: Duration = Duration::from_secs(60);
const PICTURE_INTERVAL: Duration = Duration::from_millis(500);
/// The title of the window.
const WINDOW_TITLE: &str = "Sightglass";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Stop by itself once the fault was flagged, and leave target/demo/window.png
    #[arg(long)]
    exit: bool,
    /// The fault that the line develops after a minute [default: the engine's]
    #[arg(long, value_name = "NAME")]
    fault: Option<String>,
    /// The seed of the simulated line
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// A multiple of real time
    #[arg(long, value_name = "X")]
    speed: Option<f64>,
}

pub(crate) fn run(workspace: &Workspace, arguments: Arguments) -> Outcome {
    setup::for_building(workspace)?;
    ui_bundle::build(workspace)?;
    workspace.build_programs()?;

    let folder = workspace.root.join("target/demo");
    let data = folder.join("data");
    if data.exists() {
        std::fs::remove_dir_all(&data).could_not(format_args!("remove the last demo's data {}", data.display()))?;
    }
    std::fs::create_dir_all(&data).could_not(format_args!("make the folder {}", data.display()))?;

    let display = Display::choose(arguments.exit)?;
    let demo = Demo { workspace, arguments: &arguments, data: &data, display: &display };
    if arguments.exit { demo.until_flagged(&folder.join("window.png")) } else { demo.until_closed() }
}

/// The display that the window opens on.
enum Display {
    /// The user's own.
    Own,
    /// One made for this run.
    Virtual(VirtualDisplay),
}

impl Display {
    /// The user's when there is one. A picture can be taken from an X server only, so for that a Wayland session
    /// without one counts as none.
    fn choose(picture: bool) -> Outcome<Self> {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if set("DISPLAY") || (set("WAYLAND_DISPLAY") && !picture) {
            Ok(Self::Own)
        } else {
            VirtualDisplay::start().map(Self::Virtual)
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Own => std::env::var("DISPLAY").unwrap_or_default(),
            Self::Virtual(display) => display.name.clone(),
        }
    }
}

struct Demo<'a> {
    workspace: &'a Workspace,
    arguments: &'a Arguments,
    data: &'a Path,
    display: &'a Display,
}

impl Demo<'_> {
    fn engine(&self) -> Command {
        let mut command = Command::new(self.workspace.program("sightglass"));
        command.current_dir(&self.workspace.root).arg("demo").arg("--data").arg(self.data);
        if let Some(fault) = &self.arguments.fault {
            command.args(["--fault", fault]);
        }
        if let Some(seed) = self.arguments.seed {
            command.args(["--seed", &seed.to_string()]);
        }
        if let Some(speed) = self.arguments.speed {
            command.args(["--speed", &speed.to_string()]);
        }
        command
    }

    fn window(&self) -> Outcome<Running> {
        let mut command = Command::new(self.workspace.program("sightglass-desktop"));
        command.current_dir(&self.workspace.root).arg("--data").arg(self.data).args(["--screen", "line"]);
        command.env("SIGHTGLASS_UI", self.workspace.root.join("ui/dist")).stdin(Stdio::null());
        if let Display::Virtual(display) = self.display {
            command.env("DISPLAY", &display.name).env_remove("WAYLAND_DISPLAY");
            // A virtual display shares no buffers with a GPU, even where the machine has one.
            command.env("WEBKIT_DISABLE_DMABUF_RENDERER", "1");
        }
        if self.arguments.exit {
            // The picture is taken from the X server, also in a Wayland session that has one.
            command.env("GDK_BACKEND", "x11");
        }
        step("open the window");
        Running::start("the window", &mut command)
    }

    /// Until the user closes the window.
    fn until_closed(&self) -> Outcome {
        step("start the engine on the simulated line");
        let mut engine = Running::start("the engine", &mut self.engine())?;
        let mut window = self.window()?;
        let status = window.wait()?;
        engine.end()?;
        if status.success() { Ok(()) } else { Err(format!("the window ended with {status}")) }
    }

    /// Until the engine has flagged the fault and the window shows it.
    fn until_flagged(&self, png: &Path) -> Outcome {
        step("start the engine on the simulated line");
        let mut command = self.engine();
        command.args(["--json", "--ticks"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut engine = Running::start("the engine", &mut command)?;
        let out = engine.child().stdout.take().ok_or("the engine has no output")?;
        let mut events = Events::of(out);
        let mut window = self.window()?;

        let deadline = Instant::now() + FLAGGED_TIME_MAX;
        let flagged = loop {
            let event = events.next()?;
            if let Some(status) = window.ended()? {
                return Err(format!("the window ended with {status} before the fault was flagged"));
            }
            match event["event"].as_str() {
                Some("fault_flagged") => break event,
                Some("advisory_opened") => println!("    {}: {}", text(&event["opened"]), text(&event["title"])),
                Some("failed") => return Err(format!("the line failed: {}", text(&event["reason"]))),
                _ => {}
            }
            if Instant::now() >= deadline {
                return Err(format!("the fault was not flagged within {FLAGGED_TIME_MAX:?}"));
            }
        };
        step(format_args!("the fault {} is flagged", text(&flagged["fault"])));
        let mut ticks = 0;
        while ticks < TICKS_TO_SHOW {
            ticks += usize::from(events.next()?["event"] == "tick");
        }
        self.picture(png, &mut window)?;
        window.end()?;
        engine.end()?;
        println!(
            "demo fault={} flagged_after_s={} picture={}",
            text(&flagged["fault"]),
            flagged["delay_s"],
            png.strip_prefix(&self.workspace.root).unwrap_or(png).display()
        );
        Ok(())
    }

    fn picture(&self, png: &Path, window: &mut Running) -> Outcome {
        let deadline = Instant::now() + PICTURE_TIME_MAX;
        loop {
            match screenshot::take(&self.display.name(), WINDOW_TITLE, png) {
                Ok(()) => {
                    step(format_args!("wrote {}", png.display()));
                    return Ok(());
                }
                Err(problem) if Instant::now() >= deadline => return Err(problem),
                Err(_) => {}
            }
            if let Some(status) = window.ended()? {
                return Err(format!("the window ended with {status} before its picture was taken"));
            }
            std::thread::sleep(PICTURE_INTERVAL);
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

/// The engine's JSON lines.
struct Events {
    lines: mpsc::Receiver<std::io::Result<String>>,
}

impl Events {
    /// Lines that wait to be read, at most; the engine waits then.
    const WAITING_MAX: usize = 256;

    fn of(out: impl std::io::Read + Send + 'static) -> Self {
        let (sender, lines) = mpsc::sync_channel(Self::WAITING_MAX);
        std::thread::spawn(move || {
            // To the end, also when nobody listens any more: the engine must not break on its last words.
            for line in BufReader::new(out).lines() {
                let broken = line.is_err();
                let _ = sender.send(line);
                if broken {
                    break;
                }
            }
        });
        Self { lines }
    }

    /// The next event.
    fn next(&mut self) -> Outcome<Value> {
        match self.lines.recv_timeout(SILENCE_TIME_MAX) {
            Ok(line) => {
                let line = line.could_not("read what the engine prints")?;
                serde_json::from_str(&line).map_err(|error| format!("the engine printed no JSON ({error}): {line}"))
            }
            Err(RecvTimeoutError::Timeout) => Err(format!("the engine printed nothing for {SILENCE_TIME_MAX:?}")),
            Err(RecvTimeoutError::Disconnected) => Err("the engine ended; see its message above".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_line_by_line_and_the_end_is_an_error() {
        let mut events = Events::of("{\"event\":\"tick\"}\n{\"event\":\"fault_flagged\"}\n".as_bytes());
        assert_eq!(events.next().unwrap()["event"], "tick");
        assert_eq!(events.next().unwrap()["event"], "fault_flagged");
        assert!(events.next().unwrap_err().contains("ended"));
    }

    #[test]
    fn a_line_that_is_no_json_is_shown() {
        let problem = Events::of("thread panicked\n".as_bytes()).next().unwrap_err();
        assert!(problem.contains("thread panicked"), "{problem}");
    }
}
