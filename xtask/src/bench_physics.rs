//! `cargo xtask bench physics`: whether what cannot happen surprises more than what can.
//!
//! Pairs of clips of the simulated line, the same but for one event that breaks physics and that only the camera sees
//! (violation of expectation, as in Riochet et al., arXiv 1803.07616). A clip's surprise is the sum of its ticks' scores
//! from that moment on; a pair is told apart where the impossible clip's is the larger. Seeds are the command's; none of
//! them trained or calibrated the shipped model.

use serde_json::Value;

use crate::outcome::Outcome;
use crate::setup;
use crate::simulated_run::{in_parallel, lines};
use crate::workspace::Workspace;

/// As `sightglass demo --violation` names them.
const VIOLATIONS: [&str; 6] =
    ["vanishes", "jumps", "passes-closed-gate", "changes-colour", "liquid-rises", "two-in-one-place"];
/// When it happens, and how long a clip is, in seconds. The line must be running empty for a bottle to pass the shut gate:
/// a change-over begins at 60 s.
const AT_S: u32 = 61;
const CLIP_S: &str = "75";
const CLIP_GATE_S: &str = "84";
/// The shares of pairs that are to be told apart: over all, and of each kind.
const SHARE_MIN: f64 = 0.95;
const SHARE_EACH_MIN: f64 = 0.85;
/// What is summed: the whole score, and its parts.
const PARTS: [&str; 5] = ["score", "latent", "appearance", "residual", "drift"];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many pairs of each kind
    #[arg(long, default_value_t = 50)]
    pairs: u64,
    /// The seed of the first pair
    #[arg(long, default_value_t = 2_001)]
    seed: u64,
    /// Exit with 1 where too few pairs are told apart
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    setup::for_building(workspace)?;
    workspace.build_programs()?;
    let seeds = arguments.seed..arguments.seed + arguments.pairs;
    let clips: Vec<(usize, u64, bool)> = (0..VIOLATIONS.len())
        .flat_map(|kind| seeds.clone().flat_map(move |seed| [false, true].map(|broken| (kind, seed, broken))))
        .collect();
    let surprises = in_parallel(&clips, |&(kind, seed, broken)| clip(workspace, VIOLATIONS[kind], seed, broken))?;

    println!("| what cannot happen | told apart | by the latent prediction alone | appearance | residual | drift |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let pairs = arguments.pairs as f64;
    let (mut total, mut worst) = (0.0, f64::INFINITY);
    for (violation, of_kind) in VIOLATIONS.iter().zip(surprises.chunks(2 * arguments.pairs as usize)) {
        let shares: Vec<f64> = (0..PARTS.len())
            .map(|part| of_kind.chunks(2).filter(|pair| pair[1][part] > pair[0][part]).count() as f64 / pairs)
            .collect();
        let cells: Vec<String> = shares.iter().map(|share| format!("{:.0} %", 100.0 * share)).collect();
        println!("| {violation} | {} |", cells.join(" | "));
        total += shares[0] / VIOLATIONS.len() as f64;
        worst = worst.min(shares[0]);
    }
    println!(
        "physics pairs_each={} told_apart_percent={:.1} worst_kind_percent={:.1}",
        arguments.pairs,
        100.0 * total,
        100.0 * worst
    );
    if arguments.check && (total < SHARE_MIN || worst < SHARE_EACH_MIN) {
        return Err(format!(
            "{:.1} % of the pairs are told apart and {:.1} % of the worst kind; wanted are 95 % and 85 %",
            100.0 * total,
            100.0 * worst
        ));
    }
    Ok(())
}

/// Sums of the scores of a clip, as [`PARTS`] names them.
fn clip(workspace: &Workspace, violation: &str, seed: u64, broken: bool) -> Outcome<[f64; 5]> {
    let gate = violation == "passes-closed-gate";
    let onset = AT_S.to_string();
    let mut options = vec!["--fault", "none", "--ticks", "--onset", &onset];
    options.extend(if gate {
        ["--change", "change-over", "--seconds", CLIP_GATE_S].as_slice()
    } else {
        &["--seconds", CLIP_S]
    });
    if broken {
        options.extend(["--violation", violation]);
    }
    let printed = lines(workspace, seed, &options)?;
    let ticks: Vec<&Value> = printed.iter().filter(|line| line["event"] == "tick").skip(AT_S as usize).collect();
    if ticks.is_empty() {
        return Err(format!("seed {seed}: no tick was judged after {AT_S} s"));
    }
    let value =
        |tick: &Value, part: &str| if part == "score" { tick[part].as_f64() } else { tick["parts"][part].as_f64() };
    Ok(PARTS.map(|part| ticks.iter().filter_map(|tick| value(tick, part)).sum()))
}
