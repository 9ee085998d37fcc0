//! Secrets in a real key store: GNOME Keyring on a message bus of its own.

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::{Ended, left_out};

const SECRET: &str = "geheim 1 🦀";
/// Longer than the slowest start.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// A message bus and a key store on it, in a home of their own.
struct KeyStore {
    home: tempfile::TempDir,
    _store: Ended,
    _bus: Ended,
}

impl KeyStore {
    /// `None`, said, where one of the programs is not installed.
    fn start() -> Option<Self> {
        for program in ["dbus-daemon", "dbus-send", "gnome-keyring-daemon"] {
            if Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
                left_out(&format!("there is no {program}"));
                return None;
            }
        }
        let home = tempfile::tempdir().expect("a folder");
        let config = home.path().join("bus.conf");
        // Without folders of services, so that the bus starts no other key store.
        let text = format!(
            "<busconfig><type>session</type><listen>unix:path={}</listen><policy context=\"default\">\
             <allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>",
            home.path().join("bus").display()
        );
        std::fs::write(&config, text).expect("a file");
        let mut bus = on_bus(home.path(), "dbus-daemon");
        bus.arg("--nofork").arg(format!("--config-file={}", config.display())).stderr(Stdio::null());
        let bus = Ended(bus.spawn().expect("the bus starts"));
        until("the bus listens", || home.path().join("bus").exists());
        let mut store = on_bus(home.path(), "gnome-keyring-daemon");
        store.args(["--foreground", "--unlock", "--components=secrets"]);
        store.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut store = Ended(store.spawn().expect("the key store starts"));
        // What its keyring is made and unlocked with; it reads up to the end.
        store.0.stdin.take().expect("a pipe").write_all(b"master").expect("it reads");
        until("the key store answers", || {
            let mut ask = on_bus(home.path(), "dbus-send");
            ask.args(["--session", "--print-reply", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus"]);
            ask.args(["org.freedesktop.DBus.NameHasOwner", "string:org.freedesktop.secrets"]);
            let answer = ask.stderr(Stdio::null()).output().expect("it is installed");
            String::from_utf8_lossy(&answer.stdout).contains("boolean true")
        });
        Some(Self { home, _store: store, _bus: bus })
    }

    fn sightglass(&self, arguments: &[&str], typed: &str) -> Output {
        run(on_bus(self.home.path(), env!("CARGO_BIN_EXE_sightglass")), arguments, typed)
    }
}

fn on_bus(home: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("HOME", home).env("XDG_RUNTIME_DIR", home).env("XDG_DATA_HOME", home).env("XDG_CACHE_HOME", home);
    command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", home.join("bus").display()));
    command.env_remove("DISPLAY");
    command
}

fn run(mut command: Command, arguments: &[&str], typed: &str) -> Output {
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("the program starts");
    // A command that asks for nothing may be gone before this is written.
    let _unasked = process.stdin.take().expect("a pipe").write_all(typed.as_bytes());
    process.wait_with_output().expect("it ends")
}

/// Asks again until it is so; programs tell no other way.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < HANGS_AFTER, "it does not come to this: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn said(output: &Output) -> String {
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(!said.contains("geheim"), "a secret is shown: {said}");
    said
}

#[test]
fn a_secret_is_kept_found_by_its_name_and_removed_and_never_shown() {
    let Some(store) = KeyStore::start() else { return };
    let absent = store.sightglass(&["secret", "test", "press"], "");
    assert_eq!(absent.status.code(), Some(1));
    assert!(said(&absent).contains("put it there: sightglass secret set press"), "{}", said(&absent));

    let kept = store.sightglass(&["secret", "set", "press"], &format!("{SECRET}\n"));
    assert!(kept.status.success(), "{}", said(&kept));
    assert!(said(&kept).contains("password = \"keyring:press\""), "{}", said(&kept));
    let found = store.sightglass(&["secret", "test", "keyring:press"], "");
    assert!(found.status.success(), "{}", said(&found));

    let empty = store.sightglass(&["secret", "set", "press"], "\n");
    assert_eq!(empty.status.code(), Some(2), "{}", said(&empty));
    let long = store.sightglass(&["secret", "set", "press"], &"geheim".repeat(1000));
    assert_eq!(long.status.code(), Some(2), "{}", said(&long));
    assert!(store.sightglass(&["secret", "test", "press"], "").status.success(), "what was there stays");

    let removed = store.sightglass(&["secret", "remove", "press"], "");
    assert!(removed.status.success(), "{}", said(&removed));
    assert_eq!(store.sightglass(&["secret", "test", "press"], "").status.code(), Some(1));
    assert_eq!(store.sightglass(&["secret", "remove", "press"], "").status.code(), Some(1));
}

#[test]
fn where_there_is_no_key_store_that_is_said_with_what_to_do() {
    let home = tempfile::tempdir().expect("a folder");
    let output = run(on_bus(home.path(), env!("CARGO_BIN_EXE_sightglass")), &["secret", "set", "press"], SECRET);
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(said.contains("no key store") && said.contains("env:NAME or file:PATH"), "{said}");
}
