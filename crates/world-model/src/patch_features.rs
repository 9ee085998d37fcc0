//! What is predicted of a picture's places: fixed random features of their tubelets.
//!
//! The predictor foresees what each place will look like in a space that training cannot flatten: a random projection of the
//! pixels (as BEST-RQ's targets, arXiv 2202.01855; distances survive it, Johnson and Lindenstrauss 1984), about each place's
//! mean. Learned tokens as targets, with or without a stopped gradient, keep of a small moving thing only as much as the
//! other losses ask for, which on a line whose pictures are nearly always the same is next to nothing.

use candle_core::{Result, Tensor, Var, bail};

use crate::camera_encoder::{PATCHES, TUBELET};
use crate::ops::Ops;
use crate::params::Params;

/// Features of a place.
pub(crate) const FEATURES: usize = 64;

/// The features. They are weights of the file, but are never trained.
pub(crate) struct PatchFeatures {
    /// (`TUBELET`, `FEATURES`).
    project: Tensor,
    /// (cameras, `PATCHES`, `FEATURES`).
    mean: Var,
    /// (1), less 1.
    scale: Var,
    ops: Ops,
}

impl PatchFeatures {
    /// Names of its weights begin with this.
    pub(crate) const PREFIX: &'static str = "features.";

    pub(crate) fn new(params: &mut Params, cameras: usize) -> Result<Self> {
        let project = params.uniform("features.project", &[TUBELET, FEATURES], (3.0 / TUBELET as f32).sqrt())?;
        params.uniform("features.mean", &[cameras, PATCHES, FEATURES], 0.0)?;
        params.uniform("features.scale", &[1], 0.0)?;
        let fitted = |name: &str| match params.vars().get(name) {
            Some(var) => Ok(var.clone()),
            None => bail!("the weight '{name}' is missing"),
        };
        Ok(Self { project, mean: fitted("features.mean")?, scale: fitted("features.scale")?, ops: params.ops() })
    }

    /// Takes mean and scale from tubelets (ticks * cameras, `PATCHES`, `TUBELET`), so that features have a variance of 1 over
    /// all places.
    pub(crate) fn fit(&self, tubelets: &Tensor) -> Result<()> {
        let features = self.project(tubelets)?;
        let mean = features.mean(0)?;
        let off = features.broadcast_sub(&mean.unsqueeze(0)?)?;
        let scale = (off.sqr()?.mean_all()? + 1e-6)?.sqrt()?.reshape(1)?;
        self.mean.set(&mean)?;
        self.scale.set(&(scale - 1.0)?)
    }

    /// Tubelets (ticks * cameras, `PATCHES`, `TUBELET`) to features (ticks * cameras, `PATCHES`, `FEATURES`).
    pub(crate) fn of(&self, tubelets: &Tensor) -> Result<Tensor> {
        let off = self.project(tubelets)?.broadcast_sub(&self.mean.as_tensor().detach().unsqueeze(0)?)?;
        let scale = (self.scale.as_tensor().detach() + 1.0)?;
        off.reshape(((), PATCHES, FEATURES))?.broadcast_div(&scale)
    }

    /// (ticks, cameras, `PATCHES`, `FEATURES`).
    fn project(&self, tubelets: &Tensor) -> Result<Tensor> {
        let cameras = self.mean.dim(0)?;
        let features = self.ops.linear(tubelets, &self.project.detach(), None, false)?;
        features.reshape(((), cameras, PATCHES, FEATURES))
    }
}
