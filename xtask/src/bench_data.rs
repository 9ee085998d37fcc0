//! `cargo xtask bench data`: how much normal running it takes: the faults of the simulated line found by models of 1 to
//! 24 hours.
//!
//! A model's score is the mean over all faults of the share of the time that a fault was there in which it was known:
//! 1 for a fault found at once, 0 for one that was not found. Models differ in their data alone: same seed, same epochs,
//! and each one's runs are among those of the next. Seeds of the faults are the command's; training runs have seeds
//! above a million.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::bench_faults::{FAULT_S, FAULTS, advisories};
use crate::floors::Floors;
use crate::outcome::{Doing, Outcome, step};
use crate::setup;
use crate::simulated_run::{in_parallel, lines_with};
use crate::workspace::Workspace;

/// Minutes of a run of training.
const RUN_MINUTES: f64 = 30.0;
/// After so many hours, this share of the score of the longest training is to be reached.
const EARLY_HOURS: f64 = 2.0;
const EARLY_SHARE_MIN: f64 = 0.9;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Hours of training data, ascending
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,24")]
    hours: Vec<f64>,
    /// How many seeds of each fault
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds of normal running for each seed
    #[arg(long, default_value_t = 1_800)]
    normal_seconds: u64,
    /// The most epochs of training
    #[arg(long, default_value_t = 40)]
    epochs: usize,
    /// Exit with 1 where a floor is missed
    #[arg(long)]
    check: bool,
}

/// What a model of some hours finds.
struct Found {
    hours: f64,
    faults: usize,
    average_delay_s: f64,
    false_advisories: usize,
    score: f64,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    if !arguments.hours.is_sorted() || arguments.hours.iter().any(|hours| *hours < RUN_MINUTES / 60.0) {
        return Err(format!("--hours ascend, from {} on", RUN_MINUTES / 60.0));
    }
    setup::for_building(workspace)?;
    workspace.build_programs()?;
    let found = arguments
        .hours
        .iter()
        .map(|&hours| {
            let models = train(workspace, arguments, hours)?;
            measure(workspace, arguments, hours, &models)
        })
        .collect::<Outcome<Vec<_>>>()?;
    let count = FAULTS.len() * arguments.seeds as usize;
    println!("| normal running | faults found | average delay | advisories without a fault | score |");
    println!("| --- | --- | --- | --- | --- |");
    for Found { hours, faults, average_delay_s, false_advisories, score } in &found {
        println!("| {hours} h | {faults} of {count} | {average_delay_s:.0} s | {false_advisories} | {score:.3} |");
    }
    let full = found.last().map_or(f64::NAN, |found| found.score);
    let mut floors = Floors::default();
    let mut figures = vec![format!("runs={count}")];
    for Found { hours, faults, score, .. } in &found {
        figures.push(format!("found_{hours}h={faults} score_{hours}h={score:.3}"));
        if *hours == EARLY_HOURS {
            figures.push(format!("share_of_full_{hours}h={:.3}", score / full));
            floors.at_least(&format!("share_of_full_{hours}h"), score / full, EARLY_SHARE_MIN);
        }
    }
    println!("data {}", figures.join(" "));
    floors.conclude(arguments.check)
}

/// Trains the simulated line's model on so many hours; gives the folder that holds it.
fn train(workspace: &Workspace, arguments: &Arguments, hours: f64) -> Outcome<PathBuf> {
    let folder = workspace.target.join(format!("bench/data/{hours}h"));
    std::fs::create_dir_all(&folder).could_not(format_args!("make {}", folder.display()))?;
    let runs = (hours * 60.0 / RUN_MINUTES).round();
    step(format_args!("train on {hours} h: {runs} runs of {RUN_MINUTES} min"));
    let mut engine = Command::new(workspace.program("sightglass"));
    engine.current_dir(&workspace.root).arg("train-demo").arg("--out").arg(folder.join("demo-line.safetensors"));
    engine.args(["--runs", &runs.to_string(), "--minutes", &RUN_MINUTES.to_string()]);
    engine.args(["--epochs", &arguments.epochs.to_string()]);
    // Its card is in the folder.
    crate::process::output(&mut engine)?;
    Ok(folder)
}

/// Runs every fault, and normal running, under the model in `models`.
fn measure(workspace: &Workspace, arguments: &Arguments, hours: f64, models: &std::path::Path) -> Outcome<Found> {
    let seeds = arguments.seed..arguments.seed + arguments.seeds;
    let normal = arguments.normal_seconds.to_string();
    let faults = FAULTS.iter().copied().chain(["none"]);
    let runs: Vec<(&str, u64)> = faults.flat_map(|fault| seeds.clone().map(move |seed| (fault, seed))).collect();
    let summaries = in_parallel(&runs, |&(fault, seed)| {
        let seconds = if fault == "none" { normal.as_str() } else { "180" };
        let options = ["--fault", fault, "--seconds", seconds];
        let mut printed = lines_with(workspace, Some(models), seed, &options)?;
        printed.pop().ok_or_else(|| "the engine printed nothing".to_owned())
    })?;
    let (mut found, mut late_s, mut false_advisories) = (0, 0.0, 0);
    let mut score = 0.0;
    for ((fault, _), summary) in runs.iter().zip(&summaries) {
        let onset = summary["onset"].as_str().unwrap_or_default();
        let early = |advisory: &&Value| *fault == "none" || advisory["opened"].as_str().unwrap_or_default() < onset;
        false_advisories += advisories(summary).iter().filter(early).count();
        if *fault == "none" {
            continue;
        }
        let delay = summary["delay_s"].as_f64().filter(|_| summary["flagged"] == true);
        found += usize::from(delay.is_some());
        let delay = delay.map_or(FAULT_S, |delay| delay.min(FAULT_S));
        late_s += delay;
        score += 1.0 - delay / FAULT_S;
    }
    let count = FAULTS.len() as f64 * arguments.seeds as f64;
    Ok(Found { hours, faults: found, average_delay_s: late_s / count, false_advisories, score: score / count })
}
