use polars::prelude::*;
use sightglass_history::{
    History, ParquetFile, Shifts, align_pages, asof_events, compare_runs, csv_header, csv_lines, events_frame,
    json_lines, percentiles_by_product, percentiles_by_shift, resample_pages, samples_frame, tags_frame,
};
use sightglass_protocol::{Quality, Sample, TagId, UtcNanos, time::SECOND};

use crate::{START, at, folder, open, run, sample};

/// 2026-11-24T08:00:00Z is where the tests' time begins; this is that day's midnight.
const MIDNIGHT: i64 = -8 * 3600;

fn ramp(tag: u32, from: i64, to: i64) -> Vec<Sample> {
    (from..to).map(|second| sample(tag, at(second).0, second as f64)).collect()
}

fn floats(frame: &DataFrame, name: &str) -> Vec<Option<f64>> {
    frame.column(name).unwrap().f64().unwrap().iter().collect()
}

fn seconds(frame: &DataFrame, name: &str) -> Vec<i64> {
    let times = frame.column(name).unwrap().cast(&DataType::Int64).unwrap();
    times.i64().unwrap().iter().map(|time| (time.unwrap() - START) / SECOND).collect()
}

fn texts(frame: &DataFrame, name: &str) -> Vec<Option<String>> {
    frame.column(name).unwrap().str().unwrap().iter().map(|text| text.map(str::to_owned)).collect()
}

fn time(seconds: i64) -> Expr {
    lit(at(seconds).0).cast(DataType::Datetime(TimeUnit::Nanoseconds, None))
}

async fn collected(frame: LazyFrame) -> DataFrame {
    tokio::task::spawn_blocking(move || frame.collect()).await.unwrap().unwrap()
}

/// A day of four tags, one sample a second.
async fn a_day(history: &History) {
    for hour in 0..24 {
        let samples: Vec<_> = (0..4).flat_map(|tag| ramp(tag, hour * 3600, (hour + 1) * 3600)).collect();
        history.append(&samples).await.unwrap();
        history.merge(at((hour + 1) * 3600)).await.unwrap();
    }
}

#[test]
fn nothing_is_read_before_it_is_asked_for_and_then_only_what_is() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        a_day(&history).await;
        let all = 4 * 86_400;
        let tags: Vec<_> = (0..4).map(TagId).collect();
        let before = history.samples_decoded();
        let table = tags_frame(&history, &tags, at(0), at(86_400)).await.unwrap();
        assert_eq!(history.samples_decoded(), before, "a lazy table reads nothing");
        let narrow = table
            .clone()
            .filter(col("tag").eq(lit("level")).and(col("time").gt_eq(time(40_000))).and(col("time").lt(time(40_010))));
        let found = collected(narrow.select([col("value").sum().alias("sum"), len().alias("rows")])).await;
        assert_eq!(floats(&found, "sum"), [Some((40_000..40_010).sum::<i64>() as f64)]);
        assert_eq!(found.column("rows").unwrap().u32().unwrap().get(0), Some(10));
        let read = history.samples_decoded() - before;
        assert!(read > 0 && read <= 2 * 32_768, "{read} of {all} samples");
        // The literal on the other side, as an integer, and a tag that is not there.
        let mirrored = table.clone().filter(lit(at(40_000).0).lt_eq(col("time").cast(DataType::Int64)));
        assert_eq!(collected(mirrored).await.height(), 4 * (86_400 - 40_000));
        assert_eq!(collected(table.clone().filter(col("tag").eq(lit("nothing")))).await.height(), 0);
        // What cannot be pushed down is right all the same.
        let either = table.clone().filter(col("tag").eq(lit("level")).or(col("value").lt(lit(2.0))));
        assert_eq!(collected(either).await.height(), 86_400 + 3 * 2);
        assert_eq!(collected(table.clone().limit(5)).await.height(), 5);
        assert_eq!(collected(table.select([len()])).await.column("len").unwrap().u32().unwrap().get(0), Some(all));
    });
}

#[test]
fn values_that_are_not_usable_are_absent_in_a_frame() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        let bad = Sample { quality: Quality::Bad, ..sample(0, at(1).0, 5.0) };
        history.append(&[sample(0, at(0).0, 4.0), bad, sample(0, at(2).0, f64::NAN)]).await.unwrap();
        let frame = collected(samples_frame(&history, TagId(0), at(0), at(9)).await.unwrap()).await;
        assert_eq!((floats(&frame, "value"), seconds(&frame, "time")), (vec![Some(4.0), None, None], vec![0, 1, 2]));
        let error = samples_frame(&history, TagId(9), at(0), at(9)).await.map(|_| ()).unwrap_err();
        assert!(error.to_string().contains('9'), "{error}");
    });
}

