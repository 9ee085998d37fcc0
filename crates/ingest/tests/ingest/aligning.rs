//! The aligner alone.

use proptest::prelude::*;
use sightglass_ingest::aligner::{Aligner, AlignerSettings, PENDING_MAX, SILENT_TICKS_MAX, TagSettings};
use sightglass_protocol::{
    CameraId, Frame, LineId, Quality, Sample, TagId, Tick, TimeSource, UtcNanos,
    time::{MILLISECOND, SECOND},
};

use crate::plants::{at, sample};

fn settings(tags: u32, cameras: u16, sources: usize) -> AlignerSettings {
    AlignerSettings {
        line: LineId(0),
        tick_ns: SECOND,
        grace_ns: 200 * MILLISECOND,
        tags: (0..tags).map(|tag| TagSettings { tag: TagId(tag), period_ns: SECOND, holds: false }).collect(),
        cameras: (0..cameras).map(CameraId).collect(),
        sources,
    }
}

fn picture(camera: u16, time: UtcNanos) -> Frame {
    Frame { camera: CameraId(camera), time, width: 1, height: 1, pixels: vec![0; 3].into() }
}

fn ticks(aligner: &mut Aligner) -> Vec<Tick> {
    std::iter::from_fn(|| aligner.next_tick()).collect()
}

#[test]
fn a_tick_waits_for_every_source_and_the_grace_time() {
    let mut aligner = Aligner::new(settings(2, 0, 2));
    aligner.samples(0, &[sample(0, 9.5, 1.0), sample(0, 11.0, 2.0)]);
    assert_eq!(ticks(&mut aligner), []);
    aligner.samples(1, &[sample(1, 10.0, 3.0)]);
    aligner.advance(1, at(10.1));
    assert_eq!(ticks(&mut aligner), []);
    aligner.advance(1, at(10.2));
    let done = ticks(&mut aligner);
    assert_eq!(done.len(), 1);
    assert_eq!((done[0].index, done[0].time), (0, at(10.0)));
    assert_eq!((done[0].tags[0].value, done[0].tags[0].age_ns), (1.0, 500 * MILLISECOND));
    assert_eq!((done[0].tags[1].value, done[0].tags[1].age_ns), (3.0, 0));
}

#[test]
fn data_within_the_grace_time_join_their_own_tick_and_later_ones_are_counted() {
    let mut aligner = Aligner::new(settings(1, 0, 1));
    aligner.samples(0, &[sample(0, 9.0, 1.0), sample(0, 10.1, 2.0), sample(0, 9.9, 3.0)]);
    aligner.advance(0, at(10.3));
    let done = ticks(&mut aligner);
    assert_eq!(done.last().map(|tick| tick.tags[0].value), Some(3.0));
    assert_eq!(aligner.late().samples, 0);
    aligner.samples(0, &[sample(0, 9.95, 4.0)]);
    assert_eq!(aligner.late().samples, 1);
}

#[test]
fn the_last_tick_is_not_after_the_last_datum() {
    let mut aligner = Aligner::new(settings(1, 0, 1));
    aligner.samples(0, &[sample(0, 0.1, 1.0), sample(0, 3.9, 2.0)]);
    aligner.end(0);
    let times: Vec<_> = ticks(&mut aligner).iter().map(|tick| tick.time).collect();
    assert_eq!(times, [at(1.0), at(2.0), at(3.0)]);
}

#[test]
fn a_measurement_grows_stale_and_a_setpoint_holds() {
    let mut wanted = settings(2, 0, 1);
    wanted.tags[1].holds = true;
    let mut aligner = Aligner::new(wanted);
    aligner.samples(0, &[sample(0, 1.0, 1.0), sample(1, 1.0, 2.0)]);
    aligner.advance(0, at(10.0));
    let done = ticks(&mut aligner);
    let quality = |tag: usize| done.iter().map(|tick| tick.tags[tag].quality).collect::<Vec<_>>();
    let (good, stale) = (Quality::Good, Quality::Stale);
    assert_eq!(quality(0), [good, good, good, good, stale, stale, stale, stale, stale]);
    assert!(quality(1).iter().all(|quality| *quality == good));
}

