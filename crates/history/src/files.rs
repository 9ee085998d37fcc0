//! Files of a data folder that come into being whole or not at all, and are on the medium before they count.

use std::{
    fs::{self, File},
    io,
    path::{Component, Path, PathBuf},
};

use sqlx::{Connection, sqlite::SqliteConnection};

use crate::{error::HistoryError, header::beside, open::FILE_NAME, verify::Progress};

/// A history that is not complete yet: nothing opens it by this name.
pub(crate) const PARTIAL: &str = "history.sqlite.partial";

/// How a file came to its new place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    /// It is the same file by another name.
    Linked,
    /// It is a copy.
    Copied,
}

/// An error when `dir` has a history already.
pub(crate) fn refuse_occupied(dir: &Path) -> Result<(), HistoryError> {
    let path = dir.join(FILE_NAME);
    match path.try_exists() {
        Ok(true) => Err(HistoryError::Occupied { dir: dir.to_owned() }),
        Ok(false) => Ok(()),
        Err(source) => Err(HistoryError::io("look at", &path, source)),
    }
}

pub(crate) fn remove_if_there(path: &Path) -> Result<(), HistoryError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(HistoryError::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// Whether a path of the file's own (relative, with `/`) stays within the folder.
pub(crate) fn is_within(relative: &str) -> bool {
    !relative.is_empty() && Path::new(relative).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Brings a file to the same place below another folder: by a link where both are on one file system, else by a copy.
pub(crate) fn link_or_copy(from: &Path, to: &Path, relative: &str) -> Result<Carried, HistoryError> {
    let (source, target) = (from.join(relative), to.join(relative));
    make_parent(&target)?;
    match fs::hard_link(&source, &target) {
        Ok(()) => Ok(Carried::Linked),
        // Whatever a link lacks (one file system, a system that knows links), a copy does not.
        Err(_) => copy_whole(&source, &target).map(|_| Carried::Copied),
    }
}

pub(crate) fn make_parent(path: &Path) -> Result<(), HistoryError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs::create_dir_all(parent).map_err(|source| HistoryError::io("make the folder", parent, source))
}

/// Copies a file so that `target` is whole, and on the medium, or not there. Returns the CRC-32C of its bytes.
pub(crate) fn copy_whole(source: &Path, target: &Path) -> Result<i64, HistoryError> {
    let partial = beside(target, ".partial");
    let copied = copy_counted(source, &partial);
    let crc = match copied {
        Ok(crc) => crc,
        Err(error) => {
            // What is left of it only takes room.
            let _ = fs::remove_file(&partial);
            return Err(error);
        }
    };
    rename_synced(&partial, target)?;
    Ok(crc)
}

fn copy_counted(source: &Path, partial: &Path) -> Result<i64, HistoryError> {
    use std::io::{Read, Write};
    let mut from = File::open(source).map_err(|error| HistoryError::io("open", source, error))?;
    let mut to = File::create(partial).map_err(|error| HistoryError::io("make", partial, error))?;
    let mut buffer = vec![0; 1 << 20];
    let mut crc = 0;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(HistoryError::io("read", source, error)),
        };
        crc = crc32c::crc32c_append(crc, &buffer[..count]);
        to.write_all(&buffer[..count]).map_err(|error| HistoryError::io("write", partial, error))?;
    }
    to.sync_all().map_err(|error| HistoryError::io("write", partial, error))?;
    Ok(i64::from(crc))
}

/// Gives a file that is on the medium its name, which is on the medium, too, afterwards.
pub(crate) fn rename_synced(from: &Path, to: &Path) -> Result<(), HistoryError> {
    fs::rename(from, to).map_err(|source| HistoryError::io("rename", from, source))?;
    if let Some(dir) = to.parent() {
        sync_folder(dir)?;
    }
    Ok(())
}

/// Brings a file to the medium.
pub(crate) fn sync_file(path: &Path) -> Result<(), HistoryError> {
    // Writable, since Windows syncs nothing else.
    let synced = File::options().write(true).open(path).and_then(|file| file.sync_all());
    synced.map_err(|source| HistoryError::io("bring to the disk", path, source))
}

/// Brings a folder's list of names to the medium, on systems whose folders can be opened.
pub(crate) fn sync_folder(dir: &Path) -> Result<(), HistoryError> {
    if cfg!(unix) {
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(|source| HistoryError::io("bring to the disk the folder", dir, source))?;
    }
    Ok(())
}

/// Closes a new file and gives it its name: complete, on the medium, without a log beside it.
pub(crate) async fn finish(mut connection: SqliteConnection, partial: &Path, path: &Path) -> Result<(), HistoryError> {
    let dir = path.parent().unwrap_or(path);
    let wrap = |source| HistoryError::from_sqlx(dir, source);
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await.map_err(wrap)?;
    connection.close().await.map_err(wrap)?;
    sync_file(partial)?;
    rename_synced(partial, path)
}

/// Adds up bytes and tells how far they are.
pub(crate) fn counter<'a>(
    progress: &'a mut (dyn FnMut(Progress) + Send),
    what: &'static str,
    total: u64,
) -> impl FnMut(u64) + Send + 'a {
    let mut done = 0;
    move |bytes| {
        done += bytes;
        progress(Progress { what, done: done.min(total), total });
    }
}

/// All files that SQLite keeps of `path`.
pub(crate) fn family(path: &Path) -> [PathBuf; 3] {
    [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")]
}
