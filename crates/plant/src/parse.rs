//! From the text of a plant file to a [`Plant`].

use std::{
    collections::HashMap,
    io::Read,
    ops::Range,
    path::{Path, PathBuf},
};

use sightglass_protocol::{
    CameraId, LineId, Roi, Role, TagId, UtcNanos,
    time::{MILLISECOND, SECOND},
};
use toml::de::{DeTable, DeValue};

use crate::{
    AdviceLimits, Camera, CameraFeed, Device, EncoderChoice, Line, ModelChoice, ModelSize, Plant, PlantErrors,
    Retention, Source, Tag,
    rtsp::{RTSP_KEYS, is_rtsp},
    section::{At, Complaints, HOUR, MINUTE, Section, nearest, number_of},
    source::source_keys,
    variables::expand,
};

/// The largest plant file, in bytes.
pub const FILE_BYTES_MAX: u64 = 4 << 20;
/// The most lines of a plant.
pub const LINES_MAX: usize = 64;
/// The most sources of a plant.
pub const SOURCES_MAX: usize = 256;
/// The most tags of a plant.
pub const TAGS_MAX: usize = 4096;
/// The most cameras of a plant.
pub const CAMERAS_MAX: usize = 64;
/// The longest name, in characters.
pub const NAME_CHARS_MAX: usize = 128;

const TICK_NS_DEFAULT: i64 = SECOND;
const TICK_NS_MIN: i64 = 10 * MILLISECOND;
const TICK_NS_MAX: i64 = HOUR;
const GRACE_NS_DEFAULT: i64 = 200 * MILLISECOND;
const GRACE_NS_MAX: i64 = 10 * MINUTE;
const PERIOD_NS_MIN: i64 = MILLISECOND;
const PERIOD_NS_MAX: i64 = 24 * HOUR;
const FPS_DEFAULT: f64 = 15.0;
const FPS_MAX: f64 = 1000.0;
const ADVISE_PER_MIN_MAX: f64 = 1e9;
const ROI_PIXELS_MAX: f64 = 65_536.0;
const EPOCHS_MAX: u64 = 10_000;
const KEPT_DAYS_MAX: f64 = 36_525.0;
const KEPT_GIB_MAX: f64 = 1e6;
const KEPT_SAMPLES_DAYS_DEFAULT: f64 = 400.0;
/// Roll-ups are kept this many times as long as samples where nothing is said.
const ROLLUPS_LONGER_DEFAULT: f64 = 10.0;
/// One a minute.
const FALSE_ALARMS_PER_WEEK_MAX: f64 = 7.0 * 24.0 * 60.0;

const KEYS: [&str; 7] = ["plant", "model", "retention", "line", "source", "tag", "camera"];
const ROLES: [(&str, Role); 4] =
    [("measurement", Role::Measurement), ("setpoint", Role::Setpoint), ("output", Role::Output), ("mode", Role::Mode)];
const DEVICES: [(&str, Device); 4] =
    [("auto", Device::Auto), ("cpu", Device::Cpu), ("cuda", Device::Cuda), ("metal", Device::Metal)];
const SIZES: [(&str, ModelSize); 3] =
    [("nano", ModelSize::Nano), ("tiny", ModelSize::Tiny), ("small", ModelSize::Small)];

