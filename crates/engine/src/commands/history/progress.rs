//! A bar on the terminal for what takes long: shown after two seconds, and only to people.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sightglass_history::Progress;

const SHOWN_AFTER: Duration = Duration::from_secs(2);

/// The bar.
pub(super) struct Bar {
    bar: ProgressBar,
    since: Instant,
    what: &'static str,
}

impl Bar {
    pub(super) fn new() -> Self {
        Self { bar: ProgressBar::hidden(), since: Instant::now(), what: "" }
    }

    /// What the work tells how far it is.
    pub(super) fn teller(&mut self) -> impl FnMut(Progress) + Send + '_ {
        |progress| self.show(progress)
    }

    fn show(&mut self, progress: Progress) {
        if self.bar.is_hidden() {
            if self.since.elapsed() < SHOWN_AFTER || !std::io::stderr().is_terminal() {
                return;
            }
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        if self.what != progress.what {
            self.what = progress.what;
            self.bar.set_message(progress.what);
            // Without a known end it only shows that it goes on.
            let template = if progress.total == 0 {
                "{spinner} {msg}"
            } else {
                "{msg} {bar:40} {bytes} of {total_bytes}, {eta} left"
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                self.bar.set_style(style);
            }
        }
        self.bar.set_length(progress.total);
        self.bar.set_position(progress.done);
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.end();
    }
}
