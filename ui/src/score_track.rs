//! The line's one score over the shown time, against its limit, and the time axis that all lanes share.

use egui::{Align2, Color32, Mesh, Painter, Pos2, Rect, Sense, Shape, Stroke, Ui, WidgetInfo, pos2, vec2};
use sightglass_protocol::{Advisory, LineInfo, UtcNanos, message::LineView, time::SECOND};

use crate::{
    answers::Answers,
    lanes::{self, LABEL_POINTS},
    marks,
    theme::{self, Palette, font, size},
    time_text,
    trend::TimeScale,
    view::ViewState,
};

/// Height of the track and its axis.
pub(crate) const TRACK_POINTS: f32 = 92.0;
const AXIS_HEIGHT: f32 = 22.0;
/// A score above this is drawn at the top, with its number.
const SCORE_DRAWN_MAX: f32 = 4.0;

/// Shows the track in the room that is left.
pub(crate) fn show(ui: &mut Ui, answers: &Answers, view: &ViewState, line: &LineInfo, shown: &LineView) {
    let palette = theme::palette(ui.ctx());
    let rect = ui.available_rect_before_wrap();
    let response = ui.allocate_rect(rect, Sense::hover());
    let scale = lanes::scale(rect, shown, line, view);
    let painter = ui.painter();
    let plot = Rect::from_min_max(pos2(scale.left, rect.top() + 6.0), pos2(scale.right, rect.bottom() - AXIS_HEIGHT));
    painter.hline(rect.x_range(), rect.top() + 0.5, Stroke::new(1.0, palette.rule));
    let last = shown.scores.last().map(|(_, score)| *score);
    let name = Rect::from_min_max(rect.min, pos2(rect.left() + LABEL_POINTS, plot.bottom()));
    painter.text(name.left_top() + vec2(4.0, 6.0), Align2::LEFT_TOP, "Score", font(size::BODY), palette.text);
    let value = last.map_or_else(|| "not judged".to_owned(), |score| format!("{score:.2}"));
    let number =
        painter.text(name.left_top() + vec2(4.0, 26.0), Align2::LEFT_TOP, &value, font(size::LARGE), palette.text);
    if last.is_some() {
        let note = number.right_bottom() + vec2(5.0, -2.0);
        painter.text(note, Align2::LEFT_BOTTOM, "limit 1.00", font(size::SMALL), palette.weak);
    }
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Label, true, format!("Score {value}, limit 1.00")));

    for advisory in answers.listed(view) {
        paint_advisory(painter, plot, &scale, advisory, view.selected == Some(advisory.id), palette);
    }
    let top = shown.scores.iter().map(|(_, score)| *score).fold(1.5, f32::max).min(SCORE_DRAWN_MAX);
    let x = |time: UtcNanos| scale.x(time);
    paint_scores(painter, plot, &shown.scores, top, &x, palette);
    let limit = plot.bottom() - plot.height() / top;
    painter.text(pos2(scale.left - 5.0, limit), Align2::RIGHT_CENTER, "limit", font(size::SMALL - 1.0), palette.weak);
    painter.vline(scale.left, plot.y_range(), Stroke::new(1.0, palette.rule));
    paint_axis(painter, Rect::from_min_max(pos2(scale.left, plot.bottom()), rect.max), &scale, palette);
    let now_line = Stroke::new(1.0, palette.weak);
    painter.vline(scale.now_x, rect.top()..=plot.bottom(), now_line);
}

/// The time of an advisory, as a bar under the scores.
fn paint_advisory(
    painter: &Painter,
    plot: Rect,
    scale: &TimeScale,
    advisory: &Advisory,
    selected: bool,
    palette: &Palette,
) {
    let until = advisory.closed.unwrap_or(scale.at).min(scale.at);
    if until < scale.from || advisory.since > scale.at {
        return;
    }
    let (x0, x1) = (scale.x(advisory.since.max(scale.from)), scale.x(until));
    let colour = marks::kind_colour(palette, advisory.kind);
    let bar = Rect::from_min_max(pos2(x0, plot.top()), pos2(x1.max(x0 + 3.0), plot.bottom()));
    painter.rect_filled(bar, 0.0, colour.gamma_multiply(if selected { 0.22 } else { 0.12 }));
    if advisory.since >= scale.from {
        marks::paint_kind(painter, pos2(x0, plot.top() + 7.0), 13.0, advisory.kind, colour);
    }
    if selected {
        lanes::paint_since(painter, plot, scale, advisory, palette);
    }
}

