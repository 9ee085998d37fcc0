//! Bytes a sample, on recordings that nobody here made and on the simulated line.

use std::path::{Path, PathBuf};

use serde_json::json;
use sightglass_history::{History, Stretch};
use sightglass_plant_sim::{Scenario, SimItem, SimOptions, Simulation};
use sightglass_protocol::{Quality, Sample, TagId, TimeSource, UtcNanos, time::SECOND};

use crate::{
    Figures, failed,
    shapes::{START, plant},
    write::columns,
};

/// The simulated line's time in the comparison.
const SIMULATED_S: f64 = 4.0 * 3_600.0;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to record; emptied before and after.
    #[arg(long)]
    dir: PathBuf,
    /// The folder of recordings; without it only the simulated line is measured.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The seed of the simulated line.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A recording: the samples of each tag.
struct Recording {
    name: &'static str,
    tags: Vec<Vec<Sample>>,
}

pub(crate) async fn run(arguments: Arguments) -> Figures {
    let mut recordings = vec![simulated(arguments.seed)];
    if let Some(data) = &arguments.data {
        recordings.push(skab(&data.join("skab"))?);
        recordings.push(tennessee(&data.join("tep"))?);
    }
    let mut figures = serde_json::Map::new();
    for Recording { name, tags } in recordings {
        let dir = arguments.dir.join(name);
        if dir.exists() {
            std::fs::remove_dir_all(&dir).map_err(failed("empty the folder"))?;
        }
        let samples: usize = tags.iter().map(Vec::len).sum();
        let tag_count = tags.len();
        let file = dir.with_extension("columns");
        std::fs::create_dir_all(&dir).map_err(failed("make the folder"))?;
        std::fs::write(&file, columns(&tags.concat())).map_err(failed("write for the peers"))?;
        let history = History::open(&dir, &plant(tag_count)).await.map_err(failed("open the history"))?;
        for (index, samples) in tags.into_iter().enumerate() {
            let series = Stretch { tag: TagId::from_index(index), samples };
            history.load(vec![series]).await.map_err(failed("load"))?;
        }
        history.merge(UtcNanos::MAX).await.map_err(failed("merge"))?;
        let space = history.space().await.map_err(failed("measure"))?;
        let summary = history.summary().await.map_err(failed("sum up"))?;
        history.close().await.map_err(failed("close the history"))?;
        let each = |bytes: u64| bytes as f64 / summary.samples as f64;
        figures.insert(
            name.to_owned(),
            json!({
                "samples_given": samples,
                "samples": summary.samples,
                "tags": tag_count,
                "bytes_per_sample": each(space.samples),
                "rollup_bytes_per_sample": each(space.rollups),
                "peers_file": file,
            }),
        );
    }
    Ok(figures.into())
}

fn simulated(seed: u64) -> Recording {
    let scenario = Scenario { operator: true, duration_s: Some(SIMULATED_S), ..Scenario::default() };
    let mut simulation = Simulation::without_camera(SimOptions { seed, start: UtcNanos(START), scenario });
    let mut tags: Vec<Vec<Sample>> = Vec::new();
    while let Some(item) = simulation.next() {
        if let SimItem::Samples(samples) = item {
            for sample in samples {
                if tags.len() <= sample.tag.index() {
                    tags.resize(sample.tag.index() + 1, Vec::new());
                }
                tags[sample.tag.index()].push(sample);
            }
        }
    }
    Recording { name: "simulated", tags }
}

fn sample(tag: usize, time: i64, value: f64) -> Sample {
    Sample {
        tag: TagId::from_index(tag),
        time: UtcNanos(time),
        value,
        quality: if value.is_nan() { Quality::Missing } else { Quality::Good },
        time_source: TimeSource::Device,
    }
}

fn text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(failed(format_args!("read {}", path.display())))
}

/// The normal run and the first experiments, one after the other as they were recorded.
fn skab(folder: &Path) -> Result<Recording, String> {
    let mut tags: Vec<Vec<Sample>> = vec![Vec::new(); 8];
    let files = std::iter::once("anomaly-free.csv".to_owned()).chain((0..16).map(|run| format!("valve1/{run}.csv")));
    for file in files {
        for line in text(&folder.join(&file))?.lines().skip(1) {
            let mut fields = line.split(';');
            let time = fields.next().unwrap_or_default().replace(' ', "T") + "Z";
            let time: UtcNanos = time.parse().map_err(failed(format_args!("read the time {time} in {file}")))?;
            for (tag, (samples, field)) in tags.iter_mut().zip(fields).enumerate() {
                samples.push(sample(tag, time.0, field.parse().unwrap_or(f64::NAN)));
            }
        }
    }
    Ok(Recording { name: "skab", tags })
}

/// All test runs, one after the other, a row every three minutes.
fn tennessee(folder: &Path) -> Result<Recording, String> {
    let mut tags: Vec<Vec<Sample>> = vec![Vec::new(); 52];
    let mut row = 0;
    for run in 0..=10 {
        let name = if run == 0 { "d00_te.dat".to_owned() } else { format!("d{run:02}_te.dat") };
        for line in text(&folder.join(name))?.lines() {
            row += 1;
            for (tag, (samples, field)) in tags.iter_mut().zip(line.split_whitespace()).enumerate() {
                samples.push(sample(tag, START + row * 180 * SECOND, field.parse().unwrap_or(f64::NAN)));
            }
        }
    }
    Ok(Recording { name: "tennessee", tags })
}
