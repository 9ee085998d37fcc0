//! From surprise to advisory: persistence, attribution, one advisory a cause, and whether the data can be trusted at all.
//!
//! Each tick of a line goes through a [`Monitor`] twice. [`Monitor::check`] comes before the model: it finds sensors that
//! do not move and cameras that show the same picture, marks their readings so that the model leaves them out, and says
//! whose health changed. [`Monitor::observe`] comes after the model: it opens, updates and closes advisories. Pure: the
//! same ticks and surprises give the same findings, and time is the ticks' own.

mod case;
mod delivery;
mod evidence;
mod line_monitor;
mod options;
mod persistence;
mod wording;

pub use line_monitor::{Findings, Monitor, OPEN_MAX};
pub use options::{MonitorOptions, Normal};
