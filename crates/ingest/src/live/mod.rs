//! What sources of live samples have in common: a worker that talks to the device, a bounded queue, and the streaming
//! thread that empties it into the pipeline.
//!
//! ```text
//! worker (its own thread, tokio) ─► Outbox ─► streaming thread ─► buffers, gaps, health
//! ```
//!
//! The wall clock is read in one place, [`clock::now`], when something arrives. Between arrivals the streaming thread
//! says with gap events up to when there is nothing, so that a device that is away never holds the line back.

mod backoff;
mod clock;
mod faults;
mod flood;
mod outbox;
mod stream;
mod worker;

/// What every element of a live source does as a base source, beside its start. Its [`LiveStream`] is the field `stream`.
macro_rules! base_src_of_stream {
    () => {
        fn stop(&self) -> Result<(), gst::ErrorMessage> {
            self.stream.stop();
            Ok(())
        }

        fn is_seekable(&self) -> bool {
            false
        }

        fn unlock(&self) -> Result<(), gst::ErrorMessage> {
            self.stream.set_flushing(true);
            Ok(())
        }

        fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
            self.stream.set_flushing(false);
            Ok(())
        }
    };
}

pub(crate) use backoff::Backoff;
pub(crate) use base_src_of_stream;
pub(crate) use clock::{CaptureTime, capture_time, now};
pub(crate) use faults::Faults;
pub(crate) use flood::{Flood, FloodNews};
pub(crate) use outbox::Outbox;
pub(crate) use stream::{LiveStream, set_up};
