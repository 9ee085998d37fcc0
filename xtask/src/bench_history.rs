//! `cargo xtask bench history write|size|read|video`: the historian beside plain SQLite rows, DuckDB and Parquet files.
//!
//! The work is done by `history_bench` and, for the peers, `tests/python/history_peers.py`, on the same samples in the
//! same run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::floors::{Floors, number};
use crate::outcome::{Doing, Outcome, step};
use crate::process::line;
use crate::workspace::Workspace;
use crate::{python, setup};

/// Floors, as `--check` has them.
const SAMPLES_PER_S_MIN: f64 = 500_000.0;
const PEAK_WRITE_MIB_MAX: f64 = 512.0;
const COMMIT_MS_P99_MAX: f64 = 100.0;
const LOCKED_MS_MAX: f64 = 100.0;
const TIMES_ROWS_MIN: f64 = 5.0;
const SIMULATED_BYTES_MAX: f64 = 2.0;
const WARM_MS_P95_MAX: f64 = 50.0;
const COLD_MS_P95_MAX: f64 = 150.0;
const EIGHT_TAGS_MS_P95_MAX: f64 = 150.0;
const PEAK_READ_MIB_MAX: f64 = 256.0;
/// How much longer an answer may take while samples come in.
const TIMES_BUSY_MAX: f64 = 2.0;
/// Samples a second that come in meanwhile.
const BUSY_PER_S: u64 = 100_000;

#[derive(clap::Subcommand)]
pub(crate) enum What {
    /// Sustained durable recording of 1,000 tags, merging and roll-ups included
    Write(Write),
    /// Bytes a sample on SKAB, Tennessee Eastman and the simulated line
    Size(Size),
    /// Any tag at any zoom of a billion samples
    Read(Read),
    /// The picture at any time out of recorded video
    Video(Video),
}

#[derive(clap::Args)]
pub(crate) struct Video {
    /// Exit with 1 where a floor is missed
    #[arg(long)]
    check: bool,
}

#[derive(clap::Args)]
pub(crate) struct Write {
    /// For how long
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// For how long each peer writes
    #[arg(long, default_value_t = 20)]
    peer_seconds: u64,
    /// Exit with 1 where a floor is missed
    #[arg(long)]
    check: bool,
}

#[derive(clap::Args)]
pub(crate) struct Size {
    /// The seed of the simulated line
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Exit with 1 where a floor is missed
    #[arg(long)]
    check: bool,
}

#[derive(clap::Args)]
pub(crate) struct Read {
    /// How many samples
    #[arg(long, default_value_t = 1_000_000_000)]
    points: u64,
    /// Questions of each sort
    #[arg(long, default_value_t = 200)]
    questions: u64,
    /// The seed of the questions
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leave the peer out, which takes several minutes to load a billion samples
    #[arg(long)]
    alone: bool,
    /// Exit with 1 where a floor is missed
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(workspace: &Workspace, what: &What) -> Outcome {
    setup::for_building(workspace)?;
    if let What::Video(arguments) = what {
        return video(workspace, arguments);
    }
    workspace.build_everything()?;
    let python = python::with_bench_peers(workspace)?;
    let bench = Bench { workspace, python, folder: workspace.target.join("bench/history") };
    std::fs::create_dir_all(&bench.folder).could_not(format_args!("make {}", bench.folder.display()))?;
    let (name, (figures, floors), check) = match what {
        What::Write(arguments) => ("write", bench.write(arguments)?, arguments.check),
        What::Size(arguments) => ("size", bench.size(arguments)?, arguments.check),
        What::Read(arguments) => ("read", bench.read(arguments)?, arguments.check),
        // Has no peers: see above.
        What::Video(arguments) => return video(workspace, arguments),
    };
    println!("history_{name} {}", figures.join(" "));
    floors.conclude(check)
}

/// The program prints its figures and checks its floor itself.
fn video(workspace: &Workspace, arguments: &Video) -> Outcome {
    step("ask for pictures out of recorded video");
    let mut cargo = workspace.cargo();
    cargo.args(["run", "-q", "-p", "sightglass-ingest", "--example", "frame_at", "--"]);
    if arguments.check {
        cargo.arg("--check");
    }
    crate::process::run(&mut cargo)
}

/// `key=value` figures, and the floors that they miss.
type Measured = (Vec<String>, Floors);

struct Bench<'a> {
    workspace: &'a Workspace,
    python: Option<PathBuf>,
    folder: PathBuf,
}

