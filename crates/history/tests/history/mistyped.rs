//! A flipped bit may change the type of a stored value, which SQLite does not look at when it reads.

use std::path::Path;

use sightglass_history::{FILE_NAME, History, HistoryError, Outage, OutageKind};
use sightglass_protocol::{
    AdvisoryChange, CameraId, Health, HealthState, LineId, Segment, Subject, TagId, time::SECOND,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{START, at, folder, model_output::output, open, records::advisory, run, sample};

const LINE: LineId = LineId(0);

/// At least one row in each table that is read row by row.
async fn filled(dir: &tempfile::TempDir) {
    let history = open(dir).await;
    let values = |from: i64, to: i64, value: f64| -> Vec<_> {
        (from..to).map(|second| sample(0, START + second * SECOND, value + second as f64)).collect()
    };
    history.append(&values(0, 20_000, 0.5)).await.unwrap();
    history.merge(at(30_000)).await.unwrap();
    history.append(&values(10, 20, 7.5)).await.unwrap();
    history.merge(at(30_000)).await.unwrap();
    history.append(&values(20_000, 20_100, 0.5)).await.unwrap();
    let outputs: Vec<_> = (0..60).map(output).collect();
    history.put_outputs(&outputs).await.unwrap();
    history.put_advisory(&AdvisoryChange::Opened(advisory(1, 10))).await.unwrap();
    let health = Health {
        subject: Some(Subject::Tag(TagId(0))),
        source: "press.csv".to_owned(),
        state: HealthState::Failure,
        since: at(30),
        reason: "line 3: not a number".to_owned(),
    };
    history.put_health(&health).await.unwrap();
    let reason = "no space left".to_owned();
    history.put_outage(&Outage { kind: OutageKind::DiskFull, from: at(40), to: Some(at(45)), reason }).await.unwrap();
    std::fs::create_dir(dir.path().join("video")).unwrap();
    let path = "video/0.mkv".to_owned();
    std::fs::write(dir.path().join(&path), [7; 500]).unwrap();
    let segment = Segment { camera: CameraId(0), path, start: at(0), end: Some(at(60)), frames: 900, bytes: 500 };
    history.put_segment(&segment).await.unwrap();
    history.put_event(at(1), "engine", "started").await.unwrap();
    history.close().await.unwrap();
}

async fn direct(dir: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(dir.join(FILE_NAME)).foreign_keys(false);
    options.pragma("ignore_check_constraints", "ON").connect().await.unwrap()
}

/// Reads all there is; what each question answered.
async fn read_all(history: &History) -> Vec<(&'static str, Option<HistoryError>)> {
    let (tags, from, to) = ([TagId(0), TagId(1)], at(0), at(100_000));
    let mut pages = history.samples(from, to);
    let mut paged = None;
    loop {
        match pages.next().await {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(error) => {
                paged = Some(error);
                break;
            }
        }
    }
    vec![
        ("samples", paged),
        ("raw", history.raw(TagId(0), from, to).await.err()),
        ("corrections", history.corrections(TagId(0), from, to).await.err()),
        ("signals", history.signals(&tags, from, to, 100).await.err()),
        ("signals of a day", history.signals(&tags, from, to, 2000).await.err()),
        ("bands", history.bands(LINE, &tags, from, to, 100).await.err()),
        ("forecast", history.forecast_at(LINE, at(50)).await.err()),
        ("surprise", history.surprise_at(LINE, at(50)).await.err()),
        ("scores", history.scores(LINE, from, at(50), 10_000).await.err()),
        ("recorded scores", history.recorded_scores(LINE, from, to).await.err()),
        ("advisories", history.advisories(None, from, to, 100).await.err()),
        ("health", history.health_at(to).await.err()),
        ("outages", history.outages(from, to).await.err()),
        ("segments", history.segments(CameraId(0), from, to).await.err()),
        ("segment", history.segment_at(CameraId(0), at(30)).await.err()),
        ("recorded", history.recorded(LINE).await.err()),
        ("completeness", history.completeness(&tags, from, to).await.err()),
        ("entries", history.entries(from, to, 100).await.err()),
        ("summary", history.summary().await.err()),
        ("info", history.info().await.err()),
    ]
}

#[test]
fn a_value_of_another_type_is_damage_that_is_told() {
    run(async {
        let dir = folder();
        filled(&dir).await;
        let history = History::open_read_only(dir.path()).await.unwrap();
        let whole = read_all(&history).await;
        assert!(whole.iter().all(|(_, error)| error.is_none()), "{whole:?}");
        history.close().await.unwrap();
        // The same tables without the types that SQLite enforces: so that it stores what a flipped bit would leave.
        let mut connection = direct(dir.path()).await;
        for sql in [
            "PRAGMA writable_schema = ON",
            "UPDATE sqlite_schema SET sql = replace(sql, ') STRICT', ')')
             WHERE type = 'table' AND sql NOT LIKE '%WITHOUT ROWID%'",
        ] {
            sqlx::query(sql).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
        let mut found = 0;
        for table in [
            "sample_batch",
            "chunk",
            "rollup",
            "output",
            "advisory",
            "correction",
            "outage",
            "health",
            "clip",
            "journal",
        ] {
            let mut connection = direct(dir.path()).await;
            let sql = "SELECT name, type FROM pragma_table_info(?1) WHERE NOT pk";
            let columns: Vec<(String, String)> =
                sqlx::query_as(sql).bind(table).fetch_all(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            assert!(columns.len() > 3, "{table} has {columns:?}");
            for (column, of) in columns {
                let other = if of == "TEXT" { "x'80ff'" } else { "'other'" };
                let damaged = tempfile::tempdir().unwrap();
                std::fs::create_dir(damaged.path().join("video")).unwrap();
                std::fs::copy(dir.path().join("video/0.mkv"), damaged.path().join("video/0.mkv")).unwrap();
                std::fs::copy(dir.path().join(FILE_NAME), damaged.path().join(FILE_NAME)).unwrap();
                let mut connection = direct(damaged.path()).await;
                let sql =
                    format!("UPDATE {table} SET {column} = {other} WHERE rowid = (SELECT min(rowid) FROM {table})");
                let count = sqlx::query(AssertSqlSafe(sql.clone())).execute(&mut connection).await.unwrap();
                assert!(count.rows_affected() > 0, "{table} is empty");
                connection.close().await.unwrap();
                let Ok(history) = History::open_read_only(damaged.path()).await else { continue };
                for (question, error) in read_all(&history).await {
                    let Some(error) = error else { continue };
                    assert!(matches!(error, HistoryError::Damaged { .. }), "{sql}: {question}: {error:?}");
                    found += 1;
                }
                let problems = history.verify().await.unwrap();
                assert!(!problems.is_empty(), "{sql} is not found");
                history.close().await.unwrap();
            }
        }
        assert!(found > 60, "{found}");
    });
}
