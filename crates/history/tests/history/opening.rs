use std::{fs, io::Write, path::Path};

use sightglass_history::{FILE_NAME, History, HistoryError};
use sightglass_protocol::{TagId, UtcNanos};
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{START, at, folder, open, plant, run, sample};

async fn direct(dir: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(dir.join(FILE_NAME)).create_if_missing(true).connect().await.unwrap()
}

#[test]
fn a_second_writer_is_told_who_is_in_the_way_and_a_reader_is_welcome() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.append(&[sample(0, START, 1.0)]).await.unwrap();
        let error = History::open(dir.path(), &plant()).await.unwrap_err();
        assert!(matches!(error, HistoryError::InUse { .. }), "{error:?}");
        assert!(error.to_string().contains(&*dir.path().to_string_lossy()) && error.to_string().contains("--data"));
        let reader = History::open_read_only(dir.path()).await.unwrap();
        assert_eq!(reader.raw(TagId(0), at(0), at(1)).await.unwrap().len(), 1);
        let error = reader.append(&[sample(0, START, 1.0)]).await.unwrap_err();
        assert!(matches!(error, HistoryError::NotWritable { .. }), "{error:?}");
        history.close().await.unwrap();
        open(&dir).await;
    });
}

#[test]
fn an_earlier_run_is_there_again_with_its_plant() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        assert!(!history.is_recovered());
        history.append(&[sample(0, START, 1.0), sample(3, START, 2.0)]).await.unwrap();
        history.close().await.unwrap();
        let reader = History::open_read_only(dir.path()).await.unwrap();
        assert_eq!(*reader.plant(), plant());
        assert!(!reader.is_newer());
        assert_eq!(reader.raw(TagId(3), at(0), at(0)).await.unwrap(), [sample(3, START, 2.0)]);
        let again = open(&dir).await;
        assert!(!again.is_recovered(), "it was closed cleanly");
        drop(again);
        assert!(open(&dir).await.is_recovered(), "it was not closed");
    });
}

#[test]
fn tags_keep_their_values_when_the_plant_changes_and_a_new_unit_is_a_new_series() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.append(&[sample(0, START, 1.0), sample(1, START, 2.0)]).await.unwrap();
        history.close().await.unwrap();
        // "level" comes first now, "pressure" is in another unit, "speed set" is gone.
        let mut other = plant();
        other.tags.remove(2);
        other.tags.swap(0, 1);
        other.tags[1].unit = "kPa".to_owned();
        for (index, tag) in other.tags.iter_mut().enumerate() {
            tag.id = TagId::from_index(index);
        }
        other.lines[0].tags = vec![TagId(0), TagId(1)];
        other.lines[1].tags = vec![TagId(2)];
        let history = History::open(dir.path(), &other).await.unwrap();
        let all = |tag| history.raw(TagId(tag), UtcNanos::MIN, UtcNanos::MAX);
        assert_eq!(all(0).await.unwrap()[0].value, 2.0, "by name, not by place");
        assert_eq!(all(1).await.unwrap().len(), 0, "bar are not kPa");
        history.append(&[sample(1, START, 100.0)]).await.unwrap();
        history.merge(at(100)).await.unwrap();
        history.close().await.unwrap();
        let history = open(&dir).await;
        assert_eq!(
            history.raw(TagId(0), at(0), at(0)).await.unwrap()[0].value,
            1.0,
            "the unit is back, and its series"
        );
        assert_eq!(history.summary().await.unwrap().samples, 3);
    });
}

#[test]
fn a_folder_that_cannot_be_written_is_said_so() {
    run(async {
        // The system's own folder refuses even root, who may write wherever permissions alone forbid it.
        let error = History::open(Path::new("/sys/kernel"), &plant()).await.unwrap_err();
        assert!(matches!(error, HistoryError::ReadOnly { .. }), "{error:?}");
        assert!(error.to_string().contains("/sys/kernel") && error.to_string().contains("--data"));
    });
}

