//! What the network computes on: the CPU, or a GPU where the program was built for it and one is there.
//!
//! The weights are the same everywhere; results differ between devices by rounding. Only the network and V-JEPA 2 compute
//! on the device. Regressions, appearance, drift, forecasts, tables' scores and the classics stay on the CPU: they are small,
//! and written for its vectors.

use candle_core::Device;

use crate::ops::Ops;

/// The GPU that is taken where there are several: the first.
#[cfg(any(feature = "cuda", feature = "metal"))]
const ORDINAL: usize = 0;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// CUDA, else Metal, where the program was built with it and a GPU is there; else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// NVIDIA's GPU.
    Cuda,
    /// Apple's GPU.
    Metal,
}

impl std::str::FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda),
            "metal" => Ok(Self::Metal),
            _ => Err(format!("'{text}' is no device; there are auto, cpu, cuda and metal")),
        }
    }
}

/// Why a device that was asked for is not used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The program knows nothing of it.
    #[error(
        "device = \"{device}\" is asked for, and this program was built without it; use one that was built with \
         `--features {device}`, or ask for \"auto\" or \"cpu\""
    )]
    NotBuilt {
        /// "cuda" or "metal", which is also the feature's name.
        device: &'static str,
    },
    /// It is not there, or cannot be used.
    #[error(
        "device = \"{device}\" is asked for, and no such GPU can be opened here ({reason}); see whether it and its driver \
         are installed, or ask for \"auto\" or \"cpu\""
    )]
    NotPresent {
        /// "cuda" or "metal".
        device: &'static str,
        /// What the driver says.
        reason: String,
    },
}

/// An opened device.
#[derive(Clone, Debug)]
pub struct ComputeDevice {
    pub(crate) device: Device,
    pub(crate) ops: Ops,
    description: String,
}

impl ComputeDevice {
    /// Opens what is asked for. [`DeviceChoice::Auto`] always gives something; why a GPU that this program was built for
    /// is passed over is logged.
    ///
    /// # Errors
    /// When a device that was asked for by name was not built in or is not there.
    pub fn open(choice: DeviceChoice) -> Result<Self, DeviceError> {
        match choice {
            DeviceChoice::Cpu => Ok(Self::cpu()),
            DeviceChoice::Cuda => cuda(),
            DeviceChoice::Metal => metal(),
            DeviceChoice::Auto => {
                for open in [cuda, metal] {
                    match open() {
                        Ok(found) => return Ok(found),
                        Err(DeviceError::NotBuilt { .. }) => {}
                        Err(DeviceError::NotPresent { device, reason }) => {
                            tracing::info!("no {device} GPU can be opened ({reason}): the model computes elsewhere");
                        }
                    }
                }
                Ok(Self::cpu())
            }
        }
    }

    /// The CPU, with the fused operations and kernels of this crate.
    pub fn cpu() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::new(Device::Cpu, format!("CPU, {threads} threads"))
    }

    /// The CPU by tensor operations alone, as on other devices: what the fused operations and kernels are tested against.
    pub fn cpu_plain() -> Self {
        Self { ops: Ops::Plain, ..Self::cpu() }
    }

    fn new(device: Device, description: String) -> Self {
        Self { ops: Ops::on(&device), device, description }
    }

    /// What it is, for people: "CPU, 8 threads", "CUDA, NVIDIA L4".
    pub fn description(&self) -> &str {
        &self.description
    }
}

impl Default for ComputeDevice {
    fn default() -> Self {
        Self::cpu()
    }
}

/// The first line says it; where backtraces are on, many follow.
#[cfg(any(feature = "cuda", feature = "metal"))]
fn not_present(device: &'static str, reason: &dyn std::fmt::Display) -> DeviceError {
    let reason = reason.to_string();
    DeviceError::NotPresent { device, reason: reason.lines().next().unwrap_or_default().to_owned() }
}

#[cfg(feature = "cuda")]
fn cuda() -> Result<ComputeDevice, DeviceError> {
    let open = || -> candle_core::Result<ComputeDevice> {
        // With one stream for all threads: a model is loaded on one and used on another, and a stream of each thread's own
        // would not wait for what another began.
        let device = Device::new_cuda_with_stream(ORDINAL)?;
        let name = device.as_cuda_device()?.cuda_stream().context().name().map_err(candle_core::Error::wrap)?;
        Ok(ComputeDevice::new(device, format!("CUDA, {name}")))
    };
    open().map_err(|error| not_present("cuda", &error))
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Result<ComputeDevice, DeviceError> {
    Err(DeviceError::NotBuilt { device: "cuda" })
}

#[cfg(feature = "metal")]
fn metal() -> Result<ComputeDevice, DeviceError> {
    // Candle panics where there is none.
    let all = candle_metal_kernels::metal::Device::all();
    let name = all.get(ORDINAL).ok_or_else(|| not_present("metal", &"the system names none"))?.architecture_name();
    let device = Device::new_metal(ORDINAL).map_err(|error| not_present("metal", &error))?;
    Ok(ComputeDevice::new(device, format!("Metal, {name}")))
}

#[cfg(not(feature = "metal"))]
fn metal() -> Result<ComputeDevice, DeviceError> {
    Err(DeviceError::NotBuilt { device: "metal" })
}
