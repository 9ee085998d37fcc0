//! Any range at any zoom, of a history of a billion samples.

use std::{
    collections::VecDeque,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use sightglass_history::{FILE_NAME, History, Stretch};
use sightglass_protocol::{Sample, TagId, UtcNanos, time::SECOND};

use crate::{
    Figures, failed, memory, quantile,
    shapes::{START, Shape, cycles, plant},
    write::columns,
};

/// Three kinds of tags: how many of a hundred samples they have together, and their interval.
const KINDS: [(u64, i64); 3] = [(40, SECOND / 10), (50, SECOND), (10, 10 * SECOND)];
/// Samples that are made at once.
const PART_SAMPLES: u64 = 400_000;
const PIXELS: u32 = 1_920;
/// The shortest range that is asked for.
const RANGE_NS_MIN: f64 = 60e9;

#[derive(clap::Args)]
pub(crate) struct Plan {
    /// How many samples in all.
    #[arg(long, default_value_t = 1_000_000_000)]
    points: u64,
    /// Over how many days.
    #[arg(long, default_value_t = 23)]
    days: i64,
}

/// A tag of the plan.
#[derive(Clone, Copy)]
struct Planned {
    index: usize,
    interval_ns: i64,
    samples: u64,
}

impl Plan {
    fn tags(&self) -> Vec<Planned> {
        let mut tags = Vec::new();
        for (percent, interval_ns) in KINDS {
            let each = (self.days * 86_400 * SECOND / interval_ns) as u64;
            let count = (self.points * percent / 100).div_ceil(each);
            tags.extend((0..count).map(|_| Planned { index: 0, interval_ns, samples: each }));
        }
        tags.iter_mut().enumerate().for_each(|(index, tag)| tag.index = index);
        tags
    }

    fn end(&self) -> i64 {
        START + self.days * 86_400 * SECOND
    }
}

#[derive(clap::Args)]
pub(crate) struct GenerateArguments {
    /// Where; must not be there yet.
    #[arg(long, required_unless_present = "stream")]
    dir: Option<PathBuf>,
    /// Write the samples to the standard output for the peers instead, as `write --peers-file` does.
    #[arg(long)]
    stream: bool,
    #[command(flatten)]
    plan: Plan,
}

pub(crate) async fn generate(arguments: GenerateArguments) -> Figures {
    let tags = arguments.plan.tags();
    let began = Instant::now();
    let Some(dir) = arguments.dir else {
        let mut out = std::io::stdout().lock();
        for tag in &tags {
            for samples in parts(*tag) {
                out.write_all(&columns(&samples)).map_err(failed("write to the peer"))?;
            }
        }
        return Ok(json!({}));
    };
    let history = History::open(&dir, &plant(tags.len())).await.map_err(failed("open the history"))?;
    let samples: u64 = tags.iter().map(|tag| tag.samples).sum();
    let waiting = Arc::new(std::sync::Mutex::new(VecDeque::from(tags)));
    let mut workers = Vec::new();
    for _ in 0..2 {
        let (history, waiting) = (history.clone(), Arc::clone(&waiting));
        workers.push(tokio::spawn(async move {
            loop {
                let next = waiting.lock().map_err(failed("share the work"))?.pop_front();
                let Some(tag) = next else { return Ok::<(), String>(()) };
                for samples in parts(tag) {
                    let series = Stretch { tag: TagId::from_index(tag.index), samples };
                    history.load(vec![series]).await.map_err(failed("load"))?;
                }
            }
        }));
    }
    for worker in workers {
        worker.await.map_err(failed("wait for the work"))??;
    }
    let loaded_s = began.elapsed().as_secs_f64();
    history.merge(UtcNanos(arguments.plan.end() + 1)).await.map_err(failed("build roll-ups"))?;
    let space = history.space().await.map_err(failed("measure"))?;
    history.close().await.map_err(failed("close the history"))?;
    Ok(json!({
        "samples": samples,
        "load_s": loaded_s,
        "rollups_s": began.elapsed().as_secs_f64() - loaded_s,
        "bytes_per_sample": space.samples as f64 / samples as f64,
        "rollup_bytes_per_sample": space.rollups as f64 / samples as f64,
    }))
}

/// The samples of a tag, part by part.
fn parts(tag: Planned) -> impl Iterator<Item = Vec<Sample>> {
    let mut shape = Shape::new(tag.index, START, tag.interval_ns);
    let mut left = tag.samples;
    std::iter::from_fn(move || {
        let count = left.min(PART_SAMPLES);
        left -= count;
        (count > 0).then(|| (0..count).map(|_| shape.next(TagId::from_index(tag.index))).collect())
    })
}

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What `generate` made.
    #[arg(long)]
    dir: PathBuf,
    /// Questions of each sort.
    #[arg(long, default_value_t = 200)]
    questions: usize,
    /// Questions to a cold cache; 0 for none.
    #[arg(long, default_value_t = 40)]
    cold: usize,
    /// Samples a second that come in meanwhile.
    #[arg(long, default_value_t = 0)]
    ingest: u64,
    /// The seed of the questions.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the questions into this file, for the peers.
    #[arg(long)]
    questions_file: Option<PathBuf>,
    #[command(flatten)]
    plan: Plan,
}