/// Reads and checks a plant file.
///
/// # Errors
/// Everything that is wrong with it, or why it cannot be read.
pub fn load(path: &Path) -> Result<Plant, PlantErrors> {
    let file_name = path.display().to_string();
    let refuse = |why: &str| PlantErrors::of_file(&file_name, format!("cannot read the plant file: {why}"), ADVICE);
    const ADVICE: &str = "give the path of a plant.toml that this user may read";
    let file = std::fs::File::open(path).map_err(|error| refuse(&error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| refuse(&error.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(refuse(&format!("it is larger than {} MiB", FILE_BYTES_MAX >> 20)));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        refuse(&format!("line {} is not UTF-8 text", line + 1))
    })?;
    parse(&text, &file_name, path.parent().unwrap_or(Path::new("")))
}

/// Checks the text of a plant file. `file_name` is how errors name it; relative paths in it start at `base_dir`.
///
/// # Errors
/// Everything that is wrong with it. Where parts of it are no TOML, what rests on something being absent is left out,
/// since it may stand in those parts.
pub fn parse(text: &str, file_name: &str, base_dir: &Path) -> Result<Plant, PlantErrors> {
    let complaints = Complaints::default();
    let (table, syntax) = DeTable::parse_recoverable(text);
    let plant = Parser { base_dir, complaints: &complaints }.plant(table.get_ref());
    for error in &syntax {
        // An error without a place is about the text as a whole, which ends where it ends.
        let span = error.span().unwrap_or(text.len()..text.len());
        complaints.add(span, format!("this is not TOML: {}", error.message().replace('\n', ", ")), "");
    }
    let mut found = complaints.into_found();
    if !syntax.is_empty() {
        found.retain(|found| !found.rests_on_absence);
    }
    if found.is_empty() { Ok(plant) } else { Err(PlantErrors::of_text(file_name, text, found)) }
}

/// The names of one kind of thing, in file order.
pub(crate) struct Names {
    what: &'static str,
    items: Vec<At<String>>,
    positions: HashMap<String, usize>,
    /// Whether a name could not be read, so that "there is no such" cannot be said.
    incomplete: bool,
}

impl Names {
    fn new(what: &'static str) -> Self {
        Self { what, items: Vec::new(), positions: HashMap::new(), incomplete: false }
    }

    /// Takes a name in, and complains where it is there already.
    pub(crate) fn add(&mut self, name: Option<At<String>>, section: &Section<'_>, complaints: &Complaints) -> String {
        let name = name.unwrap_or_else(|| {
            self.incomplete = true;
            At { value: String::new(), span: section.span.clone() }
        });
        let position = self.items.len();
        if !name.value.is_empty() {
            match self.positions.get(&name.value) {
                None => {
                    self.positions.insert(name.value.clone(), position);
                }
                Some(first) => complaints.add_clash(
                    name.span.clone(),
                    self.items[*first].span.clone(),
                    format!("there is already a {} '{}'", self.what, name.value),
                    "give each its own name",
                ),
            }
        }
        self.items.push(name.clone());
        name.value
    }

    /// The position that `key` of a table names; the only one where there is only one and the table does not say.
    fn position(&self, section: &Section<'_>, key: &str, complaints: &Complaints) -> Option<usize> {
        let names: Vec<&str> = self.items.iter().map(|name| name.value.as_str()).filter(|n| !n.is_empty()).collect();
        if !section.has(key) {
            if self.items.len() == 1 {
                return Some(0);
            }
            // Without any, that itself is the complaint.
            if !self.items.is_empty() {
                section.missing(key, format!("there are several, so say which: {}", names.join(", ")));
            } else if self.what == "source" {
                section.missing(key, "the plant has no [[source]]; describe one");
            }
            return None;
        }
        let name = section.text(key)?;
        let position = self.positions.get(name.value.trim()).copied();
        if position.is_none() && !self.incomplete {
            let advice = match nearest(&name.value, &names) {
                Some(near) => format!("did you mean '{near}'?"),
                None if names.is_empty() => format!("the plant has no [[{}]] at all", self.what),
                None => format!("known are {}", names.join(", ")),
            };
            complaints.add_absence(name.span, format!("there is no {} '{}'", self.what, name.value), advice);
        }
        position
    }
}

pub(crate) struct Parser<'a> {
    base_dir: &'a Path,
    pub(crate) complaints: &'a Complaints,
}

