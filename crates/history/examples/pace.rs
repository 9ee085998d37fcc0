//! How fast the history is on this PC: `cargo run -p sightglass-history --example pace`. Prints one line of figures.

use std::time::{Duration, Instant};

use sightglass_history::{BATCH_SAMPLES_MAX, History};
use sightglass_protocol::{
    LineId, LineInfo, PlantInfo, Quality, Role, Sample, TagId, TagInfo, TimeSource, UtcNanos, time::SECOND,
};

const TAGS: u32 = 24;
const START: i64 = 1_795_507_200 * SECOND;
const HOUR: i64 = 3600;

fn plant() -> PlantInfo {
    let tag = |id| TagInfo {
        id: TagId(id),
        line: LineId(0),
        name: format!("tag {id}"),
        description: String::new(),
        unit: String::new(),
        range: None,
        role: Role::Measurement,
    };
    PlantInfo {
        name: "pace".to_owned(),
        lines: vec![LineInfo {
            id: LineId(0),
            name: "line".to_owned(),
            tick_ns: SECOND,
            tags: (0..TAGS).map(TagId).collect(),
            cameras: Vec::new(),
        }],
        tags: (0..TAGS).map(tag).collect(),
        cameras: Vec::new(),
    }
}

/// 1 to 10 values a second a tag, jittered in time, quantised to 0.01.
fn second(second: i64, noise: &mut u64) -> Vec<Sample> {
    let mut samples = Vec::new();
    for tag in 0..TAGS {
        let rate = i64::from(1 + tag % 10);
        for part in 0..rate {
            *noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let jitter = (*noise >> 44) as i64;
            let wave = (second as f64 / 60.0 + f64::from(tag)).sin() * 50.0 + (*noise >> 40 & 0xff) as f64 / 100.0;
            samples.push(Sample {
                tag: TagId(tag),
                time: UtcNanos(START + second * SECOND + part * SECOND / rate + jitter),
                value: (wave * 100.0).round() / 100.0,
                quality: Quality::Good,
                time_source: TimeSource::Device,
            });
        }
    }
    samples
}

fn milliseconds(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    (at(0.5), at(0.99))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("sightglass-pace-{}", std::process::id()));
    let history = History::open(&dir, &plant()).await?;
    let mut noise = 1;
    let (mut commits, mut merges, mut samples) = (Vec::new(), Vec::new(), 0);
    for now in 0..2 * HOUR {
        let part = second(now, &mut noise);
        samples += part.len();
        let start = Instant::now();
        history.append(&part).await?;
        commits.push(start.elapsed());
        if now % 60 == 59 {
            let start = Instant::now();
            history.merge(UtcNanos(START + now * SECOND)).await?;
            merges.push(start.elapsed());
        }
    }
    let bytes = history.bytes()?;
    let tags: Vec<TagId> = (0..TAGS).map(TagId).collect();
    let (mut hour, mut minute, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..20 {
        let from = UtcNanos(START + (HOUR / 2 + turn) * SECOND);
        for (span, times) in [(HOUR, &mut hour), (60, &mut minute)] {
            let start = Instant::now();
            let signals = history.signals(&tags, from, from + span * SECOND, 1000).await?;
            times.push(start.elapsed());
            assert!(signals.iter().all(|signal| !signal.points.is_empty()));
        }
        let start = Instant::now();
        let count = history.raw(TagId(9), from, from + HOUR * SECOND).await?.len();
        assert!(count > 30_000);
        raw.push(start.elapsed());
    }
    let mut big = Vec::new();
    let mut later = 3 * HOUR;
    while big.len() < 10 {
        let mut part = Vec::with_capacity(BATCH_SAMPLES_MAX);
        while part.len() < BATCH_SAMPLES_MAX {
            part.extend(second(later, &mut noise));
            later += 1;
        }
        part.truncate(BATCH_SAMPLES_MAX);
        let start = Instant::now();
        history.append(&part).await?;
        big.push(start.elapsed());
    }
    let start = Instant::now();
    let merged = history.merge(UtcNanos::MAX).await?;
    let merged_a_second = merged.samples as f64 / start.elapsed().as_secs_f64();
    let whole = history.bytes()?;
    history.close().await?;
    let closed = std::fs::metadata(dir.join(sightglass_history::FILE_NAME))?.len();
    std::fs::remove_dir_all(&dir)?;
    println!(
        "pace samples={samples} bytes={bytes} commit_ms_p50={:.2} commit_ms_p99={:.2} merge_minute_ms_p50={:.1} \
         append_64k_ms_p50={:.1} merged_per_s={merged_a_second:.0} signals_24_tags_hour_ms_p50={:.1} \
         signals_24_tags_hour_ms_p99={:.1} signals_24_tags_minute_ms_p50={:.1} raw_hour_10hz_ms_p50={:.1} \
         bytes_at_end={whole} bytes_closed={closed}",
        milliseconds(commits.clone()).0,
        milliseconds(commits).1,
        milliseconds(merges).0,
        milliseconds(big).0,
        milliseconds(hour.clone()).0,
        milliseconds(hour).1,
        milliseconds(minute).0,
        milliseconds(raw).0,
    );
    Ok(())
}
