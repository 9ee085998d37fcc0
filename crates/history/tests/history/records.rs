use sightglass_history::EntryClass;
use sightglass_protocol::{
    Advisory, AdvisoryChange, AdvisoryId, AdvisoryKind, Band, CameraId, Cause, Health, HealthState, LineId, PatchMap,
    ScorePart, Subject, TagId, UtcNanos,
};

use crate::{at, folder, open, run};

pub(crate) fn advisory(id: u64, since: i64) -> Advisory {
    Advisory {
        id: AdvisoryId(id),
        line: LineId(0),
        kind: AdvisoryKind::Sensor,
        title: "level does not change".to_owned(),
        since: at(since),
        opened: at(since + 5),
        last_seen: at(since + 5),
        closed: None,
        peak: 2.5,
        confidence: 0.75,
        causes: vec![
            Cause {
                subject: Subject::Tag(TagId(1)),
                share: 0.9,
                predicted: Some(Band { low: 1.0, mid: 2.0, high: 3.0 }),
                actual: Some(9.0),
                reason: "off its prediction".to_owned(),
            },
            Cause {
                subject: Subject::Camera(CameraId(0)),
                share: 0.1,
                predicted: None,
                actual: None,
                reason: "looks unlike normal running".to_owned(),
            },
        ],
        patches: vec![PatchMap {
            camera: CameraId(0),
            rows: 2,
            cols: 2,
            scores: vec![0.0, 1.0, f32::MAX, 0.5],
            part: ScorePart::Appearance,
        }],
    }
}

#[test]
fn an_advisory_lives_from_its_opening_to_its_close() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        let line = LineId(0);
        assert_eq!(history.next_advisory_id().await.unwrap(), AdvisoryId(1));
        let mut one = advisory(1, 100);
        history.put_advisory(&AdvisoryChange::Opened(one.clone())).await.unwrap();
        assert_eq!(history.next_advisory_id().await.unwrap(), AdvisoryId(2));
        assert_eq!(history.open_advisories(line, at(105)).await.unwrap(), [one.clone()]);
        assert_eq!(history.open_advisories(line, at(104)).await.unwrap(), []);
        one.peak = 4.0;
        one.last_seen = at(120);
        history.put_advisory(&AdvisoryChange::Updated(one.clone())).await.unwrap();
        one.closed = Some(at(130));
        history.put_advisory(&AdvisoryChange::Closed(one.clone())).await.unwrap();
        assert_eq!(history.open_advisories(line, at(130)).await.unwrap(), []);
        assert_eq!(history.open_advisories(line, at(129)).await.unwrap(), [one.clone()]);
        let two = advisory(2, 200);
        history.put_advisory(&AdvisoryChange::Opened(two.clone())).await.unwrap();
        let all = history.advisories(Some(line), at(0), at(1000), 200).await.unwrap();
        assert_eq!(all, [two.clone(), one.clone()], "newest first");
        assert_eq!(history.advisories(None, at(0), at(1000), 1).await.unwrap(), std::slice::from_ref(&two));
        assert_eq!(history.advisories(None, at(131), at(199), 200).await.unwrap(), []);
        assert_eq!(history.advisories(None, at(90), at(100), 200).await.unwrap(), [one]);
        assert_eq!(history.advisories(Some(LineId(1)), at(0), at(1000), 200).await.unwrap(), []);
        let recorded = history.recorded(line).await.unwrap();
        assert_eq!(recorded.advisories, [(at(100), Some(at(130)), AdvisoryId(1)), (at(200), None, AdvisoryId(2))]);
        let events = history.entries(at(0), at(1000), 100).await.unwrap();
        let kinds: Vec<_> = events.iter().map(|event| event.subject.as_str()).collect();
        assert_eq!(kinds, ["advisory opened", "advisory closed", "advisory opened"]);
    });
}

#[test]
fn an_advisory_left_open_by_a_crash_is_closed_with_a_note() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.put_advisory(&AdvisoryChange::Opened(advisory(1, 100))).await.unwrap();
        drop(history);
        let history = open(&dir).await;
        let closed = history.close_dangling_advisories().await.unwrap();
        assert_eq!(closed, [Advisory { closed: Some(at(105)), ..advisory(1, 100) }]);
        assert_eq!(history.advisories(None, at(0), at(1000), 9).await.unwrap(), closed);
        let events = history.entries(UtcNanos::MIN, UtcNanos::MAX, 1).await.unwrap();
        assert!(events[0].text.contains("the engine ended while it was open"), "{events:?}");
        assert_eq!(history.close_dangling_advisories().await.unwrap(), []);
        assert_eq!(history.verify().await.unwrap(), []);
    });
}

#[test]
fn health_is_the_newest_state_of_each_source() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        let health = |subject, source: &str, state, since| Health {
            subject,
            source: source.to_owned(),
            state,
            since: at(since),
            reason: "line 7: not a number".to_owned(),
        };
        let failed = health(None, "samples.csv", HealthState::Failure, 10);
        let frozen = health(Some(Subject::Camera(CameraId(0))), "nozzle", HealthState::CheckFunction, 20);
        let good = health(None, "samples.csv", HealthState::Good, 30);
        for health in [&failed, &frozen, &good] {
            history.put_health(health).await.unwrap();
        }
        assert_eq!(history.health_at(at(9)).await.unwrap(), []);
        assert_eq!(history.health_at(at(25)).await.unwrap(), [failed, frozen.clone()]);
        assert_eq!(history.health_at(at(30)).await.unwrap(), [frozen]);
        assert_eq!(history.entries(at(0), at(100), 10).await.unwrap().len(), 3);
    });
}

#[test]
fn events_and_audit_are_kept_in_one_order() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.put_event(at(1), "engine", "started").await.unwrap();
        history.put_audit(at(2), "meyer", "acknowledged advisory 3").await.unwrap();
        // The clock was set back: the place in the chain tells the truth.
        history.put_event(at(0), "engine", "stopped").await.unwrap();
        let entries = history.entries(UtcNanos::MIN, UtcNanos::MAX, 10).await.unwrap();
        assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [2, 1, 3]);
        assert_eq!(entries[0].class, EntryClass::Audit);
        assert_eq!(history.verify().await.unwrap(), []);
    });
}
