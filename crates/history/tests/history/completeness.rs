use sightglass_history::{
    Budget, Completeness, FILE_NAME, Gap, GapReason, History, Keep, Outage, OutageKind, TagCompleteness,
};
use sightglass_protocol::{Health, HealthState, PlantInfo, Quality, Sample, Subject, TagId, UtcNanos, time::SECOND};
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};

use crate::{START, at, folder, open, plant, run, sample};

/// One sample a second from `from` up to `to`.
fn every_second(tag: u32, from: i64, to: i64) -> Vec<Sample> {
    (from..to).map(|second| sample(tag, at(second).0, (second % 7) as f64)).collect()
}

fn with(quality: Quality, samples: Vec<Sample>) -> Vec<Sample> {
    samples.into_iter().map(|sample| Sample { quality, ..sample }).collect()
}

async fn certificate(history: &History, tag: u32, from: i64, to: i64) -> TagCompleteness {
    let mut certificate = history.completeness(&[TagId(tag)], at(from), at(to)).await.unwrap();
    assert_eq!((certificate.from, certificate.to, certificate.tags.len()), (at(from), at(to), 1));
    certificate.tags.remove(0)
}

/// From, to, reason and missing samples of each gap, in seconds.
fn gaps(tag: &TagCompleteness) -> Vec<(i64, i64, GapReason, u64)> {
    let seconds = |time: UtcNanos| time.since(UtcNanos(START)) / SECOND;
    tag.gaps.iter().map(|gap: &Gap| (seconds(gap.from), seconds(gap.to), gap.reason, gap.missing)).collect()
}

fn counts(tag: &TagCompleteness) -> (Option<u64>, u64, u64) {
    (tag.expected, tag.present, tag.good)
}

#[test]
fn what_is_all_there_is_certified_as_all_there_merged_or_not() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.begin_session(at(0)).await.unwrap();
        history.append(&every_second(0, 0, 20_000)).await.unwrap();
        for merged in [false, true] {
            if merged {
                history.merge(at(30_000)).await.unwrap();
            }
            let tag = certificate(&history, 0, 0, 20_000).await;
            assert_eq!(counts(&tag), (Some(20_000), 20_000, 20_000), "merged: {merged}");
            assert_eq!((tag.share, tag.good_share, gaps(&tag)), (1.0, 1.0, vec![]));
            assert_eq!((tag.intervals_ns.as_slice(), tag.covered_ns), ([SECOND].as_slice(), 20_000 * SECOND));
            let part = certificate(&history, 0, 5_003, 9_001).await;
            assert_eq!(counts(&part), (Some(3_998), 3_998, 3_998));
        }
    });
}

#[test]
fn each_gap_has_the_reason_that_is_on_record() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.begin_session(at(0)).await.unwrap();
        // Seconds 100 to 200 source down, 300 to 400 bad, 500 to 600 disk full, 700 to 800 folder away, 900 to 1000
        // nobody knows.
        for from in [0, 200, 400, 600, 800] {
            history.append(&every_second(0, from, from + 100)).await.unwrap();
        }
        history.append(&with(Quality::Bad, every_second(0, 300, 400))).await.unwrap();
        history.append(&every_second(0, 1000, 1100)).await.unwrap();
        let health = |state, since| Health {
            subject: Some(Subject::Tag(TagId(0))),
            source: "plc".to_owned(),
            state,
            since: at(since),
            reason: "no answer".to_owned(),
        };
        history.put_health(&health(HealthState::Failure, 100)).await.unwrap();
        history.put_health(&health(HealthState::Good, 200)).await.unwrap();
        for (kind, from) in [(OutageKind::DiskFull, 500), (OutageKind::FolderAway, 700)] {
            let outage = Outage { kind, from: at(from), to: Some(at(from + 100)), reason: "told".to_owned() };
            history.put_outage(&outage).await.unwrap();
        }
        let expected = [
            (100, 200, GapReason::SourceDown, 100),
            (300, 400, GapReason::BadQuality, 0),
            (500, 600, GapReason::DiskFull, 100),
            (700, 800, GapReason::FolderAway, 100),
            (900, 1000, GapReason::Unexplained, 100),
        ];
        for merged in [false, true] {
            if merged {
                history.merge(at(30_000)).await.unwrap();
            }
            let tag = certificate(&history, 0, 0, 1100).await;
            assert_eq!(gaps(&tag), expected, "merged: {merged}");
            assert_eq!(counts(&tag), (Some(1100), 700, 600));
            assert_eq!(tag.covered_ns, 600 * SECOND);
            assert!(tag.gaps[0].detail.contains("plc: failure: no answer"), "{:?}", tag.gaps[0]);
            assert_eq!(tag.gaps[1].detail, "bad");
            let sums: Vec<_> = tag.by_reason.iter().map(|sum| (sum.gaps, sum.ns / SECOND, sum.missing)).collect();
            assert_eq!(sums, [(1, 100, 100), (1, 100, 0), (1, 100, 100), (1, 100, 100), (1, 100, 100)]);
        }
    });
}

