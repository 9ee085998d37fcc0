//! Runs of the engine on the simulated line, in simulated time.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::outcome::{Doing, Outcome, step};
use crate::workspace::Workspace;

/// The results of all runs in their order, as many at a time as there are cores.
pub(crate) fn in_parallel<T: Sync, R: Send + Sync>(
    runs: &[T],
    work: impl Fn(&T) -> Outcome<R> + Sync,
) -> Outcome<Vec<R>> {
    let workers = std::thread::available_parallelism().could_not("count the cores")?.get().min(runs.len());
    let next = AtomicUsize::new(0);
    let results: Vec<OnceLock<Outcome<R>>> = runs.iter().map(|_| OnceLock::new()).collect();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((run, result)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    runs.get(at).zip(results.get(at))
                } {
                    result.get_or_init(|| work(run));
                }
            });
        }
    });
    results
        .into_iter()
        .map(|result| result.into_inner().unwrap_or_else(|| Err("a run was left out".to_owned())))
        .collect()
}

/// Runs the engine's demonstration with `--json` and the shipped model; what it prints, its summary last.
pub(crate) fn lines(workspace: &Workspace, seed: u64, options: &[&str]) -> Outcome<Vec<Value>> {
    lines_with(workspace, None, seed, options)
}

/// The same with the model in the folder `models`.
pub(crate) fn lines_with(
    workspace: &Workspace,
    models: Option<&Path>,
    seed: u64,
    options: &[&str],
) -> Outcome<Vec<Value>> {
    step(format_args!("seed {seed}: {}", options.join(" ")));
    let mut engine = Command::new(workspace.program("sightglass"));
    engine
        .current_dir(&workspace.root)
        .args(["demo", "--headless", "--json", "--seed", &seed.to_string()])
        .args(options);
    if let Some(models) = models {
        engine.env("SIGHTGLASS_MODELS", models);
    }
    let text = crate::process::output(&mut engine)?;
    text.lines().map(|line| serde_json::from_str(line).could_not("read what the engine prints")).collect()
}
