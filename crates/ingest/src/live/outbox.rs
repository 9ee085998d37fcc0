//! The bounded queue between a worker and its streaming thread.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sightglass_protocol::{HealthState, Sample, UtcNanos};
use tokio::sync::Notify;

/// Batches of samples of one source that wait for the pipeline.
pub(crate) const OUTBOX_BATCHES_MAX: usize = 1024;
/// The most samples that are taken out at once.
const TAKEN_SAMPLES_MAX: usize = 512;
/// States of one source that wait beside them; of more, the latest counts.
const OUTBOX_STATES_MAX: usize = 64;

/// What a worker hands over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    Samples(Vec<Sample>),
    Health(HealthState, String),
}

/// What the streaming thread finds.
#[derive(Debug, PartialEq)]
pub(crate) enum Taken {
    /// What arrived at this time.
    Item(UtcNanos, Item),
    /// Nothing has arrived for as long as was waited.
    Nothing,
    /// The element is to let its thread go.
    Flushing,
    /// The worker is gone.
    Closed,
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<(UtcNanos, Item)>,
    batches: usize,
    dropped: u64,
    flushing: bool,
    closed: bool,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands samples over; where there is no room they are dropped and counted. For sources that come by themselves.
    pub(crate) fn offer(&self, arrival: UtcNanos, samples: Vec<Sample>) {
        if let Err(samples) = self.try_put(arrival, samples) {
            self.lock().dropped += samples.len() as u64;
        }
    }

    /// Hands samples over; waits for room. For sources that are asked.
    pub(crate) async fn send(&self, arrival: UtcNanos, mut samples: Vec<Sample>) {
        loop {
            // Before the look, so that room made in between is not missed.
            let emptied = self.emptied.notified();
            match self.try_put(arrival, samples) {
                Ok(()) => return,
                Err(back) => samples = back,
            }
            emptied.await;
        }
    }

    /// Hands over the source's state.
    pub(crate) fn tell(&self, arrival: UtcNanos, health: HealthState, reason: String) {
        let mut state = self.lock();
        let item = (arrival, Item::Health(health, reason));
        if state.items.len() - state.batches < OUTBOX_STATES_MAX {
            state.items.push_back(item);
        } else if let Some(latest) = state.items.iter_mut().rev().find(|(_, item)| matches!(item, Item::Health(..))) {
            *latest = item;
        }
        self.filled.notify_one();
    }

    /// How many samples were dropped since this was asked.
    pub(crate) fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.lock().dropped)
    }

    fn try_put(&self, arrival: UtcNanos, samples: Vec<Sample>) -> Result<(), Vec<Sample>> {
        if samples.is_empty() {
            return Ok(());
        }
        let mut state = self.lock();
        if state.batches >= OUTBOX_BATCHES_MAX {
            return Err(samples);
        }
        state.batches += 1;
        state.items.push_back((arrival, Item::Samples(samples)));
        self.filled.notify_one();
        Ok(())
    }

    /// The next item; waits for it at most so long.
    pub(crate) fn take(&self, wait: Duration) -> Taken {
        let until = Instant::now() + wait;
        let mut state = self.lock();
        loop {
            if state.flushing {
                return Taken::Flushing;
            }
            if let Some((arrival, item)) = state.items.pop_front() {
                return Taken::Item(arrival, self.with_followers(&mut state, item));
            }
            if state.closed {
                return Taken::Closed;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Taken::Nothing;
            }
            state = self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// An item that was taken, with the samples that wait right behind it: what floods goes on in large pieces.
    fn with_followers(&self, state: &mut State, item: Item) -> Item {
        let Item::Samples(mut samples) = item else { return item };
        state.batches -= 1;
        while let Some((_, Item::Samples(more))) = state.items.front()
            && samples.len() + more.len() <= TAKEN_SAMPLES_MAX
        {
            samples.extend_from_slice(more);
            state.items.pop_front();
            state.batches -= 1;
        }
        self.emptied.notify_one();
        Item::Samples(samples)
    }

    /// Lets the streaming thread go, or lets it wait again.
    pub(crate) fn set_flushing(&self, flushing: bool) {
        self.lock().flushing = flushing;
        self.filled.notify_all();
    }

    /// Notes that nothing more comes.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use sightglass_protocol::{Quality, TagId, TimeSource};

    use super::*;

    fn batch(value: f64) -> Vec<Sample> {
        let (tag, time) = (TagId(0), UtcNanos(0));
        vec![Sample { tag, time, value, quality: Quality::Good, time_source: TimeSource::Arrival }]
    }

    #[test]
    fn what_floods_is_dropped_and_counted_and_states_go_on() {
        let outbox = Outbox::default();
        for value in 0..OUTBOX_BATCHES_MAX + 5 {
            outbox.offer(UtcNanos(0), batch(value as f64));
        }
        assert_eq!((outbox.take_dropped(), outbox.take_dropped()), (5, 0));
        for index in 0..OUTBOX_STATES_MAX + 3 {
            outbox.tell(UtcNanos(1), HealthState::Failure, index.to_string());
        }
        for half in 0..2 {
            let values = TAKEN_SAMPLES_MAX * half..TAKEN_SAMPLES_MAX * (half + 1);
            let expected = Item::Samples(values.flat_map(|value| batch(value as f64)).collect());
            assert_eq!(outbox.take(Duration::ZERO), Taken::Item(UtcNanos(0), expected));
        }
        let states: Vec<_> = std::iter::from_fn(|| match outbox.take(Duration::ZERO) {
            Taken::Item(_, Item::Health(_, reason)) => Some(reason),
            _ => None,
        })
        .collect();
        assert_eq!(states.len(), OUTBOX_STATES_MAX);
        assert_eq!(states.last(), Some(&(OUTBOX_STATES_MAX + 2).to_string()), "the latest is not lost");
        outbox.set_flushing(true);
        assert_eq!(outbox.take(Duration::MAX / 4), Taken::Flushing);
    }

    #[test]
    fn a_source_that_is_asked_waits_for_room() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let outbox = Outbox::default();
        for value in 0..OUTBOX_BATCHES_MAX {
            outbox.offer(UtcNanos(0), batch(value as f64));
        }
        runtime.block_on(async {
            let send = outbox.send(UtcNanos(0), batch(-1.0));
            tokio::pin!(send);
            assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(send.as_mut().poll(cx).is_pending())).await);
            assert!(matches!(outbox.take(Duration::ZERO), Taken::Item(_, Item::Samples(_))));
            send.await;
        });
        assert_eq!(outbox.take_dropped(), 0);
    }
}
