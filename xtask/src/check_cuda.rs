//! `cargo xtask check-cuda`: the feature `cuda`, compiled to the end on a computer without a GPU.
//!
//! NVIDIA's compiler comes from PyPI and compiles candle's kernels; then Rust compiles the world model with them, links the
//! tests of devices and runs them. The driver and the libraries of CUDA's mathematics are stood in for by libraries with the
//! same symbols, all of which say that there is no GPU, much as CUDA's own `stubs` folder does: the real ones would be
//! 600 MB, and PyPI has none of the driver. So what is shown is that everything compiles and links, and that the
//! program finds its way to the CPU; not what a GPU computes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::outcome::{Doing, Outcome, step};
use crate::process::{ask, run};
use crate::workspace::Workspace;
use crate::{python, setup};

/// The compiler and what it reads: its parts, the headers of the runtime, and the C++ library that they and the kernels
/// include. The newest CUDA that candle's bindings (cudarc 0.19) know.
const PACKAGES: &[&str] = &[
    "nvidia-cuda-nvcc==13.4.92",
    "nvidia-nvvm==13.4.92",
    "nvidia-cuda-crt==13.4.92",
    "nvidia-cuda-runtime==13.4.92",
    "nvidia-cuda-cccl==13.3.4.3.1",
];
/// Where these packages put CUDA, below the folder of Python's packages.
const CUDA_FOLDER: &str = "nvidia/cu13";
/// The C++ compiler that nvcc calls, the linker's tools, and Python.
const SYSTEM_PACKAGES: &[&str] = &["build-essential", "python3", "python3-venv"];
/// Asks the GPU which one it is, unless this is set. Ampere is the oldest with all kernels.
const CAPABILITY_VARIABLE: &str = "CUDA_COMPUTE_CAP";
const CAPABILITY: &str = "80";
/// Libraries that a program with CUDA links, with how their symbols begin, the longest beginning first.
const STOOD_IN_FOR: &[(&str, &str)] =
    &[("cublasLt", "cublasLt"), ("cublas", "cublas"), ("curand", "curand"), ("nvrtc", "nvrtc"), ("cuda", "cu")];
/// `CUDA_ERROR_NO_DEVICE`, an error for the other libraries too.
const NO_DEVICE: i32 = 100;
/// The crates whose compiled form names those symbols.
const CALLERS: &[&str] = &["libcudarc-", "libcandle_core-", "libcandle_kernels-"];

pub(crate) fn check(workspace: &Workspace) -> Outcome {
    if !cfg!(target_os = "linux") {
        return Err("check-cuda works on Linux only; elsewhere install CUDA and build with --features cuda".to_owned());
    }
    setup::system_packages(SYSTEM_PACKAGES)?;
    let packages = python::packages_folder(workspace, "cuda", "NVIDIA's compiler", PACKAGES)?;
    let cuda = Cuda::laid_out(&packages.join(CUDA_FOLDER), workspace)?;
    step(format_args!("build the world model with the feature cuda, by {} (several minutes)", cuda.version));
    run(&mut cuda.cargo(workspace, &["build", "--lib"]))?;
    cuda.stand_in(workspace)?;
    step("link the tests of devices with the feature cuda, and run them with a driver that knows of no GPU");
    run(cuda.cargo(workspace, &["test", "--test", "devices"]).env("LD_LIBRARY_PATH", &cuda.libraries))?;
    println!("check_cuda nvcc={} compute_capability={} built=yes linked=yes on_gpu=no", cuda.release, cuda.capability);
    Ok(())
}

/// CUDA as candle's build scripts look for it.
struct Cuda {
    nvcc: PathBuf,
    /// Libraries to link with.
    libraries: PathBuf,
    version: String,
    /// As "13.4".
    release: String,
    capability: String,
}

