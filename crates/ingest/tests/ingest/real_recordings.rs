//! Real recordings, where `SIGHTGLASS_DATA` names the folder that holds them.

use std::path::PathBuf;

use sightglass_ingest::PipelineOptions;
use sightglass_plant::{CameraFeed, Plant, SampleFile, SampleFormat, SampleLayout, SourceKind};
use sightglass_protocol::{HealthState, Quality};

use crate::plants::{at, plant, run, with_camera, with_tags};

fn recording(name: &str) -> Option<PathBuf> {
    let path =
        std::env::var_os("SIGHTGLASS_DATA").map(|dir| PathBuf::from(dir).join(name)).filter(|path| path.exists());
    if path.is_none() {
        eprintln!("skipped: SIGHTGLASS_DATA does not hold {name}");
    }
    path
}

#[test]
fn a_real_video_plays_to_its_end() {
    let Some(path) = recording("video/bottle-detection.mp4") else { return };
    let plant = with_camera(plant(), "bottles", CameraFeed::Uri(path.display().to_string()), Some(at(0.0)));
    let outcome = run(&plant, PipelineOptions { pictures: true, ..Default::default() }, None);
    assert!((39..=40).contains(&outcome.ticks.len()), "{} ticks", outcome.ticks.len());
    assert!(outcome.frames > 1100, "{} pictures", outcome.frames);
    assert!(outcome.pictures.len() <= 40 * 15 + 1, "{} pictures for the window", outcome.pictures.len());
    assert!(outcome.health.iter().all(|health| health.state == HealthState::Good), "{}", outcome.reasons());
    assert!(outcome.ticks.iter().all(|tick| tick.cameras[0].quality == Quality::Good));
    let again = run(&plant, PipelineOptions::default(), None);
    assert!(outcome.ticks == again.ticks, "a replay is bit-identical");
}

#[test]
fn a_real_video_that_was_cut_is_told() {
    let Some(path) = recording("video/bottle-detection.mp4") else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let whole = std::fs::read(path).expect("the video");
    let cut = dir.path().join("cut.mp4");
    std::fs::write(&cut, &whole[..whole.len() / 2 + 13]).expect("a video");
    let plant = with_camera(plant(), "bottles", CameraFeed::Uri(cut.display().to_string()), Some(at(0.0)));
    let plant = with_camera(
        plant,
        "other",
        CameraFeed::Launch("videotestsrc num-buffers=700 ! video/x-raw,framerate=15/1".to_owned()),
        Some(at(0.0)),
    );
    let outcome = run(&plant, PipelineOptions::default(), None);
    let told = outcome.health.iter().find(|health| health.source == "bottles" && health.state == HealthState::Failure);
    assert!(told.is_some(), "{}", outcome.reasons());
    assert_eq!(outcome.ticks.len(), 47, "the other camera goes on to its end");
}

#[test]
fn a_real_rig_is_read_whole() {
    let Some(path) = recording("skab/anomaly-free.csv") else { return };
    let outcome = run(&rig(path), PipelineOptions::default(), None);
    assert_eq!(outcome.samples.len(), 9405 * 8);
    assert!(outcome.samples.iter().all(|sample| sample.quality == Quality::Good));
    assert!(outcome.ticks.len() >= 9405, "{} ticks", outcome.ticks.len());
    // For a while the rig does send in uneven intervals.
    let told = outcome.health.iter().filter(|health| !health.reason.starts_with("comes unevenly"));
    let told: Vec<_> = told.filter(|health| health.subject.is_none() || health.state != HealthState::Good).collect();
    assert_eq!(told.len(), 1, "{}", outcome.reasons());
}

#[test]
fn valves_that_close_on_a_real_rig_break_no_sensor() {
    for at in 0..16 {
        let Some(path) = recording(&format!("skab/valve1/{at}.csv")) else { return };
        let outcome = run(&rig(path), PipelineOptions::default(), None);
        // Some recordings have gaps of four seconds.
        let told: Vec<_> = (outcome.health.iter())
            .filter(|health| {
                health.state != HealthState::Good && !health.reason.starts_with("nothing has come for 4 s")
            })
            .collect();
        assert!(told.is_empty(), "{at}: {told:?}");
    }
}

/// The tags of the rig, from one of its recordings.
fn rig(path: std::path::PathBuf) -> Plant {
    let format = SampleFormat::Csv { separator: b';' };
    let file = SampleFile { paths: vec![path], format, layout: SampleLayout::Wide, time_column: "datetime".to_owned() };
    let tags = [
        "Accelerometer1RMS",
        "Accelerometer2RMS",
        "Current",
        "Pressure",
        "Temperature",
        "Thermocouple",
        "Voltage",
        "Volume Flow RateRMS",
    ];
    with_tags(plant(), SourceKind::File(file), &tags)
}