#[test]
fn a_source_that_is_down_explains_its_plants_gaps_until_the_engine_starts_anew() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.begin_session(at(0)).await.unwrap();
        history.append(&every_second(0, 0, 100)).await.unwrap();
        let down = Health {
            subject: None,
            source: "line.csv".to_owned(),
            state: HealthState::CheckFunction,
            since: at(99),
            reason: "delivers nothing".to_owned(),
        };
        history.put_health(&down).await.unwrap();
        history.append(&every_second(0, 200, 300)).await.unwrap();
        history.end_session(at(299)).await.unwrap();
        history.close().await.unwrap();
        let history = open(&dir).await;
        history.begin_session(at(400)).await.unwrap();
        history.append(&every_second(0, 400, 500)).await.unwrap();
        history.append(&every_second(0, 600, 700)).await.unwrap();
        let tag = certificate(&history, 0, 0, 700).await;
        assert_eq!(
            gaps(&tag),
            [
                (100, 200, GapReason::SourceDown, 100),
                (300, 400, GapReason::EngineStopped, 100),
                (500, 600, GapReason::Unexplained, 100)
            ]
        );
        assert!(tag.gaps[0].detail.contains("line.csv"), "{:?}", tag.gaps);
        assert_eq!(tag.gaps[1].detail, "it was stopped");
    });
}

#[test]
fn between_two_runs_the_engine_was_stopped_and_a_death_ends_at_the_last_record() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.begin_session(at(0)).await.unwrap();
        history.append(&every_second(0, 5, 100)).await.unwrap();
        assert_eq!(history.sessions().await.unwrap()[0].ended, None);
        // As if killed.
        drop(history);
        let history = open(&dir).await;
        let died = history.sessions().await.unwrap();
        assert_eq!((died[0].started, died[0].ended, died[0].is_clean), (at(0), Some(at(99)), false));
        history.begin_session(at(250)).await.unwrap();
        history.append(&every_second(0, 250, 300)).await.unwrap();
        history.end_session(at(310)).await.unwrap();
        let outages = history.outages(at(0), at(1000)).await.unwrap();
        assert_eq!(outages.len(), 1);
        let outage = &outages[0].1;
        assert_eq!((outage.kind, outage.from, outage.to), (OutageKind::EngineStopped, at(99), Some(at(250))));
        assert_eq!(outage.reason, "it was killed, or the power went");
        let tag = certificate(&history, 0, -50, 400).await;
        assert_eq!(
            gaps(&tag),
            [
                (-50, 0, GapReason::NotYetBegun, 50),
                (0, 5, GapReason::Unexplained, 5),
                (100, 250, GapReason::EngineStopped, 150),
                (300, 310, GapReason::Unexplained, 10),
                (310, 400, GapReason::EngineStopped, 90),
            ]
        );
        assert_eq!(counts(&tag), (Some(450), 145, 145));
        assert_eq!(history.verify().await.unwrap(), []);
        history.close().await.unwrap();
        let closed = History::open_read_only(dir.path()).await.unwrap().sessions().await.unwrap();
        assert!(closed[1].is_clean && closed[1].ended == Some(at(310)), "{closed:?}");
    });
}

