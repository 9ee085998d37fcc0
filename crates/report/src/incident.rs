//! What a line did around an advisory: signals with their predicted bands above, the score below, on one time axis.

use plotters::{coord::Shift, prelude::*};
use sightglass_protocol::{
    Band, UtcNanos,
    time::{MILLISECOND, SECOND},
};

use crate::canvas::{
    BAND, FRAME, FigureError, GRID, INK, LETTER_PIXELS, PAPER, POINTS_MAX, TITLE_PIXELS, WRONG, axis_number, extent,
    letters, pieces, upright_letters,
};

/// The most signals of one figure: what a page holds legibly.
pub const SIGNALS_MAX: usize = 12;

const WIDTH: u32 = 960;
const TITLE_HEIGHT: u32 = 30;
const SIGNAL_HEIGHT: u32 = 120;
/// Room above the curves for the signal's name.
const NAME_HEIGHT: u32 = 20;
const SCORE_HEIGHT: u32 = 130;
const LABELS_LEFT: u32 = 72;
const MARGIN: u32 = 10;
/// Half a time label reaches beyond the last mark of the axis.
const MARGIN_RIGHT: u32 = 34;

/// One signal of an [`IncidentFigure`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IncidentSignal {
    /// The tag's name.
    pub name: String,
    /// Its unit; may be empty.
    pub unit: String,
    /// Values in that unit by time, ascending; NaN where there is no usable one.
    pub values: Vec<(UtcNanos, f64)>,
    /// What was predicted for each time, ascending.
    pub band: Vec<(UtcNanos, Band)>,
}

/// What [`incident_figure`] draws.
#[derive(Clone, Debug, PartialEq)]
pub struct IncidentFigure {
    /// What it shows, in one line.
    pub title: String,
    /// The start of the time axis.
    pub from: UtcNanos,
    /// Its end, later than `from`.
    pub to: UtcNanos,
    /// Two points further apart than this are not joined (three ticks are a good choice).
    pub gap_ns: i64,
    /// The signals, from top to bottom; at most [`SIGNALS_MAX`].
    pub signals: Vec<IncidentSignal>,
    /// The line's score, ascending in time; 1.0 is the limit.
    pub scores: Vec<(UtcNanos, f32)>,
    /// From when on the surprise was there.
    pub since: Option<UtcNanos>,
    /// When the advisory was raised.
    pub opened: Option<UtcNanos>,
    /// When it was over.
    pub closed: Option<UtcNanos>,
}

impl IncidentFigure {
    fn check(&self) -> Result<(), FigureError> {
        let too_many = |what: &str, things, count, count_max| {
            let what = what.to_owned();
            if count > count_max { Err(FigureError::TooMany { what, things, count, count_max }) } else { Ok(()) }
        };
        too_many("the figure", "signals", self.signals.len(), SIGNALS_MAX)?;
        too_many("the score", "points", self.scores.len(), POINTS_MAX)?;
        for signal in &self.signals {
            too_many(&signal.name, "points", signal.values.len().max(signal.band.len()), POINTS_MAX)?;
        }
        if self.to <= self.from {
            return Err(FigureError::Empty("the time to show ends before it starts"));
        }
        Ok(())
    }

    /// Seconds from the start of the axis; NaN outside of it, so that nothing is drawn there.
    fn x(&self, time: UtcNanos) -> f64 {
        if time < self.from || time > self.to { f64::NAN } else { time.since(self.from) as f64 / SECOND as f64 }
    }

    fn seconds(&self) -> f64 {
        self.to.since(self.from) as f64 / SECOND as f64
    }

    fn gap_seconds(&self) -> f64 {
        self.gap_ns as f64 / SECOND as f64
    }
}

