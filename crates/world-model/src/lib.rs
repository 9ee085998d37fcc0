//! The world model of one line: ticks in, findings out.
//!
//! It learns from normal running how a line looks and moves. On a stream of ticks it says what comes next (tag values
//! with 80 % bands at six horizons) and how unexpected the tick was, by tag and by picture patch, from four kinds of
//! evidence: a *latent* state that was not foreseen (a small joint-embedding predictor of pictures and tags), an
//! *appearance* that no memory of that place resembles, a *residual* of a tag's forecast, and a *drift* away from it.
//! Every limit is calibrated on normal running that the judged part did not learn from, for a wanted number of false
//! alarms a week. Setpoints and modes condition the predictions and never enter an encoder. Pure: no clock, no thread of
//! its own, no I/O but for the model's own file. From a stream's present it also looks further ahead, under other setpoints,
//! and for setpoints that help (`foresight`).

mod actions;
mod appearance;
mod arx;
mod bands;
mod calibration;
mod camera_encoder;
mod card;
mod classics;
mod combine;
mod device;
mod drift;
mod file;
mod foresight;
mod frozen_encoder;
mod fusion;
mod kernels;
mod latent;
mod layer;
mod learn;
mod model;
mod network;
mod normalise;
mod ops;
mod optimiser;
mod params;
mod patch_features;
mod predictor;
mod readout;
mod residual;
mod score;
mod sigreg;
mod spec;
mod stream;
mod tag_encoder;
mod train;
pub mod vjepa2;

pub use card::{Card, CardEncoder, CardMethod, CardTag, EpochLoss, OneStepError};
pub use classics::{Baseline, BaselineError, Classic};
pub use device::{ComputeDevice, DeviceChoice, DeviceError};
pub use file::LoadError;
pub use foresight::{
    AHEAD_TICKS_MAX, Advice, AdviceRequest, Aim, Course, CourseStep, ForesightError, Lever, Outlook, Side, TagOutlook,
    TimeToLimit, Unseen,
};
pub use frozen_encoder::FrozenEncoder;
pub use model::PlantModel;
pub use score::{RowScore, SCORE_ROWS_MIN, ScoreColumn, ScoreError, ScoreStream, Scorer};
pub use spec::{CameraSpec, ModelSpec, Progress, Size, TICKS_MIN, TagSpec, TrainError, TrainOptions};
pub use stream::{Latents, Output, Stream};
pub use train::train;
