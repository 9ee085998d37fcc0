//! Short forms of `cargo xtask torture kill` and `power`: nothing that was acknowledged is lost.

use std::process::Command;

/// Runs the torture and returns the last line that it printed; `None` where it says that it was skipped.
fn torture(arguments: &[&str]) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_history_torture"))
        .args(arguments)
        .arg("--check")
        .output()
        .expect("the program of this crate starts");
    let (text, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{told}");
    let last = text.lines().last().expect("it prints its figures").to_owned();
    if last.contains("skipped") {
        println!("{last}");
        return None;
    }
    Some(last)
}

/// The number behind `key=` in a line of figures.
fn figure(line: &str, key: &str) -> u64 {
    let value = line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {key} in '{line}'"))
}

#[test]
fn a_writer_that_is_killed_anywhere_has_kept_all_that_it_acknowledged() {
    let line = torture(&["kill", "--kills", "10"]).expect("killing works everywhere");
    assert_eq!(figure(&line, "kills"), 10);
    assert!(figure(&line, "acknowledged_samples") > 1_000, "{line}");
    for key in ["missing_samples", "missing_entries", "open_failures", "verify_problems", "surplus_samples"] {
        assert_eq!(figure(&line, key), 0, "{line}");
    }
}

#[test]
fn a_power_cut_at_any_write_takes_at_most_the_last_second_of_samples() {
    let Some(line) = torture(&["power", "--cuts", "20"]) else { return };
    assert_eq!(figure(&line, "cuts"), 20);
    assert!(figure(&line, "unsynced_bytes") > 0, "{line}");
    for key in ["open_failures", "entries_lost", "samples_lost_older_than_1s", "verify_problems", "surplus_samples"] {
        assert_eq!(figure(&line, key), 0, "{line}");
    }
}
