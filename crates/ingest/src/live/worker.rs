//! The thread that talks to a device.

use std::{future::Future, io, sync::Arc, thread::JoinHandle};

use tokio::sync::oneshot;

use super::Outbox;

/// A running worker. Dropping it stops it at once, wherever it waits.
#[derive(Debug)]
pub(crate) struct Worker {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Says that nothing more comes, however the worker ends.
struct CloseAtEnd(Arc<Outbox>);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Worker {
    /// Runs `body` on a thread and a runtime of its own.
    pub(crate) fn spawn<F, W>(name: &str, outbox: Arc<Outbox>, body: F) -> io::Result<Self>
    where
        F: FnOnce(Arc<Outbox>) -> W + Send + 'static,
        W: Future<Output = ()>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _close = CloseAtEnd(Arc::clone(&outbox));
            runtime.block_on(async {
                tokio::select! {
                    // The sender gone is as good as its word.
                    _ = stopped => {}
                    () = body(outbox) => {}
                }
            });
            // Looking up a name cannot be broken off; it is left to end by itself.
            runtime.shutdown_background();
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of a source panicked");
        }
    }
}
