//! Finds the engine of a data folder, or starts it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;

use crate::link::EngineLink;

/// The engine's program.
const ENGINE: &str = if cfg!(windows) { "sightglass.exe" } else { "sightglass" };
/// What a started engine prints goes to this file in its data folder.
const START_LOG: &str = "engine-start.log";
/// How long a started engine may take until it answers: it opens the history and loads the model first.
const START_SECONDS_MAX: u64 = 60;
/// How often a starting engine is asked.
const PROBE_INTERVAL: Duration = Duration::from_millis(100);
/// How much of the engine's last words is shown when it stops at once.
const LAST_WORDS_BYTES_MAX: usize = 2000;

/// How to start the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// On a plant.
    Run { plant: PathBuf },
    /// On the simulated line.
    Demo { fault: Option<String>, seed: Option<u64> },
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(
        "No engine serves the data folder {}. Start one with `sightglass run PLANT.toml --data {}`, or open the window with --plant PLANT.toml or --demo.",
        data.display(), data.display()
    )]
    NotAsked { data: PathBuf },
    #[error(
        "The engine's program `{ENGINE}` is neither beside this program nor in PATH. Install it, or name it with --engine PATH."
    )]
    NotFound,
    #[error("The engine's program {} does not exist. Check --engine.", path.display())]
    NoSuchProgram { path: PathBuf },
    #[error("The data folder {} cannot be used: {source}. Choose another with --data DIR.", data.display())]
    DataFolder { data: PathBuf, source: io::Error },
    #[error("The engine {} could not be started: {source}.", program.display())]
    Spawn { program: PathBuf, source: io::Error },
    #[error("The engine stopped at once ({status}). Its last words, from {}:\n{last_words}", log.display())]
    Stopped { status: std::process::ExitStatus, log: PathBuf, last_words: String },
    #[error(
        "The engine was started but does not answer after {START_SECONDS_MAX} seconds. See {}.", log.display()
    )]
    Silent { log: PathBuf },
}

/// Returns once an engine answers on `link`: the one that runs already, else one started as `start` says.
///
/// The started engine is a process of its own: it outlives the window, however the window ends.
///
/// # Errors
/// When there is none and none can be started; see [`StartError`].
pub(crate) async fn find_or_start(
    link: &EngineLink,
    data: &Path,
    program: Option<&Path>,
    start: Option<&Start>,
) -> Result<(), StartError> {
    if link.probe().await.is_ok() {
        return Ok(());
    }
    let start = start.ok_or_else(|| StartError::NotAsked { data: data.to_owned() })?;
    let program = find_program(program)?;
    let data_folder = |source| StartError::DataFolder { data: data.to_owned(), source };
    std::fs::create_dir_all(data).map_err(data_folder)?;
    let log = data.join(START_LOG);
    let out = File::create(&log).map_err(data_folder)?;
    let err = out.try_clone().map_err(data_folder)?;

    let mut command = Command::new(&program);
    command.args(arguments(start, data)).stdin(Stdio::null()).stdout(out).stderr(err).kill_on_drop(false);
    detach(&mut command);
    let mut engine = command.spawn().map_err(|source| StartError::Spawn { program: program.clone(), source })?;
    tracing::info!(program = %program.display(), data = %data.display(), "started the engine");

    let deadline = Instant::now() + Duration::from_secs(START_SECONDS_MAX);
    loop {
        if link.probe().await.is_ok() {
            break;
        }
        if let Ok(Some(status)) = engine.try_wait() {
            // Another window may have been quicker: then its engine holds the folder and ours stopped at that.
            if link.probe().await.is_ok() {
                return Ok(());
            }
            return Err(StartError::Stopped { status, last_words: last_words(&log), log });
        }
        if Instant::now() >= deadline {
            return Err(StartError::Silent { log });
        }
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
    // Waited for only so that an engine that ends leaves no zombie while the window lives.
    tokio::spawn(async move {
        if let Ok(status) = engine.wait().await {
            tracing::warn!(%status, "the engine stopped");
        }
    });
    Ok(())
}

fn arguments(start: &Start, data: &Path) -> Vec<std::ffi::OsString> {
    let mut all: Vec<std::ffi::OsString> = match start {
        Start::Run { plant } => vec!["run".into(), plant.into()],
        Start::Demo { .. } => vec!["demo".into()],
    };
    all.extend(["--data".into(), data.into()]);
    if let Start::Demo { fault, seed } = start {
        if let Some(fault) = fault {
            all.extend(["--fault".into(), fault.into()]);
        }
        if let Some(seed) = seed {
            all.extend(["--seed".into(), seed.to_string().into()]);
        }
    }
    all
}

/// A process group of its own: a Ctrl-C or a closed terminal that ends the window does not reach the engine.
fn detach(command: &mut Command) {
    #[cfg(unix)]
    command.process_group(0);
    #[cfg(windows)]
    {
        const DETACHED_PROCESS: u32 = 0x0000_0008;
        const CREATE_NEW_PROCESS_GROUP: u32 = 0x0000_0200;
        command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
    }
}

fn find_program(named: Option<&Path>) -> Result<PathBuf, StartError> {
    if let Some(path) = named {
        return if path.is_file() {
            Ok(path.to_owned())
        } else {
            Err(StartError::NoSuchProgram { path: path.to_owned() })
        };
    }
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(ENGINE)));
    let in_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).map(|folder| folder.join(ENGINE)).collect::<Vec<_>>());
    beside.into_iter().chain(in_path).find(|candidate| candidate.is_file()).ok_or(StartError::NotFound)
}

