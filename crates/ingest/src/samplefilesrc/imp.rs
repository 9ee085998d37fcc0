use std::{
    path::PathBuf,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use gst::{glib, prelude::*, subclass::prelude::*};
use gst_base::{
    prelude::*,
    subclass::{base_src::CreateSuccess, prelude::*},
};
use sightglass_plant::{SampleFormat, SampleLayout};
use sightglass_protocol::{Health, UtcNanos};

use crate::{
    health_event,
    payload::encode,
    properties::{array_of_strings, integers, samples_pad_templates, strings, tag_numbers, tags_of},
    samplefile::{Reading, SampleFileReader, SampleFileSettings},
};

static CAT: LazyLock<gst::DebugCategory> =
    LazyLock::new(|| gst::DebugCategory::new("samplefilesrc", gst::DebugColorFlags::empty(), Some("Recorded samples")));

/// Of `base-utc`, `from` and `to`: not set.
const UNSET: i64 = i64::MIN;

#[derive(Clone)]
struct Settings {
    locations: Vec<String>,
    format: String,
    separator: String,
    layout: String,
    time_column: String,
    columns: Vec<String>,
    tags: Vec<i32>,
    base_utc: i64,
    from: i64,
    to: i64,
    speed: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            locations: Vec::new(),
            format: "csv".to_owned(),
            separator: ",".to_owned(),
            layout: "wide".to_owned(),
            time_column: "time".to_owned(),
            columns: Vec::new(),
            tags: Vec::new(),
            base_utc: UNSET,
            from: UNSET,
            to: UNSET,
            speed: 0.0,
        }
    }
}

#[derive(Default)]
struct State {
    reader: Option<SampleFileReader>,
    base: Option<UtcNanos>,
    speed: f64,
}

#[derive(Default)]
struct Waiting {
    flushing: bool,
    clock_id: Option<gst::SingleShotClockId>,
}

#[derive(Default)]
pub struct SampleFileSrc {
    settings: Mutex<Settings>,
    state: Mutex<State>,
    waiting: Mutex<Waiting>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Settings {
    fn files(&self, origin: String) -> Result<SampleFileSettings, String> {
        let format = match self.format.as_str() {
            "csv" => match self.separator.as_bytes() {
                [separator] if separator.is_ascii() => SampleFormat::Csv { separator: *separator },
                _ => return Err(format!("separator '{}' must be one ASCII character", self.separator)),
            },
            "parquet" => SampleFormat::Parquet,
            other => return Err(format!("format '{other}' must be csv or parquet")),
        };
        let layout = match self.layout.as_str() {
            "wide" => SampleLayout::Wide,
            "long" => SampleLayout::Long,
            other => return Err(format!("layout '{other}' must be wide or long")),
        };
        let tags = tags_of(&self.tags, self.columns.len(), "columns")?;
        let time = |time: i64| (time != UNSET).then_some(UtcNanos(time));
        Ok(SampleFileSettings {
            origin,
            paths: self.locations.iter().map(PathBuf::from).collect(),
            format,
            layout,
            time_column: self.time_column.clone(),
            columns: self.columns.iter().cloned().zip(tags).collect(),
            from: time(self.from),
            to: time(self.to),
        })
    }
}

#[glib::object_subclass]
impl ObjectSubclass for SampleFileSrc {
    const NAME: &'static str = "SightglassSampleFileSrc";
    type Type = super::SampleFileSrc;
    type ParentType = gst_base::PushSrc;
}

impl ObjectImpl for SampleFileSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let defaults = Settings::default();
            let moment = |name, nick, blurb| {
                let spec = glib::ParamSpecInt64::builder(name).nick(nick).blurb(blurb).default_value(UNSET);
                spec.mutable_ready().build()
            };
            vec![
                glib::ParamSpecString::builder("location")
                    .nick("File")
                    .blurb("The file to read, where it is only one")
                    .mutable_ready()
                    .build(),
                array_of_strings("locations", "Files", "The files to read, one after the other; replaces location"),
                glib::ParamSpecString::builder("format")
                    .nick("Format")
                    .blurb("The files' format: csv or parquet")
                    .default_value(Some(defaults.format.as_str()))
                    .mutable_ready()
                    .build(),
                glib::ParamSpecString::builder("separator")
                    .nick("Separator")
                    .blurb("What separates the fields of a CSV file: one ASCII character")
                    .default_value(Some(defaults.separator.as_str()))
                    .mutable_ready()
                    .build(),
                glib::ParamSpecString::builder("layout")
                    .nick("Layout")
                    .blurb(
                        "wide: one row a time, one column a tag; long: one row a sample, columns tag, value, quality",
                    )
                    .default_value(Some(defaults.layout.as_str()))
                    .mutable_ready()
                    .build(),
                glib::ParamSpecString::builder("time-column")
                    .nick("Time column")
                    .blurb("The column with the capture time: RFC 3339, a civil time in UTC, or a number since 1970")
                    .default_value(Some(defaults.time_column.as_str()))
                    .mutable_ready()
                    .build(),
                array_of_strings("columns", "Columns", "The columns to read (none: every column but the time)"),
                tag_numbers("The tag number of each of the columns (none: counted from 0)"),
                moment("base-utc", "Base time", "UTC nanoseconds at PTS 0; the lowest number: the first row's time"),
                moment("from", "From", "UTC nanoseconds of the first moment to read; the lowest number: the beginning"),
                moment("to", "To", "UTC nanoseconds of the last moment to read; the lowest number: the end"),
                glib::ParamSpecDouble::builder("speed")
                    .nick("Speed")
                    .blurb("How many times faster than recorded to push, by the clock; 0: as fast as possible")
                    .minimum(0.0)
                    .default_value(defaults.speed)
                    .mutable_ready()
                    .build(),
            ]
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut settings = lock(&self.settings);
        let text = || value.get::<Option<String>>().ok().flatten().unwrap_or_default();
        let moment = || value.get().unwrap_or(UNSET);
        match pspec.name() {
            "location" => settings.locations = Some(text()).filter(|path| !path.is_empty()).into_iter().collect(),
            "locations" => settings.locations = strings(value),
            "format" => settings.format = text(),
            "separator" => settings.separator = text(),
            "layout" => settings.layout = text(),
            "time-column" => settings.time_column = text(),
            "columns" => settings.columns = strings(value),
            "tags" => settings.tags = integers(value),
            "base-utc" => settings.base_utc = moment(),
            "from" => settings.from = moment(),
            "to" => settings.to = moment(),
            "speed" => settings.speed = value.get().unwrap_or_default(),
            // GObject has checked the name.
            other => gst::error!(CAT, imp = self, "no property {other}"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = lock(&self.settings);
        match pspec.name() {
            "location" => settings.locations.first().to_value(),
            "locations" => gst::Array::new(&settings.locations).to_value(),
            "format" => settings.format.to_value(),
            "separator" => settings.separator.to_value(),
            "layout" => settings.layout.to_value(),
            "time-column" => settings.time_column.to_value(),
            "columns" => gst::Array::new(&settings.columns).to_value(),
            "tags" => gst::Array::new(&settings.tags).to_value(),
            "base-utc" => settings.base_utc.to_value(),
            "from" => settings.from.to_value(),
            "to" => settings.to.to_value(),
            _ => settings.speed.to_value(),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        self.obj().set_format(gst::Format::Time);
    }
}

impl GstObjectImpl for SampleFileSrc {}

impl ElementImpl for SampleFileSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Recorded samples source",
                "Source/File/Metadata",
                "Reads samples of tags from CSV and Parquet files, at recorded speed, faster, or as fast as possible",
                "Sightglass",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        samples_pad_templates()
    }
}

