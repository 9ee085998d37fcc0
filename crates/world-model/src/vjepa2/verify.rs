//! A checkpoint against what another implementation computed from it.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde::Serialize;

use super::error::Vjepa2Error;
use super::model::Vjepa2;
use crate::device::ComputeDevice;

/// The largest absolute difference with which an output counts as the same.
pub const TOLERANCE: f64 = 1e-4;
/// The file that holds what was given and what came out.
const FILE: &str = "io.safetensors";
/// It is at most this long.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// How far one output is from the expected one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutputCheck {
    /// Its name in `io.safetensors`.
    pub name: &'static str,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The largest absolute difference; infinite where one of the two is no number.
    pub max_abs_diff: f64,
}

impl OutputCheck {
    /// Whether it is the same within [`TOLERANCE`].
    pub fn is_same(&self) -> bool {
        self.max_abs_diff <= TOLERANCE
    }
}

/// Runs the checkpoint in `folder` on the input in its `io.safetensors` and compares each output with the one there.
///
/// The file holds `pixel_values_videos`, (clips, frames, channels, height, width), the masks `context_mask` and
/// `target_mask`, (clips, positions), and the outputs `last_hidden_state` (the encoder), `predictor_last_hidden_state` (no
/// masks) and `masked_predictor_last_hidden_state`.
///
/// # Errors
///
/// As [`Vjepa2::load`]; when `io.safetensors` is damaged, or a tensor in it is missing or does not fit the model.
pub fn verify(folder: &Path) -> Result<Vec<OutputCheck>, Vjepa2Error> {
    verify_on(folder, &ComputeDevice::cpu())
}

/// The same for another device.
///
/// # Errors
///
/// As [`verify`].
pub fn verify_on(folder: &Path, device: &ComputeDevice) -> Result<Vec<OutputCheck>, Vjepa2Error> {
    let path = folder.join(FILE);
    let length = std::fs::metadata(&path).map_err(Vjepa2Error::io(&path))?.len();
    if length > FILE_BYTES_MAX {
        return Err(Vjepa2Error::weights(&path, format!("{length} bytes are more than {FILE_BYTES_MAX}")));
    }
    let bytes = std::fs::read(&path).map_err(Vjepa2Error::io(&path))?;
    let damaged = |error| {
        Vjepa2Error::weights(
            &path,
            format!("damaged, cut off, or no safetensors file ({error}); make or copy it again"),
        )
    };
    let io = Io { path: &path, tensors: SafeTensors::deserialize(&bytes).map_err(damaged)? };
    // Everything is asked for before the long computation.
    let clips = io.tensor("pixel_values_videos")?;
    let (context, target) = (io.tensor("context_mask")?, io.tensor("target_mask")?);
    let expected = [
        ("last_hidden_state", io.tensor("last_hidden_state")?),
        ("predictor_last_hidden_state", io.tensor("predictor_last_hidden_state")?),
        ("masked_predictor_last_hidden_state", io.tensor("masked_predictor_last_hidden_state")?),
    ];
    let model = Vjepa2::load_on(folder, device)?;
    let encoded = model.encode(&clips)?;
    let predicted = model.predict(&encoded, None)?;
    let masked = model.predict(&encoded, Some((&context, &target)))?;
    let found = [encoded, predicted, masked];
    expected.into_iter().zip(&found).map(|((name, expected), found)| io.compare(name, &expected, found)).collect()
}

struct Io<'a> {
    path: &'a Path,
    tensors: SafeTensors<'a>,
}

impl Io<'_> {
    fn wrong(&self, name: &str, what: String) -> Vjepa2Error {
        Vjepa2Error::weights(self.path, format!("the tensor '{name}' {what}"))
    }

    fn tensor(&self, name: &str) -> Result<Tensor, Vjepa2Error> {
        let view = self.tensors.tensor(name).map_err(|_| {
            let names = self.tensors.names().join(", ");
            self.wrong(name, format!("is missing; there are: {names}"))
        })?;
        let dtype = match view.dtype() {
            Dtype::F64 => DType::F64,
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::I64 => DType::I64,
            Dtype::I32 => DType::I32,
            Dtype::U32 => DType::U32,
            Dtype::U8 => DType::U8,
            other => return Err(self.wrong(name, format!("has numbers of type {other:?}, which are not read here"))),
        };
        Ok(Tensor::from_raw_buffer(view.data(), dtype, view.shape(), &Device::Cpu)?)
    }

    fn compare(&self, name: &'static str, expected: &Tensor, found: &Tensor) -> Result<OutputCheck, Vjepa2Error> {
        if expected.dims() != found.dims() {
            let (expected, found) = (expected.dims(), found.dims());
            return Err(self.wrong(name, format!("has the shape {expected:?}, computed was {found:?}")));
        }
        // On the CPU, since not every device has numbers of 64 bits.
        let values =
            |tensor: &Tensor| tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
        let (expected, computed) = (values(expected)?, values(found)?);
        let max_abs_diff =
            expected.iter().zip(&computed).map(|(a, b)| (a - b).abs()).fold(0.0, |most, difference| {
                if difference.is_nan() { f64::INFINITY } else { f64::max(most, difference) }
            });
        Ok(OutputCheck { name, shape: found.dims().to_vec(), max_abs_diff })
    }
}
