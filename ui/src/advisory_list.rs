//! The advisories of a line: what, since when, how sure, and for the selected one why.

use egui::{Align2, Frame, Margin, Rect, RichText, ScrollArea, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};
use sightglass_protocol::{Advisory, Cause, Subject, UtcNanos};

use crate::{
    answers::{Answers, Stage},
    keys::{self, Action},
    marks,
    theme::{self, Palette, font, size},
    time_text,
    view::{Command, Screen, ViewState},
};

/// Causes that a card shows.
const CAUSES_SHOWN: usize = 5;

/// How an advisory stands at a moment, in words.
pub(crate) fn standing(advisory: &Advisory, at: UtcNanos) -> String {
    let since = time_text::clock(advisory.since);
    match (Stage::of(advisory, at), advisory.closed) {
        (Stage::Later, _) => format!("begins {since}, in {}", time_text::duration(advisory.since.since(at))),
        (Stage::Over, Some(closed)) => {
            format!(
                "{since} to {}, lasted {}",
                time_text::clock(closed),
                time_text::duration(closed.since(advisory.since))
            )
        }
        _ => format!("since {since}, for {}", time_text::duration(at.since(advisory.since))),
    }
}

/// Shows the list in the room that is left.
pub(crate) fn show(ui: &mut Ui, answers: &Answers, view: &mut ViewState, commands: &mut Vec<Command>) {
    let palette = theme::palette(ui.ctx());
    let moved = std::mem::take(&mut view.selection_moved);
    let view = &*view;
    let listed = answers.listed(view);
    let at = answers.shown_at(view).unwrap_or(UtcNanos::MAX);
    let open = listed.iter().filter(|advisory| Stage::of(advisory, at) == Stage::Open).count();
    ui.horizontal(|ui| {
        let title = match open {
            0 => "No open advisory".to_owned(),
            1 => "1 open advisory".to_owned(),
            _ => format!("{open} open advisories"),
        };
        ui.label(RichText::new(title).size(size::LARGE));
        if !listed.is_empty() {
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                let label = format!("{} Review from its start", keys::label_of(Action::ReviewStart));
                if ui.button(label).clicked() {
                    commands.push(Command::Act(Action::ReviewStart));
                }
            });
        }
    });
    ScrollArea::vertical().id_salt("advisories").auto_shrink(false).show(ui, |ui| {
        if listed.is_empty() {
            ui.label(RichText::new("None in the hours around this time.").color(palette.weak));
        }
        for advisory in listed {
            let card = card(ui, answers, view, advisory, at, palette, commands);
            if moved && view.selected == Some(advisory.id) {
                ui.scroll_to_rect(card, None);
            }
        }
    });
}

fn card(
    ui: &mut Ui,
    answers: &Answers,
    view: &ViewState,
    advisory: &Advisory,
    at: UtcNanos,
    palette: &Palette,
    commands: &mut Vec<Command>,
) -> Rect {
    let selected = view.selected == Some(advisory.id);
    let stage = Stage::of(advisory, at);
    let colour = if stage == Stage::Open { marks::kind_colour(palette, advisory.kind) } else { palette.weak };
    let frame = Frame::new()
        .fill(if selected { palette.selected } else { palette.panel })
        .inner_margin(Margin { left: 12, right: 8, top: 6, bottom: 6 })
        .corner_radius(3);
    let response = frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.horizontal(|ui| {
            let (_, center) = marks::space(ui, 20.0);
            marks::paint_kind(ui.painter(), center, 18.0, advisory.kind, colour);
            ui.add(egui::Label::new(RichText::new(&advisory.title).size(size::LARGE)).wrap());
        });
        let word = match stage {
            Stage::Open => "",
            Stage::Over => "over · ",
            Stage::Later => "later · ",
        };
        let line = format!(
            "{word}{} · {} · {:.0} % sure",
            advisory.kind.word(),
            standing(advisory, at),
            advisory.confidence * 100.0
        );
        ui.label(RichText::new(line).color(palette.weak));
        if selected {
            details(ui, answers, advisory, palette);
        }
    });
    let rect = response.response.rect;
    let edge = Rect::from_min_max(rect.min, pos2(rect.left() + 4.0, rect.bottom()));
    ui.painter().rect_filled(edge, 0.0, colour);
    let click = ui.interact(rect, ui.scope_id().with(("advisory", advisory.id.0)), Sense::click());
    click.widget_info(|| {
        let label = format!("{} advisory: {}, {}", advisory.kind.word(), advisory.title, standing(advisory, at));
        WidgetInfo::selected(egui::Role::ListBoxOption, true, selected, label)
    });
    if click.has_focus() || click.hovered() {
        let edge = if click.has_focus() { palette.focus } else { palette.weak };
        ui.painter().rect_stroke(rect, 3.0, Stroke::new(1.5, edge), StrokeKind::Inside);
    }
    if click.clicked() {
        let id = if selected && view.screen != Screen::Overview { None } else { Some(advisory.id) };
        commands.push(Command::Select(advisory.line, id));
    }
    rect
}

