//! The time line of *Review*: what is recorded, where there is video, where advisories began; drag to scrub.

use egui::{Align2, Key, Rect, Sense, Shape, Stroke, Ui, WidgetInfo, pos2, vec2};
use sightglass_protocol::{AdvisoryKind, UtcNanos, message::Recorded, time::SECOND};

use crate::{
    answers::Answers,
    marks,
    theme::{self, Palette, font, size},
    time_text,
    view::{Command, ViewState},
};

/// Width of the names of the two tracks.
const LABEL_POINTS: f32 = 70.0;
/// An advisory's mark can be clicked this near.
const SNAP_POINTS: f32 = 6.0;

/// Shows the time line in the room that is left.
pub(crate) fn show(ui: &mut Ui, answers: &Answers, view: &ViewState, commands: &mut Vec<Command>) {
    let palette = theme::palette(ui.ctx());
    let area = ui.available_rect_before_wrap();
    let recorded = answers.recorded(view.line);
    let Some((recorded, range)) = recorded.and_then(|recorded| Some((recorded, recorded.range?))) else {
        let text = if recorded.is_some() { "nothing is recorded of this line" } else { "asking what is recorded…" };
        ui.painter().text(area.center(), Align2::CENTER_CENTER, text, font(size::BODY), palette.weak);
        ui.allocate_rect(area, Sense::hover());
        return;
    };
    let (from, until) = view.replay.window.unwrap_or(range);
    let until = until.max(from + SECOND);
    let rect =
        Rect::from_min_max(pos2(area.left() + LABEL_POINTS, area.top()), pos2(area.right() - 10.0, area.bottom()));
    let x = |time: UtcNanos| {
        let share = time.since(from) as f64 / until.since(from) as f64;
        rect.left() + (f64::from(rect.width()) * share) as f32
    };
    let response = ui.interact(rect, ui.scope_id().with("time line"), Sense::click_and_drag());
    response.widget_info(|| {
        WidgetInfo::labeled(
            egui::Role::Slider,
            true,
            format!("Time line from {} to {}", time_text::date_clock(from), time_text::date_clock(until)),
        )
    });
    ui.allocate_rect(area, Sense::hover());

    if let Some(pointer) = response.interact_pointer_pos().filter(|_| response.clicked() || response.dragged()) {
        let share = f64::from(((pointer.x - rect.left()) / rect.width()).clamp(0.0, 1.0));
        let mut to = from + (until.since(from) as f64 * share) as i64;
        if response.clicked() {
            let near = recorded.advisories.iter().filter(|mark| (x(mark.0) - pointer.x).abs() <= SNAP_POINTS);
            if let Some((since, _, id)) = near.min_by_key(|mark| (x(mark.0) - pointer.x).abs() as i64) {
                to = *since;
                commands.push(Command::Select(view.line, Some(*id)));
            }
        }
        commands.push(Command::Seek(to));
    }
    if response.hovered() {
        let scrolled = ui.input(|input| input.smooth_scroll_delta().y);
        let pointer = response.hover_pos();
        if let Some(pointer) = pointer.filter(|_| scrolled != 0.0) {
            let share = f64::from(((pointer.x - rect.left()) / rect.width()).clamp(0.0, 1.0));
            let around = from + (until.since(from) as f64 * share) as i64;
            let mut replay = view.replay.clone();
            replay.zoom_window(f64::from(-scrolled / 200.0).exp(), around, Some(range));
            let (from, until) = replay.window.unwrap_or(range);
            commands.push(Command::Window(from, until));
        }
    }

    paint(ui, area, rect, (from, until), recorded, view, answers, &x, palette);
    if response.has_focus() {
        ui.painter().rect_stroke(rect, 2.0, Stroke::new(2.0, palette.focus), egui::StrokeKind::Outside);
        // The focused time line scrubs with the arrows that focus keeps from the key table.
        let step = |key: Key| ui.input(|input| input.key_pressed(key));
        let by = if step(Key::ArrowRight) {
            SECOND
        } else if step(Key::ArrowLeft) {
            -SECOND
        } else {
            0
        };
        if by != 0 {
            commands.push(Command::Seek(view.replay.at + by));
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "one painting, split off for length alone")]
fn paint(
    ui: &Ui,
    area: Rect,
    rect: Rect,
    (from, until): (UtcNanos, UtcNanos),
    recorded: &Recorded,
    view: &ViewState,
    answers: &Answers,
    x: &impl Fn(UtcNanos) -> f32,
    palette: &Palette,
) {
    let painter = ui.painter();
    let clip = painter.with_clip_rect(painter.clip_rect().intersect(rect.expand2(vec2(8.0, 0.0))));
    let tracks = [rect.top() + 12.0, rect.top() + 30.0];
    let range = recorded.range.unwrap_or((from, until));
    for (y, name) in tracks.into_iter().zip(["signals", "video"]) {
        painter.text(pos2(area.left() + 6.0, y), Align2::LEFT_CENTER, name, font(size::SMALL), palette.weak);
        painter.hline(rect.x_range(), y, Stroke::new(1.0, palette.rule));
    }
    let bar = |y: f32, start: UtcNanos, end: UtcNanos| {
        Rect::from_min_max(
            pos2(x(start).max(rect.left()), y - 5.0),
            pos2(x(end).min(rect.right()).max(x(start).max(rect.left()) + 1.0), y + 5.0),
        )
    };
    clip.rect_filled(bar(tracks[0], range.0, range.1), 0.0, palette.envelope);
    let camera = answers.camera(view).map(|camera| camera.id);
    for (_, covered) in recorded.video.iter().filter(|(of, _)| Some(*of) == camera) {
        for (start, end) in covered.iter().filter(|(start, end)| *end >= from && *start <= until) {
            clip.rect_filled(bar(tracks[1], *start, *end), 0.0, palette.envelope);
        }
    }
    let listed = answers.listed(view);
    for (since, end, id) in &recorded.advisories {
        let end = end.unwrap_or(range.1);
        if end < from || *since > until {
            continue;
        }
        // What kind it is comes with its details; until then it has the shape alone.
        let kind = listed.iter().find(|advisory| advisory.id == *id).map(|advisory| advisory.kind);
        let colour = kind.map_or(palette.text, |kind| marks::kind_colour(palette, kind));
        clip.rect_filled(bar(tracks[0], *since, end), 0.0, colour.gamma_multiply(0.55));
        marks::paint_kind(&clip, pos2(x(*since), tracks[0]), 14.0, kind.unwrap_or(AdvisoryKind::Process), colour);
        if view.selected == Some(*id) {
            clip.circle_stroke(pos2(x(*since), tracks[0]), 10.0, Stroke::new(1.5, palette.text));
        }
    }
    paint_axis(ui, rect, tracks[1] + 8.0, (from, until), x, palette);
    let cursor = x(view.replay.at);
    clip.line_segment([pos2(cursor, rect.top()), pos2(cursor, tracks[1] + 12.0)], Stroke::new(2.5, palette.replay));
    let head = vec![pos2(cursor - 7.0, rect.top()), pos2(cursor + 7.0, rect.top()), pos2(cursor, rect.top() + 9.0)];
    clip.add(Shape::convex_polygon(head, palette.replay, Stroke::NONE));
}

fn paint_axis(
    ui: &Ui,
    rect: Rect,
    top: f32,
    (from, until): (UtcNanos, UtcNanos),
    x: &impl Fn(UtcNanos) -> f32,
    palette: &Palette,
) {
    const STEPS_SECONDS: [i64; 13] = [5, 10, 30, 60, 120, 300, 600, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400];
    let fits = (rect.width() / 110.0).max(1.0) as i64;
    let span = until.since(from);
    let whole_days = (span / fits / (86_400 * SECOND) + 1) * 86_400 * SECOND;
    let step =
        STEPS_SECONDS.into_iter().map(|step| step * SECOND).find(|step| span / step <= fits).unwrap_or(whole_days);
    let mut time = from.floor_to(step) + step;
    while time < until {
        let at = x(time);
        ui.painter().vline(at, top..=top + 4.0, Stroke::new(1.0, palette.rule));
        let text = if step < 60 * SECOND {
            time_text::clock(time)
        } else if step < 86_400 * SECOND {
            time_text::clock_minutes(time)
        } else {
            time_text::date(time)
        };
        if at - 30.0 > rect.left() && at + 30.0 < rect.right() {
            ui.painter().text(pos2(at, top + 4.0), Align2::CENTER_TOP, text, font(size::SMALL), palette.weak);
        }
        time = time + step;
    }
}
