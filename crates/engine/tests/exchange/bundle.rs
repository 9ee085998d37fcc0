//! Incident bundles: replayed elsewhere, bit by bit.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{ran, sightglass, stderr, stdout, well};

/// A bundle moved to another folder, with nothing left of where it came from.
fn moved(bundle: &Path, data: tempfile::TempDir) -> (tempfile::TempDir, PathBuf) {
    let elsewhere = tempfile::tempdir().expect("a folder");
    let there = elsewhere.path().join("of monday");
    std::fs::rename(bundle, &there).expect("moved");
    data.close().expect("the original is deleted");
    (elsewhere, there)
}

fn replayed(bundle: &Path) -> Vec<Value> {
    well(&ran(sightglass().args(["replay", "--json"]).arg(bundle)))
}

fn about(bundle: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(bundle.join("bundle.json")).expect("bundle.json")).expect("JSON")
}

/// Flips one bit in the middle of a file of the bundle, and says what replay says of it.
fn flipped(bundle: &Path, name: &str) -> String {
    let path = bundle.join(name);
    let whole = std::fs::read(&path).expect("the file");
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    let output = ran(sightglass().arg("replay").arg(bundle));
    std::fs::write(&path, whole).expect("written");
    assert_eq!(output.status.code(), Some(1), "{name}: {}", stderr(&output));
    stderr(&output)
}

#[test]
fn an_incident_with_video_is_replayed_elsewhere_with_the_same_bits() {
    let data = tempfile::tempdir().expect("a folder");
    let out = tempfile::tempdir().expect("a folder");
    let output = ran(sightglass()
        .args(["demo", "--headless", "--fault", "missing-caps", "--onset", "40", "--seconds", "80", "--json", "--data"])
        .arg(data.path().join("d")));
    let events = well(&output);
    let opened = events.iter().find(|event| event["event"] == "advisory_opened").expect("the fault is flagged");
    let bundle = out.path().join("bundle");
    let made = well(&ran(sightglass()
        .arg("export")
        .arg(data.path().join("d"))
        .args(["--incident", &opened["id"].to_string(), "--out"])
        .arg(&bundle)));
    assert_eq!(made[0]["is_whole_run"], true, "{}", made[0]);
    assert!(made[0]["recorded"]["ticks"].as_u64().is_some_and(|ticks| ticks > 60), "{}", made[0]);
    assert_eq!(made[0]["clips_missing"], serde_json::json!([]));

    let (_elsewhere, bundle) = moved(&bundle, data);
    let events = replayed(&bundle);
    let last = events.last().expect("events");
    assert_eq!((&last["event"], &last["identical"]), (&"bundle".into(), &true.into()), "{last}");
    assert_eq!(last["ticks"], made[0]["ticks"]);
    let again = events.iter().find(|event| event["event"] == "advisory_opened").expect("the fault is flagged again");
    assert_eq!((&again["title"], &again["since"]), (&opened["title"], &opened["since"]));
    let advisory: Value =
        serde_json::from_slice(&std::fs::read(bundle.join("advisory.json")).expect("advisory.json")).expect("JSON");
    assert_eq!((&advisory["id"], &advisory["since"]), (&opened["id"], &opened["since"]));

    for name in ["samples.parquet", "scores.csv", "plant.toml", "model.safetensors", "clips/filler-camera/00001.mkv"] {
        let text = flipped(&bundle, name);
        assert!(text.contains(name) && text.contains("not what it was"), "{text}");
    }
    let more = bundle.join("more.txt");
    std::fs::write(&more, "").expect("written");
    let output = ran(sightglass().arg("replay").arg(&bundle));
    assert!(stderr(&output).contains("more.txt"), "{}", stderr(&output));
    std::fs::remove_file(&more).expect("removed");
    std::fs::remove_file(bundle.join("model.card.txt")).expect("removed");
    let output = ran(sightglass().arg("replay").arg(&bundle));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("model.card.txt"), "{}", stderr(&output));
}

/// A line of three tags that follow each other, as a file: `level` lags behind `flow`, which follows `valve`.
fn tags_only(folder: &Path) -> PathBuf {
    let mut text = "time,valve,flow,level\n".to_owned();
    let (mut flow, mut level) = (30.0_f64, 50.0_f64);
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as f64 / f64::from(1_u32 << 31) - 0.5
    };
    for second in 0..1_500 {
        let valve = 50.0 + 20.0 * (f64::from(second) / 40.0).sin() + 8.0 * (f64::from(second) / 11.0).cos();
        flow += 0.3 * (valve * 0.6 - flow) + 0.2 * noise();
        level += 0.1 * (flow + 20.0 - level) + 0.1 * noise();
        text.push_str(&format!(
            "2026-03-01T{:02}:{:02}:{:02}Z,{valve},{flow},{level}\n",
            second / 3600,
            second / 60 % 60,
            second % 60
        ));
    }
    std::fs::write(folder.join("run.csv"), text).expect("written");
    let plant = folder.join("plant.toml");
    let tag = |name: &str, role: &str| format!("[[tag]]\nname = \"{name}\"\nrole = \"{role}\"\nunit = \"%\"\n");
    let text = format!(
        "[plant]\nname = \"Tank\"\n[model]\npath = \"tank.safetensors\"\nepochs = 2\n[[line]]\nname = \"tank\"\n\
         [[source]]\nname = \"s\"\nkind = \"file\"\npath = \"run.csv\"\n{}{}{}",
        tag("valve", "output"),
        tag("flow", "measurement"),
        tag("level", "measurement")
    );
    std::fs::write(&plant, text).expect("written");
    plant
}

