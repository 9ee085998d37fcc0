use std::{
    path::PathBuf,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gst::{glib, prelude::*, subclass::prelude::*};
use gst_base::subclass::{base_src::CreateSuccess, prelude::*};
use sightglass_plant::{MODBUS_REGISTERS_MAX, ModbusFraming};
use sightglass_protocol::UtcNanos;

use super::{
    ORDERS, points,
    poll::{self, PollSettings},
    request::{Limits, Wanted},
};
use crate::{
    live::{LiveStream, base_src_of_stream, set_up},
    properties::{
        array_of_strings, host_and_port, integers, samples_pad_templates, span, strings, tag_numbers, tags_of, text,
        whole,
    },
};

static CAT: LazyLock<gst::DebugCategory> =
    LazyLock::new(|| gst::DebugCategory::new("modbussrc", gst::DebugColorFlags::empty(), Some("Modbus devices")));

/// Of `base-utc`: not set.
const UNSET: i64 = i64::MIN;

#[derive(Clone)]
struct Settings {
    address: String,
    framing: String,
    unit: u32,
    word_order: String,
    timeout: u64,
    pause: u64,
    block_registers: u32,
    block_gap: u32,
    map: Option<String>,
    points: Vec<String>,
    tags: Vec<i32>,
    period: u64,
    periods: Vec<i64>,
    base_utc: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:502".to_owned(),
            framing: "tcp".to_owned(),
            unit: 1,
            word_order: "abcd".to_owned(),
            timeout: 1_000_000_000,
            pause: 0,
            block_registers: u32::from(MODBUS_REGISTERS_MAX),
            block_gap: 8,
            map: None,
            points: Vec::new(),
            tags: Vec::new(),
            period: 1_000_000_000,
            periods: Vec::new(),
            base_utc: UNSET,
        }
    }
}

impl Settings {
    fn poll(&self) -> Result<PollSettings, String> {
        let (host, port) = host_and_port(&self.address)
            .ok_or_else(|| format!("address '{}' must be a host and a port, such as 10.0.0.7:502", self.address))?;
        let framing = match self.framing.as_str() {
            "tcp" => ModbusFraming::Tcp,
            "rtu" => ModbusFraming::Rtu,
            other => return Err(format!("framing '{other}' must be tcp or rtu")),
        };
        let order = ORDERS.iter().find(|(word, _)| *word == self.word_order).map(|(_, order)| *order);
        let order =
            order.ok_or_else(|| format!("word-order '{}' must be abcd, cdab, badc or dcba", self.word_order))?;
        let points = points(self.map.as_ref().map(PathBuf::from).as_deref(), &self.points)?;
        let tags = tags_of(&self.tags, points.len(), "points")?;
        if !self.periods.is_empty() && self.periods.len() != points.len() {
            return Err(format!("{} periods for {} points; give one each", self.periods.len(), points.len()));
        }
        let period = |at: usize| self.periods.get(at).map_or(self.period, |period| period.unsigned_abs());
        let unit = u8::try_from(self.unit).map_err(|_| format!("unit {} is above 255", self.unit))?;
        let wanted = points.into_iter().enumerate().map(|(at, point)| Wanted {
            unit: point.unit.unwrap_or(unit),
            point,
            period: Duration::from_nanos(period(at)),
        });
        Ok(PollSettings {
            host,
            port,
            framing,
            order,
            timeout: Duration::from_nanos(self.timeout),
            pause: Duration::from_nanos(self.pause),
            limits: Limits {
                registers_max: u16::try_from(self.block_registers).unwrap_or(MODBUS_REGISTERS_MAX),
                gap_max: u16::try_from(self.block_gap).unwrap_or(MODBUS_REGISTERS_MAX),
            },
            wanted: wanted.collect(),
            tags,
        })
    }
}

