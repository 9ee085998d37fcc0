//! `cargo xtask bench vjepa2`: V-JEPA 2 beside PyTorch, on the same weights and with as many threads.
//!
//! Both are asked in turns, so that whatever else the machine does slows both. The work is done by the example
//! `vjepa2_bench` and, for PyTorch, `tests/python/vjepa2_peer.py`, which also makes the checkpoints and measures the
//! machine's matmul peak.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::asked::Asked;
use crate::floors::{Floors, median, number};
use crate::outcome::{Doing, Outcome, step};
use crate::python;
use crate::workspace::Workspace;

/// Floors, as `--check` has them: throughput by PyTorch's, peak memory by PyTorch's, and how much sooner than PyTorch's whole
/// clip a tick of a live stream is there.
const TIMES_PYTORCH_MIN: f64 = 1.0;
const MEMORY_MAX: f64 = 0.7;
const TICK_TIMES_PYTORCH_MIN: f64 = 1.5;
/// As far as one implementation in `f32` is from another.
const ABS_DIFF_MAX: f64 = 1e-4;

/// As `vjepa2_peer.py` names them, with what their figures begin with and how many clips in a row are timed as one.
const SIZES: [(&str, &str, &str); 2] = [("vit-l", "vit_l", "1"), ("tiny", "tiny", "100")];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often each is timed; the figures are medians
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Threads; as many as there are cores where none are given
    #[arg(long)]
    threads: Option<usize>,
    /// One size only: vit-l or tiny
    #[arg(long)]
    only: Option<String>,
    /// Exit with 1 where a floor is missed
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    let sizes: Vec<_> =
        SIZES.into_iter().filter(|(name, ..)| arguments.only.as_deref().is_none_or(|only| only == *name)).collect();
    if sizes.is_empty() || arguments.rounds == 0 {
        return Err("sizes are vit-l and tiny, and there is at least one round".to_owned());
    }
    let threads = match arguments.threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism().could_not("count the cores")?.get(),
    };
    step("build the example");
    let mut cargo = workspace.cargo();
    crate::process::run(cargo.args(["build", "-p", "sightglass-world-model", "--example", "vjepa2_bench"]))?;
    let python = python::with_pytorch(workspace)?
        .ok_or("every figure is held against PyTorch, which needs Python 3 with venv and PyPI")?;
    let bench = Bench { workspace, python, threads, rounds: arguments.rounds };
    let (mut figures, mut floors, mut rows) = (vec![format!("threads={threads}")], Floors::default(), Vec::new());
    for (name, key, count) in sizes {
        rows.extend(bench.size(name, key, count, &mut figures, &mut floors)?);
    }
    println!("| {threads} threads, medians of {} in turns | ms | share of the matmul peak | peak MiB |", bench.rounds);
    println!("| --- | --- | --- | --- |");
    rows.iter().for_each(|row| println!("{row}"));
    println!("vjepa2 {}", figures.join(" "));
    floors.conclude(arguments.check)
}

struct Bench<'a> {
    workspace: &'a Workspace,
    python: PathBuf,
    threads: usize,
    rounds: usize,
}

