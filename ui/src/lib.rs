//! The window of Sightglass: egui screens that ask the engine for what they show and draw the answer.
//!
//! [`App`] holds no truth of its own. Each frame it says which view at which time it wants, the exchange behind
//! [`Link`] keeps at most one request of a kind on its way, and the newest answer is drawn. The same code runs in the
//! shell's webview (WebAssembly) and natively in the tests. A screen is one file in `screens`; every key stands in the
//! one table of [`keys`].

mod advisory_list;
mod alarm_bar;
mod answers;
mod app;
pub mod keys;
mod lanes;
mod link;
mod marks;
mod panels;
mod score_track;
mod screens;
mod status_bar;
mod theme;
pub mod time_text;
mod timeline;
mod trend;
mod video;
mod view;
#[cfg(target_arch = "wasm32")]
mod web;

pub use app::{App, Status};
pub use link::{IN_FLIGHT_MAX, Link, REPLY_SECONDS_MAX};
pub use theme::zoom_for;
pub use view::Screen;
