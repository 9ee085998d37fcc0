//! Ctrl-C and the service manager's request to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::EngineError;

/// A flag that is set when the program is asked to stop (SIGINT, SIGTERM; Ctrl-C on Windows).
///
/// # Errors
/// When the system refuses the signal handlers.
pub(super) fn on_signal() -> Result<Arc<AtomicBool>, EngineError> {
    let stop = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(EngineError::io("starting a thread for", "signals"))?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if let Err(error) = runtime.block_on(asked()) {
                tracing::error!("signals cannot be received ({error}); end the program by other means");
                return;
            }
            set.store(true, Ordering::Relaxed);
        })
        .map_err(EngineError::io("starting a thread for", "signals"))?;
    Ok(stop)
}

#[cfg(unix)]
async fn asked() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn asked() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