/// Paints scores as a line over `plot`, with the limit dashed at 1; what is above it is filled. `top` is the score at
/// the upper edge.
pub(crate) fn paint_scores(
    painter: &Painter,
    plot: Rect,
    scores: &[(UtcNanos, f32)],
    top: f32,
    x: &impl Fn(UtcNanos) -> f32,
    palette: &Palette,
) {
    let y = |score: f32| plot.bottom() - plot.height() * (score / top).clamp(0.0, 1.0);
    let limit = y(1.0);
    let painter = painter.with_clip_rect(painter.clip_rect().intersect(plot.expand(1.0)));
    let path = [pos2(plot.left(), limit), pos2(plot.right(), limit)];
    painter.extend(Shape::dashed_line(&path, Stroke::new(1.0, palette.limit), 6.0, 4.0));
    let usual = usual_distance(scores);
    let mut run: Vec<Pos2> = Vec::new();
    let mut over = Mesh::default();
    let mut before: Option<(UtcNanos, f32)> = None;
    for &(time, score) in scores {
        if !score.is_finite() || before.is_some_and(|(previous, _)| time.since(previous) > usual.saturating_mul(4)) {
            painter.line(std::mem::take(&mut run), Stroke::new(1.5, palette.trace));
            before = None;
        }
        if !score.is_finite() {
            continue;
        }
        if let Some((previous, last)) = before {
            fill_above(&mut over, [pos2(x(previous), y(last)), pos2(x(time), y(score))], limit, palette.process);
        }
        run.push(pos2(x(time), y(score)));
        before = Some((time, score));
    }
    painter.add(Shape::mesh(over));
    if run.len() > 1 {
        painter.line(run, Stroke::new(1.5, palette.trace));
    }
    // A score that leaves the track is written instead of squeezing all others flat.
    let highest = scores.iter().filter(|(_, score)| *score > top).max_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((time, score)) = highest {
        let near_end = x(*time) > plot.right() - 60.0;
        let align = if near_end { Align2::RIGHT_TOP } else { Align2::LEFT_TOP };
        let at = pos2(x(*time) + if near_end { -4.0 } else { 4.0 }, plot.top());
        painter.text(at, align, format!("peak {score:.1}"), font(size::SMALL), palette.text);
    }
}

/// The middle distance between neighbours.
fn usual_distance(scores: &[(UtcNanos, f32)]) -> i64 {
    let mut distances: Vec<i64> = scores.windows(2).map(|pair| pair[1].0.since(pair[0].0)).collect();
    let middle = distances.len() / 2;
    if distances.is_empty() { SECOND } else { *distances.select_nth_unstable(middle).1 }
}

fn fill_above(mesh: &mut Mesh, [a, b]: [Pos2; 2], limit: f32, colour: Color32) {
    if a.y >= limit && b.y >= limit {
        return;
    }
    let crossing = |inside: Pos2, outside: Pos2| {
        let share = (limit - inside.y) / (outside.y - inside.y);
        pos2(inside.x + (outside.x - inside.x) * share, limit)
    };
    let (a, b) = match (a.y < limit, b.y < limit) {
        (true, false) => (a, crossing(a, b)),
        (false, true) => (crossing(b, a), b),
        _ => (a, b),
    };
    let first = mesh.vertices.len() as u32;
    let fill = colour.gamma_multiply(0.55);
    for corner in [a, b, pos2(a.x, limit), pos2(b.x, limit)] {
        mesh.colored_vertex(corner, fill);
    }
    mesh.add_triangle(first, first + 1, first + 2);
    mesh.add_triangle(first + 1, first + 3, first + 2);
}

fn paint_axis(painter: &Painter, rect: Rect, scale: &TimeScale, palette: &Palette) {
    let write = |x: f32, align: Align2, text: &str| {
        painter.text(pos2(x, rect.top() + 4.0), align, text, font(size::SMALL), palette.weak)
    };
    let moment = time_text::clock(scale.at);
    let shown = write(scale.now_x, Align2::CENTER_TOP, &moment);
    painter.hline(rect.left()..=scale.right, rect.top(), Stroke::new(1.0, palette.rule));
    // Round times, as many as there is room for.
    const STEPS_SECONDS: [i64; 11] = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
    let fits = ((scale.now_x - scale.left) / 90.0).max(1.0) as i64;
    let span = scale.at.since(scale.from);
    let step =
        STEPS_SECONDS.into_iter().map(|step| step * SECOND).find(|step| span / step <= fits).unwrap_or(3600 * SECOND);
    let mut time = scale.from.floor_to(step) + step;
    while time < scale.at {
        let x = scale.x(time);
        painter.vline(x, rect.top()..=rect.top() + 4.0, Stroke::new(1.0, palette.rule));
        let text = if step < 60 * SECOND { time_text::clock(time) } else { time_text::clock_minutes(time) };
        let width = if step < 60 * SECOND { 30.0 } else { 20.0 };
        if x + width < shown.left() - 4.0 && x - width > scale.left - 20.0 {
            write(x, Align2::CENTER_TOP, &text);
        }
        time = time + step;
    }
    // The forecast's own scale.
    write(scale.right, Align2::RIGHT_TOP, &format!("+{}", time_text::duration(scale.ahead_ns)));
}
