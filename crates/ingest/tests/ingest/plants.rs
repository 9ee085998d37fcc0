//! Plants to run, and a way to run them.

use std::{path::PathBuf, time::Duration};

use sightglass_ingest::{Feed, FeedItem, IngestEvent, LinePipeline, PipelineOptions};
use sightglass_plant::{
    Camera, CameraFeed, Line, ModelChoice, Plant, Retention, SampleFile, SampleFormat, SampleLayout, Source,
    SourceKind, Tag,
};
use sightglass_protocol::{
    CameraId, Frame, Health, LineId, Quality, Role, Sample, Segment, TagId, Tick, TimeSource, UtcNanos,
    time::{MILLISECOND, SECOND},
};

/// A plant of one line, to which sources, tags and cameras are added.
pub(crate) fn plant() -> Plant {
    Plant {
        name: "test".to_owned(),
        lines: vec![Line {
            id: LineId(0),
            name: "line".to_owned(),
            tick_ns: SECOND,
            grace_ns: 200 * MILLISECOND,
            tags: Vec::new(),
            cameras: Vec::new(),
        }],
        sources: Vec::new(),
        tags: Vec::new(),
        cameras: Vec::new(),
        model: ModelChoice::default(),
        retention: Retention {
            samples_days: 1.0,
            samples_gib: 1.0,
            rollups_days: 1.0,
            rollups_gib: 1.0,
            video_days: 1.0,
            video_gib: 1.0,
        },
    }
}

pub(crate) fn with_tags(mut plant: Plant, kind: SourceKind, names: &[&str]) -> Plant {
    let source = plant.sources.len();
    plant.sources.push(Source { name: format!("source {source}"), kind });
    for name in names {
        let id = TagId::from_index(plant.tags.len());
        plant.lines[0].tags.push(id);
        plant.tags.push(Tag {
            id,
            line: LineId(0),
            name: (*name).to_owned(),
            description: String::new(),
            unit: String::new(),
            range: None,
            role: Role::Measurement,
            source,
            address: (*name).to_owned(),
            period_ns: SECOND,
            excluded: false,
            alarm: None,
            advise: None,
        });
    }
    plant
}

pub(crate) fn with_camera(mut plant: Plant, name: &str, feed: CameraFeed, start: Option<UtcNanos>) -> Plant {
    let id = CameraId::from_index(plant.cameras.len());
    plant.lines[0].cameras.push(id);
    plant.cameras.push(Camera { id, line: LineId(0), name: name.to_owned(), feed, roi: None, fps: 15.0, start });
    plant
}

pub(crate) fn csv_file(paths: Vec<PathBuf>, separator: u8) -> SourceKind {
    let format = SampleFormat::Csv { separator };
    SourceKind::File(SampleFile { paths, format, layout: SampleLayout::Wide, time_column: "time".to_owned() })
}

pub(crate) fn at(seconds: f64) -> UtcNanos {
    UtcNanos::from_seconds(seconds)
}

pub(crate) fn sample(tag: u32, seconds: f64, value: f64) -> Sample {
    Sample { tag: TagId(tag), time: at(seconds), value, quality: Quality::Good, time_source: TimeSource::Device }
}

/// A picture of one grey that tells its time.
pub(crate) fn grey(camera: u16, seconds: f64, level: u8) -> Frame {
    let (width, height) = (160, 120);
    let pixels = vec![level; (width * height * 3) as usize].into();
    Frame { camera: CameraId(camera), time: at(seconds), width, height, pixels }
}

/// A feed that gives what it was given.
pub(crate) struct Script(pub(crate) std::vec::IntoIter<FeedItem>);

impl Script {
    pub(crate) fn boxed(items: Vec<FeedItem>) -> Option<Box<dyn Feed>> {
        Some(Box::new(Self(items.into_iter())))
    }
}

impl Feed for Script {
    fn next(&mut self) -> Option<FeedItem> {
        self.0.next()
    }
}

/// Everything that a line delivered, up to its end.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) samples: Vec<Sample>,
    pub(crate) ticks: Vec<Tick>,
    pub(crate) pictures: Vec<Frame>,
    pub(crate) frames: u32,
    pub(crate) opened: Vec<Segment>,
    pub(crate) closed: Vec<Segment>,
    pub(crate) health: Vec<Health>,
}

impl Outcome {
    pub(crate) fn take(&mut self, event: IngestEvent) {
        match event {
            IngestEvent::Samples(samples) => self.samples.extend(samples),
            IngestEvent::Tick(tick) => self.ticks.push(tick),
            IngestEvent::Picture { frame, .. } => self.pictures.push(frame),
            IngestEvent::Frames { count, .. } => self.frames += count,
            IngestEvent::SegmentOpened(segment) => self.opened.push(segment),
            IngestEvent::SegmentClosed(segment) => self.closed.push(segment),
            IngestEvent::Health(health) => self.health.push(health),
            IngestEvent::EndOfStream => {}
        }
    }

    pub(crate) fn reasons(&self) -> String {
        self.health.iter().map(|health| format!("{:?} {}: {}\n", health.state, health.source, health.reason)).collect()
    }

    /// The ticks as text, in which a missing value equals a missing value.
    pub(crate) fn tick_text(&self) -> Vec<String> {
        self.ticks.iter().map(|tick| format!("{tick:?}")).collect()
    }
}

/// A line that says nothing for so long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// Runs the line to its end.
pub(crate) fn run(plant: &Plant, options: PipelineOptions, feed: Option<Box<dyn Feed>>) -> Outcome {
    let line = LinePipeline::start(plant, LineId(0), options, feed).expect("the line starts");
    let mut outcome = Outcome::default();
    loop {
        match line.events().recv_timeout(HANGS_AFTER).expect("the line goes on to its end") {
            IngestEvent::EndOfStream => break,
            event => outcome.take(event),
        }
    }
    assert_eq!(line.stop(), [], "nothing comes after the end");
    outcome
}
