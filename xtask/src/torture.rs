//! `cargo xtask torture`: what a history goes through, and what it must still have afterwards.
//!
//! Each form prints its figures as its last line. The programs that are killed and cut off are this workspace's own.

use std::process::Command;

use crate::outcome::Outcome;
use crate::setup;
use crate::workspace::Workspace;

/// What all forms share.
#[derive(clap::Args)]
pub(crate) struct Common {
    /// Chooses the moments and what is written
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Exit with 1 where anything is lost that must not be
    #[arg(long)]
    check: bool,
}

impl Common {
    pub(crate) const fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) const fn is_check(&self) -> bool {
        self.check
    }

    /// As they are given to the next program.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--seed".to_owned(), self.seed.to_string()];
        arguments.extend(self.check.then(|| "--check".to_owned()));
        arguments
    }
}

/// The program of the `tests` crate that does the work, built, with the shared options.
pub(crate) fn program(workspace: &Workspace, form: &str, common: &Common) -> Outcome<Command> {
    setup::for_building(workspace)?;
    workspace.build_everything()?;
    let mut program = Command::new(workspace.program("history_torture"));
    program.arg(form).args(common.arguments());
    Ok(program)
}
