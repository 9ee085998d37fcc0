//! Samples from CSV and Parquet files, good and bad.

use std::{fs, path::Path, sync::Arc};

use parquet::{
    column::writer::ColumnWriter,
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use sightglass_ingest::{IngestError, LinePipeline, PipelineOptions, TROUBLES_PER_FILE_MAX};
use sightglass_plant::{SampleFile, SampleFormat, SampleLayout, SourceKind};
use sightglass_protocol::{HealthState, LineId, Quality, UtcNanos, time::SECOND};

use crate::plants::{Outcome, at, csv_file, plant, run, with_tags};

fn read_csv(text: &str, separator: u8, tags: &[&str], options: PipelineOptions) -> Outcome {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.csv");
    fs::write(&path, text).expect("a file");
    run(&with_tags(plant(), csv_file(vec![path], separator), tags), options, None)
}

fn read(text: &str) -> Outcome {
    read_csv(text, b';', &["a", "b"], PipelineOptions::default())
}

fn values(outcome: &Outcome, tag: u32) -> Vec<(f64, Quality)> {
    let of_tag = outcome.samples.iter().filter(|sample| sample.tag.0 == tag);
    of_tag.map(|sample| (sample.time.seconds(), sample.quality)).collect()
}

#[test]
fn a_file_becomes_samples_and_ticks() {
    let text = "\u{feff}time; a ;b;c\r\n2020-03-09 10:14:33;1.5;2;x\r\n2020-03-09T10:14:34Z;-1e3;3;\r\n\r\n";
    let outcome = read(text);
    let start = "2020-03-09T10:14:33Z".parse::<UtcNanos>().expect("a time");
    let got: Vec<_> = outcome.samples.iter().map(|s| (s.tag.0, s.time, s.value, s.quality)).collect();
    let good = Quality::Good;
    let next = start + SECOND;
    assert_eq!(got, [(0, start, 1.5, good), (1, start, 2.0, good), (0, next, -1000.0, good), (1, next, 3.0, good)]);
    let ticks: Vec<_> = outcome.ticks.iter().map(|t| (t.index, t.time, t.tags[0].value, t.tags[1].value)).collect();
    assert_eq!(ticks, [(0, start, 1.5, 2.0), (1, next, -1000.0, 3.0)]);
    assert_eq!(outcome.health.len(), 1, "{}", outcome.reasons());
    assert_eq!(outcome.health[0].state, HealthState::Good);
    assert!(outcome.health[0].reason.contains("2 rows"), "{}", outcome.reasons());
}

#[test]
fn a_missing_column_is_an_error_that_lists_the_columns() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.csv");
    fs::write(&path, "time,pressure\n1,2\n").expect("a file");
    let plant = with_tags(plant(), csv_file(vec![path.clone()], b','), &["pressure", "flow"]);
    let error = LinePipeline::start(&plant, LineId(0), PipelineOptions::default(), None).err().expect("an error");
    let text = error.to_string();
    assert!(text.contains("'flow'") && text.contains("'time', 'pressure'"), "{text}");
    assert!(text.contains(&path.display().to_string()), "{text}");
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let plant = with_tags(plant(), csv_file(vec!["/nowhere/run.csv".into()], b','), &["a"]);
    let error = LinePipeline::start(&plant, LineId(0), PipelineOptions::default(), None).err().expect("an error");
    assert!(matches!(error, IngestError::SampleFile { .. }));
    assert!(error.to_string().contains("/nowhere/run.csv"), "{error}");
}

#[test]
fn an_empty_cell_is_missing_and_nan_is_bad() {
    let outcome = read("time;a;b\n1;;1\n2;NaN;1\n3;inf;1\n4;7;1\n");
    let (missing, bad, good) = (Quality::Missing, Quality::Bad, Quality::Good);
    assert_eq!(values(&outcome, 0), [(1.0, missing), (2.0, bad), (3.0, bad), (4.0, good)]);
    assert!(outcome.samples.iter().filter(|s| !s.quality.is_usable()).all(|s| s.value.is_nan()));
    assert_eq!(outcome.ticks[0].tags[0].quality, missing);
    let reasons = outcome.reasons();
    for place in ["run.csv, line 2: 'a' is empty", "run.csv, line 3: 'a' is 'NaN'", "run.csv, line 4: 'a' is 'inf'"] {
        assert!(reasons.contains(place), "{reasons}");
    }
}

