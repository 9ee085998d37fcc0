//! The classics on the runs of `cargo xtask bench faults`: which faults of the simulated line they find, and how soon.
//!
//! Each learns from the same simulated hours as the shipped model, from all tags but setpoints and modes, which it would take for
//! faults. It is given what no detector has in a plant: of all limits, and of all numbers of ticks that must lie above the limit
//! on end, those that find the most, the soonest, while the runs without a fault and the time before the onsets raise no more
//! alarms than `--false-alarms`. A fault that is not found counts in the average delay with the whole time it was there.
//! Prints one JSON object a classic.

#[allow(dead_code, reason = "each bench uses a part of it")]
#[path = "../simulated_line/mod.rs"]
mod line;

use std::process::ExitCode;

use serde_json::json;
use sightglass_plant_sim::{Change, ChangeEvent, Fault, FaultEvent, Scenario};
use sightglass_protocol::Tick;
use sightglass_world_model::{Baseline, Classic};

/// As the shipped model's: seed, runs, minutes.
const TRAINING: (u64, u64, f64) = (1, 10, 30.0);
/// The rate that limits are first set for; they are moved from there.
const RATE: f64 = 0.01;
/// Ticks above the limit on end that make an alarm.
const LASTING: [usize; 4] = [1, 2, 3, 5];
/// A new model's first ticks, as the product's settling, are not judged.
const SETTLE_TICKS: usize = 24;
/// An alarm is a new one after so many ticks without.
const APART_TICKS: usize = 30;
const ONSET_S: f64 = 60.0;
const FAULT_RUN_S: f64 = 180.0;
const CHANGE_RUN_S: f64 = 240.0;

struct Arguments {
    seeds: u64,
    seed: u64,
    normal_s: f64,
    false_alarms: usize,
}

fn arguments() -> Result<Arguments, String> {
    let mut out = Arguments { seeds: 10, seed: 1, normal_s: 720.0, false_alarms: 0 };
    let mut given = std::env::args().skip(1);
    while let Some(key) = given.next() {
        let text = given.next().ok_or(format!("{key} needs a number"))?;
        let number: f64 = text.parse().map_err(|e| format!("{key} {text}: {e}"))?;
        match key.as_str() {
            "--seeds" => out.seeds = number as u64,
            "--seed" => out.seed = number as u64,
            "--normal-seconds" => out.normal_s = number,
            "--false-alarms" => out.false_alarms = number as usize,
            other => {
                return Err(format!(
                    "'{other}' is unknown; there are --seeds, --seed, --normal-seconds, --false-alarms"
                ));
            }
        }
    }
    Ok(out)
}

/// A run's rows, and what went wrong in it.
struct Run {
    fault: Option<Fault>,
    rows: Vec<Vec<f64>>,
}

/// What a classic judges: everything that is observed.
fn rows(ticks: &[Tick]) -> Vec<Vec<f64>> {
    let spec = line::spec();
    let observed: Vec<usize> = (0..spec.tags.len()).filter(|&i| spec.tags[i].role.is_predicted()).collect();
    ticks.iter().map(|tick| observed.iter().map(|&i| tick.tags[i].value).collect()).collect()
}

fn run_of(seed: u64, fault: Option<Fault>, change: Option<Change>, seconds: f64) -> Run {
    let scenario = Scenario {
        fault: fault.map(|fault| FaultEvent { fault, onset_s: ONSET_S, severity: 1.0 }),
        changes: change.map(|change| ChangeEvent { change, at_s: ONSET_S }).into_iter().collect(),
        duration_s: Some(seconds),
        ..Scenario::default()
    };
    let mut line = line::Line::new(seed, scenario);
    let ticks: Vec<Tick> = std::iter::from_fn(|| line.tick()).collect();
    Run { fault, rows: rows(&ticks) }
}

/// Ticks at which an alarm begins under a limit.
fn alarms(scores: &[f64], limit: f64, lasting: usize) -> Vec<usize> {
    let (mut above, mut quiet, mut out) = (0, APART_TICKS, Vec::new());
    for (t, score) in scores.iter().enumerate().skip(SETTLE_TICKS) {
        above = if *score > limit { above + 1 } else { 0 };
        if above < lasting {
            quiet += 1;
            continue;
        }
        if quiet >= APART_TICKS {
            out.push(t);
        }
        quiet = 0;
    }
    out
}

