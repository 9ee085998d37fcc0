//! A trained model: everything that a stream needs, and its file.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::appearance::Appearance;
use crate::bands::Bands;
use crate::card::Card;
use crate::device::ComputeDevice;
use crate::drift::Drift;
use crate::file::{Broken, FORMAT, LoadError, Store};
use crate::foresight::calibrate::Calibrated;
use crate::frozen_encoder::FrozenEncoder;
use crate::latent::{Latent, Layout};
use crate::network::Shape;
use crate::normalise::Scaling;
use crate::residual::{Plan, TagModels};
use crate::spec::ModelSpec;
use crate::stream::Stream;

/// The parts that judge tags; absent where no tag moves.
pub(crate) struct TagParts {
    pub(crate) plan: Plan,
    pub(crate) models: TagModels,
    pub(crate) drift: Drift,
    pub(crate) bands: Bands,
    /// Absent in a model that was trained before there was any, or on too little.
    pub(crate) foresight: Option<Calibrated>,
}

/// Everything that a stream reads.
pub(crate) struct Inner {
    pub(crate) spec: ModelSpec,
    pub(crate) scaling: Scaling,
    pub(crate) layout: Layout,
    pub(crate) tags: Option<TagParts>,
    /// One a camera; absent for one that showed next to nothing in training.
    pub(crate) looks: Vec<Option<Appearance>>,
    pub(crate) latent: Option<Latent>,
    /// What looks at pictures for the network, where that is not its own encoder.
    pub(crate) encoder: Option<FrozenEncoder>,
    /// Ticks before which nothing is judged.
    pub(crate) settle_ticks: u64,
    pub(crate) card: Card,
}

/// A trained model of one line. Cheap to clone; streams share it.
#[derive(Clone)]
pub struct PlantModel {
    pub(crate) inner: Arc<Inner>,
}

impl std::fmt::Debug for PlantModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlantModel").field("card", &self.inner.card).finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    card: Card,
    shape: Option<Shape>,
    tags: bool,
    looks: Vec<bool>,
    settle_ticks: u64,
}

/// Read first, so that a file of another format is named as such and not as damaged.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// The first way in which the line is not the one that the card tells of.
fn difference(card: &Card, spec: &ModelSpec) -> Option<String> {
    for trained in &card.tags {
        if !spec.tags.iter().any(|t| t.name == trained.name) {
            return Some(format!("tag '{}', which the model knows, is missing in this plant", trained.name));
        }
    }
    for tag in &spec.tags {
        let Some(trained) = card.tags.iter().find(|t| t.name == tag.name) else {
            return Some(format!("tag '{}' is unknown to the model", tag.name));
        };
        if trained.unit != tag.unit {
            return Some(format!("tag '{}' has the unit '{}', the model's '{}'", tag.name, tag.unit, trained.unit));
        }
        if trained.role != tag.role {
            return Some(format!("tag '{}' is a {:?}, the model's a {:?}", tag.name, tag.role, trained.role));
        }
        if trained.excluded != tag.excluded {
            let word = |excluded| if excluded { "left out" } else { "used" };
            let (here, there) = (word(tag.excluded), word(trained.excluded));
            return Some(format!("tag '{}' is {here}, in the model it is {there}", tag.name));
        }
    }
    if let Some((tag, trained)) = spec.tags.iter().zip(&card.tags).find(|(a, b)| a.name != b.name) {
        return Some(format!("tag '{}' stands where the model has '{}'", tag.name, trained.name));
    }
    for (i, camera) in spec.cameras.iter().enumerate() {
        match card.cameras.get(i) {
            Some(trained) if *trained == camera.name => {}
            _ => return Some(format!("camera '{}' is unknown to the model at its place", camera.name)),
        }
    }
    if let Some(trained) = card.cameras.get(spec.cameras.len()) {
        return Some(format!("camera '{trained}', which the model knows, is missing in this plant"));
    }
    if card.tick_ns != spec.tick_ns {
        let seconds = |ns: i64| ns as f64 / 1e9;
        return Some(format!("its tick is {} s, the model's {} s", seconds(spec.tick_ns), seconds(card.tick_ns)));
    }
    None
}

/// How the camera encoder that the model was trained with is not the one that is there.
fn other_encoder(head: &Head, here: Option<&FrozenEncoder>) -> Option<String> {
    match (&head.card.encoder, here) {
        (Some(trained), None) => Some(format!(
            "was trained with the frozen camera encoder {} of SHA-256 {}; name its checkpoint under [model] as encoder = \
             {{ {} = \"PATH\" }}",
            trained.kind, trained.sha256, trained.kind
        )),
        (Some(trained), Some(here)) if trained.sha256 != here.sha256() => Some(format!(
            "was trained with a frozen camera encoder whose weights have the SHA-256 {}, those of 'encoder' under [model] \
             have {}; name the checkpoint that it was trained with, or train it again",
            trained.sha256,
            here.sha256()
        )),
        // A model without a network, or of a line without cameras, sees nothing with any encoder.
        (None, Some(_)) if head.shape.is_some_and(|shape| shape.cameras > 0) => Some(
            "was trained with a camera encoder of its own; remove 'encoder' under [model], or train it again"
                .to_owned(),
        ),
        _ => None,
    }
}

