use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use gst::{glib, prelude::*, subclass::prelude::*};
use gst_base::subclass::{base_src::CreateSuccess, prelude::*};
use sightglass_plant::{OPCUA_QUEUE_MAX, OpcUaAddress, OpcUaPolicy, OpcUaSecurity, OpcUaServer, OpcUaUser, SecretRef};
use sightglass_protocol::{UtcNanos, time::SECOND};

use super::{feed::Wanted, session};
use crate::{
    live::{LiveStream, base_src_of_stream, set_up},
    properties::{array_of_strings, integers, samples_pad_templates, span, strings, tag_numbers, tags_of, text, whole},
};

static CAT: LazyLock<gst::DebugCategory> =
    LazyLock::new(|| gst::DebugCategory::new("opcuasrc", gst::DebugColorFlags::empty(), Some("OPC UA servers")));

/// Of `base-utc`: not set.
const UNSET: i64 = i64::MIN;
/// Of `sampling`: each node's period.
pub(super) const OF_PERIOD: i64 = -1;
/// Of `mode`.
pub(super) const SIGN: &str = "sign";
pub(super) const ENCRYPT: &str = "sign_and_encrypt";

#[derive(Clone)]
struct Settings {
    address: String,
    publishing: u64,
    sampling: i64,
    queue: u32,
    timeout: u64,
    security: String,
    mode: String,
    pki: String,
    user: Option<String>,
    password: Option<String>,
    user_certificate: Option<String>,
    user_key: Option<String>,
    nodes: Vec<String>,
    tags: Vec<i32>,
    periods: Vec<i64>,
    base_utc: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: "opc.tcp://127.0.0.1:4840".to_owned(),
            publishing: 500_000_000,
            sampling: OF_PERIOD,
            queue: 100,
            timeout: 2_000_000_000,
            security: "none".to_owned(),
            mode: ENCRYPT.to_owned(),
            pki: "pki".to_owned(),
            user: None,
            password: None,
            user_certificate: None,
            user_key: None,
            nodes: Vec::new(),
            tags: Vec::new(),
            periods: Vec::new(),
            base_utc: UNSET,
        }
    }
}

impl Settings {
    fn server(&self) -> Result<OpcUaServer, String> {
        if !self.address.starts_with("opc.tcp://") {
            return Err(format!("address '{}' must be a server, such as opc.tcp://10.0.0.7:4840", self.address));
        }
        if self.publishing == 0 {
            return Err("publishing must be above 0".to_owned());
        }
        let span = |span: u64| i64::try_from(span).unwrap_or(i64::MAX);
        Ok(OpcUaServer {
            url: self.address.clone(),
            publishing_ns: span(self.publishing),
            sampling_ns: (self.sampling != OF_PERIOD).then_some(self.sampling),
            queue: self.queue,
            timeout_ns: span(self.timeout),
            security: self.security()?,
            user: self.user()?,
            pki: self.pki.as_str().into(),
        })
    }

    fn security(&self) -> Result<Option<OpcUaSecurity>, String> {
        let is_encrypted = match self.mode.as_str() {
            SIGN => false,
            ENCRYPT => true,
            other => return Err(format!("mode '{other}' must be {SIGN} or {ENCRYPT}")),
        };
        if self.security == "none" {
            return Ok(None);
        }
        let found = OpcUaPolicy::ALL.iter().find(|(name, _)| *name == self.security);
        let names = OpcUaPolicy::ALL.map(|(name, _)| name).join(", ");
        let (_, policy) =
            found.ok_or_else(|| format!("security '{}' must be none or one of {names}", self.security))?;
        Ok(Some(OpcUaSecurity { policy: *policy, is_encrypted }))
    }

    fn user(&self) -> Result<OpcUaUser, String> {
        match (&self.user, &self.password, &self.user_certificate, &self.user_key) {
            (None, None, None, None) => Ok(OpcUaUser::Anonymous),
            (Some(user), Some(password), None, None) => {
                // It may be the secret itself, which no message may show.
                let password = SecretRef::parse(password)
                    .ok_or_else(|| format!("password must say where it is: {}", SecretRef::FORMS))?;
                Ok(OpcUaUser::Name { user: user.clone(), password })
            }
            (None, None, Some(certificate), Some(key)) => {
                Ok(OpcUaUser::Certificate { certificate: certificate.into(), key: key.into() })
            }
            _ => Err("give user and password, or user-certificate and user-key, or none of them".to_owned()),
        }
    }

    fn wanted(&self) -> Result<Vec<Wanted>, String> {
        let tags = tags_of(&self.tags, self.nodes.len(), "nodes")?;
        if !self.periods.is_empty() && self.periods.len() != self.nodes.len() {
            return Err(format!("{} periods for {} nodes; give one each", self.periods.len(), self.nodes.len()));
        }
        let wanted = self.nodes.iter().zip(tags).enumerate().map(|(at, (node, tag))| {
            let address: OpcUaAddress = node.parse().map_err(|error| format!("'{node}': {error}"))?;
            Ok(Wanted { address, tag, period_ns: self.periods.get(at).copied().unwrap_or(SECOND) })
        });
        wanted.collect()
    }
}

