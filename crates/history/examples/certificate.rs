//! How long a completeness certificate takes: `cargo run -p sightglass-history --example certificate -- [TAGS] [DAYS]`.
//! Loads that many tags at one sample a second, with an hour missing and an hour of bad quality in each, and certifies
//! the whole of it. Prints one line of figures.

use std::time::Instant;

use sightglass_history::{History, Stretch};
use sightglass_protocol::{
    LineId, LineInfo, PlantInfo, Quality, Role, Sample, TagId, TagInfo, TimeSource, UtcNanos, time::SECOND,
};

const START: i64 = 1_795_507_200 * SECOND;
const DAY: i64 = 86_400;
/// Days that are loaded at a time.
const STRETCH_DAYS: i64 = 5;

fn plant(tags: u32) -> PlantInfo {
    let tag = |id| TagInfo {
        id: TagId(id),
        line: LineId(0),
        name: format!("tag {id}"),
        description: String::new(),
        unit: String::new(),
        range: None,
        role: Role::Measurement,
    };
    let line = LineInfo {
        id: LineId(0),
        name: "line".to_owned(),
        tick_ns: SECOND,
        tags: (0..tags).map(TagId).collect(),
        cameras: Vec::new(),
    };
    PlantInfo { name: "pace".to_owned(), lines: vec![line], tags: (0..tags).map(tag).collect(), cameras: Vec::new() }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(measure())
}

async fn measure() -> Result<(), Box<dyn std::error::Error>> {
    let mut numbers = std::env::args().skip(1).map(|argument| argument.parse::<i64>());
    let tags = u32::try_from(numbers.next().transpose()?.unwrap_or(50))?;
    let days = numbers.next().transpose()?.unwrap_or(30);
    let dir = tempfile::tempdir()?;
    let history = History::open(dir.path(), &plant(tags)).await?;
    history.begin_session(UtcNanos(START)).await?;
    let loading = Instant::now();
    for first in (0..days).step_by(STRETCH_DAYS as usize) {
        for tag in 0..tags {
            // An hour without, and one of bad samples, each tag at another time.
            let lost = i64::from(tag) % days * DAY + 30_000;
            let bad = (i64::from(tag) + 7) % days * DAY + 50_000;
            let seconds =
                (first * DAY..(first + STRETCH_DAYS).min(days) * DAY).filter(|at| !(lost..lost + 3600).contains(at));
            let samples = seconds.map(|second| Sample {
                tag: TagId(tag),
                time: UtcNanos(START + second * SECOND),
                value: ((second as f64 / 600.0 + f64::from(tag)).sin() * 500.0).round() / 10.0,
                quality: if (bad..bad + 3600).contains(&second) { Quality::Bad } else { Quality::Good },
                time_source: TimeSource::Device,
            });
            history.load(vec![Stretch { tag: TagId(tag), samples: samples.collect() }]).await?;
        }
    }
    history.merge(UtcNanos(START + days * DAY * SECOND)).await?;
    let loading = loading.elapsed();
    let all: Vec<TagId> = (0..tags).map(TagId).collect();
    let start = Instant::now();
    let certificate = history.completeness(&all, UtcNanos(START), UtcNanos(START + days * DAY * SECOND)).await?;
    let took = start.elapsed();
    let (expected, present): (u64, u64) =
        certificate.tags.iter().fold((0, 0), |sum, tag| (sum.0 + tag.expected.unwrap_or(0), sum.1 + tag.present));
    let gaps: usize = certificate.tags.iter().map(|tag| tag.gaps.len()).sum();
    let evidence = &certificate.evidence;
    println!(
        "certificate tags={tags} days={days} expected={expected} present={present} gaps={gaps} load_s={:.1} took_ms={:.0} \
         chunks_by_header={} blocks={} decoded={} samples_decoded={}",
        loading.as_secs_f64(),
        took.as_secs_f64() * 1e3,
        evidence.chunks_by_header,
        evidence.blocks,
        evidence.decoded,
        evidence.samples_decoded
    );
    history.close().await?;
    Ok(())
}
