//! From a [`Plant`] back to the text of a plant file: what a recording keeps of the plant that it was made with.

use std::fmt::{Display, Write};

use sightglass_protocol::Role;

use crate::{AdviceLimits, CameraFeed, Device, Plant, SampleFormat, SampleLayout, SourceKind};

/// The text of a plant file that reads back as `plant`, without its retention: it is for replaying what was recorded.
/// Paths stand in it as they are in `plant`.
pub fn to_text(plant: &Plant) -> String {
    let mut text = Text(String::new());
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
    text.plain("seed", plant.model.seed);
    text.plain("epochs", plant.model.epochs_max);

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
    text.0
}

struct Text(String);

impl Text {
    fn table(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(name);
        self.0.push('\n');
    }

    fn quoted(&mut self, key: &str, value: &str) {
        self.plain(key, quote(value));
    }

    fn plain(&mut self, key: &str, value: impl Display) {
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
