//! The command line as other programs call it: real processes, exit codes, JSON lines.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};
use sightglass_protocol::UtcNanos;
use sightglass_protocol::time::SECOND;

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

fn events(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?} is not JSON: {error}")))
        .collect()
}

fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == kind).collect()
}

fn time(value: &Value) -> UtcNanos {
    value.as_str().expect("a time").parse().expect("a time")
}

/// A process that does not outlive its test.
struct Ended(Child);

impl Ended {
    fn kill(&mut self) {
        self.0.kill().expect("the process can be killed");
        self.0.wait().expect("the process has ended");
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        // Already ended is fine.
        if self.0.kill().is_ok() {
            let _ = self.0.wait();
        }
    }
}

#[test]
fn check_says_everything_that_is_wrong_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let plant = folder.path().join("plant.toml");
    std::fs::write(
        &plant,
        "[plant]\nname = \"p\"\n[[line]]\nname = \"l\"\n[[source]]\nname = \"s\"\nkind = \"simulator\"\n\
         [[tag]]\nname = \"level\"\nrole = \"sensor\"\n[[tag]]\nname = \"level\"\nrole = \"measurement\"\nrange = [100, 0]\n",
    )
    .expect("the file is written");
    let output = ran(sightglass().arg("check").arg(&plant));
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    let name = plant.display().to_string();
    assert!(text.contains(&format!("{name}:10:")) && text.contains("measurement, setpoint, output, mode"), "{text}");
    assert!(text.contains(&format!("{name}:12:")) && text.contains("already a tag 'level'"), "{text}");
    assert!(text.contains(&format!("{name}:14:")) && text.contains("upside down"), "{text}");
}

#[test]
fn the_descriptions_of_the_examples_are_good() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    for plant in ["bottles/plant.toml", "rig/plant.toml"] {
        let output = ran(sightglass()
            .arg("check")
            .arg(examples.join(plant))
            .env("SIGHTGLASS_DATA", "/data")
            .env("SKAB_RUN", "valve1/0"));
        assert_eq!(output.status.code(), Some(0), "{plant}: {}", stderr(&output));
    }
}

/// A minute of the simulated line as files.
fn recorded(folder: &Path, hours: &str) -> PathBuf {
    let output = ran(sightglass().args(["sim", "record", "--hours", hours, "--seed", "7", "--out"]).arg(folder));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let plant = folder.join("plant.toml");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo-line.safetensors");
    std::fs::copy(model, folder.join("model.safetensors")).expect("the shipped model is there");
    plant
}

#[test]
fn a_recording_gives_the_same_scores_at_any_speed() {
    let folder = tempfile::tempdir().expect("a folder");
    let plant = recorded(folder.path(), "0.02");
    let replay = |speed: &str| {
        let output = ran(sightglass().args(["replay", "--json", "--speed", speed]).arg(&plant));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        events(&output)
    };
    let fast = replay("max");
    let paced = replay("24");
    let ticks = of_kind(&fast, "tick");
    assert!(ticks.len() > 60, "{} ticks", ticks.len());
    assert!(ticks.iter().any(|tick| tick["score"].as_f64().is_some_and(|score| score > 0.0)), "the model judges");
    assert_eq!(of_kind(&fast, "tick"), of_kind(&paced, "tick"));
    assert_eq!(of_kind(&fast, "advisory_opened"), of_kind(&paced, "advisory_opened"));
}

#[test]
fn the_shipped_model_is_the_one_of_its_manifest_and_small() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let manifest = std::fs::read_to_string(models.join("SHA256SUMS")).expect("the manifest is there");
    let (hash, name) = manifest.trim().split_once("  ").expect("a hash and a name");
    assert_eq!(name, "demo-line.safetensors");
    let model = std::fs::read(models.join(name)).expect("the model is there");
    assert!(model.len() <= 10_000_000, "{} bytes", model.len());
    let found: String = Sha256::digest(&model).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(found, hash);
}

