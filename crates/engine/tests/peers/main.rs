//! The command line against programs that are not of this project.

mod browse;
mod key_store;

use std::process::Child;

/// A process that does not outlive its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Says that a test is left out for want of `what`.
///
/// # Panics
/// Where peers are required.
fn left_out(what: &str) {
    assert!(std::env::var_os("SIGHTGLASS_PEERS").is_none_or(|word| word != "required"), "{what}");
    eprintln!("skipped: {what}; `cargo xtask test` sees to it");
}
