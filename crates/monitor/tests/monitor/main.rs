//! The monitor through its public door, tick by tick.

mod advisories;
mod delivery;
mod lifecycle;
mod line;
