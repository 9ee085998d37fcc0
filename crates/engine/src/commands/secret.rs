//! `sightglass secret`: passwords in this PC's key store.

use std::io::{BufRead, IsTerminal, Read};

use sightglass_ingest::{
    key_store,
    secret::{self, SECRET_BYTES_MAX},
};
use sightglass_plant::SecretRef;

use super::print;
use crate::EngineError;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Keep a secret under a name; it is asked for without an echo, or read from the standard input's first line.
    Set {
        /// What the plant's description calls it: password = "keyring:NAME".
        name: String,
    },
    /// Whether a secret can be had, without showing it.
    Test {
        /// The name of a secret in the key store, or what a plant's description says: keyring:NAME, env:NAME, file:PATH.
        secret: String,
    },
    /// Remove a secret.
    Remove {
        /// Its name.
        name: String,
    },
}

pub(super) fn run(command: &Command) -> Result<(), EngineError> {
    match command {
        Command::Set { name } => {
            let name = named(name)?;
            key_store::set(name, &typed(name)?).map_err(EngineError::FoundWrong)?;
            print::line(format_args!("kept; write password = \"keyring:{name}\" in the plant's description"));
        }
        Command::Test { secret: text } => {
            let reference = SecretRef::parse(text).unwrap_or_else(|| SecretRef::KeyStore(text.clone()));
            secret::read(&reference).map_err(EngineError::FoundWrong)?;
            print::line(format_args!("{reference} can be read"));
        }
        Command::Remove { name } => {
            key_store::remove(named(name)?).map_err(EngineError::FoundWrong)?;
            print::line(format_args!("removed '{name}'"));
        }
    }
    Ok(())
}

/// The name itself, also of somebody who writes it as a plant's description does.
fn named(text: &str) -> Result<&str, EngineError> {
    let name = text.strip_prefix("keyring:").unwrap_or(text);
    if name.is_empty() || name.trim() != name || name.chars().any(char::is_control) {
        return Err(EngineError::Usage(format!("{name:?} is no name for a secret; use letters, digits and -")));
    }
    Ok(name)
}

fn typed(name: &str) -> Result<String, EngineError> {
    let unread = |error: std::io::Error| EngineError::Usage(format!("the secret cannot be read: {error}"));
    let secret = if std::io::stdin().is_terminal() {
        let terminal = console::Term::stderr();
        terminal.write_str(&format!("secret '{name}': ")).map_err(unread)?;
        terminal.read_secure_line().map_err(unread)?
    } else {
        let mut line = String::new();
        std::io::stdin().lock().take(SECRET_BYTES_MAX + 1).read_line(&mut line).map_err(unread)?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    if secret.is_empty() {
        return Err(EngineError::Usage("an empty secret is not kept; nothing was changed".to_owned()));
    }
    if secret.len() as u64 > SECRET_BYTES_MAX {
        return Err(EngineError::Usage(format!("a secret has at most {SECRET_BYTES_MAX} bytes; nothing was changed")));
    }
    Ok(secret)
}
