//! The messages between the engine and a window.
//!
//! A window asks, the engine answers: [`Request`] and [`Reply`], each in an [`Envelope`] encoded as postcard, behind a
//! length of 4 bytes (big-endian) on the engine's local socket. The window holds no truth of its own: it asks for what
//! it shows (a view and a time) and draws the answer, several times a second. Answers come in the order of the
//! requests of one connection.

use serde::{Deserialize, Serialize};

use crate::{Advisory, CameraId, Forecast, Health, LineId, PatchMap, PlantInfo, Quality, TagId, UtcNanos};

/// Changes with every incompatible change of the messages.
pub const PROTOCOL_VERSION: u32 = 2;
/// The largest message that either side accepts, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A message with the number that pairs a reply with its request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// Chosen by the asking side.
    pub id: u64,
    /// The message.
    pub body: T,
}

impl<T: Serialize> Envelope<T> {
    /// The message as bytes.
    ///
    /// # Errors
    /// Never for the types of this crate; postcard's own otherwise.
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(self)
    }
}

impl<T: for<'de> Deserialize<'de>> Envelope<T> {
    /// The message in `bytes`.
    ///
    /// # Errors
    /// When the bytes are no such message (another program, or another protocol version).
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        postcard::from_bytes(bytes)
    }
}

/// Which moment a view is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum At {
    /// The newest tick, moving on.
    Now,
    /// A past moment.
    Time(UtcNanos),
}

/// What a window asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// First of all: who are you, and do we speak the same protocol?
    Hello { protocol: u32 },
    /// The screen *Overview*.
    Overview,
    /// The signals of the screens *Line* and *Review*: `span_ns` before the moment, at most `pixels` points a tag.
    Line { line: LineId, at: At, span_ns: i64, pixels: u32 },
    /// A picture: the newest not after the moment (or the newest at all).
    Picture { camera: CameraId, at: At },
    /// The picture after (`forward`) or before the one at `time`: a step by frame.
    Step { camera: CameraId, time: UtcNanos, forward: bool },
    /// Advisories that were open within the range, newest first, at most 200.
    Advisories { line: Option<LineId>, from: UtcNanos, to: UtcNanos },
    /// Where there is anything recorded: for the time line of *Review*.
    Recorded { line: LineId },
}

/// What the engine answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Hello`].
    Welcome(Box<Welcome>),
    /// To [`Request::Overview`].
    Overview(Overview),
    /// To [`Request::Line`].
    Line(Box<LineView>),
    /// To [`Request::Picture`] and [`Request::Step`]; `None` where there is no picture.
    Picture(Option<Picture>),
    /// To [`Request::Advisories`].
    Advisories(Vec<Advisory>),
    /// To [`Request::Recorded`].
    Recorded(Recorded),
    /// The request could not be answered, and why.
    Refused { reason: String },
}

/// The engine introduces itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// The engine's protocol; a window of another one says so and stops.
    pub protocol: u32,
    /// The engine's version, for people.
    pub version: String,
    /// The plant.
    pub plant: PlantInfo,
    /// What the engine runs on: "live", "simulated", "replay at 4x".
    pub mode: String,
    /// Where the model computes ("CPU, 2 threads").
    pub device: String,
}

/// A line's state, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LineState {
    /// Runs as predicted.
    Normal,
    /// The mode tag says that it stands.
    Stopped,
    /// The model cannot judge yet (or there is none).
    Learning,
    /// An advisory about a sensor or camera is open.
    SensorAdvisory,
    /// An advisory about the process is open.
    Advisory,
    /// Nothing comes in.
    NoData,
}

impl LineState {
    /// The word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Normal => "NORMAL",
            Self::Stopped => "STOPPED",
            Self::Learning => "LEARNING",
            Self::SensorAdvisory => "SENSOR",
            Self::Advisory => "ADVISORY",
            Self::NoData => "NO DATA",
        }
    }
}

/// One line on the screen *Overview*.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineSummary {
    /// Which line.
    pub line: LineId,
    /// Its state.
    pub state: LineState,
    /// Since when it is in that state.
    pub since: Option<UtcNanos>,
    /// The score of the last ten minutes, oldest first, at most 240 points of time and score.
    pub scores: Vec<(UtcNanos, f32)>,
    /// Open advisories, newest first.
    pub open: Vec<Advisory>,
}

/// The counters of the status bar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Samples stored since the engine started.
    pub samples: u64,
    /// Ticks since the engine started.
    pub ticks: u64,
    /// Ticks that the model had to drop under load.
    pub ticks_dropped: u64,
    /// Pictures since the engine started.
    pub frames: u64,
    /// Bytes that the history holds.
    pub history_bytes: u64,
}

/// The screen *Overview*.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// The time of the newest tick of any line.
    pub now: Option<UtcNanos>,
    /// One a line.
    pub lines: Vec<LineSummary>,
    /// What does not deliver as it should.
    pub health: Vec<Health>,
    /// Counters.
    pub counters: Counters,
}

/// One point of a signal: all samples of one pixel's time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The start of the pixel's time (or the sample's time where there is one).
    pub time: UtcNanos,
    /// Lowest usable value; NaN without one.
    pub min: f64,
    /// Highest usable value; NaN without one.
    pub max: f64,
    /// Mean of usable values; NaN without one: a gap.
    pub mean: f64,
    /// Last usable value; NaN without one.
    pub last: f64,
    /// Number of samples.
    pub count: u32,
    /// The worst quality.
    pub quality: Quality,
}

/// One tag over the shown time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// Whose.
    pub tag: TagId,
    /// Oldest first. A line may be drawn between two neighbours only when both have a mean and `gap_ns` is not
    /// exceeded between them.
    pub points: Vec<Point>,
    /// The longest time between neighbours that is no gap.
    pub gap_ns: i64,
    /// What was predicted one tick ahead, at the ticks of the shown time: time, low, middle, high.
    pub band: Vec<(UtcNanos, crate::Band)>,
}

/// The screens *Line* and *Review*.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineView {
    /// Which line.
    pub line: LineId,
    /// The moment that is shown: the newest tick for [`At::Now`], the asked time otherwise.
    pub at: UtcNanos,
    /// The newest tick.
    pub now: UtcNanos,
    /// The line's state at the moment.
    pub state: LineState,
    /// One a tag of the line, in its order.
    pub signals: Vec<Signal>,
    /// The forecast made at the moment.
    pub forecast: Option<Forecast>,
    /// The one score over the shown time.
    pub scores: Vec<(UtcNanos, f32)>,
    /// Where in the pictures, at the moment.
    pub patches: Vec<PatchMap>,
    /// Advisories open within the shown time, newest first.
    pub advisories: Vec<Advisory>,
    /// What does not deliver as it should, at the moment.
    pub health: Vec<Health>,
    /// Counters.
    pub counters: Counters,
}

/// A picture for the window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// Whose.
    pub camera: CameraId,
    /// When it was captured.
    pub time: UtcNanos,
    /// The whole picture, JPEG.
    pub jpeg: Vec<u8>,
}

/// What the history holds of a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// First and last tick; `None` when there is none.
    pub range: Option<(UtcNanos, UtcNanos)>,
    /// Times with video, per camera.
    pub video: Vec<(CameraId, Vec<(UtcNanos, UtcNanos)>)>,
    /// Every advisory: since, end (none while open), identity.
    pub advisories: Vec<(UtcNanos, Option<UtcNanos>, crate::AdvisoryId)>,
}
