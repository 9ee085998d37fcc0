//! `cargo xtask check-metal`: the feature `metal`, as far as it compiles without a Mac.
//!
//! All Rust is checked for an Apple processor, candle's Metal part included. Nothing is linked, which takes Apple's own
//! libraries, and no kernel is compiled, which Metal does when a program runs.

use crate::outcome::{Outcome, step};
use crate::process::run;
use crate::setup;
use crate::workspace::Workspace;

const TARGET: &str = "aarch64-apple-darwin";

pub(crate) fn check(workspace: &Workspace) -> Outcome {
    setup::rust_target(TARGET, "The check of Metal")?;
    step(format_args!("check the world model with the feature metal for {TARGET}"));
    let mut cargo = workspace.cargo();
    cargo.args(["check", "-p", "sightglass-world-model", "--features", "metal", "--all-targets", "--target", TARGET]);
    run(&mut cargo)?;
    println!("check_metal target={TARGET} checked=rust left_out=linking,kernels");
    Ok(())
}
