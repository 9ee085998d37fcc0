//! The stacked trends: one lane a tag; those of open advisories first, then what the line did, then what people set.

use egui::{Align2, Rect, ScrollArea, Sense, Shape, Stroke, Ui, WidgetInfo, pos2, vec2};
use sightglass_protocol::{Advisory, AdvisoryKind, LineInfo, Role, Subject, TagId, UtcNanos, message::LineView};

use crate::{
    answers::{Answers, Stage},
    marks,
    theme::{self, Palette, font, size},
    time_text,
    trend::{self, TimeScale, Trend},
    view::ViewState,
};

/// Height of a lane.
const LANE_POINTS: f32 = 58.0;
/// Width of a lane's name and value.
pub(crate) const LABEL_POINTS: f32 = 190.0;
/// Width of the axis's two numbers.
pub(crate) const AXIS_POINTS: f32 = 54.0;
/// Room for the scroll bar.
pub(crate) const SCROLL_POINTS: f32 = 14.0;
/// Signals are asked for in steps of so many points, so that a window being resized does not ask anew each frame.
const PIXELS_STEP: u32 = 50;
/// The most points a tag that are ever asked for.
const PIXELS_MAX: u32 = 2000;

/// The tags in the order of their lanes, each with the kind of the advisory that names it.
fn order(
    line: &LineInfo,
    listed: &[&Advisory],
    selected: Option<&Advisory>,
    at: UtcNanos,
    is_set: impl Fn(TagId) -> bool,
) -> Vec<(TagId, Option<AdvisoryKind>)> {
    let mut order: Vec<(TagId, Option<AdvisoryKind>)> = Vec::with_capacity(line.tags.len());
    let open = listed.iter().copied().filter(|advisory| Stage::of(advisory, at) == Stage::Open);
    for advisory in selected.into_iter().chain(open) {
        for cause in &advisory.causes {
            if let Subject::Tag(tag) = cause.subject
                && line.tags.contains(&tag)
                && !order.iter().any(|(known, _)| *known == tag)
            {
                order.push((tag, Some(advisory.kind)));
            }
        }
    }
    let (set, observed): (Vec<TagId>, Vec<TagId>) =
        line.tags.iter().filter(|tag| !order.iter().any(|(known, _)| known == *tag)).partition(|tag| is_set(**tag));
    order.extend(observed.into_iter().chain(set).map(|tag| (tag, None)));
    order
}

/// The time scale that lanes, score track and axis share.
pub(crate) fn scale(rect: Rect, shown: &LineView, line: &LineInfo, view: &ViewState) -> TimeScale {
    let left = rect.left() + LABEL_POINTS + AXIS_POINTS;
    TimeScale::new(left, rect.right() - SCROLL_POINTS, shown.at, view.span_ns(), line.tick_ns)
}

/// Shows the lanes in the room that is left.
pub(crate) fn show(ui: &mut Ui, answers: &Answers, view: &mut ViewState, line: &LineInfo, shown: &LineView) {
    let palette = theme::palette(ui.ctx());
    let area = ui.available_rect_before_wrap();
    let scale = scale(area, shown, line, view);
    let pixels = ((scale.now_x - scale.left).max(1.0) * ui.ctx().pixels_per_point()) as u32;
    view.trends_pixels = pixels.div_ceil(PIXELS_STEP).saturating_mul(PIXELS_STEP).min(PIXELS_MAX);

    let listed = answers.listed(view);
    let selected = view.selected.and_then(|id| answers.find_advisory(id, view));
    let is_set = |tag| answers.tag(tag).is_some_and(|tag| matches!(tag.role, Role::Setpoint | Role::Mode));
    let order = order(line, &listed, selected, shown.at, is_set);
    let mut scroll = ScrollArea::vertical()
        .id_salt("trends")
        .auto_shrink(false)
        .scroll_bar_visibility(egui::containers::scroll_area::ScrollBarVisibility::AlwaysVisible);
    if std::mem::take(&mut view.trends_moved) {
        scroll = scroll.vertical_scroll_offset(view.trends_offset);
    }
    ui.spacing_mut().item_spacing.y = 0.0;
    let output = scroll.show_rows(ui, LANE_POINTS, order.len(), |ui, rows| {
        for (tag, kind) in &order[rows] {
            let (row, response) = ui.allocate_exact_size(vec2(ui.available_width(), LANE_POINTS), Sense::hover());
            let Some(tag) = answers.tag(*tag) else { continue };
            let Some(signal) = shown.signals.iter().find(|signal| signal.tag == tag.id) else { continue };
            let forecast = shown.forecast.as_ref().and_then(|forecast| {
                let of_tag = forecast.tags.iter().find(|of| of.tag == tag.id)?;
                Some((of_tag, forecast.time, forecast.tick_ns))
            });
            let trend = Trend { tag, signal, forecast };
            let rect = Rect::from_min_max(pos2(area.left(), row.top()), pos2(area.right(), row.bottom()));
            let spoken = paint_lane(ui, rect, &scale, &trend, *kind, palette);
            response.widget_info(|| WidgetInfo::labeled(egui::Role::Label, true, &spoken));
            if !tag.description.is_empty() {
                response.on_hover_text(&tag.description);
            }
        }
    });
    view.trends_offset = output.state.clamped_offset().y;
    view.trends_page = (output.inner_rect.height() - LANE_POINTS).max(LANE_POINTS);

    // The selected advisory's time, through all lanes.
    if let Some(advisory) = selected {
        let painter = ui.painter().with_clip_rect(area);
        paint_since(&painter, area, &scale, advisory, palette);
    }
}

