//! F2: each line in one row, and below them whatever does not deliver.

use egui::{
    Align2, CentralPanel, Frame, Margin, Rect, RichText, ScrollArea, Sense, Stroke, StrokeKind, Ui, UiBuilder,
    WidgetInfo, pos2, vec2,
};
use sightglass_protocol::{
    Health, LineInfo, UtcNanos,
    message::{LineState, LineSummary, Overview},
    time::SECOND,
};

use crate::{
    advisory_list,
    answers::Answers,
    marks, score_track,
    theme::{self, font, size},
    time_text,
    view::{Command, ViewState},
};

/// Height of a line's card.
const CARD_POINTS: f32 = 168.0;
/// Advisories that a card names.
const ADVISORIES_SHOWN: usize = 3;
/// Time of the sparkline.
const SPARK_NS: i64 = 600 * SECOND;
/// The score at the upper edge of the sparkline, at least.
const SPARK_TOP: f32 = 2.0;

/// Shows the screen in the room that is left.
pub(crate) fn show(ui: &mut Ui, answers: &Answers, view: &ViewState, commands: &mut Vec<Command>) {
    let palette = theme::palette(ui.ctx());
    let frame = Frame::new().fill(palette.background).inner_margin(Margin::symmetric(12, 10));
    CentralPanel::no_frame().frame(frame).show(ui, |ui| {
        let (Some(plant), Some(overview)) = (answers.plant(), &answers.overview) else {
            ui.centered_and_justified(|ui| {
                ui.label(RichText::new("asking for the state of the lines…").color(palette.weak))
            });
            return;
        };
        ScrollArea::vertical().id_salt("overview").auto_shrink(false).show(ui, |ui| {
            if plant.lines.is_empty() {
                ui.label("The plant has no line.");
            }
            for line in &plant.lines {
                if let Some(summary) = answers.summary(line.id) {
                    card(ui, line, summary, overview, view.line == line.id, commands);
                    ui.add_space(10.0);
                }
            }
            health(ui, answers, overview);
        });
    });
}

