//! How the webview draws.
//!
//! WebKitGTK hands finished pictures to the screen through DMA-BUF. Without a GPU (a virtual display, a remote
//! session, a PC whose driver has no render node) there is nothing to share buffers with, and the window stays blank.
//! WebKit then draws correctly in software when `WEBKIT_DISABLE_DMABUF_RENDERER=1` is in its environment.

/// Settles the environment in which the webview starts.
///
/// The variable has to be there before the first thread starts, and changing the environment of a running process is
/// not safe, so the program runs itself anew with it, in the same process.
///
/// # Errors
/// A sentence, when there is no display or the program cannot be run anew.
#[cfg(target_os = "linux")]
pub(crate) fn prepare() -> Result<(), String> {
    use std::os::unix::process::CommandExt;

    const NO_DMABUF: &str = "WEBKIT_DISABLE_DMABUF_RENDERER";

    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !set("DISPLAY") && !set("WAYLAND_DISPLAY") {
        return Err("there is no display: neither DISPLAY nor WAYLAND_DISPLAY is set. The engine needs none: \
                    `sightglass run PLANT.toml`"
            .to_owned());
    }
    if std::env::var_os(NO_DMABUF).is_some() || has_render_node() {
        return Ok(());
    }
    let own = std::env::current_exe().map_err(|error| format!("this program cannot find itself: {error}"))?;
    let error = std::process::Command::new(own).args(std::env::args_os().skip(1)).env(NO_DMABUF, "1").exec();
    Err(format!("this program cannot be run anew for drawing without a GPU: {error}"))
}

/// Nothing to settle here.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub(crate) fn prepare() -> Result<(), String> {
    Ok(())
}

#[cfg(target_os = "linux")]
fn has_render_node() -> bool {
    std::fs::read_dir("/dev/dri")
        .is_ok_and(|nodes| nodes.flatten().any(|node| node.file_name().to_string_lossy().starts_with("renderD")))
}