#[test]
fn a_tag_without_any_sample_is_missing_and_a_bad_one_stays_bad() {
    let mut aligner = Aligner::new(settings(2, 1, 1));
    let bad = Sample { quality: Quality::Bad, value: f64::NAN, ..sample(0, 1.0, 0.0) };
    aligner.samples(0, &[bad]);
    aligner.end(0);
    let done = ticks(&mut aligner);
    assert_eq!(done[0].tags[0].quality, Quality::Bad);
    assert!(done[0].tags[0].value.is_nan());
    assert_eq!((done[0].tags[1].quality, done[0].tags[1].age_ns), (Quality::Missing, i64::MAX));
    assert_eq!((done[0].cameras[0].quality, done[0].cameras[0].frames.len()), (Quality::Missing, 0));
}

#[test]
fn a_camera_shows_the_picture_of_half_a_tick_ago_and_the_latest_one() {
    let mut aligner = Aligner::new(settings(0, 1, 1));
    for frame in 0..45 {
        aligner.frame(0, picture(0, at(f64::from(frame) / 15.0)));
    }
    aligner.end(0);
    let done = ticks(&mut aligner);
    let shown: Vec<_> =
        done.iter().map(|tick| tick.cameras[0].frames.iter().map(|f| f.time).collect::<Vec<_>>()).collect();
    let taken = |count: i32| at(f64::from(count) / 15.0);
    assert_eq!(shown, [vec![taken(0), taken(0)], vec![taken(7), taken(15)], vec![taken(22), taken(30)]]);
    assert!(done.iter().all(|tick| tick.cameras[0].quality == Quality::Good));
}

#[test]
fn a_camera_that_stops_is_stale_for_a_tick_and_then_missing() {
    let mut aligner = Aligner::new(settings(0, 1, 1));
    aligner.frame(0, picture(0, at(0.9)));
    aligner.advance(0, at(9.0));
    let qualities: Vec<_> = ticks(&mut aligner).iter().map(|tick| tick.cameras[0].quality).collect();
    assert_eq!(qualities[..3], [Quality::Good, Quality::Stale, Quality::Missing]);
}

#[test]
fn a_source_that_is_stuck_does_not_hold_the_others_for_ever() {
    let mut aligner = Aligner::new(settings(2, 0, 2));
    for second in 0..(PENDING_MAX as i64 + 10) {
        aligner.samples(0, &[sample(0, second as f64, 1.0)]);
    }
    let done = ticks(&mut aligner);
    assert!((5..20).contains(&done.len()), "{}", done.len());
    assert_eq!(done[0].tags[1].quality, Quality::Missing);
}

#[test]
fn a_long_silence_is_left_out_and_seen_in_the_index() {
    let mut aligner = Aligner::new(settings(1, 0, 1));
    let later = 1_000_000.0;
    aligner.samples(0, &[sample(0, 1.0, 1.0), sample(0, later, 2.0)]);
    aligner.end(0);
    let done = ticks(&mut aligner);
    assert_eq!(done.len() as i64, SILENT_TICKS_MAX + 2);
    let last = done.last().expect("there are ticks");
    assert_eq!((last.time, last.index), (at(later), 999_999));
}

/// One datum of the property test: which source, when (ms), and which of its tags (or its camera).
type Datum = (usize, i64, u32);

