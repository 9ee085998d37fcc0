//! What the model says: forecasts of tags and surprise about what was seen.

use serde::{Deserialize, Serialize};

use crate::{CameraId, LineId, TagId, UtcNanos};

/// The horizons of a forecast, in ticks.
pub const HORIZONS: [u32; 6] = [1, 2, 4, 8, 16, 32];

/// A predicted value with its 80 % band, in the tag's unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Band {
    /// 10 % quantile.
    pub low: f32,
    /// Median.
    pub mid: f32,
    /// 90 % quantile.
    pub high: f32,
}

/// The forecast of one tag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TagForecast {
    /// Whose value.
    pub tag: TagId,
    /// One band a horizon of [`HORIZONS`].
    pub bands: [Band; 6],
}

/// The forecast that was made at one tick, for the measurements and outputs of a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Which line.
    pub line: LineId,
    /// The tick at which it was made; horizon `h` speaks of `time + h * tick_ns`.
    pub time: UtcNanos,
    /// The tick period.
    pub tick_ns: i64,
    /// The tags.
    pub tags: Vec<TagForecast>,
}

/// What kind of evidence a part of the surprise rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ScorePart {
    /// The latent state of tags and pictures was not foreseen.
    Latent,
    /// A picture looks like nothing that was seen in normal running.
    Appearance,
    /// Tags left their predicted values, seen together, now.
    Residual,
    /// Tags lean away from their predicted values, little but for long.
    Drift,
}

impl ScorePart {
    /// One phrase for people.
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Latent => "not foreseen",
            Self::Appearance => "looks unlike normal running",
            Self::Residual => "off its prediction",
            Self::Drift => "drifting from its prediction",
        }
    }
}

/// The surprise of one tag at a tick. 1.0 is the tag's own calibrated limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TagSurprise {
    /// Whose surprise.
    pub tag: TagId,
    /// 0 upwards; above 1 is rarer than the wanted false alarms.
    pub score: f32,
    /// The strongest evidence.
    pub part: ScorePart,
    /// What was predicted for this tick one tick before; absent for a tag without a usable value.
    pub predicted: Option<Band>,
    /// What was seen.
    pub actual: Option<f64>,
}

/// The surprise over one camera's region of interest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatchMap {
    /// Whose picture.
    pub camera: CameraId,
    /// Patches from top to bottom.
    pub rows: u16,
    /// Patches from left to right.
    pub cols: u16,
    /// Row-major, `rows * cols`; 1.0 is the calibrated limit.
    pub scores: Vec<f32>,
    /// The strongest evidence.
    pub part: ScorePart,
}

/// A setpoint or mode that stands where it never stood in training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnknownGround {
    /// Which.
    pub tag: TagId,
    /// Where it stands, in its unit.
    pub value: f64,
    /// Where it stood in training, low and high of each stretch, in its unit.
    pub seen: Vec<(f64, f64)>,
}

/// How unexpected one tick was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Surprise {
    /// Which line.
    pub line: LineId,
    /// Which tick.
    pub time: UtcNanos,
    /// The one score: 1.0 is the calibrated limit of the line as a whole.
    pub score: f32,
    /// The parts of it, each with 1.0 at its own limit.
    pub parts: Vec<(ScorePart, f32)>,
    /// One entry a predicted tag.
    pub tags: Vec<TagSurprise>,
    /// One map a camera that had pictures.
    pub patches: Vec<PatchMap>,
    /// What people have set that the model has no experience of; what it says of such a tick is of little weight.
    pub unknown_ground: Vec<UnknownGround>,
    /// False while the model has not yet seen enough of the run to judge; nothing is raised on it.
    pub settled: bool,
}
