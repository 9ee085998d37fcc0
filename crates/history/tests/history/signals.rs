use proptest::prelude::*;
use sightglass_history::History;
use sightglass_protocol::{Quality, Sample, TagId, UtcNanos, message::Point, time::SECOND};

use crate::{START, at, folder, open, run, sample};

async fn one(history: &History, tag: u32, from: UtcNanos, to: UtcNanos, pixels: u32) -> Vec<Point> {
    let mut signals = history.signals(&[TagId(tag)], from, to, pixels).await.unwrap();
    assert_eq!(signals.len(), 1);
    let points = signals.remove(0).points;
    assert!(points.is_sorted_by_key(|point| point.time));
    points
}

/// The smallest of 1, 2, 5 x 10^n nanoseconds with at most two points a pixel.
fn step(from: UtcNanos, to: UtcNanos, pixels: u32) -> i64 {
    let mut steps = (0..18).flat_map(|power| [1, 2, 5].map(|factor| factor * 10i64.pow(power)));
    let points = |step: i64| to.0.div_euclid(step) - from.0.div_euclid(step) + 1;
    steps.find(|&step| points(step) <= 2 * i64::from(pixels)).unwrap()
}

/// What the points must be, from the samples themselves. `step` is the distance of the points.
fn expected(samples: &[Sample], from: UtcNanos, to: UtcNanos, step: i64) -> Vec<Point> {
    let (first, last) = (from.0.div_euclid(step), to.0.div_euclid(step));
    let mut points = Vec::new();
    for place in first..=last {
        let here: Vec<&Sample> = samples.iter().filter(|sample| sample.time.0.div_euclid(step) == place).collect();
        if here.is_empty() {
            continue;
        }
        let good: Vec<f64> = here
            .iter()
            .filter(|sample| sample.quality.is_usable() && sample.value.is_finite())
            .map(|sample| sample.value)
            .collect();
        let worst = here.iter().map(|sample| {
            let is_contradiction = sample.quality.is_usable() && !sample.value.is_finite();
            if is_contradiction { Quality::Bad } else { sample.quality }
        });
        points.push(Point {
            time: UtcNanos(place * step),
            min: good.iter().copied().fold(f64::NAN, f64::min),
            max: good.iter().copied().fold(f64::NAN, f64::max),
            mean: good.iter().sum::<f64>() / good.len() as f64,
            last: good.last().copied().unwrap_or(f64::NAN),
            count: here.len() as u32,
            quality: worst.max().unwrap(),
        });
    }
    points
}

fn assert_same(found: &[Point], expected: &[Point]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan());
        let close = |a: f64, b: f64| same(a, b) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0);
        assert!(
            found.time == expected.time
                && found.count == expected.count
                && found.quality == expected.quality
                && same(found.min, expected.min)
                && same(found.max, expected.max)
                && same(found.last, expected.last)
                && close(found.mean, expected.mean),
            "{found:?} is not {expected:?}"
        );
    }
}

/// 10 samples a second with a gap, bad values and spikes.
fn long_run(seconds: i64) -> Vec<Sample> {
    let mut samples = Vec::new();
    for index in 0..seconds * 10 {
        let time = START + index * SECOND / 10;
        if (3000..3300).contains(&(index / 10)) {
            continue;
        }
        let mut one = sample(0, time, (index as f64 * 0.01).sin() * 5.0);
        if index % 977 == 0 {
            one.value = 1000.0;
        }
        if index % 1013 < 30 {
            one.quality = Quality::Bad;
            one.value = -1e9;
        }
        samples.push(one);
    }
    samples
}

#[test]
fn every_zoom_agrees_with_the_samples_themselves() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        let samples = long_run(25_000);
        for part in samples.chunks(10_000) {
            history.append(part).await.unwrap();
        }
        // Level 0 has 24 whole slots, level 1 two; the rest is chunks and unmerged batches.
        let stats = history.merge(at(24_500)).await.unwrap();
        assert!(stats.blocks >= 26, "{stats:?}");
        assert!(history.summary().await.unwrap().samples_unmerged > 0);
        let ranges =
            [(0, 25_000), (10, 24_990), (2950, 3350), (9_000, 11_000), (23_000, 26_000), (-50_000, 50_000), (5, 6)];
        for (from, to) in ranges {
            for pixels in [3, 40, 500, 1920] {
                let (from, to) = (at(from), at(to));
                let points = one(&history, 0, from, to, pixels).await;
                assert!(points.len() <= 2 * pixels as usize, "{} points on {pixels} pixels", points.len());
                let within = samples.iter().filter(|sample| (from..=to).contains(&sample.time)).count();
                if within <= 2 * pixels as usize {
                    assert_eq!(points.len(), within);
                    continue;
                }
                let step = step(from, to, pixels);
                assert_same(&points, &expected(&samples, from, to, step));
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn roll_ups_agree_with_brute_force_whatever_comes_late(
        seconds in prop::collection::vec((0..12_000i64, -50.0..50.0f64, 0..6u8), 400..900),
        merges in prop::collection::vec(0..13_000i64, 6),
    ) {
        run(async move {
            let dir = folder();
            let history = open(&dir).await;
            // Dense enough for blocks: each draw is a burst of eight samples.
            let burst = |&(second, value, quality): &(i64, f64, u8)| {
                (0..8).map(move |part| Sample {
                    quality: Quality::from_u8(quality).unwrap(),
                    ..sample(0, START + second * SECOND + part, value + part as f64)
                })
            };
            let mut all: Vec<Sample> = Vec::new();
            for (part, up_to) in seconds.chunks(150).zip(&merges) {
                let samples: Vec<Sample> = part.iter().flat_map(burst).collect();
                history.append(&samples).await.unwrap();
                all.extend(samples);
                history.merge(at(*up_to)).await.unwrap();
            }
            history.merge(at(20_000)).await.unwrap();
            // Two bursts may fall on one time: keep the order of arrival, and repetitions once.
            let raw = history.raw(TagId(0), UtcNanos::MIN, UtcNanos::MAX).await.unwrap();
            assert!(raw.len() <= all.len());
            let points = one(&history, 0, at(0), at(19_999), 20).await;
            assert_same(&points, &expected(&raw, at(0), at(19_999), step(at(0), at(19_999), 20)));
            assert_eq!(points.iter().map(|point| point.count as usize).sum::<usize>(), raw.len());
            assert_eq!(history.verify().await.unwrap(), []);
        });
    }
}

#[test]
fn a_gap_stays_a_gap_and_its_length_is_known() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.append(&long_run(4000)).await.unwrap();
        for merged in [false, true] {
            if merged {
                history.merge(at(10_000)).await.unwrap();
            }
            for pixels in [100, 2000] {
                let signals = history.signals(&[TagId(0)], at(2800), at(3500), pixels).await.unwrap();
                let signal = &signals[0];
                let gap = signal.points.windows(2).map(|pair| pair[1].time.since(pair[0].time)).max().unwrap();
                assert!(gap > signal.gap_ns, "the pause of 300 s is bridged: {gap} <= {}", signal.gap_ns);
                assert!(gap >= 290 * SECOND);
                let usual = signal.points[1].time.since(signal.points[0].time);
                assert!(usual <= signal.gap_ns, "neighbours are torn apart: {usual} > {}", signal.gap_ns);
            }
        }
    });
}

