use std::{
    path::PathBuf,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use gst::{glib, prelude::*, subclass::prelude::*};
use gst_base::subclass::{base_src::CreateSuccess, prelude::*};
use sightglass_plant::{JsonPath, MqttBroker, MqttPayload, MqttTls, MqttVersion, SecretRef};
use sightglass_protocol::UtcNanos;

use super::{TIME_FORMATS, reader::Reader, session};
use crate::{
    live::{LiveStream, base_src_of_stream, set_up},
    properties::{
        array_of_strings, host_and_port, integers, samples_pad_templates, span, strings, tag_numbers, tags_of, text,
    },
};

static CAT: LazyLock<gst::DebugCategory> =
    LazyLock::new(|| gst::DebugCategory::new("mqttsrc", gst::DebugColorFlags::empty(), Some("MQTT brokers")));

/// Of `base-utc`: not set.
const UNSET: i64 = i64::MIN;

#[derive(Clone)]
struct Settings {
    address: String,
    version: String,
    client_id: Option<String>,
    user: Option<String>,
    password: Option<String>,
    ca: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
    keep_alive: u64,
    payload: String,
    time: Option<String>,
    time_format: String,
    quality: Option<String>,
    addresses: Vec<String>,
    tags: Vec<i32>,
    base_utc: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: "mqtt://127.0.0.1:1883".to_owned(),
            version: "3.1.1".to_owned(),
            client_id: None,
            user: None,
            password: None,
            ca: None,
            certificate: None,
            key: None,
            keep_alive: 5_000_000_000,
            payload: "plain".to_owned(),
            time: None,
            time_format: "auto".to_owned(),
            quality: None,
            addresses: Vec::new(),
            tags: Vec::new(),
            base_utc: UNSET,
        }
    }
}

impl Settings {
    fn broker(&self) -> Result<MqttBroker, String> {
        let place = self.address.split_once("://");
        let place = place.and_then(|(scheme, place)| Some((scheme, host_and_port(place)?)));
        let Some((scheme @ ("mqtt" | "mqtts"), (host, port))) = place else {
            return Err(
                "address must be a broker and a port, such as mqtt://broker:1883 or mqtts://broker:8883".to_owned()
            );
        };
        let version = match self.version.as_str() {
            "3.1.1" => MqttVersion::V3,
            "5" => MqttVersion::V5,
            other => return Err(format!("version '{other}' must be 3.1.1 or 5")),
        };
        let identity = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some((PathBuf::from(certificate), PathBuf::from(key))),
            (None, None) => None,
            _ => return Err("certificate and key must be given together".to_owned()),
        };
        let tls = (scheme == "mqtts").then(|| MqttTls { ca: self.ca.as_ref().map(PathBuf::from), identity });
        // It may be the secret itself, which no message may show.
        let password = self.password.as_deref().map(|text| {
            SecretRef::parse(text).ok_or_else(|| format!("password must say where it is: {}", SecretRef::FORMS))
        });
        Ok(MqttBroker {
            host,
            port,
            version,
            tls,
            client_id: self.client_id.clone(),
            user: self.user.clone(),
            password: password.transpose()?,
            keep_alive_ns: i64::try_from(self.keep_alive).unwrap_or(i64::MAX),
            payload: self.payload()?,
        })
    }

    fn payload(&self) -> Result<MqttPayload, String> {
        let path = |text: &Option<String>| text.as_ref().map(|text| text.parse::<JsonPath>()).transpose();
        match self.payload.as_str() {
            "plain" => Ok(MqttPayload::Plain),
            "sparkplug" => Ok(MqttPayload::Sparkplug),
            "json" => {
                let format = TIME_FORMATS.iter().find(|(word, _)| *word == self.time_format).map(|(_, format)| *format);
                Ok(MqttPayload::Json {
                    time: path(&self.time).map_err(|error| error.to_string())?,
                    time_format: format
                        .ok_or_else(|| format!("time-format '{}' must be auto, s, ms, us or ns", self.time_format))?,
                    quality: path(&self.quality).map_err(|error| error.to_string())?,
                })
            }
            other => Err(format!("payload '{other}' must be plain, json or sparkplug")),
        }
    }

    fn reader(&self, payload: &MqttPayload) -> Result<Reader, String> {
        let tags = tags_of(&self.tags, self.addresses.len(), "addresses")?;
        let wanted: Vec<_> = self.addresses.iter().cloned().zip(tags).collect();
        Reader::new(payload, &wanted)
    }
}