fn card(
    ui: &mut Ui,
    line: &LineInfo,
    summary: &LineSummary,
    overview: &Overview,
    selected: bool,
    commands: &mut Vec<Command>,
) {
    let palette = theme::palette(ui.ctx());
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), CARD_POINTS), Sense::click());
    let painter = ui.painter();
    painter.rect_filled(rect, 4.0, palette.panel);
    if selected || response.hovered() || response.has_focus() {
        let colour = if response.has_focus() { palette.focus } else { palette.weak };
        painter.rect_stroke(rect, 4.0, Stroke::new(2.0, colour), StrokeKind::Inside);
    }
    let now = overview.now;
    let colour = match marks::state_colour(palette, summary.state) {
        grey if grey == palette.weak => palette.text,
        colour => colour,
    };
    let wrong = matches!(summary.state, LineState::Advisory | LineState::SensorAdvisory | LineState::NoData);
    if wrong {
        painter.rect_filled(Rect::from_min_max(rect.min, pos2(rect.left() + 6.0, rect.bottom())), 4.0, colour);
    }

    // Name and state.
    let left = rect.left() + 22.0;
    painter.text(pos2(left, rect.top() + 16.0), Align2::LEFT_TOP, &line.name, font(size::STATE), palette.text);
    let middle = rect.top() + 78.0;
    marks::paint_state(painter, pos2(left + 15.0, middle), 30.0, summary.state, palette);
    painter.text(pos2(left + 42.0, middle), Align2::LEFT_CENTER, summary.state.word(), font(30.0), colour);
    let since = match (summary.since, now) {
        (Some(since), Some(now)) => {
            format!("for {}, since {} UTC", time_text::duration(now.since(since)), time_text::clock(since))
        }
        _ => "since an unknown time".to_owned(),
    };
    painter.text(pos2(left, rect.top() + 112.0), Align2::LEFT_TOP, &since, font(size::BODY), palette.weak);
    let hint = if selected { "Enter: open" } else { "" };
    painter.text(pos2(left, rect.bottom() - 10.0), Align2::LEFT_BOTTOM, hint, font(size::SMALL), palette.weak);

    // The score of the last ten minutes.
    let spark_left = rect.left() + rect.width() * 0.25;
    let advisories_left = rect.left() + rect.width() * 0.62;
    let spark =
        Rect::from_min_max(pos2(spark_left, rect.top() + 34.0), pos2(advisories_left - 24.0, rect.bottom() - 30.0));
    let caption = spark.left_top() - vec2(0.0, 20.0);
    let last = summary.scores.last().map_or_else(|| "not judged".to_owned(), |(_, score)| format!("{score:.2}"));
    painter.text(caption, Align2::LEFT_TOP, format!("score {last}, limit 1.00"), font(size::SMALL), palette.weak);
    painter.rect_filled(spark, 0.0, palette.well);
    let end = now.or(summary.scores.last().map(|(time, _)| *time)).unwrap_or(UtcNanos(0));
    let x = |time: UtcNanos| spark.right() - (end.since(time) as f64 / SPARK_NS as f64) as f32 * spark.width();
    let top = summary.scores.iter().map(|(_, score)| *score).fold(SPARK_TOP, f32::max).min(4.0);
    score_track::paint_scores(painter, spark, &summary.scores, top, &x, palette);
    let axis = spark.bottom() + 4.0;
    painter.text(pos2(spark.left(), axis), Align2::LEFT_TOP, "10 min ago", font(size::SMALL), palette.weak);
    painter.text(pos2(spark.right(), axis), Align2::RIGHT_TOP, "now", font(size::SMALL), palette.weak);

    response.widget_info(|| {
        let open = summary.open.len();
        WidgetInfo::selected(
            egui::Role::ListBoxOption,
            true,
            selected,
            format!("{}: {}, {open} open advisories", line.name, summary.state.word()),
        )
    });
    if response.clicked() {
        commands.push(Command::OpenLine(line.id));
    }
    if response.gained_focus() {
        commands.push(Command::SelectLine(line.id));
    }

    let room = Rect::from_min_max(pos2(advisories_left, rect.top() + 10.0), rect.max - vec2(10.0, 8.0));
    // A child of its own, so that the card's room stays the room that is taken.
    let mut inside = ui.new_child(UiBuilder::new().max_rect(room).id_salt(("open", line.id.0)));
    {
        let ui = &mut inside;
        ui.spacing_mut().item_spacing.y = 2.0;
        if summary.open.is_empty() {
            ui.label(RichText::new("No open advisory").color(palette.weak));
        }
        for advisory in summary.open.iter().take(ADVISORIES_SHOWN) {
            advisory_list::row(ui, advisory, now.unwrap_or(advisory.last_seen), commands);
        }
        if summary.open.len() > ADVISORIES_SHOWN {
            let more = summary.open.len() - ADVISORIES_SHOWN;
            ui.label(RichText::new(format!("and {more} more")).size(size::SMALL).color(palette.weak));
        }
    }
}

fn health(ui: &mut Ui, answers: &Answers, overview: &Overview) {
    let palette = theme::palette(ui.ctx());
    ui.label(RichText::new("Sources").size(size::LARGE));
    if overview.health.is_empty() {
        ui.label(RichText::new("Everything delivers as it should.").color(palette.weak));
        return;
    }
    for health in &overview.health {
        health_row(ui, answers, health, overview.now);
    }
}

fn health_row(ui: &mut Ui, answers: &Answers, health: &Health, now: Option<UtcNanos>) {
    let palette = theme::palette(ui.ctx());
    ui.horizontal(|ui| {
        let (_, center) = marks::space(ui, 20.0);
        marks::paint_health(ui.painter(), center, 18.0, health.state, palette);
        let cell = |ui: &mut Ui, width: f32, text: &str, colour: egui::Color32| {
            ui.allocate_ui_with_layout(vec2(width, 20.0), egui::Layout::left_to_right(egui::Align::Center), |ui| {
                ui.set_width(width);
                ui.add(egui::Label::new(RichText::new(text).color(colour)).truncate());
            });
        };
        cell(ui, 120.0, marks::health_word(health.state), palette.sensor);
        let subject = match health.subject {
            Some(sightglass_protocol::Subject::Tag(tag)) => answers.tag(tag).map(|tag| tag.name.clone()),
            Some(sightglass_protocol::Subject::Camera(camera)) => {
                answers.plant().and_then(|plant| plant.cameras.get(camera.index())).map(|camera| camera.name.clone())
            }
            None => None,
        };
        let name = match subject {
            Some(subject) if subject != health.source => format!("{subject} ({})", health.source),
            _ => health.source.clone(),
        };
        cell(ui, 240.0, &name, palette.text);
        let since = now.map_or_else(
            || time_text::clock(health.since),
            |now| format!("for {}", time_text::duration(now.since(health.since))),
        );
        cell(ui, 130.0, &since, palette.weak);
        ui.add(egui::Label::new(&health.reason).wrap());
    });
}
