//! `sightglass import`: what other programs recorded.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sightglass_history::History;
use sightglass_protocol::{Quality, Sample, TagId, UtcNanos};

use crate::{PLANT, ran, run, sightglass, stderr, stdout, well};

/// A folder with a plant's description, for the files of a test.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("plant.toml"), PLANT).expect("written");
        Self(folder)
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).expect("written");
        path
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("d")
    }

    fn import(&self, files: &[&Path], options: &[&str]) -> std::process::Output {
        let mut command = sightglass();
        command.arg("import").args(files).arg("--data").arg(self.data()).arg("--plant");
        ran(command.arg(self.0.path().join("plant.toml")).args(options).env("USER", "the engineer"))
    }

    fn imported(&self, files: &[&Path], options: &[&str]) -> Value {
        well(&self.import(files, &[&["--json"], options].concat())).remove(0)
    }

    /// What the history then has of a tag.
    fn held(&self, tag: u32) -> Vec<Sample> {
        run(async {
            let history = History::open_read_only(&self.data()).await.expect("the history opens");
            history.raw(TagId(tag), UtcNanos::MIN, UtcNanos::MAX).await.expect("samples")
        })
    }
}

fn seen(samples: &[Sample]) -> Vec<(String, f64, Quality)> {
    samples.iter().map(|sample| (sample.time.to_string(), sample.value, sample.quality)).collect()
}

#[test]
fn wide_and_long_files_are_taken_in_and_again_they_change_nothing() {
    let files = Files::new();
    let wide = files.put("wide.csv", "time,pressure,level\n2026-01-02T00:00:01Z,1.5,\n2026-01-02T00:00:00Z,1,50\n");
    let long = files.put(
        "long.csv",
        "\u{feff}Timestamp;Tag;Value;Quality\n2026-01-02 00:00:02;boxes;1,25;good\n2026-01-02 00:00:03;boxes;;192\n\
         2026-01-02 00:00:04;boxes;3;Uncertain\n",
    );
    let dry = files.imported(&[&wide, &long], &["--dry-run"]);
    assert_eq!((&dry["samples"], &dry["new"], &dry["imported"]), (&6.into(), &6.into(), &false.into()), "{dry}");
    assert_eq!(dry["tags"]["pressure"]["first"], "2026-01-02T00:00:00Z");
    assert!(!files.data().exists(), "a dry run makes nothing");

    let first = files.imported(&[&wide, &long], &[]);
    assert_eq!((&first["new"], &first["imported"]), (&6.into(), &true.into()), "{first}");
    let at = |second: u32| format!("2026-01-02T00:00:0{second}Z");
    assert_eq!(seen(&files.held(0)), [(at(0), 1.0, Quality::Good), (at(1), 1.5, Quality::Good)]);
    assert_eq!(files.held(1).len(), 1, "an empty cell of a wide file is no sample");
    let boxes = files.held(2);
    assert_eq!((boxes[0].value, boxes[2].quality), (1.25, Quality::Uncertain));
    assert!(boxes[1].value.is_nan() && boxes[1].quality == Quality::Missing, "{boxes:?}");

    let again = files.imported(&[&wide, &long], &[]);
    assert_eq!((&again["new"], &again["duplicate"]), (&0.into(), &6.into()), "{again}");
    assert_eq!((files.held(0).len(), files.held(2).len()), (2, 3));
    let corrected = files.put("wide.csv", "time,pressure\n2026-01-02T00:00:00Z,2\n2026-01-02T00:00:09Z,3\n");
    let dry = files.imported(&[&corrected], &["--dry-run"]);
    assert_eq!((&dry["new"], &dry["corrected"], &dry["duplicate"]), (&1.into(), &1.into(), &0.into()), "{dry}");

    let entries = run(async {
        let history = History::open_read_only(&files.data()).await.expect("the history opens");
        history.entries(UtcNanos::MIN, UtcNanos::MAX, 100).await.expect("entries")
    });
    let audit: Vec<_> = entries.iter().filter(|entry| entry.subject == "the engineer").collect();
    assert_eq!(audit.len(), 4);
    assert!(audit[3].text.contains("wide.csv") && audit[3].text.contains("sha256"), "{}", audit[3].text);
}

