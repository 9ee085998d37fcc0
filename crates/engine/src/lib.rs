//! The engine: wires ingest, world model, monitor and history together, and serves the window.
//!
//! A line is two threads. The *route* thread takes what the pipeline delivers and hands samples and segments to the
//! recorder before anything judges them; the *judge* thread runs model and monitor on ticks. Between them stands a
//! bounded queue: on a live line the judge drops ticks under load and counts them, the recorder never does. The window
//! asks over a local socket and is answered from the history and from the newest tick; the engine runs without it.

mod bundle;
mod card;
pub mod commands;
mod demo_plant;
mod disk;
mod disk_watch;
mod error;
mod follow;
mod housekeeping;
mod import;
mod judge;
mod kept_plant;
mod line;
mod live;
mod low_priority;
mod model_files;
mod notice;
#[cfg(test)]
mod one_tag;
mod pictures;
mod recorder;
mod run;
mod score_table;
mod server;
mod session;
mod sim_feed;
mod storage_health;
mod tick_source;
mod view;

pub use error::EngineError;
