//! Kills the writer at random moments, again and again, on one folder.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::acknowledged::Acknowledged;
use crate::check::Found;
use crate::dice::Dice;
use crate::plan::Plan;
use crate::{bar, check_in_a_process};

/// A writer that says nothing for so long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Time from one commit of samples to the next.
const COMMIT_MS: u64 = 2;
/// The first kills are aimed at the making of the file.
const KILLS_AT_BIRTH: u64 = 6;

#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// How often the writer is killed
    #[arg(long, default_value_t = 200)]
    kills: u64,
    /// Chooses the moments and what is written
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Exit with 1 where anything was lost
    #[arg(long)]
    check: bool,
}

/// When to kill.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after the start.
    After(Duration),
    /// So long after the n-th line that begins like this.
    AfterLine(&'static str, u64, Duration),
}

impl Moment {
    fn roll(kill: u64, dice: &mut Dice) -> Self {
        if kill < KILLS_AT_BIRTH {
            return Self::After(Duration::from_micros(1_000 + dice.below(30_000)));
        }
        let mut micros = |end| Duration::from_micros(dice.below(end));
        let (short, long) = (micros(3_000), micros(30_000));
        let count = 1 + dice.below(6);
        match dice.below(20) {
            0..3 => Self::After(long),
            3..5 => Self::AfterLine("p open", 1, long),
            5..10 => Self::AfterLine("p merge", count, long),
            10..13 => Self::AfterLine("p retention", 1 + count % 3, short),
            13..16 => Self::AfterLine("p close", 1 + count % 2, short),
            16..18 => Self::AfterLine("e ", count * 5, short),
            _ => Self::AfterLine("s ", count * 30, short),
        }
    }
}

/// Lines of a process until its end.
struct Lines {
    child: Child,
    lines: Receiver<std::io::Result<String>>,
}

impl Lines {
    fn start(command: &mut Command) -> Result<Self, String> {
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| format!("cannot start: {error}"))?;
        let out = child.stdout.take().ok_or("the writer has no standard output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// The next line within `time`; `None` at the end of the process, an error after `time`.
    fn next(&self, time: Duration) -> Result<Option<String>, RecvTimeoutError> {
        match self.lines.recv_timeout(time) {
            // A torn line is none.
            Ok(line) => Ok(line.ok()),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(RecvTimeoutError::Timeout),
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // Has ended already, or is not needed any more.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    let work = tempfile::tempdir().map_err(|error| format!("cannot make a folder: {error}"))?;
    let folder = work.path().join("data");
    let log = work.path().join("acknowledged");
    let mut dice = Dice::new(options.seed);
    let mut all = Acknowledged::default();
    let mut worst = Found::default();
    let mut open_failures = 0;
    let progress = bar(options.kills, "killing the writer");
    println!("a writer of {} tags is killed {} times on one folder", crate::plan::TAGS, options.kills);
    for kill in 0..options.kills {
        let moment = Moment::roll(kill, &mut dice);
        let close_after = 50 + dice.below(400);
        run_and_kill(&folder, options.seed, moment, close_after, &mut all)
            .map_err(|error| format!("kill {kill}, {moment:?}: {error}"))?;
        all.note_under_way();
        all.write(&log)?;
        match check_in_a_process(&folder, options.seed, &log, dice.hits(40))? {
            Ok(found) => {
                if !found.is_clean() {
                    eprintln!("after kill {kill} ({moment:?}): {}", found.line());
                }
                worst = worst.worse(&found);
            }
            Err(reason) => {
                eprintln!("after kill {kill} ({moment:?}) the folder cannot be opened: {reason}");
                open_failures += 1;
            }
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    let plan = Plan { seed: options.seed };
    let given = all.steps.iter().filter(|(_, word)| **word == crate::acknowledged::Word::Given);
    let samples: usize = given.map(|(&step, _)| plan.samples(step).len()).sum();
    println!(
        "torture_kill kills={} acknowledged_samples={samples} missing_samples={} missing_entries={} \
         open_failures={open_failures} verify_problems={} surplus_samples={}",
        options.kills, worst.missing_samples, worst.missing_entries, worst.verify_problems, worst.surplus_samples
    );
    if options.check && (open_failures > 0 || !worst.is_clean()) {
        return Err("a kill lost or damaged what was acknowledged".to_owned());
    }
    Ok(())
}

/// Starts the writer, kills it at its moment, and takes everything that it said.
fn run_and_kill(
    folder: &Path,
    seed: u64,
    moment: Moment,
    close_after: u64,
    all: &mut Acknowledged,
) -> Result<(), String> {
    let mut command = crate::writer_command(folder, seed, all)?;
    command.args(["--commit-ms", &COMMIT_MS.to_string(), "--close-after", &close_after.to_string()]);
    let mut writer = Lines::start(&mut command)?;
    let mut take = |line: &str| if all.take(line) { Ok(()) } else { Err(format!("the writer said '{line}'")) };
    let rest = match moment {
        Moment::After(time) => time,
        Moment::AfterLine(begin, count, rest) => {
            let mut seen = 0;
            while seen < count {
                let line = writer.next(SILENCE_MAX).map_err(|_| "the writer hangs".to_owned())?;
                let Some(line) = line else {
                    let status = writer.child.wait().map_err(|error| error.to_string())?;
                    return Err(format!("the writer ended by itself ({status})"));
                };
                seen += u64::from(line.starts_with(begin));
                take(&line)?;
            }
            rest
        }
    };
    std::thread::sleep(rest);
    writer.child.kill().map_err(|error| format!("cannot kill the writer: {error}"))?;
    let status = writer.child.wait().map_err(|error| error.to_string())?;
    // A killed process has no exit code on Unix; elsewhere the two cannot be told apart.
    if cfg!(unix) && status.code().is_some() {
        return Err(format!("the writer ended by itself ({status})"));
    }
    while let Some(line) = writer.next(SILENCE_MAX).map_err(|_| "the writer's output does not end".to_owned())? {
        take(&line)?;
    }
    Ok(())
}
