//! The examples on real recordings, as a user runs them: train, then replay. Left out where `SIGHTGLASS_DATA` does not
//! name the folder that holds the recordings.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use sightglass_protocol::UtcNanos;
use sightglass_protocol::time::SECOND;

/// A copy of an example with its model beside it.
struct Example {
    plant: PathBuf,
    skab_run: &'static str,
    _folder: tempfile::TempDir,
}

impl Example {
    /// `None`, which is said, where `recording` is absent.
    fn new(name: &str, recording: &str, skab_run: &'static str) -> Option<Self> {
        if !std::env::var_os("SIGHTGLASS_DATA").is_some_and(|dir| Path::new(&dir).join(recording).exists()) {
            eprintln!("skipped: SIGHTGLASS_DATA does not hold {recording}");
            return None;
        }
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name).join("plant.toml");
        let text = std::fs::read_to_string(original).expect("the example is there");
        let folder = tempfile::tempdir().expect("a folder");
        let plant = folder.path().join("plant.toml");
        let text = text.replace("../../target/examples/", "");
        std::fs::write(&plant, text).expect("the copy is written");
        Some(Self { plant, skab_run, _folder: folder })
    }

    fn ran(&self, command: &str, options: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_sightglass"))
            .arg(command)
            .arg(&self.plant)
            .args(options)
            .env("SKAB_RUN", self.skab_run)
            .stdin(Stdio::null())
            .output()
            .expect("the program starts");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Trains until `to` and replays everything; gives the replay's events.
    fn train_and_replay(&self, to: &str) -> Vec<Value> {
        self.ran("train", &["--to", to]);
        self.ran("replay", &["--json"]).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

fn time(value: &Value) -> UtcNanos {
    value.as_str().expect("a time").parse().expect("a time")
}

fn opened(events: &[Value]) -> Vec<&Value> {
    events.iter().filter(|event| event["event"] == "advisory_opened").collect()
}

#[test]
fn a_bottle_taken_away_is_flagged_at_its_place_and_nothing_before() {
    let Some(example) = Example::new("bottles", "video/bottle-detection.mp4", "") else { return };
    let events = example.train_and_replay("2026-01-01T00:00:05Z");
    let opened = opened(&events);
    let first = opened.first().expect("the hand is flagged");
    // The hand comes in about 5.8 s after the start and takes the left bottle.
    let start: UtcNanos = "2026-01-01T00:00:00Z".parse().expect("a time");
    let after_ns = time(&first["opened"]).since(start);
    assert!((5 * SECOND + SECOND / 2..7 * SECOND).contains(&after_ns), "{first}");
    assert_eq!(first["causes"][0]["name"], "bottles", "{first}");
    let map = &first["patches"][0];
    let columns = map["cols"].as_u64().expect("a number") as usize;
    let scores: Vec<f64> = map["scores"].as_array().expect("a map").iter().filter_map(Value::as_f64).collect();
    let highest = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).expect("patches");
    assert!(highest % columns < columns / 3, "the left third holds the highest patch: {map}");
}

#[test]
fn a_valve_that_is_closed_is_flagged_by_the_flow() {
    let Some(example) = Example::new("rig", "skab/valve1/3.csv", "valve1/3") else { return };
    // The first 400 rows, as the recordings' own protocol has it; the valve closes 200 s later.
    let events = example.train_and_replay("2020-03-09T11:21:16Z");
    let opened = opened(&events);
    let first = opened.first().expect("the valve is flagged");
    let closing: UtcNanos = "2020-03-09T11:24:34Z".parse().expect("a time");
    let delay_ns = time(&first["opened"]).since(closing);
    assert!((0..120 * SECOND).contains(&delay_ns), "{first}");
    assert_eq!(first["causes"][0]["name"], "Volume Flow RateRMS", "{first}");
}
