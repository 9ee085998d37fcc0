//! The streaming side of a source of live samples: what its element's virtual methods do.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gst::prelude::*;
use gst_base::{prelude::*, subclass::base_src::CreateSuccess};
use sightglass_protocol::{Health, UtcNanos, time::MILLISECOND};

use super::{
    Outbox,
    clock::now,
    outbox::{Item, Taken},
    worker::Worker,
};
use crate::{
    health_event,
    payload::{encode, set_arrival},
};

/// How often it is said up to when there is nothing more: what a silent source costs a line in delay.
const GAP_EVERY_NS: i64 = 100 * MILLISECOND;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct LiveStream {
    running: Mutex<Option<Running>>,
    /// Apart, since the streaming thread waits at it while others may want to stop it.
    outbox: Mutex<Option<Arc<Outbox>>>,
}

#[derive(Debug)]
struct Running {
    _worker: Worker,
    base: Option<UtcNanos>,
    next_gap: UtcNanos,
    has_segment: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LiveStream {
    /// Begins to work. PTS 0 is at `base`, or at the first arrival.
    pub(crate) fn start<F, W>(&self, name: &str, base: Option<UtcNanos>, body: F) -> Result<(), gst::ErrorMessage>
    where
        F: FnOnce(Arc<Outbox>) -> W + Send + 'static,
        W: Future<Output = ()>,
    {
        let outbox = Arc::new(Outbox::default());
        let worker = Worker::spawn(name, Arc::clone(&outbox), body)
            .map_err(|error| gst::error_msg!(gst::ResourceError::Failed, ["no thread for the source: {error}"]))?;
        *lock(&self.outbox) = Some(outbox);
        *lock(&self.running) = Some(Running { _worker: worker, base, next_gap: UtcNanos::MIN, has_segment: false });
        Ok(())
    }

    /// Stops at once.
    pub(crate) fn stop(&self) {
        *lock(&self.running) = None;
        *lock(&self.outbox) = None;
    }

    /// Lets the streaming thread go, or lets it work again.
    pub(crate) fn set_flushing(&self, flushing: bool) {
        if let Some(outbox) = lock(&self.outbox).as_ref() {
            outbox.set_flushing(flushing);
        }
    }

    /// The next buffer. What comes before it, gaps and health, is pushed.
    pub(crate) fn create(&self, element: &impl IsA<gst_base::BaseSrc>) -> Result<CreateSuccess, gst::FlowError> {
        let element: &gst_base::BaseSrc = element.upcast_ref();
        let outbox = lock(&self.outbox).clone().ok_or(gst::FlowError::Flushing)?;
        loop {
            let taken = outbox.take(Duration::from_nanos(GAP_EVERY_NS.unsigned_abs()));
            let arrival = match &taken {
                Taken::Item(arrival, _) => *arrival,
                Taken::Nothing => now(),
                Taken::Flushing => return Err(gst::FlowError::Flushing),
                Taken::Closed => {
                    let text = "the source stopped by a fault of its own; start the line anew, and report it";
                    element
                        .upcast_ref::<gst::Element>()
                        .post_error_message(gst::error_msg!(gst::CoreError::Failed, ["{}", text]));
                    return Err(gst::FlowError::Error);
                }
            };
            let base = self.tell_gap(element, arrival)?;
            match taken {
                Taken::Item(arrival, Item::Samples(samples)) => {
                    let first = samples.first().map_or(arrival, |sample| sample.time);
                    let mut buffer = gst::Buffer::from_mut_slice(encode(&samples));
                    buffer.make_mut().set_pts(pts(first, base));
                    set_arrival(buffer.make_mut(), arrival);
                    return Ok(CreateSuccess::NewBuffer(buffer));
                }
                Taken::Item(arrival, Item::Health(state, reason)) => {
                    let source = element.name().to_string();
                    let health = Health { subject: None, source, state, since: arrival, reason };
                    // Nobody who listens for it is downstream of a plain gst-launch line: not an error.
                    let _heard = push(element, health_event::new(&health));
                }
                _ => {}
            }
        }
    }

    /// Says that nothing captured before `arrival` comes any more, as far as is known. Gives the capture time at PTS 0.
    fn tell_gap(&self, element: &gst_base::BaseSrc, arrival: UtcNanos) -> Result<UtcNanos, gst::FlowError> {
        let mut running = lock(&self.running);
        let Some(running) = running.as_mut() else { return Err(gst::FlowError::Flushing) };
        let base = *running.base.get_or_insert(arrival);
        if arrival >= running.next_gap {
            running.next_gap = arrival + GAP_EVERY_NS;
            if !std::mem::replace(&mut running.has_segment, true) {
                // The base class sends one with its first buffer only; a gap wants it before.
                let segment = gst::FormattedSegment::<gst::ClockTime>::new();
                push(element, gst::event::Segment::new(&segment));
            }
            push(element, gst::event::Gap::new(pts(arrival, base), gst::ClockTime::NONE));
        }
        Ok(base)
    }
}

/// Pushes an event; that it is not taken says only that the element is being stopped, which its next buffer is told too.
fn push(element: &gst_base::BaseSrc, event: gst::Event) -> bool {
    element.src_pad().push_event(event)
}

fn pts(time: UtcNanos, base: UtcNanos) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(u64::try_from(time.since(base)).unwrap_or(0))
}

/// Makes an element that was just constructed a live source whose time is its own.
pub(crate) fn set_up(element: &impl IsA<gst_base::BaseSrc>) {
    element.set_format(gst::Format::Time);
    element.set_live(true);
}
