//! `plant.toml` → a validated [`Plant`]: the one place that knows the file's form.

mod model;

pub use model::{
    Camera, CameraFeed, Device, Line, ModelChoice, Plant, Retention, SampleFile, SampleFormat, Source, SourceKind, Tag,
};