impl<'a> Parser<'a> {
    /// The plant, as far as it could be read; whole where nothing was complained about.
    fn plant(&self, root: &'a DeTable<'a>) -> Plant {
        Section::open("a plant file", 0..0, root, &KEYS, self.complaints);

        let plant = self.single(root, "plant", "[plant]", &["name"]);
        if plant.is_none() && !root.contains_key("plant") {
            self.complaints.add_absence(0..0, "there is no [plant]", "write [plant] and below it name = \"…\"");
        }
        let name = plant.and_then(|plant| plant.name(NAME_CHARS_MAX)).map(|name| name.value).unwrap_or_default();

        let mut line_names = Names::new("line");
        let mut lines: Vec<Line> = self
            .several(root, "line", "[[line]]", &["name", "tick", "grace"], LINES_MAX)
            .iter()
            .enumerate()
            .map(|(index, section)| self.line(index, section, &mut line_names))
            .collect();
        let is_empty =
            |value: &toml::Spanned<DeValue<'_>>| value.get_ref().as_array().is_some_and(|list| list.is_empty());
        if root.get("line").is_none_or(is_empty) {
            self.complaints.add_absence(0..0, "the plant has no [[line]]", "write [[line]] and below it name = \"…\"");
        }

        let mut source_names = Names::new("source");
        let sources: Vec<Source> = self
            .several(root, "source", "[[source]]", &source_keys(), SOURCES_MAX)
            .iter()
            .map(|section| self.source(section, &mut source_names))
            .collect();

        const TAG_KEYS: [&str; 13] = [
            "name",
            "line",
            "source",
            "unit",
            "range",
            "role",
            "address",
            "period",
            "description",
            "exclude",
            "alarm",
            "advise",
            "advise_per_min",
        ];
        let mut tag_names = Names::new("tag");
        let mut tags = Vec::new();
        for (index, section) in self.several(root, "tag", "[[tag]]", &TAG_KEYS, TAGS_MAX).iter().enumerate() {
            let name = tag_names.add(section.name(NAME_CHARS_MAX), section, self.complaints);
            let line = line_names.position(section, "line", self.complaints);
            let source = source_names.position(section, "source", self.complaints);
            let tag = self.tag(TagId::from_index(index), name, line, source, &lines, section);
            if let Some(source) = source {
                self.check_address(&tag, &sources[source], section);
            }
            if let Some(line) = line {
                lines[line].tags.push(tag.id);
            }
            tags.push(tag);
        }

        const CAMERA_KEYS: [&str; 13] = [
            "name",
            "line",
            "launch",
            "uri",
            "clips",
            "simulator",
            "roi",
            "fps",
            "start",
            "transport",
            "user",
            "password",
            "latency",
        ];
        let mut camera_names = Names::new("camera");
        let mut cameras = Vec::new();
        for (index, section) in self.several(root, "camera", "[[camera]]", &CAMERA_KEYS, CAMERAS_MAX).iter().enumerate()
        {
            let name = camera_names.add(section.name(NAME_CHARS_MAX), section, self.complaints);
            let line = line_names.position(section, "line", self.complaints);
            let camera = self.camera(CameraId::from_index(index), name, line, section);
            if let Some(line) = line {
                lines[line].cameras.push(camera.id);
            }
            cameras.push(camera);
        }

        for (line, name) in lines.iter().zip(&line_names.items) {
            if line.tags.is_empty() && line.cameras.is_empty() {
                let message = format!("line '{}' has neither a tag nor a camera", line.name);
                self.complaints.add_absence(name.span.clone(), message, "give it one, or take the line out");
            }
        }

        Plant { name, lines, sources, tags, cameras, model: self.model(root), retention: self.retention(root) }
    }

    fn line(&self, index: usize, section: &Section<'_>, names: &mut Names) -> Line {
        Line {
            id: LineId::from_index(index),
            name: names.add(section.name(NAME_CHARS_MAX), section, self.complaints),
            tick_ns: section.duration("tick", TICK_NS_MIN, TICK_NS_MAX).unwrap_or(TICK_NS_DEFAULT),
            grace_ns: section.duration("grace", 0, GRACE_NS_MAX).unwrap_or(GRACE_NS_DEFAULT),
            tags: Vec::new(),
            cameras: Vec::new(),
        }
    }

