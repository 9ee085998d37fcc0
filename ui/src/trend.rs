//! Paints one signal over time: envelope and mean, the band predicted one tick ahead behind it, the forecast past the
//! shown moment as a fan. What was not measured is not drawn: gaps stay gaps, and what may not be relied on is
//! hatched and named.

use egui::{Align2, Color32, Mesh, Painter, Pos2, Rect, Shape, Stroke, pos2};
use sightglass_protocol::{
    Band, HORIZONS, Role, TagForecast, TagInfo, UtcNanos,
    message::{Point, Signal},
};

use crate::{
    marks,
    theme::{Palette, font, size},
};

/// The share of the width that the forecast gets at least: at long spans it has a scale of its own, marked as such.
const AHEAD_SHARE_MIN: f32 = 0.16;
/// Hatched blocks narrower than this stay without a word.
const WORD_POINTS_MIN: f32 = 46.0;

/// Time from left to right: the past up to the shown moment, and the forecast beyond it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeScale {
    pub(crate) left: f32,
    pub(crate) now_x: f32,
    pub(crate) right: f32,
    pub(crate) from: UtcNanos,
    pub(crate) at: UtcNanos,
    pub(crate) ahead_ns: i64,
}

impl TimeScale {
    pub(crate) fn new(left: f32, right: f32, at: UtcNanos, span_ns: i64, tick_ns: i64) -> Self {
        let ahead_ns = i64::from(HORIZONS[HORIZONS.len() - 1]) * tick_ns;
        let natural = ahead_ns as f32 / (span_ns + ahead_ns).max(1) as f32;
        let share = natural.clamp(AHEAD_SHARE_MIN, 0.4);
        Self { left, now_x: right - (right - left) * share, right, from: at - span_ns, at, ahead_ns: ahead_ns.max(1) }
    }

    /// Where a time stands; the forecast has its own scale.
    pub(crate) fn x(&self, time: UtcNanos) -> f32 {
        if time <= self.at {
            let share = time.since(self.from) as f64 / self.at.since(self.from).max(1) as f64;
            self.left + (f64::from(self.now_x - self.left) * share) as f32
        } else {
            let share = time.since(self.at) as f64 / self.ahead_ns as f64;
            self.now_x + (f64::from(self.right - self.now_x) * share) as f32
        }
    }
}

/// What belongs to one signal.
pub(crate) struct Trend<'a> {
    pub(crate) tag: &'a TagInfo,
    pub(crate) signal: &'a Signal,
    /// The forecast, and the tick at which and for which it was made.
    pub(crate) forecast: Option<(&'a TagForecast, UtcNanos, i64)>,
}

impl Trend<'_> {
    /// The newest point, if it belongs to the shown moment rather than to some time before a gap.
    pub(crate) fn current(&self, at: UtcNanos) -> Option<&Point> {
        self.signal.points.last().filter(|point| at.since(point.time) <= self.signal.gap_ns.saturating_mul(2))
    }

    /// Lowest and highest value of the axis: all that is drawn, but never so close that noise fills the lane.
    pub(crate) fn axis(&self) -> (f64, f64) {
        let mut low = f64::INFINITY;
        let mut high = f64::NEG_INFINITY;
        let mut widen = |a: f64, b: f64| {
            if a.is_finite() && b.is_finite() {
                low = low.min(a);
                high = high.max(b);
            }
        };
        for point in &self.signal.points {
            widen(point.min, point.max);
        }
        for (_, band) in &self.signal.band {
            widen(f64::from(band.low), f64::from(band.high));
        }
        if let Some((forecast, ..)) = self.forecast {
            for band in &forecast.bands {
                widen(f64::from(band.low), f64::from(band.high));
            }
        }
        let range = self.tag.range.unwrap_or((0.0, 1.0));
        if low > high {
            return range;
        }
        let width_min = ((range.1 - range.0) * 0.05).max(1e-9);
        let width = (high - low).max(width_min);
        // Rounded outwards to a step, so that the axis does not tremble with every sample.
        let step = nice_step(width / 4.0);
        let middle = f64::midpoint(low, high);
        (((middle - width * 0.55) / step).floor() * step, ((middle + width * 0.55) / step).ceil() * step)
    }
}

