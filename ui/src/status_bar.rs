//! The permanent bar at the bottom: plant, mode, link, the engine's time and counters.

use egui::{Align, Layout, RichText, Ui};
use sightglass_protocol::message::Counters;

use crate::{
    answers::Answers,
    keys::{self, Action},
    link::LinkState,
    theme, time_text,
    view::Command,
};

/// Height of the bar.
pub(crate) const POINTS: f32 = 30.0;

/// The link in a few words.
pub(crate) fn link_words(link: &LinkState, now: f64) -> String {
    match link {
        LinkState::Connected => "connected".to_owned(),
        LinkState::Waiting { .. } => "waiting for the engine".to_owned(),
        LinkState::Lost { since, .. } => format!("no answer for {}", seconds(now - since)),
    }
}

/// Seconds of the window's clock as a duration.
pub(crate) fn seconds(seconds: f64) -> String {
    time_text::duration((seconds.max(0.0) as i64) * sightglass_protocol::time::SECOND)
}

/// Shows the bar.
pub(crate) fn show(ui: &mut Ui, answers: &Answers, link: &LinkState, now: f64, commands: &mut Vec<Command>) {
    let palette = theme::palette(ui.ctx());
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        ui.add_space(8.0);
        if ui.button(format!("{} Help", keys::label_of(Action::Help))).clicked() {
            commands.push(Command::Act(Action::Help));
        }
        let other = if ui.ctx().theme() == egui::Theme::Light { "Dark" } else { "Light" };
        if ui.button(format!("{} {other}", keys::label_of(Action::Theme))).clicked() {
            commands.push(Command::Act(Action::Theme));
        }
        ui.separator();
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            ui.add_space(8.0);
            let mut first = true;
            let mut item = |text: String, strong: bool| {
                if !std::mem::take(&mut first) {
                    ui.label(RichText::new("|").color(palette.rule));
                }
                let colour = if strong { palette.text } else { palette.weak };
                ui.add(egui::Label::new(RichText::new(text).color(colour)).truncate());
            };
            if let Some(welcome) = &answers.welcome {
                item(welcome.plant.name.clone(), true);
                item(welcome.mode.clone(), false);
            }
            item(link_words(link, now), *link != LinkState::Connected);
            if let Some(time) = answers.engine_now() {
                item(time_text::date_clock(time), true);
            }
            if let Some(counters) = counters(answers) {
                let dropped = counters.ticks_dropped;
                item(format!("{} ticks, {dropped} dropped", time_text::count(counters.ticks)), dropped > 0);
                item(format!("{} samples", time_text::count(counters.samples)), false);
                item(format!("{} stored", time_text::bytes(counters.history_bytes)), false);
            }
            if let Some(welcome) = &answers.welcome {
                item(welcome.device.clone(), false);
            }
        });
    });
}

/// The newest counters that the window has heard of.
fn counters(answers: &Answers) -> Option<Counters> {
    let overview = answers.overview.as_ref().map(|overview| overview.counters);
    let line = answers.line.as_ref().map(|line| line.counters);
    overview.into_iter().chain(line).max_by_key(|counters| counters.ticks)
}
