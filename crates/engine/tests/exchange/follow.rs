//! `sightglass export --follow`: to a folder, and to a server that speaks S3.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use sightglass_history::History;
use sightglass_protocol::UtcNanos;
use sightglass_protocol::time::SECOND;

use crate::{START, days, files, plant, python, ran, record, run, sample, sightglass, stderr, well};

/// Some days before the present, whatever it is: days have to be over.
fn past(samples: &[sightglass_protocol::Sample]) -> Vec<sightglass_protocol::Sample> {
    const YEAR_NS: i64 = 365 * 86_400 * SECOND;
    samples.iter().map(|sample| sightglass_protocol::Sample { time: sample.time - 3 * YEAR_NS, ..*sample }).collect()
}

fn pass(data: &Path, target: &str) -> Value {
    well(&ran(sightglass().arg("export").arg(data).args(["--follow", "--once", "--out", target]))).remove(0)
}

/// What a plain export of everything writes.
fn exported(data: &Path) -> Vec<(String, Vec<u8>)> {
    let out = tempfile::tempdir().expect("a folder");
    well(&ran(sightglass()
        .arg("export")
        .arg(data)
        .args(["--from", "2000-01-01", "--to", "2100-01-01", "--out"])
        .arg(out.path())));
    files(out.path())
}

/// The files of a target without what it says of itself.
fn tiered(target: &Path) -> Vec<(String, Vec<u8>)> {
    files(target).into_iter().filter(|(name, _)| !name.starts_with("_sightglass")).collect()
}

#[test]
fn days_that_are_over_are_tiered_once_and_again_when_they_change() {
    let data = tempfile::tempdir().expect("a folder");
    let target = tempfile::tempdir().expect("a folder");
    let out = target.path().to_str().expect("text");
    let samples = past(&days());
    record(data.path(), "Works 1", &samples);
    let first = pass(data.path(), out);
    assert_eq!((&first["days"], &first["samples"]), (&6.into(), &samples.len().into()), "{first}");
    assert_eq!(tiered(target.path()), exported(data.path()));
    let second = pass(data.path(), out);
    assert_eq!((&second["days"], &second["days_unchanged"]), (&0.into(), &6.into()), "{second}");

    // A late sample changes its own day only.
    let late = past(&[sample(0, START + 30 * 60 * SECOND + 11, 7.0)]);
    record(data.path(), "Works 1", &late);
    let third = pass(data.path(), out);
    assert_eq!((&third["days"], &third["days_changed"]), (&1.into(), &1.into()), "{third}");
    assert_eq!(tiered(target.path()), exported(data.path()));

    // As if it had been killed while it exported a day again: the day's note is not written, one file is half there
    // and one is left over.
    let day = target.path().join("plant=Works%201/line=Filling/date=2023-11-25");
    let note = target.path().join("_sightglass/plant=Works%201/line=Filling/date=2023-11-25.json");
    std::fs::remove_file(&note).expect("removed");
    std::fs::write(day.join("part-0000.parquet"), "half").expect("written");
    std::fs::write(day.join("part-0001.parquet"), "left over").expect("written");
    std::fs::write(day.join("part-0002.parquet.partial"), "begun").expect("written");
    let fourth = pass(data.path(), out);
    assert_eq!(fourth["days"], 1, "{fourth}");
    assert_eq!(tiered(target.path()), exported(data.path()));
    assert!(note.exists());

    // Another plant in the same target leaves this one's alone.
    let other = tempfile::tempdir().expect("a folder");
    record(other.path(), "Works 2", &past(&days()));
    assert_eq!(pass(other.path(), out)["days"], 6);
    assert_eq!(tiered(target.path()).len(), 12);
    assert_eq!(pass(data.path(), out)["days"], 0);
}

#[test]
fn days_are_tiered_while_an_engine_records_and_today_has_to_wait() {
    let data = tempfile::tempdir().expect("a folder");
    let target = tempfile::tempdir().expect("a folder");
    let out = target.path().to_str().expect("text");
    record(data.path(), "Works 1", &past(&days()));
    run(async {
        let recording = History::open(data.path(), &plant("Works 1")).await.expect("the history opens");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("the clock is right");
        let now = i64::try_from(now.as_nanos()).expect("the clock is right");
        recording.append(&[sample(0, now, 1.0)]).await.expect("recorded");
        let passed = pass(data.path(), out);
        assert_eq!((&passed["days"], &passed["days_waiting"]), (&6.into(), &2.into()), "{passed}");
        recording.append(&[sample(0, now + 1, 1.0)]).await.expect("still recorded");
        recording.close().await.expect("closed");
    });
}

#[test]
fn a_day_that_has_fewer_samples_than_its_target_is_left_as_it_is_there() {
    let data = tempfile::tempdir().expect("a folder");
    let target = tempfile::tempdir().expect("a folder");
    let out = target.path().to_str().expect("text");
    record(data.path(), "Works 1", &past(&days()));
    pass(data.path(), out);
    let before = tiered(target.path());
    // The PC was set up anew, and has only an hour of that day.
    let anew = tempfile::tempdir().expect("a folder");
    record(anew.path(), "Works 1", &past(&days()[..60]));
    let output = ran(sightglass().arg("export").arg(anew.path()).args(["--follow", "--once", "--out", out]));
    assert_eq!(well(&output)[0]["days"], 0);
    assert!(stderr(&output).contains("left as it is"), "{}", stderr(&output));
    assert_eq!(tiered(target.path()), before);
}

