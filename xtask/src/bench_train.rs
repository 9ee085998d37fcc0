//! `cargo xtask bench train`: a step of training the plant model's network (nano: two windows of 48 ticks, one camera) on the
//! CPU, beside the same network in PyTorch.
//!
//! Both are asked in turns, so that whatever else the machine does slows both. The work is done by the example
//! `train_bench`, which trains as the product does and writes its weights, and by `tests/python/train_peer.py`, which builds
//! the network from them and refuses weights that it has no use for.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::asked::Asked;
use crate::floors::{Floors, median, number};
use crate::outcome::{Doing, Outcome, step};
use crate::python;
use crate::workspace::Workspace;

/// The floor, as `--check` has it: steps a second by PyTorch's.
const TIMES_PYTORCH_MIN: f64 = 1.0;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often each is asked
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Steps each time; all figures are medians of steps
    #[arg(long, default_value_t = 4)]
    steps: usize,
    /// Threads; one, and then as many as there are cores, where none are given
    #[arg(long)]
    threads: Option<usize>,
    /// The seed of the weights and of the made-up line
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Exit with 1 where a floor is missed
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    if arguments.rounds == 0 || arguments.steps == 0 {
        return Err("there is at least one round, of at least one step".to_owned());
    }
    let cores = std::thread::available_parallelism().could_not("count the cores")?.get();
    let threads = match arguments.threads {
        Some(threads) => vec![threads],
        None if cores > 1 => vec![1, cores],
        None => vec![1],
    };
    step("build the example");
    let mut cargo = workspace.cargo();
    crate::process::run(cargo.args(["build", "-p", "sightglass-world-model", "--example", "train_bench"]))?;
    let python = python::with_pytorch(workspace)?
        .ok_or("every figure is held against PyTorch, which needs Python 3 with venv and PyPI")?;
    let folder = workspace.target.join("bench/train");
    std::fs::create_dir_all(&folder).could_not(format_args!("make {}", folder.display()))?;
    let bench = Bench { workspace, arguments, python, weights: folder.join("weights.safetensors") };
    let (mut figures, mut floors, mut rows) = (Vec::new(), Floors::default(), Vec::new());
    for threads in threads {
        rows.extend(bench.measure(threads, &mut figures, &mut floors)?);
    }
    println!("| a step of training nano | threads | ms | CPU ms | GFLOP/s | peak MiB |");
    println!("| --- | --- | --- | --- | --- | --- |");
    rows.iter().for_each(|row| println!("{row}"));
    println!("train {}", figures.join(" "));
    floors.conclude(arguments.check)
}

struct Bench<'a> {
    workspace: &'a Workspace,
    arguments: &'a Arguments,
    python: PathBuf,
    /// Where the example writes them.
    weights: PathBuf,
}

impl Bench<'_> {
    /// Adds the figures for so many threads; gives the table's rows.
    fn measure(&self, threads: usize, figures: &mut Vec<String>, floors: &mut Floors) -> Outcome<Vec<String>> {
        step(format_args!("{threads} threads: train an epoch, and load its weights in PyTorch"));
        let mut command = Command::new(self.workspace.program("examples/train_bench"));
        command.arg(&self.weights).arg(self.arguments.seed.to_string());
        let (mut ours, sizes) = Asked::start("the example", command.env("RAYON_NUM_THREADS", threads.to_string()))?;
        let mut command = Command::new(&self.python);
        command.arg(self.workspace.root.join("tests/python/train_peer.py")).arg(&self.weights);
        for size in ["heads", "windows", "ticks"] {
            command.arg(number(&sizes, size)?.to_string());
        }
        let (mut peer, told) = Asked::start("PyTorch", command.arg(threads.to_string()))?;
        let gflop = number(&told, "gflop")?;
        step(format_args!(
            "{threads} threads: {} rounds beside PyTorch {}; a step takes {gflop:.1} GFLOP by its count",
            self.arguments.rounds,
            told["torch"].as_str().unwrap_or("?")
        ));
        let (mut here, mut there) = (Taken::default(), Taken::default());
        let line = format!("steps {}", self.arguments.steps);
        for _ in 0..self.arguments.rounds {
            there.add(&peer.ask(&line)?)?;
            here.add(&ours.ask(&line)?)?;
        }
        let (here, there) = (here.figures(gflop), there.figures(gflop));
        let (times, cpu_times) = (there.ms / here.ms, there.cpu_ms / here.cpu_ms);
        for (name, figure) in [("", &here), ("pytorch_", &there)] {
            figures.push(format!("{name}ms_{threads}={:.1} {name}cpu_ms_{threads}={:.1}", figure.ms, figure.cpu_ms));
            figures.push(format!("{name}gflops_{threads}={:.1}", figure.gflops));
            figures.push(format!("{name}peak_mib_{threads}={:.0}", figure.peak_mib));
        }
        figures.push(format!("times_pytorch_{threads}={times:.2} cpu_times_pytorch_{threads}={cpu_times:.2}"));
        floors.at_least(&format!("times_pytorch_{threads}"), times, TIMES_PYTORCH_MIN);
        Ok(vec![there.row("in PyTorch", threads), here.row("here", threads)])
    }
}

/// What steps took.
#[derive(Default)]
struct Taken {
    seconds: Vec<f64>,
    cpu_seconds: Vec<f64>,
    peak_mib: f64,
}

/// What a step takes.
struct Figures {
    ms: f64,
    cpu_ms: f64,
    gflops: f64,
    peak_mib: f64,
}

impl Taken {
    fn add(&mut self, answer: &Value) -> Outcome {
        for (key, taken) in [("seconds", &mut self.seconds), ("cpu_seconds", &mut self.cpu_seconds)] {
            let values = answer[key].as_array().ok_or_else(|| format!("the figures lack {key}"))?;
            taken.extend(values.iter().filter_map(Value::as_f64));
        }
        self.peak_mib = number(answer, "peak_mib")?;
        Ok(())
    }

    fn figures(self, gflop: f64) -> Figures {
        let seconds = median(self.seconds);
        // The kernel counts in hundredths of a second, so that only a mean says more than that.
        let cpu_seconds = self.cpu_seconds.iter().sum::<f64>() / self.cpu_seconds.len() as f64;
        Figures { ms: seconds * 1e3, cpu_ms: cpu_seconds * 1e3, gflops: gflop / seconds, peak_mib: self.peak_mib }
    }
}

impl Figures {
    fn row(&self, which: &str, threads: usize) -> String {
        let Self { ms, cpu_ms, gflops, peak_mib } = self;
        format!("| {which} | {threads} | {ms:.1} | {cpu_ms:.1} | {gflops:.1} | {peak_mib:.0} |")
    }
}
