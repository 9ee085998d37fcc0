//! An incident bundle: a folder with all that is needed to compute an incident's scores again on another PC.
//!
//! | file | is |
//! | --- | --- |
//! | `bundle.json` | what it is of, and how far its scores are from those that were recorded ([`Bundle`]) |
//! | `plant.toml` | the line's description; its sources and cameras are the files below |
//! | `samples.parquet` | the line's samples in the order of their times |
//! | `clips/CAMERA.csv`, `clips/CAMERA/` | the segments of video with their starts |
//! | `model.safetensors`, `model.card.txt` | the model and its card |
//! | `advisory.json` | the advisory |
//! | `scores.csv` | every tick's score, bit by bit |
//! | `SHA256SUMS` | the hash of each of them |
//!
//! The scores are those of a replay of the bundle itself, made when it was made: a camera that sends raw pictures is
//! recorded as JPEG, so that the pictures in a clip are not to the bit those that the model saw live.

mod make;
mod open;
mod scores;
mod sums;

use serde::{Deserialize, Serialize};
use sightglass_protocol::{AdvisoryId, UtcNanos};

pub(crate) use make::make;
pub(crate) use open::{OpenBundle, is_bundle, open};
pub(crate) use scores::{Scores, Verdict};
pub(crate) use sums::{of_bytes as hash_of_bytes, of_file as hash_of_file};

/// The form of a bundle: a program refuses one that is newer than it knows.
pub(crate) const FORM: u32 = 1;
/// What a bundle's file of itself is called.
pub(crate) const ABOUT: &str = "bundle.json";
pub(crate) const PLANT: &str = "plant.toml";
const SAMPLES: &str = "samples.parquet";
const CLIPS: &str = "clips";
const MODEL: &str = "model.safetensors";
const CARD: &str = "model.card.txt";
const ADVISORY: &str = "advisory.json";
const SCORES: &str = "scores.csv";
const SUMS: &str = "SHA256SUMS";

/// What to make a bundle of.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// An advisory with what was before and after it.
    Incident(AdvisoryId),
    /// A stretch of time (both ends within) of a line; the only one when none is named.
    Range { line: Option<String>, from: UtcNanos, to: UtcNanos },
}

/// What a bundle says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bundle {
    /// [`FORM`].
    pub form: u32,
    /// The program that made it.
    pub made_by: String,
    /// Kind of processor and the instructions that the model's sums depend on: scores are to the bit the same on PCs
    /// where these are, and may differ in the last bits elsewhere.
    pub processor: String,
    pub plant: String,
    pub line: String,
    /// The advisory's number, for an incident.
    pub incident: Option<u64>,
    /// The first and the last moment of its data, both within.
    #[serde(with = "moment")]
    pub from: UtcNanos,
    #[serde(with = "moment")]
    pub to: UtcNanos,
    /// Whether it begins where the run began that holds the incident. Otherwise the model, which remembers, scores
    /// otherwise at first: compare only ticks that are settled.
    pub is_whole_run: bool,
    /// SHA-256 of the model's file; absent where the line had none.
    pub model: Option<String>,
    /// Samples in it.
    pub samples: u64,
    /// Segments of video that were recorded but could not be copied, as paths in the data folder.
    pub clips_missing: Vec<String>,
    /// Ticks with a score in it.
    pub ticks: usize,
    /// How its scores compare with those that were recorded.
    pub recorded: Recorded,
}

/// A bundle's scores beside the recorded ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recorded {
    /// Ticks that both have.
    pub ticks: usize,
    /// Of them, those with the same score to the bit.
    pub identical: usize,
    /// The first tick with another score.
    pub first_difference: Option<String>,
    /// The largest difference of two scores.
    pub largest_difference: f32,
    /// The largest difference among ticks at which both were settled.
    pub largest_difference_settled: f32,
}

/// This program.
pub(crate) fn program() -> String {
    format!("sightglass {}", env!("CARGO_PKG_VERSION"))
}

/// The processor, as far as sums in single precision depend on it.
pub(crate) fn processor() -> String {
    let mut text = std::env::consts::ARCH.to_owned();
    #[cfg(target_arch = "x86_64")]
    for (name, present) in [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
    ] {
        if present {
            text.push(' ');
            text.push_str(name);
        }
    }
    text
}

/// Times as people read them.
mod moment {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use sightglass_protocol::UtcNanos;

    pub(super) fn serialize<S: Serializer>(time: &UtcNanos, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UtcNanos, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
