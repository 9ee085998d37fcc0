//! `sightglass`: the engine and its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    sightglass_engine::commands::main()
}
