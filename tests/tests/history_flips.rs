//! The short form of `cargo xtask torture flips`: `history verify` finds every byte that was changed.

use std::process::Command;

#[test]
fn a_changed_byte_is_found_wherever_it_matters_and_nothing_panics() {
    let output = Command::new(env!("CARGO_BIN_EXE_history_flips"))
        .args(["--copies", "60", "--check"])
        .output()
        .expect("the program of this crate starts");
    let (text, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{told}");
    let line = text.lines().last().expect("it prints its figures");
    let figure = |key: &str| -> u64 {
        let value = line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {key} in '{line}'"))
    };
    assert_eq!((figure("copies"), figure("unfound"), figure("panics")), (60, 0, 0), "{line}");
    assert!(figure("found") >= 20, "most changes matter: {line}");
}
