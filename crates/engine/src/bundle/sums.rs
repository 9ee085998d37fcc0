//! `SHA256SUMS` of a folder, as `sha256sum --check` reads it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::SUMS;
use crate::EngineError;

/// Bytes that are read at a time.
const READ_BYTES: usize = 1 << 18;

/// The hash of a file, in hexadecimal.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn of_file(path: &Path) -> Result<String, EngineError> {
    let mut file = File::open(path).map_err(EngineError::io("opening", path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut buffer).map_err(EngineError::io("reading", path))?;
        if read == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..read]);
    }
}

/// The hash of bytes, in hexadecimal.
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

/// Every file below `folder` but the sums themselves, by its path there with `/`, sorted.
fn files(folder: &Path) -> Result<Vec<String>, EngineError> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).map_err(EngineError::io("listing", &next))? {
            let path = entry.map_err(EngineError::io("listing", &next))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(relative) = path.strip_prefix(folder) {
                let parts: Vec<_> = relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
                found.push(parts.join("/"));
            }
        }
    }
    found.retain(|name| name != SUMS);
    found.sort();
    Ok(found)
}

/// Writes the sums of everything in `folder`.
///
/// # Errors
/// When a file cannot be read or written.
pub(super) fn write(folder: &Path) -> Result<(), EngineError> {
    let mut text = String::new();
    for name in files(folder)? {
        let _written = writeln!(text, "{}  {name}", of_file(&folder.join(&name))?);
    }
    let path = folder.join(SUMS);
    std::fs::write(&path, text).map_err(EngineError::io("writing", &path))
}

/// Checks everything in `folder` against its sums.
///
/// # Errors
/// [`EngineError::FoundWrong`], naming each file that differs, is missing or was added.
pub(super) fn check(folder: &Path) -> Result<(), EngineError> {
    let path = folder.join(SUMS);
    let text = std::fs::read_to_string(&path).map_err(EngineError::io("reading", &path))?;
    let mut problems = Vec::new();
    let mut known = std::collections::BTreeSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        let Some((sum, name)) = line.split_once("  ") else {
            problems.push(format!("{SUMS}, line {number}: it is not a hash and a file's name"));
            continue;
        };
        known.insert(name);
        match of_file(&folder.join(name)) {
            Ok(found) if found == sum => {}
            Ok(_) => problems.push(format!("{name}: it is not what it was when the bundle was made")),
            Err(error) => problems.push(format!("{name}: {error}")),
        }
    }
    for name in files(folder)?.iter().filter(|name| !known.contains(name.as_str())) {
        problems.push(format!("{name}: it was not there when the bundle was made"));
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(EngineError::FoundWrong(format!(
        "the bundle {} is not whole; copy it anew from where it was made\n  {}",
        folder.display(),
        problems.join("\n  ")
    )))
}