    fn tag(
        &self,
        id: TagId,
        name: String,
        line: Option<usize>,
        source: Option<usize>,
        lines: &[Line],
        section: &Section<'_>,
    ) -> Tag {
        if !section.has("role") {
            section.missing("role", "say one of measurement, setpoint, output, mode");
        }
        let tick_ns = line.map_or(TICK_NS_DEFAULT, |line| lines[line].tick_ns);
        let range = self.pair(section, "range");
        let role = section.choice("role", &ROLES).unwrap_or(Role::Measurement);
        Tag {
            id,
            line: LineId::from_index(line.unwrap_or(0)),
            description: section.text_or_empty("description"),
            unit: section.text_or_empty("unit"),
            range,
            role,
            source: source.unwrap_or(0),
            address: section.text("address").map_or_else(|| name.clone(), |address| address.value),
            period_ns: section.duration("period", PERIOD_NS_MIN, PERIOD_NS_MAX).unwrap_or(tick_ns),
            excluded: section.flag("exclude").unwrap_or(false),
            alarm: self.alarm(section, role),
            advise: self.advise(section, role, range),
            name,
        }
    }

    fn alarm(&self, section: &Section<'_>, role: Role) -> Option<(f64, f64)> {
        if !role.is_predicted() {
            section.refuse(&["alarm"], "for what people set: only measurements and outputs are forecast");
        }
        self.pair(section, "alarm")
    }

    fn advise(&self, section: &Section<'_>, role: Role, range: Option<(f64, f64)>) -> Option<AdviceLimits> {
        if role != Role::Setpoint {
            section.refuse(&["advise", "advise_per_min"], "for a tag that is no setpoint: advice moves setpoints only");
        } else if !section.has("advise") {
            section.refuse(&["advise_per_min"], "without 'advise', the lowest and highest value");
        }
        let rate_per_min = section.number("advise_per_min", 0.0, ADVISE_PER_MIN_MAX, true);
        let (low, high) = self.pair(section, "advise")?;
        if let Some((lowest, highest)) = range.filter(|(lowest, highest)| low < *lowest || high > *highest) {
            let message = format!("'advise' of [[tag]] goes beyond its range, {lowest} to {highest}");
            self.complaints.add(section.span_of("advise"), message, "stay within 'range', or correct it");
        }
        Some(AdviceLimits { low, high, rate_per_min })
    }

    /// Two numbers, low and high.
    fn pair(&self, section: &Section<'_>, key: &str) -> Option<(f64, f64)> {
        const WANTED: &str = "it must be two numbers, low and high, such as [0, 100]";
        let list = section.list(key, WANTED, |item| number_of(item).filter(|number| number.is_finite()))?;
        match list.value.as_slice() {
            [low, high] if low.value < high.value => Some((low.value, high.value)),
            [low, high] if low.value > high.value => {
                let message = format!("'{key}' of [[tag]] is upside down: {} is above {}", low.value, high.value);
                self.complaints.add(list.span, message, format!("write [{}, {}]", high.value, low.value));
                None
            }
            [_, _] => {
                let message = format!("'{key}' of [[tag]] has no extent");
                self.complaints.add(list.span, message, "low must be below high");
                None
            }
            items => {
                self.complaints.add(list.span, format!("'{key}' of [[tag]] has {} items", items.len()), WANTED);
                None
            }
        }
    }

    fn camera(&self, id: CameraId, name: String, line: Option<usize>, section: &Section<'_>) -> Camera {
        let start = section.moment_text("start").and_then(|text| {
            let parsed = text.value.parse::<UtcNanos>();
            parsed.map_err(|error| self.complaints.add(text.span, format!("'start' of [[camera]]: {error}"), "")).ok()
        });
        Camera {
            id,
            line: LineId::from_index(line.unwrap_or(0)),
            name,
            feed: self.feed(section).unwrap_or(CameraFeed::Simulator),
            roi: self.roi(section),
            fps: section.number("fps", 0.0, FPS_MAX, true).unwrap_or(FPS_DEFAULT),
            start,
        }
    }