/// The next of 1, 2, 5, 10, … at or above `wanted`.
pub(crate) fn nice_step(wanted: f64) -> f64 {
    let decade = 10f64.powf(wanted.max(1e-12).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * decade).find(|step| *step >= wanted).unwrap_or(10.0 * decade)
}

/// Paints the signal into `rect`.
pub(crate) fn paint(painter: &Painter, rect: Rect, scale: &TimeScale, trend: &Trend<'_>, palette: &Palette) {
    let (low, high) = trend.axis();
    let height = (high - low).max(f64::MIN_POSITIVE);
    let y = |value: f64| {
        let share = ((value - low) / height).clamp(-0.05, 1.05);
        rect.bottom() - rect.height() * share as f32
    };
    let painter = painter.with_clip_rect(painter.clip_rect().intersect(rect));
    paint_band(&painter, scale, trend.signal, &y, palette);
    if let Some((forecast, time, tick_ns)) = trend.forecast {
        paint_fan(&painter, scale, forecast, time, tick_ns, &y, palette);
    }
    paint_untrusted(&painter, rect, scale, trend.signal, palette);
    paint_trace(&painter, scale, trend, &y, palette);
}

fn paint_band(painter: &Painter, scale: &TimeScale, signal: &Signal, y: &impl Fn(f64) -> f32, palette: &Palette) {
    // Bands come once a tick, or thinned out to the width: twice the usual distance is a gap.
    let usual = signal.band.windows(2).map(|pair| pair[1].0.since(pair[0].0)).min().unwrap_or(0);
    let mut mesh = Mesh::default();
    for pair in signal.band.windows(2) {
        let [(t0, a), (t1, b)] = [pair[0], pair[1]];
        if t1.since(t0) > usual.saturating_mul(3) {
            continue;
        }
        quad(&mut mesh, scale.x(t0), scale.x(t1), (&a, &b), y, palette.band);
    }
    painter.add(Shape::mesh(mesh));
}

fn paint_fan(
    painter: &Painter,
    scale: &TimeScale,
    forecast: &TagForecast,
    time: UtcNanos,
    tick_ns: i64,
    y: &impl Fn(f64) -> f32,
    palette: &Palette,
) {
    let at = |index: usize| scale.x(time + i64::from(HORIZONS[index]) * tick_ns);
    let mut mesh = Mesh::default();
    for index in 1..HORIZONS.len() {
        let (a, b) = (&forecast.bands[index - 1], &forecast.bands[index]);
        quad(&mut mesh, at(index - 1), at(index), (a, b), y, palette.fan);
    }
    painter.add(Shape::mesh(mesh));
    let middle: Vec<Pos2> = forecast
        .bands
        .iter()
        .enumerate()
        .filter(|(_, band)| band.mid.is_finite())
        .map(|(index, band)| pos2(at(index), y(f64::from(band.mid))))
        .collect();
    painter.extend(Shape::dashed_line(&middle, Stroke::new(1.5, palette.median), 5.0, 4.0));
}

fn quad(mesh: &mut Mesh, x0: f32, x1: f32, (a, b): (&Band, &Band), y: &impl Fn(f64) -> f32, colour: Color32) {
    if [a.low, a.high, b.low, b.high].iter().all(|value| value.is_finite()) {
        let [a_low, a_high] = [a.low, a.high].map(|value| y(f64::from(value)));
        let [b_low, b_high] = [b.low, b.high].map(|value| y(f64::from(value)));
        corners(mesh, [pos2(x0, a_high), pos2(x1, b_high), pos2(x0, a_low), pos2(x1, b_low)], colour);
    }
}

fn corners(mesh: &mut Mesh, corners: [Pos2; 4], colour: Color32) {
    let first = mesh.vertices.len() as u32;
    for corner in corners {
        mesh.colored_vertex(corner, colour);
    }
    mesh.add_triangle(first, first + 1, first + 2);
    mesh.add_triangle(first + 1, first + 3, first + 2);
}

