//! F4: one line at any past time. Wears a frame around everything, so that nobody takes the past for the present.

use egui::{
    Align, Align2, Color32, CornerRadius, Frame, Layout, Margin, Panel, Rect, RichText, Stroke, StrokeKind, Ui, pos2,
    vec2,
};

use crate::{
    answers::Answers,
    keys::{self, Action},
    panels,
    theme::{self, font, size},
    time_text, timeline,
    view::{Command, SPEEDS, ViewState},
};

/// Width of the frame's edges.
const EDGE_POINTS: f32 = 7.0;
/// Height of the frame's head, which says what it means.
const HEAD_POINTS: f32 = 30.0;
/// Height of buttons and time line.
const CONTROL_POINTS: f32 = 116.0;

/// Paints the frame of a replay around `full`, and returns the room inside.
pub(crate) fn frame(ui: &Ui, full: Rect, view: &ViewState) -> Rect {
    let palette = theme::palette(ui.ctx());
    let inner =
        Rect::from_min_max(full.min + vec2(EDGE_POINTS, HEAD_POINTS), full.max - vec2(EDGE_POINTS, EDGE_POINTS));
    ui.painter().rect_filled(full, CornerRadius::ZERO, palette.replay);
    let middle = full.top() + HEAD_POINTS / 2.0;
    let time = format!("{} {}", time_text::date(view.replay.at), time_text::clock_millis(view.replay.at));
    let motion =
        if view.replay.playing { format!("playing at {}x", SPEEDS[view.replay.speed]) } else { "paused".to_owned() };
    let write = |x: f32, align: Align2, text: &str, points: f32, colour: Color32| {
        ui.painter().text(pos2(x, middle), align, text, font(points), colour)
    };
    let word = write(full.left() + 14.0, Align2::LEFT_CENTER, "REPLAY", size::STATE, palette.on_replay);
    let stroke = Stroke::new(2.0, palette.on_replay);
    ui.painter().rect_stroke(word.expand2(vec2(5.0, -1.0)), 2.0, stroke, StrokeKind::Outside);
    write(word.right() + 20.0, Align2::LEFT_CENTER, &format!("{time} UTC · {motion}"), size::LARGE, palette.on_replay);
    let back = format!("{} or {}: back to live", keys::label_of(Action::Live), keys::label_of(Action::Back));
    write(full.right() - 14.0, Align2::RIGHT_CENTER, &back, size::BODY, palette.on_replay);
    ui.painter().rect_filled(inner, CornerRadius::ZERO, palette.background);
    inner
}

/// Shows the screen in the room that is left.
pub(crate) fn show(ui: &mut Ui, answers: &Answers, view: &mut ViewState, commands: &mut Vec<Command>) {
    let palette = theme::palette(ui.ctx());
    Panel::bottom("control")
        .exact_size(CONTROL_POINTS)
        .frame(Frame::new().fill(palette.panel).inner_margin(Margin::symmetric(8, 4)))
        .show(ui, |ui| {
            ui.allocate_ui_with_layout(vec2(ui.available_width(), 32.0), Layout::left_to_right(Align::Center), |ui| {
                buttons(ui, answers, view, commands)
            });
            timeline::show(ui, answers, view, commands);
        });
    panels::show(ui, answers, view, commands);
}

fn buttons(ui: &mut Ui, answers: &Answers, view: &ViewState, commands: &mut Vec<Command>) {
    let palette = theme::palette(ui.ctx());
    let play = if view.replay.playing { "Pause" } else { "Play" };
    let groups: [&[(Action, &str)]; 4] = [
        &[(Action::Play, play), (Action::Slower, "Slower"), (Action::Faster, "Faster")],
        &[
            (Action::SecondBack, "1 s back"),
            (Action::FrameBack, "Picture back"),
            (Action::FrameForward, "Picture on"),
            (Action::SecondForward, "1 s on"),
        ],
        &[(Action::PreviousAdvisory, "Advisory before"), (Action::NextAdvisory, "Next advisory")],
        &[(Action::Live, "Live")],
    ];
    for (index, group) in groups.into_iter().enumerate() {
        if index > 0 {
            ui.separator();
        }
        for (action, name) in group {
            if ui.button(format!("{} {name}", keys::label_of(*action))).clicked() {
                commands.push(Command::Act(*action));
            }
        }
        if index == 0 {
            ui.label(format!("{}x", SPEEDS[view.replay.speed]));
        }
    }
    if let Some(note) = view.replay.note.or_else(|| note(answers, view)) {
        ui.label(RichText::new(note).color(palette.weak));
    }
}

fn note(answers: &Answers, view: &ViewState) -> Option<&'static str> {
    let (first, last) = answers.recorded_range(view.line)?;
    if view.replay.at >= last {
        Some("end of the recording")
    } else if view.replay.at <= first {
        Some("start of the recording")
    } else {
        None
    }
}
