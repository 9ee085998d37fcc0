use polars::prelude::*;
use sightglass_history::{ExportFormat, ExportRequest, align, resample, samples_frame, write_wide_parquet};
use sightglass_protocol::{Quality, Sample, TagId, UtcNanos, time::SECOND};

use crate::{START, at, folder, open, run, sample};

fn read(path: &std::path::Path) -> DataFrame {
    ParquetReader::new(std::fs::File::open(path).unwrap()).finish().unwrap()
}

fn everything() -> ExportRequest {
    ExportRequest::range(UtcNanos::MIN, UtcNanos::MAX)
}

#[test]
fn an_export_has_every_sample_in_its_plant_line_and_day() {
    run(async {
        let dir = folder();
        let out = folder();
        let history = open(&dir).await;
        let mut samples = Vec::new();
        // From 16 h before midnight to 8 h after it.
        for minute in 0..24 * 60 {
            let time = START + minute * 60 * SECOND;
            samples.push(sample(0, time, minute as f64));
            samples.push(sample(3, time + 1, -1.0));
            if minute % 100 == 0 {
                samples.push(Sample { quality: Quality::Bad, ..sample(1, time, f64::NAN) });
            }
        }
        history.append(&samples).await.unwrap();
        history.merge(at(40_000)).await.unwrap();
        let stats = history.export(&everything(), out.path(), |_| ()).await.unwrap();
        assert_eq!(stats.samples as usize, samples.len());
        assert_eq!(stats.files, 4);
        let part = |line: &str, date: &str| {
            read(&out.path().join(format!("plant=Works%201/line={line}/date={date}/part-0000.parquet")))
        };
        let (first, second) = (part("Filling", "2026-11-24"), part("Filling", "2026-11-25"));
        let boxes = [part("Packing%20%2F%202", "2026-11-24"), part("Packing%20%2F%202", "2026-11-25")];
        assert_eq!(first.height() + second.height() + boxes[0].height() + boxes[1].height(), samples.len());
        let sum = |table: &DataFrame| table.column("value").unwrap().f64().unwrap().sum().unwrap_or(0.0);
        assert_eq!(sum(&first) + sum(&second), (0..24 * 60).sum::<i64>() as f64);
        assert_eq!(sum(&boxes[0]) + sum(&boxes[1]), -24.0 * 60.0);
        let names: Vec<_> = first.get_column_names().iter().map(|name| name.to_string()).collect();
        assert_eq!(names, ["tag", "time", "value", "quality"]);
        let time = first.column("time").unwrap();
        assert!(matches!(time.dtype(), DataType::Datetime(TimeUnit::Nanoseconds, _)), "{:?}", time.dtype());
        let last = time.datetime().unwrap().physical().get(first.height() - 1);
        assert_eq!(last, Some(START + (16 * 60 - 1) * 60 * SECOND));
        let tags = first.column("tag").unwrap().str().unwrap();
        assert_eq!((tags.get(0), tags.get(first.height() - 1)), (Some("level"), Some("pressure")));
        assert_eq!(first.column("quality").unwrap().str().unwrap().get(0), Some("bad"));
        assert_eq!(first.column("value").unwrap().f64().unwrap().get(0), None, "NaN is no value");
        // Again over the same folder: the same files.
        let again = history.export(&everything(), out.path(), |_| ()).await.unwrap();
        assert_eq!((again.samples, again.files), (stats.samples, stats.files));
    });
}