/// Hatches each stretch of points that may not be relied on, and names its worst quality.
fn paint_untrusted(painter: &Painter, rect: Rect, scale: &TimeScale, signal: &Signal, palette: &Palette) {
    let points = &signal.points;
    let mut index = 0;
    while index < points.len() {
        if points[index].quality.is_usable() {
            index += 1;
            continue;
        }
        let first = index;
        let mut worst = points[index].quality;
        let mut end = points[index].time;
        while index < points.len() && !points[index].quality.is_usable() {
            worst = worst.max(points[index].quality);
            end = points[index].time;
            index += 1;
            if index < points.len() && points[index].time.since(end) > signal.gap_ns {
                break;
            }
        }
        // A point stands for the time up to its neighbour; the last one up to the shown moment if that is near.
        let next = points.get(index).map_or(scale.at, |point| point.time);
        if next.since(end) <= signal.gap_ns {
            end = end.max(next);
        }
        let (x0, x1) =
            (scale.x(points[first].time).max(rect.left()), scale.x(end).max(scale.x(points[first].time) + 2.0));
        let block = Rect::from_x_y_ranges(x0..=x1, rect.y_range());
        marks::paint_hatch(painter, block, 7.0, Stroke::new(1.0, palette.hatch.gamma_multiply(0.7)));
        if block.width() >= WORD_POINTS_MIN {
            let galley = painter.layout_no_wrap(worst.word().to_owned(), font(size::SMALL), palette.text);
            let at = Align2::LEFT_CENTER.anchor_size(block.left_center() + egui::vec2(5.0, 0.0), galley.size());
            painter.rect_filled(at.expand2(egui::vec2(3.0, 0.0)), 2.0, palette.panel);
            painter.galley(at.min, galley, palette.text);
        }
    }
}

fn paint_trace(painter: &Painter, scale: &TimeScale, trend: &Trend<'_>, y: &impl Fn(f64) -> f32, palette: &Palette) {
    let stepped = matches!(trend.tag.role, Role::Setpoint | Role::Mode);
    let stroke = Stroke::new(1.5, palette.trace);
    // The envelope lies under every line, also under those that a gap ends.
    let under = painter.add(Shape::Noop);
    let mut mesh = Mesh::default();
    let mut run: Vec<Pos2> = Vec::new();
    let mut before: Option<&Point> = None;
    let finish = |run: &mut Vec<Pos2>| {
        match run.len() {
            0 => {}
            1 => {
                painter.circle_filled(run[0], 1.5, stroke.color);
            }
            _ => {
                painter.line(run.clone(), stroke);
            }
        }
        run.clear();
    };
    for point in &trend.signal.points {
        if !point.mean.is_finite() {
            finish(&mut run);
            before = None;
            continue;
        }
        let x = scale.x(point.time);
        if let Some(previous) = before {
            if point.time.since(previous.time) > trend.signal.gap_ns {
                finish(&mut run);
            } else if stepped {
                run.push(pos2(x, y(previous.last)));
            } else if point.max > point.min || previous.max > previous.min {
                let x0 = scale.x(previous.time);
                let quad = [
                    pos2(x0, y(previous.max)),
                    pos2(x, y(point.max)),
                    pos2(x0, y(previous.min)),
                    pos2(x, y(point.min)),
                ];
                corners(&mut mesh, quad, palette.envelope.gamma_multiply(0.6));
            }
        }
        run.push(pos2(x, y(if stepped { point.last } else { point.mean })));
        before = Some(point);
    }
    if stepped && let (Some(last), Some(end)) = (before, run.last().copied()) {
        // A setpoint holds until the shown moment.
        if scale.at.since(last.time) <= trend.signal.gap_ns {
            run.push(pos2(scale.now_x, end.y));
        }
    }
    painter.set(under, Shape::mesh(mesh));
    finish(&mut run);
}