#[derive(Default)]
pub struct MqttSrc {
    settings: Mutex<Settings>,
    stream: LiveStream,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[glib::object_subclass]
impl ObjectSubclass for MqttSrc {
    const NAME: &'static str = "SightglassMqttSrc";
    type Type = super::MqttSrc;
    type ParentType = gst_base::PushSrc;
}

impl ObjectImpl for MqttSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let defaults = Settings::default();
            vec![
                text(
                    "address",
                    "Address",
                    "The broker: mqtt://HOST:PORT, or mqtts://HOST:PORT for TLS",
                    Some(&defaults.address),
                ),
                text("version", "Version", "The version of MQTT: 3.1.1 or 5", Some(&defaults.version)),
                text("client-id", "Client", "The client's name at the broker (none: one of its own)", None),
                text("user", "User", "The user's name", None),
                text("password", "Password", &format!("Where the password is: {}", SecretRef::FORMS), None),
                text("ca", "CA", "A file of certificates (PEM) that may sign the broker's (none: the PC's)", None),
                text("certificate", "Certificate", "A file with the client's own certificate (PEM)", None),
                text("key", "Key", "A file with that certificate's private key (PEM)", None),
                span(
                    "keep-alive",
                    "Keep alive",
                    "Nanoseconds after which a silent connection is proven alive, whole seconds",
                    defaults.keep_alive,
                ),
                text("payload", "Payload", "What messages hold: plain, json or sparkplug", Some(&defaults.payload)),
                text("time", "Time", "The path of the capture time in JSON (none: the arrival counts)", None),
                text(
                    "time-format",
                    "Time format",
                    "How that time is written: auto, s, ms, us or ns",
                    Some(&defaults.time_format),
                ),
                text("quality", "Quality", "The path of the quality in JSON (none: good)", None),
                array_of_strings(
                    "addresses",
                    "Addresses",
                    "What to read: TOPIC; with JSON TOPIC#PATH; with Sparkplug GROUP/NODE/DEVICE#METRIC",
                ),
                tag_numbers("The tag number of each of the addresses (none: counted from 0)"),
                glib::ParamSpecInt64::builder("base-utc")
                    .nick("Base time")
                    .blurb("UTC nanoseconds at PTS 0; the lowest number: the first arrival")
                    .default_value(UNSET)
                    .mutable_ready()
                    .build(),
            ]
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut settings = lock(&self.settings);
        let some = || value.get::<Option<String>>().ok().flatten().filter(|text| !text.is_empty());
        let text = || some().unwrap_or_default();
        match pspec.name() {
            "address" => settings.address = text(),
            "version" => settings.version = text(),
            "client-id" => settings.client_id = some(),
            "user" => settings.user = some(),
            "password" => settings.password = some(),
            "ca" => settings.ca = some(),
            "certificate" => settings.certificate = some(),
            "key" => settings.key = some(),
            "keep-alive" => settings.keep_alive = value.get().unwrap_or_default(),
            "payload" => settings.payload = text(),
            "time" => settings.time = some(),
            "time-format" => settings.time_format = text(),
            "quality" => settings.quality = some(),
            "addresses" => settings.addresses = strings(value),
            "tags" => settings.tags = integers(value),
            "base-utc" => settings.base_utc = value.get().unwrap_or(UNSET),
            // GObject has checked the name.
            other => gst::error!(CAT, imp = self, "no property {other}"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = lock(&self.settings);
        match pspec.name() {
            "address" => settings.address.to_value(),
            "version" => settings.version.to_value(),
            "client-id" => settings.client_id.to_value(),
            "user" => settings.user.to_value(),
            "password" => settings.password.to_value(),
            "ca" => settings.ca.to_value(),
            "certificate" => settings.certificate.to_value(),
            "key" => settings.key.to_value(),
            "keep-alive" => settings.keep_alive.to_value(),
            "payload" => settings.payload.to_value(),
            "time" => settings.time.to_value(),
            "time-format" => settings.time_format.to_value(),
            "quality" => settings.quality.to_value(),
            "addresses" => gst::Array::new(&settings.addresses).to_value(),
            "tags" => gst::Array::new(&settings.tags).to_value(),
            _ => settings.base_utc.to_value(),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        set_up(&*self.obj());
    }
}

impl GstObjectImpl for MqttSrc {}

impl ElementImpl for MqttSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "MQTT source",
                "Source/Network/Metadata",
                "Reads values from the messages of an MQTT broker: plain text, JSON, Sparkplug B",
                "Sightglass",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        samples_pad_templates()
    }
}

impl BaseSrcImpl for MqttSrc {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let parts = settings.broker().and_then(|broker| Ok((settings.reader(&broker.payload)?, broker)));
        let (reader, broker) = parts.map_err(|reason| gst::error_msg!(gst::ResourceError::Settings, ["{}", reason]))?;
        let base = (settings.base_utc != UNSET).then_some(UtcNanos(settings.base_utc));
        self.stream.start(super::NAME, base, move |outbox| session::run(broker, reader, outbox))
    }

    base_src_of_stream!();
}

impl PushSrcImpl for MqttSrc {
    fn create(&self, _buffer: Option<&mut gst::BufferRef>) -> Result<CreateSuccess, gst::FlowError> {
        self.stream.create(&*self.obj())
    }
}
