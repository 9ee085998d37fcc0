//! `cargo xtask bench faults`: which faults of the simulated line are found, after how long, and what is flagged that
//! is none, beside the classics of process monitoring at their best.
//!
//! Everything goes through the engine's own command line in simulated time. The seeds are those of the command; none
//! of them trained or calibrated the shipped model, whose runs have seeds above a million.

use serde_json::Value;

use crate::outcome::{Doing, Outcome};
use crate::setup;
use crate::simulated_run::{self, in_parallel};
use crate::workspace::Workspace;

/// As `sightglass demo --fault` names them.
pub(crate) const FAULTS: [&str; 10] = [
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
/// How long a fault is there to be found, in seconds.
pub(crate) const FAULT_S: f64 = 120.0;
/// What runs without a fault and without a change are called.
const NORMAL: &str = "normal running";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many seeds, from `--seed` on
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Hours of normal running, over all seeds together
    #[arg(long, default_value_t = 24.0)]
    normal_hours: f64,
    /// Exit with 1 unless every fault is found with a right cause, nothing else is flagged, and no classic does as well
    #[arg(long)]
    check: bool,
}

/// What became of one fault over all seeds.
#[derive(Default)]
struct Row {
    flagged: usize,
    named: usize,
    early: usize,
    delays_s: Vec<f64>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    setup::for_building(workspace)?;
    workspace.build_programs()?;
    let seconds_each = format!("{:.0}", arguments.normal_hours * 3_600.0 / arguments.seeds as f64);
    let labels = FAULTS.iter().chain(&CHANGES).copied().chain([NORMAL]);
    let seeds = arguments.seed..arguments.seed + arguments.seeds;
    let runs: Vec<(&str, u64)> = labels.flat_map(|label| seeds.clone().map(move |seed| (label, seed))).collect();
    let summaries = in_parallel(&runs, |(label, seed)| match *label {
        NORMAL => demo(workspace, *seed, &["--fault", "none", "--seconds", &seconds_each]),
        change if CHANGES.contains(&change) => {
            demo(workspace, *seed, &["--fault", "none", "--change", change, "--seconds", "240"])
        }
        fault => demo(workspace, *seed, &["--fault", fault, "--seconds", "180"]),
    })?;
    let of = |wanted: &str| -> Vec<&Value> {
        runs.iter().zip(&summaries).filter(|((label, _), _)| *label == wanted).map(|(_, summary)| summary).collect()
    };