    fn feed(&self, section: &Section<'_>) -> Option<CameraFeed> {
        const ALLOWED: &str = "give exactly one of launch = \"…\", uri = \"…\", clips = \"…\", simulator = true";
        let simulator = section.flag("simulator");
        let given = [section.has("launch"), section.has("uri"), section.has("clips"), simulator == Some(true)];
        match given.iter().filter(|given| **given).count() {
            // `simulator` of a wrong type has been complained about.
            0 if section.has("simulator") && simulator.is_none() => None,
            0 => {
                self.complaints.add_absence(section.span.clone(), "[[camera]] has no pictures", ALLOWED);
                None
            }
            1 if given[0] => section.text("launch").map(|launch| CameraFeed::Launch(launch.value.trim().to_owned())),
            1 if given[1] => {
                let uri = section.text("uri")?;
                if is_rtsp(&uri.value) {
                    return self.rtsp(section, &uri).map(CameraFeed::Rtsp);
                }
                section.refuse(&RTSP_KEYS, "without a 'uri' that begins with rtsp://");
                self.uri(&uri).map(CameraFeed::Uri)
            }
            1 if given[2] => {
                section.refuse(&["start"], "beside 'clips', which have a start each");
                section.text("clips").and_then(|clips| self.path(&clips)).map(CameraFeed::Clips)
            }
            1 => Some(CameraFeed::Simulator),
            _ => {
                self.complaints.add(section.span.clone(), "[[camera]] has several sources of pictures", ALLOWED);
                None
            }
        }
    }

    /// A URI as it is, a path joined to the file's folder.
    fn uri(&self, text: &At<String>) -> Option<String> {
        if text.value.contains("://") {
            return Some(text.value.trim().to_owned());
        }
        self.path(text).map(|path| path.to_string_lossy().into_owned())
    }

    /// A path with its variables replaced, joined to the file's folder.
    pub(crate) fn path(&self, text: &At<String>) -> Option<PathBuf> {
        match expand(text.value.trim()) {
            Ok(path) => Some(self.base_dir.join(path)),
            Err((message, advice)) => {
                self.complaints.add(text.span.clone(), message, advice);
                None
            }
        }
    }

