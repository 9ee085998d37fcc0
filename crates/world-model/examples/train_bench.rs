//! How long a step of training the plant model's network takes: does what each line of its input asks for and answers with
//! one JSON object a line.
//!
//! `cargo run -p sightglass-world-model --example train_bench -- FILE [SEED]`; `RAYON_NUM_THREADS` sets the threads. It
//! trains nano for an epoch on a made-up line of one camera and tags, writes the weights to FILE, and tells the sizes of a
//! step. From then on the line `steps COUNT` asks for so many more. `cargo xtask bench train` asks, beside PyTorch.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use sightglass_protocol::tick::MODEL_PIXELS;
use sightglass_protocol::{CameraId, CameraReading, Frame, LineId, Quality, Role, TagId, TagReading, Tick, UtcNanos};
use sightglass_world_model::{CameraSpec, ModelSpec, Progress, Size, TagSpec, TrainError, TrainOptions, train};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const SECOND: i64 = 1_000_000_000;
/// As many as the simulated bottling line has.
const MEASUREMENTS: usize = 14;
const SETPOINTS: usize = 3;
/// Enough for windows in every fold.
const TICKS: usize = 2400;
/// Pictures that are shown in turn.
const PICTURES: usize = 8;
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
    match train(&spec(), &[ticks(seed)], &options, &mut |progress| clock.tick(progress)) {
        // When nothing more is asked.
        Err(TrainError::Stopped { .. }) => clock.problem.map_or(Ok(()), Err),
        Err(problem) => Err(problem.into()),
        Ok(_) => Err("training ended before it was told to".into()),
    }
}

fn spec() -> ModelSpec {
    let tag = |i: usize| TagSpec {
        id: TagId(i as u32),
        name: format!("tag {i}"),
        unit: String::new(),
        role: if i < MEASUREMENTS { Role::Measurement } else { Role::Setpoint },
        range: Some((-5.0, 5.0)),
        excluded: false,
    };
    ModelSpec {
        line: LineId(0),
        tick_ns: SECOND,
        tags: (0..MEASUREMENTS + SETPOINTS).map(tag).collect(),
        cameras: vec![CameraSpec { id: CameraId(0), name: "camera".to_owned() }],
    }
}

/// Measurements that follow setpoints, which change now and then, and pictures of noise.
fn ticks(seed: u64) -> Vec<Tick> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let side = MODEL_PIXELS as usize;
    let pictures: Vec<Arc<[u8]>> =
        (0..PICTURES).map(|_| (0..side * side * 3).map(|_| rng.random::<u8>()).collect()).collect();
    let mut values = [0f64; MEASUREMENTS + SETPOINTS];
    (0..TICKS)
        .map(|t| {
            for i in 0..values.len() {
                let noise = rng.random::<f64>() - 0.5;
                if i < MEASUREMENTS {
                    values[i] += 0.2 * (values[MEASUREMENTS + i % SETPOINTS] - values[i]) + noise;
                } else if rng.random::<f64>() < 0.02 {
                    values[i] = 4.0 * noise;
                }
            }
            let time = UtcNanos(t as i64 * SECOND);
            let frame = |half: usize| Frame {
                camera: CameraId(0),
                time,
                width: MODEL_PIXELS,
                height: MODEL_PIXELS,
                pixels: pictures[(2 * t + half) % PICTURES].clone(),
            };
            let reading = |(i, &value)| TagReading { tag: TagId(i as u32), value, age_ns: 0, quality: Quality::Good };
            Tick {
                line: LineId(0),
                index: t as u64,
                time,
                tags: values.iter().enumerate().map(reading).collect(),
                cameras: vec![CameraReading {
                    camera: CameraId(0),
                    frames: vec![frame(0), frame(1)],
                    quality: Quality::Good,
                }],
            }
        })
        .collect()
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
