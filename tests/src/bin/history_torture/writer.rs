//! The program that is killed: records and says on standard output what was acknowledged, after it was.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sightglass_history::{Budget, History, HistoryError, Keep};

use crate::plan::{Entry, Plan, STEP_NS};

/// Samples are kept for so long, so that deleting is part of what is interrupted.
const SAMPLES_DAYS: u32 = 1;
const DAY_NS: i64 = 86_400_000_000_000;
/// Steps that merging stays behind: some late samples come before, some after it.
const MERGE_BEHIND_STEPS: u64 = 3;
/// Every so many merges, what is too old is deleted.
const DELETE_EVERY: u64 = 5;
/// How often what was committed is synced, should no commit have done so.
const SYNC_EVERY: Duration = Duration::from_millis(250);
/// Pages that are given back to the file system at once.
const PAGES: u32 = 32;

#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// The data folder
    #[arg(long)]
    pub(crate) folder: PathBuf,
    /// What is written depends on it
    #[arg(long)]
    pub(crate) seed: u64,
    /// The first step
    #[arg(long)]
    pub(crate) first_step: u64,
    /// The first entry
    #[arg(long)]
    pub(crate) first_entry: u64,
    /// Time from one commit to the next, in milliseconds
    #[arg(long, default_value_t = 0)]
    pub(crate) commit_ms: u64,
    /// Time from one entry to the next, in milliseconds
    #[arg(long, default_value_t = 0)]
    pub(crate) entry_ms: u64,
    /// Closes the folder after so many steps and opens it again
    #[arg(long, default_value_t = u64::MAX)]
    pub(crate) close_after: u64,
}

/// Says a line at once and in one piece: whoever kills this process has what was said before.
fn say(line: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| format!("nobody listens any more: {error}"))
}

/// Writes until it is killed.
pub(crate) async fn write(options: Options) -> Result<(), String> {
    let state = Arc::new(State {
        plan: Plan { seed: options.seed },
        step: AtomicU64::new(options.first_step),
        entry: AtomicU64::new(options.first_entry),
        closing: AtomicBool::new(false),
    });
    loop {
        say("p open")?;
        let history = History::open(&options.folder, &Plan::plant()).await.map_err(|error| error.to_string())?;
        say("p run")?;
        state.closing.store(false, Ordering::Relaxed);
        let merging = tokio::spawn(merge(Arc::clone(&state), history.clone()));
        let syncing = tokio::spawn(sync(Arc::clone(&state), history.clone()));
        let entries = tokio::spawn(put_entries(Arc::clone(&state), history.clone(), options.entry_ms));
        let last = state.step.load(Ordering::Relaxed).saturating_add(options.close_after);
        while state.step.load(Ordering::Relaxed) < last {
            let step = state.step.load(Ordering::Relaxed);
            history.append(&state.plan.samples(step)).await.map_err(|error| format!("step {step}: {error}"))?;
            say(&format!("s {step}"))?;
            state.step.store(step + 1, Ordering::Relaxed);
            if options.commit_ms > 0 {
                tokio::time::sleep(Duration::from_millis(options.commit_ms)).await;
            }
            if merging.is_finished() || entries.is_finished() || syncing.is_finished() {
                break;
            }
        }
        state.closing.store(true, Ordering::Relaxed);
        say("p close")?;
        let result = entries.await.map_err(|error| error.to_string())?;
        let result = result.and(syncing.await.map_err(|error| error.to_string())?);
        // Every other time while merging goes on.
        if last.is_multiple_of(2) {
            result.and(merging.await.map_err(|error| error.to_string())?)?;
            history.close().await.map_err(|error| error.to_string())?;
        } else {
            history.close().await.map_err(|error| error.to_string())?;
            result.and(merging.await.map_err(|error| error.to_string())?)?;
        }
    }
}

struct State {
    plan: Plan,
    /// The next step.
    step: AtomicU64,
    /// The next entry.
    entry: AtomicU64,
    /// The folder is about to be closed.
    closing: AtomicBool,
}

/// As the engine's recorder does: what was committed is synced a quarter of a second later, should no commit have done so.
async fn sync(state: Arc<State>, history: History) -> Result<(), String> {
    while !state.closing.load(Ordering::Relaxed) {
        tokio::time::sleep(SYNC_EVERY).await;
        history.sync().await.map_err(|error| format!("syncing: {error}"))?;
    }
    Ok(())
}

async fn put_entries(state: Arc<State>, history: History, entry_ms: u64) -> Result<(), String> {
    while !state.closing.load(Ordering::Relaxed) {
        let number = state.entry.load(Ordering::Relaxed);
        match state.plan.entry(number) {
            Entry::Event { time, kind, text } => history.put_event(time, &kind, &text).await,
            Entry::Audit { time, who, what } => history.put_audit(time, &who, &what).await,
            Entry::Advisory(change) => history.put_advisory(&change).await,
        }
        .map_err(|error| format!("entry {number}: {error}"))?;
        say(&format!("e {number}"))?;
        state.entry.store(number + 1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(entry_ms)).await;
    }
    Ok(())
}

/// Merges all the time, and deletes now and then.
async fn merge(state: Arc<State>, history: History) -> Result<(), String> {
    let mut merges = 0_u64;
    while !state.closing.load(Ordering::Relaxed) {
        let now = Plan::time(state.step.load(Ordering::Relaxed).saturating_sub(1));
        say("p merge")?;
        let merged = history.merge(now - MERGE_BEHIND_STEPS as i64 * STEP_NS).await;
        if !went_on(merged)? {
            return Ok(());
        }
        merges += 1;
        if merges.is_multiple_of(DELETE_EVERY) {
            say(&format!("r {}", (now - i64::from(SAMPLES_DAYS) * DAY_NS).0))?;
            say("p retention")?;
            let samples = Budget { days: Some(SAMPLES_DAYS), bytes: None };
            let rollups = Budget { days: Some(2 * SAMPLES_DAYS), bytes: None };
            if !went_on(history.apply_retention(now, Keep { samples, rollups, ..Keep::default() }).await)?
                || !went_on(history.give_back(PAGES).await)?
            {
                return Ok(());
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// False when the folder was closed meanwhile.
fn went_on<T>(result: Result<T, HistoryError>) -> Result<bool, String> {
    match result {
        Ok(_) => Ok(true),
        Err(HistoryError::Closed) => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}