#[test]
fn the_demo_flags_an_underfill_and_keeps_everything() {
    let output = ran(sightglass().args([
        "demo",
        "--headless",
        "--seconds",
        "120",
        "--fault",
        "underfill",
        "--json",
        "--seed",
        "3",
    ]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let events = events(&output);
    let summary = of_kind(&events, "summary")[0];
    assert_eq!(summary["flagged"], true, "{summary}");
    assert_eq!(summary["cause_named"], true, "{summary}");
    assert_eq!(summary["counters"]["samples"], summary["history"]["samples"], "{summary}");
    assert_eq!(summary["counters"]["ticks_dropped"], 0, "{summary}");
    assert!(summary["counters"]["frames"].as_u64().is_some_and(|frames| frames >= 119 * 15), "{summary}");
    let onset = time(&summary["onset"]);
    for advisory in of_kind(&events, "advisory_opened") {
        assert!(time(&advisory["opened"]) >= onset, "an advisory before the fault: {advisory}");
    }
}

#[test]
fn a_killed_engine_misses_at_most_the_last_second_and_starts_again_on_the_same_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("d");
    let start = || {
        let child = sightglass()
            .args(["demo", "--fault", "none", "--json", "--ticks", "--seconds", "3600", "--data"])
            .arg(&data)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the engine starts");
        Ended(child)
    };
    let last_tick_after = |engine: &mut Ended, ticks: usize| {
        let stdout = engine.0.stdout.take().expect("its output");
        let seen: Vec<UtcNanos> = BufReader::new(stdout)
            .lines()
            .map(|line| serde_json::from_str::<Value>(&line.expect("a line")).expect("JSON"))
            .filter(|event| event["event"] == "tick")
            .map(|event| time(&event["time"]))
            .take(ticks)
            .collect();
        *seen.last().expect("ticks come")
    };
    let info = || {
        let output = ran(sightglass().args(["history", "info", "--json"]).arg(&data));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };

    let mut engine = start();
    let last = last_tick_after(&mut engine, 5);
    engine.kill();
    let first_run = info();
    let newest = UtcNanos(first_run["last"].as_i64().expect("a time"));
    assert!(last.since(newest) <= SECOND, "the newest sample {newest} is over a second older than the tick {last}");

    let mut engine = start();
    last_tick_after(&mut engine, 3);
    engine.kill();
    let both = info();
    assert!(both["samples"].as_u64() > first_run["samples"].as_u64(), "{both}");
    let verified = ran(sightglass().args(["history", "verify"]).arg(&data));
    assert_eq!(verified.status.code(), Some(0), "{}", stderr(&verified));
}

#[test]
fn recording_goes_on_when_nobody_reads_what_is_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("d");
    let mut engine = Ended(
        sightglass()
            .args(["demo", "--headless", "--fault", "none", "--json", "--ticks", "--seconds", "60", "--data"])
            .arg(&data)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the engine starts"),
    );
    drop(engine.0.stdout.take());
    assert_eq!(engine.0.wait().expect("the engine ends").code(), Some(0));
    let output = ran(sightglass().args(["history", "info", "--json"]).arg(&data));
    let info: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(info["ticks"].as_u64().is_some_and(|ticks| ticks >= 59), "{info}");
}

#[test]
fn a_data_folder_has_one_engine() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("d");
    let mut first = Ended(
        sightglass()
            .args(["demo", "--fault", "none", "--json", "--ticks", "--data"])
            .arg(&data)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the engine starts"),
    );
    let stdout = first.0.stdout.take().expect("its output");
    let mut lines = BufReader::new(stdout).lines();
    assert!(lines.next().is_some(), "the first engine runs");
    let second =
        ran(sightglass().args(["demo", "--headless", "--seconds", "2", "--fault", "none", "--data"]).arg(&data));
    assert_eq!(second.status.code(), Some(2));
    let text = stderr(&second);
    assert!(text.contains("in use") && text.contains(&data.display().to_string()), "{text}");
    first.kill();
}

