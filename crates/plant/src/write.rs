//! From a [`Plant`] back to the text of a plant file: what a recording keeps of the plant that it was made with.

use std::fmt::{Display, Write};

use sightglass_protocol::Role;

use crate::{
    AdviceLimits, CameraFeed, Device, EncoderChoice, JsonTime, ModbusDevice, ModbusFraming, ModelSize, MqttBroker,
    MqttPayload, MqttVersion, OpcUaServer, OpcUaUser, Plant, RtspTransport, SampleFormat, SampleLayout, SourceKind,
    WordOrder, source::joined,
};

/// The text of a plant file that reads back as `plant`, without its retention: it is for replaying what was recorded.
/// Paths stand in it as they are in `plant`.
pub fn to_text(plant: &Plant) -> String {
    let mut text = Text::default();
    text.table("[plant]");
    text.quoted("name", &plant.name);

    text.table("[model]");
    if let Some(path) = &plant.model.path {
        text.quoted("path", &path.to_string_lossy());
    }
    text.plain("false_alarms_per_week", format_args!("{:?}", plant.model.false_alarms_per_week));
    let device = match plant.model.device {
        Device::Auto => "auto",
        Device::Cpu => "cpu",
        Device::Cuda => "cuda",
        Device::Metal => "metal",
    };
    text.quoted("device", device);
    let size = match plant.model.size {
        ModelSize::Nano => "nano",
        ModelSize::Tiny => "tiny",
        ModelSize::Small => "small",
    };
    text.quoted("size", size);
    text.plain("seed", plant.model.seed);
    text.plain("epochs", plant.model.epochs_max);
    if let Some(EncoderChoice::Vjepa2(path)) = &plant.model.encoder {
        text.plain("encoder", format_args!("{{ vjepa2 = {} }}", quote(&path.to_string_lossy())));
    }

    for line in &plant.lines {
        text.table("[[line]]");
        text.quoted("name", &line.name);
        text.quoted("tick", &span(line.tick_ns));
        text.quoted("grace", &span(line.grace_ns));
    }
    for source in &plant.sources {
        text.table("[[source]]");
        text.quoted("name", &source.name);
        match &source.kind {
            SourceKind::Simulator => text.quoted("kind", "simulator"),
            SourceKind::File(file) => {
                text.quoted("kind", "file");
                let paths: Vec<String> = file.paths.iter().map(|path| quote(&path.to_string_lossy())).collect();
                text.plain("paths", format_args!("[{}]", paths.join(", ")));
                match file.format {
                    SampleFormat::Parquet => text.quoted("format", "parquet"),
                    SampleFormat::Csv { separator } => {
                        text.quoted("format", "csv");
                        text.quoted("separator", &char::from(separator).to_string());
                    }
                }
                if file.layout == SampleLayout::Long {
                    text.quoted("layout", "long");
                }
                text.quoted("time_column", &file.time_column);
            }
            SourceKind::Modbus(device) => modbus(&mut text, device),
            SourceKind::Mqtt(broker) => mqtt(&mut text, broker),
            SourceKind::OpcUa(server) => opcua(&mut text, server),
        }
    }
    for tag in &plant.tags {
        text.table("[[tag]]");
        text.quoted("name", &tag.name);
        text.quoted("line", &plant.lines[tag.line.index()].name);
        text.quoted("source", &plant.sources[tag.source].name);
        if tag.address != tag.name {
            text.quoted("address", &tag.address);
        }
        if !tag.description.is_empty() {
            text.quoted("description", &tag.description);
        }
        if !tag.unit.is_empty() {
            text.quoted("unit", &tag.unit);
        }
        if let Some((low, high)) = tag.range {
            text.plain("range", format_args!("[{low:?}, {high:?}]"));
        }
        let role = match tag.role {
            Role::Measurement => "measurement",
            Role::Setpoint => "setpoint",
            Role::Output => "output",
            Role::Mode => "mode",
        };
        text.quoted("role", role);
        text.quoted("period", &span(tag.period_ns));
        if tag.excluded {
            text.plain("exclude", true);
        }
        if let Some((low, high)) = tag.alarm {
            text.plain("alarm", format_args!("[{low:?}, {high:?}]"));
        }
        if let Some(AdviceLimits { low, high, rate_per_min }) = tag.advise {
            text.plain("advise", format_args!("[{low:?}, {high:?}]"));
            if let Some(rate) = rate_per_min {
                text.plain("advise_per_min", format_args!("{rate:?}"));
            }
        }
    }
    for camera in &plant.cameras {
        text.table("[[camera]]");
        text.quoted("name", &camera.name);
        text.quoted("line", &plant.lines[camera.line.index()].name);
        match &camera.feed {
            CameraFeed::Launch(launch) => text.quoted("launch", launch),
            CameraFeed::Uri(uri) => text.quoted("uri", uri),
            CameraFeed::Rtsp(camera) => {
                text.quoted("uri", &camera.uri);
                let transport = match camera.transport {
                    RtspTransport::Tcp => "tcp",
                    RtspTransport::Udp => "udp",
                };
                text.quoted("transport", transport);
                if let Some(user) = &camera.user {
                    text.quoted("user", user);
                }
                if let Some(password) = &camera.password {
                    text.quoted("password", &password.to_string());
                }
                text.quoted("latency", &span(camera.latency_ns));
            }
            CameraFeed::Clips(index) => text.quoted("clips", &index.to_string_lossy()),
            CameraFeed::Simulator => text.plain("simulator", true),
        }
        if let Some(roi) = camera.roi {
            text.plain("roi", format_args!("[{}, {}, {}, {}]", roi.x, roi.y, roi.width, roi.height));
        }
        text.plain("fps", format_args!("{:?}", camera.fps));
        if let Some(start) = camera.start {
            text.quoted("start", &start.to_string());
        }
    }
    text.finish()
}