/// A line at which an advisory begins, where that is shown.
pub(crate) fn paint_since(
    painter: &egui::Painter,
    area: Rect,
    scale: &TimeScale,
    advisory: &Advisory,
    palette: &Palette,
) {
    if advisory.since < scale.from || advisory.since > scale.at {
        return;
    }
    let x = scale.x(advisory.since);
    let colour = marks::kind_colour(palette, advisory.kind);
    let path = [pos2(x, area.top()), pos2(x, area.bottom())];
    painter.extend(Shape::dashed_line(&path, Stroke::new(1.5, colour), 3.0, 3.0));
}

fn paint_lane(
    ui: &Ui,
    rect: Rect,
    scale: &TimeScale,
    trend: &Trend<'_>,
    kind: Option<AdvisoryKind>,
    palette: &Palette,
) -> String {
    let painter = ui.painter();
    let tag = trend.tag;
    let right = rect.right() - SCROLL_POINTS;
    painter.hline(rect.left()..=right, rect.bottom() - 0.5, Stroke::new(1.0, palette.rule.gamma_multiply(0.6)));

    // Name, with the mark of the advisory that blames it.
    let mut x = rect.left() + 4.0;
    if let Some(kind) = kind {
        let colour = marks::kind_colour(palette, kind);
        painter.rect_filled(Rect::from_min_max(rect.min, pos2(rect.left() + 3.0, rect.bottom() - 1.0)), 0.0, colour);
        marks::paint_kind(painter, pos2(x + 10.0, rect.top() + 16.0), 14.0, kind, colour);
        x += 22.0;
    }
    let clip = painter.with_clip_rect(
        painter.clip_rect().intersect(Rect::from_min_max(rect.min, pos2(rect.left() + LABEL_POINTS, rect.bottom()))),
    );
    clip.text(pos2(x, rect.top() + 7.0), Align2::LEFT_TOP, &tag.name, font(size::BODY), palette.text);
    // Beside the value, where there is room whatever the tag is called.
    let role = match tag.role {
        Role::Setpoint => "setpoint",
        Role::Mode => "mode",
        Role::Measurement | Role::Output => "",
    };

    // The value at the shown moment, or why there is none.
    let (low, high) = trend.axis();
    let range = tag.range.map_or(high - low, |range| range.1 - range.0);
    let at_value = pos2(rect.left() + 4.0 + if kind.is_some() { 22.0 } else { 0.0 }, rect.top() + 28.0);
    let (value, quality) = match trend.current(scale.at) {
        Some(point) if point.quality.is_usable() && point.last.is_finite() => {
            let text = if tag.role == Role::Mode && point.last.fract() == 0.0 {
                format!("{:.0}", point.last)
            } else {
                time_text::value(point.last, range)
            };
            (Some(text), point.quality.word())
        }
        Some(point) => (None, point.quality.word()),
        None => (None, "no value"),
    };
    let spoken = match value {
        Some(value) => {
            let number = clip.text(at_value, Align2::LEFT_TOP, &value, font(size::LARGE), palette.text);
            let unit = pos2(number.right() + 4.0, number.bottom() - 2.0);
            clip.text(
                unit,
                Align2::LEFT_BOTTOM,
                format!("{}  {role}", tag.unit).trim(),
                font(size::SMALL),
                palette.weak,
            );
            format!("{} {value} {}", tag.name, tag.unit)
        }
        None => {
            let galley = clip.layout_no_wrap(quality.to_owned(), font(size::BODY), palette.text);
            let chip = Rect::from_min_size(at_value, galley.size() + vec2(12.0, 2.0));
            marks::paint_hatch(&clip, chip, 7.0, Stroke::new(1.0, palette.hatch));
            clip.rect_filled(chip.shrink2(vec2(4.0, 0.0)), 2.0, palette.panel);
            clip.galley(chip.min + vec2(6.0, 1.0), galley, palette.text);
            format!("{} {quality}", tag.name)
        }
    };

    // The axis: its two ends.
    let plot = Rect::from_min_max(pos2(scale.left, rect.top() + 5.0), pos2(scale.right, rect.bottom() - 6.0));
    let numbers = pos2(scale.left - 5.0, plot.top());
    let axis_range = (high - low) * 10.0;
    for (y, align, value) in
        [(plot.top() - 2.0, Align2::RIGHT_TOP, high), (plot.bottom() + 2.0, Align2::RIGHT_BOTTOM, low)]
    {
        let text = time_text::value(value, axis_range.max(0.01));
        painter.text(pos2(numbers.x, y), align, text, font(size::SMALL - 1.0), palette.weak);
    }
    painter.vline(scale.left, plot.y_range(), Stroke::new(1.0, palette.rule));
    painter.vline(scale.now_x, rect.y_range(), Stroke::new(1.0, palette.weak));
    trend::paint(painter, plot, scale, trend, palette);
    spoken
}
