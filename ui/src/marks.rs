//! The shape that goes with every colour, so that no meaning rests on colour alone.

use egui::{Align2, Color32, Painter, Pos2, Rect, Response, Sense, Shape, Stroke, StrokeKind, Ui, Vec2, pos2, vec2};
use sightglass_protocol::{AdvisoryKind, HealthState, message::LineState};

use crate::theme::{Palette, font};

/// The colour of an advisory's kind.
pub(crate) const fn kind_colour(palette: &Palette, kind: AdvisoryKind) -> Color32 {
    match kind {
        AdvisoryKind::Process => palette.process,
        AdvisoryKind::Sensor => palette.sensor,
        AdvisoryKind::Camera => palette.camera,
        AdvisoryKind::Model => palette.model,
    }
}

/// A diamond for the process, a triangle for a sensor, a square for a camera, a ring for the model.
pub(crate) fn paint_kind(painter: &Painter, center: Pos2, side: f32, kind: AdvisoryKind, colour: Color32) {
    let half = side / 2.0;
    match kind {
        AdvisoryKind::Process => painter.add(Shape::convex_polygon(
            vec![
                center + vec2(0.0, -half),
                center + vec2(half, 0.0),
                center + vec2(0.0, half),
                center + vec2(-half, 0.0),
            ],
            colour,
            Stroke::NONE,
        )),
        AdvisoryKind::Sensor => painter.add(Shape::convex_polygon(
            vec![center + vec2(0.0, -half * 0.9), center + vec2(half, half * 0.8), center + vec2(-half, half * 0.8)],
            colour,
            Stroke::NONE,
        )),
        AdvisoryKind::Camera => {
            painter.rect_filled(Rect::from_center_size(center, Vec2::splat(side * 0.82)), 1.0, colour)
        }
        AdvisoryKind::Model => painter.circle_stroke(center, side * 0.36, Stroke::new(side * 0.2, colour)),
    };
}

/// The colour of a line's state; grey unless something is wrong.
pub(crate) const fn state_colour(palette: &Palette, state: LineState) -> Color32 {
    match state {
        LineState::Normal | LineState::Stopped | LineState::Learning => palette.weak,
        LineState::SensorAdvisory | LineState::NoData => palette.sensor,
        LineState::Advisory => palette.process,
    }
}

/// The shape of a line's state.
pub(crate) fn paint_state(painter: &Painter, center: Pos2, side: f32, state: LineState, palette: &Palette) {
    let colour = state_colour(palette, state);
    let stroke = Stroke::new(side * 0.12, colour);
    match state {
        LineState::Normal => {
            painter.circle_stroke(center, side * 0.4, stroke);
        }
        LineState::Stopped => {
            painter.rect_stroke(
                Rect::from_center_size(center, Vec2::splat(side * 0.7)),
                0.0,
                stroke,
                StrokeKind::Middle,
            );
        }
        LineState::Learning => {
            for step in [-1.0, 0.0, 1.0] {
                painter.circle_filled(center + vec2(step * side * 0.32, 0.0), side * 0.11, colour);
            }
        }
        LineState::SensorAdvisory => paint_kind(painter, center, side, AdvisoryKind::Sensor, colour),
        LineState::Advisory => paint_kind(painter, center, side, AdvisoryKind::Process, colour),
        LineState::NoData => paint_cross(painter, center, side * 0.7, stroke),
    }
}

/// The words of NE 107.
pub(crate) const fn health_word(state: HealthState) -> &'static str {
    match state {
        HealthState::Good => "GOOD",
        HealthState::MaintenanceRequired => "MAINTENANCE",
        HealthState::OutOfSpecification => "OUT OF SPEC",
        HealthState::CheckFunction => "CHECK",
        HealthState::Failure => "FAILURE",
    }
}

/// The shape of a health state.
pub(crate) fn paint_health(painter: &Painter, center: Pos2, side: f32, state: HealthState, palette: &Palette) {
    let stroke = Stroke::new(side * 0.12, if state == HealthState::Good { palette.weak } else { palette.sensor });
    let half = side * 0.42;
    match state {
        HealthState::Good => {
            painter.circle_stroke(center, half, stroke);
        }
        HealthState::MaintenanceRequired => {
            let points = vec![
                center + vec2(0.0, -half),
                center + vec2(half, 0.0),
                center + vec2(0.0, half),
                center + vec2(-half, 0.0),
            ];
            painter.add(Shape::closed_line(points, stroke));
        }
        HealthState::OutOfSpecification => {
            let points =
                vec![center + vec2(0.0, -half), center + vec2(half, half * 0.8), center + vec2(-half, half * 0.8)];
            painter.add(Shape::closed_line(points, stroke));
        }
        HealthState::CheckFunction => {
            painter.circle_stroke(center, half, stroke);
            painter.text(center, Align2::CENTER_CENTER, "?", font(side * 0.7), stroke.color);
        }
        HealthState::Failure => paint_cross(painter, center, half * 2.0, stroke),
    }
}

fn paint_cross(painter: &Painter, center: Pos2, side: f32, stroke: Stroke) {
    let half = side / 2.0;
    painter.line_segment([center - Vec2::splat(half), center + Vec2::splat(half)], stroke);
    painter.line_segment([center + vec2(half, -half), center + vec2(-half, half)], stroke);
}

/// Slanted lines over `rect`, `step` points apart: values that may not be relied on.
pub(crate) fn paint_hatch(painter: &Painter, rect: Rect, step: f32, stroke: Stroke) {
    if !rect.is_positive() {
        return;
    }
    let painter = painter.with_clip_rect(painter.clip_rect().intersect(rect));
    // Anchored to the window, so that neighbouring blocks continue each other's lines.
    let mut offset = ((rect.left() + rect.top()) / step).floor() * step;
    while offset < rect.right() + rect.bottom() {
        let (top, bottom) = (pos2(offset - rect.top(), rect.top()), pos2(offset - rect.bottom(), rect.bottom()));
        painter.line_segment([top, bottom], stroke);
        offset += step;
    }
}

/// Room for a mark in a row of text.
pub(crate) fn space(ui: &mut Ui, side: f32) -> (Response, Pos2) {
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(side), Sense::hover());
    (response, rect.center())
}
