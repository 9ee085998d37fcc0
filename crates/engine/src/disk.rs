//! How full the data folder's file system is.

use std::io;
use std::path::Path;

/// The room of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Bytes that this user may still write.
    pub free: u64,
    /// All bytes.
    pub total: u64,
}

impl Room {
    /// The room of the file system that `folder` is on.
    ///
    /// # Errors
    /// When the folder cannot be reached.
    pub(crate) fn of(folder: &Path) -> io::Result<Self> {
        let stats = fs4::statvfs(folder)?;
        Ok(Self { free: stats.available_space(), total: stats.total_space() })
    }

    /// What part is free, 0 to 1. A file system without a size (some network shares) counts as empty.
    pub(crate) fn share(self) -> f64 {
        if self.total == 0 { 1.0 } else { self.free as f64 / self.total as f64 }
    }

    /// Bytes that have to be freed until `share` is free.
    pub(crate) fn lacks(self, share: f64) -> u64 {
        ((self.total as f64 * share).ceil() as u64).saturating_sub(self.free)
    }
}