/// Every file below a folder, by its path there.
fn files(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_csv_export_has_full_times_and_nothing_where_there_is_no_number() {
    run(async {
        let dir = folder();
        let out = folder();
        let history = open(&dir).await;
        let samples = [
            sample(0, START, 0.1),
            sample(0, START + 1, f64::INFINITY),
            Sample { quality: Quality::Missing, ..sample(0, START + 2, f64::NAN) },
            sample(3, START, 1e300),
        ];
        history.append(&samples).await.unwrap();
        let request = ExportRequest { format: ExportFormat::Csv, line: Some("Filling".to_owned()), ..everything() };
        history.export(&request, out.path(), |_| ()).await.unwrap();
        let path = "plant=Works%201/line=Filling/date=2026-11-24/part-0000.csv";
        assert_eq!(files(out.path()), [path]);
        assert_eq!(
            std::fs::read_to_string(out.path().join(path)).unwrap(),
            "tag,time,value,quality\n\
             pressure,2026-11-24T08:00:00.000000000Z,0.1,good\n\
             pressure,2026-11-24T08:00:00.000000001Z,inf,good\n\
             pressure,2026-11-24T08:00:00.000000002Z,,missing\n"
        );
    });
}

#[test]
fn an_export_has_only_the_tags_that_were_asked_for_and_says_which_there_are() {
    run(async {
        let dir = folder();
        let out = folder();
        let history = open(&dir).await;
        history.append(&[sample(0, START, 1.0), sample(1, START, 2.0), sample(3, START, 3.0)]).await.unwrap();
        let of = |names: &[&str]| ExportRequest {
            tags: Some(names.iter().map(|name| (*name).to_owned()).collect()),
            ..everything()
        };
        let stats = history.export(&of(&["level", "boxes"]), out.path(), |_| ()).await.unwrap();
        assert_eq!((stats.samples, stats.files), (2, 2));
        let refused = history.export(&of(&["lvel"]), out.path(), |_| ()).await.unwrap_err().to_string();
        assert!(refused.contains("'lvel'") && refused.contains("'level'"), "{refused}");
        let line = ExportRequest { line: Some("Fill".to_owned()), ..everything() };
        let refused = history.export(&line, out.path(), |_| ()).await.unwrap_err().to_string();
        assert!(refused.contains("'Fill'") && refused.contains("'Filling'"), "{refused}");
        let nothing = ExportRequest::range(at(10), at(20));
        let stats = history.export(&nothing, out.path(), |_| ()).await.unwrap();
        assert_eq!((stats.samples, stats.files), (0, 0));
    });
}

#[test]
fn a_large_day_comes_in_several_files_and_a_later_export_leaves_none_of_them_over() {
    run(async {
        let dir = folder();
        let out = folder();
        let history = open(&dir).await;
        // More than 2^20 samples within one day.
        let samples: Vec<Sample> =
            (0..1_400_000).map(|n| sample(0, START + n * 10_000_000, (n % 100) as f64)).collect();
        history.append(&samples).await.unwrap();
        let mut told = Vec::new();
        let day = ExportRequest::range(at(0), at(14_000));
        let stats = history.export(&day, out.path(), |samples| told.push(samples)).await.unwrap();
        assert_eq!((stats.samples, stats.files), (1_400_000, 2));
        assert!(told.is_sorted() && told.last().is_some_and(|last| *last > 0), "{told:?}");
        let mut rows = 0;
        for path in files(out.path()) {
            let table = read(&out.path().join(path));
            let times = table.column("time").unwrap().datetime().unwrap().physical().clone();
            assert!(times.iter().is_sorted());
            rows += table.height();
        }
        assert_eq!(rows, 1_400_000);
        let fewer = ExportRequest::range(UtcNanos(START), UtcNanos(START + 1_000_000_000));
        history.export(&fewer, out.path(), |_| ()).await.unwrap();
        assert_eq!(files(out.path()), ["plant=Works%201/line=Filling/date=2026-11-24/part-0000.parquet"]);
    });
}

#[test]
fn an_export_that_fails_leaves_no_file_that_looks_whole() {
    run(async {
        let dir = folder();
        let out = folder();
        let history = open(&dir).await;
        history.append(&[sample(0, START, 1.0), sample(1, START + 1, 2.0)]).await.unwrap();
        // A folder stands where the file is to get its name.
        let in_the_way = out.path().join("plant=Works%201/line=Filling/date=2026-11-24/part-0000.parquet/x");
        std::fs::create_dir_all(&in_the_way).unwrap();
        let error = history.export(&everything(), out.path(), |_| ()).await.unwrap_err().to_string();
        assert!(error.contains("part-0000.parquet"), "{error}");
        assert_eq!(files(out.path()), Vec::<String>::new(), "what was begun is removed");
    });
}

#[test]
fn a_wide_table_has_one_row_a_time_and_nothing_where_nothing_was() {
    let dir = folder();
    let path = dir.path().join("run.parquet");
    let samples = [
        sample(1, START + 5, 2.0),
        sample(0, START, 1.0),
        sample(0, START + 5, 3.0),
        Sample { quality: Quality::Bad, ..sample(1, START, 9.0) },
    ];
    let names = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
    write_wide_parquet(&path, &names, &samples).unwrap();
    let table = read(&path);
    assert_eq!(table.shape(), (2, 4));
    let column = |name: &str| table.column(name).unwrap().f64().unwrap().iter().collect::<Vec<_>>();
    assert_eq!(column("a"), [Some(1.0), Some(3.0)]);
    assert_eq!(column("b"), [None, Some(2.0)]);
    assert_eq!(column("c"), [None, None]);
    assert!(write_wide_parquet(&path, &names[..1], &samples).is_err());
    assert_eq!(read(&path).width(), 4, "what was there stays");
}

#[test]
fn tags_come_onto_one_time_axis_and_old_values_are_not_carried_on() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history
            .append(&[
                sample(0, at(0).0, 1.0),
                sample(0, at(2).0, 2.0),
                sample(1, at(1).0 + 1, 10.0),
                Sample { quality: Quality::Bad, ..sample(1, at(3).0, 99.0) },
                sample(0, at(7).0, 3.0),
            ])
            .await
            .unwrap();
        let mut frames = Vec::new();
        for (tag, name) in [(0, "pressure"), (1, "level")] {
            frames.push((name.to_owned(), samples_frame(&history, TagId(tag), at(0), at(10)).await.unwrap()));
        }
        let table = align(frames, at(0), at(7), SECOND, 2 * SECOND).unwrap().collect().unwrap();
        let column = |name: &str| table.column(name).unwrap().f64().unwrap().iter().collect::<Vec<_>>();
        let (one, two, three, ten) = (Some(1.0), Some(2.0), Some(3.0), Some(10.0));
        assert_eq!(column("pressure"), [one, one, two, two, two, None, None, three]);
        assert_eq!(column("level"), [None, None, ten, None, None, None, None, None]);
        assert!(align(Vec::new(), at(0), at(7), 0, 1).is_err());

        let frame = samples_frame(&history, TagId(0), at(0), at(10)).await.unwrap();
        let table = resample(frame, 5 * SECOND).collect().unwrap();
        let column = |name: &str| table.column(name).unwrap().f64().unwrap().iter().collect::<Vec<_>>();
        assert_eq!(column("mean"), [Some(1.5), Some(3.0)]);
        assert_eq!(column("max"), [Some(2.0), Some(3.0)]);
    });
}
