//! The window's page: `ui/` compiled to WebAssembly, with its JavaScript glue, in `ui/dist`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use wasm_bindgen_cli_support::Bindgen;

use crate::outcome::{Doing, Outcome, step};
use crate::process::run;
use crate::workspace::Workspace;

/// The name of the JavaScript module and, with `_bg.wasm`, of the compiled code, as `ui/index.html` loads them.
const NAME: &str = "sightglass_ui";
/// Holds the hash of what the bundle was made from.
const STAMP: &str = ".made-from";

/// Builds what has changed.
pub(crate) fn build(workspace: &Workspace) -> Outcome {
    let ui = workspace.root.join("ui");
    let page = ui.join("index.html");
    let html = std::fs::read(&page).could_not(format_args!("read the window's page {}", page.display()))?;

    step("the window's page: compile ui/ to WebAssembly");
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--package", "sightglass-ui", "--lib", "--profile", "wasm"]);
    cargo.args(["--target", "wasm32-unknown-unknown"]);
    // Flags of the user's are meant for this machine, and would replace those of .cargo/config.toml.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    run(&mut cargo)?;

    let wasm = workspace.target.join("wasm32-unknown-unknown/wasm").join(format!("{NAME}.wasm"));
    let code = std::fs::read(&wasm).could_not(format_args!("read {}", wasm.display()))?;
    let mut hasher = DefaultHasher::new();
    // This file too: it says how the bundle is made.
    (&code, &html, include_str!("ui_bundle.rs")).hash(&mut hasher);
    let made_from = format!("{:016x}\n", hasher.finish());

    let dist = ui.join("dist");
    if is_made_from(&dist, &made_from) {
        step(format_args!("the window's page: {} is up to date", dist.display()));
        return Ok(());
    }
    step(format_args!("the window's page: write {}", dist.display()));
    if dist.exists() {
        std::fs::remove_dir_all(&dist).could_not(format_args!("empty {}", dist.display()))?;
    }
    let mut bindgen = Bindgen::new();
    bindgen.input_path(&wasm).out_name(NAME).typescript(false).keep_debug(false).remove_name_section(true);
    // The module finds its compiled code beside itself.
    bindgen.omit_default_module_path(false);
    bindgen
        .web(true)
        .and_then(|bindgen| bindgen.generate(&dist))
        .map_err(|error| format!("could not make the JavaScript side of {}: {error:#}", wasm.display()))?;
    write(&dist.join("index.html"), &html)?;
    // Last, so that a bundle that was interrupted is made again.
    write(&dist.join(STAMP), made_from.as_bytes())
}

fn is_made_from(dist: &Path, made_from: &str) -> bool {
    std::fs::read_to_string(dist.join(STAMP)).is_ok_and(|stamp| stamp == made_from)
}

fn write(file: &Path, bytes: &[u8]) -> Outcome {
    std::fs::write(file, bytes).could_not(format_args!("write {}", file.display()))
}
