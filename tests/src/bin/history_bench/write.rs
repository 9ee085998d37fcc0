//! Sustained recording: what a line's recorder does, as fast as the history takes it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sightglass_history::History;
use sightglass_protocol::{Sample, UtcNanos, time::SECOND};
use tokio::sync::{Notify, mpsc};

use crate::{
    Figures, failed, memory, quantile,
    shapes::{START, Shape, cycles, plant},
};

/// Samples of one commit.
const COMMIT_SAMPLES: usize = 65_536;
/// Merging begins when so many samples wait, as the engine's recorder has it.
const MERGE_SAMPLES: u64 = 1_000_000;
/// Recording waits when so many samples wait to be merged: what is measured is what can go on for ever.
const BACKLOG_SAMPLES_MAX: u64 = 8_000_000;
/// Cycles that are made beforehand and then come again, shifted in time: what makes the samples is not measured.
const CYCLES: usize = 600;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to record; emptied before and after.
    #[arg(long)]
    dir: PathBuf,
    /// For how long.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// How many tags, each ten times a second in the samples' own time.
    #[arg(long, default_value_t = 1_000)]
    tags: usize,
    /// Samples a second, at most; 0 is as many as possible.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Write the same samples for the peers into this file: tag (u32), time (i64), value (f64), quality (u8) of each
    /// commit, column after column.
    #[arg(long)]
    peers_file: Option<PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> Figures {
    let interval_ns = SECOND / 10;
    let mut shapes: Vec<Shape> = (0..arguments.tags).map(|index| Shape::new(index, START, interval_ns)).collect();
    let block = cycles(&mut shapes, CYCLES);
    let block_ns = CYCLES as i64 * interval_ns;
    if let Some(path) = &arguments.peers_file {
        std::fs::write(path, columns(&block)).map_err(failed(format_args!("write {}", path.display())))?;
    }
    if arguments.dir.exists() {
        std::fs::remove_dir_all(&arguments.dir).map_err(failed("empty the folder"))?;
    }
    let history = History::open(&arguments.dir, &plant(arguments.tags)).await.map_err(failed("open the history"))?;

    let newest = Arc::new(AtomicI64::new(START));
    let (wake, done) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (locked_us, written) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let merging = {
        let (history, newest, wake, done) =
            (history.clone(), Arc::clone(&newest), Arc::clone(&wake), Arc::clone(&done));
        let (locked_us, written) = (Arc::clone(&locked_us), Arc::clone(&written));
        tokio::spawn(async move {
            while !done.load(Ordering::Acquire) {
                wake.notified().await;
                let up_to = UtcNanos(newest.load(Ordering::Acquire) - 30 * SECOND);
                let stats = history.merge(up_to).await.map_err(failed("merge"))?;
                locked_us.fetch_max(stats.locked_us_max, Ordering::Relaxed);
                written.fetch_add(stats.samples_written, Ordering::Relaxed);
            }
            Ok::<(), String>(())
        })
    };

    // The line: hands over what came in, a commit at a time, and is held back by two that wait.
    let (sender, mut receiver) = mpsc::channel::<Vec<Sample>>(2);
    let feeding = tokio::task::spawn_blocking(move || {
        for round in 0.. {
            for part in block.chunks(COMMIT_SAMPLES) {
                let shift = round * block_ns;
                let part = part.iter().map(|sample| Sample { time: sample.time + shift, ..*sample }).collect();
                if sender.blocking_send(part).is_err() {
                    return;
                }
            }
        }
    });
    let started = Instant::now();
    let limit = Duration::from_secs(arguments.seconds);
    let (mut latencies_ms, mut samples, mut backlog_max) = (Vec::new(), 0u64, 0u64);
    while started.elapsed() < limit {
        let Some(part) = receiver.recv().await else { break };
        if arguments.rate > 0 {
            let due = started + Duration::from_secs_f64(samples as f64 / arguments.rate as f64);
            tokio::time::sleep_until(due.into()).await;
        }
        let began = Instant::now();
        history.append(&part).await.map_err(failed("commit"))?;
        latencies_ms.push(began.elapsed().as_secs_f64() * 1e3);
        samples += part.len() as u64;
        newest.store(part.iter().map(|sample| sample.time.0).max().unwrap_or(START), Ordering::Release);
        let backlog = history.unmerged_samples();
        backlog_max = backlog_max.max(backlog);
        if backlog > MERGE_SAMPLES {
            wake.notify_one();
        }
        while history.unmerged_samples() > BACKLOG_SAMPLES_MAX && !merging.is_finished() {
            tokio::task::yield_now().await;
        }
    }
    let recorded_s = started.elapsed().as_secs_f64();
    drop(receiver);
    done.store(true, Ordering::Release);
    wake.notify_one();
    merging.await.map_err(failed("wait for merging"))??;
    feeding.await.map_err(failed("end the line"))?;
    let backlog_end = history.unmerged_samples();
    let summary = history.summary().await.map_err(failed("sum up"))?;
    if summary.samples != samples {
        return Err(format!("{samples} samples were committed and {} are stored", summary.samples));
    }
    let bytes = summary.bytes;
    history.close().await.map_err(failed("close the history"))?;
    std::fs::remove_dir_all(&arguments.dir).map_err(failed("empty the folder"))?;
    latencies_ms.sort_by(f64::total_cmp);
    Ok(serde_json::json!({
        "samples": samples,
        "seconds": recorded_s,
        "samples_per_s": samples as f64 / recorded_s,
        "data_seconds": (newest.load(Ordering::Acquire) - START) / SECOND,
        "commit_ms_p50": quantile(&latencies_ms, 0.5),
        "commit_ms_p99": quantile(&latencies_ms, 0.99),
        "commit_ms_max": latencies_ms.last(),
        "merge_locked_ms_max": locked_us.load(Ordering::Relaxed) as f64 / 1e3,
        "written_anew": written.load(Ordering::Relaxed) as f64 / samples as f64,
        "backlog_samples_max": backlog_max,
        "backlog_samples_end": backlog_end,
        "bytes_per_sample": bytes as f64 / samples as f64,
        "peak_memory_mib": memory::peak_bytes().map(|bytes| bytes as f64 / f64::from(1 << 20)),
    }))
}

/// The samples for programs that are not Rust.
pub(crate) fn columns(samples: &[Sample]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(samples.len() * 21);
    for part in samples.chunks(COMMIT_SAMPLES) {
        bytes.extend((part.len() as u64).to_le_bytes());
        part.iter().for_each(|sample| bytes.extend(sample.tag.0.to_le_bytes()));
        part.iter().for_each(|sample| bytes.extend(sample.time.0.to_le_bytes()));
        part.iter().for_each(|sample| bytes.extend(sample.value.to_le_bytes()));
        part.iter().for_each(|sample| bytes.push(sample.quality as u8));
    }
    bytes
}
