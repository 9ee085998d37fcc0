//! The web page's side: starts the window on its canvas, carries messages through the shell, and writes what is shown
//! into the document, for people and programs that cannot read a canvas.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use egui::Context;
use js_sys::{Array, ArrayBuffer, Function, Promise, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue, closure::Closure, prelude::wasm_bindgen};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Document, HtmlCanvasElement, KeyboardEvent};

use crate::{App, Link, Screen, Status};

/// The canvas of `index.html`.
const CANVAS: &str = "sightglass";
/// The element of `index.html` for what goes wrong before there is a window, or under it.
const MESSAGE: &str = "message";
/// The end of the page's address when it begins with the screen *Line*.
const FRAGMENT_LINE: &str = "#line";
/// The shell's command: takes an envelope as raw bytes, resolves to one.
const COMMAND: &str = "exchange";

type Arrived = Rc<RefCell<VecDeque<Result<Vec<u8>, String>>>>;

/// Carries messages through the shell's IPC. The window keeps few requests on their way, which bounds the queue.
struct ShellLink {
    arrived: Arrived,
    ctx: Context,
}

impl Link for ShellLink {
    fn send(&mut self, bytes: Vec<u8>) {
        let (arrived, ctx) = (Rc::clone(&self.arrived), self.ctx.clone());
        let asked = invoke(&bytes);
        spawn_local(async move {
            let result = match asked {
                Ok(promise) => {
                    JsFuture::from(promise).await.map_err(|error| words(&error)).and_then(|value| raw(&value))
                }
                Err(reason) => Err(reason),
            };
            arrived.borrow_mut().push_back(result);
            ctx.request_repaint();
        });
    }

    fn poll(&mut self) -> Option<Result<Vec<u8>, String>> {
        self.arrived.borrow_mut().pop_front()
    }
}

/// Calls `window.__TAURI_INTERNALS__.invoke("exchange", bytes)`.
fn invoke(bytes: &[u8]) -> Result<Promise, String> {
    let missing = || "this page is not inside the Sightglass shell; open it with sightglass-desktop".to_owned();
    let internals = Reflect::get(&js_sys::global(), &"__TAURI_INTERNALS__".into()).map_err(|_| missing())?;
    let invoke: Function = Reflect::get(&internals, &"invoke".into())
        .ok()
        .and_then(|function| function.dyn_into().ok())
        .ok_or_else(missing)?;
    let body = Uint8Array::from(bytes);
    let answer = invoke.call2(&internals, &COMMAND.into(), &body).map_err(|error| words(&error))?;
    answer.dyn_into().map_err(|_| "the shell did not promise an answer".to_owned())
}

/// The bytes of an answer: an `ArrayBuffer`, or an array of numbers where the shell has no binary channel.
fn raw(value: &JsValue) -> Result<Vec<u8>, String> {
    if value.is_instance_of::<ArrayBuffer>() || value.is_instance_of::<Uint8Array>() || Array::is_array(value) {
        Ok(Uint8Array::new(value).to_vec())
    } else {
        Err("the shell answered with something else than bytes".to_owned())
    }
}

fn words(error: &JsValue) -> String {
    error
        .as_string()
        .or_else(|| Reflect::get(error, &"message".into()).ok().and_then(|message| message.as_string()))
        .unwrap_or_else(|| format!("{error:?}"))
}

/// The window as the page runs it.
struct Page {
    app: App,
    document: Document,
    written: Option<Status>,
}

impl eframe::App for Page {
    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        self.app.ui(ui);
        let status = self.app.status();
        if self.written.as_ref() != Some(&status) {
            write_status(&self.document, &status);
            self.written = Some(status);
        }
    }
}

fn write_status(document: &Document, status: &Status) {
    let Some(root) = document.document_element() else { return };
    let time = |time: Option<sightglass_protocol::UtcNanos>| time.map_or_else(String::new, |time| time.0.to_string());
    for (name, value) in [
        ("data-screen", status.screen.name().to_owned()),
        ("data-at", time(status.at)),
        ("data-frame", time(status.frame)),
        ("data-advisory", status.advisory.map_or_else(String::new, |id| id.0.to_string())),
        ("data-advisories", status.advisories.to_string()),
        ("data-link", status.link.clone()),
        ("data-replay", (status.screen == Screen::Review).to_string()),
    ] {
        if root.set_attribute(name, &value).is_err() {
            return; // Only an invalid name fails, and these are not.
        }
    }
}

fn say(document: &Document, text: &str) {
    if let Some(element) = document.get_element_by_id(MESSAGE) {
        element.set_text_content(Some(text));
    }
}

/// Keeps the browser's own meaning from the keys that the window uses: search, reload, caret, zoom.
fn take_keys(document: &Document) -> Result<(), JsValue> {
    let taken = Closure::<dyn FnMut(KeyboardEvent)>::new(|event: KeyboardEvent| {
        let key = event.key();
        let function_key = key.len() >= 2 && key.starts_with('F') && key[1..].bytes().all(|byte| byte.is_ascii_digit());
        let zoom = event.ctrl_key() && matches!(key.as_str(), "+" | "-" | "=" | "0");
        if function_key || zoom {
            event.prevent_default();
        }
    });
    document.add_event_listener_with_callback("keydown", taken.as_ref().unchecked_ref())?;
    taken.forget(); // Lives as long as the page.
    Ok(())
}

/// Starts the window on the page's canvas.
///
/// # Errors
/// When the page lacks the canvas, or the browser lacks WebGL; the page says so as well.
#[wasm_bindgen(start)]
pub(crate) fn start() -> Result<(), JsValue> {
    let document = web_sys::window().and_then(|window| window.document()).ok_or("there is no document")?;
    let canvas: HtmlCanvasElement = document
        .get_element_by_id(CANVAS)
        .and_then(|element| element.dyn_into().ok())
        .ok_or("the page has no canvas 'sightglass'")?;
    take_keys(&document)?;
    let runner = eframe::WebRunner::new();
    let before = std::panic::take_hook();
    let on_panic = document.clone();
    std::panic::set_hook(Box::new(move |info| {
        say(&on_panic, &format!("The window has failed; the engine goes on. Open the window again. ({info})"));
        before(info);
    }));
    spawn_local(async move {
        let page_document = document.clone();
        let started = runner
            .start(
                canvas.clone(),
                eframe::WebOptions::default(),
                Box::new(|creation| {
                    let ctx = creation.egui_ctx.clone();
                    let link = ShellLink { arrived: Arrived::default(), ctx: ctx.clone() };
                    let mut app = App::new(&ctx, Box::new(link));
                    // The shell names the first screen in the address.
                    if page_document.url().is_ok_and(|url| url.ends_with(FRAGMENT_LINE)) {
                        app.open_line();
                    }
                    Ok(Box::new(Page { app, document: page_document, written: None }))
                }),
            )
            .await;
        match started {
            Ok(()) => {
                say(&document, "");
                // Without focus the canvas gets no keys.
                if let Err(error) = canvas.focus() {
                    say(&document, &format!("Click the window to use keys ({}).", words(&error)));
                }
            }
            Err(error) => say(
                &document,
                &format!("The window cannot draw: {}. It needs WebGL; check the graphics driver.", words(&error)),
            ),
        }
    });
    Ok(())
}