#[test]
fn a_run_with_a_clock_that_was_set_back_leaves_no_outage_and_hides_no_gap() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.begin_session(at(1000)).await.unwrap();
        history.append(&every_second(0, 1000, 1200)).await.unwrap();
        history.end_session(at(1199)).await.unwrap();
        history.close().await.unwrap();
        // The clock is an hour back, and one sample is dated far ahead.
        let history = open(&dir).await;
        history.begin_session(at(500)).await.unwrap();
        history.append(&every_second(0, 500, 700)).await.unwrap();
        history.append(&[sample(1, at(1_000_000).0, 1.0)]).await.unwrap();
        drop(history);
        let history = open(&dir).await;
        history.begin_session(at(900)).await.unwrap();
        history.append(&every_second(0, 900, 1000)).await.unwrap();
        let outages: Vec<_> = history.outages(at(0), at(9000)).await.unwrap();
        let outages: Vec<_> = outages.iter().map(|(_, outage)| (outage.from, outage.to)).collect();
        assert_eq!(outages, [(at(699), Some(at(900)))], "the sample from the future does not hide it");
        history.merge(at(5000)).await.unwrap();
        let tag = certificate(&history, 0, 500, 1200).await;
        assert_eq!(gaps(&tag), [(700, 900, GapReason::EngineStopped, 200)]);
        assert_eq!(counts(&tag), (Some(700), 500, 500));
    });
}

#[test]
fn late_samples_close_their_gap_at_once() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.begin_session(at(0)).await.unwrap();
        history.append(&every_second(0, 0, 5000)).await.unwrap();
        history.append(&every_second(0, 6000, 12_000)).await.unwrap();
        history.merge(at(20_000)).await.unwrap();
        let before = certificate(&history, 0, 0, 12_000).await;
        assert_eq!(gaps(&before), [(5000, 6000, GapReason::Unexplained, 1000)]);
        assert_eq!(counts(&before), (Some(12_000), 11_000, 11_000));
        history.append(&every_second(0, 5100, 6000)).await.unwrap();
        // The same sample twice is one.
        history.append(&every_second(0, 5900, 6100)).await.unwrap();
        for merged in [false, true] {
            if merged {
                history.merge(at(20_000)).await.unwrap();
            }
            let after = certificate(&history, 0, 0, 12_000).await;
            assert_eq!(gaps(&after), [(5000, 5100, GapReason::Unexplained, 100)], "merged: {merged}");
            assert_eq!(counts(&after), (Some(12_000), 11_900, 11_900));
        }
    });
}

#[test]
fn a_tag_may_have_two_intervals_in_one_range() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.begin_session(at(0)).await.unwrap();
        history.append(&every_second(0, 0, 6000)).await.unwrap();
        let fast: Vec<_> = (0..60_000).map(|index| sample(0, at(6000).0 + index * SECOND / 10, 1.0)).collect();
        let (kept, _lost): (Vec<_>, Vec<_>) = fast.into_iter().partition(|s| !(at(7000)..at(7060)).contains(&s.time));
        history.append(&kept).await.unwrap();
        for merged in [false, true] {
            if merged {
                history.merge(at(20_000)).await.unwrap();
            }
            let tag = certificate(&history, 0, 0, 12_000).await;
            assert_eq!(gaps(&tag), [(7000, 7060, GapReason::Unexplained, 600)], "merged: {merged}");
            assert_eq!(counts(&tag), (Some(66_000), 65_400, 65_400));
            assert_eq!(tag.intervals_ns, [SECOND / 10, SECOND]);
        }
    });
}

