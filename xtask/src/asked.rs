//! Programs that are measured in turns: they are asked by a line of their input and answer with a line of JSON.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::outcome::{Doing, Outcome};
use crate::process::Running;

/// A program that answers each line with a line.
pub(crate) struct Asked {
    name: String,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Ended when this is dropped.
    _running: Running,
}

impl Asked {
    /// Starts it; gives what it says when it is ready.
    pub(crate) fn start(name: &str, command: &mut Command) -> Outcome<(Self, Value)> {
        let mut running = Running::start(name, command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let child = running.child();
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(format!("{name} has no pipes"));
        };
        let mut asked = Self { name: name.to_owned(), input, output: BufReader::new(output), _running: running };
        let told = asked.answer()?;
        Ok((asked, told))
    }

    /// Its answer to a line.
    pub(crate) fn ask(&mut self, line: &str) -> Outcome<Value> {
        let doing = format!("ask {} for `{line}`", self.name);
        writeln!(self.input, "{line}").could_not(&doing)?;
        self.input.flush().could_not(&doing)?;
        self.answer()
    }

    fn answer(&mut self) -> Outcome<Value> {
        let mut line = String::new();
        self.output.read_line(&mut line).could_not(format_args!("read from {}", self.name))?;
        if line.is_empty() {
            return Err(format!("{} ended without an answer", self.name));
        }
        serde_json::from_str(&line).could_not(format_args!("read the figures of {}", self.name))
    }
}
