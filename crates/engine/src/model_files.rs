//! From a plant's description to its model: what the model must know, and where its file is.

use std::path::{Path, PathBuf};

use sightglass_plant::{Device, EncoderChoice, ModelSize, Plant};
use sightglass_protocol::LineId;
use sightglass_world_model::{
    CameraSpec, ComputeDevice, DeviceChoice, FrozenEncoder, ModelSpec, PlantModel, Size, TagSpec,
};

use crate::EngineError;

/// The name of the model that is shipped for the simulated line.
pub(crate) const DEMO_MODEL: &str = "demo-line.safetensors";

/// What a model of `line` is a model of.
pub(crate) fn spec(plant: &Plant, line: LineId) -> ModelSpec {
    let line = &plant.lines[line.index()];
    ModelSpec {
        line: line.id,
        tick_ns: line.tick_ns,
        tags: line
            .tags
            .iter()
            .map(|&id| {
                let tag = &plant.tags[id.index()];
                TagSpec {
                    id,
                    name: tag.name.clone(),
                    unit: tag.unit.clone(),
                    role: tag.role,
                    range: tag.range,
                    excluded: tag.excluded,
                }
            })
            .collect(),
        cameras: line
            .cameras
            .iter()
            .map(|&id| CameraSpec { id, name: plant.cameras[id.index()].name.clone() })
            .collect(),
    }
}

/// Where the model of `line` is: the plant's path, with the line's name before the ending when there are several.
pub(crate) fn path(plant: &Plant, line: LineId) -> Option<PathBuf> {
    let path = plant.model.path.as_ref()?;
    if plant.lines.len() == 1 {
        return Some(path.clone());
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    Some(path.with_file_name(format!("{stem}.{}.{ending}", plant.lines[line.index()].name)))
}

/// Loads the model of `line` to compute on `device`; `None` when the plant names none, or names one that is not trained yet.
///
/// # Errors
/// A file that is no model, or the model of another plant.
pub(crate) fn load(plant: &Plant, line: LineId, device: &ComputeDevice) -> Result<Option<PlantModel>, EngineError> {
    match path(plant, line) {
        Some(path) if path.exists() => {
            let encoder = encoder(plant)?;
            Ok(Some(PlantModel::load_with(&path, &spec(plant, line), device, encoder.as_ref())?))
        }
        Some(path) => {
            tracing::info!(
                "there is no model at {} yet: recording without judging; `sightglass train` makes one",
                path.display()
            );
            Ok(None)
        }
        None => Ok(None),
    }
}

/// The frozen camera encoder that the plant names.
///
/// # Errors
/// When its checkpoint cannot be read or is none.
pub(crate) fn encoder(plant: &Plant) -> Result<Option<FrozenEncoder>, EngineError> {
    match &plant.model.encoder {
        Some(EncoderChoice::Vjepa2(path)) => Ok(Some(FrozenEncoder::load_vjepa2(path)?)),
        None => Ok(None),
    }
}

/// The size of network that the plant asks for.
pub(crate) const fn size(plant: &Plant) -> Size {
    match plant.model.size {
        ModelSize::Nano => Size::nano(),
        ModelSize::Tiny => Size::tiny(),
        ModelSize::Small => Size::small(),
    }
}

/// Opens what the plant's models compute on, and says which it is.
///
/// # Errors
/// When the plant asks for a device by name that this build does not know or this PC does not have.
pub(crate) fn device(plant: &Plant) -> Result<ComputeDevice, EngineError> {
    let device = ComputeDevice::open(match plant.model.device {
        Device::Auto => DeviceChoice::Auto,
        Device::Cpu => DeviceChoice::Cpu,
        Device::Cuda => DeviceChoice::Cuda,
        Device::Metal => DeviceChoice::Metal,
    })?;
    tracing::info!("models compute on: {}", device.description());
    Ok(device)
}

/// The folder of shipped models: `SIGHTGLASS_MODELS`, beside the program, `models` here, or the source tree's.
///
/// # Errors
/// When none of them holds `file`.
pub(crate) fn shipped(file: &str) -> Result<PathBuf, EngineError> {
    let mut folders: Vec<PathBuf> = Vec::new();
    if let Some(folder) = std::env::var_os("SIGHTGLASS_MODELS") {
        folders.push(folder.into());
    }
    if let Some(beside) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
        folders.push(beside.join("models"));
        folders.push(beside.join("../share/sightglass/models"));
    }
    folders.push("models".into());
    folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models"));
    folders.iter().map(|folder| folder.join(file)).find(|path| path.exists()).ok_or_else(|| {
        EngineError::Usage(format!(
            "the model {file} is in none of {}; set SIGHTGLASS_MODELS to the folder that holds it",
            folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
        ))
    })
}