#[derive(Default)]
pub struct ModbusSrc {
    settings: Mutex<Settings>,
    stream: LiveStream,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[glib::object_subclass]
impl ObjectSubclass for ModbusSrc {
    const NAME: &'static str = "SightglassModbusSrc";
    type Type = super::ModbusSrc;
    type ParentType = gst_base::PushSrc;
}

impl ObjectImpl for ModbusSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let defaults = Settings::default();
            let registers = u32::from(MODBUS_REGISTERS_MAX);
            let period = glib::ParamSpecInt64::builder("item").nick("Item").blurb("One of them").build();
            vec![
                text("address", "Address", "Host and port of the device or gateway", Some(&defaults.address)),
                text("framing", "Framing", "tcp: Modbus TCP; rtu: RTU frames over TCP", Some(&defaults.framing)),
                whole("unit", "Unit", "The unit of points that name none", 0, 255, defaults.unit),
                text(
                    "word-order",
                    "Word order",
                    "The order of 32 and 64 bit values that name none: abcd, cdab, badc or dcba",
                    Some(&defaults.word_order),
                ),
                span("timeout", "Time-out", "Nanoseconds that an answer may take", defaults.timeout),
                span("pause", "Pause", "Nanoseconds of rest between an answer and the next request", defaults.pause),
                whole("block-registers", "Block", "The most registers of one read", 4, registers, registers),
                whole(
                    "block-gap",
                    "Block gap",
                    "How many registers that nobody wants one read may span",
                    0,
                    registers,
                    defaults.block_gap,
                ),
                text("map", "Register map", "A CSV file of registers; points then are its names", None),
                array_of_strings("points", "Points", "What to read, such as holding:100 f32 cdab scale=0.1"),
                tag_numbers("The tag number of each of the points (none: counted from 0)"),
                span("period", "Period", "Nanoseconds between two reads of a point", defaults.period),
                gst::ParamSpecArray::builder("periods")
                    .nick("Periods")
                    .blurb("The period of each of the points in nanoseconds (none: that of period)")
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
        let text = || value.get::<Option<String>>().ok().flatten();
        let number = || value.get().unwrap_or_default();
        let span = || value.get().unwrap_or_default();
        match pspec.name() {
            "address" => settings.address = text().unwrap_or_default(),
            "framing" => settings.framing = text().unwrap_or_default(),
            "unit" => settings.unit = number(),
            "word-order" => settings.word_order = text().unwrap_or_default(),
            "timeout" => settings.timeout = span(),
            "pause" => settings.pause = span(),
            "block-registers" => settings.block_registers = number(),
            "block-gap" => settings.block_gap = number(),
            "map" => settings.map = text().filter(|path| !path.is_empty()),
            "points" => settings.points = strings(value),
            "tags" => settings.tags = integers(value),
            "period" => settings.period = span(),
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
            "framing" => settings.framing.to_value(),
            "unit" => settings.unit.to_value(),
            "word-order" => settings.word_order.to_value(),
            "timeout" => settings.timeout.to_value(),
            "pause" => settings.pause.to_value(),
            "block-registers" => settings.block_registers.to_value(),
            "block-gap" => settings.block_gap.to_value(),
            "map" => settings.map.to_value(),
            "points" => gst::Array::new(&settings.points).to_value(),
            "tags" => gst::Array::new(&settings.tags).to_value(),
            "period" => settings.period.to_value(),
            "periods" => gst::Array::new(&settings.periods).to_value(),
            _ => settings.base_utc.to_value(),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        set_up(&*self.obj());
    }
}

impl GstObjectImpl for ModbusSrc {}

impl ElementImpl for ModbusSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Modbus source",
                "Source/Network/Metadata",
                "Reads registers, coils and inputs of a device over Modbus TCP, or RTU over TCP; never writes",
                "Sightglass",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        samples_pad_templates()
    }
}

impl BaseSrcImpl for ModbusSrc {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let poll = settings.poll().map_err(|reason| gst::error_msg!(gst::ResourceError::Settings, ["{}", reason]))?;
        let base = (settings.base_utc != UNSET).then_some(UtcNanos(settings.base_utc));
        self.stream.start(super::NAME, base, move |outbox| poll::run(poll, outbox))
    }

    base_src_of_stream!();
}

impl PushSrcImpl for ModbusSrc {
    fn create(&self, _buffer: Option<&mut gst::BufferRef>) -> Result<CreateSuccess, gst::FlowError> {
        self.stream.create(&*self.obj())
    }
}
