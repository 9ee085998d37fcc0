//! A virtual display, for machines that have none.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::outcome::{Outcome, step};
use crate::process::Running;

/// The smallest screen that the window is made for.
const SCREEN: &str = "1366x768x24";
/// How long the server may take to start.
const START_TIME_MAX: Duration = Duration::from_secs(20);

/// An X server that draws into memory; it ends with this value.
#[derive(Debug)]
pub(crate) struct VirtualDisplay {
    _server: Running,
    /// For `DISPLAY`.
    pub(crate) name: String,
}

impl VirtualDisplay {
    /// Starts one on the first free number.
    pub(crate) fn start() -> Outcome<Self> {
        let mut command = Command::new("Xvfb");
        command.args(["-displayfd", "1", "-screen", "0", SCREEN, "-nolisten", "tcp"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = Running::start("the virtual display", &mut command)?;
        let out = server.child().stdout.take().ok_or("the virtual display has no output")?;
        // The server writes its number as soon as it takes connections.
        let (sender, number) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(out).read_line(&mut line);
            let _ = sender.send(read.map(|_bytes| line));
        });
        let line = match number.recv_timeout(START_TIME_MAX) {
            Ok(Ok(line)) => line,
            Ok(Err(error)) => return Err(format!("the virtual display did not say its number: {error}")),
            Err(_) => return Err(format!("the virtual display did not start within {START_TIME_MAX:?}")),
        };
        let number: u32 =
            line.trim().parse().map_err(|_| "the virtual display (Xvfb) ended at once; try `Xvfb :99` by hand")?;
        step(format_args!("virtual display :{number}, {SCREEN}"));
        Ok(Self { _server: server, name: format!(":{number}") })
    }
}