impl Cuda {
    fn laid_out(from: &Path, workspace: &Workspace) -> Outcome<Self> {
        let nvcc = from.join("bin/nvcc");
        let version = ask(Command::new(&nvcc).arg("--version"))
            .ok_or_else(|| format!("`{} --version` failed; remove {} and try again", nvcc.display(), from.display()))?;
        let line = version.lines().find(|line| line.contains("release "));
        let release = line.and_then(|line| line.split("release ").nth(1)?.split(',').next());
        let (Some(line), Some(release)) = (line, release) else {
            return Err(format!("nvcc does not say its release: {version}"));
        };
        let libraries = workspace.tools().join("cuda-libraries/lib64");
        std::fs::create_dir_all(&libraries).could_not(format_args!("make {}", libraries.display()))?;
        // Under the name that a program looks for, and that a linker does, which the package leaves out.
        let runtime = from.join("lib/libcudart.so.13");
        for name in ["libcudart.so.13", "libcudart.so"] {
            std::fs::copy(&runtime, libraries.join(name)).could_not(format_args!("copy {}", runtime.display()))?;
        }
        let capability = std::env::var(CAPABILITY_VARIABLE).unwrap_or_else(|_| CAPABILITY.to_owned());
        Ok(Self { version: line.to_owned(), release: release.to_owned(), nvcc, libraries, capability })
    }

    /// Cargo on the world model with CUDA.
    fn cargo(&self, workspace: &Workspace, arguments: &[&str]) -> Command {
        let mut cargo = workspace.cargo();
        cargo.args(arguments).args(["-p", "sightglass-world-model", "--features", "cuda"]);
        cargo.env("NVCC", &self.nvcc).env(CAPABILITY_VARIABLE, &self.capability);
        // Asked by cudarc, which looks for libraries below the one and for the version in the other.
        cargo.env("CUDA_HOME", self.libraries.parent().unwrap_or(&self.libraries));
        cargo.env("CUDARC_CUDA_VERSION", format!("{}0", self.release.replace('.', "0")));
        for other in ["CUDA_PATH", "CUDA_ROOT", "CUDA_TOOLKIT_ROOT_DIR", "CUDNN_LIB"] {
            cargo.env_remove(other);
        }
        cargo
    }

    /// Makes a library whose functions all give [`NO_DEVICE`] for each of [`STOOD_IN_FOR`].
    fn stand_in(&self, workspace: &Workspace) -> Outcome {
        let mut symbols = BTreeSet::new();
        let folder = workspace.target.join("debug/deps");
        for entry in std::fs::read_dir(&folder).could_not(format_args!("list {}", folder.display()))? {
            let path = entry.could_not(format_args!("list {}", folder.display()))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if CALLERS.iter().any(|caller| name.starts_with(caller)) && name.ends_with(".rlib") {
                let listed = ask(Command::new("nm").arg("--undefined-only").arg(&path))
                    .ok_or_else(|| format!("`nm {}` failed", path.display()))?;
                symbols.extend(listed.lines().filter_map(|line| line.trim().strip_prefix("U ")).map(str::to_owned));
            }
        }
        for (library, theirs) in by_library(&symbols) {
            let source = self.libraries.join(format!("{library}.c"));
            let text: String =
                theirs.iter().map(|symbol| format!("int {symbol}(void) {{ return {NO_DEVICE}; }}\n")).collect();
            std::fs::write(&source, text).could_not(format_args!("write {}", source.display()))?;
            let mut cc = Command::new("cc");
            cc.args(["-shared", "-w", "-o"]).arg(self.libraries.join(format!("lib{library}.so"))).arg(&source);
            run(&mut cc)?;
        }
        Ok(())
    }
}

/// The symbols of each library; those of the runtime, which is the real one, are left out.
fn by_library(symbols: &BTreeSet<String>) -> Vec<(&'static str, Vec<&str>)> {
    let library_of = |symbol: &str| {
        if symbol.starts_with("cuda") {
            return None;
        }
        STOOD_IN_FOR.iter().find(|(_, beginning)| symbol.starts_with(beginning)).map(|(library, _)| *library)
    };
    STOOD_IN_FOR
        .iter()
        .map(|&(library, _)| {
            (library, symbols.iter().map(String::as_str).filter(|s| library_of(s) == Some(library)).collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_symbol_is_stood_in_for_in_its_own_library() {
        let symbols = ["cublasCreate_v2", "cublasLtMatmul", "cuInit", "cudaMalloc", "curandCreateGenerator", "memcpy"];
        let symbols = symbols.into_iter().map(str::to_owned).collect();
        let found = by_library(&symbols);
        let of = |library: &str| found.iter().find(|(name, _)| *name == library).unwrap().1.clone();
        assert_eq!(of("cublas"), ["cublasCreate_v2"]);
        assert_eq!(of("cublasLt"), ["cublasLtMatmul"]);
        assert_eq!(of("curand"), ["curandCreateGenerator"]);
        assert_eq!(of("cuda"), ["cuInit"]);
        assert!(of("nvrtc").is_empty());
    }
}
