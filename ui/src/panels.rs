//! What the screens *Line* and *Review* have in common: picture, trends, score and advisories of one line at one time.

use egui::{CentralPanel, Frame, Margin, Panel, RichText, Sense, Ui, WidgetInfo};
use sightglass_protocol::{LineInfo, UtcNanos, message::LineView};

use crate::{
    advisory_list,
    answers::Answers,
    keys::{self, Action},
    lanes, marks, score_track,
    theme::{self, size},
    time_text, video,
    view::{Command, SPAN_MINUTES, Screen, ViewState},
};

/// The share of the width for picture and advisories.
const SIDE_SHARE: f32 = 0.36;
/// Height of the row with name, state and choices.
const HEAD_POINTS: f32 = 40.0;

/// Shows the panels in the room that is left.
pub(crate) fn show(ui: &mut Ui, answers: &Answers, view: &mut ViewState, commands: &mut Vec<Command>) {
    let palette = theme::palette(ui.ctx());
    let Some(line) = answers.line_info(view.line).cloned() else {
        CentralPanel::no_frame().show(ui, |ui| {
            ui.centered_and_justified(|ui| ui.label("The plant has no line."));
        });
        return;
    };
    let bare = Frame::new().fill(palette.background);
    Panel::top("head").exact_size(HEAD_POINTS).frame(bare).show_separator_line(false).show(ui, |ui| {
        head(ui, answers, view, &line, commands);
    });
    let side = (ui.available_width() * SIDE_SHARE).round();
    Panel::right("side")
        .exact_size(side)
        .resizable(false)
        .frame(bare.inner_margin(Margin { left: 8, right: 8, top: 0, bottom: 4 }))
        .show_separator_line(false)
        .show(ui, |ui| {
            picture(ui, answers, view);
            ui.add_space(4.0);
            advisory_list::show(ui, answers, view, commands);
        });
    let shown = answers.line_view(view);
    let Some(shown) = shown else {
        CentralPanel::no_frame().frame(bare).show(ui, |ui| {
            let text = answers.refused.line.clone().unwrap_or_else(|| "asking for the signals…".to_owned());
            ui.centered_and_justified(|ui| ui.label(RichText::new(text).color(palette.weak)));
        });
        return;
    };
    let well = Frame::new().fill(palette.well).inner_margin(Margin { left: 8, right: 0, top: 0, bottom: 0 });
    Panel::bottom("score").exact_size(score_track::TRACK_POINTS).frame(well).show_separator_line(false).show(
        ui,
        |ui| {
            score_track::show(ui, answers, view, &line, shown);
        },
    );
    CentralPanel::no_frame().frame(well).show(ui, |ui| {
        if let Some(reason) = &answers.refused.line {
            ui.label(format!("The engine could not answer: {reason}"));
        }
        lanes::show(ui, answers, view, &line, shown);
    });
}

fn head(ui: &mut Ui, answers: &Answers, view: &ViewState, line: &LineInfo, commands: &mut Vec<Command>) {
    let palette = theme::palette(ui.ctx());
    ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
        ui.add_space(8.0);
        let overlay = format!("{} Surprise map", keys::label_of(Action::Overlay));
        if ui.add(egui::Button::selectable(view.overlay, overlay)).clicked() {
            commands.push(Command::Act(Action::Overlay));
        }
        if line.cameras.len() > 1 && ui.button(format!("{} Next camera", keys::label_of(Action::NextCamera))).clicked()
        {
            commands.push(Command::Act(Action::NextCamera));
        }
        ui.separator();
        ui.label(RichText::new(keys::label_of(Action::SpanLonger)).color(palette.weak));
        for (index, minutes) in SPAN_MINUTES.into_iter().enumerate().rev() {
            let button = egui::Button::selectable(view.span == index, format!("{minutes} min"));
            if ui.add(button).clicked() {
                commands.push(Command::Span(index));
            }
        }
        ui.label(RichText::new(keys::label_of(Action::SpanShorter)).color(palette.weak));
        ui.separator();
        ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
            ui.add_space(8.0);
            ui.label(RichText::new(&line.name).size(size::STATE));
            state(ui, answers, view);
        });
    });
}

fn state(ui: &mut Ui, answers: &Answers, view: &ViewState) {
    let palette = theme::palette(ui.ctx());
    let Some(shown) = answers.line_view(view) else { return };
    ui.add_space(8.0);
    let (_, center) = marks::space(ui, 22.0);
    marks::paint_state(ui.painter(), center, 20.0, shown.state, palette);
    let colour = match marks::state_colour(palette, shown.state) {
        grey if grey == palette.weak => palette.text,
        colour => colour,
    };
    ui.label(RichText::new(shown.state.word()).size(size::STATE).color(colour));
    if view.screen == Screen::Line {
        let since = answers.summary(view.line).filter(|summary| summary.state == shown.state);
        if let Some(since) = since.and_then(|summary| summary.since) {
            let text = format!("for {}", time_text::duration(shown.now.since(since)));
            ui.label(RichText::new(text).color(palette.weak));
        }
        let live = if view.connected { "live" } else { "last known" };
        ui.label(RichText::new(format!("· {live}, {} UTC", time_text::clock(shown.at))).color(palette.weak));
    } else {
        ui.label(RichText::new(format!("at {}", time_text::date_clock(shown.at))).color(palette.weak));
    }
}

/// The picture takes the width, and half of the height at most.
fn picture(ui: &mut Ui, answers: &Answers, view: &ViewState) {
    let palette = theme::palette(ui.ctx());
    let height = (ui.available_width() * 9.0 / 16.0 + 22.0).min(ui.available_height() * 0.55);
    let (rect, response) = ui.allocate_exact_size(egui::vec2(ui.available_width(), height), Sense::hover());
    let Some(camera) = answers.camera(view) else {
        let text = "this line has no camera";
        marks::paint_hatch(ui.painter(), rect, 14.0, egui::Stroke::new(1.0, palette.rule));
        ui.painter().text(rect.center(), egui::Align2::CENTER_CENTER, text, theme::font(size::BODY), palette.text);
        return;
    };
    let shown: Option<&LineView> = answers.line_view(view);
    let live_now: Option<UtcNanos> = (view.screen == Screen::Line).then(|| shown.map(|shown| shown.now)).flatten();
    let frame = video::Frame {
        camera,
        map: shown.and_then(|shown| shown.patches.iter().find(|map| map.camera == camera.id)),
        overlay: view.overlay,
        live_now,
        refused: answers.refused.picture.as_deref(),
    };
    let words = video::paint(ui.painter(), rect, &answers.video, &frame, palette);
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Image, true, format!("Picture of {words}")));
}