#[test]
fn pages_align_tags_over_any_range_and_setpoints_hold() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.append(&[sample(2, at(-500).0, 70.0), sample(2, at(100_000).0, 80.0)]).await.unwrap();
        history.append(&ramp(0, 0, 10)).await.unwrap();
        history.append(&ramp(0, 100_000, 100_010)).await.unwrap();
        let tags = [TagId(0), TagId(2)];
        let mut pages = align_pages(&history, &tags, at(0), at(100_005), 5 * SECOND, 3 * SECOND).await.unwrap();
        let (mut rows, mut count) = (Vec::new(), 0);
        while let Some(page) = pages.next().await.unwrap() {
            count += 1;
            let values = floats(&page, "pressure").into_iter().zip(floats(&page, "speed set"));
            rows.extend(seconds(&page, "time").into_iter().zip(values));
        }
        assert!(count > 1, "a day at a time");
        assert_eq!(rows.len(), 20_002);
        assert_eq!(rows[0], (0, (Some(0.0), Some(70.0))));
        assert_eq!(rows[1], (5, (Some(5.0), Some(70.0))));
        assert_eq!(rows[2], (10, (Some(9.0), Some(70.0))), "one second old");
        assert_eq!(rows[3], (15, (None, Some(70.0))), "too old, but the setpoint holds");
        assert_eq!(rows[20_000], (100_000, (Some(100_000.0), Some(80.0))));
        assert_eq!(rows[20_001], (100_005, (Some(100_005.0), Some(80.0))));
        assert!(align_pages(&history, &tags, at(0), at(5), 0, 1).await.is_err());
    });
}

#[test]
fn pages_sum_up_tags_over_any_range() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.append(&ramp(0, 0, 200_000)).await.unwrap();
        let mut pages = resample_pages(&history, &[TagId(0), TagId(1)], at(5), at(199_999), 20_000 * SECOND).unwrap();
        let (mut times, mut counts, mut means) = (Vec::new(), 0, Vec::new());
        while let Some(page) = pages.next().await.unwrap() {
            times.extend(seconds(&page, "time"));
            counts += page.column("count").unwrap().cast(&DataType::Int64).unwrap().i64().unwrap().sum().unwrap_or(0);
            means.extend(floats(&page, "mean"));
        }
        assert_eq!(counts, 199_995);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 20_000), "{times:?}");
        let whole = means[3].unwrap();
        assert_eq!(whole, times[3] as f64 + 9_999.5, "the mean of a whole step of a ramp");
    });
}

#[test]
fn each_moment_knows_the_last_event_before_it() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.put_event(at(10), "batch", "A").await.unwrap();
        history.put_event(at(15), "alarm", "noise").await.unwrap();
        history.put_event(at(20), "batch", "B").await.unwrap();
        history.append(&ramp(0, 8, 23)).await.unwrap();
        let samples = samples_frame(&history, TagId(0), at(0), at(100)).await.unwrap();
        let events = events_frame(&history, at(0), at(100)).await.unwrap();
        let joined = collected(asof_events(samples.clone(), events.clone(), &["batch".to_owned()])).await;
        let batches: String =
            texts(&joined, "event_text").iter().map(|text| text.as_deref().unwrap_or("-").to_owned()).collect();
        assert_eq!(batches, "--AAAAAAAAAABBB");
        let any = collected(asof_events(samples, events, &[])).await;
        assert_eq!(texts(&any, "event_kind")[8], Some("alarm".to_owned()));
        assert_eq!(seconds(&any.slice(8, 1), "event_time"), [15]);
    });
}

#[test]
fn two_runs_are_compared_from_their_events_on() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.append(&ramp(0, 0, 100)).await.unwrap();
        history.append(&ramp(0, 1000, 1100)).await.unwrap();
        let tags = [TagId(0)];
        let compared =
            compare_runs(&history, &tags, (at(10), at(1020)), 30 * SECOND, 10 * SECOND, SECOND).await.unwrap();
        let compared = collected(compared).await;
        assert_eq!(floats(&compared, "offset_s"), [0.0, 10.0, 20.0, 30.0].map(Some));
        assert_eq!(floats(&compared, "pressure first"), [10.0, 20.0, 30.0, 40.0].map(Some));
        assert_eq!(floats(&compared, "pressure second"), [1020.0, 1030.0, 1040.0, 1050.0].map(Some));
        assert_eq!(floats(&compared, "pressure difference"), [1010.0; 4].map(Some));
        assert!(compare_runs(&history, &tags, (at(0), at(1)), 1 << 40, 1, 1).await.is_err());
    });
}