#[test]
fn a_bundle_of_tags_from_the_start_of_a_run_has_the_recorded_scores_to_the_bit() {
    let data = tempfile::tempdir().expect("a folder");
    let out = tempfile::tempdir().expect("a folder");
    let plant = tags_only(data.path());
    let trained = ran(sightglass().arg("train").arg(&plant));
    assert_eq!(trained.status.code(), Some(0), "{}{}", stdout(&trained), stderr(&trained));
    let recorded = data.path().join("d");
    well(&ran(sightglass().args(["replay", "--json"]).arg(&plant).arg("--data").arg(&recorded)));
    // What the run ran with is kept, so that neither the description nor the model is needed from here on.
    for name in ["plant.toml", "tank.safetensors", "run.csv"] {
        std::fs::remove_file(data.path().join(name)).expect("removed");
    }
    let bundle = out.path().join("bundle");
    let made = well(&ran(sightglass()
        .arg("export")
        .arg(&recorded)
        .args(["--bundle", "--from", "2026-03-01T00:00:00Z", "--to", "2026-03-01T00:20:00Z", "--out"])
        .arg(&bundle)));
    let made = &made[0];
    assert_eq!(made["is_whole_run"], true, "{made}");
    assert_eq!(made["recorded"]["ticks"], 1_200, "{made}");
    assert_eq!(made["recorded"]["identical"], made["recorded"]["ticks"], "{made}");
    let (_elsewhere, bundle) = moved(&bundle, data);
    let last = replayed(&bundle).pop().expect("events");
    assert_eq!((&last["identical"], &last["ticks"]), (&true.into(), &1_200.into()), "{last}");
    let human = ran(sightglass().arg("replay").arg(&bundle));
    assert_eq!(human.status.code(), Some(0), "{}", stderr(&human));
    assert!(stdout(&human).trim_end().ends_with("identical: 1200 ticks have the bundle's scores, to the bit"));
    assert_eq!(about(&bundle)["incident"], Value::Null);

    // Scores that are not those of the bundle are told, with the first tick.
    let scores = std::fs::read_to_string(bundle.join("scores.csv")).expect("scores");
    let changed: Vec<String> = scores
        .lines()
        .enumerate()
        .map(|(number, line)| {
            let mut fields: Vec<String> = line.split(',').map(str::to_owned).collect();
            if number == 700 {
                fields[3] = format!("{:08x}", u32::from_str_radix(&fields[3], 16).expect("bits") ^ 1);
            }
            fields.join(",")
        })
        .collect();
    std::fs::write(bundle.join("scores.csv"), changed.join("\n")).expect("written");
    let sums = std::fs::read_to_string(bundle.join("SHA256SUMS")).expect("sums");
    let hash = hash_of(&bundle.join("scores.csv"));
    let sums: Vec<String> = sums
        .lines()
        .map(|line| if line.ends_with("  scores.csv") { format!("{hash}  scores.csv") } else { line.to_owned() })
        .collect();
    std::fs::write(bundle.join("SHA256SUMS"), sums.join("\n")).expect("written");
    let output = ran(sightglass().arg("replay").arg(&bundle));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("first difference at 2026-03-01T00:11:39Z"), "{}", stderr(&output));
}

fn hash_of(path: &Path) -> String {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest(std::fs::read(path).expect("the file"));
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_bundle_says_what_it_cannot_be_made_or_replayed_from() {
    let data = tempfile::tempdir().expect("a folder");
    crate::record(data.path(), "Works 1", &[crate::sample(0, crate::START, 1.0)]);
    let out = tempfile::tempdir().expect("a folder");
    let export = |more: &[&str], out: &Path| {
        let output = ran(sightglass().arg("export").arg(data.path()).args(more).arg("--out").arg(out));
        assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
        stderr(&output)
    };
    let text = export(&["--incident", "7"], &out.path().join("b"));
    assert!(text.contains("no advisory 7"), "{text}");
    let range = ["--bundle", "--from", "2026-11-24", "--to", "2026-11-25"];
    let text = export(&range, &out.path().join("b"));
    assert!(text.contains("--line: Filling, Packing / 2"), "{text}");
    let text = export(&[&range[..], &["--line", "Filling"]].concat(), &out.path().join("b"));
    assert!(text.contains("--plant plant.toml"), "{text}");
    std::fs::write(out.path().join("something"), "").expect("written");
    let text = export(&[&range[..], &["--line", "Filling"]].concat(), out.path());
    assert!(text.contains("not empty"), "{text}");
    let output = ran(sightglass().arg("replay").arg(out.path()));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no bundle"), "{}", stderr(&output));
}
