//! What a line leaves behind: nothing. A test program of its own, since what a process has open belongs to all tests in it.

#[path = "../ingest/peers.rs"]
#[allow(dead_code, reason = "the other test program uses the rest")]
mod peers;
#[path = "../ingest/plants.rs"]
#[allow(dead_code, reason = "the other test program uses the rest")]
mod plants;

use sightglass_ingest::{FeedItem, PipelineOptions, RecordOptions};
use sightglass_plant::{CameraFeed, SourceKind};
use sightglass_protocol::HealthState;

use crate::peers::{Live, told};
use crate::plants::{Script, grey, plant, run, sample, with_camera, with_tags};

/// Entries of a folder of `/proc/self`.
fn count(what: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{what}")).map(Iterator::count).unwrap_or_default()
}

#[test]
fn a_line_that_has_ended_leaves_no_file_and_no_thread() {
    if !cfg!(target_os = "linux") {
        eprintln!("skipped: this PC does not tell what a process has open");
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let plant = with_tags(plant(), SourceKind::Simulator, &["level"]);
    let plant = with_camera(plant, "fed", CameraFeed::Simulator, None);
    let line = "videotestsrc num-buffers=30 ! video/x-raw,framerate=15/1,width=320,height=240 ! jpegenc";
    let plant = with_camera(plant, "eye", CameraFeed::Launch(line.to_owned()), None);
    let run_once = || {
        let items = (0..30).flat_map(|step| {
            let time = f64::from(step) / 15.0;
            [FeedItem::Samples(vec![sample(0, time, time)]), FeedItem::Frame(grey(0, time, 9))]
        });
        let options = PipelineOptions { record: Some(RecordOptions::new(dir.path())), ..Default::default() };
        let outcome = run(&plant, options, Script::boxed(items.collect()));
        assert_eq!((outcome.frames, outcome.closed.len()), (60, 2), "{}", outcome.reasons());
    };
    // Nobody is at these ports; a line that cannot reach them ends as cleanly.
    let live = |source: &str, address: &str| {
        let text = format!(
            "[plant]\nname = \"p\"\n[[line]]\nname = \"l\"\n[[source]]\nname = \"s\"\n{source}\n[[tag]]\nname = \"a\"\n\
             role = \"measurement\"\naddress = \"{address}\"\n"
        );
        sightglass_plant::parse(&text, "plant.toml", std::path::Path::new("")).expect("a plant")
    };
    let unreached = [
        live("kind = \"modbus\"\naddress = \"127.0.0.1:1\"", "40001"),
        live("kind = \"mqtt\"\naddress = \"mqtt://127.0.0.1:1\"", "40001"),
        live("kind = \"mqtt\"\naddress = \"mqtt://127.0.0.1:1\"\nversion = \"5\"", "40001"),
        live("kind = \"opcua\"\naddress = \"opc.tcp://127.0.0.1:1\"", "i=2258"),
    ];
    let run_once = || {
        run_once();
        for plant in &unreached {
            let mut line = Live::start(plant);
            line.until("it is told", |outcome| told(outcome, HealthState::Failure, "127.0.0.1:1"));
            line.stop();
        }
    };
    // GStreamer keeps what it needs again: loaded plugins and a few idle threads.
    (0..3).for_each(|_| run_once());
    let (files, threads) = (count("fd"), count("task"));
    (0..10).for_each(|_| run_once());
    assert!(count("fd") <= files + 2, "{files} files were open, now {}", count("fd"));
    assert!(count("task") <= threads + 4, "{threads} threads ran, now {}", count("task"));
}
