//! What training leaves beside a model, and the progress shown meanwhile.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressStyle};
use sightglass_protocol::Tick;
use sightglass_protocol::UtcNanos;
use sightglass_world_model::{ModelSpec, Progress, TrainOptions, train};

use crate::EngineError;

/// The present: read once at the program's edge (a live start, a title), never on the way of the data.
pub(crate) fn wall_clock() -> UtcNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UtcNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// A bar that shows `length` steps on the terminal (and nothing where there is none).
pub(crate) fn bar(length: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template("{msg:32} {bar:30} {pos}/{len} {elapsed} (left {eta})");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    bar
}

/// Shows on the terminal that something is under way whose length is not known.
pub(crate) fn spinner(what: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    spinner.set_message(what.to_owned());
    spinner.enable_steady_tick(std::time::Duration::from_millis(100));
    spinner
}

/// One line on how far training is: the step, its loss, what held-back data say, and the time that is left at most.
fn described(step: &Progress) -> String {
    let mut text = format!("{} {}/{}", step.stage, step.step, step.steps);
    let Some(left) = step.seconds_left else { return text };
    text.push_str(&format!(" loss {:.4}", step.loss));
    if let Some((loss, rank)) = step.held_back_loss.zip(step.effective_rank) {
        text.push_str(&format!(", held back {loss:.4}, effective rank {rank:.1}"));
    }
    text.push_str(&format!(", at most {:.0} min left", (left / 60.0).ceil()));
    text
}

/// Trains with a progress bar, writes model, card and curves, and prints the card.
///
/// # Errors
/// When training is refused, or a file cannot be written.
pub(crate) fn train_and_write(
    spec: &ModelSpec,
    runs: &[Vec<Tick>],
    options: &TrainOptions,
    out: &Path,
) -> Result<String, EngineError> {
    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder).map_err(EngineError::io("making the folder", folder))?;
    }
    let progress = bar(options.epochs_max as u64, "training");
    let model = train(spec, runs, options, &mut |step: &Progress| {
        progress.set_length(step.epochs_max as u64);
        progress.set_position(step.epoch as u64);
        progress.set_message(described(step));
        true
    })?;
    progress.finish_and_clear();
    model.save(out)?;
    let text = model.card().to_text();
    let card = out.with_extension("card.txt");
    std::fs::write(&card, &text).map_err(EngineError::io("writing", &card))?;
    let losses: Vec<(f32, f32)> = model.card().epochs.iter().map(|epoch| (epoch.training, epoch.held_back)).collect();
    if !losses.is_empty() {
        let curves = out.with_extension("curves.svg");
        let svg = sightglass_report::training_curves(&losses)
            .map_err(|error| EngineError::FoundWrong(format!("the training curves cannot be drawn: {error}")))?;
        std::fs::write(&curves, svg).map_err(EngineError::io("writing", &curves))?;
    }
    Ok(text)
}