impl PlantModel {
    /// What it says of itself.
    pub fn card(&self) -> &Card {
        &self.inner.card
    }

    /// Trained weights of the network.
    pub fn parameters(&self) -> usize {
        self.inner.card.parameters
    }

    /// Whether it can answer what-ifs and advise: not where it was trained before there was foresight, or on too little.
    pub fn has_foresight(&self) -> bool {
        self.inner.tags.as_ref().is_some_and(|tags| tags.foresight.is_some())
    }

    /// A stream that has seen nothing yet.
    pub fn stream(&self) -> Stream {
        Stream::new(Arc::clone(&self.inner))
    }

    /// Writes the model's file, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), LoadError> {
        let inner = &self.inner;
        let damaged = |reason: String| LoadError::Damaged { path: path.to_owned(), reason };
        let mut store = Store::default();
        inner.scaling.store(&mut store);
        if let Some(tags) = &inner.tags {
            tags.models.store(&tags.plan, &mut store);
            tags.drift.store(&mut store);
            tags.bands.store(&mut store);
            if let Some(foresight) = &tags.foresight {
                foresight.store(&mut store);
            }
        }
        for (camera, look) in inner.looks.iter().enumerate() {
            if let Some(look) = look {
                look.store(camera, &mut store);
            }
        }
        if let Some(latent) = &inner.latent {
            latent.store(&mut store).map_err(|e| damaged(e.to_string()))?;
        }
        let head = Head {
            format: FORMAT,
            card: inner.card.clone(),
            shape: inner.latent.as_ref().map(|l| l.network.shape),
            tags: inner.tags.is_some(),
            looks: inner.looks.iter().map(Option::is_some).collect(),
            settle_ticks: inner.settle_ticks,
        };
        let head = serde_json::to_string(&head).map_err(|e| damaged(e.to_string()))?;
        store.write(path, &head)
    }

    /// Reads a model's file for the line `spec`, to compute on the CPU, with a camera encoder of its own.
    ///
    /// # Errors
    /// See [`Self::load_with`].
    pub fn load(path: &Path, spec: &ModelSpec) -> Result<Self, LoadError> {
        Self::load_with(path, spec, &ComputeDevice::cpu(), None)
    }

    /// Reads a model's file for the line `spec`, to compute on `device`; `encoder` is the frozen camera encoder that the plant
    /// names, which computes on the CPU.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, of another version, of another plant (then with the first difference), or
    /// was trained with another camera encoder.
    pub fn load_with(
        path: &Path,
        spec: &ModelSpec,
        device: &ComputeDevice,
        encoder: Option<&FrozenEncoder>,
    ) -> Result<Self, LoadError> {
        let damaged = |reason: String| LoadError::Damaged { path: path.to_owned(), reason };
        let (store, head) = Store::read(path)?;
        let Format { format } = serde_json::from_str(&head).map_err(|e| damaged(e.to_string()))?;
        if format != FORMAT {
            return Err(LoadError::Version { path: path.to_owned(), found: format });
        }
        let head: Head = serde_json::from_str(&head).map_err(|e| damaged(e.to_string()))?;
        if let Some(difference) = difference(&head.card, spec) {
            return Err(LoadError::OtherPlant { path: path.to_owned(), difference });
        }
        if let Some(difference) = other_encoder(&head, encoder) {
            return Err(LoadError::OtherEncoder { path: path.to_owned(), difference });
        }
        let encoder = encoder.filter(|_| head.card.encoder.is_some());
        Self::restore(&store, head, spec, device, encoder).map_err(|broken| damaged(broken.into()))
    }

    fn restore(
        store: &Store,
        head: Head,
        spec: &ModelSpec,
        device: &ComputeDevice,
        encoder: Option<&FrozenEncoder>,
    ) -> Result<Self, Broken> {
        let scaling = Scaling::restore(store)?;
        if scaling.watched.iter().any(|&at| at >= spec.tags.len()) || head.looks.len() != spec.cameras.len() {
            return Err(Broken::new("scaling.watched", "does not fit the card"));
        }
        let layout = Layout::new(spec, &scaling);
        let tags = if head.tags {
            let (plan, models) = TagModels::restore(&scaling, store)?;
            if !plan.code.fits(spec.tags.len()) {
                return Err(Broken::new("actions", "speak of tags that do not exist"));
            }
            let drift = Drift::restore(plan.tags, store)?;
            let bands = Bands::restore(plan.tags, store)?;
            let foresight = Calibrated::restore(&plan, store)?;
            Some(TagParts { plan, models, drift, bands, foresight })
        } else {
            None
        };
        let looks = head
            .looks
            .iter()
            .enumerate()
            .map(|(camera, known)| if *known { Appearance::restore(camera, store).map(Some) } else { Ok(None) })
            .collect::<Result<_, _>>()?;
        let latent = match head.shape {
            Some(shape) if shape.frozen != encoder.map(FrozenEncoder::width) => {
                return Err(Broken::new("shape.frozen", "does not fit the card's camera encoder"));
            }
            Some(shape) => Some(Latent::restore(shape, store, device)?),
            None => None,
        };
        let inner = Inner {
            spec: spec.clone(),
            scaling,
            layout,
            tags,
            looks,
            latent,
            encoder: encoder.cloned(),
            settle_ticks: head.settle_ticks,
            card: head.card,
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}
