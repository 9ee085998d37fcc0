//! One `[[source]]` of a plant file.

use std::path::PathBuf;

use sightglass_protocol::time::{MILLISECOND, SECOND};
use toml::de::DeValue;

use crate::{
    JsonTime, ModbusDevice, ModbusFraming, ModbusPoint, MqttAddress, MqttBroker, MqttPayload, MqttTls, MqttVersion,
    OPCUA_QUEUE_MAX, OpcUaAddress, OpcUaPolicy, OpcUaSecurity, OpcUaServer, OpcUaUser, SampleFile, SampleFormat,
    SampleLayout, SecretRef, Source, SourceKind, Tag, WordOrder,
    modbus::{MODBUS_PORT, MODBUS_REGISTERS_MAX},
    mqtt::{MQTT_PORT, MQTT_TLS_PORT},
    opcua::{OPCUA_PORT, SAMPLING_NS_MAX},
    parse::{NAME_CHARS_MAX, Names, Parser},
    secret::without_secrets,
    section::{At, MINUTE, Section},
};

const FILE_KEYS: [&str; 6] = ["path", "paths", "format", "separator", "layout", "time_column"];
const MODBUS_KEYS: [&str; 9] =
    ["address", "framing", "unit", "word_order", "timeout", "pause", "block_registers", "block_gap", "map"];
const MQTT_KEYS: [&str; 13] = [
    "address",
    "version",
    "ca",
    "certificate",
    "key",
    "client_id",
    "user",
    "password",
    "keep_alive",
    "payload",
    "time",
    "time_format",
    "quality",
];
const OPCUA_KEYS: [&str; 12] = [
    "address",
    "publishing",
    "sampling",
    "queue",
    "timeout",
    "security",
    "mode",
    "pki",
    "user",
    "password",
    "user_certificate",
    "user_key",
];
/// The folder of certificates, where none is said.
const PKI_DEFAULT: &str = "pki";

const LAYOUTS: [(&str, SampleLayout); 2] = [("wide", SampleLayout::Wide), ("long", SampleLayout::Long)];
const FRAMINGS: [(&str, ModbusFraming); 2] = [("tcp", ModbusFraming::Tcp), ("rtu", ModbusFraming::Rtu)];
const WORD_ORDERS: [(&str, WordOrder); 4] =
    [("abcd", WordOrder::Abcd), ("cdab", WordOrder::Cdab), ("badc", WordOrder::Badc), ("dcba", WordOrder::Dcba)];
const VERSIONS: [(&str, MqttVersion); 2] = [("3.1.1", MqttVersion::V3), ("5", MqttVersion::V5)];
const TIME_FORMATS: [(&str, JsonTime); 5] = [
    ("auto", JsonTime::Auto),
    ("s", JsonTime::Seconds),
    ("ms", JsonTime::Milliseconds),
    ("us", JsonTime::Microseconds),
    ("ns", JsonTime::Nanoseconds),
];

const TIMEOUT_NS_DEFAULT: i64 = SECOND;
const TIMEOUT_NS_MIN: i64 = 10 * MILLISECOND;
const TIMEOUT_NS_MAX: i64 = MINUTE;
const PAUSE_NS_MAX: i64 = 10 * SECOND;
const BLOCK_GAP_DEFAULT: u64 = 8;
const OPCUA_TIMEOUT_NS_DEFAULT: i64 = 2 * SECOND;
const PUBLISHING_NS_DEFAULT: i64 = 500 * MILLISECOND;
const PUBLISHING_NS_MIN: i64 = 10 * MILLISECOND;
const PUBLISHING_NS_MAX: i64 = MINUTE;
const OPCUA_QUEUE_DEFAULT: u64 = 100;
const KEEP_ALIVE_NS_DEFAULT: i64 = 5 * SECOND;
const KEEP_ALIVE_NS_MIN: i64 = SECOND;
const KEEP_ALIVE_NS_MAX: i64 = 10 * MINUTE;

#[derive(Clone, Copy)]
enum Kind {
    File,
    Simulator,
    Modbus,
    Mqtt,
    OpcUa,
}

const KINDS: [(&str, Kind); 5] = [
    ("file", Kind::File),
    ("simulator", Kind::Simulator),
    ("modbus", Kind::Modbus),
    ("mqtt", Kind::Mqtt),
    ("opcua", Kind::OpcUa),
];

