//! What building and testing need on a fresh machine.

use std::path::PathBuf;
use std::process::Command;

use crate::outcome::{Doing, Outcome, step};
use crate::process::{ask, line, run};
use crate::workspace::Workspace;

/// Debian and Ubuntu packages to build and to run the engine and the window, with a virtual display.
const PACKAGES_TO_BUILD: &[&str] = &[
    "build-essential",
    "pkg-config",
    // Streams: the libraries, and the plugins that cameras, recordings and screenshots use.
    "libgstreamer1.0-dev",
    "libgstreamer-plugins-base1.0-dev",
    "gstreamer1.0-tools",
    "gstreamer1.0-plugins-base",
    "gstreamer1.0-plugins-good",
    "gstreamer1.0-plugins-bad",
    "gstreamer1.0-libav",
    // The window's webview, and software rendering where there is no GPU.
    "libwebkit2gtk-4.1-dev",
    "libegl1",
    "libgl1-mesa-dri",
    "fonts-dejavu-core",
    "xvfb",
];
/// Packages that only tests need: remote control of the webview, a software GPU for the screens' pictures, a broker, cameras,
/// and a key store on a message bus.
const PACKAGES_TO_TEST: &[&str] = &[
    "webkit2gtk-driver",
    "mesa-vulkan-drivers",
    "libvulkan1",
    "mosquitto",
    "libgstrtspserver-1.0-dev",
    "ffmpeg",
    "gnome-keyring",
    "dbus",
];

const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// Everything, for a machine on which all commands are to work.
pub(crate) fn everything(workspace: &Workspace) -> Outcome {
    let packages: Vec<&str> = PACKAGES_TO_BUILD.iter().chain(PACKAGES_TO_TEST).copied().collect();
    system_packages(&packages)?;
    wasm_target()?;
    nextest(workspace).map(|_runner| ())
}

/// What building and running the engine and the window need.
pub(crate) fn for_building(_workspace: &Workspace) -> Outcome {
    system_packages(PACKAGES_TO_BUILD)?;
    wasm_target()
}

/// Installs those of the Debian and Ubuntu packages `wanted` that are not there; elsewhere says what is needed.
pub(crate) fn system_packages(wanted: &[&str]) -> Outcome {
    if !has_apt() {
        step("system packages: this is neither Debian nor Ubuntu; install what corresponds to these by hand:");
        println!("    {}", wanted.join(" "));
        return Ok(());
    }
    let missing: Vec<&str> = wanted.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        step(format_args!("system packages: all {} are installed", wanted.len()));
        return Ok(());
    }
    step(format_args!("system packages: install {}", missing.join(" ")));
    let mut install = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    install.extend(missing);
    let root = ask(Command::new("id").arg("-u")).as_deref() == Some("0");
    if !root && ask(Command::new("sudo").arg("--version")).is_none() {
        return Err(format!(
            "system packages are missing and there is no sudo; run as root: apt-get update && apt-get {}",
            install.join(" ")
        ));
    }
    for arguments in [vec!["update", "--quiet"], install] {
        // `env` because sudo drops the variable otherwise.
        let mut command = Command::new(if root { "env" } else { "sudo" });
        if !root {
            command.arg("env");
        }
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(arguments);
        run(&mut command)?;
    }
    Ok(())
}

/// Whether this is Debian or Ubuntu, where packages are installed by their names.
pub(crate) fn has_apt() -> bool {
    ask(Command::new("apt-get").arg("--version")).is_some()
}

fn is_installed(package: &str) -> bool {
    let state = ask(Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status} ", package]));
    state.is_some_and(|state| state.split_whitespace().any(|status| status == "installed"))
}

fn wasm_target() -> Outcome {
    rust_target(WASM_TARGET, "The window's page")
}

/// Rust's standard library for `target`, which `who` needs.
pub(crate) fn rust_target(target: &str, who: &str) -> Outcome {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = ask(Command::new(rustc).args(["--print", "sysroot"]))
        .ok_or("`rustc --print sysroot` failed; install Rust from https://rustup.rs")?;
    let library = PathBuf::from(sysroot).join("lib/rustlib").join(target).join("lib");
    if library.is_dir() {
        step(format_args!("Rust target {target}: installed"));
        return Ok(());
    }
    step(format_args!("Rust target {target}: install"));
    let mut add = Command::new("rustup");
    add.args(["target", "add", target]);
    run(&mut add).map_err(|problem| {
        format!(
            "{problem}\n{who} needs Rust's standard library for {target}. With rustup, run `{}`; without it, install the \
                 package of your distribution that holds it.",
            line(&add)
        )
    })
}

/// The test runner: the user's, else one of our own; returns what to call.
pub(crate) fn nextest(workspace: &Workspace) -> Outcome<Nextest> {
    if ask(workspace.cargo().args(["nextest", "--version"])).is_some() {
        step("cargo-nextest: installed");
        return Ok(Nextest::Installed);
    }
    let own = workspace.tools().join("bin/cargo-nextest");
    if !own.is_file() {
        step("cargo-nextest: install (a few minutes)");
        if let Err(problem) = install_tool(workspace, "cargo-nextest") {
            println!("{problem}\n==> cargo-nextest cannot be had; `cargo test` runs the tests instead");
            return Ok(Nextest::Absent);
        }
    }
    Ok(Nextest::Own(own))
}

/// The test runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Nextest {
    /// `cargo nextest` works.
    Installed,
    /// It lies here, and must be called by its path.
    Own(PathBuf),
    /// It cannot be installed; `cargo test` has to do.
    Absent,
}

fn install_tool(workspace: &Workspace, name: &str) -> Outcome {
    let tools = workspace.tools();
    std::fs::create_dir_all(&tools).could_not(format_args!("make the folder {}", tools.display()))?;
    let build = tools.join("build");
    let mut cargo = workspace.cargo();
    // Without optimisation: it is built once and runs for moments.
    cargo.args(["install", "--locked", "--debug", "--quiet", name, "--root"]).arg(&tools);
    // Outside the checkout, so that neither its configuration nor its toolchain flags apply.
    cargo.current_dir(&tools).env("CARGO_TARGET_DIR", &build);
    run(&mut cargo)?;
    std::fs::remove_dir_all(&build).could_not(format_args!("remove {}", build.display()))
}
