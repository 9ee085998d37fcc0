//! What is known of one source while it runs: how far it has come, and what went wrong with it.
//!
//! Elements tell of trouble on the pipeline's bus, from whichever thread it happened in. It is kept here until the
//! source's own next delivery, so that what is told keeps its place in the source's time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gst::prelude::*;
use sightglass_protocol::{Health, HealthState, Subject, UtcNanos, time::SECOND};

use crate::inlets::{Closed, Delivery, Inlets};

/// Troubles of one source that are told one by one; the rest is counted and told at its end.
const TROUBLES_TOLD_MAX: usize = 20;
/// Troubles that wait to be told; more at one moment are only counted.
const TROUBLES_WAITING_MAX: usize = 4;
/// A source is well again after so much capture time without trouble.
const WELL_AFTER_NS: i64 = SECOND;

/// So often must nothing be found at work before a file is given up.
const LIFELESS_LOOKS_MAX: usize = 2;

/// Whether any thread of the bin runs.
fn is_at_work(bin: &gst::Bin) -> bool {
    let pads = bin.iterate_recurse().into_iter().filter_map(Result::ok).flat_map(|element| element.pads());
    pads.into_iter().any(|pad| pad.task_state() == gst::TaskState::Started)
}

/// One source of a running line.
pub(crate) struct Watch {
    name: String,
    subject: Option<Subject>,
    source: usize,
    inlets: Arc<Inlets>,
    /// Whether it is connected anew after each failure, so that it never ends by itself.
    lasting: bool,
    state: Mutex<State>,
}

struct State {
    last: UtcNanos,
    deliveries: u64,
    waiting: Vec<String>,
    troubles: usize,
    last_trouble: Option<UtcNanos>,
    failure: Option<String>,
    promised_end: Option<UtcNanos>,
    linked: bool,
    /// What it sends, in words.
    media: String,
    ended: bool,
    /// The part of the pipeline that reads a recorded file.
    reader: Option<gst::glib::WeakRef<gst::Bin>>,
    /// How often in a row nothing was found at work in it.
    lifeless_looks: usize,
}

impl Watch {
    /// `start` is where its time begins, for what happens before the first delivery.
    pub(crate) fn new(
        name: String,
        subject: Option<Subject>,
        source: usize,
        inlets: Arc<Inlets>,
        start: UtcNanos,
    ) -> Self {
        let state = State {
            last: start,
            deliveries: 0,
            waiting: Vec::new(),
            troubles: 0,
            last_trouble: None,
            failure: None,
            promised_end: None,
            linked: false,
            media: String::new(),
            ended: false,
            reader: None,
            lifeless_looks: 0,
        };
        Self { name, subject, source, inlets, lasting: false, state: Mutex::new(state) }
    }

    /// The same for a source that is connected anew after each failure.
    pub(crate) fn lasting(self) -> Self {
        Self { lasting: true, ..self }
    }

    /// How much it has handed over.
    pub(crate) fn deliveries(&self) -> u64 {
        self.lock().deliveries
    }

    /// Notes what it sends, in words.
    pub(crate) fn set_media(&self, media: String) {
        self.lock().media = media;
    }

    /// What it sends, in words; empty before that is known.
    pub(crate) fn media(&self) -> String {
        self.lock().media.clone()
    }

