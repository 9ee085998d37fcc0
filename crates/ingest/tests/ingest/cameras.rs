//! Cameras given as launch lines and files, whole and broken.

use std::{fs, path::Path};

use sightglass_ingest::{IngestError, LinePipeline, PipelineOptions, capture};
use sightglass_plant::CameraFeed;
use sightglass_protocol::{HealthState, LineId, Quality, time::SECOND};

use crate::plants::{Outcome, at, csv_file, grey, plant, run, with_camera, with_tags};

const RAW: &str = "videotestsrc num-buffers=45 ! video/x-raw,framerate=15/1,width=320,height=240";

fn launch(line: &str) -> Outcome {
    let plant = with_camera(plant(), "eye", CameraFeed::Launch(line.to_owned()), Some(at(50.0)));
    run(&plant, PipelineOptions { pictures: true, ..Default::default() }, None)
}

fn write(path: &Path, seconds: i64) {
    let mut video = capture::write_video(path, 15.0, 160, 120).expect("a video");
    for step in 0..seconds * 15 {
        video.push(&grey(0, 7.0 + step as f64 / 15.0, (40 + step % 200) as u8)).expect("a picture");
    }
    assert!(video.finish().expect("a file") > 0);
}

fn from_file(path: &Path) -> CameraFeed {
    CameraFeed::Uri(path.display().to_string())
}

#[test]
fn a_launch_line_of_raw_pictures_is_a_camera() {
    let outcome = launch(RAW);
    assert_eq!((outcome.frames, outcome.pictures.len()), (45, 45));
    assert_eq!((outcome.pictures[0].time, outcome.pictures[0].width, outcome.pictures[0].height), (at(50.0), 320, 240));
    assert_eq!(outcome.ticks.iter().map(|tick| tick.time).collect::<Vec<_>>(), [at(50.0), at(51.0), at(52.0)]);
    assert!(outcome.ticks.iter().all(|tick| tick.cameras[0].quality == Quality::Good));
}

#[test]
fn launch_lines_of_encoded_pictures_are_cameras() {
    for encoder in ["jpegenc", "vp8enc deadline=1", "openh264enc"] {
        let outcome = launch(&format!("{RAW} ! {encoder}"));
        assert_eq!((outcome.frames, outcome.ticks.len()), (45, 3), "{encoder}: {}", outcome.reasons());
        assert!(outcome.health.iter().all(|h| h.state == HealthState::Good), "{encoder}: {}", outcome.reasons());
    }
}

#[test]
fn a_launch_line_that_is_wrong_is_an_error_that_names_the_camera() {
    for line in ["nosuchelement ! identity", "videotestsrc ! fakesink"] {
        let plant = with_camera(plant(), "eye", CameraFeed::Launch(line.to_owned()), None);
        let error = LinePipeline::start(&plant, LineId(0), PipelineOptions::default(), None).err().expect("an error");
        assert!(error.to_string().contains("camera 'eye'") && error.to_string().contains(line), "{error}");
    }
}

#[test]
fn a_camera_file_that_does_not_exist_is_an_error_that_names_it() {
    let plant = with_camera(plant(), "eye", CameraFeed::Uri("/nowhere/eye.mp4".to_owned()), None);
    let error = LinePipeline::start(&plant, LineId(0), PipelineOptions::default(), None).err().expect("an error");
    assert!(matches!(error, IngestError::Camera { .. }));
    assert!(error.to_string().contains("/nowhere/eye.mp4"), "{error}");
}

#[test]
fn a_camera_that_does_not_start_is_told_and_the_rest_goes_on() {
    for line in ["v4l2src device=/dev/nosuchvideo", "filesrc location=/nowhere/eye.mjpeg ! jpegparse"] {
        let plant = with_camera(plant(), "gone", CameraFeed::Launch(line.to_owned()), Some(at(50.0)));
        let plant = with_camera(plant, "eye", CameraFeed::Launch(RAW.to_owned()), Some(at(50.0)));
        let outcome = run(&plant, PipelineOptions::default(), None);
        assert_eq!((outcome.frames, outcome.ticks.len()), (45, 3));
        let gone: Vec<_> = outcome.health.iter().filter(|health| health.source == "gone").collect();
        assert_eq!(gone.iter().map(|health| health.state).collect::<Vec<_>>(), [HealthState::Failure], "{line}");
    }
}

