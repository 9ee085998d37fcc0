//! Python, for what comes from PyPI: the peers that Sightglass is held against and that read what it exports (DuckDB,
//! PyTorch, a server that speaks S3, a Modbus and an OPC UA server, and those who publish over MQTT and Sparkplug), and
//! NVIDIA's compiler. Each in an environment of its own below the build folder; nothing of the user's Python is touched.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::outcome::{Doing, Outcome, step};
use crate::process::{ask, line, run};
use crate::setup;
use crate::workspace::Workspace;

/// Tests find the interpreter through this variable, and say that they were left out when it is absent.
pub(crate) const PYTHON_VARIABLE: &str = "SIGHTGLASS_PYTHON";
const PEERS: &str = "Python for peers";
/// What the peers are, from PyPI. The lean parts of moto's server: all of it is four times as large.
const PACKAGES: &[&str] = &[
    "duckdb==2.0.1",
    "moto[s3]==5.2.5",
    "flask==3.1.3",
    "flask-cors==6.0.5",
    "pymodbus==3.16.1",
    "paho-mqtt==2.2.0",
    "pysparkplug==0.3.0",
    "asyncua==2.1.0",
    "cryptography==50.0.2",
];
/// What benchmarks need beside them.
const PACKAGES_FOR_BENCH: &[&str] = &["duckdb==2.0.1", "numpy==2.4.6"];
/// V-JEPA 2 and the plant model's network in PyTorch. On Linux, PyPI's torch brings CUDA with it and takes some gigabytes.
const PACKAGES_FOR_PYTORCH: &[&str] = &["torch==2.15.0", "transformers==5.24.0", "safetensors==0.8.0", "numpy==2.4.6"];
/// Debian and Ubuntu keep a part of Python's own `venv` in a package of its own.
const PACKAGE_FOR_VENV: &str = "python3-venv";
/// Written last, with the packages' versions: with it the environment is complete.
const MARKER: &str = "complete";

/// The interpreter of an environment that has all of [`PACKAGES`], made where it is not there yet; `None`, told in one
/// line, where there is no Python 3 or PyPI cannot be reached. An interpreter that the user named in
/// [`PYTHON_VARIABLE`] is taken as it is.
pub(crate) fn with_peers(workspace: &Workspace) -> Outcome<Option<PathBuf>> {
    if let Some(named) = std::env::var_os(PYTHON_VARIABLE) {
        step(format_args!("Python for peers: {} as {PYTHON_VARIABLE} says", named.to_string_lossy()));
        return Ok(Some(named.into()));
    }
    environment(PEERS, &workspace.tools().join("python"), PACKAGES)
}

/// As [`with_peers`], for benchmarks.
pub(crate) fn with_bench_peers(workspace: &Workspace) -> Outcome<Option<PathBuf>> {
    environment(PEERS, &workspace.tools().join("python-bench"), PACKAGES_FOR_BENCH)
}

/// As [`with_peers`], for V-JEPA 2 and for training.
pub(crate) fn with_pytorch(workspace: &Workspace) -> Outcome<Option<PathBuf>> {
    environment("PyTorch", &workspace.tools().join("python-pytorch"), PACKAGES_FOR_PYTORCH)
}

/// The folder of an environment's packages that has `packages`, made where it is not there yet; `purpose` is for people.
///
/// # Errors
/// Where there is no Python 3, or PyPI cannot be reached.
pub(crate) fn packages_folder(workspace: &Workspace, name: &str, purpose: &str, packages: &[&str]) -> Outcome<PathBuf> {
    let interpreter = environment(purpose, &workspace.tools().join(name), packages)?
        .ok_or_else(|| format!("{purpose} cannot be had (see above)"))?;
    let mut question = Command::new(interpreter);
    question.args(["-c", "import sysconfig; print(sysconfig.get_path('platlib'))"]);
    ask(&mut question).map(PathBuf::from).ok_or_else(|| format!("`{}` failed", line(&question)))
}

fn environment(purpose: &str, folder: &Path, packages: &[&str]) -> Outcome<Option<PathBuf>> {
    let interpreter = interpreter_of(folder);
    if is_complete(folder, packages) {
        step(format_args!("{purpose}: {} are there", packages.join(", ")));
        return Ok(Some(interpreter));
    }
    step(format_args!("{purpose}: install {} (a minute or more)", packages.join(", ")));
    if !make(folder) {
        step(format_args!("{purpose}: there is no Python 3 with venv; what needs it is left out"));
        return Ok(None);
    }
    let mut pip = Command::new(&interpreter);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
    // Wheels only: nothing is compiled here, and no package runs code of its own while it is installed.
    pip.args(["--only-binary", ":all:", "--retries", "1", "--timeout", "15"]).args(packages);
    if let Err(problem) = run(&mut pip) {
        step(format_args!("{purpose}: PyPI is out of reach or lacks a package, so it is left out ({problem})"));
        return Ok(None);
    }
    std::fs::write(folder.join(MARKER), packages.join("\n"))
        .could_not(format_args!("write into {}", folder.display()))?;
    Ok(Some(interpreter))
}

/// Whether the environment has these very versions. Its interpreter is asked too, since the Python that it was made
/// with may be gone by now.
fn is_complete(folder: &Path, packages: &[&str]) -> bool {
    let answers = || ask(Command::new(interpreter_of(folder)).args(["-c", "print('yes')"])).as_deref() == Some("yes");
    std::fs::read_to_string(folder.join(MARKER)).is_ok_and(|found| found == packages.join("\n")) && answers()
}

/// Makes an empty environment, in place of what is there; false where that is not possible on this machine.
fn make(folder: &Path) -> bool {
    let venv = || ask(Command::new(system_python()).args(["-m", "venv", "--clear"]).arg(folder)).is_some();
    if venv() {
        return true;
    }
    match setup::system_packages(&[PACKAGE_FOR_VENV]) {
        Ok(()) => venv(),
        Err(problem) => {
            println!("{problem}");
            false
        }
    }
}

fn system_python() -> &'static str {
    if cfg!(windows) { "python" } else { "python3" }
}

fn interpreter_of(folder: &Path) -> PathBuf {
    folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("sightglass-xtask-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn an_environment_is_complete_for_the_versions_that_it_was_made_with_only() {
        let folder = temporary("python");
        if !make(&folder) {
            eprintln!("skipped: there is no {} with venv", system_python());
            return;
        }
        assert!(!is_complete(&folder, &["a==1"]), "nothing is installed yet");
        std::fs::write(folder.join(MARKER), "a==1\nb==2").unwrap();
        assert!(is_complete(&folder, &["a==1", "b==2"]));
        assert!(!is_complete(&folder, &["a==1", "b==3"]));
        std::fs::remove_file(interpreter_of(&folder)).unwrap();
        assert!(!is_complete(&folder, &["a==1", "b==2"]), "its Python is gone");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
