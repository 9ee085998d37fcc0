//! How long a V-JEPA 2 takes for a clip, and for a tick of a live stream: does what each line of its input asks for and
//! answers with one JSON object a line.
//!
//! `cargo run -p sightglass-world-model --example vjepa2_bench -- FOLDER`; `RAYON_NUM_THREADS` sets the threads. Lines:
//! `encode COUNT`, `tick COUNT`, `difference`, `still`. `cargo xtask bench vjepa2` asks, beside PyTorch.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use sightglass_world_model::vjepa2::{Stream, StreamMode, StreamOptions, Vjepa2};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("name the folder of a checkpoint")?);
    let model = Arc::new(Vjepa2::load(&folder)?);
    let config = model.config();
    let side = config.crop_size;
    let mut clip = Tensor::randn(0f32, 1.0, (1, config.frames_per_clip, config.channels, side, side), &Device::Cpu)?;
    // With the reference beside it, the first pass, which reads the weights from the disk, is also held against that.
    let reference = folder.join("encoded.safetensors");
    let mut differs = None;
    if reference.exists() {
        let mut tensors = candle_core::safetensors::load(&reference, &Device::Cpu)?;
        clip = tensors.remove("clip").ok_or("the reference has no clip")?;
        let expected = tensors.remove("encoded").ok_or("the reference has no encoded clip")?;
        differs = Some((model.encode(&clip)? - expected)?.abs()?.max_all()?.to_scalar::<f32>()?);
    } else {
        model.encode(&clip)?;
    }
    let mut live = None;
    answer(&json!({
        "gflop": gflop(&model),
        "threads": rayon::current_num_threads(),
        "max_abs_diff": differs,
    }))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (command, count) = line.split_once(' ').unwrap_or((&line, "1"));
        let count: u32 = count.parse()?;
        let live = match &mut live {
            None if command != "encode" => live.insert(Live::new(&model)?),
            None => {
                answer(&encode(&model, &clip, count)?)?;
                continue;
            }
            Some(live) => live,
        };
        answer(&match command {
            "encode" => encode(&model, &clip, count)?,
            "tick" => live.ticks(count)?,
            "difference" => live.difference()?,
            "still" => live.stand_still()?,
            other => return Err(format!("'{other}' is no command").into()),
        })?;
    }
    Ok(())
}

fn answer(answer: &Value) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{answer}")?;
    Ok(out.flush()?)
}

fn encode(model: &Vjepa2, clip: &Tensor, count: u32) -> Outcome<Value> {
    let begin = Instant::now();
    for _ in 0..count {
        model.encode(clip)?;
    }
    Ok(json!({"seconds": begin.elapsed().as_secs_f64() / f64::from(count), "peak_mib": peak_mib()}))
}

/// Multiplications and additions of the products that encoding a clip takes, in thousands of millions.
fn gflop(model: &Vjepa2) -> f64 {
    let config = model.config();
    let size = config.encoder;
    let tubelets = config.frames_per_clip / config.tubelet_size;
    let tokens = (tubelets * config.grid() * config.grid()) as f64;
    let (width, hidden) = (size.width as f64, size.hidden as f64);
    let patch = (config.channels * config.tubelet_size * config.patch_size * config.patch_size) as f64;
    let layer = 4.0 * width * width + 2.0 * width * hidden + 2.0 * tokens * width;
    2e-9 * tokens * (patch * width + size.layers as f64 * layer)
}

/// A rolling stream of a made-up scene.
struct Live {
    model: Arc<Vjepa2>,
    stream: Stream,
    /// Frames that were pushed.
    frame: usize,
    moves: bool,
    /// The window's frames.
    window: Vec<Vec<f32>>,
}

