//! `plant.toml` → a validated [`Plant`]: the one place that knows the file's form.
//!
//! [`load`] reads a file, [`parse`] a text. Either gives a [`Plant`] that cannot be wrong in itself, or [`PlantErrors`]:
//! everything that is wrong with the file, each with line, column and what is allowed. Names have become positions
//! ([`sightglass_protocol::TagId`] and its like) and relative paths start at the file's folder. Whether the files and
//! devices that a plant names are there is not asked here: that is for whoever opens them, each time anew.

mod draft;
mod errors;
mod map;
mod modbus;
mod model;
mod mqtt;
mod opcua;
mod parse;
mod rtsp;
mod secret;
mod section;
mod source;
mod variables;
mod write;

pub use draft::{DraftTag, draft};
pub use errors::{PlantErrors, Problem};
pub use map::{ImportMap, Mapped};
pub use modbus::{
    MODBUS_BITS_MAX, MODBUS_REGISTERS_MAX, ModbusDevice, ModbusFraming, ModbusPoint, ModbusPointError, ModbusPointText,
    ModbusTable, ModbusType, WordOrder,
};
pub use model::{
    AdviceLimits, Camera, CameraFeed, Device, EncoderChoice, Line, ModelChoice, ModelSize, Plant, Retention,
    SampleFile, SampleFormat, SampleLayout, Source, SourceKind, Tag,
};
pub use mqtt::{
    JsonPath, JsonStep, JsonTime, MqttAddress, MqttAddressError, MqttBroker, MqttPayload, MqttTls, MqttVersion,
};
pub use opcua::{
    OPCUA_QUEUE_MAX, OpcUaAddress, OpcUaAddressError, OpcUaDeadband, OpcUaNamespace, OpcUaNode, OpcUaPolicy,
    OpcUaSecurity, OpcUaServer, OpcUaType, OpcUaUser,
};
pub use parse::{CAMERAS_MAX, FILE_BYTES_MAX, LINES_MAX, NAME_CHARS_MAX, SOURCES_MAX, TAGS_MAX, load, parse};
pub use rtsp::{RtspCamera, RtspTransport};
pub use secret::SecretRef;
pub use section::nearest;
pub use write::to_text;
