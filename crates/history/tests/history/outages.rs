//! Stretches in which nothing could be recorded.

use sightglass_history::{FILE_NAME, HistoryError, Outage, OutageKind};
use sightglass_protocol::UtcNanos;
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};

use crate::{at, folder, open, run};

fn outage(kind: OutageKind, from: i64, to: Option<i64>) -> Outage {
    Outage { kind, from: at(from), to: to.map(at), reason: format!("because of {from}") }
}

#[test]
fn an_outage_is_found_by_its_time_and_told_as_an_event() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.put_outage(&outage(OutageKind::DiskFull, 10, Some(20))).await.unwrap();
        let lasting = history.put_outage(&outage(OutageKind::FolderAway, 100, None)).await.unwrap();
        let of = |from, to| {
            let history = history.clone();
            async move {
                let found = history.outages(at(from), at(to)).await.unwrap();
                found.into_iter().map(|(_, outage)| (outage.kind, outage.to)).collect::<Vec<_>>()
            }
        };
        assert_eq!(of(0, 9).await, []);
        assert_eq!(of(15, 16).await, [(OutageKind::DiskFull, Some(at(20)))]);
        assert_eq!(of(20, 500).await.len(), 2);
        assert_eq!(of(500, 600).await, [(OutageKind::FolderAway, None)], "it lasts");
        history.close_outage(lasting, at(130)).await.unwrap();
        assert_eq!(of(500, 600).await, []);
        let told: Vec<_> = history.entries(UtcNanos::MIN, UtcNanos::MAX, 10).await.unwrap();
        let told: Vec<_> = told.iter().map(|entry| (entry.time, entry.text.as_str())).collect();
        assert_eq!(
            told,
            [
                (at(130), "folder away: nothing was recorded for 30.0 s: because of 100"),
                (at(100), "folder away: nothing is recorded: because of 100"),
                (at(20), "disk full: nothing was recorded for 10.0 s: because of 10"),
            ]
        );
    });
}

#[test]
fn an_outage_that_ends_before_it_begins_is_refused() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        let error = history.put_outage(&outage(OutageKind::EngineStopped, 10, Some(9))).await.unwrap_err();
        assert!(matches!(error, HistoryError::BadQuery { .. }), "{error}");
        let id = history.put_outage(&outage(OutageKind::EngineStopped, 10, None)).await.unwrap();
        assert!(matches!(history.close_outage(id, at(9)).await, Err(HistoryError::BadQuery { .. })));
    });
}

#[test]
fn a_changed_outage_is_damage() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.put_outage(&outage(OutageKind::DiskFull, 10, Some(20))).await.unwrap();
        history.close().await.unwrap();
        let mut connection = SqliteConnectOptions::new().filename(dir.path().join(FILE_NAME)).connect().await.unwrap();
        sqlx::query("UPDATE outage SET to_time = to_time + 1").execute(&mut connection).await.unwrap();
        sqlx::Connection::close(connection).await.unwrap();
        let error = open(&dir).await.outages(at(0), at(100)).await.unwrap_err();
        assert!(matches!(error, HistoryError::Damaged { .. }), "{error}");
    });
}
