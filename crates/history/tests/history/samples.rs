use proptest::prelude::*;
use sightglass_protocol::{Quality, Sample, TagId, TimeSource, UtcNanos, time::SECOND};

use crate::{START, at, bits, folder, open, run, sample};

const ALL: (UtcNanos, UtcNanos) = (UtcNanos::MIN, UtcNanos::MAX);

#[test]
fn what_came_in_comes_out_bit_by_bit_before_and_after_merging() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        let strange = [
            sample(0, i64::MIN, 1.5),
            sample(0, i64::MAX, -0.0),
            Sample { quality: Quality::Missing, ..sample(0, START, f64::NAN) },
            Sample { quality: Quality::Bad, ..sample(0, START + 1, f64::from_bits(0x7ff8_0000_dead_beef)) },
            sample(0, START + 2, f64::INFINITY),
            sample(0, START + 3, f64::NEG_INFINITY),
            sample(0, START + 4, f64::MIN_POSITIVE / 4.0),
            Sample { time_source: TimeSource::Arrival, ..sample(0, START + 5, 9_007_199_254_740_993.0) },
            sample(0, -6_000_000_000 * SECOND, 1779.0),
        ];
        history.append(&strange).await.unwrap();
        let mut expected: Vec<_> = strange.iter().map(bits).collect();
        expected.sort_by_key(|bits| bits.0);
        for _ in 0..2 {
            let stored = history.raw(TagId(0), ALL.0, ALL.1).await.unwrap();
            assert_eq!(stored.iter().map(bits).collect::<Vec<_>>(), expected);
            history.merge(UtcNanos::MAX).await.unwrap();
            // The batch that reaches to the end of all time is never wholly before it; the next one is.
            history.append(&[sample(1, START, 0.0)]).await.unwrap();
        }
        assert!(history.verify().await.unwrap().is_empty());
    });
}

#[test]
fn the_same_sample_twice_is_there_once_and_two_values_of_one_time_stay_in_order() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        let first = sample(0, START, 1.0);
        let second = sample(0, START, 2.0);
        for merge in [false, true] {
            history.append(&[first, first, second]).await.unwrap();
            if merge {
                history.merge(at(60)).await.unwrap();
            }
            history.append(&[second, first]).await.unwrap();
            let stored = history.raw(TagId(0), ALL.0, ALL.1).await.unwrap();
            assert_eq!(stored, [first, second]);
        }
        history.merge(at(60)).await.unwrap();
        assert_eq!(history.raw(TagId(0), ALL.0, ALL.1).await.unwrap(), [first, second]);
        assert_eq!(history.summary().await.unwrap().samples, 2);
    });
}

#[test]
fn a_tag_that_the_plant_does_not_have_stores_nothing() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        let error = history.append(&[sample(0, START, 1.0), sample(9, START, 1.0)]).await.unwrap_err();
        assert!(error.to_string().contains("no tag with id 9"), "{error}");
        assert_eq!(history.summary().await.unwrap().samples, 0);
    });
}

#[test]
fn pages_deliver_every_tag_in_time_order_over_a_long_pause() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        let mut sent = Vec::new();
        for second in 0..20_000 {
            // A year lies between the two halves.
            let pause = if second < 10_000 { 0 } else { 365 * 86_400 };
            let time = START + (second + pause) * SECOND;
            sent.extend((0..4).map(|tag| sample(tag, time + i64::from(tag), second as f64)));
        }
        for part in sent.chunks(50_000) {
            history.append(part).await.unwrap();
        }
        history.merge(at(10_000)).await.unwrap();
        let mut pages = history.samples(ALL.0, ALL.1);
        let mut read = Vec::new();
        while let Some(page) = pages.next().await.unwrap() {
            assert!(!page.is_empty());
            read.extend(page);
        }
        assert_eq!(read.len(), sent.len());
        assert!(read == sent);
    });
}

/// Samples of two tags in commits, anywhere within an hour or beyond, of any quality.
fn commits() -> impl Strategy<Value = Vec<Vec<Sample>>> {
    let value = prop_oneof![
        5 => -100.0..100.0,
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        2 => (0..5i32).prop_map(f64::from),
    ];
    let one = (0..2u32, 0..3600i64, 0..3i64, value, 0..6u8).prop_map(|(tag, second, part, value, quality)| Sample {
        quality: Quality::from_u8(quality).unwrap(),
        ..sample(tag, START + second * SECOND + part, value)
    });
    prop::collection::vec(prop::collection::vec(one, 1..40), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn late_and_repeated_samples_in_any_commits_and_merges_end_as_if_they_had_come_in_order(
        commits in commits(),
        merges in prop::collection::vec(prop::option::of(0..4000i64), 12),
    ) {
        run(async move {
            let dir = folder();
            let history = open(&dir).await;
            let mut expected = [Vec::new(), Vec::new()];
            for (commit, merge) in commits.iter().zip(merges) {
                history.append(commit).await.unwrap();
                for sample in commit {
                    let tag = &mut expected[sample.tag.index()];
                    if !tag.contains(&bits(sample)) {
                        tag.push(bits(sample));
                    }
                }
                if let Some(up_to) = merge {
                    history.merge(at(up_to)).await.unwrap();
                }
            }
            for (tag, mut expected) in expected.into_iter().enumerate() {
                expected.sort_by_key(|bits| bits.0);
                // Of one time, the order of arrival is kept within what is merged and what is not; as a set, always.
                expected.sort();
                for _ in 0..2 {
                    let stored = history.raw(TagId::from_index(tag), ALL.0, ALL.1).await.unwrap();
                    assert!(stored.is_sorted_by_key(|sample| sample.time));
                    let mut stored: Vec<_> = stored.iter().map(bits).collect();
                    stored.sort();
                    assert_eq!(stored, expected);
                    history.merge(at(8000)).await.unwrap();
                }
            }
            assert_eq!(history.merge(at(8000)).await.unwrap(), Default::default());
            assert_eq!(history.verify().await.unwrap(), []);
        });
    }
}
