//! Peers that nobody here wrote, as processes on loopback, and lines that read them.
//!
//! Python peers run in the interpreter that `SIGHTGLASS_PYTHON` names. What needs a peer that is not there is left out
//! and says so; where `SIGHTGLASS_PEERS` is `required`, it fails instead.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use sightglass_ingest::{IngestEvent, LinePipeline, Pace, PipelineOptions};
use sightglass_plant::Plant;
use sightglass_protocol::{HealthState, LineId, Quality, Sample, UtcNanos};

use crate::plants::Outcome;

/// Says that a test is left out for want of `what`.
///
/// # Panics
/// Where peers are required.
pub(crate) fn left_out(what: &str) {
    assert!(std::env::var_os("SIGHTGLASS_PEERS").is_none_or(|word| word != "required"), "{what}");
    eprintln!("skipped: {what}; `cargo xtask test` makes it");
}

/// The Python that has these modules.
pub(crate) fn python(modules: &str) -> Option<PathBuf> {
    let Some(python) = std::env::var_os("SIGHTGLASS_PYTHON").map(PathBuf::from) else {
        left_out("SIGHTGLASS_PYTHON names no Python");
        return None;
    };
    let import = Command::new(&python).args(["-c", &format!("import {modules}")]).stderr(Stdio::null()).status();
    if import.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    left_out(&format!("the Python that SIGHTGLASS_PYTHON names lacks one of {modules}"));
    None
}

/// A running program that ends with this value.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A peer written in Python, below `tests/peers`, that takes commands line by line.
pub(crate) struct Peer {
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    first: String,
    _process: Process,
}

impl Peer {
    pub(crate) fn start(python: &Path, script: &str, arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(script);
        let mut command = Command::new(python);
        command.arg(script).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(&mut command);
        let commands = process.0.stdin.take().expect("a pipe");
        let answers = BufReader::new(process.0.stdout.take().expect("a pipe"));
        let mut peer = Self { commands, answers, first: String::new(), _process: process };
        peer.first = peer.answer();
        peer
    }

    /// The port that it said it listens at.
    pub(crate) fn port(&self) -> u16 {
        self.first.parse().unwrap_or_else(|_| panic!("the peer says '{}' instead of its port", self.first))
    }

    /// Gives a command and waits until it is done.
    pub(crate) fn tell(&mut self, command: &serde_json::Value) -> String {
        self.begin(command);
        self.answer()
    }

    /// Gives a command.
    pub(crate) fn begin(&mut self, command: &serde_json::Value) {
        writeln!(self.commands, "{command}").expect("the peer listens");
    }

    /// Waits until what was begun is done.
    pub(crate) fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the peer answers");
        assert!(!line.is_empty(), "the peer has ended; what it said stands above");
        line.trim().to_owned()
    }
}

/// A live line that says nothing for so long, or does not come to what is waited for, hangs.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// A line that runs live, with everything that it has delivered.
pub(crate) struct Live {
    line: LinePipeline,
    pub(crate) outcome: Outcome,
    pub(crate) started: UtcNanos,
}

impl Live {
    pub(crate) fn start(plant: &Plant) -> Self {
        Self::start_with(plant, PipelineOptions::default())
    }

    /// The same with what else `options` say.
    pub(crate) fn start_with(plant: &Plant, options: PipelineOptions) -> Self {
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let started = UtcNanos(i64::try_from(since_1970.as_nanos()).expect("before 2262"));
        let options = PipelineOptions { pace: Pace::Speed(1.0), now: Some(started), ..options };
        let line = LinePipeline::start(plant, LineId(0), options, None).expect("the line starts");
        Self { line, outcome: Outcome::default(), started }
    }

    /// Takes events until it is as wanted.
    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&Outcome) -> bool) {
        let until = Instant::now() + HANGS_AFTER;
        while !is_so(&self.outcome) {
            let left = until.saturating_duration_since(Instant::now());
            match self.line.events().recv_timeout(left) {
                Ok(event) => self.take(event),
                Err(_) => panic!("it does not come to this: {what}\n{}{:?}", self.outcome.reasons(), self.latest()),
            }
        }
    }

    fn take(&mut self, event: IngestEvent) {
        assert_ne!(event, IngestEvent::EndOfStream, "a live line does not end: {}", self.outcome.reasons());
        self.outcome.take(event);
    }

    /// Forgets what came so far.
    pub(crate) fn forget(&mut self) {
        while let Ok(event) = self.line.events().try_recv() {
            self.take(event);
        }
        self.outcome = Outcome::default();
    }

    /// The last samples of every tag.
    pub(crate) fn latest(&self) -> Vec<Sample> {
        let mut latest = std::collections::BTreeMap::new();
        for sample in &self.outcome.samples {
            latest.insert(sample.tag, *sample);
        }
        latest.into_values().collect()
    }

    /// Stops the line; gives what it delivered, and what it says while it stops.
    pub(crate) fn stop_with_events(mut self) -> Outcome {
        for event in self.line.stop() {
            self.outcome.take(event);
        }
        self.outcome
    }

    /// Stops the line; gives how long that took.
    pub(crate) fn stop(self) -> Duration {
        let began = Instant::now();
        self.line.stop();
        began.elapsed()
    }
}

/// The last sample of a tag.
pub(crate) fn last(outcome: &Outcome, tag: u32) -> Option<&Sample> {
    outcome.samples.iter().rev().find(|sample| sample.tag.0 == tag)
}

/// Whether a tag's last sample has this quality.
pub(crate) fn is(outcome: &Outcome, tag: u32, quality: Quality) -> bool {
    last(outcome, tag).is_some_and(|sample| sample.quality == quality)
}

/// Whether the last health that a source told of itself is this state, for a reason with these words. What is found out
/// about its tags comes beside it.
pub(crate) fn told(outcome: &Outcome, state: HealthState, words: &str) -> bool {
    let last = outcome.health.iter().rfind(|health| health.subject.is_none());
    last.is_some_and(|health| health.state == state && health.reason.contains(words))
}