#[test]
fn the_model_of_another_plant_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo-line.safetensors");
    let plant = folder.path().join("plant.toml");
    std::fs::write(folder.path().join("a.csv"), "time,level\n2026-01-01T00:00:00Z,1\n").expect("written");
    let text = format!(
        "[plant]\nname = \"p\"\n[model]\npath = {:?}\n[[line]]\nname = \"l\"\n[[source]]\nname = \"s\"\nkind = \"file\"\n\
         path = \"a.csv\"\n[[tag]]\nname = \"level\"\nrole = \"measurement\"\n",
        model.display().to_string()
    );
    std::fs::write(&plant, text).expect("written");
    let output = ran(sightglass().arg("replay").arg(&plant));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("demo-line.safetensors"), "{}", stderr(&output));
}

#[test]
fn a_missing_recording_and_a_wrong_speed_are_bad_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let plant = folder.path().join("plant.toml");
    std::fs::write(
        &plant,
        "[plant]\nname = \"p\"\n[[line]]\nname = \"l\"\n[[source]]\nname = \"s\"\nkind = \"file\"\npath = \"gone.csv\"\n\
         [[tag]]\nname = \"level\"\nrole = \"measurement\"\n",
    )
    .expect("written");
    let missing = ran(sightglass().arg("replay").arg(&plant));
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("gone.csv"), "{}", stderr(&missing));
    let speed = ran(sightglass().args(["replay", "--speed", "fast"]).arg(&plant));
    assert_eq!(speed.status.code(), Some(2));
    assert!(stderr(&speed).contains("neither max nor a number"), "{}", stderr(&speed));
}

#[cfg(unix)]
#[test]
fn a_live_camera_is_dated_by_the_time_of_day_and_kept_up_to_the_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    let plant = folder.path().join("plant.toml");
    std::fs::write(
        &plant,
        "[plant]\nname = \"p\"\n[[line]]\nname = \"l\"\n[[camera]]\nname = \"c\"\n\
         launch = \"videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=15/1\"\n",
    )
    .expect("written");
    let data = folder.path().join("d");
    let before = wall_clock();
    let mut engine = Ended(
        sightglass()
            .arg("run")
            .arg(&plant)
            .arg("--data")
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the engine starts"),
    );
    let video = data.join("video/c");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let segment = loop {
        assert!(std::time::Instant::now() < deadline, "no video is recorded");
        assert_eq!(engine.0.try_wait().expect("its state"), None, "the engine ended by itself");
        let files = std::fs::read_dir(&video).into_iter().flatten();
        let recorded = files
            .map(|file| file.expect("a file").path())
            .find(|file| file.metadata().is_ok_and(|metadata| metadata.len() > 20_000));
        match recorded {
            Some(file) => break file,
            None => std::thread::park_timeout(std::time::Duration::from_millis(20)),
        }
    };
    let interrupted = ran(Command::new("kill").args(["-INT", &engine.0.id().to_string()]));
    assert!(interrupted.status.success(), "{}", stderr(&interrupted));
    assert_eq!(engine.0.wait().expect("the engine ends").code(), Some(0));
    // A segment is named after the time of its first picture.
    let name = segment.file_stem().expect("a name").to_string_lossy().into_owned();
    let (day, hour) = name.split_once('T').expect("a time");
    let first: UtcNanos = format!("{day}T{}", hour.replace('-', ":")).parse().expect("a time");
    assert!(first >= before && first <= wall_clock(), "{first} is not between {before} and now");
    let output = ran(sightglass().args(["history", "info", "--json"]).arg(&data));
    let info: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let bytes = segment.metadata().expect("the segment").len();
    assert_eq!(info["video_bytes"].as_u64(), Some(bytes), "the last segment is closed and indexed: {info}");
    assert!(info["frames"].as_u64().is_some_and(|frames| frames > 0), "{info}");
}

