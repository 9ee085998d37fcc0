//! How long a V-JEPA 2 takes to encode a clip of the size in its `config.json`: one JSON line with the seconds of each
//! repetition and the process's peak memory.
//!
//! `cargo run --release -p sightglass-world-model --example vjepa2_bench -- FOLDER [REPETITIONS]`; threads are set by
//! `RAYON_NUM_THREADS`.

use std::path::PathBuf;
use std::time::Instant;

use candle_core::{Device, Tensor};
use sightglass_world_model::vjepa2::Vjepa2;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("name the folder of a checkpoint")?);
    let repetitions: usize = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let model = Vjepa2::load(&folder)?;
    let config = model.config();
    let (frames, channels, crop) = (config.frames_per_clip, config.channels, config.crop_size);
    let values: Vec<f32> = (0..frames * channels * crop * crop).map(|i| (i % 251) as f32 / 62.0 - 2.0).collect();
    let clip = Tensor::from_vec(values, (1, frames, channels, crop, crop), &Device::Cpu)?;
    let mut seconds = Vec::new();
    for _ in 0..=repetitions {
        let begin = Instant::now();
        model.encode(&clip)?;
        seconds.push(begin.elapsed().as_secs_f64());
    }
    // The first one reads the weights from the disk.
    seconds.remove(0);
    println!(
        "{}",
        serde_json::json!({"seconds": seconds, "peak_mib": peak_mib(), "threads": rayon::current_num_threads()})
    );
    Ok(())
}

/// What the kernel says; nothing where it says nothing.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024)
}