#[test]
fn a_map_renames_scales_and_ignores_and_strangers_are_named() {
    let files = Files::new();
    let csv = files.put("a.csv", "ts\tP 1\tComment\tlevl\n1767312000\t100\tfine\t5\n");
    let strangers = files.import(&[&csv], &[]);
    assert_eq!(strangers.status.code(), Some(2));
    let text = stderr(&strangers);
    assert!(text.contains("'P 1'") && text.contains("'Comment'") && text.contains("is it 'level'?"), "{text}");
    let map = |text: &str| files.put("map.toml", text).display().to_string();
    let good = map("ignore = [\"Comment\"]\n[columns.\"P 1\"]\ntag = \"pressure\"\nunit = \"bar\"\nscale = 0.1\n\
                    offset = -2\n[columns.levl]\ntag = \"level\"\n");
    files.imported(&[&csv], &["--map", &good]);
    assert_eq!(seen(&files.held(0)), [("2026-01-02T00:00:00Z".to_owned(), 8.0, Quality::Good)]);
    for (wrong, named) in [
        ("[columns.\"P 1\"]\ntag = \"presure\"\n", "did you mean 'pressure'"),
        ("[columns.\"P 1\"]\ntag = \"pressure\"\nunit = \"psi\"\n", "'bar'"),
        ("[columns.\"P 1\"]\ntag = \"pressure\"\nfactor = 2\n", "factor"),
        ("[columns.\"P 1\"]\ntag = \"pressure\"\nscale = 0\n", "scale"),
    ] {
        let output = files.import(&[&csv], &["--map", &map(wrong)]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        assert!(stderr(&output).contains(named), "{}", stderr(&output));
    }
}

#[test]
fn bad_lines_are_named_and_nothing_is_imported_unless_they_are_to_be_left_out() {
    let files = Files::new();
    let csv = files.put(
        "bad.csv",
        "time,pressure,level\n\
         2026-01-02T00:00:00Z,1,2\n\
         1601-01-01T00:00:00Z,1,2\n\
         2262-04-12T00:00:00Z,1,2\n\
         yesterday,1,2\n\
         2026-01-02T00:00:01Z,broken,2\n\
         2026-01-02T00:00:02Z,1,2,3\n\
         2026-01-02T00:00:03Z,\"1,2\n\
         2026-01-02T00:00:04Z,NaN,inf\n",
    );
    let dry = files.import(&[&csv], &["--dry-run"]);
    assert_eq!(dry.status.code(), Some(1));
    let text = stdout(&dry);
    for (line, why) in [
        (3, "1677-09-21"),
        (4, "2262-04-11"),
        (5, "'yesterday'"),
        (6, "'broken'"),
        (7, "4 fields"),
        (8, "quote is not closed"),
    ] {
        let place = format!("bad.csv, line {line}: ");
        let found = text.lines().find(|text| text.contains(&place)).unwrap_or_else(|| panic!("{place} in {text}"));
        assert!(found.contains(why), "{found}");
    }
    let refused = files.import(&[&csv], &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("--skip-bad"), "{}", stderr(&refused));
    assert!(files.held(0).is_empty(), "nothing was imported");
    let report = files.imported(&[&csv], &["--skip-bad"]);
    assert_eq!((&report["bad"], &report["imported"]), (&6.into(), &true.into()), "{report}");
    let (pressure, level) = (files.held(0), files.held(1));
    assert_eq!((pressure.len(), level.len()), (2, 2));
    assert!(pressure[1].value.is_nan() && pressure[1].quality == Quality::Missing);
    assert_eq!((level[1].value, level[1].quality), (f64::INFINITY, Quality::Bad));
    for (name, content) in [("empty.csv", ""), ("none.csv", "time,other\n"), ("notime.csv", "pressure\n1\n")] {
        let output = files.import(&[&files.put(name, content)], &[]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(stderr(&output).contains(name), "{}", stderr(&output));
    }
    let output = files.import(&[&files.put("half.parquet", "PAR1")], &[]);
    assert!(stderr(&output).contains("not a whole Parquet file"), "{}", stderr(&output));
}

#[test]
fn what_was_exported_is_imported_with_every_bit() {
    let samples = crate::days();
    let data = tempfile::tempdir().expect("a folder");
    crate::record(data.path(), "Works 1", &samples);
    for format in ["parquet", "csv"] {
        let out = tempfile::tempdir().expect("a folder");
        let range = ["--from", "2026-01-01", "--to", "2027-01-01"];
        let mut export = sightglass();
        well(&ran(export
            .arg("export")
            .arg(data.path())
            .args(range)
            .args(["--format", format, "--out"])
            .arg(out.path())));
        let files = Files::new();
        let parts: Vec<PathBuf> = crate::files(out.path()).iter().map(|(name, _)| out.path().join(name)).collect();
        let parts: Vec<&Path> = parts.iter().map(PathBuf::as_path).collect();
        let report = files.imported(&parts, &[]);
        assert_eq!(report["new"], samples.len(), "{format}");
        for tag in 0..3 {
            let key = |sample: &Sample| (sample.time, sample.value.to_bits());
            let mut expected: Vec<_> = samples.iter().filter(|sample| sample.tag == TagId(tag)).map(key).collect();
            expected.sort_unstable();
            assert_eq!(files.held(tag).iter().map(key).collect::<Vec<_>>(), expected, "{format}, tag {tag}");
        }
    }
}

#[test]
fn local_times_and_patterns_are_read_as_they_are_meant() {
    let files = Files::new();
    let csv = files.put("a.csv", "Zeit;pressure\n02.01.2026 01:30:00,25;1,5\n");
    let options = ["--time-column", "Zeit", "--time-format", "%d.%m.%Y %H:%M:%S,%f", "--timezone", "+01:00"];
    files.imported(&[&csv], &options);
    assert_eq!(seen(&files.held(0)), [("2026-01-02T00:30:00.25Z".to_owned(), 1.5, Quality::Good)]);
}
