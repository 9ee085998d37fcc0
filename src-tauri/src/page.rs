//! Serves the page that the webview shows: the bundle of `ui/`, read from its folder at run time.
//!
//! Nothing is compiled in, so this program builds without the bundle; where it is missing, the window says so and how
//! to make it.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use tauri::http::{Response, StatusCode, Uri, header};

/// The scheme under which the webview finds the page (on Windows and Android it becomes `http://SCHEME.localhost`).
pub(crate) const SCHEME: &str = "sightglass";
/// Names the folder of the bundle.
pub(crate) const FOLDER_VARIABLE: &str = "SIGHTGLASS_UI";
/// The files without which there is no page.
pub(crate) const NEEDED: [&str; 3] = ["index.html", "sightglass_ui.js", "sightglass_ui_bg.wasm"];

/// Only the page's own code runs, and it reaches nothing but the page's folder and the shell. WebAssembly is compiled
/// code of the page, hence `'wasm-unsafe-eval'`; `ipc:` is the way to the shell. The page may bound itself further: it
/// alone knows which inline script is its own.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; \
    style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; font-src 'self'; \
    connect-src 'self' ipc: http://ipc.localhost";

/// Where the page comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// A folder with the bundle.
    Folder(PathBuf),
    /// There is none; these places were looked at.
    Missing(Vec<PathBuf>),
}

impl Page {
    /// Looks for the bundle: where `SIGHTGLASS_UI` says and nowhere else if it is set; otherwise in `ui/` beside this
    /// program, in `ui/dist` under the working folder, and, in a development build, in the checkout it was built from.
    pub(crate) fn find() -> Self {
        let mut places = Vec::new();
        if let Some(named) = std::env::var_os(FOLDER_VARIABLE).filter(|value| !value.is_empty()) {
            places.push(PathBuf::from(named));
        } else {
            let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join("ui")));
            places.extend(beside);
            places.extend(std::env::current_dir().ok().map(|folder| folder.join("ui/dist")));
            #[cfg(debug_assertions)]
            places.push(Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("ui").join("dist"));
        }
        Self::among(places)
    }

    fn among(places: Vec<PathBuf>) -> Self {
        let whole = |folder: &&PathBuf| NEEDED.iter().all(|file| folder.join(file).is_file());
        match places.iter().find(whole) {
            Some(folder) => Self::Folder(folder.clone()),
            None => Self::Missing(places),
        }
    }

    /// The answer to the webview's request for `uri`.
    pub(crate) fn answer(&self, uri: &Uri) -> Response<Cow<'static, [u8]>> {
        let path = if uri.path() == "/" { "/index.html" } else { uri.path() };
        match self {
            Self::Missing(places) if path == "/index.html" => {
                response(StatusCode::OK, "text/html; charset=utf-8", missing_page(places).into_bytes())
            }
            Self::Missing(_) => not_found(path),
            Self::Folder(folder) => match inside(folder, path) {
                None => not_found(path),
                Some(file) => match std::fs::read(&file) {
                    Ok(bytes) => response(StatusCode::OK, media_type(&file), bytes),
                    Err(error) => {
                        tracing::error!(file = %file.display(), %error, "a file of the page could not be read");
                        not_found(path)
                    }
                },
            },
        }
    }
}

/// The file that `path` names inside `folder`; `None` for a path that leads out of it.
fn inside(folder: &Path, path: &str) -> Option<PathBuf> {
    let relative = Path::new(path.strip_prefix('/')?);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    plain.then(|| folder.join(relative))
}

fn media_type(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        // A webview compiles WebAssembly while it streams in only under this type.
        Some("wasm") => "application/wasm",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

fn response(status: StatusCode, media_type: &'static str, body: Vec<u8>) -> Response<Cow<'static, [u8]>> {
    let mut response = Response::new(Cow::Owned(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_SECURITY_POLICY, header::HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    // The files change under the same name with every build.
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache"));
    response
}

fn not_found(path: &str) -> Response<Cow<'static, [u8]>> {
    let text = format!("The page has no file {path}.").into_bytes();
    response(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", text)
}

/// What to tell the developer or technician who has no bundle.
pub(crate) fn missing_message(places: &[PathBuf]) -> String {
    let places: Vec<String> = places.iter().map(|place| format!("  {}", place.display())).collect();
    format!(
        "the window's page ({}) is missing. Looked in:\n{}\nIn a checkout, build it with `cargo xtask ui`; elsewhere, \
         set {FOLDER_VARIABLE} to its folder.",
        NEEDED.join(", "),
        places.join("\n")
    )
}

fn missing_page(places: &[PathBuf]) -> String {
    let message = missing_message(places).replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<!doctype html><html lang=\"en\" data-screen=\"missing\"><meta charset=\"utf-8\"><title>Sightglass</title>\
         <style>body{{margin:4rem;background:#c8cacc;color:#1e2124;font:16px sans-serif}}pre{{white-space:pre-wrap}}\
         </style><h1>The window has no page to show</h1><pre>Sightglass: {message}</pre>\
         <p>The engine is not touched by this: it goes on recording.</p></html>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in NEEDED {
            std::fs::write(folder.path().join(file), file).unwrap();
        }
        folder
    }

    fn get(page: &Page, path: &str) -> Response<Cow<'static, [u8]>> {
        page.answer(&format!("{SCHEME}://localhost{path}").parse().unwrap())
    }

    #[test]
    fn each_file_of_the_bundle_comes_with_its_media_type() {
        let folder = bundle();
        let page = Page::among(vec![folder.path().to_owned()]);
        for (path, media_type) in [
            ("/", "text/html; charset=utf-8"),
            ("/sightglass_ui.js", "text/javascript; charset=utf-8"),
            ("/sightglass_ui_bg.wasm", "application/wasm"),
        ] {
            let answer = get(&page, path);
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            assert_eq!(answer.headers()[header::CONTENT_TYPE], media_type);
            let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(policy.contains("'wasm-unsafe-eval'"));
        }
        assert_eq!(get(&page, "/").body().as_ref(), b"index.html");
    }

    #[test]
    fn the_page_cannot_reach_out_of_its_folder() {
        let folder = bundle();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        assert_eq!(inside(&inner, "/../index.html"), None);
        assert_eq!(inside(&inner, "//etc/passwd"), None);
        assert_eq!(inside(&inner, "/a.js"), Some(inner.join("a.js")));
    }

    #[test]
    fn an_incomplete_bundle_counts_as_missing_and_the_page_says_how_to_build_it() {
        let folder = bundle();
        std::fs::remove_file(folder.path().join("sightglass_ui_bg.wasm")).unwrap();
        let page = Page::among(vec![folder.path().to_owned()]);
        let answer = get(&page, "/");
        let text = String::from_utf8(answer.body().to_vec()).unwrap();
        assert!(text.contains("cargo xtask ui") && text.contains(folder.path().to_str().unwrap()), "{text}");
        assert_eq!(get(&page, "/sightglass_ui.js").status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn the_first_whole_bundle_is_taken() {
        let (first, second) = (tempfile::tempdir().unwrap(), bundle());
        let page = Page::among(vec![first.path().to_owned(), second.path().to_owned()]);
        assert_eq!(page, Page::Folder(second.path().to_owned()));
    }
}