#[test]
fn a_decimal_comma_is_bad_and_told_with_its_line() {
    let outcome = read("time;a;b\n1;1,5;1\n2;2.5;1\n");
    assert_eq!(values(&outcome, 0), [(1.0, Quality::Bad), (2.0, Quality::Good)]);
    let reasons = outcome.reasons();
    assert!(reasons.contains("line 2: 'a' is '1,5', a decimal comma; write a point"), "{reasons}");
    let outcome = read_csv("time,a,b\n1,1,5,1\n2,2.5,1\n", b',', &["a", "b"], PipelineOptions::default());
    assert_eq!(values(&outcome, 0), [(2.0, Quality::Good)]);
    let reasons = outcome.reasons();
    assert!(reasons.contains("line 2: 4 fields where the header has 3 (a decimal comma"), "{reasons}");
}

#[test]
fn nonsense_is_left_out_and_the_rest_goes_on() {
    let text = "time;a;b\n1;1;1\n#!$ nonsense\nyesterday;1;1\n2;\"1;1\n3;3\n4;4;4;4\n\u{1}\u{2}\n5;5;5\n";
    let mut bytes = text.as_bytes().to_vec();
    bytes.extend_from_slice(b"6;\xff\xfe;6\n7;7;7\n");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.csv");
    fs::write(&path, bytes).expect("a file");
    let plant = with_tags(plant(), csv_file(vec![path], b';'), &["a", "b"]);
    let outcome = run(&plant, PipelineOptions::default(), None);
    let times: Vec<_> = values(&outcome, 1).iter().map(|(time, _)| *time).collect();
    assert_eq!(times, [1.0, 5.0, 7.0]);
    let reasons = outcome.reasons();
    for line in [3, 4, 5, 6, 7, 8, 10] {
        assert!(reasons.contains(&format!("run.csv, line {line}: ")), "line {line} in {reasons}");
    }
    assert!(reasons.contains("'yesterday' is not a time"), "{reasons}");
}

#[test]
fn a_time_that_goes_back_is_left_out() {
    let outcome = read("time;a;b\n10;1;1\n9;2;2\n10;3;3\n11;4;4\n");
    let kept: Vec<_> = outcome.samples.iter().filter(|s| s.tag.0 == 0).map(|s| s.value).collect();
    assert_eq!(kept, [1.0, 3.0, 4.0]);
    assert!(outcome.reasons().contains("line 3: the time 1970-01-01T00:00:09Z goes back"), "{}", outcome.reasons());
    assert_eq!(outcome.ticks.len(), 2);
}

#[test]
fn many_troubles_of_one_file_are_told_by_their_number() {
    let rows: String = (0..100).map(|second| format!("{second};x;1\n")).collect();
    let outcome = read(&format!("time;a;b\n{rows}"));
    let of_the_file = outcome.health.iter().filter(|health| health.subject.is_none()).count();
    assert_eq!(of_the_file, TROUBLES_PER_FILE_MAX + 2, "{}", outcome.reasons());
    assert!(outcome.reasons().contains("80 more lines with trouble"), "{}", outcome.reasons());
    assert_eq!(outcome.ticks.len(), 100);
}

#[test]
fn a_file_without_a_usable_row_is_a_failure_of_its_own() {
    let outcome = read("time;a;b\n");
    assert_eq!(outcome.health.iter().map(|h| h.state).collect::<Vec<_>>(), [HealthState::Failure]);
    assert_eq!(outcome.ticks.len(), 0);
}

#[test]
fn several_files_follow_each_other_and_from_and_to_cut_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let paths = [0, 5].map(|first: i64| {
        let rows: String = (first..first + 5).map(|second| format!("{second},{second}\n")).collect();
        let path = dir.path().join(format!("{first}.csv"));
        fs::write(&path, format!("time,a\n{rows}")).expect("a file");
        path
    });
    let plant = with_tags(plant(), csv_file(paths.to_vec(), b','), &["a"]);
    let whole = run(&plant, PipelineOptions::default(), None);
    assert_eq!(whole.samples.len(), 10);
    let options = PipelineOptions { from: Some(at(3.0)), to: Some(at(6.0)), ..Default::default() };
    let part = run(&plant, options, None);
    let kept: Vec<_> = part.samples.iter().map(|s| s.value).collect();
    assert_eq!(kept, [3.0, 4.0, 5.0, 6.0]);
    assert_eq!(part.ticks.first().map(|tick| (tick.index, tick.time)), Some((0, at(3.0))));
}

fn write_parquet(path: &Path, schema: &str, times: &[i64], values: &[Option<f64>]) {
    let schema = Arc::new(parse_message_type(schema).expect("a schema"));
    let file = fs::File::create(path).expect("a file");
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(file, schema, properties).expect("a writer");
    let mut group = writer.next_row_group().expect("a row group");
    while let Some(mut column) = group.next_column().expect("a column") {
        match column.untyped() {
            ColumnWriter::Int64ColumnWriter(column) => column.write_batch(times, None, None),
            ColumnWriter::DoubleColumnWriter(column) => {
                let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
                let present: Vec<f64> = values.iter().flatten().copied().collect();
                column.write_batch(&present, Some(&levels), None)
            }
            _ => panic!("not in the schema"),
        }
        .expect("values");
        column.close().expect("a column");
    }
    group.close().expect("a row group");
    writer.close().expect("a file");
}

