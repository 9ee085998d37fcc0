//! An in-process feed of samples and pictures through the real pipeline.

use sightglass_ingest::{Feed, FeedItem, IngestError, LinePipeline, Pace, PipelineOptions};
use sightglass_plant::{CameraFeed, Plant, SourceKind};
use sightglass_protocol::{HealthState, LineId, Quality, Roi};

use crate::plants::{Script, at, csv_file, grey, plant, run, sample, with_camera, with_tags};

fn bottling(cameras: &[&str]) -> Plant {
    let tags = with_tags(plant(), SourceKind::Simulator, &["level", "flow"]);
    cameras.iter().fold(tags, |plant, name| with_camera(plant, name, CameraFeed::Simulator, None))
}

/// `seconds` of one tag at 10 Hz, another at 1 Hz, and a camera at 15 pictures a second, from 1000 s on.
fn script(seconds: i64) -> Vec<FeedItem> {
    let mut timed = Vec::new();
    for step in 0..seconds * 10 {
        let time = 1000.0 + step as f64 / 10.0;
        timed.push((time, FeedItem::Samples(vec![sample(0, time, step as f64)])));
    }
    for step in 0..seconds {
        let time = 1000.0 + step as f64;
        timed.push((time, FeedItem::Samples(vec![sample(1, time, -(step as f64))])));
    }
    for step in 0..seconds * 15 {
        let time = 1000.0 + step as f64 / 15.0;
        timed.push((time, FeedItem::Frame(grey(0, time, (40 + step % 200) as u8))));
    }
    timed.sort_by(|a, b| a.0.total_cmp(&b.0));
    timed.into_iter().map(|(_, item)| item).collect()
}

#[test]
fn a_feed_becomes_the_ticks_that_it_describes() {
    let options = PipelineOptions { pictures: true, ..Default::default() };
    let outcome = run(&bottling(&["eye"]), options, Script::boxed(script(10)));
    let times: Vec<_> = outcome.ticks.iter().map(|tick| tick.time).collect();
    assert_eq!(times, (0..10).map(|second| at(1000.0 + f64::from(second))).collect::<Vec<_>>());
    assert_eq!(outcome.samples.len(), 110);
    assert_eq!((outcome.frames, outcome.pictures.len()), (150, 150));
    assert_eq!((outcome.pictures[7].width, outcome.pictures[7].height, outcome.pictures[7].pixels[0]), (160, 120, 47));
    let tick = &outcome.ticks[4];
    assert_eq!((tick.tags[0].value, tick.tags[1].value), (40.0, -4.0));
    let shown: Vec<_> = tick.cameras[0].frames.iter().map(|f| (f.time, f.width, f.pixels.len())).collect();
    let pixels = 112 * 112 * 3;
    assert_eq!(shown, [(at(1000.0 + 52.0 / 15.0), 112, pixels), (at(1004.0), 112, pixels)]);
    assert!(tick.cameras[0].frames[1].pixels.iter().all(|level| *level == 100));
    assert!(outcome.health.iter().all(|health| health.state == HealthState::Good), "{}", outcome.reasons());
}

#[test]
fn ticks_are_the_same_at_any_speed() {
    let plant = bottling(&["eye"]);
    let at_pace = |pace| run(&plant, PipelineOptions { pace, ..Default::default() }, Script::boxed(script(6))).ticks;
    let began = std::time::Instant::now();
    let paced = at_pace(Pace::Speed(20.0));
    assert!(began.elapsed().as_millis() >= 290, "6 s at 20 times take 0.3 s, not {:?}", began.elapsed());
    assert_eq!(paced.len(), 6);
    assert_eq!(paced, at_pace(Pace::Max));
}

#[test]
fn a_camera_without_pictures_does_not_hold_the_line() {
    let outcome = run(&bottling(&["eye", "blind"]), PipelineOptions::default(), Script::boxed(script(30)));
    assert_eq!(outcome.ticks.len(), 30);
    assert!(outcome.ticks.iter().all(|tick| tick.cameras[1].quality == Quality::Missing));
    assert!(outcome.ticks.iter().all(|tick| tick.cameras[0].quality == Quality::Good));
}

#[test]
fn a_flood_of_samples_of_one_moment_does_not_hold_the_line() {
    let mut items: Vec<_> = (0..2000).map(|value| FeedItem::Samples(vec![sample(0, 5.0, f64::from(value))])).collect();
    items.push(FeedItem::Frame(grey(0, 6.0, 1)));
    let outcome = run(&bottling(&["eye"]), PipelineOptions::default(), Script::boxed(items));
    assert_eq!(outcome.samples.len(), 2000);
    assert_eq!(outcome.ticks.iter().map(|tick| tick.tags[0].value).collect::<Vec<_>>(), [1999.0, 1999.0]);
}

