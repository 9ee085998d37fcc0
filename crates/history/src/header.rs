//! The first hundred bytes of a SQLite file (<https://www.sqlite.org/fileformat2.html>, section 1.3), read without
//! SQLite: to tell what is wrong where SQLite itself says no more than that it cannot open the file.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::{open::PAGE_BYTES, schema::APPLICATION_ID};

/// Bytes of a header.
pub(crate) const HEADER_BYTES: usize = 100;
/// What a SQLite file begins with.
pub(crate) const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// What bytes 16 to 23 of every history are: the page's size, WAL for writing and reading, nothing reserved, and three
/// fixed fractions.
const FIXED: [u8; 8] = [(PAGE_BYTES >> 8) as u8, (PAGE_BYTES & 0xff) as u8, 2, 2, 0, 64, 32, 32];

/// A header as it lies in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    bytes: [u8; HEADER_BYTES],
    /// Bytes of the file.
    file_bytes: u64,
}

impl Header {
    /// `None` when the file is shorter than a header.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut file = File::open(path)?;
        let file_bytes = file.metadata()?.len();
        let mut bytes = [0; HEADER_BYTES];
        match file.read_exact(&mut bytes) {
            Ok(()) => Ok(Some(Self { bytes, file_bytes })),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes([self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3]])
    }

    /// What is not as in every history; empty when all is.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.bytes[..16] != *MAGIC {
            problems.push("it does not begin as a SQLite file does".to_owned());
        }
        // The journal's mode (bytes 18 and 19) may have been changed by another tool, and is right then.
        let mode_is_known = self.bytes[18..20] == [2, 2] || self.bytes[18..20] == [1, 1];
        if self.bytes[16..18] != FIXED[..2] || !mode_is_known || self.bytes[20..24] != FIXED[4..] {
            problems.push("the numbers that say how it is laid out are not those of a history".to_owned());
        }
        if !(1..=4).contains(&self.word(44)) || self.word(56) != 1 {
            problems.push("the numbers that say how its texts are stored are not those of a history".to_owned());
        }
        if i64::from(self.word(68)) != APPLICATION_ID {
            problems.push(format!(
                "it says that it is of another application ({:#010x}, a history's is {APPLICATION_ID:#010x})",
                self.word(68)
            ));
        }
        problems
    }

    /// Bytes that the file should have by its own count, where that is more than it has. Only right while there is no
    /// write-ahead log, in which missing pages may still be.
    pub(crate) fn bytes_missing_of(&self) -> Option<u64> {
        let is_valid = self.bytes[..16] == *MAGIC && self.word(24) == self.word(92);
        let page = match u16::from_be_bytes([self.bytes[16], self.bytes[17]]) {
            1 => 65_536,
            page => u64::from(page),
        };
        let expected = u64::from(self.word(28)) * page;
        (is_valid && expected > self.file_bytes).then_some(expected)
    }

    /// The header of a history with `schema`, taking the file's own where it only says what changes.
    pub(crate) fn mended(&self, schema: i64) -> [u8; HEADER_BYTES] {
        let mut bytes = self.bytes;
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16..24].copy_from_slice(&FIXED);
        let pages = (self.file_bytes / u64::from(PAGE_BYTES)) as u32;
        bytes[28..32].copy_from_slice(&pages.to_be_bytes());
        // Valid for this state of the change counter.
        bytes.copy_within(24..28, 92);
        bytes[44..48].copy_from_slice(&4u32.to_be_bytes());
        bytes[56..60].copy_from_slice(&1u32.to_be_bytes());
        bytes[60..64].copy_from_slice(&(schema as u32).to_be_bytes());
        bytes[64..68].copy_from_slice(&1u32.to_be_bytes());
        bytes[68..72].copy_from_slice(&(APPLICATION_ID as u32).to_be_bytes());
        bytes
    }

    /// Bytes of the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The schema's number as the file has it.
    pub(crate) fn schema(&self) -> i64 {
        i64::from(self.word(60))
    }
}

/// The path of a file that SQLite keeps beside `path`: `-wal`, `-shm`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
