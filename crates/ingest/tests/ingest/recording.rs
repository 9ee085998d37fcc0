//! Video is kept as it was sent, and read back.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sightglass_ingest::{Feed, FeedItem, LinePipeline, PipelineOptions, RecordOptions, playback, player::Player};
use sightglass_plant::{CameraFeed, Plant};
use sightglass_protocol::{HealthState, LineId, UtcNanos, time::SECOND};

use crate::plants::{Outcome, Script, at, grey, plant, run, with_camera};

/// Files keep times to a tenth of a millisecond.
const TIME_ERROR_NS: i64 = 100_000;

fn record(plant: &Plant, dir: &Path, feed: Vec<FeedItem>) -> Outcome {
    let record = Some(RecordOptions { dir: dir.to_owned(), segment_ns: 2 * SECOND });
    run(plant, PipelineOptions { record, ..Default::default() }, Script::boxed(feed))
}

fn pictures(seconds: i64) -> Vec<FeedItem> {
    (0..seconds * 15)
        .map(|step| FeedItem::Frame(grey(0, 1000.5 + step as f64 / 15.0, (step * 3 % 250) as u8)))
        .collect()
}

fn simulated() -> Plant {
    with_camera(plant(), "capper/1", CameraFeed::Simulator, None)
}

#[test]
fn segments_are_named_by_their_start_and_read_back_with_their_times() {
    let dir = tempfile::tempdir().expect("a folder");
    let outcome = record(&simulated(), dir.path(), pictures(5));
    let starts: Vec<_> = outcome.closed.iter().map(|segment| segment.start).collect();
    assert_eq!(starts, [at(1000.5), at(1002.5), at(1004.5)]);
    assert_eq!(outcome.closed.iter().map(|segment| segment.frames).collect::<Vec<_>>(), [30, 30, 15]);
    assert_eq!(
        outcome.opened.iter().map(|segment| &segment.path).collect::<Vec<_>>(),
        outcome.closed.iter().map(|segment| &segment.path).collect::<Vec<_>>()
    );
    assert_eq!(outcome.closed[0].path, "video/capper%2F1/1970-01-01T00-16-40.5Z.mkv");
    assert_eq!(outcome.closed[0].end, Some(at(1000.5 + 29.0 / 15.0)));
    let mut step = 0_u32;
    for segment in &outcome.closed {
        let path = dir.path().join(&segment.path);
        assert_eq!(fs::metadata(&path).expect("the file").len(), segment.bytes);
        for (offset, frame) in playback::pictures(&path).expect("a video") {
            let wanted = at(1000.5 + f64::from(step) / 15.0);
            assert!((segment.start + offset).since(wanted).abs() <= TIME_ERROR_NS, "{offset} of picture {step}");
            assert!(frame.pixels[0].abs_diff((step * 3 % 250) as u8) <= 3);
            step += 1;
        }
    }
    assert_eq!(step, 75);
}

#[test]
fn the_picture_at_a_time_is_the_newest_one_before_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let outcome = record(&simulated(), dir.path(), pictures(2));
    let path = dir.path().join(&outcome.closed[0].path);
    for (offset_ns, wanted) in [(0, 0), (50_000_000, 0), (70_000_000, 1), (SECOND + 10_000_000, 15), (60 * SECOND, 29)]
    {
        let (frame, offset) = playback::picture_at(&path, offset_ns).expect("a video").expect("a picture");
        assert!((offset - wanted * SECOND / 15).abs() <= TIME_ERROR_NS, "{offset_ns}: {offset}");
        assert!(frame.pixels[0].abs_diff((wanted * 3) as u8) <= 3);
    }
    assert!(playback::picture_at(&path, -1).expect("a video").is_none());
    assert!(playback::picture_at(&dir.path().join("nothing.mkv"), 0).is_err());
}

#[test]
fn a_segment_whose_writer_was_killed_reads_up_to_the_break() {
    let dir = tempfile::tempdir().expect("a folder");
    let outcome = record(&simulated(), dir.path(), pictures(2));
    let path = dir.path().join(&outcome.closed[0].path);
    let whole = fs::read(&path).expect("the file");
    let all = playback::pictures(&path).expect("a video").count();
    for tenths in 2..10 {
        let cut = whole.len() * tenths / 10;
        fs::write(&path, &whole[..cut]).expect("the file");
        let read = playback::pictures(&path).expect("a video").count();
        assert!(read + 3 >= all * tenths / 10 && read <= all, "{read} of {all} pictures at {tenths} tenths");
        assert!(playback::picture_at(&path, 100_000_000).expect("a video").is_some(), "at {tenths} tenths");
    }
}

fn key_frames_every_second(encoder: &str) -> Plant {
    let line = format!(
        "videotestsrc num-buffers=75 pattern=ball ! video/x-raw,framerate=15/1,width=320,height=240 ! {encoder}"
    );
    with_camera(plant(), "eye", CameraFeed::Launch(line), Some(at(10.0)))
}

