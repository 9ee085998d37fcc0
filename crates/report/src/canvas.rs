//! What all figures share: colours, letters, pieces of lines, and what can go wrong.

use plotters::{
    prelude::*,
    style::{FontTransform, text_anchor::Pos},
};

/// The most points of one line of a figure: more than a page resolves. Ask the history for a coarser roll-up.
pub const POINTS_MAX: usize = 20_000;

pub(crate) const PAPER: RGBColor = RGBColor(250, 250, 250);
pub(crate) const GRID: RGBColor = RGBColor(228, 228, 228);
pub(crate) const FRAME: RGBColor = RGBColor(150, 150, 150);
pub(crate) const BAND: RGBColor = RGBColor(214, 214, 214);
pub(crate) const FAINT: RGBColor = RGBColor(140, 140, 140);
pub(crate) const INK: RGBColor = RGBColor(56, 56, 56);
/// The one colour: something is wrong.
pub(crate) const WRONG: RGBColor = RGBColor(196, 98, 0);

pub(crate) const LETTERS: &str = "sans-serif";
pub(crate) const LETTER_PIXELS: u32 = 12;
pub(crate) const TITLE_PIXELS: u32 = 15;

/// Why a figure could not be drawn.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FigureError {
    /// There is nothing to draw.
    #[error("there is nothing to draw: {0}")]
    Empty(&'static str),
    /// More than a page holds.
    #[error("{what} has {count} {things}, and a figure holds at most {count_max}; ask for less or for coarser data")]
    TooMany {
        /// Of what.
        what: String,
        /// Of which things.
        things: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        count_max: usize,
    },
    /// The drawing library refused.
    #[error("the figure could not be drawn: {0}")]
    Drawing(String),
}

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for FigureError {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self::Drawing(error.to_string())
    }
}

pub(crate) fn letters<'a>(pixels: u32, colour: RGBColor) -> TextStyle<'a> {
    (LETTERS, pixels, FontStyle::Normal)
        .with_color(colour)
        .with_anchor::<RGBColor>(Pos::default())
        .into_text_style(&(1, 1))
}

/// Letters that are read from bottom to top.
pub(crate) fn upright_letters<'a>(pixels: u32, colour: RGBColor) -> TextStyle<'a> {
    letters(pixels, colour).transform(FontTransform::Rotate270)
}

/// Cuts a line into pieces without a gap: a value that is not finite, or more than `gap_max` of x between neighbours.
pub(crate) fn pieces(points: impl Iterator<Item = (f64, f64)>, gap_max: f64) -> Vec<Vec<(f64, f64)>> {
    let mut pieces: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut is_cut = true;
    for (x, y) in points {
        if !(x.is_finite() && y.is_finite()) {
            is_cut = true;
            continue;
        }
        let is_far = pieces.last().and_then(|piece| piece.last()).is_some_and(|last| x - last.0 > gap_max);
        match pieces.last_mut().filter(|_| !is_cut && !is_far) {
            Some(piece) => piece.push((x, y)),
            None => pieces.push(vec![(x, y)]),
        }
        is_cut = false;
    }
    pieces
}

/// The extent of finite values with a margin; `None` without any.
pub(crate) fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) =
        finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return None;
    }
    let margin = ((high - low) * 0.06).max(high.abs().max(low.abs()) * 1e-3).max(1e-9);
    Some((low - margin, high + margin))
}

/// A number on an axis: short, without noise digits.
pub(crate) fn axis_number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e6).contains(&size) {
        return format!("{value:.1e}");
    }
    let digits = if size >= 100.0 {
        0
    } else if size >= 10.0 {
        1
    } else {
        3
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