    /// Why a lasting source has failed, once.
    pub(crate) fn take_failure(&self) -> Option<String> {
        self.lock().failure.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that data can flow: an end of the stream will be seen.
    pub(crate) fn set_linked(&self) {
        self.lock().linked = true;
    }

    /// Notes until when the file's header promises data.
    pub(crate) fn promise(&self, end: UtcNanos) {
        self.lock().promised_end = Some(end);
    }

    /// Notes trouble that the source survives.
    pub(crate) fn trouble(&self, reason: String) {
        let mut state = self.lock();
        state.troubles += 1;
        if state.troubles <= TROUBLES_TOLD_MAX && state.waiting.len() < TROUBLES_WAITING_MAX {
            state.waiting.push(reason);
        }
    }

    /// Notes that the source fails. What it has handed over still goes on; its end follows, or is no longer waited for.
    pub(crate) fn fail(&self, reason: String) {
        let linked = {
            let mut state = self.lock();
            state.failure.get_or_insert(reason);
            state.linked
        };
        if self.lasting {
            return;
        }
        if linked {
            self.inlets.limit_wait(self.source);
        } else {
            self.finish();
        }
    }

    /// Notes that the source fails, unless data flow from it.
    pub(crate) fn fail_unless_linked(&self, reason: &str) {
        if !self.lock().linked {
            self.fail(reason.to_owned());
        }
    }

    /// Notes what reads the source's recorded file, once it is at work.
    pub(crate) fn set_reader(&self, bin: &gst::Bin) {
        self.lock().reader = Some(bin.downgrade());
    }

    /// Looks after a source that gives nothing: `parsebin` may swallow the error of a file that it cannot read, when that
    /// comes while it still puts its parts together, and then nothing ever comes again. A file from which nothing flows
    /// and in whose reader no thread is at work is such a one.
    pub(crate) fn look_for_life(&self) {
        let reader = {
            let state = self.lock();
            if state.linked { None } else { state.reader.as_ref().and_then(gst::glib::WeakRef::upgrade) }
        };
        let Some(reader) = reader else { return };
        let looks = {
            let mut state = self.lock();
            state.lifeless_looks = if is_at_work(&reader) { 0 } else { state.lifeless_looks + 1 };
            state.lifeless_looks
        };
        if looks >= LIFELESS_LOOKS_MAX {
            self.fail_unless_linked("no video can be found in it; the file is damaged or was cut off");
        }
    }

    /// Ends the source before its own end: more of it is not wanted.
    pub(crate) fn cut(&self) {
        self.lock().promised_end = None;
        self.finish();
    }

    /// Hands over what was captured at `time`, after what there is to tell.
    pub(crate) fn deliver(&self, time: UtcNanos, delivery: Delivery) -> Result<(), Closed> {
        for health in self.news(time) {
            self.inlets.push(self.source, health.since, Delivery::Health(health))?;
        }
        self.inlets.push(self.source, time, delivery)
    }

    /// Hands over what the source says of itself.
    pub(crate) fn tell(&self, mut health: Health) -> Result<(), Closed> {
        health.source.clone_from(&self.name);
        health.subject = self.subject;
        let time = self.lock().last.max(health.since);
        self.inlets.push(self.source, time, Delivery::Health(health))
    }

    /// Notes that there is nothing up to `time`.
    pub(crate) fn advance(&self, time: UtcNanos) {
        self.inlets.advance(self.source, time);
    }

    /// Ends the source, once: tells what there is to tell and hands over no more.
    pub(crate) fn finish(&self) {
        if self.lasting {
            return;
        }
        for health in self.last_words() {
            let time = health.since;
            if self.inlets.push(self.source, time, Delivery::Health(health)).is_err() {
                break;
            }
        }
        self.inlets.end(self.source);
    }

    /// What is to be told of a source that has fallen silent: that it is, or, where it has failed, its end.
    pub(crate) fn fell_silent(&self) -> Vec<Health> {
        let (failed, since) = {
            let state = self.lock();
            (state.failure.is_some(), state.last)
        };
        if failed && !self.lasting {
            let words = self.last_words();
            self.inlets.end(self.source);
            return words;
        }
        let reason = "delivers nothing; the line goes on without it. Check its power, its cable and its address";
        vec![self.health(HealthState::CheckFunction, since, reason.to_owned())]
    }

    fn health(&self, state: HealthState, since: UtcNanos, reason: String) -> Health {
        Health { subject: self.subject, source: self.name.clone(), state, since, reason }
    }

    fn news(&self, time: UtcNanos) -> Vec<Health> {
        let mut state = self.lock();
        let since = state.last;
        state.last = state.last.max(time);
        state.deliveries += 1;
        let waiting = std::mem::take(&mut state.waiting);
        if !waiting.is_empty() {
            state.last_trouble = Some(since);
            let after = |reason| format!("after {since}: {reason}");
            let tell = |reason| self.health(HealthState::MaintenanceRequired, since, after(reason));
            return waiting.into_iter().map(tell).collect();
        }
        if state.last_trouble.is_some_and(|trouble| time.since(trouble) > WELL_AFTER_NS) {
            state.last_trouble = None;
            return vec![self.health(HealthState::Good, time, "delivers again without trouble".to_owned())];
        }
        Vec::new()
    }

    fn last_words(&self) -> Vec<Health> {
        let mut state = self.lock();
        if std::mem::replace(&mut state.ended, true) {
            return Vec::new();
        }
        let since = state.last;
        let mut words: Vec<_> = std::mem::take(&mut state.waiting)
            .into_iter()
            .map(|reason| self.health(HealthState::MaintenanceRequired, since, format!("after {since}: {reason}")))
            .collect();
        if state.troubles > TROUBLES_TOLD_MAX {
            let reason = format!("{} more troubles were not told one by one", state.troubles - TROUBLES_TOLD_MAX);
            words.push(self.health(HealthState::MaintenanceRequired, since, reason));
        }
        let count = state.deliveries;
        let is_short = state.promised_end.is_some_and(|promised| promised > since);
        if let Some(failure) = &state.failure {
            let reason = if count == 0 { failure.clone() } else { format!("failed after {since}: {failure}") };
            words.push(self.health(HealthState::Failure, since, reason));
        } else if let (true, Some(promised)) = (is_short, state.promised_end) {
            let reason = format!(
                "the video breaks off after {since}, though its header promises pictures until {promised}; \
                     the file is damaged or was cut"
            );
            words.push(self.health(HealthState::Failure, since, reason));
        } else if self.subject.is_some() {
            words.push(self.health(HealthState::Good, since, format!("ended after {count} pictures, at {since}")));
        }
        words
    }
}