#[test]
fn a_bad_value_is_never_drawn() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        let bad: Vec<Sample> = (0..4000)
            .map(|second| Sample {
                quality: Quality::ALL[2 + second as usize % 4],
                ..sample(0, START + second * SECOND, 7.0)
            })
            .collect();
        history.append(&bad).await.unwrap();
        for up_to in [0, 10_000] {
            history.merge(at(up_to)).await.unwrap();
            for pixels in [10, 5000] {
                let points = one(&history, 0, at(0), at(4000), pixels).await;
                assert!(!points.is_empty());
                for point in points {
                    assert!(point.mean.is_nan() && point.min.is_nan() && point.max.is_nan() && point.last.is_nan());
                    assert!(!point.quality.is_usable() && point.count > 0);
                }
            }
        }
    });
}

#[test]
fn a_setpoint_holds_from_before_the_range() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.append(&[sample(2, START, 40.0), sample(2, START + 100 * SECOND, 55.0)]).await.unwrap();
        for up_to in [0, 1000] {
            history.merge(at(up_to)).await.unwrap();
            let signals = history.signals(&[TagId(2)], at(500), at(600), 100).await.unwrap();
            assert_eq!(
                signals[0].points.iter().map(|point| (point.time, point.last)).collect::<Vec<_>>(),
                [(at(100), 55.0)]
            );
            assert_eq!(signals[0].gap_ns, i64::MAX);
            let measured = one(&history, 0, at(500), at(600), 100).await;
            assert!(measured.is_empty(), "a measurement does not hold");
        }
    });
}

#[test]
fn impossible_questions_are_refused_and_absurd_ones_are_answered() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.append(&long_run(100)).await.unwrap();
        let error = history.signals(&[TagId(0)], at(10), at(5), 100).await.unwrap_err();
        assert!(error.to_string().contains("ends"), "{error}");
        assert!(history.signals(&[TagId(77)], at(0), at(5), 100).await.is_err());
        let points = one(&history, 0, UtcNanos::MIN, UtcNanos::MAX, 1_000_000_000).await;
        assert_eq!(points.iter().map(|point| point.count).sum::<u32>(), 1000);
        assert!(!one(&history, 0, UtcNanos::MIN, UtcNanos::MAX, 0).await.is_empty());
    });
}

#[test]
fn reading_goes_on_unmoved_while_batches_come_in_and_are_merged() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        let writer = history.clone();
        let task = tokio::spawn(async move {
            for second in 0..400 {
                let samples: Vec<Sample> =
                    (0..10).map(|part| sample(0, START + second * SECOND + part * SECOND / 10, 1.0)).collect();
                writer.append(&samples).await.unwrap();
                if second % 20 == 19 {
                    writer.merge(at(second - 5)).await.unwrap();
                }
            }
        });
        let mut seen = 0;
        while !task.is_finished() {
            let points = one(&history, 0, at(0), at(1000), 2000).await;
            let count: u32 = points.iter().map(|point| point.count).sum();
            assert!(
                count >= seen && count.is_multiple_of(10),
                "{count} after {seen}: a commit is seen whole or not at all"
            );
            seen = count;
        }
        task.await.unwrap();
        assert_eq!(one(&history, 0, at(0), at(1000), 2000).await.iter().map(|point| point.count).sum::<u32>(), 4000);
    });
}

#[test]
fn a_tag_that_is_asked_for_twice_is_answered_twice() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history
            .append(&(0..10).map(|second| sample(0, at(second).0, second as f64)).collect::<Vec<_>>())
            .await
            .unwrap();
        let tags = [TagId(0), TagId(1), TagId(0)];
        let signals = history.signals(&tags, at(0), at(10), 100).await.unwrap();
        assert_eq!(signals.iter().map(|signal| signal.points.len()).collect::<Vec<_>>(), [10, 0, 10]);
    });
}