#[test]
fn a_burst_does_not_make_up_for_a_hole() {
    run(async {
        let dir = folder();
        let broken = open(&dir).await;
        broken.begin_session(at(0)).await.unwrap();
        // Of one chunk of some thousand samples ninety are missing, and ninety more came in between others.
        let mut samples = every_second(0, 0, 25_000);
        samples.retain(|sample| !(at(10_000)..at(10_090)).contains(&sample.time));
        samples.extend((0..90).map(|index| sample(0, at(11_000 + index).0 + SECOND / 2, 1.0)));
        broken.append(&samples).await.unwrap();
        broken.merge(at(30_000)).await.unwrap();
        let tag = certificate(&broken, 0, 0, 25_000).await;
        assert_eq!(gaps(&tag), [(10_000, 10_090, GapReason::Unexplained, 90)]);
    });
}

#[test]
fn single_samples_that_are_missing_are_counted_but_are_no_gap() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.begin_session(at(0)).await.unwrap();
        let mut samples = every_second(0, 0, 10_000);
        samples.retain(|sample| sample.time.since(at(0)) / SECOND % 5 != 4);
        history.append(&samples).await.unwrap();
        for merged in [false, true] {
            if merged {
                history.merge(at(20_000)).await.unwrap();
            }
            let tag = certificate(&history, 0, 0, 10_000).await;
            assert_eq!((counts(&tag), gaps(&tag)), ((Some(10_000), 8000, 8000), vec![]), "merged: {merged}");
            assert_eq!(tag.share, 0.8);
        }
    });
}

#[test]
fn a_device_with_a_coarse_clock_is_not_taken_for_one_that_misses_samples() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.begin_session(at(0)).await.unwrap();
        // Thirty a second on a grid of milliseconds: 33, 33 and 34 ms apart.
        let samples: Vec<_> =
            (0..30_000).map(|index| sample(0, START + index * 1000 / 30 * 1_000_000, index as f64)).collect();
        history.append(&samples).await.unwrap();
        history.merge(at(5000)).await.unwrap();
        let tag = certificate(&history, 0, 0, 1000).await;
        assert_eq!((counts(&tag), gaps(&tag)), ((Some(30_000), 30_000, 30_000), vec![]));
    });
}

/// The plant with another unit of its first tag.
fn in_unit(unit: &str) -> PlantInfo {
    let mut plant = plant();
    plant.tags[0].unit = unit.to_owned();
    plant
}

#[test]
fn a_tag_whose_unit_changed_is_one_tag() {
    run(async {
        let dir = folder();
        let history = History::open(dir.path(), &in_unit("bar")).await.unwrap();
        history.begin_session(at(0)).await.unwrap();
        history.append(&every_second(0, 0, 1000)).await.unwrap();
        history.end_session(at(999)).await.unwrap();
        history.close().await.unwrap();
        let history = History::open(dir.path(), &in_unit("kPa")).await.unwrap();
        history.begin_session(at(1100)).await.unwrap();
        history.append(&every_second(0, 1100, 2000)).await.unwrap();
        for merged in [false, true] {
            if merged {
                history.merge(at(20_000)).await.unwrap();
            }
            let tag = certificate(&history, 0, 0, 2000).await;
            assert_eq!(gaps(&tag), [(1000, 1100, GapReason::EngineStopped, 100)], "merged: {merged}");
            assert_eq!(counts(&tag), (Some(2000), 1900, 1900));
            assert_eq!(tag.units, ["kPa", "bar"]);
        }
    });
}