impl Bench<'_> {
    fn ours(&self) -> Command {
        Command::new(self.workspace.program("history_bench"))
    }

    /// The peers' program; `None` where there is no Python.
    fn peers(&self) -> Option<Command> {
        let mut command = Command::new(self.python.as_ref()?);
        command.arg(self.workspace.root.join("tests/python/history_peers.py"));
        Some(command)
    }

    fn write(&self, arguments: &Write) -> Outcome<Measured> {
        let file = self.folder.join("samples.columns");
        step(format_args!("Sightglass records for {} s", arguments.seconds));
        let mut ours = self.ours();
        ours.arg("write").arg("--dir").arg(self.folder.join("write")).arg("--peers-file").arg(&file);
        let ours = ask(ours.args(["--seconds", &arguments.seconds.to_string()]))?;
        let rate = number(&ours, "samples_per_s")?;
        let mut figures = Vec::new();
        for key in [
            "samples_per_s",
            "commit_ms_p50",
            "commit_ms_p99",
            "commit_ms_max",
            "merge_locked_ms_max",
            "peak_memory_mib",
        ] {
            figures.push(format!("{key}={:.1}", number(&ours, key)?));
        }
        figures.push(format!("written_anew={:.2}", number(&ours, "written_anew")?));
        let mut floors = Floors::default();
        floors.at_least("samples_per_s", rate, SAMPLES_PER_S_MIN);
        floors.at_most("commit_ms_p99", number(&ours, "commit_ms_p99")?, COMMIT_MS_P99_MAX);
        floors.at_most("merge_locked_ms_max", number(&ours, "merge_locked_ms_max")?, LOCKED_MS_MAX);
        floors.at_most("peak_memory_mib", number(&ours, "peak_memory_mib")?, PEAK_WRITE_MIB_MAX);
        if let Some(mut peers) = self.peers() {
            step(format_args!("each peer records for {} s", arguments.peer_seconds));
            peers.arg("write").arg(self.folder.join("peers")).arg(&file).arg(arguments.peer_seconds.to_string());
            let peers = ask(&mut peers)?;
            println!("| recorder | samples a second | Sightglass by it |\n| --- | --- | --- |");
            println!("| Sightglass, merged, with roll-ups | {rate:.0} | 1 |");
            for (name, key) in [
                ("SQLite rows", "sqlite_rows_per_s"),
                ("DuckDB", "duckdb_per_s"),
                ("Parquet files, zstd", "parquet_per_s"),
            ] {
                let theirs = number(&peers, key)?;
                println!("| {name} | {theirs:.0} | {:.2} |", rate / theirs);
                figures.push(format!("times_{}={:.2}", key.trim_end_matches("_per_s"), rate / theirs));
            }
            floors.at_least("times_sqlite_rows", rate / number(&peers, "sqlite_rows_per_s")?, TIMES_ROWS_MIN);
        }
        Ok((figures, floors))
    }

    fn size(&self, arguments: &Size) -> Outcome<Measured> {
        let folder = self.folder.join("size");
        let mut ours = self.ours();
        ours.arg("size").arg("--dir").arg(&folder).args(["--seed", &arguments.seed.to_string()]);
        match self.workspace.data() {
            Some(data) => {
                ours.arg("--data").arg(data);
            }
            None => step("the folder of recordings is absent, so SKAB and Tennessee Eastman are left out"),
        }
        let ours = ask(&mut ours)?;
        let recordings = ours.as_object().ok_or("the figures are no object")?;
        let (mut figures, mut floors) = (Vec::new(), Floors::default());
        println!("| bytes a sample | Sightglass | its roll-ups | SQLite rows | DuckDB | Parquet, zstd |");
        println!("| --- | --- | --- | --- | --- | --- |");
        for (name, recording) in recordings {
            let bytes = number(recording, "bytes_per_sample")?;
            let file = recording["peers_file"].as_str().ok_or("the figures lack the peers' file")?;
            let mut row = format!("| {name} | {bytes:.2} | {:.2} |", number(recording, "rollup_bytes_per_sample")?);
            figures.push(format!("{name}_bytes_per_sample={bytes:.2}"));
            if let Some(mut peers) = self.peers() {
                let peers = ask(peers.arg("size").arg(self.folder.join("peers")).arg(file))?;
                for key in ["sqlite_rows", "duckdb", "parquet_zstd"] {
                    let theirs = number(&peers[file], key)?;
                    row.push_str(&format!(" {theirs:.2} |"));
                    figures.push(format!("{name}_{key}_bytes_per_sample={theirs:.2}"));
                    floors.at_most(&format!("{name} beside {key}"), bytes, theirs);
                }
            }
            println!("{row}");
            if name == "simulated" {
                floors.at_most("simulated_bytes_per_sample", bytes, SIMULATED_BYTES_MAX);
            }
        }
        std::fs::remove_dir_all(&folder).could_not(format_args!("empty {}", folder.display()))?;
        Ok((figures, floors))
    }

    fn read(&self, arguments: &Read) -> Outcome<Measured> {
        let (dir, questions) = (self.folder.join("read"), self.folder.join("questions.json"));
        let points = arguments.points.to_string();
        if dir.exists() {
            std::fs::remove_dir_all(&dir).could_not(format_args!("empty {}", dir.display()))?;
        }
        step(format_args!("make a history of {points} samples"));
        let made = ask(self.ours().args(["generate", "--points", &points, "--dir"]).arg(&dir))?;
        println!(
            "    {:.0} s for the samples, {:.0} s for their roll-ups; {:.2} + {:.2} bytes a sample",
            number(&made, "load_s")?,
            number(&made, "rollups_s")?,
            number(&made, "bytes_per_sample")?,
            number(&made, "rollup_bytes_per_sample")?,
        );
        let ask_ours = |more: &[&str]| {
            let mut ours = self.ours();
            ours.args(["read", "--points", &points, "--dir"]).arg(&dir).args(more);
            ours.args(["--seed", &arguments.seed.to_string(), "--questions", &arguments.questions.to_string()]);
            ask(ours.arg("--questions-file").arg(&questions))
        };
        step("ask it");
        let quiet = ask_ours(&[])?;
        step(format_args!("ask it while {BUSY_PER_S} samples a second come in"));
        let busy = ask_ours(&["--cold", "0", "--ingest", &BUSY_PER_S.to_string()])?;
        std::fs::remove_dir_all(&dir).could_not(format_args!("empty {}", dir.display()))?;

        let (mut figures, mut floors) = (Vec::new(), Floors::default());
        println!("| ms for 1,920 pixels, p50 / p95 | one tag, warm | one tag, cold | eight tags, warm |");
        println!("| --- | --- | --- | --- |");
        let cell = |figures: &Value, key: &str| -> Outcome<String> {
            Ok(format!("{:.1} / {:.1}", number(&figures[key], "p50")?, number(&figures[key], "p95")?))
        };
        println!(
            "| Sightglass | {} | {} | {} |",
            cell(&quiet, "warm_ms")?,
            cell(&quiet, "cold_ms")?,
            cell(&quiet, "warm_8_tags_ms")?
        );
        println!("| the same, busy | {} | | {} |", cell(&busy, "warm_ms")?, cell(&busy, "warm_8_tags_ms")?);
        for (name, figures_of, keys) in [
            ("", &quiet, &["warm_ms", "warm_8_tags_ms", "cold_ms"][..]),
            ("busy_", &busy, &["warm_ms", "warm_8_tags_ms"][..]),
        ] {
            for key in keys {
                figures.push(format!("{name}{key}_p50={:.1}", number(&figures_of[*key], "p50")?));
                figures.push(format!("{name}{key}_p95={:.1}", number(&figures_of[*key], "p95")?));
            }
            figures.push(format!("{name}peak_memory_mib={:.0}", number(figures_of, "peak_memory_mib")?));
        }
        figures.push(format!("busy_ingested_per_s={:.0}", number(&busy, "ingested_per_s")?));
        let warm = number(&quiet["warm_ms"], "p95")?;
        floors.at_most("warm_ms_p95", warm, WARM_MS_P95_MAX);
        floors.at_most("cold_ms_p95", number(&quiet["cold_ms"], "p95")?, COLD_MS_P95_MAX);
        floors.at_most("warm_8_tags_ms_p95", number(&quiet["warm_8_tags_ms"], "p95")?, EIGHT_TAGS_MS_P95_MAX);
        floors.at_most("peak_memory_mib", number(&quiet, "peak_memory_mib")?, PEAK_READ_MIB_MAX);
        floors.at_most("busy_warm_ms_p95 by warm_ms_p95", number(&busy["warm_ms"], "p95")? / warm, TIMES_BUSY_MAX);
        if let (Some(mut loader), Some(mut reader), false) = (self.peers(), self.peers(), arguments.alone) {
            let database = self.folder.join("samples.duckdb");
            step("load DuckDB with the same samples");
            let mut stream = self.ours();
            stream.args(["generate", "--stream", "--points", &points]).stdout(Stdio::piped());
            let mut stream = stream.spawn().could_not("start the stream of samples")?;
            let samples = stream.stdout.take().ok_or("the stream of samples has no output")?;
            let loaded = ask(loader.arg("load").arg(&database).stdin(samples))?;
            let ended = stream.wait().could_not("wait for the stream of samples")?;
            if !ended.success() {
                return Err(format!("the stream of samples failed ({ended})"));
            }
            step("ask DuckDB the same");
            let peer = ask(reader.arg("read").arg(&database).arg(&questions))?;
            println!(
                "| DuckDB ({:.0} s to load, {:.2} bytes a sample) | {} | | {} |",
                number(&loaded, "seconds")?,
                number(&loaded, "bytes")? / number(&loaded, "samples")?,
                cell(&peer, "warm_ms")?,
                cell(&peer, "warm_8_tags_ms")?
            );
            for key in ["warm_ms", "warm_8_tags_ms"] {
                figures.push(format!("duckdb_{key}_p95={:.1}", number(&peer[key], "p95")?));
            }
            std::fs::remove_file(&database).could_not("remove DuckDB's file")?;
        }
        Ok((figures, floors))
    }
}

/// Runs a program and reads the JSON object in its last line.
fn ask(command: &mut Command) -> Outcome<Value> {
    let output = command.stderr(Stdio::inherit()).output().could_not(format_args!("run `{}`", line(command)))?;
    if !output.status.success() {
        return Err(format!("`{}` failed ({})", line(command), output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().ok_or("it printed nothing")?;
    serde_json::from_str(last).could_not(format_args!("read the figures of `{}`", line(command)))
}

impl Workspace {
    /// The folder of real recordings; `None` when it is absent.
    fn data(&self) -> Option<PathBuf> {
        let named = std::env::var_os(crate::test::DATA_VARIABLE).map(PathBuf::from);
        let folder = named.unwrap_or_else(|| self.root.join(crate::test::DATA_DEFAULT));
        Path::is_dir(&folder).then_some(folder)
    }
}