fn modbus(text: &mut Text, device: &ModbusDevice) {
    text.quoted("kind", "modbus");
    text.quoted("address", &joined(&device.host, device.port));
    let framing = match device.framing {
        ModbusFraming::Tcp => "tcp",
        ModbusFraming::Rtu => "rtu",
    };
    text.quoted("framing", framing);
    text.plain("unit", device.unit);
    let order = match device.word_order {
        WordOrder::Abcd => "abcd",
        WordOrder::Cdab => "cdab",
        WordOrder::Badc => "badc",
        WordOrder::Dcba => "dcba",
    };
    text.quoted("word_order", order);
    text.quoted("timeout", &span(device.timeout_ns));
    text.quoted("pause", &span(device.pause_ns));
    text.plain("block_registers", device.block_max);
    text.plain("block_gap", device.block_gap);
    if let Some(map) = &device.map {
        text.quoted("map", &map.to_string_lossy());
    }
}

fn mqtt(text: &mut Text, broker: &MqttBroker) {
    text.quoted("kind", "mqtt");
    let scheme = if broker.tls.is_some() { "mqtts" } else { "mqtt" };
    text.quoted("address", &format!("{scheme}://{}", joined(&broker.host, broker.port)));
    text.quoted("version", if broker.version == MqttVersion::V5 { "5" } else { "3.1.1" });
    if let Some(tls) = &broker.tls {
        if let Some(ca) = &tls.ca {
            text.quoted("ca", &ca.to_string_lossy());
        }
        if let Some((certificate, key)) = &tls.identity {
            text.quoted("certificate", &certificate.to_string_lossy());
            text.quoted("key", &key.to_string_lossy());
        }
    }
    if let Some(id) = &broker.client_id {
        text.quoted("client_id", id);
    }
    if let Some(user) = &broker.user {
        text.quoted("user", user);
    }
    if let Some(password) = &broker.password {
        text.quoted("password", &password.to_string());
    }
    text.quoted("keep_alive", &span(broker.keep_alive_ns));
    match &broker.payload {
        MqttPayload::Plain => text.quoted("payload", "plain"),
        MqttPayload::Sparkplug => text.quoted("payload", "sparkplug"),
        MqttPayload::Json { time, time_format, quality } => {
            text.quoted("payload", "json");
            if let Some(time) = time {
                text.quoted("time", &time.to_string());
            }
            let format = match time_format {
                JsonTime::Auto => "auto",
                JsonTime::Seconds => "s",
                JsonTime::Milliseconds => "ms",
                JsonTime::Microseconds => "us",
                JsonTime::Nanoseconds => "ns",
            };
            text.quoted("time_format", format);
            if let Some(quality) = quality {
                text.quoted("quality", &quality.to_string());
            }
        }
    }
}

fn opcua(text: &mut Text, server: &OpcUaServer) {
    text.quoted("kind", "opcua");
    text.quoted("address", &server.url);
    text.quoted("publishing", &span(server.publishing_ns));
    if let Some(sampling_ns) = server.sampling_ns {
        text.quoted("sampling", &span(sampling_ns));
    }
    text.plain("queue", server.queue);
    text.quoted("timeout", &span(server.timeout_ns));
    if let Some(security) = server.security {
        text.quoted("security", &security.policy.to_string());
        text.quoted("mode", if security.is_encrypted { "sign_and_encrypt" } else { "sign" });
    }
    text.quoted("pki", &server.pki.to_string_lossy());
    match &server.user {
        OpcUaUser::Anonymous => {}
        OpcUaUser::Name { user, password } => {
            text.quoted("user", user);
            text.quoted("password", &password.to_string());
        }
        OpcUaUser::Certificate { certificate, key } => {
            text.quoted("user_certificate", &certificate.to_string_lossy());
            text.quoted("user_key", &key.to_string_lossy());
        }
    }
}

/// The text of a plant file as it is written.
#[derive(Default)]
pub(crate) struct Text(String);

impl Text {
    pub(crate) fn finish(self) -> String {
        self.0
    }

    /// A comment, on a line of its own.
    pub(crate) fn comment(&mut self, words: &str) {
        let words: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        // Writing to a String cannot fail.
        let _written = writeln!(self.0, "# {words}");
    }

    pub(crate) fn table(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(name);
        self.0.push('\n');
    }

    pub(crate) fn quoted(&mut self, key: &str, value: &str) {
        self.plain(key, quote(value));
    }

    pub(crate) fn plain(&mut self, key: &str, value: impl Display) {
        // Writing to a String cannot fail.
        let _written = writeln!(self.0, "{key} = {value}");
    }
}

/// A TOML basic string.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A time span in the file's smallest unit.
fn span(nanos: i64) -> String {
    if nanos % 1_000 == 0 { format!("{}us", nanos / 1_000) } else { format!("{:?}us", nanos as f64 / 1e3) }
}