#[cfg(unix)]
fn wall_clock() -> UtcNanos {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("the clock is right");
    UtcNanos(i64::try_from(now.as_nanos()).expect("the clock is right"))
}

#[test]
fn a_damaged_history_is_found_and_repaired_and_a_backup_is_restored() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let data = at("d");
    let recorded = ran(sightglass()
        .args(["demo", "--headless", "--fault", "none", "--json", "--seconds", "30", "--data"])
        .arg(&data));
    assert_eq!(recorded.status.code(), Some(0), "{}", stderr(&recorded));
    let history = |command: &str, dir: &Path, more: &[&str]| {
        ran(sightglass().args(["history", command, "--json"]).arg(dir).args(more).current_dir(folder.path()))
    };
    let json = |output: &Output| serde_json::from_slice::<Value>(&output.stdout).expect("JSON");
    let verified = history("verify", &data, &[]);
    assert_eq!(verified.status.code(), Some(0), "{}", stderr(&verified));
    assert_eq!(json(&verified)["whole"], true);
    let backed_up = history("backup", &data, &["--to", "stick"]);
    assert_eq!(backed_up.status.code(), Some(0), "{}", stderr(&backed_up));
    let info = json(&history("info", &data, &[]));
    assert_eq!(json(&backed_up)["manifest"]["samples"], info["samples"]);
    assert!(info["series"].as_array().is_some_and(|series| !series.is_empty()), "{info}");
    assert!(
        info["tables"].as_array().is_some_and(|tables| tables.iter().any(|table| table["table"] == "sample_batch"))
    );
    // For people, too.
    let page = ran(sightglass().args(["history", "info"]).arg(&data));
    assert!(String::from_utf8_lossy(&page.stdout).contains("B/sample"), "{}", stderr(&page));
    let compacted = history("compact", &data, &[]);
    assert_eq!(compacted.status.code(), Some(0), "{}", stderr(&compacted));
    let info_after = json(&history("info", &data, &[]));
    assert_eq!((&info_after["samples"], &info_after["samples_unmerged"]), (&info["samples"], &Value::from(0)));

    let restored = history("restore", &at("stick"), &["--to", "again"]);
    assert_eq!(restored.status.code(), Some(0), "{}", stderr(&restored));
    assert_eq!(json(&history("info", &at("again"), &[]))["samples"], info["samples"]);
    let occupied = history("restore", &at("stick"), &["--to", "again"]);
    assert_eq!(occupied.status.code(), Some(2));
    assert!(stderr(&occupied).contains("has a history already"), "{}", stderr(&occupied));

    let file = data.join("history.sqlite");
    let mut bytes = std::fs::read(&file).expect("the history");
    bytes[3] ^= 1;
    std::fs::write(&file, &bytes).expect("the history is damaged");
    let verified = history("verify", &data, &[]);
    assert_eq!(verified.status.code(), Some(1), "{}", stderr(&verified));
    assert!(!json(&verified)["problems"].as_array().expect("problems").is_empty());
    let repaired = history("repair", &data, &["--out", "new"]);
    assert_eq!(repaired.status.code(), Some(1), "the header was not whole: {}", stderr(&repaired));
    assert_eq!(history("verify", &at("new"), &[]).status.code(), Some(0));
    assert_eq!(json(&history("info", &at("new"), &[]))["samples"], info["samples"]);
}

