//! `sightglass sim record`: a run of the simulated line as files, faster than real time.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Subcommand;
use sightglass_history::write_wide_parquet;
use sightglass_ingest::capture;
use sightglass_plant_sim::{
    CAMERA_FPS, CAMERA_HEIGHT, CAMERA_WIDTH, Fault, FaultEvent, Scenario, SimItem, SimOptions, Simulation, tags,
};
use sightglass_protocol::{UtcNanos, time::SECOND};

use super::parse_time;
use crate::demo_plant::{self, DemoSource};
use crate::{EngineError, card};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Write samples (Parquet), video (Matroska) and the plant's description.
    Record(RecordArguments),
}

#[derive(clap::Args)]
pub(super) struct RecordArguments {
    /// How long.
    #[arg(long)]
    hours: f64,
    /// The folder to write to.
    #[arg(long)]
    out: PathBuf,
    /// The seed of the simulated line.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The first simulated moment.
    #[arg(long, default_value = "2026-01-05T06:00:00Z", value_parser = parse_time)]
    start: UtcNanos,
    /// An operator makes normal changes at random.
    #[arg(long)]
    operator: bool,
    /// A fault to inject.
    #[arg(long, value_parser = Fault::from_str)]
    fault: Option<Fault>,
    /// When the fault begins, in seconds from the start.
    #[arg(long, default_value_t = 60.0)]
    onset: f64,
}

const SAMPLES: &str = "samples.parquet";
const VIDEO: &str = "filler-camera.mkv";
const PLANT: &str = "plant.toml";

pub(super) fn run(command: Command) -> Result<(), EngineError> {
    match command {
        Command::Record(arguments) => record(&arguments),
    }
}

fn record(arguments: &RecordArguments) -> Result<(), EngineError> {
    if !(arguments.hours > 0.0 && arguments.hours.is_finite()) {
        return Err(EngineError::Usage(format!("--hours {} is not above 0", arguments.hours)));
    }
    sightglass_ingest::init()?;
    let out = &arguments.out;
    std::fs::create_dir_all(out).map_err(EngineError::io("making the folder", out))?;
    let seconds = arguments.hours * 3_600.0;
    let scenario = Scenario {
        fault: arguments.fault.map(|fault| FaultEvent { fault, onset_s: arguments.onset, severity: 1.0 }),
        operator: arguments.operator,
        duration_s: Some(seconds),
        ..Scenario::default()
    };
    let mut simulation = Simulation::new(SimOptions { seed: arguments.seed, start: arguments.start, scenario });
    let mut video = capture::write_video(&out.join(VIDEO), f64::from(CAMERA_FPS), CAMERA_WIDTH, CAMERA_HEIGHT)?;
    let bar = card::bar(seconds as u64, "simulating");
    let mut samples = Vec::new();
    let mut video_start = None;
    while let Some(item) = simulation.next() {
        match item {
            SimItem::Samples(more) => samples.extend(more),
            SimItem::Frame(frame) => {
                let first = *video_start.get_or_insert(frame.time);
                video.push(&frame)?;
                bar.set_position((frame.time.since(first) / SECOND) as u64);
            }
        }
    }
    video.finish()?;
    bar.finish_and_clear();
    let names: Vec<String> = tags().iter().map(|tag| tag.name.to_owned()).collect();
    write_wide_parquet(&out.join(SAMPLES), &names, &samples)?;
    let source = DemoSource::Files { samples: SAMPLES, video: VIDEO, start: video_start.unwrap_or(arguments.start) };
    let plant = out.join(PLANT);
    std::fs::write(&plant, demo_plant::text(&source, std::path::Path::new("model.safetensors")))
        .map_err(EngineError::io("writing", &plant))?;
    super::print::line(format_args!("{} samples and {seconds:.0} s of video in {}", samples.len(), out.display()));
    Ok(())
}