#[test]
fn an_encoded_stream_is_cut_at_key_pictures_and_read_back_whole() {
    for encoder in ["vp8enc deadline=1 keyframe-max-dist=15", "openh264enc gop-size=15", "jpegenc"] {
        let dir = tempfile::tempdir().expect("a folder");
        let outcome = record(&key_frames_every_second(encoder), dir.path(), Vec::new());
        assert!(outcome.closed.len() >= 2, "{encoder}: {:?} {}", outcome.closed, outcome.reasons());
        assert_eq!(outcome.closed.iter().map(|segment| segment.frames).sum::<u32>(), 75, "{encoder}");
        let mut times = Vec::new();
        for segment in &outcome.closed {
            let path = dir.path().join(&segment.path);
            let read = playback::pictures(&path).expect("a video");
            times.extend(read.map(|(offset, _)| segment.start + offset));
            let (_, offset) = playback::picture_at(&path, 700_000_000).expect("a video").expect("a picture");
            assert!((offset - 666_666_667).abs() <= TIME_ERROR_NS, "{encoder}: {offset}");
        }
        assert_eq!(times.len(), 75, "{encoder}");
        let is_right =
            |(step, time): (i64, &UtcNanos)| time.since(at(10.0 + step as f64 / 15.0)).abs() <= TIME_ERROR_NS;
        assert!((0..).zip(&times).all(is_right), "{encoder}: {times:?}");
    }
}

#[test]
fn what_the_camera_sent_is_in_the_file_byte_for_byte() {
    let dir = tempfile::tempdir().expect("a folder");
    let sent = dir.path().join("sent");
    let line = format!(
        "videotestsrc num-buffers=3 ! video/x-raw,framerate=15/1,width=320,height=240 ! jpegenc ! \
         tee name=t ! queue ! filesink async=false location={} t. ! queue",
        sent.display()
    );
    let plant = with_camera(plant(), "eye", CameraFeed::Launch(line), Some(at(10.0)));
    let outcome = record(&plant, dir.path(), Vec::new());
    let kept = fs::read(dir.path().join(&outcome.closed[0].path)).expect("the file");
    let sent: Segmented = fs::read(sent).expect("what was sent").into();
    assert_eq!(sent.0.len(), 3);
    for picture in sent.0 {
        assert!(kept.windows(picture.len()).any(|window| window == picture));
    }
}

/// JPEG pictures one after the other, taken apart.
struct Segmented(Vec<Vec<u8>>);

impl From<Vec<u8>> for Segmented {
    fn from(bytes: Vec<u8>) -> Self {
        let starts: Vec<_> =
            bytes.windows(4).enumerate().filter(|(_, w)| *w == [0xff, 0xd8, 0xff, 0xe0]).map(|(at, _)| at).collect();
        let ends = starts.iter().copied().skip(1).chain([bytes.len()]);
        Self(starts.iter().zip(ends).map(|(start, end)| bytes[*start..end].to_vec()).collect())
    }
}

#[test]
fn a_recording_is_never_overwritten() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = record(&simulated(), dir.path(), pictures(1));
    let again = record(&simulated(), dir.path(), pictures(1));
    assert_ne!(first.closed[0].path, again.closed[0].path);
    assert!(again.closed[0].path.ends_with("-2.mkv"));
}

#[test]
fn a_folder_that_takes_no_video_is_told_and_the_line_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("video"), "in the way").expect("a file");
    let outcome = record(&simulated(), dir.path(), pictures(3));
    assert_eq!((outcome.ticks.len(), outcome.closed.len()), (3, 0));
    assert!(outcome.reasons().contains("video is not recorded"), "{}", outcome.reasons());
}

/// Frees the folder in mid-stream.
struct FreedLater {
    items: std::vec::IntoIter<FeedItem>,
    obstacle: PathBuf,
}

impl Feed for FreedLater {
    fn next(&mut self) -> Option<FeedItem> {
        if self.items.len() == 150 {
            fs::remove_file(&self.obstacle).expect("the file is there");
        }
        self.items.next()
    }
}

#[test]
fn recording_resumes_once_there_is_a_place_for_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let obstacle = dir.path().join("video");
    fs::write(&obstacle, "in the way").expect("a file");
    let record = Some(RecordOptions { dir: dir.path().to_owned(), segment_ns: 2 * SECOND });
    let feed = FreedLater { items: pictures(20).into_iter(), obstacle };
    let outcome = run(&simulated(), PipelineOptions { record, ..Default::default() }, Some(Box::new(feed)));
    let of_recording: Vec<_> = outcome.health.iter().filter(|health| health.source.contains("recording")).collect();
    assert_eq!(of_recording.first().map(|health| health.state), Some(HealthState::Failure), "{}", outcome.reasons());
    assert_eq!(of_recording.last().map(|health| health.state), Some(HealthState::Good), "{}", outcome.reasons());
    assert!(!outcome.closed.is_empty());
}

