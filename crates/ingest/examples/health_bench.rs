//! Whether normal running raises a state of health, and which faults of the simulated line do: `cargo xtask bench health`.
//!
//! Runs the simulated line through the pipeline in simulated time: normal running with an operator who works the line,
//! then each fault and each change of the simulator. Prints every state other than good, and as its last line what was
//! raised. `--check` exits 1 where a state was raised that is none: any in normal running or by a change, or one of a tag
//! or camera that is not broken by a fault.

use std::{process::ExitCode, time::Instant};

use sightglass_ingest::{IngestEvent, LinePipeline, PipelineOptions};
use sightglass_plant_sim::{CAMERA_NAME, Change, ChangeEvent, Fault, FaultEvent, Scenario, SimOptions, Simulation};
use sightglass_protocol::{Health, HealthState, LineId, UtcNanos, time::SECOND};

#[path = "../tests/ingest/simulated.rs"]
mod simulated;

use simulated::{SimFeed, plant};

/// 2026-11-24T08:00:00Z.
const START: UtcNanos = UtcNanos(1_795_507_200 * SECOND);
const FAULT_AT_S: f64 = 240.0;
const FAULT_S: f64 = 120.0;

struct Arguments {
    hours: f64,
    seed: u64,
    seeds: u64,
    camera: bool,
    faults: bool,
    check: bool,
}

impl Arguments {
    fn read() -> Result<Self, String> {
        let mut arguments = Self { hours: 24.0, seed: 1, seeds: 1, camera: true, faults: true, check: false };
        let mut given = std::env::args().skip(1);
        while let Some(name) = given.next() {
            let mut number = || -> Result<f64, String> {
                let text = given.next().ok_or(format!("{name} wants a number"))?;
                text.parse().map_err(|_| format!("{name} wants a number, not '{text}'"))
            };
            match name.as_str() {
                "--hours" => arguments.hours = number()?,
                "--seed" => arguments.seed = number()? as u64,
                "--seeds" => arguments.seeds = number()? as u64,
                "--no-camera" => arguments.camera = false,
                "--no-faults" => arguments.faults = false,
                "--check" => arguments.check = true,
                _ => {
                    return Err(format!(
                        "'{name}' is unknown; --hours, --seed, --seeds, --no-camera, --no-faults, --check"
                    ));
                }
            }
        }
        Ok(arguments)
    }
}

/// The states that a run raises, and how many ticks it had.
fn run(arguments: &Arguments, seed: u64, scenario: Scenario) -> Result<(Vec<Health>, u64), String> {
    let options = SimOptions { seed, start: START, scenario };
    let simulation = if arguments.camera { Simulation::new(options) } else { Simulation::without_camera(options) };
    let plant = plant(arguments.camera);
    let line = LinePipeline::start(&plant, LineId(0), PipelineOptions::default(), Some(Box::new(SimFeed(simulation))))
        .map_err(|e| e.to_string())?;
    let (mut raised, mut ticks) = (Vec::new(), 0);
    for event in line.events() {
        match event {
            IngestEvent::Health(health) => {
                let seconds = health.since.since(START) as f64 / SECOND as f64;
                if health.state != HealthState::Good || health.subject.is_none() {
                    println!("  {seconds:9.1} s  {}: {:?}: {}", health.source, health.state, health.reason);
                }
                if health.state != HealthState::Good {
                    raised.push(health);
                }
            }
            IngestEvent::Tick(_) => ticks += 1,
            IngestEvent::EndOfStream => break,
            _ => {}
        }
    }
    Ok((raised, ticks))
}

/// What a fault of the simulator breaks itself, so that a state of it is right.
fn broken_by(fault: Fault) -> Option<&'static str> {
    match fault {
        Fault::FrozenSensor => Some("pump_pressure"),
        Fault::DirtyLens | Fault::FrozenCamera => Some(CAMERA_NAME),
        _ => None,
    }
}

fn bench() -> Result<bool, String> {
    let arguments = Arguments::read()?;
    let begun = Instant::now();
    let seeds = || arguments.seed..arguments.seed + arguments.seeds;
    let (mut false_states, mut wanted, mut found, mut normal_ticks) = (0, 0, 0, 0);
    for seed in seeds() {
        println!("normal running, seed {seed}, {} h", arguments.hours);
        let duration_s = Some(arguments.hours * 3600.0);
        let (raised, ticks) = run(&arguments, seed, Scenario { operator: true, duration_s, ..Default::default() })?;
        false_states += raised.len();
        normal_ticks += ticks;
    }
    let normal_s = begun.elapsed().as_secs_f64();
    let duration_s = Some(FAULT_AT_S + FAULT_S);
    for seed in seeds().filter(|_| arguments.faults) {
        for change in Change::ALL {
            println!("{}, seed {seed}", change.name());
            let changes = vec![ChangeEvent { change, at_s: FAULT_AT_S }];
            let (raised, _) = run(&arguments, seed, Scenario { changes, duration_s, ..Default::default() })?;
            false_states += raised.len();
        }
        for fault in Fault::ALL {
            println!("{fault}, seed {seed}");
            let event = FaultEvent { fault, onset_s: FAULT_AT_S, severity: 1.0 };
            let (raised, _) = run(&arguments, seed, Scenario { fault: Some(event), duration_s, ..Default::default() })?;
            let onset = START + (FAULT_AT_S as i64 - 1) * SECOND;
            let is_right = |health: &&Health| broken_by(fault) == Some(health.source.as_str()) && health.since >= onset;
            let right = raised.iter().filter(is_right).count();
            false_states += raised.len() - right;
            // Dirt that leaves most of the details is the model's to find.
            let is_visible = arguments.camera && fault == Fault::FrozenCamera || fault == Fault::FrozenSensor;
            if is_visible {
                wanted += 1;
                found += usize::from(right > 0);
            }
        }
    }
    println!(
        "health normal_h={:.1} normal_ticks={normal_ticks} false_states={false_states} device_faults={wanted} \
         found={found} simulated_s_per_s={:.0}",
        arguments.hours * arguments.seeds as f64,
        arguments.hours * arguments.seeds as f64 * 3600.0 / normal_s
    );
    Ok(!arguments.check || (false_states == 0 && found == wanted))
}

fn main() -> ExitCode {
    match bench() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("a state was raised that is none, or a broken sensor or camera was not found");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
