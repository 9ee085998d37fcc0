//! Opening a bundle for a replay, once its files are what they were.

use std::path::{Path, PathBuf};

use super::{ABOUT, Bundle, FORM, PLANT, SCORES, Scores, sums};
use crate::EngineError;

/// A bundle whose files are whole.
pub(crate) struct OpenBundle {
    /// What it is of.
    pub about: Bundle,
    /// Its description of the plant.
    pub plant: PathBuf,
    /// Its scores.
    pub scores: Scores,
}

/// Whether `path` is a bundle, rather than a plant's description.
pub(crate) fn is_bundle(path: &Path) -> bool {
    path.is_dir()
}

/// Checks the hashes of the bundle in `folder` and opens it.
///
/// # Errors
/// [`EngineError::FoundWrong`] naming each file that differs; [`EngineError::Usage`] for a folder that is no bundle or
/// that a newer program made.
pub(crate) fn open(folder: &Path) -> Result<OpenBundle, EngineError> {
    let path = folder.join(ABOUT);
    if !path.is_file() {
        return Err(EngineError::Usage(format!(
            "{} is a folder without {ABOUT}, so no bundle; name a plant.toml, or a folder that `sightglass export \
             --incident` made",
            folder.display()
        )));
    }
    sums::check(folder)?;
    let text = std::fs::read_to_string(&path).map_err(EngineError::io("reading", &path))?;
    let wrong = |reason: String| EngineError::Usage(format!("{}: {reason}", path.display()));
    let form: serde_json::Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if form["form"].as_u64().is_none_or(|form| form > u64::from(FORM)) {
        return Err(wrong("a newer Sightglass made this bundle; update this one to replay it".to_owned()));
    }
    let about = serde_json::from_value(form).map_err(|error| wrong(error.to_string()))?;
    Ok(OpenBundle { about, plant: folder.join(PLANT), scores: Scores::read(&folder.join(SCORES))? })
}