#[test]
fn a_tag_that_was_not_in_the_plant_or_is_new_says_so() {
    run(async {
        let dir = folder();
        let without = {
            let mut plant = plant();
            plant.tags[0].name = "temperature".to_owned();
            plant
        };
        let session = async |plant: &PlantInfo, from: i64, to: i64| {
            let history = History::open(dir.path(), plant).await.unwrap();
            history.begin_session(at(from)).await.unwrap();
            history.append(&every_second(0, from, to)).await.unwrap();
            history.end_session(at(to)).await.unwrap();
            history.close().await.unwrap();
        };
        session(&without, 0, 100).await;
        session(&plant(), 100, 200).await;
        session(&without, 200, 300).await;
        session(&plant(), 300, 400).await;
        let history = open(&dir).await;
        let tag = certificate(&history, 0, 0, 400).await;
        assert_eq!(
            gaps(&tag),
            [(0, 100, GapReason::NotYetBegun, 100), (200, 300, GapReason::NotInPlant, 100)],
            "{:?}",
            tag.gaps
        );
    });
}

#[test]
fn what_retention_took_is_missing_for_that_reason() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.begin_session(at(0)).await.unwrap();
        history.append(&every_second(0, 0, 100_000)).await.unwrap();
        history.merge(at(200_000)).await.unwrap();
        // As retention leaves it.
        let day = 86_400;
        let keep = Keep { samples: Budget { days: Some(1), bytes: None }, ..Keep::default() };
        history.apply_retention(at(day + 60_000), keep).await.unwrap();
        let mut connection = SqliteConnectOptions::new().filename(dir.path().join(FILE_NAME)).connect().await.unwrap();
        sqlx::query("INSERT INTO kept_from (what, time) VALUES ('samples', ?1) ON CONFLICT DO UPDATE SET time = ?1")
            .bind(at(60_000).0)
            .execute(&mut connection)
            .await
            .unwrap();
        sqlx::Connection::close(connection).await.unwrap();
        let tag = certificate(&history, 0, 0, 100_000).await;
        let gap = tag.gaps.first().unwrap();
        assert_eq!((gap.from, gap.reason), (at(0), GapReason::Retention), "{gap:?}");
        // Whole chunks go, so that more than was asked may be left.
        assert!(gap.to > at(0) && gap.to <= at(60_000), "{gap:?}");
        assert_eq!(tag.gaps.len(), 1);
        assert_eq!(tag.expected, Some(100_000));
    });
}

#[test]
fn a_range_beyond_the_last_record_is_not_yet_recorded() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.begin_session(at(0)).await.unwrap();
        history.append(&every_second(0, 0, 100)).await.unwrap();
        let tag = certificate(&history, 0, 0, 200).await;
        assert_eq!(gaps(&tag), [(100, 200, GapReason::NotYetRecorded, 100)]);
        let nothing = certificate(&history, 1, 0, 50).await;
        assert_eq!(gaps(&nothing), [(0, 50, GapReason::Unexplained, 50)]);
        assert_eq!(counts(&nothing), (Some(50), 0, 0));
        let error = history.completeness(&[TagId(0)], at(5), at(5)).await.unwrap_err();
        assert!(error.to_string().contains("range"), "{error}");
        let error = history.completeness(&[TagId(99)], at(5), at(6)).await.unwrap_err();
        assert!(error.to_string().contains("99"), "{error}");
    });
}