fn last_words(log: &Path) -> String {
    match std::fs::read(log) {
        Ok(bytes) => {
            String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LAST_WORDS_BYTES_MAX)..]).trim().to_owned()
        }
        Err(error) => format!("(unreadable: {error})"),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program in place of the engine.
    fn script(folder: &Path, text: &str) -> PathBuf {
        let path = folder.join("engine");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    async fn start(data: &Path, program: &Path, start: &Start) -> Result<(), StartError> {
        find_or_start(&EngineLink::new(data), data, Some(program), Some(start)).await
    }

    #[tokio::test]
    async fn an_engine_that_stops_at_once_is_reported_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let engine = script(folder.path(), "echo \"plant.toml:3:1: no such role; got $*\" >&2; exit 2");
        let run = Start::Run { plant: "/p/plant.toml".into() };
        let data = folder.path().join("data");
        let problem = start(&data, &engine, &run).await.unwrap_err().to_string();
        let call = format!("got run /p/plant.toml --data {}", data.display());
        assert!(problem.contains("exit status: 2") && problem.contains(&call), "{problem}");
    }

    #[tokio::test]
    async fn the_simulated_line_gets_its_fault_and_seed() {
        let folder = tempfile::tempdir().unwrap();
        let engine = script(folder.path(), "echo \"got $*\"; exit 1");
        let demo = Start::Demo { fault: Some("tank-leak".into()), seed: Some(7) };
        let problem = start(folder.path(), &engine, &demo).await.unwrap_err().to_string();
        assert!(problem.contains("--fault tank-leak --seed 7"), "{problem}");
    }

    #[tokio::test]
    async fn an_engine_that_runs_already_is_used_and_none_is_started() {
        use interprocess::local_socket::{GenericFilePath, ListenerOptions, ToFsName};
        let folder = tempfile::tempdir().unwrap();
        let address = sightglass_protocol::socket::address(folder.path());
        let name = address.to_fs_name::<GenericFilePath>().unwrap();
        let _listening = ListenerOptions::new().name(name).create_tokio().unwrap();
        let engine = script(folder.path(), "touch \"$0.started\"");
        start(folder.path(), &engine, &Start::Demo { fault: None, seed: None }).await.unwrap();
        assert!(!folder.path().join("engine.started").exists());
    }

    #[tokio::test]
    async fn without_an_engine_and_without_a_plant_it_says_how_to_start_one() {
        let folder = tempfile::tempdir().unwrap();
        let link = EngineLink::new(folder.path());
        let problem = find_or_start(&link, folder.path(), None, None).await.unwrap_err().to_string();
        assert!(problem.contains("sightglass run PLANT.toml --data"), "{problem}");
    }

    #[tokio::test]
    async fn a_named_program_that_does_not_exist_is_named_back() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let problem = start(folder.path(), &missing, &Start::Demo { fault: None, seed: None }).await.unwrap_err();
        assert!(matches!(problem, StartError::NoSuchProgram { .. }), "{problem}");
    }
}