/// What the ticks must be, worked out from all data at once.
fn expected(data: &[Datum]) -> Vec<Tick> {
    let time = |datum: &Datum| UtcNanos(datum.1 * MILLISECOND);
    let (Some(first), Some(last)) = (data.iter().map(time).min(), data.iter().map(time).max()) else {
        return Vec::new();
    };
    let start = (first.0 + SECOND - 1).div_euclid(SECOND);
    let end = last.0.div_euclid(SECOND);
    let tick_at = |second: i64| {
        let moment = UtcNanos(second * SECOND);
        let tags = (0..4).map(|tag| {
            let of_tag = data.iter().enumerate().filter(|(_, d)| d.2 < 2 && d.0 as u32 * 2 + d.2 == tag);
            let latest = of_tag.filter(|(_, d)| time(d) <= moment).max_by_key(|(at, d)| (d.1, *at));
            let Some((at, datum)) = latest else { return (f64::NAN, i64::MAX, Quality::Missing) };
            let age_ns = moment.since(time(datum));
            (at as f64, age_ns, if age_ns > 3 * SECOND { Quality::Stale } else { Quality::Good })
        });
        let tags = tags.enumerate().map(|(tag, (value, age_ns, quality))| sightglass_protocol::TagReading {
            tag: TagId(tag as u32),
            value,
            age_ns,
            quality,
        });
        let cameras = (0..2).map(|camera| {
            let times = data.iter().filter(|d| d.2 == 2 && d.0 == camera).map(time);
            let shown: Vec<_> = times.filter(|t| *t <= moment && *t > moment - 2 * SECOND).collect();
            let half = moment - SECOND / 2;
            let nearest = shown.iter().copied().min_by_key(|t| (t.since(half).abs(), *t));
            let latest = shown.iter().copied().max();
            let frames = nearest.into_iter().chain(latest).map(|time| picture(camera as u16, time)).collect();
            let quality = match latest {
                None => Quality::Missing,
                Some(latest) if moment.since(latest) < SECOND => Quality::Good,
                Some(_) => Quality::Stale,
            };
            sightglass_protocol::CameraReading { camera: CameraId(camera as u16), frames, quality }
        });
        let (tags, cameras) = (tags.collect(), cameras.collect());
        Tick { line: LineId(0), index: (second - start) as u64, time: moment, tags, cameras }
    };
    (start..=end).map(tick_at).collect()
}

proptest! {
    #[test]
    fn ticks_do_not_depend_on_how_the_data_arrive(
        mut data in prop::collection::vec((0usize..2, -3000i64..12_000, 0u32..3), 1..80),
        picks in prop::collection::vec(any::<bool>(), 200),
        polls in prop::collection::vec(any::<bool>(), 200),
    ) {
        data.sort_by_key(|datum| datum.1);
        let mut aligner = Aligner::new(settings(4, 2, 2));
        let mut queues = [0, 1].map(|source| {
            data.iter().copied().enumerate().filter(move |(_, datum)| datum.0 == source).collect::<Vec<_>>().into_iter()
        });
        let mut done = Vec::new();
        for (pick, poll) in picks.iter().zip(&polls) {
            let source = usize::from(*pick);
            match queues[source].next() {
                Some((at, (_, ms, what))) => {
                    let time = UtcNanos(ms * MILLISECOND);
                    if what == 2 {
                        aligner.frame(source, picture(source as u16, time));
                    } else {
                        let tag = TagId(source as u32 * 2 + what);
                        let time_source = TimeSource::Device;
                        aligner.samples(source, &[Sample { tag, time, value: at as f64, quality: Quality::Good, time_source }]);
                    }
                }
                None => aligner.end(source),
            }
            if *poll {
                done.extend(ticks(&mut aligner));
            }
        }
        for source in 0..2 {
            for (at, (_, ms, what)) in queues[source].by_ref() {
                let time = UtcNanos(ms * MILLISECOND);
                if what == 2 {
                    aligner.frame(source, picture(source as u16, time));
                } else {
                    let tag = TagId(source as u32 * 2 + what);
                    let time_source = TimeSource::Device;
                    aligner.samples(source, &[Sample { tag, time, value: at as f64, quality: Quality::Good, time_source }]);
                }
            }
            aligner.end(source);
        }
        done.extend(ticks(&mut aligner));
        prop_assert_eq!(format!("{done:#?}"), format!("{:#?}", expected(&data)));
        prop_assert_eq!(aligner.late(), Default::default());
    }
}
