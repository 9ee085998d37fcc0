//! Turns `tauri.conf.json` and `capabilities/` into what `tauri::generate_context!` reads.

fn main() {
    tauri_build::build();
}