impl Live {
    /// With a full window.
    fn new(model: &Arc<Vjepa2>) -> Outcome<Self> {
        let config = model.config();
        let tubelets = config.frames_per_clip / config.tubelet_size;
        let (side, mode) = (config.crop_size, StreamMode::Rolling);
        let stream = Stream::new(model.clone(), StreamOptions { height: side, width: side, tubelets, mode })?;
        let mut live = Self { model: model.clone(), stream, frame: 0, moves: true, window: Vec::new() };
        for _ in 0..=tubelets {
            live.tick()?;
        }
        Ok(live)
    }

    /// Pushes a tubelet; gives the seconds, and how many tubelets were computed.
    fn tick(&mut self) -> Outcome<(f64, usize)> {
        let config = self.model.config();
        let mut frames = Vec::new();
        for _ in 0..config.tubelet_size {
            self.frame += usize::from(self.moves);
            scene(self.frame, config.crop_size, config.channels, &mut frames);
        }
        let begin = Instant::now();
        let computed = self.stream.push(&frames)?.tubelets_computed;
        let seconds = begin.elapsed().as_secs_f64();
        if self.window.len() == self.stream.options().tubelets {
            self.window.remove(0);
        }
        self.window.push(frames);
        Ok((seconds, computed))
    }

    fn ticks(&mut self, count: u32) -> Outcome<Value> {
        let mut seconds = 0.0;
        for _ in 0..count {
            seconds += self.tick()?.0;
        }
        Ok(json!({"seconds": seconds / f64::from(count), "peak_mib": peak_mib()}))
    }

    /// How the stream's tokens differ from those of the window encoded as a clip: over the window, and in the newest tubelet.
    fn difference(&self) -> Outcome<Value> {
        let config = self.model.config();
        let (side, frames) = (config.crop_size, config.frames_per_clip);
        let clip = Tensor::from_vec(self.window.concat(), (1, frames, config.channels, side, side), &Device::Cpu)?;
        let expected: Vec<f32> = self.model.encode(&clip)?.flatten_all()?.to_vec1()?;
        let found = self.stream.tokens();
        let newest = expected.len() - expected.len() / self.stream.options().tubelets;
        let of = |found: &[f32], expected: &[f32]| {
            let differences = found.iter().zip(expected).map(|(a, b)| f64::from(a - b));
            let square: f64 = differences.clone().map(|d| d * d).sum();
            let value_square: f64 = expected.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
            let count = expected.len() as f64;
            json!({
                "max": differences.map(f64::abs).fold(0.0, f64::max),
                "rms": (square / count).sqrt(),
                "value_rms": (value_square / count).sqrt(),
            })
        };
        Ok(json!({"window": of(found, &expected), "newest": of(&found[newest..], &expected[newest..])}))
    }

    /// Lets the scene stand still for a window and one tick, which costs nothing any more.
    fn stand_still(&mut self) -> Outcome<Value> {
        self.moves = false;
        for _ in 0..self.stream.options().tubelets {
            self.tick()?;
        }
        let (seconds, computed) = self.tick()?;
        Ok(json!({"seconds": seconds, "tubelets_computed": computed}))
    }
}

/// A bright disc that goes round over a textured ground, and the ground drifts: normalised pixels of one frame.
fn scene(frame: usize, side: usize, channels: usize, out: &mut Vec<f32>) {
    let (size, at) = (side as f32, frame as f32);
    let (sin, cos) = (at * 0.2).sin_cos();
    let centre = (size * (0.5 + 0.3 * cos), size * (0.5 + 0.3 * sin));
    for channel in 0..channels {
        for y in 0..side {
            for x in 0..side {
                let (x, y) = (x as f32, y as f32);
                let ground = ((x + 0.5 * at) * 0.11 + channel as f32).sin() * (y * 0.07).cos();
                let from_centre = (x - centre.0).hypot(y - centre.1) / size;
                let disc = (8.0 * (0.15 - from_centre)).clamp(0.0, 1.0);
                out.push(ground + 1.5 * disc);
            }
        }
    }
}

/// What the kernel says; nothing where it says nothing.
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? / 1024.0)
}