#[test]
fn percentiles_by_shift_follow_the_places_own_time() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        // From midnight to midnight, the value is the hour; one a minute.
        let samples: Vec<_> =
            (0..24 * 60).map(|minute| sample(0, at(MIDNIGHT + minute * 60).0, (minute / 60) as f64)).collect();
        history.append(&samples).await.unwrap();
        let shifts = Shifts::three_by_eight("Europe/Berlin").unwrap();
        let (from, to) = (at(MIDNIGHT), at(MIDNIGHT + 86_400));
        let frame = percentiles_by_shift(&history, &[TagId(0)], from, to, &shifts, &[0.0, 50.0, 100.0]).await.unwrap();
        let frame = collected(frame).await;
        // Berlin is an hour ahead in November: its shifts change at 5, 13 and 21 UTC.
        let names: Vec<_> = texts(&frame, "shift").into_iter().flatten().collect();
        assert_eq!(names, ["night", "early", "late", "night"]);
        let starts: Vec<_> = seconds(&frame, "from").iter().map(|from| (from - MIDNIGHT) / 3600).collect();
        assert_eq!(starts, [-3, 5, 13, 21]);
        assert_eq!(floats(&frame, "p0"), [0.0, 5.0, 13.0, 21.0].map(Some));
        assert_eq!(floats(&frame, "p50"), [2.0, 8.5, 16.5, 22.0].map(Some));
        assert_eq!(floats(&frame, "p100"), [4.0, 12.0, 20.0, 23.0].map(Some));
        assert!(Shifts::three_by_eight("Nowhere/Land").is_err());
        assert!(Shifts::parse("UTC", &["25:00=x"]).is_err());
        assert!(percentiles_by_shift(&history, &[TagId(0)], from, to, &shifts, &[101.0]).await.is_err());
    });
}

#[test]
fn a_shift_is_as_long_as_its_clock_says_when_the_clocks_change() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        // 2026-10-25T01:00:00Z: Berlin goes from summer to winter time. One sample a minute over that night.
        let night: UtcNanos = "2026-10-24T20:00:00Z".parse().unwrap();
        let samples: Vec<_> = (0..9 * 60).map(|minute| sample(0, (night + minute * 60 * SECOND).0, 1.0)).collect();
        history.append(&samples).await.unwrap();
        let shifts = Shifts::three_by_eight("Europe/Berlin").unwrap();
        let (from, to) = (night, night + 86_400 * SECOND);
        let frame = percentiles_by_shift(&history, &[TagId(0)], from, to, &shifts, &[50.0]).await.unwrap();
        let frame = collected(frame).await;
        let counts: Vec<_> = frame.column("count").unwrap().u64().unwrap().iter().flatten().collect();
        assert_eq!(counts, [9 * 60], "nine hours in one night shift");
    });
}

#[test]
fn percentiles_by_product_take_all_of_its_time() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history
            .append(&[sample(2, at(-10).0, 1.0), sample(2, at(50).0, 2.0), sample(2, at(100).0, 1.0)])
            .await
            .unwrap();
        history.append(&ramp(0, 0, 150)).await.unwrap();
        let frame =
            percentiles_by_product(&history, &[TagId(0)], at(0), at(200), TagId(2), &[0.0, 100.0]).await.unwrap();
        let frame = collected(frame).await;
        assert_eq!(texts(&frame, "product"), [Some("1".to_owned()), Some("2".to_owned())]);
        let counts: Vec<_> = frame.column("count").unwrap().u64().unwrap().iter().flatten().collect();
        assert_eq!(counts, [100, 50]);
        assert_eq!(
            (floats(&frame, "p0"), floats(&frame, "p100")),
            (vec![Some(0.0), Some(50.0)], vec![Some(149.0), Some(99.0)])
        );
    });
}

#[test]
fn answers_are_csv_json_and_parquet() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.put_event(at(0), "note", "with, comma and \"quotes\"").await.unwrap();
        history.append(&[sample(0, at(0).0, 1.5), sample(0, at(1).0, f64::NAN)]).await.unwrap();
        let samples = samples_frame(&history, TagId(0), at(0), at(9)).await.unwrap();
        let events = events_frame(&history, at(0), at(9)).await.unwrap();
        let frame = collected(asof_events(samples, events, &[]).drop(cols(["event_time", "event_kind"]))).await;
        assert_eq!(csv_header(&frame), "time,value,event_text");
        assert_eq!(
            csv_lines(&frame).unwrap(),
            "2026-11-24T08:00:00Z,1.5,\"with, comma and \"\"quotes\"\"\"\n2026-11-24T08:00:01Z,,\"with, comma and \"\"quotes\"\"\"\n"
        );
        let lines = json_lines(&frame).unwrap();
        let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        assert_eq!((first["value"].as_f64(), first["time"].as_str()), (Some(1.5), Some("2026-11-24T08:00:00Z")));
        let path = dir.path().join("answer.parquet");
        let mut file = ParquetFile::new(&path);
        file.write(&frame).unwrap();
        file.write(&frame).unwrap();
        assert!(!path.exists(), "not before it is whole");
        file.finish().unwrap();
        let read = ParquetReader::new(std::fs::File::open(&path).unwrap()).finish().unwrap();
        assert_eq!((read.height(), floats(&read, "value")), (4, vec![Some(1.5), None, Some(1.5), None]));
    });
}
