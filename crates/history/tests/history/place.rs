//! A data folder that goes away while it is open.

use sightglass_history::{FILE_NAME, HistoryError};
use sightglass_protocol::TagId;

use crate::{at, folder, open, run, sample};

#[test]
#[cfg(unix)]
fn a_folder_that_goes_away_and_comes_back_is_noticed_and_taken_up_again() {
    run(async {
        let dir = folder();
        let (data, aside) = (dir.path().join("data"), dir.path().join("aside"));
        let history = sightglass_history::History::open(&data, &crate::plant()).await.unwrap();
        history.append(&[sample(0, at(0).0, 1.0)]).await.unwrap();
        assert_eq!(history.raw(TagId(0), at(0), at(100)).await.unwrap().len(), 1, "a reader is open, too");
        history.check_place().unwrap();

        std::fs::rename(&data, &aside).unwrap();
        let error = history.check_place().unwrap_err();
        assert!(matches!(error, HistoryError::Away { .. }) && error.to_string().contains("resumes"), "{error}");
        assert!(matches!(history.reopen().await, Err(HistoryError::Away { .. })));
        assert!(!data.exists(), "nothing is made in the place of what is away");

        // As another disk at the same place: it has other records.
        std::fs::create_dir(&data).unwrap();
        std::fs::copy(aside.join(FILE_NAME), data.join(FILE_NAME)).unwrap();
        assert!(matches!(history.check_place(), Err(HistoryError::Away { .. })));
        std::fs::remove_dir_all(&data).unwrap();

        // The files are copied back, so that they are other ones than those that are open.
        std::fs::create_dir(&data).unwrap();
        for file in std::fs::read_dir(&aside).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), data.join(file.file_name())).unwrap();
        }
        std::fs::remove_dir_all(&aside).unwrap();
        assert!(matches!(history.check_place(), Err(HistoryError::Away { .. })), "another file, not opened yet");
        history.reopen().await.unwrap();
        history.check_place().unwrap();
        history.append(&[sample(0, at(1).0, 2.0)]).await.unwrap();
        assert_eq!(history.raw(TagId(0), at(0), at(100)).await.unwrap().len(), 2, "readers follow");
        assert!(matches!(
            sightglass_history::History::open(&data, &crate::plant()).await,
            Err(HistoryError::InUse { .. })
        ));
        history.close().await.unwrap();
        let history = sightglass_history::History::open(&data, &crate::plant()).await.unwrap();
        assert_eq!(history.raw(TagId(0), at(0), at(100)).await.unwrap().len(), 2);
        assert_eq!(history.verify().await.unwrap(), []);
    });
}

#[test]
fn a_folder_that_is_still_there_can_be_opened_again_at_any_time() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        for second in 0..3 {
            history.append(&[sample(0, at(second).0, 1.0)]).await.unwrap();
            history.reopen().await.unwrap();
            history.put_event(at(second), "test", "after").await.unwrap();
        }
        assert_eq!(history.raw(TagId(0), at(0), at(100)).await.unwrap().len(), 3);
        assert_eq!(history.entries(at(0), at(100), 10).await.unwrap().len(), 3);
        assert_eq!(history.verify().await.unwrap(), []);
    });
}
