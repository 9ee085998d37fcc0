//! As much of a WebDriver client as the test needs (W3C WebDriver, sections 8 to 15), over plain HTTP/1.1.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::processes::{Running, until};

/// How long one command may take; opening the window is the longest.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(120);
/// How long the driver may take to start.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// Keys that are no characters, as WebDriver writes them (section 17.4.2).
pub(crate) mod key {
    pub(crate) const ENTER: &str = "\u{E007}";
    pub(crate) const F3: &str = "\u{E033}";
}

/// WebKitWebDriver.
///
/// tauri-driver, which stands before it elsewhere, would only pass every command on, over connections between the two
/// of which one in a few runs was found reset.
pub(crate) struct Driver {
    _driver: Running,
    port: u16,
}

impl Driver {
    /// Starts it on a free port. The window inherits `environment`.
    pub(crate) fn start(environment: &[(&str, &std::ffi::OsStr)]) -> Self {
        let port = free_port();
        let mut command = Command::new("WebKitWebDriver");
        command.args([format!("--port={port}"), "--host=127.0.0.1".to_owned()]);
        command.env_remove("WAYLAND_DISPLAY").envs(environment.iter().copied());
        // Without this, Tauri's webview does not let itself be driven.
        command.env("TAURI_WEBVIEW_AUTOMATION", "true");
        let mut driver = Running::start("WebKitWebDriver", &mut command);
        until("WebKitWebDriver answers", START_TIME_MAX, || {
            driver.assert_runs();
            request(port, "GET", "/status", None).ok()
        });
        Self { _driver: driver, port }
    }

    /// Opens the window.
    pub(crate) fn open(&self, application: &Path, arguments: &[&str]) -> Session<'_> {
        let options = json!({"binary": application, "args": arguments});
        let capabilities = json!({"capabilities": {"alwaysMatch": {"webkitgtk:browserOptions": options}}});
        let value = request(self.port, "POST", "/session", Some(&capabilities))
            .unwrap_or_else(|error| panic!("the window cannot be opened: {error}"));
        let id = value["sessionId"].as_str().expect("the session has an identity").to_owned();
        Session { driver: self, id }
    }
}

/// An open window; closed when dropped.
pub(crate) struct Session<'a> {
    driver: &'a Driver,
    id: String,
}

impl Session<'_> {
    fn command(&self, path: &str, body: &Value) -> Value {
        request(self.driver.port, "POST", &format!("/session/{}{path}", self.id), Some(body))
            .unwrap_or_else(|error| panic!("the window does not obey {path}: {error}"))
    }

    /// What `script` returns in the page.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.command("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// The page's own account of itself: the attribute `data-NAME` of the document.
    pub(crate) fn data(&self, name: &str) -> Option<String> {
        self.run(&format!("return document.documentElement.getAttribute('data-{name}')")).as_str().map(str::to_owned)
    }

    /// Presses and lets go of a key.
    pub(crate) fn press(&self, key: &str) {
        let strokes = json!([{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]);
        self.command("/actions", &json!({"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]}));
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Err(error) = request(self.driver.port, "DELETE", &format!("/session/{}", self.id), None) {
            eprintln!("the window could not be closed: {error}");
        }
    }
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("this machine has a free port");
    listener.local_addr().expect("a listener has an address").port()
}

/// One command; returns the answer's `value`.
fn request(port: u16, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let text = exchange(port, method, path, &body).map_err(|error| error.to_string())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("the answer has no head")?;
    let mut answer: Value = serde_json::from_str(body).map_err(|error| format!("{error} in {text}"))?;
    let value = answer["value"].take();
    if head.split_whitespace().nth(1) == Some("200") {
        Ok(value)
    } else {
        Err(format!("{}: {}", value["error"].as_str().unwrap_or("?"), value["message"].as_str().unwrap_or("?")))
    }
}

fn exchange(port: u16, method: &str, path: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(COMMAND_TIME_MAX))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