    fn roi(&self, section: &Section<'_>) -> Option<Roi> {
        const WANTED: &str = "it must be four whole numbers of pixels: [x, y, width, height]";
        let read = |item: &DeValue<'_>| {
            let whole = |n: &f64| n.fract() == 0.0 && (0.0..=ROI_PIXELS_MAX).contains(n);
            item.is_integer().then(|| number_of(item)).flatten().filter(whole).map(|number| number as u32)
        };
        let list = section.list("roi", WANTED, read)?;
        let numbers: Vec<u32> = list.value.iter().map(|item| item.value).collect();
        match numbers[..] {
            [_, _, 0, _] | [_, _, _, 0] => {
                self.complaints.add(list.span, "'roi' of [[camera]] has no extent", "width and height must be above 0");
                None
            }
            [x, y, width, height] => Some(Roi { x, y, width, height }),
            _ => {
                self.complaints.add(list.span, format!("'roi' of [[camera]] has {} items", numbers.len()), WANTED);
                None
            }
        }
    }

    fn model(&self, root: &'a DeTable<'a>) -> ModelChoice {
        let keys = ["path", "false_alarms_per_week", "device", "size", "seed", "epochs", "encoder"];
        let section = self.single(root, "model", "[model]", &keys);
        let section = section.as_ref();
        let whole = |key, low, high, default| section.and_then(|s| s.whole(key, low, high)).unwrap_or(default);
        let default = ModelChoice::default();
        ModelChoice {
            path: section.and_then(|s| s.text("path")).and_then(|path| self.path(&path)),
            false_alarms_per_week: section
                .and_then(|s| s.number("false_alarms_per_week", 0.0, FALSE_ALARMS_PER_WEEK_MAX, true))
                .unwrap_or(default.false_alarms_per_week),
            device: section.and_then(|s| s.choice("device", &DEVICES)).unwrap_or(default.device),
            size: section.and_then(|s| s.choice("size", &SIZES)).unwrap_or(default.size),
            seed: whole("seed", 0, i64::MAX as u64, default.seed),
            epochs_max: whole("epochs", 1, EPOCHS_MAX, default.epochs_max as u64) as usize,
            encoder: section.and_then(|s| self.encoder(s)),
        }
    }

    fn encoder(&self, model: &Section<'a>) -> Option<EncoderChoice> {
        const WANTED: &str = "write it as encoder = { vjepa2 = \"PATH\" }, the folder of a checkpoint";
        let section = model.table("encoder", "'encoder' of [model]", &["vjepa2"], WANTED)?;
        if !section.has("vjepa2") {
            section.missing("vjepa2", WANTED);
            return None;
        }
        section.text("vjepa2").and_then(|path| self.path(&path)).map(EncoderChoice::Vjepa2)
    }

    fn retention(&self, root: &'a DeTable<'a>) -> Retention {
        const KEYS: [&str; 6] =
            ["samples_days", "samples_gib", "rollups_days", "rollups_gib", "video_days", "video_gib"];
        let section = self.single(root, "retention", "[retention]", &KEYS);
        let number = |key, high, default| {
            section.as_ref().and_then(|section| section.number(key, 0.0, high, true)).unwrap_or(default)
        };
        let samples_days = number("samples_days", KEPT_DAYS_MAX, KEPT_SAMPLES_DAYS_DEFAULT);
        let rollups_days =
            number("rollups_days", KEPT_DAYS_MAX, (samples_days * ROLLUPS_LONGER_DEFAULT).min(KEPT_DAYS_MAX));
        if let Some(section) = &section
            && section.has("rollups_days")
            && rollups_days < samples_days
        {
            let message = format!(
                "'rollups_days' of [retention] is {rollups_days}, less than the {samples_days} days of samples"
            );
            self.complaints.add(
                section.span_of("rollups_days"),
                message,
                "keep roll-ups at least as long as the samples that they sum up",
            );
        }
        Retention {
            samples_days,
            samples_gib: number("samples_gib", KEPT_GIB_MAX, 50.0),
            rollups_days,
            rollups_gib: number("rollups_gib", KEPT_GIB_MAX, 50.0),
            video_days: number("video_days", KEPT_DAYS_MAX, 14.0),
            video_gib: number("video_gib", KEPT_GIB_MAX, 100.0),
        }
    }

    /// A table that is there at most once.
    fn single(&self, root: &'a DeTable<'a>, key: &str, what: &'static str, keys: &[&str]) -> Option<Section<'a>> {
        let value = root.get(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Section::open(what, value.span(), table, keys, self.complaints)),
            other => {
                let message = format!("'{key}' is not a table but of type {}", other.type_str());
                self.complaints.add(value.span(), message, format!("write it as {what}"));
                None
            }
        }
    }

    /// Tables that may be there several times, at most `count_max`.
    fn several(
        &self,
        root: &'a DeTable<'a>,
        key: &str,
        what: &'static str,
        keys: &[&str],
        count_max: usize,
    ) -> Vec<Section<'a>> {
        let Some(value) = root.get(key) else { return Vec::new() };
        let refuse = |span: Range<usize>, is: &str| {
            let message = format!("'{key}' is not a list of tables but of type {is}");
            self.complaints.add(span, message, format!("write each one below {what}, with two brackets"));
        };
        let Some(array) = value.get_ref().as_array() else {
            refuse(value.span(), value.get_ref().type_str());
            return Vec::new();
        };
        if let Some(beyond) = array.get(count_max) {
            let message = format!("there are {} {what}, and {count_max} is the most", array.len());
            self.complaints.add(beyond.span(), message, "split the plant over several engines");
        }
        let mut sections = Vec::new();
        for item in array.iter().take(count_max) {
            match item.get_ref() {
                DeValue::Table(table) => {
                    sections.push(Section::open(what, item.span(), table, keys, self.complaints));
                }
                other => refuse(item.span(), other.type_str()),
            }
        }
        sections
    }
}