#[test]
fn from_and_to_cut_a_feed() {
    let options =
        PipelineOptions { from: Some(at(1002.0)), to: Some(at(1004.0)), pictures: true, ..Default::default() };
    let outcome = run(&bottling(&["eye"]), options, Script::boxed(script(10)));
    assert_eq!(outcome.ticks.iter().map(|tick| tick.time).collect::<Vec<_>>(), [1002.0, 1003.0, 1004.0].map(at));
    assert_eq!(outcome.pictures.len(), 31);
    assert!(outcome.samples.iter().all(|sample| sample.time >= at(1002.0) && sample.time <= at(1004.0)));
}

#[test]
fn a_region_of_interest_is_what_the_model_sees() {
    let mut plant = bottling(&["eye"]);
    plant.cameras[0].roi = Some(Roi { x: 0, y: 0, width: 80, height: 120 });
    let mut frame = grey(0, 1000.0, 0);
    let half: Vec<u8> =
        (0..120).flat_map(|_| (0..160).flat_map(|x| if x < 80 { [9, 8, 7] } else { [200; 3] })).collect();
    frame.pixels = half.into();
    let outcome = run(&plant, PipelineOptions::default(), Script::boxed(vec![FeedItem::Frame(frame)]));
    assert!(outcome.ticks[0].cameras[0].frames[0].pixels.chunks(3).all(|rgb| rgb == [9, 8, 7]));
    plant.cameras[0].roi = Some(Roi { x: 100, y: 0, width: 80, height: 120 });
    let outcome = run(&plant, PipelineOptions::default(), Script::boxed(vec![FeedItem::Frame(grey(0, 1000.0, 5))]));
    assert!(outcome.reasons().contains("region of interest (100, 0, 80 x 120) is not within"), "{}", outcome.reasons());
    assert_eq!(outcome.ticks.len(), 1);
}

#[test]
fn a_feed_and_a_file_make_one_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.csv");
    std::fs::write(&path, "time,extra\n1001,5\n1003,6\n").expect("a file");
    let plant = with_tags(bottling(&[]), csv_file(vec![path], b','), &["extra"]);
    let outcome = run(&plant, PipelineOptions::default(), Script::boxed(script(5)));
    let extra: Vec<_> = outcome.ticks.iter().map(|tick| tick.tags[2].value).collect();
    assert!(extra[0].is_nan());
    assert_eq!(extra[1..], [5.0, 5.0, 6.0, 6.0]);
}

#[test]
fn a_simulator_source_without_a_feed_is_an_error() {
    let error = LinePipeline::start(&bottling(&[]), LineId(0), PipelineOptions::default(), None).err();
    assert!(matches!(error, Some(IngestError::NoFeed { .. })));
}

/// A feed without end.
struct Endless(u64);

impl Feed for Endless {
    fn next(&mut self) -> Option<FeedItem> {
        self.0 += 1;
        let time = self.0 as f64 / 15.0;
        Some(if self.0.is_multiple_of(2) {
            FeedItem::Frame(grey(0, time, 1))
        } else {
            FeedItem::Samples(vec![sample(0, time, time)])
        })
    }
}

#[test]
fn a_line_stops_at_any_moment_and_gives_back_what_was_under_way() {
    let dir = tempfile::tempdir().expect("a folder");
    for (taken, pace) in [(0, Pace::Max), (500, Pace::Max), (3, Pace::Speed(0.5))] {
        let record = Some(sightglass_ingest::RecordOptions::new(dir.path()));
        let options = PipelineOptions { pace, record, pictures: true, ..Default::default() };
        let line =
            LinePipeline::start(&bottling(&["eye"]), LineId(0), options, Some(Box::new(Endless(0)))).expect("starts");
        let mut outcome = crate::plants::Outcome::default();
        for _ in 0..taken {
            outcome.take(line.events().recv().expect("an event"));
        }
        line.stop().into_iter().for_each(|event| outcome.take(event));
        assert_eq!(outcome.opened.len(), outcome.closed.len(), "every segment that was begun is closed");
        let seconds: Vec<_> = outcome.samples.iter().map(|sample| sample.time).collect();
        assert!(seconds.is_sorted(), "nothing is lost or out of order");
    }
}
