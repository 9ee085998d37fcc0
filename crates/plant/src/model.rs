//! A plant that has been checked: what the rest of Sightglass trusts.

use std::path::PathBuf;

use sightglass_protocol::{CameraId, CameraInfo, LineId, LineInfo, PlantInfo, Roi, Role, TagId, TagInfo, UtcNanos};

use crate::{ModbusDevice, MqttBroker, OpcUaServer, RtspCamera};

/// A plant. Ids are positions: `tags[id.index()]` has that id, and likewise lines and cameras.
#[derive(Clone, Debug, PartialEq)]
pub struct Plant {
    /// Its name.
    pub name: String,
    /// Its lines, each with at least one tag or camera.
    pub lines: Vec<Line>,
    /// Where samples come from.
    pub sources: Vec<Source>,
    /// All tags.
    pub tags: Vec<Tag>,
    /// All cameras.
    pub cameras: Vec<Camera>,
    /// The model.
    pub model: ModelChoice,
    /// How long things are kept.
    pub retention: Retention,
}

/// A production line: one pipeline, one clock, one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its identity.
    pub id: LineId,
    /// Its name, unique in the plant.
    pub name: String,
    /// The tick period (default 1 s).
    pub tick_ns: i64,
    /// How long the aligner waits for late data of a tick (default 200 ms); capture time, not wall time.
    pub grace_ns: i64,
    /// Its tags, in file order.
    pub tags: Vec<TagId>,
    /// Its cameras, in file order.
    pub cameras: Vec<CameraId>,
}

/// Where samples come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Its name, unique in the plant.
    pub name: String,
    /// How it delivers.
    pub kind: SourceKind,
}

/// How a source delivers.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceKind {
    /// Recorded samples in files.
    File(SampleFile),
    /// The simulated line, in this process.
    Simulator,
    /// A Modbus device, polled.
    Modbus(ModbusDevice),
    /// An MQTT broker, subscribed to.
    Mqtt(MqttBroker),
    /// An OPC UA server, subscribed to.
    OpcUa(OpcUaServer),
}

impl SourceKind {
    /// Whether it delivers what is measured now, and nothing else.
    pub const fn is_live(&self) -> bool {
        matches!(self, Self::Modbus(_) | Self::Mqtt(_) | Self::OpcUa(_))
    }
}

/// Recorded samples: one file after the other, in the given order.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleFile {
    /// Absolute, or relative to the working folder (the parser has joined the plant file's folder).
    pub paths: Vec<PathBuf>,
    /// The format.
    pub format: SampleFormat,
    /// How samples stand in a row.
    pub layout: SampleLayout,
    /// The column with the time (default `time`).
    pub time_column: String,
}

/// How samples stand in the rows of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SampleLayout {
    /// One row a time, one column a tag.
    #[default]
    Wide,
    /// One row a sample, in the order of their times: columns `tag`, the time, `value`, and `quality` (a word; good
    /// where there is no such column).
    Long,
}

/// The format of recorded samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleFormat {
    /// Text with a header line.
    Csv {
        /// One ASCII character (default `,`).
        separator: u8,
    },
    /// Parquet.
    Parquet,
}

/// A tag.
#[derive(Clone, Debug, PartialEq)]
pub struct Tag {
    /// Its identity.
    pub id: TagId,
    /// Its line.
    pub line: LineId,
    /// Its name, unique in the plant.
    pub name: String,
    /// One phrase for people; may be empty.
    pub description: String,
    /// Its unit; may be empty.
    pub unit: String,
    /// Low and high, low < high.
    pub range: Option<(f64, f64)>,
    /// Its role.
    pub role: Role,
    /// Index into [`Plant::sources`].
    pub source: usize,
    /// Its address within the source; the tag's name by default. A column's name for files, a [`crate::ModbusPoint`] or
    /// the name of a row of the map for Modbus, a [`crate::MqttAddress`] for MQTT.
    pub address: String,
    /// How often a value is due (default: the line's tick). A value older than three periods (and three ticks) is
    /// stale; setpoints and modes hold and are never stale.
    pub period_ns: i64,
    /// Whether the model leaves it out (`exclude = true`).
    pub excluded: bool,
    /// The values of a measurement or output outside of which somebody must act, low and high, low < high: what a
    /// forecast's time to the limit is told of.
    pub alarm: Option<(f64, f64)>,
    /// How far advice may move a setpoint; without it, advice leaves it alone.
    pub advise: Option<AdviceLimits>,
}

/// How far advice may move a setpoint. Nothing moves it but people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdviceLimits {
    /// The lowest value, in the tag's unit.
    pub low: f64,
    /// The highest value, above the lowest.
    pub high: f64,
    /// The furthest move in a minute, above 0.
    pub rate_per_min: Option<f64>,
}