#[test]
fn a_player_steps_through_a_recording_picture_by_picture() {
    for encoder in ["openh264enc gop-size=15", "jpegenc"] {
        let dir = tempfile::tempdir().expect("a folder");
        let outcome = record(&key_frames_every_second(encoder), dir.path(), Vec::new());
        let path = dir.path().join(&outcome.closed[0].path);
        let player = Player::default();
        let mut offset = -1;
        let mut steps = Vec::new();
        while let Some((_, next)) = player.picture_after(&path, offset).expect("a video") {
            assert!(next > offset, "{encoder}: {next} after {offset}");
            steps.push(next);
            offset = next;
        }
        let all: Vec<i64> = playback::pictures(&path).expect("a video").map(|(offset, _)| offset).collect();
        assert_eq!(steps, all, "{encoder}");
        // Back through what is still open, and to where nothing is.
        for &offset in all.iter().rev() {
            let (frame, found) = player.picture_at(&path, offset + 1_000_000).expect("a video").expect("a picture");
            let (alone, _) = playback::picture_at(&path, offset + 1_000_000).expect("a video").expect("a picture");
            assert_eq!(found, offset, "{encoder}");
            assert!(frame.pixels == alone.pixels, "{encoder}: another picture at {offset}");
        }
        assert!(player.picture_at(&path, -5).expect("a video").is_none());
    }
}

#[test]
fn damage_in_a_segment_leaves_what_is_before_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let outcome = record(&simulated(), dir.path(), pictures(2));
    let path = dir.path().join(&outcome.closed[0].path);
    let whole = fs::read(&path).expect("the file");
    let player = Player::default();
    // The middle is zeros, as after a power cut.
    let mut zeroed = whole.clone();
    let (from, to) = (whole.len() / 2, whole.len() * 3 / 4);
    zeroed[from..to].fill(0);
    fs::write(&path, &zeroed).expect("the file");
    assert!(player.picture_at(&path, SECOND / 2).expect("a video").is_some());
    if let Ok(Some((_, offset))) = player.picture_at(&path, SECOND + SECOND / 3) {
        assert!(offset <= SECOND + SECOND / 3, "{offset}");
    }
    // Nothing but zeros, nothing at all, no file: an error that says which file, and no panic.
    for bytes in [vec![0; whole.len()], Vec::new()] {
        fs::write(&path, bytes).expect("the file");
        let error = player.picture_at(&path, SECOND / 2).map(|found| found.is_some()).expect_err("there is no video");
        assert!(error.to_string().contains(".mkv"), "{error}");
    }
    fs::remove_file(&path).expect("the file");
    assert!(player.picture_at(&path, SECOND / 2).is_err());
}

#[test]
fn clips_are_played_one_after_the_other_at_the_times_of_their_starts() {
    let dir = tempfile::tempdir().expect("a folder");
    let outcome = record(&simulated(), dir.path(), pictures(5));
    let mut index = "path,start\n".to_owned();
    for (number, segment) in outcome.closed.iter().enumerate() {
        // The second one is missing: a gap.
        let path = if number == 1 { "gone.mkv" } else { &segment.path };
        index.push_str(&format!("{path},{}\n", segment.start));
    }
    let path = dir.path().join("clips.csv");
    fs::write(&path, &index).expect("written");
    let plant = with_camera(plant(), "kept", CameraFeed::Clips(path.clone()), None);
    let played = run(&plant, PipelineOptions { pictures: true, ..Default::default() }, None);
    assert_eq!(played.frames, 45);
    let (first, last) = (played.pictures.first().expect("pictures"), played.pictures.last().expect("pictures"));
    assert_eq!(first.time, at(1000.5));
    assert!(last.time.since(at(1000.5 + 74.0 / 15.0)).abs() <= TIME_ERROR_NS, "{}", last.time);
    let again = run(&plant, PipelineOptions { pictures: true, ..Default::default() }, None);
    assert_eq!(played.ticks, again.ticks);

    let refused = |text: &str| {
        fs::write(&path, text).expect("written");
        let started = LinePipeline::start(&plant, LineId(0), PipelineOptions::default(), None);
        started.err().expect("an error").to_string()
    };
    assert!(refused("file,start\n").contains("path,start"));
    assert!(refused("path,start\na.mkv,soon\n").contains("line 2"));
    let backwards = refused("path,start\na.mkv,2026-01-02T00:00:00Z\nb.mkv,2026-01-01T00:00:00Z\n");
    assert!(backwards.contains("line 3"), "{backwards}");
}