fn details(ui: &mut Ui, answers: &Answers, advisory: &Advisory, palette: &Palette) {
    ui.label(
        RichText::new(format!(
            "raised {} UTC · peak {:.1} times the limit",
            time_text::clock(advisory.opened),
            advisory.peak
        ))
        .color(palette.weak),
    );
    ui.add_space(2.0);
    for (index, cause) in advisory.causes.iter().take(CAUSES_SHOWN).enumerate() {
        let name = match cause.subject {
            Subject::Tag(tag) => answers.tag(tag).map(|tag| tag.name.as_str()),
            Subject::Camera(camera) => {
                answers.plant().and_then(|plant| plant.cameras.get(camera.index())).map(|camera| camera.name.as_str())
            }
        };
        ui.horizontal(|ui| {
            ui.label(format!("{}. {}", index + 1, name.unwrap_or("(unknown)")));
            share(ui, cause.share, palette);
            ui.label(RichText::new(&cause.reason).color(palette.weak));
        });
        comparison(ui, answers, cause, palette);
    }
    if advisory.causes.len() > CAUSES_SHOWN {
        let more = advisory.causes.len() - CAUSES_SHOWN;
        ui.label(RichText::new(format!("and {more} weaker causes")).color(palette.weak));
    }
}

/// The share of the evidence, as a bar and a number.
fn share(ui: &mut Ui, share: f32, palette: &Palette) {
    let (rect, _) = ui.allocate_exact_size(vec2(44.0, 10.0), Sense::hover());
    ui.painter().rect_stroke(rect, 0.0, Stroke::new(1.0, palette.rule), StrokeKind::Inside);
    let filled = rect.with_max_x(rect.left() + rect.width() * share.clamp(0.0, 1.0));
    ui.painter().rect_filled(filled, 0.0, palette.weak);
    ui.label(RichText::new(format!("{:.0} %", share * 100.0)).color(palette.weak));
}

/// What was predicted beside what was seen.
fn comparison(ui: &mut Ui, answers: &Answers, cause: &Cause, palette: &Palette) {
    let (Subject::Tag(tag), Some(band), Some(actual)) = (cause.subject, cause.predicted, cause.actual) else { return };
    let Some(tag) = answers.tag(tag) else { return };
    let (low, high) = (f64::from(band.low), f64::from(band.high));
    let range = tag.range.map_or(high - low, |range| range.1 - range.0);
    let write = |value: f64| time_text::value(value, range);
    ui.horizontal(|ui| {
        ui.add_space(16.0);
        let (rect, _) = ui.allocate_exact_size(vec2(110.0, 14.0), Sense::hover());
        let (start, end) = (low.min(actual), high.max(actual));
        let pad = (end - start).max(1e-9) * 0.08;
        let x = |value: f64| {
            let share = (value - (start - pad)) / (end - start + 2.0 * pad);
            rect.left() + rect.width() * share.clamp(0.0, 1.0) as f32
        };
        let painter = ui.painter();
        painter.hline(rect.x_range(), rect.center().y, Stroke::new(1.0, palette.rule));
        let predicted = Rect::from_x_y_ranges(x(low)..=x(high).max(x(low) + 2.0), rect.y_range());
        painter.rect(predicted, 0.0, palette.fan, Stroke::new(1.0, palette.median), StrokeKind::Inside);
        painter.circle_filled(pos2(x(actual), rect.center().y), 4.5, palette.text);
        ui.label(format!("{} {}", write(actual), tag.unit));
        ui.label(RichText::new(format!("predicted {} to {}", write(low), write(high))).color(palette.weak));
    });
}

/// A line of a list of advisories, where there is no room for cards.
pub(crate) fn row(ui: &mut Ui, advisory: &Advisory, at: UtcNanos, commands: &mut Vec<Command>) {
    let palette = theme::palette(ui.ctx());
    let colour = marks::kind_colour(palette, advisory.kind);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 44.0), Sense::click());
    let painter = ui.painter().with_clip_rect(ui.clip_rect().intersect(rect));
    if response.hovered() {
        painter.rect_filled(rect, 3.0, palette.selected);
    }
    marks::paint_kind(&painter, pos2(rect.left() + 14.0, rect.top() + 13.0), 17.0, advisory.kind, colour);
    let title = pos2(rect.left() + 30.0, rect.top() + 3.0);
    painter.text(title, Align2::LEFT_TOP, &advisory.title, font(size::BODY + 1.0), palette.text);
    let note = format!("{} · {}", advisory.kind.word(), standing(advisory, at));
    painter.text(title + vec2(0.0, 21.0), Align2::LEFT_TOP, &note, font(size::SMALL), palette.weak);
    if response.has_focus() {
        painter.rect_stroke(rect, 3.0, Stroke::new(2.0, palette.focus), StrokeKind::Inside);
    }
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Button, true, format!("{}, {note}", advisory.title)));
    if response.clicked() {
        commands.push(Command::Select(advisory.line, Some(advisory.id)));
    }
}
