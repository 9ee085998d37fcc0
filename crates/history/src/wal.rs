//! The write-ahead log (<https://www.sqlite.org/fileformat2.html>, section 4), read without SQLite: which stops at the
//! first frame whose checksum fails and says nothing of it, so that whatever was committed behind it is gone unnoticed.

use std::{
    fs::File,
    io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom},
    path::Path,
};

use crate::header::beside;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The last bit says the byte order of the checksums.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;
/// How often a log that changes while it is read is read anew.
const TRIES_MAX: usize = 5;

/// SQLite's running checksum.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Checksum {
    sums: (u32, u32),
    big_endian: bool,
}

impl Checksum {
    /// `bytes` is a multiple of 8 long.
    fn add(mut self, bytes: &[u8]) -> Self {
        for pair in bytes.chunks_exact(8) {
            let [a, b] = [&pair[..4], &pair[4..]].map(|word| self.word(word));
            self.sums.0 = self.sums.0.wrapping_add(a).wrapping_add(self.sums.1);
            self.sums.1 = self.sums.1.wrapping_add(b).wrapping_add(self.sums.0);
        }
        self
    }

    fn word(self, bytes: &[u8]) -> u32 {
        let array = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if self.big_endian { u32::from_be_bytes(array) } else { u32::from_le_bytes(array) }
    }

    /// As stored: always big-endian.
    fn stored(self, bytes: &[u8]) -> Self {
        Self { sums: (big(&bytes[..4]), big(&bytes[4..8])), ..self }
    }
}

fn big(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// What a log is, read once.
#[derive(Debug, PartialEq, Eq)]
enum Scan {
    /// Every commit in it can be read.
    Whole,
    /// What is wrong.
    Broken(String),
}

/// What is wrong with the log of the SQLite file at `path`; `None` where there is none or it is whole. Also while an
/// engine writes into it (`is_live`): then only the frames that it has committed are looked at.
pub(crate) fn problem(path: &Path, is_live: bool) -> io::Result<Option<String>> {
    let log = beside(path, "-wal");
    let index = beside(path, "-shm");
    for _ in 0..TRIES_MAX {
        let committed = if is_live { Committed::read(&index)? } else { None };
        if is_live && committed.is_none() {
            // The engine is just changing it.
            continue;
        }
        let scan = match scan(&log, committed.as_ref()) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        match scan {
            Scan::Whole => return Ok(None),
            // The engine may have begun the log anew meanwhile.
            Scan::Broken(_)
                if is_live && Committed::read(&index)?.map(|now| now.salts) != committed.map(|c| c.salts) => {}
            Scan::Broken(what) => return Ok(Some(what)),
        }
    }
    // Never still: then it is in use, and what is in use is read and checked by SQLite with every question.
    Ok(None)
}

/// How far the log is committed, as a living engine keeps it in the index that it shares.
struct Committed {
    frames: u64,
    salts: [u8; 8],
}

impl Committed {
    /// `None` while it is being changed, or where it is not there.
    fn read(index: &Path) -> io::Result<Option<Self>> {
        const COPY: usize = 48;
        let mut bytes = [0; 2 * COPY];
        match File::open(index).and_then(|mut file| file.read_exact(&mut bytes)) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) => return Ok(None),
            Err(error) => return Err(error),
        }
        if bytes[..COPY] != bytes[COPY..] {
            return Ok(None);
        }
        let frames = u32::from_ne_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]);
        let mut salts = [0; 8];
        salts.copy_from_slice(&bytes[32..40]);
        Ok(Some(Self { frames: frames.into(), salts }))
    }
}

fn scan(log: &Path, committed: Option<&Committed>) -> io::Result<Scan> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    if length <= HEADER_BYTES as u64 || committed.is_some_and(|committed| committed.frames == 0) {
        return Ok(Scan::Whole);
    }
    let mut header = [0; HEADER_BYTES];
    file.read_exact(&mut header)?;
    let start = Checksum { sums: (0, 0), big_endian: header[3] & 1 == 1 };
    let page = big(&header[8..12]) as usize;
    let mut chain = start.add(&header[..24]);
    if big(&header[..4]) & !1 != MAGIC
        || big(&header[4..8]) != VERSION
        || !page.is_power_of_two()
        || !(512..=65_536).contains(&page)
        || chain != start.stored(&header[24..])
    {
        return Ok(Scan::Broken(format!("its header is damaged, so that none of its {length} bytes can be read")));
    }
    let salts = &header[16..24];
    let mut reader = BufReader::with_capacity(1 << 20, file);
    reader.seek(SeekFrom::Start(HEADER_BYTES as u64))?;
    let mut frame = vec![0; FRAME_HEADER_BYTES + page];
    let frames = (length - HEADER_BYTES as u64) / frame.len() as u64;
    let until = committed.map_or(frames, |committed| committed.frames);
    if until > frames {
        return Ok(Scan::Broken(format!("it was cut off: it has {frames} of its {until} frames")));
    }
    let mut broken: Option<u64> = None;
    for number in 1..=until {
        reader.read_exact(&mut frame)?;
        let (head, body) = frame.split_at(FRAME_HEADER_BYTES);
        let is_of_this_log = head[8..16] == *salts;
        let commits = big(&head[4..8]) != 0;
        match broken {
            None => {
                let next = chain.add(&head[..8]).add(body);
                let is_right = next == start.stored(&head[16..]);
                if is_right && is_of_this_log {
                    chain = next;
                    continue;
                }
                broken = Some(number);
                // Of an earlier log, or of a transaction that was undone: unless it shows that it belongs here.
                if committed.is_some()
                    || is_right
                    || is_of_this_log && (commits || commits_otherwise(chain, start, &frame))
                {
                    return Ok(broken_at(number));
                }
            }
            Some(first) if is_of_this_log && commits => return Ok(broken_at(first)),
            Some(_) => {}
        }
    }
    Ok(Scan::Whole)
}

fn broken_at(frame: u64) -> Scan {
    Scan::Broken(format!("frame {frame} is damaged, so that no commit from it on can be read"))
}

/// Whether a frame would be right if it only said that it ends a commit, the number for which has one bit.
fn commits_otherwise(chain: Checksum, start: Checksum, frame: &[u8]) -> bool {
    let (head, body) = frame.split_at(FRAME_HEADER_BYTES);
    (0..u32::BITS).any(|bit| {
        let mut claim = [0; 8];
        claim[..4].copy_from_slice(&head[..4]);
        claim[4..].copy_from_slice(&(1u32 << bit).to_be_bytes());
        chain.add(&claim).add(body) == start.stored(&head[16..])
    })
}
