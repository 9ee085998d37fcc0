//! The history through its public door.

mod backup;
mod budgets;
mod completeness;
mod durability;
mod export;
mod mistyped;
mod model_output;
mod opening;
mod outages;
mod place;
mod questions;
mod records;
mod repair;
mod samples;
mod signals;
mod upgrade;
mod upkeep;
mod video;

use sightglass_history::History;
use sightglass_protocol::{
    CameraId, CameraInfo, LineId, LineInfo, PlantInfo, Quality, Role, Sample, TagId, TagInfo, TimeSource, UtcNanos,
    time::SECOND,
};

/// 2026-11-24T08:00:00Z.
const START: i64 = 1_795_507_200 * SECOND;

/// A plant of two lines: three tags and a camera, and one tag.
fn plant() -> PlantInfo {
    let tag = |id: u32, line: u16, name: &str, role: Role| TagInfo {
        id: TagId(id),
        line: LineId(line),
        name: name.to_owned(),
        description: String::new(),
        unit: "bar".to_owned(),
        range: Some((0.0, 10.0)),
        role,
    };
    let line = |id: u16, name: &str, tags: &[u32], cameras: &[u16]| LineInfo {
        id: LineId(id),
        name: name.to_owned(),
        tick_ns: SECOND,
        tags: tags.iter().copied().map(TagId).collect(),
        cameras: cameras.iter().copied().map(CameraId).collect(),
    };
    PlantInfo {
        name: "Works 1".to_owned(),
        lines: vec![line(0, "Filling", &[0, 1, 2], &[0]), line(1, "Packing / 2", &[3], &[])],
        tags: vec![
            tag(0, 0, "pressure", Role::Measurement),
            tag(1, 0, "level", Role::Measurement),
            tag(2, 0, "speed set", Role::Setpoint),
            tag(3, 1, "boxes", Role::Measurement),
        ],
        cameras: vec![CameraInfo { id: CameraId(0), line: LineId(0), name: "nozzle".to_owned(), roi: None, fps: 15.0 }],
    }
}

fn sample(tag: u32, time: i64, value: f64) -> Sample {
    Sample { tag: TagId(tag), time: UtcNanos(time), value, quality: Quality::Good, time_source: TimeSource::Device }
}

fn at(seconds: i64) -> UtcNanos {
    UtcNanos(START + seconds * SECOND)
}

async fn open(dir: &tempfile::TempDir) -> History {
    History::open(dir.path(), &plant()).await.unwrap()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Everything that tells two samples apart, with NaN equal to itself.
fn bits(sample: &Sample) -> (i64, u64, u8, u8) {
    (sample.time.0, sample.value.to_bits(), sample.quality as u8, sample.time_source as u8)
}

/// Runs an async test on a runtime of its own.
fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test);
}
