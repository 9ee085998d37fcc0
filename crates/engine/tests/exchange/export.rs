//! `sightglass export`, read back by DuckDB.

use std::process::Command;

use sightglass_history::History;
use sightglass_protocol::{TagId, UtcNanos};

use crate::{START, asked, days, files, python, ran, record, run, sightglass, stderr, well};

const SUMMED_UP: &str = r#"
import duckdb, json, sys
read = {
    "parquet": "read_parquet('plant=*/line=*/date=*/*.parquet', hive_partitioning = true)",
    "csv": "read_csv('plant=*/line=*/date=*/*.csv', hive_partitioning = true, header = true, types = {'time': 'TIMESTAMP_NS', 'value': 'DOUBLE'})",
}[sys.argv[1]]
rows = duckdb.sql(f"""
    SELECT plant, line, tag, count(*), count(value), sum(value), epoch_ns(min(time)), epoch_ns(max(time)),
           first(value ORDER BY time), last(value ORDER BY time), count(*) FILTER (quality = 'bad')
    FROM {read} GROUP BY ALL ORDER BY line, tag""").fetchall()
plan = duckdb.sql(f"EXPLAIN ANALYZE SELECT count(*) FROM {read} WHERE date = DATE '2026-11-25'").fetchall()[0][1]
print(json.dumps({"rows": rows, "plan": plan}))
"#;

#[test]
fn duckdb_reads_from_an_export_what_the_history_says() {
    let Some(python) = python() else { return };
    let data = tempfile::tempdir().expect("a folder");
    record(data.path(), "Works 1", &days());
    let said: Vec<serde_json::Value> = run(async {
        let history = History::open_read_only(data.path()).await.expect("the history opens");
        let mut said = Vec::new();
        for (tag, line, name) in [(1, "Filling", "level"), (0, "Filling", "pressure"), (2, "Packing / 2", "boxes")] {
            let samples = history.raw(TagId(tag), UtcNanos::MIN, UtcNanos::MAX).await.expect("samples");
            let number = |value: f64| if value.is_nan() { serde_json::Value::Null } else { value.into() };
            let numbers: Vec<f64> = samples.iter().map(|sample| sample.value).filter(|value| !value.is_nan()).collect();
            let (first, last) = (samples.first().expect("samples"), samples.last().expect("samples"));
            said.push(serde_json::json!([
                "Works 1",
                line,
                name,
                samples.len(),
                numbers.len(),
                numbers.iter().sum::<f64>(),
                first.time.0,
                last.time.0,
                number(first.value),
                number(last.value),
                samples.len() - numbers.len(),
            ]));
        }
        said
    });
    for format in ["parquet", "csv"] {
        let out = tempfile::tempdir().expect("a folder");
        let output = ran(sightglass()
            .arg("export")
            .arg(data.path())
            .args(["--from", "2026-01-01", "--to", "2027-01-01", "--format", format, "--out"])
            .arg(out.path()));
        let stats = well(&output);
        assert_eq!(stats[0]["samples"], days().len());
        assert_eq!(stats[0]["files"], 6, "two lines of three days");
        let read = asked(&python, out.path(), SUMMED_UP, &[format]);
        assert_eq!(read["rows"], serde_json::json!(said), "{format}");
        if format == "parquet" {
            let plan = read["plan"].as_str().expect("a plan");
            assert!(plan.contains("Scanning Files: 2/6"), "a condition on the date leaves folders out: {plan}");
        }
    }
}

#[test]
fn the_end_of_an_export_is_left_out_and_nothing_says_what_there_is() {
    let data = tempfile::tempdir().expect("a folder");
    let out = tempfile::tempdir().expect("a folder");
    record(data.path(), "Works 1", &days());
    let export = |from: &str, to: &str, more: &[&str]| {
        let mut command = sightglass();
        command.arg("export").arg(data.path()).args(["--from", from, "--to", to, "--out"]).arg(out.path()).args(more);
        ran(&mut command)
    };
    // Pressure at 08:00 and 08:01, and the moment 08:02 + 2 ns beyond; level from 08:00 to 08:01.
    let two = export("2026-11-24T08:00:00Z", "2026-11-24T08:02:00.000000002Z", &["--line", "Filling"]);
    assert_eq!(well(&two)[0]["samples"], 5, "level at 08:02 is within, pressure 2 ns later is not");
    let nothing = export("2020-01-01", "2020-01-02", &[]);
    assert_eq!(well(&nothing)[0]["samples"], 0);
    let text = stderr(&nothing);
    assert!(text.contains(&UtcNanos(START).to_string()), "{text}");
    let unknown = export("2026-01-01", "2027-01-01", &["--tags", "presure"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("'pressure'"), "{}", stderr(&unknown));
    let backwards = export("2027-01-01", "2026-01-01", &[]);
    assert_eq!(backwards.status.code(), Some(2));
    let in_a_file = out.path().join("file");
    std::fs::write(&in_a_file, "").expect("written");
    let refused = ran(sightglass()
        .arg("export")
        .arg(data.path())
        .args(["--from", "2026-01-01", "--to", "2027-01-01", "--out"])
        .arg(in_a_file.join("x")));
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("file/x"), "{}", stderr(&refused));
}

/// A small file system of its own; `None`, which is said, where this user may not make one.
#[cfg(target_os = "linux")]
struct Stick(tempfile::TempDir);

#[cfg(target_os = "linux")]
impl Stick {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "sightglass-test"])
            .arg(folder.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        eprintln!("skipped: only root can mount a small file system");
        None
    }
}

#[cfg(target_os = "linux")]
impl Drop for Stick {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.0.path().display());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_export_to_a_full_stick_says_so_and_leaves_only_whole_files() {
    let data = tempfile::tempdir().expect("a folder");
    record(data.path(), "Works 1", &days());
    for format in ["parquet", "csv"] {
        let Some(stick) = Stick::mount("20k") else { return };
        let output = ran(sightglass()
            .arg("export")
            .arg(data.path())
            .args(["--from", "2026-01-01", "--to", "2027-01-01", "--format", format, "--out"])
            .arg(stick.0.path()));
        assert_eq!(output.status.code(), Some(2), "{format}");
        let text = stderr(&output);
        assert!(text.contains("no space left") && text.contains("part-"), "{text}");
        assert!(files(stick.0.path()).iter().all(|(name, _)| !name.ends_with("partial")), "{format}");
        let elsewhere = tempfile::tempdir().expect("a folder");
        let whole = ran(sightglass()
            .arg("export")
            .arg(data.path())
            .args(["--from", "2026-01-01", "--to", "2027-01-01", "--format", format, "--out"])
            .arg(elsewhere.path()));
        well(&whole);
        let whole = files(elsewhere.path());
        for file in files(stick.0.path()) {
            assert!(whole.contains(&file), "{} is not whole", file.0);
        }
    }
}