#[derive(Default)]
pub struct OpcUaSrc {
    settings: Mutex<Settings>,
    stream: LiveStream,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[glib::object_subclass]
impl ObjectSubclass for OpcUaSrc {
    const NAME: &'static str = "SightglassOpcUaSrc";
    type Type = super::OpcUaSrc;
    type ParentType = gst_base::PushSrc;
}

impl ObjectImpl for OpcUaSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let defaults = Settings::default();
            let period = glib::ParamSpecInt64::builder("item").nick("Item").blurb("One of them").build();
            vec![
                text("address", "Address", "The server: opc.tcp://HOST:PORT/PATH", Some(&defaults.address)),
                span("publishing", "Publishing", "Nanoseconds between two messages of the server", defaults.publishing),
                glib::ParamSpecInt64::builder("sampling")
                    .nick("Sampling")
                    .blurb("Nanoseconds between two looks of the server at a node (-1: the node's period)")
                    .minimum(OF_PERIOD)
                    .default_value(defaults.sampling)
                    .mutable_ready()
                    .build(),
                whole(
                    "queue",
                    "Queue",
                    "The most values of a node that the server keeps until they are sent",
                    1,
                    OPCUA_QUEUE_MAX,
                    defaults.queue,
                ),
                span("timeout", "Time-out", "Nanoseconds to wait for an answer", defaults.timeout),
                text(
                    "security",
                    "Security",
                    "The security policy: none, Basic256Sha256, Aes128_Sha256_RsaOaep or Aes256_Sha256_RsaPss",
                    Some(&defaults.security),
                ),
                text("mode", "Mode", "What a security policy does: sign or sign_and_encrypt", Some(&defaults.mode)),
                text(
                    "pki",
                    "PKI",
                    "The folder of the own certificate, made at first use, and of those that are trusted",
                    Some(&defaults.pki),
                ),
                text("user", "User", "The user's name (none: anonymous)", None),
                text("password", "Password", &format!("Where the password is: {}", SecretRef::FORMS), None),
                text("user-certificate", "User's certificate", "A file with the user's certificate (DER, PEM)", None),
                text("user-key", "User's key", "A file with that certificate's private key (PEM)", None),
                array_of_strings(
                    "nodes",
                    "Nodes",
                    "What to read: NODEID, #PATH into its value, and perhaps deadband=, sampling=, queue=, type=",
                ),
                tag_numbers("The tag number of each of the nodes (none: counted from 0)"),
                gst::ParamSpecArray::builder("periods")
                    .nick("Periods")
                    .blurb("How often a value of each of the nodes is due, in nanoseconds (none: every second)")
                    .element_spec(&period)
                    .mutable_ready()
                    .build(),
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
        match pspec.name() {
            "address" => settings.address = some().unwrap_or_default(),
            "security" => settings.security = some().unwrap_or_default(),
            "mode" => settings.mode = some().unwrap_or_default(),
            "pki" => settings.pki = some().unwrap_or_default(),
            "user" => settings.user = some(),
            "password" => settings.password = some(),
            "user-certificate" => settings.user_certificate = some(),
            "user-key" => settings.user_key = some(),
            "publishing" => settings.publishing = value.get().unwrap_or_default(),
            "sampling" => settings.sampling = value.get().unwrap_or(OF_PERIOD),
            "queue" => settings.queue = value.get().unwrap_or_default(),
            "timeout" => settings.timeout = value.get().unwrap_or_default(),
            "nodes" => settings.nodes = strings(value),
            "tags" => settings.tags = integers(value),
            "periods" => settings.periods = integers(value),
            "base-utc" => settings.base_utc = value.get().unwrap_or(UNSET),
            // GObject has checked the name.
            other => gst::error!(CAT, imp = self, "no property {other}"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = lock(&self.settings);
        match pspec.name() {
            "address" => settings.address.to_value(),
            "publishing" => settings.publishing.to_value(),
            "sampling" => settings.sampling.to_value(),
            "queue" => settings.queue.to_value(),
            "timeout" => settings.timeout.to_value(),
            "security" => settings.security.to_value(),
            "mode" => settings.mode.to_value(),
            "pki" => settings.pki.to_value(),
            "user" => settings.user.to_value(),
            "password" => settings.password.to_value(),
            "user-certificate" => settings.user_certificate.to_value(),
            "user-key" => settings.user_key.to_value(),
            "nodes" => gst::Array::new(&settings.nodes).to_value(),
            "tags" => gst::Array::new(&settings.tags).to_value(),
            "periods" => gst::Array::new(&settings.periods).to_value(),
            _ => settings.base_utc.to_value(),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        set_up(&*self.obj());
    }
}

impl GstObjectImpl for OpcUaSrc {}

impl ElementImpl for OpcUaSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "OPC UA source",
                "Source/Network/Metadata",
                "Reads values of the nodes of an OPC UA server, which tells their changes; never writes",
                "Sightglass",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        samples_pad_templates()
    }
}

impl BaseSrcImpl for OpcUaSrc {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let parts = settings.wanted().and_then(|wanted| Ok((settings.server()?, wanted)));
        let (server, wanted) = parts.map_err(|reason| gst::error_msg!(gst::ResourceError::Settings, ["{}", reason]))?;
        let base = (settings.base_utc != UNSET).then_some(UtcNanos(settings.base_utc));
        self.stream.start(super::NAME, base, move |outbox| session::run(server, wanted, outbox))
    }

    base_src_of_stream!();
}

impl PushSrcImpl for OpcUaSrc {
    fn create(&self, _buffer: Option<&mut gst::BufferRef>) -> Result<CreateSuccess, gst::FlowError> {
        self.stream.create(&*self.obj())
    }
}
