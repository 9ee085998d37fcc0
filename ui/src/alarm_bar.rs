//! The permanent bar on top: open advisories by kind, the newest of them, and the screens. It always speaks of now,
//! also while the rest of the window replays the past.

use egui::{Align, Align2, Layout, Rect, RichText, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};
use sightglass_protocol::AdvisoryKind;

use crate::{
    advisory_list::standing,
    answers::Answers,
    keys::{self, Action},
    link::LinkState,
    marks,
    theme::{self, font, size},
    view::{Command, Screen, ViewState},
};

/// Height of the bar.
pub(crate) const POINTS: f32 = 42.0;
const KINDS: [AdvisoryKind; 4] =
    [AdvisoryKind::Process, AdvisoryKind::Model, AdvisoryKind::Sensor, AdvisoryKind::Camera];

/// Shows the bar.
pub(crate) fn show(ui: &mut Ui, answers: &Answers, view: &ViewState, link: &LinkState, commands: &mut Vec<Command>) {
    let palette = theme::palette(ui.ctx());
    let open = answers.open();
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        ui.add_space(8.0);
        for (screen, action, name) in [
            (Screen::Review, Action::Review, "Review"),
            (Screen::Line, Action::Line, "Line"),
            (Screen::Overview, Action::Overview, "Overview"),
        ] {
            let label = format!("{} {name}", keys::label_of(action));
            if ui.add(egui::Button::selectable(view.screen == screen, label)).clicked() {
                commands.push(Command::Act(action));
            }
        }
        ui.separator();
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            ui.add_space(8.0);
            if view.screen == Screen::Review {
                ui.label(RichText::new("now:").color(palette.weak));
            }
            if *link != LinkState::Connected {
                ui.label(RichText::new("Advisories unknown: no answer from the engine").size(size::LARGE));
                return;
            }
            if open.is_empty() {
                ui.label(RichText::new("No advisories").size(size::LARGE).color(palette.weak));
                return;
            }
            for kind in KINDS {
                let number = open.iter().filter(|advisory| advisory.kind == kind).count();
                if number == 0 {
                    continue;
                }
                let colour = marks::kind_colour(palette, kind);
                let text = format!("{number} {}", kind.word());
                let galley = ui.painter().layout_no_wrap(text.clone(), font(size::LARGE), palette.on_colour);
                let (rect, response) = ui.allocate_exact_size(galley.size() + vec2(38.0, 6.0), Sense::hover());
                ui.painter().rect_filled(rect, 3.0, colour);
                marks::paint_kind(
                    ui.painter(),
                    pos2(rect.left() + 16.0, rect.center().y),
                    16.0,
                    kind,
                    palette.on_colour,
                );
                ui.painter().galley(rect.min + vec2(30.0, 3.0), galley, palette.on_colour);
                response.widget_info(|| WidgetInfo::labeled(egui::Role::Label, true, format!("{text} advisories")));
            }
            let newest = open[0];
            let now = answers.engine_now().unwrap_or(newest.last_seen);
            let (rect, response) = ui.allocate_exact_size(ui.available_size(), Sense::click());
            let painter = ui.painter().with_clip_rect(ui.clip_rect().intersect(rect));
            if response.hovered() {
                painter.rect_filled(rect.shrink2(vec2(0.0, 4.0)), 3.0, palette.selected);
            }
            if response.has_focus() {
                painter.rect_stroke(
                    rect.shrink2(vec2(0.0, 4.0)),
                    3.0,
                    Stroke::new(2.0, palette.focus),
                    StrokeKind::Inside,
                );
            }
            let at = pos2(rect.left() + 6.0, rect.center().y);
            let title = painter.text(at, Align2::LEFT_CENTER, &newest.title, font(size::LARGE), palette.text);
            let line = answers.line_info(newest.line).map_or("", |line| line.name.as_str());
            let note = format!("{line} · {}", standing(newest, now));
            let below = Rect::from_min_max(pos2(title.right() + 14.0, rect.top()), rect.max);
            painter.text(below.left_center(), Align2::LEFT_CENTER, &note, font(size::BODY), palette.weak);
            response.widget_info(|| {
                WidgetInfo::labeled(egui::Role::Button, true, format!("Newest advisory: {}, {note}", newest.title))
            });
            if response.clicked() {
                commands.push(Command::OpenLine(newest.line));
                commands.push(Command::Select(newest.line, Some(newest.id)));
            }
        });
    });
}