#[test]
fn parquet_gives_samples_where_something_was_recorded() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.parquet");
    let times = [SECOND, 2 * SECOND, 3 * SECOND, 2 * SECOND + 1];
    let values = [Some(1.5), None, Some(f64::NAN), Some(4.0)];
    for (unit, per_second) in [("NANOS", SECOND), ("MICROS", 1_000_000), ("MILLIS", 1_000)] {
        let schema = format!("message m {{ OPTIONAL DOUBLE a; REQUIRED INT64 time (TIMESTAMP({unit},true)); }}");
        write_parquet(&path, &schema, &times.map(|time| time / (SECOND / per_second)), &values);
        let file = SampleFile {
            paths: vec![path.clone()],
            format: SampleFormat::Parquet,
            layout: SampleLayout::Wide,
            time_column: "time".to_owned(),
        };
        let outcome = run(&with_tags(plant(), SourceKind::File(file), &["a"]), PipelineOptions::default(), None);
        let got: Vec<_> = outcome.samples.iter().map(|s| (s.time.0, s.quality)).collect();
        assert_eq!(got, [(SECOND, Quality::Good), (3 * SECOND, Quality::Bad)], "{unit}");
        assert_eq!(outcome.samples[0].value, 1.5);
        let reasons = outcome.reasons();
        assert!(reasons.contains("row 3: 'a' is NaN") && reasons.contains("row 4: the time"), "{reasons}");
    }
}

#[test]
fn a_parquet_file_that_is_cut_is_an_error() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.parquet");
    let schema = "message m { REQUIRED INT64 time; OPTIONAL DOUBLE a; }";
    write_parquet(&path, schema, &[1, 2], &[Some(1.0), Some(2.0)]);
    let whole = fs::read(&path).expect("the file");
    fs::write(&path, &whole[..whole.len() - 7]).expect("the file");
    let file = SampleFile {
        paths: vec![path],
        format: SampleFormat::Parquet,
        layout: SampleLayout::Wide,
        time_column: "time".to_owned(),
    };
    let plant = with_tags(plant(), SourceKind::File(file), &["a"]);
    let error = LinePipeline::start(&plant, LineId(0), PipelineOptions::default(), None).err().expect("an error");
    assert!(error.to_string().contains("not a whole Parquet file"), "{error}");
}

#[test]
fn a_long_file_gives_one_sample_a_row_as_it_was_recorded() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.csv");
    let text = "tag,time,value,quality\na,1970-01-01T00:00:01Z,1.5,good\nb,1970-01-01T00:00:01Z,-2,uncertain\n\
                other,1970-01-01T00:00:01Z,9,good\na,1970-01-01T00:00:02Z,,missing\na,1970-01-01T00:00:02Z,3,bad\n\
                b,1970-01-01T00:00:03.000000001Z,inf,good\n";
    fs::write(&path, text).expect("a file");
    let long = |columns: &str| SampleFile {
        paths: vec![path.clone()],
        format: SampleFormat::Csv { separator: b',' },
        layout: SampleLayout::Long,
        time_column: columns.to_owned(),
    };
    let of = |file: SampleFile| with_tags(plant(), SourceKind::File(file), &["a", "b"]);
    let outcome = run(&of(long("time")), PipelineOptions::default(), None);
    let got: Vec<_> = outcome.samples.iter().map(|s| (s.tag.0, s.time.0, s.quality)).collect();
    let expected = [
        (0, SECOND, Quality::Good),
        (1, SECOND, Quality::Uncertain),
        (0, 2 * SECOND, Quality::Missing),
        (0, 2 * SECOND, Quality::Bad),
        (1, 3 * SECOND + 1, Quality::Good),
    ];
    assert_eq!(got, expected);
    assert!(outcome.samples[2].value.is_nan());
    assert_eq!((outcome.samples[3].value, outcome.samples[4].value), (3.0, f64::INFINITY));
    assert_eq!(outcome.reasons().matches("line").count(), 0, "what was recorded is no trouble: {}", outcome.reasons());
    // Of two samples at one time the later one counts, as it did when they came.
    assert_eq!(outcome.ticks[1].tags[0].value, 3.0);

    let error = LinePipeline::start(&of(long("when")), LineId(0), PipelineOptions::default(), None);
    let error = error.err().expect("an error").to_string();
    assert!(error.contains("no column 'when'") && error.contains("'quality'"), "{error}");
}