/// A question: some tags over a range.
struct Question {
    tags: Vec<TagId>,
    from: UtcNanos,
    to: UtcNanos,
}

/// Questions of tags and ranges at random, each length of range as likely as ten times the length.
fn questions(plan: &Plan, count: usize, tags_each: usize, seed: u64) -> Vec<Question> {
    let tags = plan.tags().len();
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut uniform = move || {
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        (random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    };
    let all = (plan.end() - START) as f64;
    (0..count)
        .map(|_| {
            let range = RANGE_NS_MIN * (all / RANGE_NS_MIN).powf(uniform());
            let from = START + ((all - range) * uniform()) as i64;
            let tags = (0..tags_each).map(|_| TagId::from_index((uniform() * tags as f64) as usize)).collect();
            Question { tags, from: UtcNanos(from), to: UtcNanos(from + range as i64) }
        })
        .collect()
}

/// Milliseconds for each question.
async fn ask(history: &History, questions: &[Question]) -> Result<Vec<f64>, String> {
    let mut times_ms = Vec::with_capacity(questions.len());
    for question in questions {
        let began = Instant::now();
        let signals = history
            .signals(&question.tags, question.from, question.to, PIXELS)
            .await
            .map_err(failed("ask for signals"))?;
        times_ms.push(began.elapsed().as_secs_f64() * 1e3);
        for signal in signals {
            if signal.points.is_empty() || signal.points.len() > 2 * PIXELS as usize + 2 {
                return Err(format!(
                    "tag {} from {} to {} is answered with {} points",
                    signal.tag.0,
                    question.from,
                    question.to,
                    signal.points.len()
                ));
            }
        }
    }
    times_ms.sort_by(f64::total_cmp);
    Ok(times_ms)
}

pub(crate) async fn run(arguments: Arguments) -> Figures {
    let one = questions(&arguments.plan, arguments.questions, 1, arguments.seed);
    let eight = questions(&arguments.plan, arguments.questions / 4, 8, arguments.seed + 1);
    if let Some(path) = &arguments.questions_file {
        let list = |questions: &[Question]| -> Vec<serde_json::Value> {
            let entry = |question: &Question| {
                let tags: Vec<u32> = question.tags.iter().map(|tag| tag.0).collect();
                json!({ "tags": tags, "from": question.from.0, "to": question.to.0 })
            };
            questions.iter().map(entry).collect()
        };
        let text = json!({ "pixels": PIXELS, "one": list(&one), "eight": list(&eight) }).to_string();
        std::fs::write(path, text).map_err(failed("write the questions"))?;
    }
    let mut cold_ms = Vec::new();
    for question in questions(&arguments.plan, arguments.cold, 1, arguments.seed + 2) {
        forget(&arguments.dir)?;
        let history = History::open_read_only(&arguments.dir).await.map_err(failed("open the history"))?;
        cold_ms.extend(ask(&history, &[question]).await?);
        history.close().await.map_err(failed("close the history"))?;
    }
    cold_ms.sort_by(f64::total_cmp);

    let stop = Arc::new(AtomicBool::new(false));
    let (history, ingesting) = if arguments.ingest > 0 {
        let history = History::open(&arguments.dir, &plant(arguments.plan.tags().len())).await;
        let history = history.map_err(failed("open the history"))?;
        let task = tokio::spawn(ingest(history.clone(), arguments.ingest, arguments.plan.end(), Arc::clone(&stop)));
        (history, Some(task))
    } else {
        (History::open_read_only(&arguments.dir).await.map_err(failed("open the history"))?, None)
    };
    ask(&history, &one).await?;
    let one_ms = ask(&history, &one).await?;
    let eight_ms = ask(&history, &eight).await?;
    stop.store(true, Ordering::Release);
    let ingested = match ingesting {
        Some(task) => task.await.map_err(failed("wait for recording"))??,
        None => 0.0,
    };
    history.close().await.map_err(failed("close the history"))?;
    let milliseconds =
        |times: &[f64]| json!({ "p50": quantile(times, 0.5), "p95": quantile(times, 0.95), "max": times.last() });
    Ok(json!({
        "warm_ms": milliseconds(&one_ms),
        "warm_8_tags_ms": milliseconds(&eight_ms),
        "cold_ms": milliseconds(&cold_ms),
        "ingested_per_s": ingested,
        "peak_memory_mib": memory::peak_bytes().map(|bytes| bytes as f64 / f64::from(1 << 20)),
    }))
}

/// Has the system forget what it read of the history: its pages are then read from the disk.
fn forget(dir: &Path) -> Result<(), String> {
    let mut dd = Command::new("dd");
    dd.arg(format!("if={}", dir.join(FILE_NAME).display())).args(["iflag=nocache", "count=0", "status=none"]);
    let status = dd.status().map_err(failed("run dd"))?;
    if status.success() { Ok(()) } else { Err(format!("dd failed ({status})")) }
}

/// Records so many samples a second after the history's end, of all tags, until told to stop; returns the rate.
async fn ingest(history: History, rate: u64, from: i64, stop: Arc<AtomicBool>) -> Result<f64, String> {
    let tags = history.plant().tags.len();
    let mut shapes: Vec<Shape> = (0..tags).map(|index| Shape::new(index, from, SECOND / 100)).collect();
    let began = Instant::now();
    let (mut count, mut merging) = (0u64, None::<tokio::task::JoinHandle<Result<_, _>>>);
    while !stop.load(Ordering::Acquire) {
        // Four commits a second, as the engine's recorder has it.
        let part = cycles(&mut shapes, (rate as usize / 4).div_ceil(tags));
        history.append(&part).await.map_err(failed("commit"))?;
        count += part.len() as u64;
        let newest = part.last().map_or(from, |sample| sample.time.0);
        if history.unmerged_samples() > 1_000_000 && merging.as_ref().is_none_or(|task| task.is_finished()) {
            if let Some(task) = merging.take() {
                task.await.map_err(failed("wait for merging"))?.map_err(failed("merge"))?;
            }
            let history = history.clone();
            merging = Some(tokio::spawn(async move { history.merge(UtcNanos(newest - SECOND)).await }));
        }
        tokio::time::sleep_until((began + Duration::from_secs_f64(count as f64 / rate as f64)).into()).await;
    }
    if let Some(task) = merging {
        task.await.map_err(failed("wait for merging"))?.map_err(failed("merge"))?;
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}
