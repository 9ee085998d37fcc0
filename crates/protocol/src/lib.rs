//! The vocabulary of Sightglass: what every crate, the window and other programs agree on.
//!
//! Plain data without I/O, so that it builds for the engine and for WebAssembly alike. Time is UTC in nanoseconds and
//! always the time of *capture*; a value always carries its [`Quality`]; a number that a model made is never the type
//! of a number that was measured.

pub mod advisory;
pub mod health;
pub mod ids;
pub mod message;
pub mod plant_info;
pub mod prediction;
pub mod quality;
pub mod sample;
pub mod socket;
pub mod tick;
pub mod time;
pub mod video;

pub use advisory::{Advisory, AdvisoryChange, AdvisoryId, AdvisoryKind, Cause, Subject};
pub use health::{Health, HealthState};
pub use ids::{CameraId, LineId, TagId};
pub use plant_info::{CameraInfo, LineInfo, PlantInfo, Roi, Role, TagInfo};
pub use prediction::{
    Band, Forecast, HORIZONS, PatchMap, ScorePart, Surprise, TagForecast, TagSurprise, UnknownGround,
};
pub use quality::{Quality, TimeSource};
pub use sample::Sample;
pub use tick::{CameraReading, Frame, TagReading, Tick};
pub use time::UtcNanos;
pub use video::Segment;