#[test]
fn a_setpoint_counts_by_the_time_for_which_its_value_is_known() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.begin_session(at(0)).await.unwrap();
        history.append(&[sample(2, at(100).0, 50.0), sample(2, at(150).0, 60.0)]).await.unwrap();
        history.append(&[Sample { quality: Quality::Bad, ..sample(2, at(200).0, 0.0) }]).await.unwrap();
        history.append(&[sample(2, at(250).0, 60.0), sample(0, at(400).0, 1.0)]).await.unwrap();
        history.end_session(at(400)).await.unwrap();
        history.close().await.unwrap();
        let history = open(&dir).await;
        history.begin_session(at(500)).await.unwrap();
        history
            .append(&[sample(0, at(500).0, 1.0), sample(2, at(550).0, 60.0), sample(0, at(1000).0, 1.0)])
            .await
            .unwrap();
        for merged in [false, true] {
            if merged {
                history.merge(at(20_000)).await.unwrap();
            }
            let tag = certificate(&history, 2, 0, 1000).await;
            assert_eq!(
                gaps(&tag),
                [
                    (0, 100, GapReason::Unexplained, 0),
                    (200, 250, GapReason::BadQuality, 0),
                    (400, 500, GapReason::EngineStopped, 0),
                    (500, 550, GapReason::EngineStopped, 0),
                ],
                "merged: {merged}"
            );
            assert_eq!(tag.gaps[3].detail, "no value since");
            assert_eq!((tag.by_exception, tag.expected, tag.present, tag.good), (true, None, 5, 4));
            assert_eq!(tag.share, 0.7);
            let part = certificate(&history, 2, 120, 190).await;
            assert_eq!((gaps(&part), part.share, part.present), (vec![], 1.0, 1), "the value from before holds");
        }
    });
}

#[test]
fn damage_is_a_gap_of_its_own_and_is_listed_as_evidence() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.begin_session(at(0)).await.unwrap();
        history.put_event(at(3), "test", "an entry").await.unwrap();
        history.append(&every_second(0, 0, 100_000)).await.unwrap();
        history.merge(at(200_000)).await.unwrap();
        let whole = history.completeness(&[TagId(0)], at(0), at(100_000)).await.unwrap();
        assert_eq!((whole.evidence.damaged.len(), whole.evidence.journal_seq), (0, 1));
        assert_eq!(whole.evidence.journal_hash.len(), 64);
        let mut connection = SqliteConnectOptions::new().filename(dir.path().join(FILE_NAME)).connect().await.unwrap();
        sqlx::query("UPDATE chunk SET crc = crc + 1 WHERE id = 2").execute(&mut connection).await.unwrap();
        sqlx::query("DELETE FROM rollup").execute(&mut connection).await.unwrap();
        sqlx::Connection::close(connection).await.unwrap();
        let broken: Completeness = history.completeness(&[TagId(0)], at(0), at(100_000)).await.unwrap();
        let tag = &broken.tags[0];
        assert_eq!(tag.gaps.len(), 1, "{:?}", tag.gaps);
        assert_eq!(tag.gaps[0].reason, GapReason::Damaged);
        assert_eq!(tag.expected, Some(100_000));
        assert_eq!(tag.present + tag.gaps[0].missing, 100_000);
        assert_eq!(broken.evidence.damaged[0].place, "chunk 2");
    });
}

#[test]
fn a_long_range_is_certified_without_reading_its_samples() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.begin_session(at(0)).await.unwrap();
        let days = 10;
        let seconds = days * 86_400;
        for hour in 0..days * 24 {
            let mut samples = every_second(0, hour * 3600, (hour + 1) * 3600);
            if hour == 30 {
                samples = with(Quality::Frozen, samples);
            }
            if hour == 50 {
                samples.truncate(1800);
            }
            history.append(&samples).await.unwrap();
            history.merge(at((hour + 1) * 3600)).await.unwrap();
        }
        history.merge(at(seconds + 2_000_000)).await.unwrap();
        let certificate = history.completeness(&[TagId(0)], at(0), at(seconds)).await.unwrap();
        let tag = &certificate.tags[0];
        assert_eq!(
            gaps(tag),
            [
                (30 * 3600, 31 * 3600, GapReason::BadQuality, 0),
                (50 * 3600 + 1800, 51 * 3600, GapReason::Unexplained, 1800)
            ]
        );
        let total = seconds as u64;
        assert_eq!(counts(tag), (Some(total), total - 1800, total - 1800 - 3600));
        let evidence = &certificate.evidence;
        assert!(evidence.samples_decoded * 5 < total, "{evidence:?}");
        assert!(evidence.chunks_by_header > 20, "{evidence:?}");
    });
}