impl Kind {
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::File => &FILE_KEYS,
            Self::Simulator => &[],
            Self::Modbus => &MODBUS_KEYS,
            Self::Mqtt => &MQTT_KEYS,
            Self::OpcUa => &OPCUA_KEYS,
        }
    }
}

/// Every key that some `[[source]]` may have.
pub(crate) fn source_keys() -> Vec<&'static str> {
    let mut keys = vec!["name", "kind"];
    for key in KINDS.iter().flat_map(|(_, kind)| kind.keys()) {
        if !keys.contains(key) {
            keys.push(key);
        }
    }
    keys
}

/// A host and a port, where one is said, apart: `plc:502`, `10.0.0.7`, `[fe80::1]:502`.
fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            match after {
                "" => (host, None),
                after => (host, Some(after.strip_prefix(':')?)),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_host_char = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if host.is_empty() || !host.chars().all(is_host_char) {
        return None;
    }
    match port {
        None => Some((host.to_owned(), None)),
        Some(port) => port.parse().ok().filter(|port| *port != 0).map(|port| (host.to_owned(), Some(port))),
    }
}

/// A host and its port as [`host_and_port`] reads them.
pub(crate) fn joined(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl Parser<'_> {
    pub(crate) fn source(&self, section: &Section<'_>, names: &mut Names) -> Source {
        let name = names.add(section.name(NAME_CHARS_MAX), section, self.complaints);
        if !section.has("kind") {
            section.missing("kind", "say one of kind = \"file\", \"modbus\", \"mqtt\", \"opcua\", \"simulator\"");
        }
        let chosen = section.choice("kind", &KINDS);
        if let Some(chosen) = chosen {
            let word = KINDS.iter().find(|(_, kind)| kind.keys() == chosen.keys()).map_or("", |(word, _)| word);
            let keys = source_keys();
            let foreign: Vec<&str> = keys.into_iter().skip(2).filter(|key| !chosen.keys().contains(key)).collect();
            section.refuse(&foreign, &format!("with kind = \"{word}\""));
        }
        let kind = match chosen {
            Some(Kind::File) => SourceKind::File(self.sample_file(section)),
            Some(Kind::Modbus) => self.modbus(section).map_or(SourceKind::Simulator, SourceKind::Modbus),
            Some(Kind::Mqtt) => self.mqtt(section).map_or(SourceKind::Simulator, SourceKind::Mqtt),
            Some(Kind::OpcUa) => self.opcua(section).map_or(SourceKind::Simulator, SourceKind::OpcUa),
            // Where there is no kind, that has been complained about.
            Some(Kind::Simulator) | None => SourceKind::Simulator,
        };
        Source { name, kind }
    }

    /// Complains about a tag whose address its source cannot have.
    pub(crate) fn check_address(&self, tag: &Tag, source: &Source, section: &Section<'_>) {
        let wrong = match &source.kind {
            SourceKind::Modbus(device) if device.map.is_none() => {
                tag.address.parse::<ModbusPoint>().err().map(|error| (error.message, error.advice))
            }
            SourceKind::Mqtt(broker) => {
                MqttAddress::parse(&tag.address, &broker.payload).err().map(|error| (error.message, error.advice))
            }
            SourceKind::OpcUa(_) => {
                tag.address.parse::<OpcUaAddress>().err().map(|error| (error.message, error.advice))
            }
            _ => None,
        };
        let Some((message, advice)) = wrong else { return };
        if section.has("address") {
            self.complaints.add(section.span_of("address"), format!("'address' of [[tag]]: {message}"), advice);
        } else {
            section.missing("address", format!("source '{}' cannot find the tag without it; {advice}", source.name));
        }
    }

    fn modbus(&self, section: &Section<'_>) -> Option<ModbusDevice> {
        let address = section.required_text("address", "say where the device is, as address = \"10.0.0.7:502\"");
        let place = address.and_then(|address| self.place(&address, address.value.trim()));
        let device = ModbusDevice {
            host: String::new(),
            port: MODBUS_PORT,
            framing: section.choice("framing", &FRAMINGS).unwrap_or_default(),
            unit: section.whole("unit", 0, 255).map_or(1, |unit| unit as u8),
            word_order: section.choice("word_order", &WORD_ORDERS).unwrap_or_default(),
            timeout_ns: section.duration("timeout", TIMEOUT_NS_MIN, TIMEOUT_NS_MAX).unwrap_or(TIMEOUT_NS_DEFAULT),
            pause_ns: section.duration("pause", 0, PAUSE_NS_MAX).unwrap_or(0),
            block_max: section
                .whole("block_registers", 4, u64::from(MODBUS_REGISTERS_MAX))
                .map_or(MODBUS_REGISTERS_MAX, |most| most as u16),
            block_gap: section.whole("block_gap", 0, u64::from(MODBUS_REGISTERS_MAX)).unwrap_or(BLOCK_GAP_DEFAULT)
                as u16,
            map: section.text("map").and_then(|map| self.path(&map)),
        };
        let (host, port) = place?;
        Some(ModbusDevice { host, port: port.unwrap_or(MODBUS_PORT), ..device })
    }

    fn mqtt(&self, section: &Section<'_>) -> Option<MqttBroker> {
        const FORM: &str = "say where the broker is, as address = \"mqtt://broker:1883\", or mqtts:// for TLS";
        let address = section.required_text("address", FORM);
        let mut is_tls = false;
        let place = address.and_then(|address| {
            let text = address.value.trim();
            let (scheme, place) = text.split_once("://").unwrap_or(("", text));
            if place.contains('@') {
                // Whoever wrote it meant a password; it is not repeated.
                let message = "'address' of [[source]] holds a user";
                self.complaints.add(address.span, message, "write user = \"…\" and password = \"env:NAME\" instead");
                return None;
            }
            is_tls = scheme == "mqtts";
            if !matches!(scheme, "mqtt" | "mqtts") {
                self.complaints.add(address.span, format!("'address' of [[source]] is \"{text}\""), FORM);
                return None;
            }
            self.place(&address, place.trim_end_matches('/'))
        });
        if !is_tls && place.is_some() {
            section.refuse(&["ca", "certificate", "key"], "without TLS, which an address mqtts://… has");
        }
        let file = |key| section.text(key).and_then(|path| self.path(&path));
        let (certificate, key) = (file("certificate"), file("key"));
        if section.has("certificate") != section.has("key") {
            let (there, absent) = if section.has("key") { ("key", "certificate") } else { ("certificate", "key") };
            section.missing(absent, format!("a '{there}' needs its '{absent}' beside it"));
        }
        let tls = is_tls.then(|| MqttTls { ca: file("ca"), identity: certificate.zip(key) });
        let user = section.text("user").map(|user| user.value);
        let password = self.secret(section, "password");
        if section.has("password") && !section.has("user") {
            section.missing("user", "a password is of a user");
        }
        let broker = MqttBroker {
            host: String::new(),
            port: 0,
            version: section.choice("version", &VERSIONS).unwrap_or_default(),
            tls,
            client_id: section.text("client_id").map(|id| id.value),
            user,
            password,
            keep_alive_ns: section
                .duration("keep_alive", KEEP_ALIVE_NS_MIN, KEEP_ALIVE_NS_MAX)
                .unwrap_or(KEEP_ALIVE_NS_DEFAULT),
            payload: self.payload(section),
        };
        let (host, port) = place?;
        let port = port.unwrap_or(if is_tls { MQTT_TLS_PORT } else { MQTT_PORT });
        Some(MqttBroker { host, port, ..broker })
    }

    fn opcua(&self, section: &Section<'_>) -> Option<OpcUaServer> {
        const FORM: &str = "say where the server is, as address = \"opc.tcp://10.0.0.7:4840\"";
        let address = section.required_text("address", FORM);
        let place = address.and_then(|address| {
            let text = address.value.trim();
            if text.contains('@') {
                // Whoever wrote it meant a password; it is not repeated.
                let message = "'address' of [[source]] holds a user";
                self.complaints.add(address.span, message, "write user = \"…\" and password = \"env:NAME\" instead");
                return None;
            }
            let Some(rest) = text.strip_prefix("opc.tcp://") else {
                self.complaints.add(address.span, format!("'address' of [[source]] is \"{text}\""), FORM);
                return None;
            };
            let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
            let (host, port) = self.place(&address, place)?;
            Some((host, port.unwrap_or(OPCUA_PORT), path.to_owned()))
        });
        let server = OpcUaServer {
            url: String::new(),
            publishing_ns: section
                .duration("publishing", PUBLISHING_NS_MIN, PUBLISHING_NS_MAX)
                .unwrap_or(PUBLISHING_NS_DEFAULT),
            sampling_ns: section.duration("sampling", 0, SAMPLING_NS_MAX),
            queue: section.whole("queue", 1, u64::from(OPCUA_QUEUE_MAX)).unwrap_or(OPCUA_QUEUE_DEFAULT) as u32,
            timeout_ns: section.duration("timeout", TIMEOUT_NS_MIN, TIMEOUT_NS_MAX).unwrap_or(OPCUA_TIMEOUT_NS_DEFAULT),
            security: self.opcua_security(section),
            user: self.opcua_user(section),
            pki: {
                let default = || At { value: PKI_DEFAULT.to_owned(), span: section.span.clone() };
                self.path(&section.text("pki").unwrap_or_else(default)).unwrap_or_default()
            },
        };
        let (host, port, path) = place?;
        let slash = if path.is_empty() { "" } else { "/" };
        Some(OpcUaServer { url: format!("opc.tcp://{}{slash}{path}", joined(&host, port)), ..server })
    }

    fn opcua_security(&self, section: &Section<'_>) -> Option<OpcUaSecurity> {
        let mut choices = vec![("none", None)];
        choices.extend(OpcUaPolicy::ALL.map(|(name, policy)| (name, Some(policy))));
        let policy = section.choice("security", &choices).flatten();
        if policy.is_none() {
            section.refuse(&["mode"], "without a security policy");
        }
        let modes = [("sign", false), ("sign_and_encrypt", true)];
        let is_encrypted = section.choice("mode", &modes).unwrap_or(true);
        policy.map(|policy| OpcUaSecurity { policy, is_encrypted })
    }

    fn opcua_user(&self, section: &Section<'_>) -> OpcUaUser {
        let file = |key| section.text(key).and_then(|path| self.path(&path));
        for (there, absent) in [
            ("user", "password"),
            ("password", "user"),
            ("user_certificate", "user_key"),
            ("user_key", "user_certificate"),
        ] {
            if section.has(there) && !section.has(absent) {
                section.missing(absent, format!("a '{there}' needs its '{absent}' beside it"));
            }
        }
        if section.has("user") {
            section.refuse(&["user_certificate", "user_key"], "beside 'user'");
        }
        let name = section.text("user").zip(self.secret(section, "password"));
        match (name, file("user_certificate").zip(file("user_key"))) {
            (Some((user, password)), _) => OpcUaUser::Name { user: user.value, password },
            (None, Some((certificate, key))) => OpcUaUser::Certificate { certificate, key },
            (None, None) => OpcUaUser::Anonymous,
        }
    }

    fn payload(&self, section: &Section<'_>) -> MqttPayload {
        #[derive(Clone, Copy)]
        enum Form {
            Plain,
            Json,
            Sparkplug,
        }
        const FORMS: [(&str, Form); 3] = [("plain", Form::Plain), ("json", Form::Json), ("sparkplug", Form::Sparkplug)];
        let form = section.choice("payload", &FORMS).unwrap_or(Form::Plain);
        if !matches!(form, Form::Json) {
            section.refuse(&["time", "time_format", "quality"], "without payload = \"json\"");
        }
        let path = |key: &str| {
            let text = section.text(key)?;
            match text.value.parse() {
                Ok(path) => Some(path),
                Err(crate::MqttAddressError { message, advice }) => {
                    self.complaints.add(text.span, format!("'{key}' of [[source]]: {message}"), advice);
                    None
                }
            }
        };
        match form {
            Form::Plain => MqttPayload::Plain,
            Form::Sparkplug => MqttPayload::Sparkplug,
            Form::Json => MqttPayload::Json {
                time: path("time"),
                time_format: section.choice("time_format", &TIME_FORMATS).unwrap_or_default(),
                quality: path("quality"),
            },
        }
    }

    /// Where a secret is. What stands there instead of that is not repeated.
    pub(crate) fn secret(&self, section: &Section<'_>, key: &str) -> Option<SecretRef> {
        let text = section.text(key)?;
        let reference = SecretRef::parse(&text.value);
        if let Some(SecretRef::File(path)) = &reference {
            let path = At { value: path.to_string_lossy().into_owned(), span: text.span };
            return self.path(&path).map(SecretRef::File);
        }
        if reference.is_none() {
            let message = format!("'{key}' of {} does not say where the {key} is", section.what);
            let advice = "a plant file holds no secret; write keyring:NAME for the key store (`sightglass secret set NAME`), \
                          env:NAME for an environment variable or file:PATH for the first line of a file";
            self.complaints.add(text.span, message, advice);
        }
        reference
    }

    fn place(&self, address: &At<String>, text: &str) -> Option<(String, Option<u16>)> {
        let place = host_and_port(text);
        if place.is_none() {
            let message = format!("'address' of [[source]] is \"{}\"", without_secrets(&address.value));
            let advice =
                "it must name a host and may name a port from 1 to 65535, such as 10.0.0.7:502 or [fe80::1]:502";
            self.complaints.add(address.span.clone(), message, advice);
        }
        place
    }

    fn sample_file(&self, section: &Section<'_>) -> SampleFile {
        let mut paths: Vec<PathBuf> = Vec::new();
        match (section.has("path"), section.has("paths")) {
            (false, false) => section.missing("path", "say path = \"a.csv\", or paths = [\"a.csv\", \"b.csv\"]"),
            (true, true) => section.refuse(&["paths"], "beside 'path'"),
            (true, false) => paths.extend(section.text("path").and_then(|path| self.path(&path))),
            (false, true) => {
                let wanted = "it must be a list of paths in quotes, such as [\"a.csv\", \"b.csv\"]";
                let read = |item: &DeValue<'_>| item.as_str().filter(|path| !path.trim().is_empty()).map(str::to_owned);
                let list = section.list("paths", wanted, read);
                if let Some(list) = list {
                    if list.value.is_empty() {
                        self.complaints.add(list.span, "'paths' of [[source]] is an empty list", wanted);
                    }
                    paths.extend(list.value.iter().filter_map(|path| self.path(path)));
                }
            }
        }
        let is_parquet = section
            .choice("format", &[("csv", false), ("parquet", true)])
            .or_else(|| if section.has("format") { None } else { self.format_by_extension(section, &paths) });
        let format = if is_parquet == Some(true) {
            section.refuse(&["separator"], "for Parquet files");
            SampleFormat::Parquet
        } else {
            SampleFormat::Csv { separator: self.separator(section).unwrap_or(b',') }
        };
        let time_column = section.text("time_column").map_or_else(|| "time".to_owned(), |column| column.value);
        let layout = section.choice("layout", &LAYOUTS).unwrap_or_default();
        SampleFile { paths, format, layout, time_column }
    }

    fn format_by_extension(&self, section: &Section<'_>, paths: &[PathBuf]) -> Option<bool> {
        let is_parquet = |path: &PathBuf| {
            let extension = path.extension()?.to_str()?.to_ascii_lowercase();
            match extension.as_str() {
                "csv" | "tsv" | "txt" => Some(false),
                "parquet" | "pq" => Some(true),
                _ => None,
            }
        };
        let first = is_parquet(paths.first()?);
        if first.is_none() || paths.iter().any(|path| is_parquet(path) != first) {
            let span = section.span_of(if section.has("path") { "path" } else { "paths" });
            let message = "the format of the files of [[source]] cannot be told from their names";
            self.complaints.add(span, message, "say format = \"csv\" or format = \"parquet\"");
            return None;
        }
        first
    }

    fn separator(&self, section: &Section<'_>) -> Option<u8> {
        // Not through `text`, since a tab is a fine separator and looks empty.
        let text = section.raw_text("separator")?;
        match text.value.as_bytes() {
            [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"\"\n\r.-+".contains(byte) => Some(*byte),
            _ => {
                let message = format!("'separator' of [[source]] is {:?}", text.value);
                let advice =
                    "allowed is one ASCII character that is not part of a number, such as \",\", \";\", \"\\t\"";
                self.complaints.add(text.span, message, advice);
                None
            }
        }
    }
}