impl BaseSrcImpl for SampleFileSrc {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let files = settings
            .files(self.obj().name().to_string())
            .map_err(|reason| gst::error_msg!(gst::ResourceError::Settings, ["{}", reason]))?;
        let reader = SampleFileReader::open(files)
            .map_err(|error| gst::error_msg!(gst::ResourceError::OpenRead, ["{}", error]))?;
        let base = (settings.base_utc != UNSET).then_some(UtcNanos(settings.base_utc));
        *lock(&self.state) = State { reader: Some(reader), base, speed: settings.speed };
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.state) = State::default();
        Ok(())
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn unlock(&self) -> Result<(), gst::ErrorMessage> {
        let mut waiting = lock(&self.waiting);
        waiting.flushing = true;
        if let Some(clock_id) = waiting.clock_id.take() {
            clock_id.unschedule();
        }
        Ok(())
    }

    fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
        lock(&self.waiting).flushing = false;
        Ok(())
    }
}

impl PushSrcImpl for SampleFileSrc {
    fn create(&self, _buffer: Option<&mut gst::BufferRef>) -> Result<CreateSuccess, gst::FlowError> {
        loop {
            let (reading, base, speed) = {
                let mut state = lock(&self.state);
                let reading = state.reader.as_mut().ok_or(gst::FlowError::Flushing)?.next();
                let reading = reading.ok_or(gst::FlowError::Eos)?;
                if let Reading::Row(time, _) = &reading {
                    state.base.get_or_insert(*time);
                }
                (reading, state.base, state.speed)
            };
            match reading {
                Reading::Note(note) => {
                    let source = self.obj().name().to_string();
                    if note.state > sightglass_protocol::HealthState::Good {
                        gst::element_imp_warning!(self, gst::StreamError::Decode, ["{}", note.reason]);
                    }
                    let health =
                        Health { subject: None, source, state: note.state, since: note.time, reason: note.reason };
                    // Nobody who listens for it is downstream of a plain gst-launch line: not an error.
                    let _heard = self.obj().src_pad().push_event(health_event::new(&health));
                }
                Reading::Row(time, samples) => {
                    let offset_ns = time.since(base.unwrap_or(time));
                    let pts = gst::ClockTime::from_nseconds(u64::try_from(offset_ns).unwrap_or(0));
                    self.wait_until(pts, speed)?;
                    let mut buffer = gst::Buffer::from_mut_slice(encode(&samples));
                    if let Some(buffer) = buffer.get_mut() {
                        buffer.set_pts(pts);
                    }
                    return Ok(CreateSuccess::NewBuffer(buffer));
                }
            }
        }
    }
}

impl SampleFileSrc {
    /// Waits for the clock to reach `pts` at this speed; at once without a clock or at speed 0.
    fn wait_until(&self, pts: gst::ClockTime, speed: f64) -> Result<(), gst::FlowError> {
        if speed <= 0.0 {
            return Ok(());
        }
        let element = self.obj();
        let (Some(clock), Some(base_time)) = (element.clock(), element.base_time()) else { return Ok(()) };
        let due = base_time + gst::ClockTime::from_nseconds((pts.nseconds() as f64 / speed) as u64);
        let clock_id = clock.new_single_shot_id(due);
        {
            let mut waiting = lock(&self.waiting);
            if waiting.flushing {
                return Err(gst::FlowError::Flushing);
            }
            waiting.clock_id = Some(clock_id.clone());
        }
        let (outcome, _) = clock_id.wait();
        lock(&self.waiting).clock_id = None;
        match outcome {
            Err(gst::ClockError::Unscheduled) => Err(gst::FlowError::Flushing),
            _ => Ok(()),
        }
    }
}
