//! The programs that a test starts: each ends with the value that stands for it, also when the test fails.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// How long a program may take to end when it is asked to.
const END_TIME_MAX: Duration = Duration::from_secs(10);
/// How often a condition is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Lines of output that wait to be read, at most.
const LINES_WAITING_MAX: usize = 1024;

/// Waits until `condition` gives a value.
///
/// # Panics
/// When it does not within `time_max`; `what` says what was waited for.
pub(crate) fn until<T>(what: &str, time_max: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + time_max;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {time_max:?}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Cargo's build folder, in which this test lies: TARGET/debug/deps/window-HASH.
pub(crate) fn target() -> PathBuf {
    let own = std::env::current_exe().expect("this test knows its own file");
    own.ancestors().nth(3).expect("this test lies in a build folder").to_owned()
}

/// A program that runs beside the test.
pub(crate) struct Running {
    name: &'static str,
    child: Child,
}

impl Running {
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).spawn().unwrap_or_else(|error| panic!("{name} cannot start: {error}"));
        Self { name, child }
    }

    /// Starts the program with its output as lines.
    pub(crate) fn start_reading(name: &'static str, command: &mut Command) -> (Self, Receiver<String>) {
        let mut running = Self::start(name, command.stdout(Stdio::piped()));
        let out = running.child.stdout.take().expect("the output is a pipe");
        (running, lines(out))
    }

    /// # Panics
    /// When the program has ended.
    pub(crate) fn assert_runs(&mut self) {
        let status = self.child.try_wait().expect("the system knows the program");
        assert!(status.is_none(), "{} ended: {status:?}", self.name);
    }

    fn asked_to_end(&mut self) -> bool {
        let kill = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).stderr(Stdio::null()).status();
        let deadline = Instant::now() + END_TIME_MAX;
        while kill.as_ref().is_ok_and(std::process::ExitStatus::success) && Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return true;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        false
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) || self.asked_to_end() {
            return;
        }
        eprintln!("{} did not end when asked to and is killed", self.name);
        let killed = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = killed {
            eprintln!("{} cannot be killed: {error}", self.name);
        }
    }
}

fn lines(out: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(LINES_WAITING_MAX);
    std::thread::spawn(move || {
        // To the end, also when the test no longer listens: a program must not break on its last words.
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

/// A virtual display; `DISPLAY` is its name.
pub(crate) struct Display {
    _server: Running,
    pub(crate) name: String,
}

impl Display {
    pub(crate) fn start() -> Self {
        let mut command = Command::new("Xvfb");
        command.args(["-displayfd", "1", "-screen", "0", "1366x768x24", "-nolisten", "tcp"]).stderr(Stdio::null());
        let (server, lines) = Running::start_reading("Xvfb", &mut command);
        // The server writes its number as soon as it takes connections.
        let number = lines.recv_timeout(Duration::from_secs(20)).expect("Xvfb says the number of its display");
        Self { _server: server, name: format!(":{}", number.trim()) }
    }
}