/// A camera.
#[derive(Clone, Debug, PartialEq)]
pub struct Camera {
    /// Its identity.
    pub id: CameraId,
    /// Its line.
    pub line: LineId,
    /// Its name, unique in the plant.
    pub name: String,
    /// Where its pictures come from.
    pub feed: CameraFeed,
    /// What the model sees; the whole picture where absent.
    pub roi: Option<Roi>,
    /// Pictures a second.
    pub fps: f64,
    /// The capture time of the first picture of a recorded file.
    pub start: Option<UtcNanos>,
}

/// Where a camera's pictures come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CameraFeed {
    /// A GStreamer launch line whose last element has one source pad with video, raw or encoded.
    Launch(String),
    /// `file://`, `http://`, … or a path (the parser has joined the plant file's folder).
    Uri(String),
    /// A camera in the network that speaks RTSP; it is connected anew whenever it fails.
    Rtsp(RtspCamera),
    /// Recorded segments: a CSV file of lines `path,start`, paths beside it, in the order of their starts.
    Clips(PathBuf),
    /// The simulated line, in this process.
    Simulator,
}

/// Which model watches the plant.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelChoice {
    /// The weights; without them the engine records and does not judge.
    pub path: Option<PathBuf>,
    /// Wanted false alarms per week and line (default 1).
    pub false_alarms_per_week: f64,
    /// Where to compute.
    pub device: Device,
    /// The size of the network.
    pub size: ModelSize,
    /// The seed of training.
    pub seed: u64,
    /// The most epochs of training.
    pub epochs_max: usize,
    /// What sees in place of a camera encoder that is trained with the model.
    pub encoder: Option<EncoderChoice>,
}

impl Default for ModelChoice {
    fn default() -> Self {
        Self {
            path: None,
            false_alarms_per_week: 1.0,
            device: Device::default(),
            size: ModelSize::default(),
            seed: 1,
            epochs_max: 40,
            encoder: None,
        }
    }
}

/// A frozen camera encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncoderChoice {
    /// A V-JEPA 2: the folder of its checkpoint, or one `.safetensors` file with `config.json` beside it.
    Vjepa2(PathBuf),
}

/// How large a network is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModelSize {
    /// About a million parameters: one camera and some tens of tags on one core.
    #[default]
    Nano,
    /// About four million: several cameras, or hundreds of tags.
    Tiny,
    /// About fifteen million: with cores or a GPU to spare.
    Small,
}

/// Where the model computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// CUDA or Metal when built with it and present, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// CUDA, or refuse.
    Cuda,
    /// Metal, or refuse.
    Metal,
}

/// How long and how much things are kept: each kind by a clock and a budget of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retention {
    /// Samples and predictions (default 400 days).
    pub samples_days: f64,
    /// Samples and predictions, in GiB (default 50).
    pub samples_gib: f64,
    /// Roll-ups (default ten times as long as samples).
    pub rollups_days: f64,
    /// Roll-ups, in GiB (default 50).
    pub rollups_gib: f64,
    /// Video (default 14 days).
    pub video_days: f64,
    /// Video, in GiB (default 100).
    pub video_gib: f64,
}

impl CameraFeed {
    /// Whether it is of the present only, so that it cannot be replayed.
    pub const fn is_live(&self) -> bool {
        matches!(self, Self::Rtsp(_))
    }

    /// Whether its pictures come from within the process instead of a GStreamer source.
    pub const fn is_fed(&self) -> bool {
        matches!(self, Self::Simulator | Self::Clips(_))
    }
}

impl Plant {
    /// What the window needs to know.
    pub fn info(&self) -> PlantInfo {
        PlantInfo {
            name: self.name.clone(),
            lines: self
                .lines
                .iter()
                .map(|line| LineInfo {
                    id: line.id,
                    name: line.name.clone(),
                    tick_ns: line.tick_ns,
                    tags: line.tags.clone(),
                    cameras: line.cameras.clone(),
                })
                .collect(),
            tags: self
                .tags
                .iter()
                .map(|tag| TagInfo {
                    id: tag.id,
                    line: tag.line,
                    name: tag.name.clone(),
                    description: tag.description.clone(),
                    unit: tag.unit.clone(),
                    range: tag.range,
                    role: tag.role,
                })
                .collect(),
            cameras: self
                .cameras
                .iter()
                .map(|camera| CameraInfo {
                    id: camera.id,
                    line: camera.line,
                    name: camera.name.clone(),
                    roi: camera.roi,
                    fps: camera.fps,
                })
                .collect(),
        }
    }
}
