//! Out with what was recorded, and in with what others recorded: the command line as other programs call it, read back by
//! DuckDB and an S3 server where `SIGHTGLASS_PYTHON` names a Python that has them (`cargo xtask test` does).

mod bundle;
mod docs;
mod export;
mod follow;
mod import;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sightglass_history::History;
use sightglass_protocol::time::SECOND;
use sightglass_protocol::{PlantInfo, Quality, Sample, TagId, TimeSource, UtcNanos};

/// 2026-11-24T08:00:00Z.
const START: i64 = 1_795_507_200 * SECOND;

/// Two lines: pressure and level of the first, boxes of the second.
const PLANT: &str = r#"
[plant]
name = "Works 1"

[[line]]
name = "Filling"

[[line]]
name = "Packing / 2"

[[source]]
name = "s"
kind = "file"
path = "a.csv"

[[tag]]
name = "pressure"
line = "Filling"
role = "measurement"
unit = "bar"
range = [0, 1000]

[[tag]]
name = "level"
line = "Filling"
role = "measurement"
unit = "%"

[[tag]]
name = "boxes"
line = "Packing / 2"
role = "measurement"
"#;

fn sightglass() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sightglass"));
    command.stdin(Stdio::null());
    command
}

fn ran(command: &mut Command) -> Output {
    command.output().expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The JSON of each line of what a program printed.
fn events(output: &Output) -> Vec<Value> {
    let lines = stdout(output);
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?} is not JSON: {e}")))
        .collect()
}

fn well(output: &Output) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(output), stderr(output));
    events(output)
}

/// The Python that has the peers; says that the test is left out where there is none.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("SIGHTGLASS_PYTHON").map(PathBuf::from);
    if python.is_none() {
        eprintln!("skipped: SIGHTGLASS_PYTHON names no Python with duckdb and moto; `cargo xtask test` makes one");
    }
    python
}

/// What a Python script prints as JSON; `arguments` are its `sys.argv[1:]`.
fn asked(python: &Path, folder: &Path, script: &str, arguments: &[&str]) -> Value {
    let mut command = Command::new(python);
    let output = ran(command.current_dir(folder).args(["-c", script]).args(arguments).stdin(Stdio::null()));
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{}: {e}", stdout(&output)))
}

fn plant(name: &str) -> PlantInfo {
    let plant = sightglass_plant::parse(PLANT, "plant.toml", Path::new("")).expect("a good plant");
    PlantInfo { name: name.to_owned(), ..plant.info() }
}

fn sample(tag: u32, time: i64, value: f64) -> Sample {
    Sample { tag: TagId(tag), time: UtcNanos(time), value, quality: Quality::Good, time_source: TimeSource::Device }
}

/// Runs what is async to its end.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// Records samples into a data folder, merged as an engine does.
fn record(data: &Path, name: &str, samples: &[Sample]) {
    run(async {
        let history = History::open(data, &plant(name)).await.expect("the history opens");
        history.append(samples).await.expect("the samples are recorded");
        let last = samples.iter().map(|sample| sample.time).max().expect("samples");
        history.merge(last + 1).await.expect("the samples are merged");
        history.close().await.expect("the history is closed");
    });
}

/// Two days and a half of two lines, with gaps, bad values and times to the nanosecond. Values are quarters, so that
/// their sums are exact in any order.
fn days() -> Vec<Sample> {
    let mut samples = Vec::new();
    for minute in 0..60 * 60 {
        let time = START + minute * 60 * SECOND;
        samples.push(sample(0, time + minute % 7, (minute % 90) as f64 * 0.25));
        if minute % 5 == 0 {
            samples.push(sample(2, time + 1, -(minute as f64)));
        }
        match minute % 100 {
            0 => samples.push(Sample { quality: Quality::Bad, ..sample(1, time, f64::NAN) }),
            1..60 => samples.push(sample(1, time, minute as f64 * 0.5)),
            _ => {}
        }
    }
    samples
}

/// Every file below a folder with its content, by its path there.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below it").display().to_string();
                found.push((name, std::fs::read(&path).expect("a file")));
            }
        }
    }
    found.sort();
    found
}
