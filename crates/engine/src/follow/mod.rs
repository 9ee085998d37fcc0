//! Tiering: days that are over go to a folder or an S3-compatible store, so that a site's engine queries all its plants
//! together.
//!
//! What was exported is written down in the target itself, one small object a line and day. So a pass that was killed is
//! taken up by the next one, from whichever PC, and plants that share a target do not touch each other's. A day's object
//! is written last: a day without one, or with another fingerprint, is exported again, as a whole.

mod manifest;
mod target;

use std::path::{Path, PathBuf};

use sightglass_history::{ExportRequest, History, StoredDay, date, partition};
use sightglass_protocol::{UtcNanos, time::SECOND};

use manifest::{DayFile, Manifest};
pub(crate) use target::Target;

use crate::{EngineError, bundle};

/// How long a day that has samples which nobody merges is left waiting: then there is no engine that would.
const UNMERGED_NS_MAX: i64 = 3_600 * SECOND;

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Pass {
    /// Days that were exported, each line counted.
    pub days: u64,
    /// Of them, days that had been exported before and have changed.
    pub days_changed: u64,
    /// Days that are exported and have not changed.
    pub days_unchanged: u64,
    /// Days that are not over yet.
    pub days_waiting: u64,
    pub samples: u64,
    pub bytes: u64,
}

/// Exports every day that is over by `delay_ns` at `now` and is not in the target as it is here. `goes_on` is told how
/// many of how many days have been looked at, and ends the pass by saying no.
///
/// # Errors
/// When the history cannot be read or the target not be written; what is in the target then is whole, day by day.
pub(crate) async fn pass(
    history: &History,
    target: &Target,
    now: UtcNanos,
    delay_ns: i64,
    mut goes_on: impl FnMut(u64, u64) -> bool,
) -> Result<Pass, EngineError> {
    let plant = format!("plant={}", partition(&history.plant().name));
    let mut done = Pass::default();
    let kept_from = history.samples_kept_from().await?;
    let known = manifest::read_all(target, &plant).await?;
    let scratch = Scratch::make()?;
    let days = history.stored_days().await?;
    let count = days.len() as u64;
    for (number, day) in (1..).zip(days) {
        if !goes_on(number, count) {
            break;
        }
        let (start, end) = day.range();
        let over_for_ns = now.since(end) - delay_ns;
        if over_for_ns < 0 || (day.is_unmerged && over_for_ns < UNMERGED_NS_MAX) {
            done.days_waiting += 1;
            continue;
        }
        let key = Day { plant: &plant, day: &day };
        let before = known.get(&key.manifest());
        // What retention has begun to delete is whole in the target only.
        if kept_from.is_some_and(|kept| start < kept) {
            continue;
        }
        if before.is_some_and(|before| before.fingerprint == day.fingerprint) {
            done.days_unchanged += 1;
            continue;
        }
        match export(history, target, &key, before, &scratch).await? {
            Some(manifest) => {
                done.days += 1;
                done.days_changed += u64::from(before.is_some());
                done.samples += manifest.samples;
                done.bytes += manifest.files.iter().map(|file| file.bytes).sum::<u64>();
            }
            None => done.days_unchanged += 1,
        }
    }
    Ok(done)
}

/// A line's day and where it lies in a target.
struct Day<'a> {
    plant: &'a str,
    day: &'a StoredDay,
}

impl Day<'_> {
    fn within(&self) -> String {
        format!("{}/line={}", self.plant, partition(&self.day.line))
    }

    fn folder(&self) -> String {
        format!("{}/date={}", self.within(), date(self.day.day))
    }

    fn manifest(&self) -> String {
        format!("{}/{}/date={}.json", manifest::FOLDER, self.within(), date(self.day.day))
    }
}

/// Exports a day; `None` where the target has the very same files already.
async fn export(
    history: &History,
    target: &Target,
    key: &Day<'_>,
    before: Option<&Manifest>,
    scratch: &Scratch,
) -> Result<Option<Manifest>, EngineError> {
    scratch.clear()?;
    let (from, to) = key.day.range();
    let request = ExportRequest { line: Some(key.day.line.clone()), ..ExportRequest::range(from, to - 1) };
    let stats = history.export(&request, &scratch.0, |_| ()).await?;
    if let Some(before) = before.filter(|before| before.samples > stats.samples) {
        tracing::warn!(
            "{}: the target has {} samples of this day and the history {}; the target is left as it is",
            key.folder(),
            before.samples,
            stats.samples
        );
        return Ok(None);
    }
    let folder = scratch.0.join(key.folder());
    let mut files = Vec::new();
    for name in names(&folder)? {
        let path = folder.join(&name);
        let bytes = path.metadata().map_err(EngineError::io("looking at", &path))?.len();
        files.push(DayFile { name, bytes, sha256: bundle::hash_of_file(&path)? });
    }
    let is_same = before.is_some_and(|before| before.files == files);
    if !is_same {
        for file in &files {
            let path = folder.join(&file.name);
            let content = tokio::fs::read(&path).await.map_err(EngineError::io("reading", &path))?;
            target.put(&format!("{}/{}", key.folder(), file.name), content).await?;
        }
        for name in target.list(&key.folder()).await? {
            let is_ours = files.iter().any(|file| name.rsplit('/').next() == Some(file.name.as_str()));
            if !is_ours {
                target.delete(&name).await?;
            }
        }
    }
    let manifest = Manifest {
        form: manifest::FORM,
        plant: history.plant().name.clone(),
        line: key.day.line.clone(),
        date: date(key.day.day),
        samples: stats.samples,
        fingerprint: key.day.fingerprint.clone(),
        files,
    };
    manifest.write(target, &key.manifest()).await?;
    Ok((!is_same).then_some(manifest))
}

/// The files in a folder, sorted; none where there is no such folder.
fn names(folder: &Path) -> Result<Vec<String>, EngineError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(EngineError::io("listing", folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(EngineError::io("listing", folder))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// A folder for one day's files at a time, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Result<Self, EngineError> {
        let folder = std::env::temp_dir().join(format!("sightglass-follow-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(EngineError::io("making the folder", &folder))?;
        Ok(Self(folder))
    }

    fn clear(&self) -> Result<(), EngineError> {
        std::fs::remove_dir_all(&self.0)
            .and_then(|()| std::fs::create_dir_all(&self.0))
            .map_err(EngineError::io("clearing the folder", &self.0))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!("{} could not be removed: {error}", self.0.display());
        }
    }
}