/// Draws an incident as SVG.
///
/// # Errors
/// Where the figure has more than a page holds, or an axis without extent.
pub fn incident_figure(figure: &IncidentFigure) -> Result<String, FigureError> {
    figure.check()?;
    let height = TITLE_HEIGHT + SIGNAL_HEIGHT * figure.signals.len() as u32 + SCORE_HEIGHT;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        root.fill(&PAPER)?;
        root.draw_text(&figure.title, &letters(TITLE_PIXELS, INK), (MARGIN as i32, 8))?;
        let date = figure.from.floor_to(24 * 3600 * SECOND).to_string();
        let date = format!("{} UTC", date.split('T').next().unwrap_or(&date));
        root.draw_text(&date, &letters(LETTER_PIXELS, INK), ((WIDTH - MARGIN_RIGHT) as i32 - 88, 10))?;
        let (_, mut rest) = root.split_vertically(TITLE_HEIGHT);
        for signal in &figure.signals {
            let (panel, below) = rest.split_vertically(SIGNAL_HEIGHT);
            draw_signal(&panel, figure, signal)?;
            rest = below;
        }
        draw_score(&rest, figure)?;
        root.present()?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn draw_signal(panel: &Area<'_>, figure: &IncidentFigure, signal: &IncidentSignal) -> Result<(), FigureError> {
    let shown = |time: UtcNanos| !figure.x(time).is_nan();
    let values = signal.values.iter().filter(|(time, _)| shown(*time)).map(|(_, value)| *value);
    let bands = signal.band.iter().filter(|(time, _)| shown(*time)).flat_map(|(_, band)| [band.low, band.high]);
    let found = extent(values.chain(bands.map(f64::from)));
    let (low, high) = found.unwrap_or((0.0, 1.0));
    let name = if signal.unit.is_empty() { signal.name.clone() } else { format!("{} [{}]", signal.name, signal.unit) };
    let mut chart = ChartBuilder::on(panel)
        .margin(6)
        .margin_top(NAME_HEIGHT)
        .margin_right(MARGIN_RIGHT)
        .y_label_area_size(LABELS_LEFT)
        .build_cartesian_2d(0.0..figure.seconds(), low..high)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(FRAME)
        .label_style(letters(LETTER_PIXELS, INK))
        .disable_x_axis()
        .x_labels(9)
        .y_labels(4)
        .y_label_formatter(&|value| if found.is_some() { axis_number(*value) } else { String::new() })
        .draw()?;

    let edge = |of: fn(&Band) -> f32| {
        let point = move |(time, band): &(UtcNanos, Band)| {
            // Both edges are cut at the same places, so that they pair up to an area.
            let is_whole = band.low.is_finite() && band.high.is_finite();
            (figure.x(*time), if is_whole { f64::from(of(band)) } else { f64::NAN })
        };
        pieces(signal.band.iter().map(point), figure.gap_seconds())
    };
    for (low, high) in edge(|band| band.low).into_iter().zip(edge(|band| band.high)) {
        let outline: Vec<(f64, f64)> = low.into_iter().chain(high.into_iter().rev()).collect();
        chart.draw_series([Polygon::new(outline, BAND.filled())])?;
    }
    let points = signal.values.iter().map(|(time, value)| (figure.x(*time), *value));
    let line = pieces(points, figure.gap_seconds());
    let is_empty = line.is_empty();
    for piece in line {
        if let [point] = piece[..] {
            chart.draw_series([Circle::new(point, 2, INK.filled())])?;
        } else {
            chart.draw_series([PathElement::new(piece, INK.stroke_width(1))])?;
        }
    }
    for (x, colour, _) in marks(figure) {
        chart.draw_series([PathElement::new(vec![(x, low), (x, high)], colour.stroke_width(1))])?;
    }
    let (left, top) = chart.backend_coord(&(0.0, high));
    let origin = panel.get_base_pixel();
    let at = (left - origin.0, top - origin.1 - 15);
    let text = if is_empty { format!("{name}: no usable value") } else { name };
    panel.draw_text(&text, &letters(LETTER_PIXELS, INK), at)?;
    Ok(())
}

fn draw_score(panel: &Area<'_>, figure: &IncidentFigure) -> Result<(), FigureError> {
    let shown = figure.scores.iter().filter(|(time, _)| !figure.x(*time).is_nan()).map(|(_, score)| f64::from(*score));
    let (_, high) = extent(shown.chain([0.0, 1.2])).unwrap_or((0.0, 1.2));
    let mut chart = ChartBuilder::on(panel)
        .margin(6)
        .margin_top(NAME_HEIGHT)
        .margin_right(MARGIN_RIGHT)
        .x_label_area_size(24)
        .y_label_area_size(LABELS_LEFT)
        .build_cartesian_2d(0.0..figure.seconds(), 0.0..high)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(FRAME)
        .label_style(letters(LETTER_PIXELS, INK))
        .x_labels(9)
        .y_labels(4)
        .x_label_formatter(&|seconds| clock(figure.from + (seconds * SECOND as f64) as i64))
        .y_label_formatter(&|score| axis_number(*score))
        .draw()?;
    chart.draw_series([PathElement::new(vec![(0.0, 1.0), (figure.seconds(), 1.0)], FRAME.stroke_width(1))])?;
    let points = figure.scores.iter().map(|(time, score)| (figure.x(*time), f64::from(*score)));
    for piece in pieces(points, figure.gap_seconds()) {
        if let [point] = piece[..] {
            let colour = if point.1 > 1.0 { WRONG } else { INK };
            chart.draw_series([Circle::new(point, 2, colour.filled())])?;
        }
        // What is above the limit is drawn a second time, in the colour and twice as wide.
        let over = piece.iter().map(|(x, score)| (*x, if *score > 1.0 { *score } else { f64::NAN }));
        let over = pieces(over, figure.gap_seconds());
        chart.draw_series([PathElement::new(piece, INK.stroke_width(1))])?;
        for piece in over {
            chart.draw_series([PathElement::new(piece, WRONG.stroke_width(2))])?;
        }
    }
    let origin = panel.get_base_pixel();
    let place = |x: f64, y: f64| {
        let (left, top) = chart.backend_coord(&(x, y));
        (left - origin.0, top - origin.1)
    };
    let (left, top) = place(0.0, high);
    panel.draw_text("score", &letters(LETTER_PIXELS, INK), (left, top - 15))?;
    let (right, limit) = place(figure.seconds(), 1.0);
    panel.draw_text("limit", &letters(LETTER_PIXELS, FRAME), (right - 34, limit - 14))?;
    let marks: Vec<(i32, RGBColor, &str, (i32, i32))> = marks(figure)
        .map(|(x, colour, word)| (place(x, high).0, colour, word, (place(x, high).1, place(x, 0.0).1)))
        .collect();
    for (x, colour, word, (top, bottom)) in marks {
        panel.draw(&PathElement::new(vec![(x, top), (x, bottom)], colour.stroke_width(1)))?;
        panel.draw_text(word, &upright_letters(LETTER_PIXELS, colour), (x + 3, top + 46))?;
    }
    Ok(())
}

/// The marks on the time axis that lie within it: where, in which colour, and what they say.
fn marks(figure: &IncidentFigure) -> impl Iterator<Item = (f64, RGBColor, &'static str)> {
    [(figure.since, INK, "since"), (figure.opened, WRONG, "opened"), (figure.closed, INK, "closed")]
        .into_iter()
        .filter_map(|(time, colour, word)| Some((figure.x(time?), colour, word)))
        .filter(|(x, _, _)| !x.is_nan())
}

/// The UTC time of day.
fn clock(time: UtcNanos) -> String {
    let of_day = time.0.rem_euclid(24 * 3600 * SECOND);
    let (seconds, millis) = (of_day / SECOND, of_day % SECOND / MILLISECOND);
    let text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if millis == 0 { text } else { format!("{text}.{millis:03}") }
}