    let rows: Vec<(&str, Row)> = FAULTS.iter().map(|fault| (*fault, Row::of(&of(fault)))).collect();
    println!("| fault | found | right cause in the first three | median delay | longest delay | flagged before |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let count = arguments.seeds;
    for (fault, row) in &rows {
        let seconds = |delay: Option<&f64>| delay.map_or("-".to_owned(), |delay| format!("{delay:.0} s"));
        println!(
            "| {fault} | {} of {count} | {} of {count} | {} | {} | {} |",
            row.flagged,
            row.named,
            seconds(row.delays_s.get(row.delays_s.len() / 2)),
            seconds(row.delays_s.last()),
            row.early
        );
    }
    println!("\n| what is no fault | simulated | advisories |\n| --- | --- | --- |");
    let mut false_alarms = 0;
    for label in CHANGES.into_iter().chain([NORMAL]) {
        let raised: usize = of(label).iter().map(|summary| advisories(summary).len()).sum();
        println!("| {label} | {count} x {} s | {raised} |", if label == NORMAL { &seconds_each } else { "240" });
        false_alarms += raised;
    }
    let mut all_delays: Vec<f64> = rows.iter().flat_map(|(_, row)| row.delays_s.iter().copied()).collect();
    all_delays.sort_by(f64::total_cmp);
    let total = |pick: fn(&Row) -> usize| rows.iter().map(|(_, row)| pick(row)).sum::<usize>();
    let (found, named, early) = (total(|row| row.flagged), total(|row| row.named), total(|row| row.early));
    let wanted = FAULTS.len() * arguments.seeds as usize;
    // A fault that is not found counts with the whole time it was there.
    let missed_s = (wanted - all_delays.len()) as f64 * FAULT_S;
    let average_s = (all_delays.iter().sum::<f64>() + missed_s) / wanted as f64;
    let classics = classics(workspace, arguments, &seconds_each, false_alarms + early)?;
    println!("\n| found of {count}, median delay | Sightglass | {} |", names(&classics).join(" | "));
    println!("| --- | --- |{}", " --- |".repeat(classics.len()));
    for (at, (fault, row)) in rows.iter().enumerate() {
        let cell = |found: u64, delay: Option<f64>| match delay {
            Some(delay) => format!("{found}, {delay:.0} s"),
            None => found.to_string(),
        };
        let own = cell(row.flagged as u64, row.delays_s.get(row.delays_s.len() / 2).copied());
        let of = |classic: &Value| {
            let fault = &classic["by_fault"][at];
            cell(fault["found"].as_u64().unwrap_or(0), fault["median_delay_s"].as_f64())
        };
        println!("| {fault} | {own} | {} |", classics.iter().map(of).collect::<Vec<_>>().join(" | "));
    }
    let of_classic = |key: &str| -> Vec<f64> { classics.iter().filter_map(|classic| classic[key].as_f64()).collect() };
    let (classic_found, classic_s) = (of_classic("found"), of_classic("average_delay_s"));
    let cells = classic_found.iter().zip(&classic_s).map(|(found, delay)| format!("{found}, {delay:.0} s"));
    println!("| all, average delay | {found}, {average_s:.0} s | {} |", cells.collect::<Vec<_>>().join(" | "));
    let best_found = classic_found.iter().copied().fold(0.0, f64::max);
    let best_s = classic_s.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "faults runs={wanted} found={found} right_cause={named} before_onset={early} median_delay_s={:.0} \
         average_delay_s={average_s:.1} false_advisories={false_alarms} normal_h={} best_classic_found={best_found} \
         best_classic_average_delay_s={best_s:.1}",
        all_delays.get(all_delays.len() / 2).copied().unwrap_or(f64::NAN),
        arguments.normal_hours
    );
    if arguments.check && (found, named, early, false_alarms) != (wanted, wanted, 0, 0) {
        return Err("not every fault was found with a right cause, or something else was flagged".to_owned());
    }
    if arguments.check && (best_found >= found as f64 || best_s <= average_s) {
        return Err(format!("a classic finds {best_found} of {wanted} faults, or one takes {best_s:.1} s on average"));
    }
    Ok(())
}

/// What the classics find on the same runs when they may raise as many false alarms; see the example.
fn classics(
    workspace: &Workspace,
    arguments: &Arguments,
    seconds_each: &str,
    false_alarms: usize,
) -> Outcome<Vec<Value>> {
    let mut cargo = workspace.cargo();
    cargo.args(["run", "-q", "-p", "sightglass-world-model", "--example", "classics_bench", "--"]);
    cargo.args(["--seeds", &arguments.seeds.to_string(), "--seed", &arguments.seed.to_string()]);
    cargo.args(["--normal-seconds", seconds_each, "--false-alarms", &false_alarms.to_string()]);
    let text = crate::process::output(&mut cargo)?;
    text.lines().map(|line| serde_json::from_str(line).could_not("read what the classics found")).collect()
}

fn names(classics: &[Value]) -> Vec<&str> {
    classics.iter().map(|classic| classic["classic"].as_str().unwrap_or("?")).collect()
}

impl Row {
    fn of(summaries: &[&Value]) -> Self {
        let mut row = Self::default();
        for summary in summaries {
            row.flagged += usize::from(summary["flagged"] == true);
            row.named += usize::from(summary["cause_named"] == true);
            row.delays_s.extend(summary["delay_s"].as_f64());
            let onset = summary["onset"].as_str().unwrap_or_default();
            let early = |advisory: &&Value| advisory["opened"].as_str().unwrap_or_default() < onset;
            row.early += advisories(summary).iter().filter(early).count();
        }
        row.delays_s.sort_by(f64::total_cmp);
        row
    }
}

pub(crate) fn advisories(summary: &Value) -> &[Value] {
    summary["advisories"].as_array().map_or(&[], Vec::as_slice)
}

/// A run's summary.
fn demo(workspace: &Workspace, seed: u64, options: &[&str]) -> Outcome<Value> {
    simulated_run::lines(workspace, seed, options)?.pop().ok_or("the engine printed nothing".to_owned())
}