#[test]
fn a_file_of_a_camera_plays_from_its_start_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("eye.mkv");
    write(&path, 4);
    let plant = with_camera(plant(), "eye", from_file(&path), Some(at(100.0)));
    let outcome = run(&plant, PipelineOptions { pictures: true, ..Default::default() }, None);
    assert_eq!((outcome.frames, outcome.ticks.len()), (60, 4), "{}", outcome.reasons());
    for (step, picture) in outcome.pictures.iter().enumerate() {
        let wanted = at(100.0 + step as f64 / 15.0);
        assert!(picture.time.since(wanted).abs() <= 100_000, "{} is not {wanted}", picture.time);
        assert!(picture.pixels[0].abs_diff(40 + step as u8) <= 3, "picture {step} shows {}", picture.pixels[0]);
    }
    assert!(outcome.health.iter().all(|health| health.state == HealthState::Good), "{}", outcome.reasons());
    let options = PipelineOptions { from: Some(at(101.0)), to: Some(at(102.5)), ..Default::default() };
    let part = run(&plant, options, None);
    assert_eq!(part.ticks.iter().map(|tick| tick.time).collect::<Vec<_>>(), [at(101.0), at(102.0)]);
    assert!(part.health.iter().all(|health| health.state == HealthState::Good), "{}", part.reasons());
}

#[test]
fn a_video_that_breaks_off_is_told_with_its_time_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("eye.mkv");
    write(&path, 4);
    let whole = fs::read(&path).expect("the video");
    fs::write(&path, &whole[..whole.len() / 2]).expect("the video");
    let table = dir.path().join("run.csv");
    let rows: String = (100..110).map(|second| format!("{second},1\n")).collect();
    fs::write(&table, format!("time,a\n{rows}")).expect("a table");
    let plant = with_tags(plant(), csv_file(vec![table], b','), &["a"]);
    let plant = with_camera(plant, "eye", from_file(&path), Some(at(100.0)));
    let outcome = run(&plant, PipelineOptions::default(), None);
    assert!((20..40).contains(&outcome.frames), "{}", outcome.frames);
    assert_eq!(outcome.ticks.len(), 10);
    let told = outcome.health.iter().find(|health| health.source == "eye").expect("it is told");
    assert_eq!(told.state, HealthState::Failure, "{}", outcome.reasons());
    assert!(told.reason.contains("breaks off after 1970-01-01T00:01:4"), "{}", told.reason);
    assert!(told.since > at(101.0) && told.since < at(103.0));
}

#[test]
fn a_broken_picture_is_told_and_the_next_ones_come() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("eye.mkv");
    write(&path, 4);
    let mut bytes = fs::read(&path).expect("the video");
    // Wreck one JPEG picture in the middle: all behind its start marker.
    let starts: Vec<_> =
        bytes.windows(4).enumerate().filter(|(_, w)| *w == [0xff, 0xd8, 0xff, 0xe0]).map(|(at, _)| at).collect();
    assert_eq!(starts.len(), 60);
    bytes[starts[30] + 2..starts[31] - 40].fill(0x55);
    fs::write(&path, bytes).expect("the video");
    let plant = with_camera(plant(), "eye", from_file(&path), Some(at(100.0)));
    let outcome = run(&plant, PipelineOptions::default(), None);
    assert!((58..=59).contains(&outcome.frames), "{} of 60", outcome.frames);
    let told = outcome.health.iter().find(|health| health.state > HealthState::Good).expect("it is told");
    assert!(told.since > at(101.8) && told.since < at(102.1), "{}", outcome.reasons());
    let last = outcome.health.last().expect("an end");
    assert_eq!(last.state, HealthState::Good, "{}", outcome.reasons());
    assert_eq!(outcome.ticks.len(), 4);
}

#[test]
fn a_file_that_is_no_video_is_told_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("eye.mp4");
    fs::write(&path, vec![7; 5000]).expect("a file");
    let plant = with_camera(plant(), "eye", from_file(&path), Some(at(50.0)));
    let plant = with_camera(plant, "other", CameraFeed::Launch(RAW.to_owned()), Some(at(50.0)));
    let outcome = run(&plant, PipelineOptions::default(), None);
    assert_eq!(outcome.ticks.len(), 3);
    let told = outcome.health.iter().find(|health| health.source == "eye").expect("it is told");
    assert_eq!(told.state, HealthState::Failure);
}

#[test]
fn the_same_video_gives_the_same_ticks() {
    let moving = RAW.replace("num-buffers=45", "num-buffers=45 pattern=ball");
    let [first, again] = [(), ()].map(|()| launch(&format!("{moving} ! jpegenc")));
    assert_eq!(first.tick_text(), again.tick_text());
    assert!(first.ticks[2].cameras[0].frames[0] != first.ticks[1].cameras[0].frames[0]);
    assert_eq!(first.ticks[2].time.since(first.ticks[0].time), 2 * SECOND);
}
