//! `cargo xtask bench advice`: trains a model of the simulated line, measures how often its forecasts to any horizon hold,
//! and has it bring disturbed lines back, beside doing nothing and the line's own controllers.
//!
//! The last line is `advice key=value …`. With `--check` it ends with 1 where a floor is missed, naming it. Training,
//! coverage and starts have seeds far from each other; nothing is chosen on the measured ones.

mod advice;
mod coverage;
#[allow(dead_code, reason = "each bench uses a part of it")]
#[path = "../simulated_line/mod.rs"]
mod line;

use std::process::ExitCode;

use sightglass_world_model::{PlantModel, Size, TrainOptions, train};

use advice::{Start, Upset, Who};

/// Floors, as `--check` has them.
const COVERAGE_PERCENT: (f64, f64) = (76.0, 84.0);
const SUCCESS_PERCENT_MIN: f64 = 90.0;
const ADVICE_S_MAX: f64 = 1.0;

const TRAINING_RUNS: u64 = 10;
const TRAINING_MINUTES: f64 = 30.0;
/// Seeds of the starts, far from all others.
const START_SEEDS: u64 = 8_000_000;
const STARTS: usize = 50;

struct Arguments {
    seed: u64,
    starts: usize,
    check: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut out = Arguments { seed: 1, starts: STARTS, check: false };
    let mut given = std::env::args().skip(1);
    while let Some(key) = given.next() {
        let mut number = || {
            let text = given.next().ok_or(format!("{key} needs a number"))?;
            text.parse::<u64>().map_err(|e| format!("{key} {text}: {e}"))
        };
        match key.as_str() {
            "--seed" => out.seed = number()?,
            "--starts" => out.starts = number()?.clamp(1, 10_000) as usize,
            "--check" => out.check = true,
            other => return Err(format!("'{other}' is unknown; there are --seed N, --starts N, --check")),
        }
    }
    Ok(out)
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| run(&arguments).map(|missed| (missed, arguments.check))) {
        Ok((missed, check)) => {
            missed.iter().for_each(|floor| eprintln!("missed: {floor}"));
            if check && !missed.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}

/// Prints the figures; gives the floors that they miss.
fn run(arguments: &Arguments) -> Result<Vec<String>, String> {
    let spec = line::spec();
    println!("training on {TRAINING_RUNS} simulated runs of {TRAINING_MINUTES} min, tags only");
    let runs = line::training(arguments.seed, TRAINING_RUNS, TRAINING_MINUTES);
    let options = TrainOptions { seed: arguments.seed, epochs_max: 1, size: Size::least(), ..TrainOptions::default() };
    let model = train(&spec, &runs, &options, &mut |_| true).map_err(|e| e.to_string())?;
    let (mut figures, mut missed) = (Vec::new(), Vec::new());
    bands(&model, arguments.seed, &mut figures, &mut missed)?;
    lines(&model, arguments, &mut figures, &mut missed)?;
    println!("advice {}", figures.join(" "));
    Ok(missed)
}

fn bands(model: &PlantModel, seed: u64, figures: &mut Vec<String>, missed: &mut Vec<String>) -> Result<(), String> {
    let measured = coverage::measure(model, &line::spec(), seed)?;
    println!(
        "| share of values in the 80 % band, ticks ahead | nothing known | what people did given |\n| --- | --- | --- |"
    );
    for (g, ahead) in coverage::AHEAD.iter().enumerate() {
        let (held, given) = (measured.held[g].percent(), measured.given[g].percent());
        println!("| {ahead} | {held:.1} % | {given:.1} % |");
        figures.push(format!("coverage_{ahead}_percent={held:.1}"));
        figures.push(format!("coverage_given_{ahead}_percent={given:.1}"));
        for (what, percent) in [("", held), ("given ", given)] {
            if percent < COVERAGE_PERCENT.0 || percent > COVERAGE_PERCENT.1 {
                missed.push(format!("{what}coverage at {ahead} ticks is {percent:.1} %, not 76 to 84 %"));
            }
        }
    }
    println!(
        "times to limits within their interval: {:.1} %; what people really did, refused as not seen: {:.1} %",
        measured.passage.percent(),
        measured.refused.percent()
    );
    figures.push(format!("passage_percent={:.1}", measured.passage.percent()));
    figures.push(format!("refused_percent={:.1}", measured.refused.percent()));
    Ok(())
}

fn lines(
    model: &PlantModel,
    arguments: &Arguments,
    figures: &mut Vec<String>,
    missed: &mut Vec<String>,
) -> Result<(), String> {
    const WHO: [(Who, &str); 3] =
        [(Who::Nobody, "nothing"), (Who::Controllers, "controllers"), (Who::Advice, "success")];
    let mut back = vec![[0usize; 3]; Upset::ALL.len()];
    let mut seconds: Vec<f64> = Vec::new();
    for n in 0..arguments.starts {
        let start = Start::new(model, START_SEEDS + arguments.seed * 1_000, n);
        for (w, (who, _)) in WHO.into_iter().enumerate() {
            let (is_back, _, took) = start.bring_back(who)?;
            back[n % Upset::ALL.len()][w] += usize::from(is_back);
            seconds.extend(took.iter().map(std::time::Duration::as_secs_f64));
        }
    }
    println!("| brought back | starts | doing nothing | own controllers | advice |\n| --- | --- | --- | --- | --- |");
    for (u, upset) in Upset::ALL.into_iter().enumerate() {
        let starts = (0..arguments.starts).filter(|n| n % Upset::ALL.len() == u).count();
        println!("| {} | {starts} | {} | {} | {} |", upset.word(), back[u][0], back[u][1], back[u][2]);
    }
    let share = |w: usize| 100.0 * back.iter().map(|b| b[w]).sum::<usize>() as f64 / arguments.starts as f64;
    seconds.sort_by(f64::total_cmp);
    let quantile = |q: f64| seconds[((seconds.len() - 1) as f64 * q).round() as usize];
    let (p50, most) = (quantile(0.5), quantile(1.0));
    for (w, (_, name)) in WHO.iter().enumerate() {
        figures.push(format!("{name}_percent={:.0}", share(w)));
    }
    figures.push(format!("advice_s_p50={p50:.3} advice_s_max={most:.3} starts={}", arguments.starts));
    if share(2) < SUCCESS_PERCENT_MIN {
        missed.push(format!("advice brings {:.0} % back, not {SUCCESS_PERCENT_MIN:.0} %", share(2)));
    }
    if most > ADVICE_S_MAX {
        missed.push(format!("advice takes up to {most:.2} s, not {ADVICE_S_MAX} s"));
    }
    Ok(())
}
