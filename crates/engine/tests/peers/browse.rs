//! `sightglass browse` against a server that is not of this project.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::{Ended, left_out};

/// A server with these nodes, and its port; `None`, said, where no Python has asyncua.
fn server(nodes: &serde_json::Value) -> Option<(Ended, String)> {
    let Some(python) = std::env::var_os("SIGHTGLASS_PYTHON") else {
        left_out("SIGHTGLASS_PYTHON names no Python");
        return None;
    };
    let import = Command::new(&python).args(["-c", "import asyncua"]).stderr(Stdio::null()).status();
    if !import.is_ok_and(|status| status.success()) {
        left_out("the Python that SIGHTGLASS_PYTHON names lacks asyncua");
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ingest/tests/peers/opcua_server.py");
    let spec = serde_json::json!({ "nodes": nodes }).to_string();
    let mut command = Command::new(python);
    // It ends with its standard input, which stays open with the process.
    command.arg(script).arg(spec).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = Ended(command.spawn().expect("Python starts"));
    let mut port = String::new();
    BufReader::new(process.0.stdout.take().expect("a pipe")).read_line(&mut port).expect("it says its port");
    Some((process, format!("opc.tcp://127.0.0.1:{}", port.trim())))
}

fn sightglass(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sightglass"));
    command.args(arguments).stdin(Stdio::null()).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_server_is_listed_and_its_draft_is_a_good_plant() {
    let nodes = serde_json::json!([
        {"name": "Oven.T", "browse": "T", "in": "Oven", "type": "Double", "value": 71.5, "unit": "°C", "range": [0.0, 250.0]},
        {"name": "row", "type": "Int32", "value": [1, 2]},
        {"name": "name", "type": "String", "value": "line 1"},
    ]);
    let Some((_server, address)) = server(&nodes) else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let draft = dir.path().join("draft.toml");
    let out = draft.display().to_string();

    let listed = sightglass(&["browse", &address, "--out", &out]);
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    let table = text(&listed.stdout);
    assert!(table.contains("Oven/T") && table.contains("71.5 °C (0 to 250)"), "{table}");
    assert!(table.contains("3 variables, 2 of them with numbers"), "{table}");
    assert!(text(&listed.stderr).contains("3 tags are drafted"), "{}", text(&listed.stderr));
    let written = std::fs::read_to_string(&draft).expect("the draft");
    for words in ["name = \"T\"", "unit = \"°C\"", "range = [0.0, 250.0]", "name = \"row[1]\"", "kind = \"opcua\""] {
        assert!(written.contains(words), "{words} in {written}");
    }
    let checked = sightglass(&["check", &out]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));

    let again = sightglass(&["browse", &address, "--out", &out]);
    assert_eq!(again.status.code(), Some(2), "what is there is not overwritten");
    assert_eq!(std::fs::read_to_string(&draft).expect("the draft"), written);

    let json = sightglass(&["browse", &address, "--below", "ns=2;s=Oven", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["variables"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["variables"][0]["unit"], "°C");
}

#[test]
fn what_cannot_be_browsed_says_why() {
    for (arguments, code, words) in [
        (&["browse", "http://10.0.0.7"][..], 2, "opc.tcp://"),
        (&["browse", "opc.tcp://x:1", "--below", "Level"], 2, "write ns=NUMBER"),
        (&["browse", "opc.tcp://x:1", "--user", "me", "--password", "geheim"], 2, "does not say where the password is"),
        (&["browse", "opc.tcp://me:geheim@x:1"], 2, "holds a user"),
        (&["browse", "opc.tcp://127.0.0.1:1"], 1, "cannot connect"),
    ] {
        let output = sightglass(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words) && !said.contains("geheim"), "{said}");
    }
}