/// A server that speaks S3, on a port of its own, which ends with its test.
struct S3 {
    server: Child,
    address: String,
}

impl S3 {
    fn start(python: &Path) -> Self {
        let script = "import sys\n\
            from moto.server import ThreadedMotoServer\n\
            server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)\n\
            server.start()\n\
            host, port = server.get_host_and_port()\n\
            print(f'ADDRESS http://{host}:{port}', flush=True)\n\
            sys.stdin.read()\n";
        let mut server = Command::new(python)
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let said = BufReader::new(server.stdout.take().expect("its output")).lines();
        let address = said.map_while(Result::ok).find_map(|line| line.strip_prefix("ADDRESS ").map(str::to_owned));
        Self { server, address: address.expect("the server says its address") }
    }

    fn keys(&self, command: &mut Command) -> std::process::Output {
        command
            .env("AWS_ENDPOINT_URL", &self.address)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "us-east-1")
            .output()
            .expect("the program starts")
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // Already ended is fine.
        if self.server.kill().is_ok() {
            let _ = self.server.wait();
        }
    }
}

#[test]
fn a_store_that_speaks_s3_has_what_a_plain_export_writes() {
    let Some(python) = python() else { return };
    let server = S3::start(&python);
    let boto = |script: &str| {
        let script = format!(
            "import boto3, json, hashlib, os\n\
             s3 = boto3.client('s3', endpoint_url=os.environ['AWS_ENDPOINT_URL'])\n{script}"
        );
        let output = server.keys(Command::new(&python).args(["-c", &script]).stdin(Stdio::null()));
        assert!(output.status.success(), "{}", stderr(&output));
        output.stdout
    };
    boto("s3.create_bucket(Bucket='site')");
    let data = tempfile::tempdir().expect("a folder");
    record(data.path(), "Works 1", &past(&days()));
    let pass = || {
        let target = "s3://site/all plants";
        well(&server.keys(sightglass().arg("export").arg(data.path()).args(["--follow", "--once", "--out", target])))
            .remove(0)
    };
    let first = pass();
    assert_eq!(first["days"], 6, "{first}");
    let second = pass();
    assert_eq!((&second["days"], &second["days_unchanged"]), (&0.into(), &6.into()), "{second}");
    record(data.path(), "Works 1", &past(&[sample(0, START + 11, 7.0)]));
    assert_eq!(pass()["days_changed"], 1);

    let held: std::collections::BTreeMap<String, String> = serde_json::from_slice(&boto(
        "found = {}\n\
         for item in s3.list_objects_v2(Bucket='site')['Contents']:\n\
         \x20   body = s3.get_object(Bucket='site', Key=item['Key'])['Body'].read()\n\
         \x20   found[item['Key']] = hashlib.sha256(body).hexdigest()\n\
         print(json.dumps(found))",
    ))
    .expect("JSON");
    let hash = |content: &[u8]| {
        use sha2::Digest;
        sha2::Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let samples: std::collections::BTreeMap<String, String> = held
        .iter()
        .filter(|(key, _)| key.contains("/plant="))
        .filter(|(key, _)| !key.contains("_sightglass"))
        .map(|(key, hash)| (key.clone(), hash.clone()))
        .collect();
    let expected = exported(data.path());
    let expected: std::collections::BTreeMap<String, String> =
        expected.iter().map(|(name, content)| (format!("all plants/{name}"), hash(content))).collect();
    assert_eq!(samples, expected);
    assert_eq!(held.len(), 12, "a note a line and day: {held:?}");

    let elsewhere = ran(sightglass()
        .arg("export")
        .arg(data.path())
        .args(["--follow", "--once", "--out", "s3://site/x"])
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test"));
    assert_eq!(elsewhere.status.code(), Some(2));
    assert!(stderr(&elsewhere).contains("s3://site/x"), "{}", stderr(&elsewhere));
}

#[test]
fn what_retention_has_begun_to_delete_is_not_exported_again() {
    let data = tempfile::tempdir().expect("a folder");
    let target = tempfile::tempdir().expect("a folder");
    let out = target.path().to_str().expect("text");
    record(data.path(), "Works 1", &past(&days()));
    pass(data.path(), out);
    let before = tiered(target.path());
    run(async {
        let history = History::open(data.path(), &plant("Works 1")).await.expect("the history opens");
        let newest = past(&days()).iter().map(|sample| sample.time).max().expect("samples");
        let keep = sightglass_history::Keep {
            samples: sightglass_history::Budget { days: Some(1), bytes: None },
            ..Default::default()
        };
        history.apply_retention(UtcNanos(newest.0 + 20 * 86_400 * SECOND), keep).await.expect("retention");
        history.close().await.expect("closed");
    });
    pass(data.path(), out);
    assert_eq!(tiered(target.path()), before);
}
