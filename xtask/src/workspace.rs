//! Where things lie, and how cargo is called on them.

use std::path::PathBuf;
use std::process::Command;

use crate::outcome::{Doing, Outcome};

/// How the variables begin with which `cargo run` describes the program that it runs.
const OF_THIS_PROGRAM: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];

/// The checkout and its build folder.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The checkout.
    pub(crate) root: PathBuf,
    /// Cargo's build folder, wherever the user put it.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Finds both. To be called before anything is built: a build may replace this program's file.
    pub(crate) fn find() -> Outcome<Self> {
        // Where cargo runs it from, not where it was compiled: checkouts that share a target folder share this program.
        let crate_dir =
            std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = crate_dir.parent().ok_or("this crate lies in no workspace")?.to_owned();
        // This program is TARGET/debug/xtask, which holds for every way to name the build folder.
        let own = std::env::current_exe().could_not("find this program")?;
        let target = own.ancestors().nth(2).ok_or("this program lies in no build folder")?.to_owned();
        Ok(Self { root, target })
    }

    /// A program of this workspace, built with the dev profile.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.target.join("debug").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
    }

    /// Programs that tests need and that come from crates.io are installed here, and not among the user's own.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// Cargo on this workspace and its build folder, as if called by hand: what `cargo run` says of this program to it
    /// would make build scripts that look there run anew, and all that stands on them.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        for (name, _) in std::env::vars_os() {
            if OF_THIS_PROGRAM.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes())) {
                cargo.env_remove(name);
            }
        }
        cargo.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        cargo
    }

    /// Where several checkouts share a build folder, cargo takes the other's programs for this one's as long as its files
    /// are newer, with the other's paths in them. So what the other built of this workspace goes; dependencies stay.
    fn forget_other_checkouts(&self) -> Outcome {
        let note = self.target.join("checkout");
        let here = self.root.display().to_string();
        if std::fs::read_to_string(&note).is_ok_and(|there| there == here) {
            return Ok(());
        }
        let mut members = self.cargo();
        members.args(["metadata", "--no-deps", "--format-version", "1"]);
        let described = members.output().could_not("ask cargo for the workspace's crates")?;
        let described: serde_json::Value =
            serde_json::from_slice(&described.stdout).could_not("read what cargo says of the workspace")?;
        let mut clean = self.cargo();
        clean.args(["clean", "--quiet"]);
        for member in described["packages"].as_array().into_iter().flatten() {
            // Not this very program, which asks for its paths when it runs.
            if let Some(name) = member["name"].as_str().filter(|name| *name != env!("CARGO_PKG_NAME")) {
                clean.args(["-p", name]);
            }
        }
        crate::process::run(&mut clean)?;
        std::fs::write(&note, here).could_not(format_args!("write {}", note.display()))
    }

    /// Builds everything, as the tests do, so that nothing is compiled anew: a part alone has other features in its
    /// dependencies.
    pub(crate) fn build_everything(&self) -> Outcome {
        self.forget_other_checkouts()?;
        crate::outcome::step("build everything");
        crate::process::run(self.cargo().args(["build", "--workspace", "--all-targets"]))
    }

    /// Builds the engine and the window.
    pub(crate) fn build_programs(&self) -> Outcome {
        self.forget_other_checkouts()?;
        crate::outcome::step("build the engine and the window");
        let mut cargo = self.cargo();
        // Of the whole workspace, as the tests are, so that dependencies have the same features and are compiled once.
        cargo.args(["build", "--workspace", "--bins"]);
        crate::process::run(&mut cargo)
    }
}
