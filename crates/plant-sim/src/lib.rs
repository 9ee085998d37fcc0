//! A simulated bottling line with a camera, for demonstrations, training data and tests.
//!
//! Product comes from a cellar through the feed pump into the supply tank, through the control valve and the heater
//! into the filler's bowl, and from there into bottles on a conveyor, which the capper closes. A fixed-step integrator
//! advances that state (`process`, `conveyor`), four controllers keep it at the operator's setpoints, instruments sample
//! it with noise, quantisation and periods of their own, and a camera draws it. All of it follows from one seed: the
//! same options give bit-identical samples and pictures. [`Simulation::next`] yields them in the order of time.

mod camera;
mod change;
mod controller;
mod conveyor;
mod fault;
mod instruments;
mod lens;
mod names;
mod noise;
mod operator;
mod process;
mod raster;
mod scenario;
mod scenery;
mod simulation;
mod tags;
mod truth;
mod violation;

pub use camera::{CAMERA_FPS, CAMERA_HEIGHT, CAMERA_NAME, CAMERA_ROI, CAMERA_WIDTH};
pub use change::Change;
pub use fault::Fault;
pub use names::UnknownName;
pub use operator::Dial;
pub use scenario::{ChangeEvent, FaultEvent, Scenario, SimOptions};
pub use simulation::{SimItem, Simulation};
pub use tags::{SimTag, tags};
pub use truth::{BottleTruth, Truth};
pub use violation::{Violation, ViolationEvent};
