//! `cargo xtask test`: every test, on a machine with or without a display.

use std::path::Path;
use std::process::Command;

use crate::outcome::{Outcome, step};
use crate::process::run;
use crate::python;
use crate::setup::{self, Nextest};
use crate::ui_bundle;
use crate::workspace::Workspace;

/// Names the folder of real recordings; tests on real data say that they were left out when it is absent.
pub(crate) const DATA_VARIABLE: &str = "SIGHTGLASS_DATA";
/// Where the recordings lie when nothing else is said, seen from the checkout.
pub(crate) const DATA_DEFAULT: &str = "../shared/data";

/// Says by `required` that no test may be left out for want of a peer.
const PEERS_VARIABLE: &str = "SIGHTGLASS_PEERS";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only tests whose name holds this, and options of the test runner
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    more: Vec<String>,
}

pub(crate) fn run_tests(workspace: &Workspace, arguments: &Arguments) -> Outcome {
    setup::everything(workspace)?;
    let nextest = setup::nextest(workspace)?;
    let peers = python::with_peers(workspace)?;
    ui_bundle::build(workspace)?;

    workspace.build_everything()?;

    step("run the tests");
    let mut tests = match nextest {
        Nextest::Installed => {
            let mut cargo = workspace.cargo();
            cargo.args(["nextest", "run", "--workspace"]);
            cargo
        }
        Nextest::Own(program) => {
            let mut nextest = Command::new(program);
            nextest.current_dir(&workspace.root).env("CARGO_TARGET_DIR", &workspace.target);
            nextest.args(["nextest", "run", "--workspace"]);
            nextest
        }
        Nextest::Absent => {
            let mut cargo = workspace.cargo();
            cargo.args(["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"]);
            cargo
        }
    };
    let data = workspace.root.join(DATA_DEFAULT);
    if std::env::var_os(DATA_VARIABLE).is_none() && data.is_dir() {
        tests.env(DATA_VARIABLE, plain(&data));
    }
    if let Some(interpreter) = peers {
        // An interpreter of the user's own may lack some of the peers.
        if std::env::var_os(python::PYTHON_VARIABLE).is_none() && setup::has_apt() {
            tests.env(PEERS_VARIABLE, "required");
        }
        tests.env(python::PYTHON_VARIABLE, interpreter);
    }
    // Everything that the test of the real window needs is there now, so it may not be left out.
    tests.env("SIGHTGLASS_WINDOW_TEST", "required");
    run(tests.args(&arguments.more))
}

/// Without `..`, for messages.
fn plain(path: &Path) -> std::path::PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
