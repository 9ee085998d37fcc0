//! The operating system's key store: the Secret Service on Linux (GNOME Keyring, KWallet), Credential Manager on Windows, the
//! Keychain on macOS. No error shows a secret.

use std::{sync::mpsc, time::Duration};

use keyring::v1::{Entry, Error};

/// What all secrets of ours are filed under.
const SERVICE: &str = "sightglass";

/// A key store that is locked asks whoever sits at the PC; a service has nobody there, and waits so long.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// The secret called `name`.
///
/// # Errors
/// There is no key store here, it is locked, or it has no such secret: which, and what to do.
pub fn get(name: &str) -> Result<String, String> {
    ask(name, |entry| entry.get_password())
}

/// Keeps `secret` under `name`, in place of what was there.
///
/// # Errors
/// As of [`get`].
pub fn set(name: &str, secret: &str) -> Result<(), String> {
    let secret = secret.to_owned();
    ask(name, move |entry| entry.set_password(&secret))
}

/// Removes the secret called `name`.
///
/// # Errors
/// As of [`get`].
pub fn remove(name: &str) -> Result<(), String> {
    ask(name, |entry| entry.delete_credential())
}

/// Asks the key store on a thread of its own: it may wait for a person, and must not hold up whoever else is served here.
fn ask<T: Send + 'static>(
    name: &str,
    question: impl FnOnce(&Entry) -> keyring::v1::Result<T> + Send + 'static,
) -> Result<T, String> {
    let (answers, answer) = mpsc::sync_channel(1);
    let of = name.to_owned();
    let thread = std::thread::Builder::new().name("key-store".to_owned()).spawn(move || {
        let found = Entry::new(SERVICE, &of).and_then(|entry| question(&entry));
        // Nobody listens after the time is over.
        let _late = answers.send(found);
    });
    thread.map_err(|error| format!("the key store cannot be asked: {error}"))?;
    match answer.recv_timeout(ANSWERS_WITHIN) {
        Ok(found) => found.map_err(|error| said(name, &error)),
        Err(_) => Err(format!(
            "the key store has not answered within {} s; unlock it, or use env:NAME or file:PATH where nobody can",
            ANSWERS_WITHIN.as_secs()
        )),
    }
}

fn said(name: &str, error: &Error) -> String {
    match error {
        Error::NoEntry => {
            format!("the key store has no secret called '{name}'; put it there: sightglass secret set {name}")
        }
        Error::NoDefaultStore => {
            let why = Entry::store_status().as_ref().err().map(|why| format!(" ({why})")).unwrap_or_default();
            format!(
                "this user has no key store here{why}; log in to a desktop session with one (GNOME Keyring, KWallet), or use \
                 env:NAME or file:PATH instead of keyring:{name}"
            )
        }
        Error::NoStorageAccess(why) => {
            format!("the key store is locked or does not answer ({why}); unlock it, or use env:NAME or file:PATH")
        }
        Error::BadEncoding(_) => format!("the secret called '{name}' is not text in UTF-8; set it anew"),
        Error::TooLong(_, bytes_max) => format!("the key store takes at most {bytes_max} bytes"),
        Error::Ambiguous(_) => format!("the key store has several secrets called '{name}'; remove all but one"),
        other => format!("the key store refuses '{name}': {other}"),
    }
}
