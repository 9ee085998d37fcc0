//! `cargo xtask bench faults`: which faults of the simulated line are found, after how long, and what is flagged that
//! is none.
//!
//! Everything goes through the engine's own command line in simulated time. The seeds are those of the command; none
//! of them trained or calibrated the shipped model, whose runs have seeds above a million.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::outcome::{Doing, Outcome, step};
use crate::setup;
use crate::workspace::Workspace;

/// As `sightglass demo --fault` names them.
const FAULTS: [&str; 10] = [
    "pump-cavitation",
    "valve-stiction",
    "tank-leak",
    "level-sensor-drift",
    "frozen-sensor",
    "conveyor-jam",
    "missing-caps",
    "underfill",
    "dirty-lens",
    "frozen-camera",
];
/// As `sightglass demo --change` names them.
const CHANGES: [&str; 4] = ["setpoint-change", "planned-stop", "change-over", "daylight"];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many seeds, from `--seed` on
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Hours of normal running, over all seeds together
    #[arg(long, default_value_t = 2.0)]
    normal_hours: f64,
    /// Exit with 1 unless every fault is found with a right cause and nothing else is flagged
    #[arg(long)]
    check: bool,
}

/// What became of one fault over all seeds.
#[derive(Default)]
struct Row {
    flagged: u64,
    named: u64,
    early: u64,
    delays_s: Vec<f64>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    setup::for_building(workspace)?;
    workspace.build_programs()?;
    let seeds = arguments.seed..arguments.seed + arguments.seeds;
    let mut complete = true;
    let (mut found, mut named, mut early) = (0, 0, 0);
    let mut all_delays = Vec::new();
    println!("| fault | found | right cause in the first three | median delay | longest delay | flagged before |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for fault in FAULTS {
        let mut row = Row::default();
        for seed in seeds.clone() {
            let summary = demo(workspace, seed, &["--fault", fault, "--seconds", "180"])?;
            row.flagged += u64::from(summary["flagged"] == true);
            row.named += u64::from(summary["cause_named"] == true);
            row.delays_s.extend(summary["delay_s"].as_f64());
            let onset = summary["onset"].as_str().unwrap_or_default();
            let advisories = summary["advisories"].as_array().map_or(&[][..], Vec::as_slice);
            row.early += advisories.iter().filter(|a| a["opened"].as_str().unwrap_or_default() < onset).count() as u64;
        }
        row.delays_s.sort_by(f64::total_cmp);
        let seconds = |delay: Option<&f64>| delay.map_or("-".to_owned(), |delay| format!("{delay:.0} s"));
        let median = row.delays_s.get(row.delays_s.len() / 2);
        println!(
            "| {fault} | {} of {} | {} of {} | {} | {} | {} |",
            row.flagged,
            arguments.seeds,
            row.named,
            arguments.seeds,
            seconds(median),
            seconds(row.delays_s.last()),
            row.early
        );
        complete &= row.flagged == arguments.seeds && row.named == arguments.seeds && row.early == 0;
        found += row.flagged;
        named += row.named;
        early += row.early;
        all_delays.extend(row.delays_s);
    }
    println!("\n| what is no fault | simulated | advisories |\n| --- | --- | --- |");
    let mut false_alarms = 0;
    for change in CHANGES {
        let mut raised = 0;
        for seed in seeds.clone() {
            let summary = demo(workspace, seed, &["--fault", "none", "--change", change, "--seconds", "240"])?;
            raised += summary["advisories"].as_array().map_or(0, Vec::len);
        }
        println!("| {change} | {} x 240 s | {raised} |", arguments.seeds);
        false_alarms += raised;
    }
    let seconds_each = format!("{:.0}", arguments.normal_hours * 3_600.0 / arguments.seeds as f64);
    let mut normal = 0;
    for seed in seeds {
        let summary = demo(workspace, seed, &["--fault", "none", "--seconds", &seconds_each])?;
        normal += summary["advisories"].as_array().map_or(0, Vec::len);
    }
    println!("| normal running | {} x {seconds_each} s | {normal} |", arguments.seeds);
    false_alarms += normal;
    complete &= false_alarms == 0;
    all_delays.sort_by(f64::total_cmp);
    println!(
        "faults runs={} found={found} right_cause={named} before_onset={early} median_delay_s={:.0} false_advisories={false_alarms}",
        FAULTS.len() as u64 * arguments.seeds,
        all_delays.get(all_delays.len() / 2).copied().unwrap_or(f64::NAN),
    );
    if arguments.check && !complete {
        return Err("not every fault was found with a right cause, or something else was flagged".to_owned());
    }
    Ok(())
}

/// Runs the engine's demonstration and returns its summary.
fn demo(workspace: &Workspace, seed: u64, options: &[&str]) -> Outcome<Value> {
    step(format_args!("seed {seed}: {}", options.join(" ")));
    let mut engine = Command::new(workspace.program("sightglass"));
    engine
        .current_dir(&workspace.root)
        .args(["demo", "--headless", "--json", "--seed", &seed.to_string()])
        .args(options);
    let output = engine.stdin(Stdio::null()).stderr(Stdio::inherit()).output().could_not("run the engine")?;
    if !output.status.success() {
        return Err(format!("`{}` failed ({})", crate::process::line(&engine), output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().ok_or("the engine printed nothing")?;
    serde_json::from_str(last).could_not("read the engine's summary")
}
