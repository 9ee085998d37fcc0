//! Deleting files of video together with their rows, although no transaction spans both.
//!
//! A file that is to go is renamed, so that its name says so, and emptied: that makes room even while the database cannot
//! be written. Then its row goes, and then the name. What is found under such a name later (the disk was full, or the
//! engine died between the two) is finished.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use crate::{error::HistoryError, open::History, raw::blocking, retention::Removed};

/// The folder of all video within the data folder.
const VIDEO: &str = "video";
/// What a name ends with whose row is still to go.
const SUFFIX: &str = ".deleted";

fn name_of_begun(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(SUFFIX);
    PathBuf::from(name)
}

/// Frees what the file takes; its row is to be deleted next. A file that is not there is fine.
///
/// # Errors
/// The system's: the file is as it was then.
pub(crate) fn begin(file: &Path) -> io::Result<()> {
    let begun = name_of_begun(file);
    match fs::rename(file, &begun) {
        Ok(()) => File::options().write(true).truncate(true).open(&begun).map(drop),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // Not even a name finds room: then without one.
        Err(error) if error.kind() == ErrorKind::StorageFull => fs::remove_file(file),
        Err(error) => Err(error),
    }
}

/// Whether the file was deleted, and its row is still to go.
pub(crate) fn is_begun(file: &Path) -> bool {
    name_of_begun(file).is_file()
}

/// Takes the name away, after the row.
fn finish(file: &Path) {
    match fs::remove_file(name_of_begun(file)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!("{} is left over: {error}", name_of_begun(file).display());
        }
        _ => {}
    }
}

/// The segments below `dir` whose deletion was begun, by the paths that their rows have.
fn begun(dir: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![dir.join(VIDEO)];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
                continue;
            }
            let path = entry.path();
            let within = path.strip_prefix(dir).ok().and_then(Path::to_str);
            if let Some(segment) = within.and_then(|path| path.strip_suffix(SUFFIX)) {
                found.push(segment.replace(std::path::MAIN_SEPARATOR, "/"));
            }
        }
    }
    Ok(found)
}

impl History {
    /// Deletes the row of a segment whose file was [begun](begin) to be deleted, then the file's name.
    pub(crate) async fn end_deletion(&self, path: &str) -> Result<(), HistoryError> {
        let done = self.delete_clip_row(path).await;
        done.inspect_err(|_| self.inner.deletions_begun.store(true, Ordering::Relaxed))?;
        finish(&self.inner.dir.join(path));
        Ok(())
    }

    /// Deletes the rows of segments whose files went while the database could not be written, or before an engine died.
    /// Costs nothing where there are none. Looks through the folders of video once after the history was opened.
    ///
    /// # Errors
    /// [`HistoryError::NotWritable`], a folder that cannot be read, or SQLite's own; to be called again then.
    pub async fn finish_deletions(&self) -> Result<Removed, HistoryError> {
        let mut removed = Removed::default();
        if !self.inner.deletions_begun.swap(false, Ordering::Relaxed) {
            return Ok(removed);
        }
        let dir = self.inner.dir.clone();
        let found = blocking(move || {
            begun(&dir).map_err(|source| HistoryError::io("look for deleted video in", &dir.join(VIDEO), source))
        });
        let found = found.await.inspect_err(|_| self.inner.deletions_begun.store(true, Ordering::Relaxed))?;
        for path in found {
            self.end_deletion(&path).await?;
            removed.segments += 1;
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_that_was_begun_is_known_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("video/filler");
        fs::create_dir_all(&folder).unwrap();
        let (one, other) = (folder.join("1.mkv"), folder.join("2.mkv"));
        for file in [&one, &other] {
            fs::write(file, [1; 4096]).unwrap();
        }
        begin(&one).unwrap();
        begin(&one).unwrap();
        assert!(!one.exists() && is_begun(&one) && other.exists() && !is_begun(&other));
        assert_eq!(fs::metadata(name_of_begun(&one)).unwrap().len(), 0, "its room is free");
        assert_eq!(begun(dir.path()).unwrap(), ["video/filler/1.mkv"]);
        finish(&one);
        assert!(!is_begun(&one));
        assert_eq!(begun(dir.path()).unwrap(), [""; 0]);
    }
}
