//! Pictures: what looks wrong, where, and what does not matter.

mod line;

use line::*;
use sightglass_protocol::{Quality, ScorePart, Tick};
use sightglass_world_model::PlantModel;

fn model() -> PlantModel {
    trained(&spec(true), &[run(700, 1, true, Fault::None, 0)], 1).unwrap()
}

/// A picture-only recording at five ticks a second.
fn pictures(ticks: std::ops::Range<usize>, gone: bool, brighter: i32) -> Vec<Tick> {
    let mut noise = Noise(3 + ticks.start as u64);
    ticks
        .map(|t| {
            let time = sightglass_protocol::UtcNanos(t as i64 * SECOND / 5);
            let cameras = vec![picture(t, time, gone, brighter, &mut noise)];
            Tick { line: sightglass_protocol::LineId(0), index: t as u64, time, tags: Vec::new(), cameras }
        })
        .collect()
}

#[test]
fn a_small_thing_that_is_gone_is_found_at_its_place() {
    let ticks = run(160, 5, true, Fault::SquareGone, 100);
    let outputs = outputs(&mut model().stream(), &ticks);
    let (before, after) = outputs.split_at(100);
    let worst = before[24..].iter().map(|o| o.surprise.score).fold(0.0, f32::max);
    assert!(worst < 1.0, "{worst}");
    for output in &after[..40] {
        let map = &output.surprise.patches[0];
        assert_eq!((map.rows, map.cols, map.scores.len()), (8, 8, 64));
        let most = (0..64).max_by(|&a, &b| map.scores[a].total_cmp(&map.scores[b])).unwrap();
        assert_eq!((most / 8, most % 8), (1, 2), "{:?}", map.scores);
        assert!(map.scores[most] > 1.0);
        let appearance = output.surprise.parts.iter().find(|(part, _)| *part == ScorePart::Appearance).unwrap().1;
        assert!(appearance > 1.0);
    }
}

#[test]
fn the_future_never_reaches_back() {
    let model = model();
    let ticks = run(80, 5, true, Fault::None, 0);
    let mut other = ticks[..60].to_vec();
    other.extend(run(80, 6, true, Fault::SquareGone, 0).into_iter().skip(60));
    let (mut a, mut b) = (model.stream(), model.stream());
    let mut differs = false;
    for (t, (x, y)) in ticks.iter().zip(&other).enumerate() {
        let (p, q) = (a.step(x), b.step(y));
        if t < 60 {
            assert_eq!(bits(&[p]), bits(&[q]));
            assert_eq!(a.latents(), b.latents());
        } else {
            differs |= p != q;
        }
    }
    assert!(differs);
}

#[test]
fn a_camera_that_is_gone_is_no_surprise_and_the_tags_go_on() {
    let model = model();
    let mut ticks = run(260, 5, true, Fault::LevelOffset(5.0), 200);
    for tick in &mut ticks[100..] {
        tick.cameras[0].frames.clear();
        tick.cameras[0].quality = Quality::Missing;
    }
    let outputs = outputs(&mut model.stream(), &ticks);
    let worst = outputs[24..200].iter().max_by(|a, b| a.surprise.score.total_cmp(&b.surprise.score)).unwrap();
    assert!(worst.surprise.score < 1.0, "{:?}", worst.surprise);
    assert!(outputs[100..].iter().all(|o| o.surprise.patches.is_empty()));
    let level = outputs[203].surprise.tags.iter().find(|t| t.tag.index() == LEVEL).unwrap();
    assert!(level.score > 1.0, "{level:?}");
}

#[test]
fn a_few_seconds_of_video_are_enough_to_watch_how_things_look() {
    let spec = picture_spec(SECOND / 5);
    let model = trained(&spec, &[pictures(0..30, false, 0)], 1).unwrap();
    assert_eq!(model.parameters(), 0, "too little for a network");
    assert!(model.card().notes.iter().any(|n| n.contains("too few for a network")));
    let highest = |ticks: &[Tick]| {
        let outputs = outputs(&mut model.stream(), ticks);
        outputs[4..].iter().map(|o| o.surprise.score).fold(0.0, f32::max)
    };
    assert!(highest(&pictures(100..160, false, 0)) < 1.0);
    assert!(highest(&pictures(100..160, false, 6)) < 1.0, "more light is not another thing");
    assert!(highest(&pictures(100..160, true, 0)) > 1.5);
}
