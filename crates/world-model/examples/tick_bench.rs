//! How long one tick of the nano model takes, from a line's readings to forecast and surprise.
//!
//! `cargo run -p sightglass-world-model --example tick_bench -- CAMERAS TAGS TICKS [SEED]`; `RAYON_NUM_THREADS` sets the
//! threads. It trains a model of a made-up line in a step or two, streams the ticks through it, and prints one JSON object.
//! `cargo xtask bench tick` asks for the sizes that have floors.

mod made_up_line;

use std::time::Instant;

use made_up_line::MadeUpLine;
use serde_json::json;
use sightglass_world_model::{Size, TrainOptions, train};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Enough for windows in every fold.
const TRAINING_TICKS: usize = 1_500;
/// Of the tags.
const SETPOINTS: usize = 8;
/// Ticks before the first that counts: memory is fetched, and the network's context fills.
const WARM_UP_TICKS: usize = 40;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |what: &str| -> Outcome<usize> { Ok(arguments.next().ok_or(format!("give {what}"))?.parse()?) };
    let (cameras, tags, ticks) = (number("cameras")?, number("tags")?, number("ticks")?);
    let seed = arguments.next().map_or(Ok(1), |text| text.parse())?;
    if tags <= SETPOINTS || ticks == 0 {
        return Err(format!("there are more than {SETPOINTS} tags, and at least one tick").into());
    }
    let line = MadeUpLine { measurements: tags - SETPOINTS, setpoints: SETPOINTS, cameras };
    let batch = Size::nano().batch;
    let size = Size { windows_per_epoch: batch, ..Size::nano() };
    let options = TrainOptions { seed, epochs_max: 1, size, ..TrainOptions::default() };
    let model = train(&line.spec(), &[line.ticks(TRAINING_TICKS, seed)], &options, &mut |_| true)?;
    let mut stream = model.stream();
    let mut milliseconds = Vec::with_capacity(ticks);
    for (t, tick) in line.ticks(WARM_UP_TICKS + ticks, seed + 1).iter().enumerate() {
        let begin = Instant::now();
        let output = stream.step(tick);
        let taken = begin.elapsed().as_secs_f64() * 1e3;
        if output.forecast.is_none() || stream.latents().is_none() {
            return Err(format!("tick {t} was judged without the network").into());
        }
        if t >= WARM_UP_TICKS {
            milliseconds.push(taken);
        }
    }
    milliseconds.sort_by(f64::total_cmp);
    let quantile = |q: f64| milliseconds[((ticks - 1) as f64 * q).round() as usize];
    println!(
        "{}",
        json!({
            "parameters": model.parameters(),
            "threads": rayon::current_num_threads(),
            "p50_ms": quantile(0.5),
            "p99_ms": quantile(0.99),
            "max_ms": quantile(1.0),
        })
    );
    Ok(())
}
