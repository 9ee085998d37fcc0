//! How long a step of training the plant model's network takes: does what each line of its input asks for and answers with
//! one JSON object a line.
//!
//! `cargo run -p sightglass-world-model --example train_bench -- FILE [SEED]`; `RAYON_NUM_THREADS` sets the threads. It
//! trains nano for an epoch on a made-up line of one camera and tags, writes the weights to FILE, and tells the sizes of a
//! step. From then on the line `steps COUNT` asks for so many more. `cargo xtask bench train` asks, beside PyTorch.

mod made_up_line;

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

use made_up_line::MadeUpLine;
use serde_json::{Value, json};
use sightglass_world_model::{Progress, Size, TrainError, TrainOptions, train};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// As many as the simulated bottling line has.
const LINE: MadeUpLine = MadeUpLine { measurements: 14, setpoints: 3, cameras: 1 };
/// Enough for windows in every fold.
const TICKS: usize = 2400;
/// Few steps an epoch, so that the first one soon ends and leaves a checkpoint.
const STEPS_PER_EPOCH: usize = 5;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let checkpoint = PathBuf::from(arguments.next().ok_or("name the file for the weights")?);
    let seed = arguments.next().map_or(Ok(1), |text| text.parse())?;
    if checkpoint.exists() {
        std::fs::remove_file(&checkpoint)?;
    }
    let size = Size { windows_per_epoch: STEPS_PER_EPOCH * Size::nano().batch, ..Size::nano() };
    let options = TrainOptions {
        seed,
        epochs_max: usize::MAX / STEPS_PER_EPOCH,
        patience: usize::MAX,
        checkpoint: Some(checkpoint),
        size,
        ..TrainOptions::default()
    };
    let mut clock = Clock::default();
    match train(&LINE.spec(), &[LINE.ticks(TICKS, seed)], &options, &mut |progress| clock.tick(progress)) {
        // When nothing more is asked.
        Err(TrainError::Stopped { .. }) => clock.problem.map_or(Ok(()), Err),
        Err(problem) => Err(problem.into()),
        Ok(_) => Err("training ended before it was told to".into()),
    }
}

/// Measures from report to report, and waits for what is asked in between.
#[derive(Default)]
struct Clock {
    since: Option<(Instant, f64)>,
    ready: bool,
    wanted: usize,
    seconds: Vec<f64>,
    cpu_seconds: Vec<f64>,
    problem: Option<Box<dyn std::error::Error>>,
}

impl Clock {
    /// Whether to go on.
    fn tick(&mut self, progress: &Progress) -> bool {
        if progress.stage != "network" || progress.epoch == 1 {
            return true;
        }
        // The first step of an epoch is reported after the held-back windows were looked at.
        if let Some((begin, cpu)) = self.since.take().filter(|_| progress.step > 1) {
            self.seconds.push(begin.elapsed().as_secs_f64());
            self.cpu_seconds.push(cpu_seconds().unwrap_or(f64::NAN) - cpu);
        }
        if self.seconds.len() >= self.wanted
            && let Err(problem) = self.next()
        {
            self.problem = Some(problem);
            return false;
        }
        self.since = cpu_seconds().map(|cpu| (Instant::now(), cpu));
        self.wanted > 0
    }

    /// Answers, and reads what is asked next; nothing is wanted at the input's end.
    fn next(&mut self) -> Outcome<()> {
        let (seconds, cpu_seconds) = (std::mem::take(&mut self.seconds), std::mem::take(&mut self.cpu_seconds));
        answer(&if std::mem::replace(&mut self.ready, true) {
            json!({"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mib": peak_mib()})
        } else {
            let size = Size::nano();
            json!({
                "heads": size.heads,
                "windows": size.batch,
                "ticks": size.window,
                "threads": rayon::current_num_threads(),
            })
        })?;
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        self.wanted = match line.trim().split_once(' ') {
            Some(("steps", count)) => count.parse::<usize>()?.max(1),
            None if line.trim().is_empty() => 0,
            _ => return Err(format!("'{}' is no command; there is `steps COUNT`", line.trim()).into()),
        };
        Ok(())
    }
}

fn answer(answer: &Value) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{answer}")?;
    Ok(out.flush()?)
}

/// What all threads have used, as the kernel counts it (in hundredths of a second); nothing where it does not.
fn cpu_seconds() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name, in brackets, may hold spaces.
    let fields: Vec<&str> = status.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

/// What the kernel says; nothing where it says nothing.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024)
}
