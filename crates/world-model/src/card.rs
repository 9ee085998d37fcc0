//! What a model says of itself.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sightglass_protocol::{HORIZONS, Role, UtcNanos};

use crate::spec::Size;

/// A tag, as the model was trained on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CardTag {
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Its role.
    pub role: Role,
    /// Whether it was left out.
    pub excluded: bool,
    /// "predicted", "constant in training", "hardly seen in training", "given" or "left out".
    pub use_: String,
    /// Mean and standard deviation in training (of predicted tags), in its unit.
    pub mean: f64,
    /// See `mean`.
    pub deviation: f64,
}

/// Errors one step ahead on held-back data, root mean square in standard deviations of each tag, mean over tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OneStepError {
    /// The last value.
    pub persistence: f64,
    /// The linear forecast (ARX by ridge).
    pub ridge: f64,
    /// The middle of the shown band.
    pub model: f64,
}

/// How well a way to look ahead does on held-back data, as its errors: root mean square in standard deviations of each tag,
/// mean over tags.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CardMethod {
    /// "model", "ridge", or the name of a classic, which sees the predicted tags alone.
    pub name: String,
    /// One a horizon; absent where no held-back stretch is that long.
    pub errors: [Option<f64>; HORIZONS.len()],
    /// The share of held-back ticks that it flags as a detector at a wanted rate of 1 %; absent for the model and ridge.
    pub false_alarms: Option<f64>,
}

/// An epoch of training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochLoss {
    /// On the training windows.
    pub training: f32,
    /// On held-back windows.
    pub held_back: f32,
    /// Of the held-back states.
    pub effective_rank: f32,
}

/// A frozen camera encoder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardEncoder {
    /// "vjepa2".
    pub kind: String,
    /// Of its weights: [`crate::FrozenEncoder::sha256`].
    pub sha256: String,
}

/// What a model says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Of this file's layout.
    pub format: u32,
    /// The program's version that trained it.
    pub version: String,
    /// The first tick of training.
    pub from: UtcNanos,
    /// The last tick of training.
    pub to: UtcNanos,
    /// Ticks of training and calibration.
    pub ticks: usize,
    /// Contiguous runs among them.
    pub runs: usize,
    /// The tick period.
    pub tick_ns: i64,
    /// All tags of the line.
    pub tags: Vec<CardTag>,
    /// The names of all cameras of the line.
    pub cameras: Vec<String>,
    /// Trained weights of the network; 0 without one.
    pub parameters: usize,
    /// The network's size.
    pub size: Option<Size>,
    /// What saw in place of a camera encoder of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<CardEncoder>,
    /// Of the fused state on held-back data, of at most `size.latent`.
    pub effective_rank: Option<f32>,
    /// One an epoch.
    pub epochs: Vec<EpochLoss>,
    /// Against the simplest others; absent without moving tags.
    pub one_step_error: Option<OneStepError>,
    /// The model, ridge and the classics, at every horizon; empty without moving tags, and in files from before there was it.
    #[serde(default)]
    pub methods: Vec<CardMethod>,
    /// The share of held-back values inside their 80 % band, one a horizon; absent without moving tags.
    pub coverage: Option<[f64; 6]>,
    /// Wanted false alarms a week.
    pub false_alarms_wanted: f64,
    /// Excursions above the limit a week in blocks that the overall limit was not fitted on.
    pub false_alarms_seen: f64,
    /// Hours on which limits were calibrated.
    pub calibration_hours: f64,
    /// Whether the wanted rate is rarer than the data can show, so that limits rest on a fitted tail.
    pub extrapolated: bool,
    /// What the limits of tags and pictures were multiplied by so that together they keep the rate.
    pub overall_factor: f32,
    /// The same for latent states.
    pub latent_factor: Option<f32>,
    /// The seed of everything random.
    pub seed: u64,
    /// The longest run of an exactly unchanged value in training, in ticks, one a tag of the line.
    pub longest_hold_ticks: Vec<f32>,
    /// The longest run of an exactly unchanged picture in training, in ticks, one a camera of the line.
    pub longest_still_ticks: Vec<f32>,
    /// What an engineer should know before trusting it.
    pub notes: Vec<String>,
}

impl Card {
    /// The card for people.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        let mut line = |label: &str, text: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{label:<22}{text}");
        };
        line(
            "trained on",
            format!(
                "{} to {}, {} ticks of {} s in {} runs",
                self.from,
                self.to,
                self.ticks,
                self.tick_ns as f64 / 1e9,
                self.runs
            ),
        );
        for tag in &self.tags {
            let unit = if tag.unit.is_empty() { String::new() } else { format!(" {}", tag.unit) };
            let numbers = match tag.use_.as_str() {
                "predicted" => format!(", {:.4} ± {:.4}{unit}", tag.mean, tag.deviation),
                _ => String::new(),
            };
            line("tag", format!("{} ({}){numbers}", tag.name, tag.use_));
        }
        for camera in &self.cameras {
            line("camera", camera.clone());
        }
        if let Some(encoder) = &self.encoder {
            line("camera encoder", format!("{}, frozen, SHA-256 {}", encoder.kind, encoder.sha256));
        }
        line("parameters", self.parameters.to_string());
        if let (Some(rank), Some(size)) = (self.effective_rank, self.size) {
            line("effective rank", format!("{rank:.1} of {}", size.latent));
        }
        if let Some(last) = self.epochs.last() {
            let best = self.epochs.iter().map(|e| e.held_back).fold(f32::INFINITY, f32::min);
            line(
                "epochs",
                format!("{}, last loss {:.4}, best held-back loss {best:.4}", self.epochs.len(), last.training),
            );
        }
        if let Some(error) = &self.one_step_error {
            line(
                "one-step error",
                format!(
                    "model {:.4}, ridge {:.4}, persistence {:.4} (held-back, in standard deviations)",
                    error.model, error.ridge, error.persistence
                ),
            );
        }
        if !self.methods.is_empty() {
            let cells = HORIZONS.map(|h| format!("{h:>7}")).concat();
            line("errors ahead, ticks", format!("{:<27}{cells}   flags at 1 %", ""));
        }
        for method in &self.methods {
            let cells = method.errors.map(|e| e.map_or("      -".to_owned(), |e| format!("{e:>7.3}"))).concat();
            let flags = method.false_alarms.map_or(String::new(), |share| format!("   {:.1} %", 100.0 * share));
            line("", format!("{:<27}{cells}{flags}", method.name));
        }
        if let Some(coverage) = &self.coverage {
            let parts: Vec<String> =
                HORIZONS.iter().zip(coverage).map(|(h, c)| format!("{h}: {:.0} %", 100.0 * c)).collect();
            line("80 % bands hold", parts.join(", "));
        }
        line(
            "false alarms a week",
            format!(
                "wanted {}, seen {:.2} in {:.1} h{}",
                self.false_alarms_wanted,
                self.false_alarms_seen,
                self.calibration_hours,
                if self.extrapolated { " (limits extrapolated beyond the data)" } else { "" }
            ),
        );
        line("seed", self.seed.to_string());
        for note in &self.notes {
            line("note", note.clone());
        }
        out
    }
}