#[test]
fn a_file_that_is_not_sqlite_is_left_as_it_is() {
    run(async {
        for content in [&b"temperature;pressure\n1;2\n"[..], b"x"] {
            let dir = folder();
            fs::File::create(dir.path().join(FILE_NAME)).unwrap().write_all(content).unwrap();
            let error = History::open(dir.path(), &plant()).await.unwrap_err();
            assert!(matches!(error, HistoryError::NotSqlite { .. }), "{error:?}");
            assert!(History::open_read_only(dir.path()).await.is_err());
            assert_eq!(fs::read(dir.path().join(FILE_NAME)).unwrap(), content);
        }
    });
}

#[test]
fn the_sqlite_file_of_another_application_is_left_as_it_is() {
    run(async {
        let dir = folder();
        let mut other = direct(dir.path()).await;
        sqlx::query("CREATE TABLE bookmark (url TEXT)").execute(&mut other).await.unwrap();
        other.close().await.unwrap();
        let before = fs::read(dir.path().join(FILE_NAME)).unwrap();
        for error in [
            History::open(dir.path(), &plant()).await.unwrap_err(),
            History::open_read_only(dir.path()).await.unwrap_err(),
        ] {
            assert!(matches!(error, HistoryError::Foreign { .. }), "{error:?}");
        }
        assert_eq!(fs::read(dir.path().join(FILE_NAME)).unwrap(), before);
    });
}

#[test]
fn a_newer_file_is_not_written_but_can_be_looked_at() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        history.append(&[sample(0, START, 1.0)]).await.unwrap();
        history.close().await.unwrap();
        let mut newer = direct(dir.path()).await;
        sqlx::query("PRAGMA user_version = 99").execute(&mut newer).await.unwrap();
        newer.close().await.unwrap();
        let error = History::open(dir.path(), &plant()).await.unwrap_err();
        assert!(matches!(error, HistoryError::Newer { found: 99, .. }), "{error:?}");
        assert!(error.to_string().contains("read-only"), "{error}");
        let history = History::open_read_only(dir.path()).await.unwrap();
        assert!(history.is_newer());
        assert_eq!(history.raw(TagId(0), at(0), at(1)).await.unwrap().len(), 1);
    });
}

#[test]
fn an_open_that_was_killed_before_its_first_commit_is_no_obstacle() {
    run(async {
        let dir = folder();
        fs::File::create(dir.path().join(FILE_NAME)).unwrap();
        open(&dir).await.close().await.unwrap();
        assert!(matches!(History::open_read_only(folder().path()).await.unwrap_err(), HistoryError::NotFound { .. }));
    });
}

#[test]
fn an_open_that_was_killed_while_it_made_the_file_is_no_obstacle() {
    run(async {
        let (making, dir) = (folder(), folder());
        let mut connection = direct(making.path()).await;
        for sql in [
            "PRAGMA cache_size = 2",
            "BEGIN IMMEDIATE",
            "CREATE TABLE plant (info BLOB)",
            "INSERT INTO plant WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 99)
             SELECT randomblob(4000) FROM n",
        ] {
            sqlx::query(sql).execute(&mut connection).await.unwrap();
        }
        // As they lie on the disk when the process is killed here.
        for name in [FILE_NAME.to_owned(), format!("{FILE_NAME}-journal")] {
            assert!(fs::copy(making.path().join(&name), dir.path().join(&name)).unwrap() > 0, "{name}");
        }
        connection.close().await.unwrap();
        let history = open(&dir).await;
        history.append(&[sample(0, START, 1.0)]).await.unwrap();
        assert_eq!(history.verify().await.unwrap(), []);
    });
}

#[test]
fn after_close_every_clone_says_so() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        let clone = history.clone();
        history.close().await.unwrap();
        assert!(matches!(clone.append(&[sample(0, START, 1.0)]).await.unwrap_err(), HistoryError::Closed));
        assert!(matches!(clone.raw(TagId(0), at(0), at(1)).await.unwrap_err(), HistoryError::Closed));
    });
}
