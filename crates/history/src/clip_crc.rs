//! The checksums of rows that can change while they are kept: of video segments, health and corrections. Which columns
//! they cover, in `docs/history-format.md`.

use crate::codec::row_crc;

/// What [`clip_row_crc`] covers: every column of table `clip` but its id, so that it is known before the row is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClipRow<'a> {
    /// The file's id of the camera.
    pub(crate) camera: i64,
    /// Relative to the data folder.
    pub(crate) path: &'a str,
    /// UTC nanoseconds.
    pub(crate) start: i64,
    /// UTC nanoseconds; `None` while it is being written.
    pub(crate) end: Option<i64>,
    /// Pictures.
    pub(crate) frames: i64,
    /// Bytes of the file.
    pub(crate) bytes: i64,
    /// As in `crate::video`.
    pub(crate) state: i64,
    /// As stored: 0 for no.
    pub(crate) pinned: i64,
    /// CRC-32C of the file, where it is known.
    pub(crate) crc: Option<i64>,
}

/// `clip.row_crc`. Whatever changes a row of `clip` writes it anew in the same transaction.
pub(crate) fn clip_row_crc(row: &ClipRow<'_>) -> i64 {
    let keys = [
        row.camera,
        row.start,
        i64::from(row.end.is_some()),
        row.end.unwrap_or(0),
        row.frames,
        row.bytes,
        row.state,
        row.pinned,
        i64::from(row.crc.is_some()),
        row.crc.unwrap_or(0),
    ];
    row_crc(&keys, &[row.path.as_bytes()])
}

/// `health.crc`.
pub(crate) fn health_crc(subject_kind: i64, subject: i64, state: i64, since: i64, source: &str, reason: &str) -> i64 {
    row_crc(&[subject_kind, subject, state, since], &[source.as_bytes(), &[0], reason.as_bytes()])
}