/// What a limit gives: false alarms, and by fault the delays in seconds.
struct Outcome {
    false_alarms: usize,
    delays: Vec<(Fault, Option<f64>)>,
}

fn outcome(runs: &[Run], scores: &[Vec<f64>], limit: f64, lasting: usize) -> Outcome {
    let mut out = Outcome { false_alarms: 0, delays: Vec::new() };
    for (run, scores) in runs.iter().zip(scores) {
        let alarms = alarms(scores, limit, lasting);
        let onset = ONSET_S as usize;
        match run.fault {
            None => out.false_alarms += alarms.len(),
            Some(fault) => {
                out.false_alarms += alarms.iter().filter(|t| **t < onset).count();
                // An alarm that began before and lasts says nothing of the fault.
                out.delays.push((fault, alarms.iter().find(|t| **t >= onset).map(|t| (t - onset) as f64)));
            }
        }
    }
    out
}

impl Outcome {
    fn found(&self) -> usize {
        self.delays.iter().filter(|(_, delay)| delay.is_some()).count()
    }

    fn average_delay_s(&self) -> f64 {
        let missed = FAULT_RUN_S - ONSET_S;
        self.delays.iter().map(|(_, delay)| delay.unwrap_or(missed)).sum::<f64>() / self.delays.len().max(1) as f64
    }
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let training: Vec<Vec<Vec<f64>>> =
        line::training(TRAINING.0, TRAINING.1, TRAINING.2).iter().map(|ticks| rows(ticks)).collect();
    let seeds = arguments.seed..arguments.seed + arguments.seeds;
    let of_faults = Fault::ALL.into_iter().flat_map(|fault| seeds.clone().map(move |seed| (seed, Some(fault), None)));
    let of_changes =
        Change::ALL.into_iter().flat_map(|change| seeds.clone().map(move |seed| (seed, None, Some(change))));
    let mut runs: Vec<Run> = of_faults
        .chain(of_changes)
        .map(|(seed, fault, change)| {
            run_of(seed, fault, change, if fault.is_some() { FAULT_RUN_S } else { CHANGE_RUN_S })
        })
        .collect();
    runs.extend(seeds.map(|seed| run_of(seed, None, None, arguments.normal_s)));

    for classic in Classic::ALL {
        let baseline = match Baseline::fit(classic, &training, RATE) {
            Ok(baseline) => baseline,
            Err(problem) => {
                eprintln!("{}: {problem}", classic.name());
                return ExitCode::FAILURE;
            }
        };
        let scores: Vec<Vec<f64>> = runs.iter().map(|run| baseline.scores(&run.rows)).collect();
        // Half a percent apart, from where everything is flagged to where nothing is.
        let limits = (0..1_400).map(|i| 0.2 * 1.005f64.powi(i));
        let tried = limits.flat_map(|limit| LASTING.map(|lasting| (limit, lasting)));
        let allowed = tried
            .map(|(limit, lasting)| (limit, lasting, outcome(&runs, &scores, limit, lasting)))
            .filter(|(_, _, outcome)| outcome.false_alarms <= arguments.false_alarms);
        let best = allowed.min_by(|a, b| {
            let of = |o: &Outcome| (o.delays.len() - o.found(), o.average_delay_s());
            let ((a, a_delay), (b, b_delay)) = (of(&a.2), of(&b.2));
            a.cmp(&b).then(a_delay.total_cmp(&b_delay))
        });
        let Some((limit, lasting, best)) = best else {
            eprintln!("{}: no limit raises so few false alarms", classic.name());
            return ExitCode::FAILURE;
        };
        let by_fault: Vec<_> = Fault::ALL
            .into_iter()
            .map(|fault| {
                let mut delays: Vec<f64> =
                    best.delays.iter().filter(|(f, _)| *f == fault).filter_map(|(_, delay)| *delay).collect();
                delays.sort_by(f64::total_cmp);
                json!({"fault": fault.name(), "found": delays.len(), "median_delay_s": delays.get(delays.len() / 2)})
            })
            .collect();
        println!(
            "{}",
            json!({
                "classic": classic.name(), "limit": limit, "lasting_ticks": lasting, "false_alarms": best.false_alarms,
                "found": best.found(), "average_delay_s": best.average_delay_s(), "by_fault": by_fault,
            })
        );
    }
    ExitCode::SUCCESS
}
