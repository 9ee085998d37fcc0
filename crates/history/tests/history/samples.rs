use std::collections::BTreeMap;

use proptest::prelude::*;
use sightglass_history::{History, Stretch};
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
fn the_same_sample_twice_is_there_once_and_a_corrected_value_keeps_the_old_one_in_the_audit() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        let first = sample(0, START, 1.0);
        let second = sample(0, START, 2.0);
        history.append(&[first, first]).await.unwrap();
        history.append(&[first]).await.unwrap();
        assert_eq!(history.raw(TagId(0), ALL.0, ALL.1).await.unwrap(), [first]);
        history.merge(at(60)).await.unwrap();
        history.append(&[first, second]).await.unwrap();
        for _ in 0..2 {
            assert_eq!(history.raw(TagId(0), ALL.0, ALL.1).await.unwrap(), [second]);
            history.merge(at(60)).await.unwrap();
        }
        // Sent again: nothing new.
        history.append(&[first, second, second]).await.unwrap();
        history.merge(at(60)).await.unwrap();
        assert_eq!(history.raw(TagId(0), ALL.0, ALL.1).await.unwrap(), [second]);
        assert_eq!(history.corrections(TagId(0), ALL.0, ALL.1).await.unwrap(), [first, first]);
        assert_eq!(history.corrections(TagId(1), ALL.0, ALL.1).await.unwrap(), []);
        let audit = history.entries(ALL.0, ALL.1, 10).await.unwrap();
        assert!(audit.iter().any(|entry| entry.text.contains("1 value of pressure")), "{audit:?}");
        assert_eq!(history.verify().await.unwrap(), []);
        assert_eq!(history.summary().await.unwrap().samples, 1);
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
        let mut pages = history.samples(at(0), ALL.1);
        let mut read = Vec::new();
        while let Some(page) = pages.next().await.unwrap() {
            assert!(!page.is_empty());
            read.extend(page);
        }
        assert_eq!(read.len(), sent.len());
        assert!(read == sent);
    });
}

#[test]
fn pages_are_of_one_moment_while_writing_and_merging_go_on() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        let sent: Vec<_> = (0..300_000).map(|index| sample(0, START + index * SECOND, index as f64)).collect();
        history.append(&sent).await.unwrap();
        history.merge(ALL.1).await.unwrap();
        let mut pages = history.samples(at(0), ALL.1);
        let mut read = pages.next().await.unwrap().unwrap();
        assert!(read.len() < sent.len());
        // A later sample, a correction of what is still to be read, and their merge.
        history
            .append(&[sample(0, START + 300_000 * SECOND, 0.0), sample(0, sent[299_999].time.0, -1.0)])
            .await
            .unwrap();
        history.append(&[sample(1, START + 400_000 * SECOND, 0.0)]).await.unwrap();
        history.merge(ALL.1).await.unwrap();
        while let Some(page) = pages.next().await.unwrap() {
            read.extend(page);
        }
        assert_eq!(read, sent);
        // Left alone in the middle, it holds nothing.
        let mut pages = history.samples(ALL.0, ALL.1);
        pages.next().await.unwrap();
        drop(pages);
        assert_eq!(history.raw(TagId(0), sent[299_999].time, ALL.1).await.unwrap().len(), 2);
        history.close().await.unwrap();
    });
}

#[test]
fn a_series_that_is_loaded_is_as_one_that_was_recorded() {
    run(async {
        let (dir, other) = (folder(), folder());
        let (loaded, recorded) = (open(&dir).await, open(&other).await);
        let samples: Vec<_> =
            (0..100_000).map(|index| sample(0, START + index * SECOND / 10, (index % 97) as f64)).collect();
        // The second stretch overlaps what is there.
        let stretches = [&samples[..60_000], &samples[50_000..]];
        for stretch in stretches {
            loaded.load(vec![Stretch { tag: TagId(0), samples: stretch.to_vec() }]).await.unwrap();
            recorded.append(stretch).await.unwrap();
        }
        for history in [&loaded, &recorded] {
            history.merge(at(20_000)).await.unwrap();
            assert_eq!(history.raw(TagId(0), ALL.0, ALL.1).await.unwrap(), samples);
            assert_eq!(history.verify().await.unwrap(), []);
        }
        let zoomed =
            |history: History| async move { history.signals(&[TagId(0)], at(0), at(10_000), 200).await.unwrap() };
        assert_eq!(zoomed(loaded).await[0].points, zoomed(recorded).await[0].points);
    });
}

#[test]
fn small_chunks_are_joined_no_further_back_than_to_where_late_samples_go() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        let seconds =
            |range: std::ops::Range<i64>| range.map(|second| sample(0, at(second).0, 1.0)).collect::<Vec<_>>();
        for part in [seconds(490..500), seconds(703..704), [seconds(600..601), seconds(800..820)].concat()] {
            history.append(&part).await.unwrap();
            history.merge(at(1000)).await.unwrap();
        }
        assert_eq!(history.raw(TagId(0), ALL.0, ALL.1).await.unwrap().len(), 32);
        assert_eq!(history.summary().await.unwrap().samples, 32);
    });
}

#[test]
fn small_commits_end_in_few_chunks_and_no_sample_is_written_often() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        let (mut written, count) = (0, 40_000);
        for minute in 0..count / 100 {
            let samples: Vec<_> = (0..100).map(|index| sample(0, at(minute * 100 + index).0, 1.0)).collect();
            history.append(&samples).await.unwrap();
            written += history.merge(at(minute * 100 + 100)).await.unwrap().samples_written;
        }
        assert!(written < 12 * count as u64, "{written}");
        history.close().await.unwrap();
        let history = open(&dir).await;
        assert_eq!(history.raw(TagId(0), ALL.0, ALL.1).await.unwrap().len(), count as usize);
        assert_eq!(history.unmerged_samples(), 0);
        assert_eq!(history.verify().await.unwrap(), []);
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
            let mut expected = [BTreeMap::new(), BTreeMap::new()];
            for (commit, merge) in commits.iter().zip(merges) {
                history.append(commit).await.unwrap();
                for sample in commit {
                    expected[sample.tag.index()].insert(sample.time, bits(sample));
                }
                if let Some(up_to) = merge {
                    history.merge(at(up_to)).await.unwrap();
                }
            }
            for (tag, expected) in expected.into_iter().enumerate() {
                let expected: Vec<_> = expected.into_values().collect();
                for _ in 0..2 {
                    let stored = history.raw(TagId::from_index(tag), ALL.0, ALL.1).await.unwrap();
                    assert_eq!(stored.iter().map(bits).collect::<Vec<_>>(), expected, "the last of each time");
                    history.merge(at(8000)).await.unwrap();
                }
            }
            assert_eq!(history.merge(at(8000)).await.unwrap(), Default::default());
            assert_eq!(history.verify().await.unwrap(), []);
        });
    }
}