impl Bench<'_> {
    /// Adds the figures of one size; gives the table's rows.
    fn size(
        &self,
        name: &str,
        key: &str,
        count: &str,
        figures: &mut Vec<String>,
        floors: &mut Floors,
    ) -> Outcome<Vec<String>> {
        let folder = self.checkpoint(name)?;
        step(format_args!("{name}: load it in PyTorch and here, and fill a live stream's window"));
        let mut peer = self.peer();
        peer.arg("serve").arg(&folder).arg(self.threads.to_string());
        let (mut peer, told) = Asked::start("PyTorch", &mut peer)?;
        let (mut ours, form) = Asked::start("the example", &mut self.ours(&folder))?;
        let (mut live, _) = Asked::start("the stream", &mut self.ours(&folder))?;
        live.ask("tick 1")?;
        step(format_args!(
            "{name}: {} rounds beside PyTorch {} ({} attention)",
            self.rounds,
            told["torch"].as_str().unwrap_or("?"),
            told["attention"].as_str().unwrap_or("?")
        ));
        let encode = format!("encode {count}");
        let [mut clip_s, mut peer_s, mut tick_s, mut peak_gflops] = [const { Vec::new() }; 4];
        let [mut clip_mib, mut peer_mib, mut tick_mib] = [0.0; 3];
        for _ in 0..self.rounds {
            let answer = peer.ask(&encode)?;
            peer_s.push(number(&answer, "seconds")?);
            peer_mib = number(&answer, "peak_mib")?;
            let answer = ours.ask(&encode)?;
            clip_s.push(number(&answer, "seconds")?);
            clip_mib = number(&answer, "peak_mib")?;
            let answer = live.ask(&format!("tick {count}"))?;
            tick_s.push(number(&answer, "seconds")?);
            tick_mib = number(&answer, "peak_mib")?;
            peak_gflops.push(number(&peer.ask("matmul")?, "gflops")?);
        }
        step(format_args!("{name}: hold the stream against whole clips, moving and still"));
        let moving = live.ask("difference")?;
        let still_tick = live.ask("still")?;
        let still = live.ask("difference")?;

        let (clip_s, peer_s, tick_s, peak_gflops) =
            (median(clip_s), median(peer_s), median(tick_s), median(peak_gflops));
        let gflop = number(&form, "gflop")?;
        let share = |seconds: f64| gflop / seconds / peak_gflops;
        let (times, memory, tick_times) = (peer_s / clip_s, clip_mib / peer_mib, peer_s / tick_s);
        let still_s = number(&still_tick, "seconds")?;
        let mut add = |name: &str, value: String| figures.push(format!("{key}_{name}={value}"));
        add("clip_ms", format!("{:.2}", clip_s * 1e3));
        add("pytorch_clip_ms", format!("{:.2}", peer_s * 1e3));
        add("times_pytorch", format!("{times:.2}"));
        add("matmul_peak_gflops", format!("{peak_gflops:.0}"));
        add("share_of_peak", format!("{:.2}", share(clip_s)));
        add("pytorch_share_of_peak", format!("{:.2}", share(peer_s)));
        add("peak_mib", format!("{clip_mib:.0}"));
        add("pytorch_peak_mib", format!("{peer_mib:.0}"));
        add("memory_by_pytorch", format!("{memory:.2}"));
        add("tick_ms", format!("{:.2}", tick_s * 1e3));
        add("tick_times_pytorch", format!("{tick_times:.1}"));
        add("tick_peak_mib", format!("{tick_mib:.0}"));
        add("still_tick_ms", format!("{:.3}", still_s * 1e3));
        for (scene, difference) in [("moving", &moving), ("still", &still)] {
            for part in ["newest", "window"] {
                for measure in ["max", "rms"] {
                    let value = number(&difference[part], measure)?;
                    add(&format!("{scene}_{part}_diff_{measure}"), format!("{value:.4}"));
                }
            }
        }
        let abs_diff = number(&form, "max_abs_diff")?;
        add("max_abs_diff", format!("{abs_diff:.1e}"));

        floors.at_least(&format!("{key}_times_pytorch"), times, TIMES_PYTORCH_MIN);
        floors.at_most(&format!("{key}_memory_by_pytorch"), memory, MEMORY_MAX);
        floors.at_least(&format!("{key}_tick_times_pytorch"), tick_times, TICK_TIMES_PYTORCH_MIN);
        if !(abs_diff <= ABS_DIFF_MAX) {
            floors.missed.push(format!("{key}_max_abs_diff is {abs_diff:e}, the floor is at most {ABS_DIFF_MAX:e}"));
        }
        let row = |what: &str, seconds: f64, share: Option<f64>, mib: Option<f64>| {
            let percent = share.map_or(String::new(), |share| format!("{:.0} %", 100.0 * share));
            let mib = mib.map_or(String::new(), |mib| format!("{mib:.0}"));
            format!("| {name}: {what} | {:.2} | {percent} | {mib} |", seconds * 1e3)
        };
        Ok(vec![
            row("a clip in PyTorch", peer_s, Some(share(peer_s)), Some(peer_mib)),
            row("a clip here", clip_s, Some(share(clip_s)), Some(clip_mib)),
            row("a tick of a live stream", tick_s, None, Some(tick_mib)),
            row("a tick of a still one", still_s, None, None),
        ])
    }

    /// The folder of a checkpoint with random weights, made where it is not there yet.
    fn checkpoint(&self, name: &str) -> Outcome<PathBuf> {
        let folder = self.workspace.target.join("bench/vjepa2").join(name);
        // The reference is written last.
        if !folder.join("encoded.safetensors").exists() {
            step(format_args!("{name}: make random weights"));
            std::fs::create_dir_all(&folder).could_not(format_args!("make {}", folder.display()))?;
            crate::process::run(self.peer().arg("make").arg(&folder).arg(name))?;
        }
        Ok(folder)
    }

    fn peer(&self) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(self.workspace.root.join("tests/python/vjepa2_peer.py"));
        // Nothing is looked for on the network.
        command.env("HF_HUB_OFFLINE", "1");
        command
    }

    fn ours(&self, folder: &Path) -> Command {
        let mut command = Command::new(self.workspace.program("examples/vjepa2_bench"));
        command.arg(folder).env("RAYON_NUM_THREADS", self.threads.to_string());
        command
    }
}
