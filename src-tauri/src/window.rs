//! The window itself: a webview, the page, and the one command that the page may call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tauri::ipc::{InvokeBody, Request, Response};
use tauri::{State, WebviewUrl, WebviewWindowBuilder};

use crate::engine_process::find_or_start;
use crate::link::{EngineLink, LinkError};
use crate::options::Launch;
use crate::page::{Page, SCHEME, missing_message};

/// The label that `capabilities/window.json` names.
const LABEL: &str = "main";

/// What the page's command works with.
struct Shell {
    link: EngineLink,
    /// Why no engine could be found or started; told to the page until one answers.
    trouble: Mutex<Option<String>>,
}

impl Shell {
    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries one message of the page to the engine and the answer back, both as they are.
///
/// From the page: `invoke("exchange", bytes)` with a `Uint8Array`, which resolves to an `ArrayBuffer` or rejects with a
/// sentence.
#[tauri::command]
async fn exchange(shell: State<'_, Arc<Shell>>, request: Request<'_>) -> Result<Response, String> {
    let InvokeBody::Raw(message) = request.body() else {
        return Err("The page must hand its message over as raw bytes (a Uint8Array).".to_owned());
    };
    match shell.link.exchange(Bytes::copy_from_slice(message)).await {
        Ok(answer) => {
            shell.trouble().take();
            Ok(Response::new(Vec::from(answer)))
        }
        Err(error @ LinkError::Unreachable { .. }) => Err(shell.trouble().clone().unwrap_or_else(|| error.to_string())),
        Err(error) => Err(error.to_string()),
    }
}

/// Shows the window until it is closed.
///
/// # Errors
/// What Tauri says when it cannot open a window.
pub(crate) fn show(launch: Launch) -> tauri::Result<()> {
    let Launch { data, engine, start, screen } = launch;
    let page = Page::find();
    match &page {
        Page::Folder(folder) => tracing::info!(folder = %folder.display(), "the window's page"),
        Page::Missing(places) => tracing::error!("{}", missing_message(places)),
    }
    let shell = Arc::new(Shell { link: EngineLink::new(&data), trouble: Mutex::new(None) });
    let finder = Arc::clone(&shell);
    tauri::Builder::default()
        .manage(shell)
        .register_uri_scheme_protocol(SCHEME, move |_context, request| page.answer(request.uri()))
        .invoke_handler(tauri::generate_handler![exchange])
        .setup(move |app| {
            // The window opens at once; the engine may take a while.
            tauri::async_runtime::spawn(async move {
                let found = find_or_start(&finder.link, &data, engine.as_deref(), start.as_ref()).await;
                if let Err(problem) = found {
                    tracing::error!("{problem}");
                    *finder.trouble() = Some(problem.to_string());
                }
            });
            let origin = if cfg!(any(windows, target_os = "android")) {
                format!("http://{SCHEME}.localhost")
            } else {
                format!("{SCHEME}://localhost")
            };
            // The page reads from the fragment which screen to begin with.
            let url = format!("{origin}/#{}", screen.fragment());
            WebviewWindowBuilder::new(app, LABEL, WebviewUrl::CustomProtocol(url.parse()?))
                .title("Sightglass")
                .inner_size(1366.0, 768.0)
                .min_inner_size(1024.0, 640.0)
                .build()?;
            Ok(())
        })
        .run(tauri::generate_context!())
}
