//! What the recording keeps of the plant and its models, so that an incident can be replayed when both have changed.
//!
//! `DATA/plant/HASH.toml` and `DATA/plant/HASH.safetensors`, each named after the SHA-256 of its content, so that a
//! version is there once however often the engine starts. An event of kind [`EVENT`] at a run's first tick says which
//! of them a line ran with.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sightglass_history::History;
use sightglass_plant::Plant;
use sightglass_protocol::{LineId, UtcNanos};

use crate::{EngineError, bundle, model_files};

/// The folder within the data folder.
const FOLDER: &str = "plant";
/// The kind of the event that says what a line ran with.
pub(crate) const EVENT: &str = "run";
/// Newest events that are looked through for one of a line: more lines than a plant can have.
const EVENTS_LOOKED_AT: u32 = 256;

/// What a line runs with; the text of the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RanWith {
    pub line: String,
    /// SHA-256 of the description.
    pub plant: String,
    /// SHA-256 of the model's file.
    pub model: Option<String>,
}

/// Keeps the description and each line's model in the data folder; gives what to say of each line.
///
/// # Errors
/// When a file cannot be read or written.
pub(crate) fn keep(data: &Path, plant: &Plant) -> Result<Vec<RanWith>, EngineError> {
    let folder = data.join(FOLDER);
    fs::create_dir_all(&folder).map_err(EngineError::io("making the folder", &folder))?;
    let text = sightglass_plant::to_text(plant);
    let description = bundle::hash_of_bytes(text.as_bytes());
    put(&folder.join(format!("{description}.toml")), |partial| fs::write(partial, &text))?;
    let mut lines = Vec::new();
    for line in &plant.lines {
        let model = match model_files::path(plant, line.id).filter(|path| path.exists()) {
            Some(path) => {
                let hash = bundle::hash_of_file(&path)?;
                put(&folder.join(format!("{hash}.safetensors")), |partial| fs::copy(&path, partial).map(|_| ()))?;
                Some(hash)
            }
            None => None,
        };
        lines.push(RanWith { line: line.name.clone(), plant: description.clone(), model });
    }
    Ok(lines)
}

/// Makes a file that is there whole or not at all.
fn put(path: &Path, write: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), EngineError> {
    if path.exists() {
        return Ok(());
    }
    let partial = path.with_extension("partial");
    write(&partial)
        .and_then(|()| File::open(&partial)?.sync_all())
        .and_then(|()| fs::rename(&partial, path))
        .map_err(EngineError::io("writing", path))
}

/// A description and a model that were kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub plant: PathBuf,
    pub model: Option<PathBuf>,
}

/// What `line` ran with at `at`; `None` where the recording does not say.
///
/// # Errors
/// When the history cannot be read.
pub(crate) async fn find(history: &History, line: &str, at: UtcNanos) -> Result<Option<Kept>, EngineError> {
    let folder = history.dir().join(FOLDER);
    for event in history.events_of(EVENT, at, EVENTS_LOOKED_AT).await? {
        match serde_json::from_str::<RanWith>(&event.text) {
            Ok(ran) if ran.line == line => {
                return Ok(Some(Kept {
                    plant: folder.join(format!("{}.toml", ran.plant)),
                    model: ran.model.map(|hash| folder.join(format!("{hash}.safetensors"))),
                }));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!("event {} does not say what a line ran with: {error}", event.seq),
        }
    }
    Ok(None)
}

/// Tells the history what each line runs with, at its first tick.
pub(crate) struct Telling {
    history: History,
    waiting: Vec<Option<RanWith>>,
    failed: bool,
}

impl Telling {
    /// Keeps description and models. Where that fails the run goes on: recording comes first.
    pub(crate) fn start(history: &History, plant: &Plant) -> Self {
        let waiting = match keep(history.dir(), plant) {
            Ok(lines) => lines.into_iter().map(Some).collect(),
            Err(error) => {
                tracing::warn!("incidents of this run cannot be bundled without the plant's description: {error}");
                Vec::new()
            }
        };
        Self { history: history.clone(), waiting, failed: false }
    }

    /// Notes a tick. A write that fails is tried again at the next tick.
    pub(crate) async fn tick(&mut self, line: LineId, time: UtcNanos) {
        let Some(waiting) = self.waiting.get_mut(line.index()) else { return };
        let Some(ran) = waiting.take() else { return };
        let text = match serde_json::to_string(&ran) {
            Ok(text) => text,
            Err(error) => return tracing::warn!("what line {} runs with cannot be written: {error}", ran.line),
        };
        if let Err(error) = self.history.put_event(time, EVENT, &text).await {
            if !std::mem::replace(&mut self.failed, true) {
                tracing::warn!("what line {} runs with is not recorded yet: {error}", ran.line);
            }
            *waiting = Some(ran);
        }
    }
}
