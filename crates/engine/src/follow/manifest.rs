//! What the target itself says of a day that was exported.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::Target;
use crate::EngineError;

/// The folder of manifests. Query engines leave names with an underscore out.
pub(super) const FOLDER: &str = "_sightglass";
/// The form of a manifest.
pub(super) const FORM: u32 = 1;
/// Manifests that are read at the same time.
const READS_MAX: usize = 16;

/// One file of a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DayFile {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// A line's day in the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) form: u32,
    pub(super) plant: String,
    pub(super) line: String,
    pub(super) date: String,
    pub(super) samples: u64,
    /// Of what the history held; see [`sightglass_history::StoredDay`].
    pub(super) fingerprint: String,
    pub(super) files: Vec<DayFile>,
}

impl Manifest {
    pub(super) async fn write(&self, target: &Target, name: &str) -> Result<(), EngineError> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| EngineError::FoundWrong(format!("a manifest cannot be written: {error}")))?;
        target.put(name, text).await
    }
}

/// All manifests of a plant by name. One that cannot be read is told and counts as absent: its day is exported anew.
pub(super) async fn read_all(target: &Target, plant: &str) -> Result<BTreeMap<String, Manifest>, EngineError> {
    let mut names = target.list(&format!("{FOLDER}/{plant}")).await?;
    names.retain(|name| name.ends_with(".json"));
    let mut reading = stream::iter(names)
        .map(|name| async move {
            let content = target.get(&name).await?;
            Ok::<_, EngineError>((name, content))
        })
        .buffer_unordered(READS_MAX);
    let mut manifests = BTreeMap::new();
    while let Some(read) = reading.next().await {
        let (name, content) = read?;
        match serde_json::from_slice::<Manifest>(&content) {
            Ok(manifest) if manifest.form == FORM => {
                manifests.insert(name, manifest);
            }
            Ok(manifest) => tracing::warn!("{name} has form {}, which this program does not know", manifest.form),
            Err(error) => tracing::warn!("{name} cannot be read, so that its day is exported again: {error}"),
        }
    }
    Ok(manifests)
}
