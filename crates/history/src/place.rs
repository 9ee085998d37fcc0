//! Whether the data folder still leads to the open file, and opening it anew when it came back: a stick that was pulled
//! out, a share that went away, a folder that was moved.

use std::{
    fs::{File, Metadata},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::{
    error::HistoryError,
    open::{FILE_NAME, History, LOCK_NAME, lock, writing_connection},
    writer::Tail,
};

/// What tells a file from another one at the same path: device and number. Windows does not let an open file be removed,
/// so that there the path alone will do.
type FileId = Option<(u64, u64)>;

/// The file as it was last opened.
#[derive(Debug)]
pub(crate) struct Place {
    file: FileId,
    /// Freed by the system whatever way the process ends. `None` when opened read-only.
    lock: Option<File>,
}

impl Place {
    /// The file at `path` as it is now, held by `lock`.
    pub(crate) fn new(path: &Path, lock: Option<File>) -> Mutex<Self> {
        let file = std::fs::metadata(path).map(|file| id(&file)).unwrap_or_default();
        Mutex::new(Self { file, lock })
    }
}

/// When the file was last opened: readers that are older look at what was there before.
pub(crate) type OpenedAt = Arc<Mutex<Instant>>;

#[cfg(unix)]
fn id(file: &Metadata) -> FileId {
    use std::os::unix::fs::MetadataExt as _;
    Some((file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn id(_file: &Metadata) -> FileId {
    None
}

impl History {
    fn path(&self) -> PathBuf {
        self.inner.dir.join(FILE_NAME)
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        // Every change of it is one assignment.
        self.inner.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn away(&self, reason: String) -> HistoryError {
        HistoryError::Away { dir: self.inner.dir.clone(), reason }
    }

    /// Whether the data folder still leads to the file that is open. Without this, what is written into a folder that
    /// was unmounted or deleted meanwhile would seem to be stored.
    ///
    /// # Errors
    /// [`HistoryError::Away`].
    pub fn check_place(&self) -> Result<(), HistoryError> {
        match std::fs::metadata(self.path()) {
            Ok(file) if id(&file) == self.place().file => Ok(()),
            Ok(_) => Err(self.away("another file is in its place".to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(self.away(format!("{FILE_NAME} is not there")))
            }
            Err(error) => Err(self.away(error.to_string())),
        }
    }

    /// Opens the file anew for writing and reading, once the folder is back: whoever asks from now on gets answers from
    /// what is there now. Only the file that this history has been recording into is taken; nothing is made.
    ///
    /// # Errors
    /// [`HistoryError::Away`] where that file is not there, [`HistoryError::InUse`], [`HistoryError::NotWritable`],
    /// [`HistoryError::Closed`], or SQLite's own. The history can be tried again then.
    pub async fn reopen(&self) -> Result<(), HistoryError> {
        let mut writing = self.writing("opening the folder again").await?;
        if writing.is_closed() {
            return Err(HistoryError::Closed);
        }
        let path = self.path();
        let file = std::fs::metadata(&path).map_err(|error| self.away(error.to_string()))?;
        let lock_path = self.inner.dir.join(LOCK_NAME);
        let is_held = {
            let place = self.place();
            let held = place.lock.as_ref().and_then(|held| held.metadata().ok());
            let there = std::fs::metadata(&lock_path).ok();
            held.is_some_and(|held| there.is_some_and(|there| id(&held) == id(&there)))
        };
        let new_lock = if is_held { None } else { Some(lock(&self.inner.dir)?) };
        let wrap = |source| self.error(source);
        let mut connection = writing_connection(&self.inner.dir).await.map_err(wrap)?;
        let is_ours: Result<bool, _> =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM session WHERE id = ?1 AND clean = 0)")
                .bind(self.inner.session)
                .fetch_one(&mut connection)
                .await;
        if !is_ours.map_err(wrap)? {
            return Err(self.away("the history that is there is another one".to_owned()));
        }
        let unmerged: i64 = sqlx::query_scalar("SELECT coalesce(sum(samples), 0) FROM sample_batch")
            .fetch_one(&mut connection)
            .await
            .map_err(wrap)?;
        if let Some(writer) = &self.inner.writer {
            writer.set_unmerged(unmerged);
        }
        writing.replace(connection);
        // With a connection of its own to what was there before.
        self.inner.checkpointer.stop().await;
        *self.inner.opened_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        {
            let mut place = self.place();
            place.file = id(&file);
            if new_lock.is_some() {
                place.lock = new_lock;
            }
        }
        // What was not synced may be gone with the old place, and its numbers are given anew.
        *self.tail() = Tail::default();
        self.inner.checkpointer.start(&self.inner);
        self.recount_unmerged(&mut writing).await
    }
}
