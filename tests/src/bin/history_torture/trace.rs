//! Reads what `power_layer.c` wrote down: what a process did to its files, in order.

use std::path::{Path, PathBuf};

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Opened {
        fd: i32,
        path: PathBuf,
        is_created: bool,
        is_emptied: bool,
        is_folder: bool,
    },
    Closed {
        fd: i32,
    },
    Wrote {
        fd: i32,
        offset: u64,
        data: Vec<u8>,
    },
    Resized {
        fd: i32,
        length: u64,
    },
    Extended {
        fd: i32,
        length: u64,
    },
    Synced {
        fd: i32,
    },
    Removed {
        path: PathBuf,
    },
    Renamed {
        from: PathBuf,
        to: PathBuf,
    },
    MadeFolder {
        path: PathBuf,
    },
    /// Bytes for standard output.
    Said(Vec<u8>),
    /// The power went.
    Cut,
}

/// When, by the monotonic clock, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) time_ns: u64,
    pub(crate) operation: Operation,
}

/// Bytes of `struct record`.
const HEAD_BYTES: usize = 32;

/// All records of a trace.
///
/// # Errors
/// When the file cannot be read, or has an operation that nobody knows how to undo.
pub(crate) fn read(path: &Path) -> Result<Vec<Record>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let mut records = Vec::new();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let (record, after) = take(rest)?;
        records.push(record);
        rest = after;
    }
    Ok(records)
}

fn take(bytes: &[u8]) -> Result<(Record, &[u8]), String> {
    let short = || "the trace ends within a record".to_owned();
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES).ok_or_else(short)?;
    let four = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let eight = |at: usize| u64::from(four(at + 4)) << 32 | u64::from(four(at));
    let (kind, fd, offset, time_ns) = (four(0), four(4) as i32, eight(8), eight(16));
    let (path, rest) = rest.split_at_checked(four(24) as usize).ok_or_else(short)?;
    let (data, rest) = rest.split_at_checked(four(28) as usize).ok_or_else(short)?;
    let text = |bytes: &[u8]| PathBuf::from(String::from_utf8_lossy(bytes).into_owned());
    let operation = match kind {
        1 => Operation::Opened {
            fd,
            path: text(path),
            is_created: offset & 1 != 0,
            is_emptied: offset & 2 != 0,
            is_folder: offset & 4 != 0,
        },
        2 => Operation::Closed { fd },
        3 => Operation::Wrote { fd, offset, data: data.to_vec() },
        4 => Operation::Resized { fd, length: offset },
        5 => Operation::Synced { fd },
        6 => Operation::Removed { path: text(path) },
        7 if offset == 0 => Operation::Renamed { from: text(path), to: text(data) },
        8 => Operation::MadeFolder { path: text(path) },
        9 => Operation::Extended { fd, length: offset },
        10 => Operation::Said(data.to_vec()),
        11 => Operation::Cut,
        _ => return Err(format!("the writer did what cannot be traced: {} ({kind})", text(path).display())),
    };
    Ok((Record { time_ns, operation }, rest))
}