#[test]
fn a_recording_is_certified_asked_about_and_pinned() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = ran(sightglass()
        .args(["demo", "--headless", "--fault", "none", "--seconds", "60", "--json", "--data"])
        .arg(folder.path()));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let range = ["--from", "2026-01-05T06:00:00Z", "--to", "2026-01-05T06:00:50Z"];
    // The run began and ended by the simulation's time, not by that of this PC.
    let certificate = ran(sightglass().args(["history", "certificate"]).arg(folder.path()).args(range).arg("--json"));
    assert_eq!(certificate.status.code(), Some(0), "{}", stderr(&certificate));
    let certificate: Value = serde_json::from_slice(&certificate.stdout).expect("JSON");
    let tags = certificate["tags"].as_array().expect("tags");
    assert!(tags.len() > 5, "{} tags", tags.len());
    for tag in tags {
        assert!(tag["good_share"].as_f64().is_some_and(|share| share > 0.97), "{tag}");
    }
    assert_eq!(certificate["evidence"]["journal_hash"].as_str().map(str::len), Some(64));
    let later = ["--from", "2026-01-05T06:00:00Z", "--to", "2026-01-05T06:02:00Z"];
    let page = ran(sightglass().args(["history", "certificate"]).arg(folder.path()).args(later));
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    assert!(page.contains("engine stopped") && page.contains("Completeness of"), "{page}");
    assert!(page.lines().count() < 66, "one page:\n{page}");

    let first = tags[0]["tag"].as_str().expect("a name");
    let query = |rest: &[&str]| {
        let output = ran(sightglass().arg("query").arg(folder.path()).args(rest));
        assert_eq!(output.status.code(), Some(0), "{rest:?}: {}", stderr(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let aligned = query(&[&["align", "--tags", first, "--events", "any"], &range[..]].concat());
    assert_eq!(aligned.lines().count(), 1 + 51, "{aligned}");
    assert!(aligned.starts_with("time,"), "{aligned}");
    let resampled = query(&[&["resample", "--tags", first, "--every", "10", "--json"], &range[..]].concat());
    let steps: Vec<Value> = resampled.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(steps.len() >= 5 && steps[1]["count"].as_u64().is_some_and(|count| count > 0), "{resampled}");
    let compared = query(&[
        "compare",
        "--tags",
        first,
        "--first",
        "2026-01-05T06:00:05Z",
        "--second",
        "2026-01-05T06:00:25Z",
        "--seconds",
        "10",
    ]);
    assert_eq!(compared.lines().count(), 1 + 11, "{compared}");
    let parquet = folder.path().join("percentiles.parquet");
    let name = parquet.display().to_string();
    query(&[&["percentiles", "--zone", "Europe/Berlin", "--parquet", &name], &range[..]].concat());
    assert!(std::fs::read(&parquet).expect("the file").starts_with(b"PAR1"));

    let wrong = ran(sightglass().arg("query").arg(folder.path()).args(["align", "--tags", "nothing"]).args(range));
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("no tag 'nothing'"), "{}", stderr(&wrong));

    let pin = |verb: &str| {
        let output = ran(sightglass().args(["history", verb]).arg(folder.path()).args(range));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(!pin("pin").starts_with("0 segments"));
    assert!(pin("pin").starts_with("0 segments"), "they are pinned already");
    assert!(!pin("unpin").starts_with("0 segments"));
    let verified = ran(sightglass().args(["history", "verify"]).arg(folder.path()));
    assert_eq!(verified.status.code(), Some(0), "{}", stderr(&verified));
}

#[test]
fn a_checkpoint_is_held_against_its_reference_outputs() {
    let nothing = ran(sightglass().args(["model", "verify", "/nowhere/at/all"]));
    assert_eq!(nothing.status.code(), Some(2));
    assert!(stderr(&nothing).contains("/nowhere/at/all"), "{}", stderr(&nothing));

    let data = std::env::var_os("SIGHTGLASS_DATA").map(PathBuf::from);
    let fixture = data.and_then(|data| Some(data.parent()?.join("fixtures/vjepa2-tiny"))).filter(|path| path.is_dir());
    let Some(fixture) = fixture else {
        eprintln!("skipped: beside SIGHTGLASS_DATA there is no fixtures/vjepa2-tiny");
        return;
    };
    let output = ran(sightglass().args(["model", "verify"]).arg(&fixture));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let names: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["last_hidden_state", "predictor_last_hidden_state", "masked_predictor_last_hidden_state"]);

    let json = ran(sightglass().args(["model", "verify", "--json"]).arg(&fixture));
    assert_eq!(events(&json)[0]["same"], true);
}
