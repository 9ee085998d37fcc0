//! Figures for reports and model cards, as SVG text.
//!
//! [`training_curves`] shows how a model's training went, [`incident_figure`] what a line did around an advisory. Quiet
//! greys after ISA-101: colour means that something is wrong, and every colour has a word beside it. Where there is no
//! usable value nothing is drawn: a line never crosses a gap.

mod canvas;
mod incident;
mod training;

pub use canvas::{FigureError, POINTS_MAX};
pub use incident::{IncidentFigure, IncidentSignal, SIGNALS_MAX, incident_figure};
pub use training::training_curves;
