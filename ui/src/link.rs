//! The way to the engine: pairs replies with requests, and never lets requests pile up.
//!
//! At most one request of a kind is on its way, [`IN_FLIGHT_MAX`] in all. A view that changes faster than the engine
//! answers (scrubbing, playing at 16x) therefore skips what it can no longer show instead of queueing it. Time is
//! injected: seconds of the window's own clock, used for pacing and for nothing that is shown as a time of the plant.

use sightglass_protocol::message::{Envelope, PROTOCOL_VERSION, Reply, Request, Welcome};

/// Carries opaque messages to the engine and back: postcard envelopes without their length.
///
/// An implementation asks for a repaint when [`Link::poll`] has something new.
pub trait Link {
    /// Sends one `Envelope<Request>`. A failure arrives through [`Link::poll`].
    fn send(&mut self, bytes: Vec<u8>);
    /// The next `Envelope<Reply>` that has arrived, or why a message got no answer; `None` when there is nothing.
    fn poll(&mut self) -> Option<Result<Vec<u8>, String>>;
}

/// Requests on their way at the same time.
pub const IN_FLIGHT_MAX: usize = 4;
/// Without an answer for so long, the link counts as lost.
pub const REPLY_SECONDS_MAX: f64 = 10.0;
/// Replies taken in one frame.
const REPLIES_A_FRAME_MAX: usize = 64;
/// Waiting before the first new attempt; doubles up to the longest.
const RETRY_SECONDS_MIN: f64 = 0.5;
const RETRY_SECONDS_MAX: f64 = 4.0;

/// Requests of one kind replace each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Hello,
    Overview,
    Line,
    Picture,
    Advisories,
    Recorded,
}

impl Kind {
    const COUNT: usize = 6;

    const fn of(request: &Request) -> Self {
        match request {
            Request::Hello { .. } => Self::Hello,
            Request::Overview => Self::Overview,
            Request::Line { .. } => Self::Line,
            Request::Picture { .. } | Request::Step { .. } => Self::Picture,
            Request::Advisories { .. } => Self::Advisories,
            Request::Recorded { .. } => Self::Recorded,
        }
    }

    /// The shortest time between two requests of the kind.
    const fn seconds_min(self) -> f64 {
        match self {
            Self::Picture => 0.03,
            Self::Line => 0.1,
            Self::Hello | Self::Overview | Self::Advisories | Self::Recorded => 0.25,
        }
    }

    const fn is_answered_by(self, reply: &Reply) -> bool {
        matches!(
            (self, reply),
            (Self::Hello, Reply::Welcome(_))
                | (Self::Overview, Reply::Overview(_))
                | (Self::Line, Reply::Line(_))
                | (Self::Picture, Reply::Picture(_))
                | (Self::Advisories, Reply::Advisories(_))
                | (Self::Recorded, Reply::Recorded(_))
                | (_, Reply::Refused { .. })
        )
    }
}

/// When a request is sent (again).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// When it differs from the one before it.
    WhenChanged,
    /// When it differs, and again after so many seconds.
    Every(f64),
    /// As soon as the one before it is answered.
    AtOnce,
}

/// How it stands with the engine. Times are seconds of the window's clock.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LinkState {
    /// Has not answered yet.
    Waiting { since: f64 },
    /// Answers.
    Connected,
    /// Does not answer, and why.
    Lost { since: f64, reason: String },
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) request: Request,
    pub(crate) reply: Reply,
}

#[derive(Default)]
struct Slot {
    in_flight: Option<(u64, Request, f64)>,
    last: Option<Request>,
    last_sent: f64,
}

/// The requests of one window.
pub(crate) struct Exchange {
    link: Box<dyn Link>,
    next_id: u64,
    slots: [Slot; Kind::COUNT],
    state: LinkState,
    heard: f64,
    retry_seconds: f64,
    retry_at: f64,
    wake_at: f64,
}

impl Exchange {
    pub(crate) fn new(link: Box<dyn Link>, now: f64) -> Self {
        Self {
            link,
            next_id: 1,
            slots: Default::default(),
            state: LinkState::Waiting { since: now },
            heard: now,
            retry_seconds: RETRY_SECONDS_MIN,
            retry_at: now,
            wake_at: f64::INFINITY,
        }
    }

    pub(crate) const fn state(&self) -> &LinkState {
        &self.state
    }

    fn in_flight(&self) -> usize {
        self.slots.iter().filter(|slot| slot.in_flight.is_some()).count()
    }

    /// Takes the answers that have arrived, gives up on those that take too long, and introduces the window again
    /// after a loss. To be called first in a frame.
    pub(crate) fn receive(&mut self, now: f64) -> Vec<Answer> {
        self.wake_at = f64::INFINITY;
        let mut answers = Vec::new();
        for _ in 0..REPLIES_A_FRAME_MAX {
            match self.link.poll() {
                None => break,
                Some(Err(reason)) => self.lose(now, reason),
                Some(Ok(bytes)) => match Envelope::<Reply>::decode(&bytes) {
                    Ok(envelope) => self.pair(now, envelope, &mut answers),
                    Err(error) => self.lose(
                        now,
                        format!("the engine sent a message that this window does not know ({error}); are both of one version?"),
                    ),
                },
            }
        }
        let oldest = self.slots.iter().filter_map(|slot| slot.in_flight.as_ref()).map(|(_, _, sent)| *sent);
        if let Some(oldest) = oldest.min_by(f64::total_cmp) {
            if now - oldest > REPLY_SECONDS_MAX {
                self.lose(now, format!("no answer within {REPLY_SECONDS_MAX:.0} s"));
            } else {
                self.wake(oldest + REPLY_SECONDS_MAX + 0.01);
            }
        }
        if self.state != LinkState::Connected && self.in_flight() == 0 {
            if now >= self.retry_at {
                self.send(now, Kind::Hello, Request::Hello { protocol: PROTOCOL_VERSION });
            } else {
                self.wake(self.retry_at);
            }
        }
        answers
    }

    fn pair(&mut self, now: f64, envelope: Envelope<Reply>, answers: &mut Vec<Answer>) {
        let id = envelope.id;
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.in_flight.as_ref().is_some_and(|sent| sent.0 == id))
        else {
            return; // The answer to a request that was given up.
        };
        let Some((_, request, _)) = slot.in_flight.take() else { return };
        let kind = Kind::of(&request);
        if !kind.is_answered_by(&envelope.body) {
            self.lose(now, format!("the engine answered something else than was asked ({kind:?})"));
            return;
        }
        self.heard = now;
        match &envelope.body {
            Reply::Welcome(welcome) => {
                if let Some(reason) = mismatch(welcome) {
                    self.lose(now, reason);
                    return;
                }
                self.state = LinkState::Connected;
                self.retry_seconds = RETRY_SECONDS_MIN;
            }
            Reply::Refused { reason } if kind == Kind::Hello => {
                self.lose(now, reason.clone());
                return;
            }
            _ => {}
        }
        answers.push(Answer { request, reply: envelope.body });
    }

    fn lose(&mut self, now: f64, reason: String) {
        for slot in &mut self.slots {
            slot.in_flight = None;
            slot.last = None;
        }
        let since = match &self.state {
            LinkState::Connected => self.heard,
            LinkState::Waiting { since } | LinkState::Lost { since, .. } => *since,
        };
        self.state = LinkState::Lost { since, reason };
        self.retry_at = now + self.retry_seconds;
        self.retry_seconds = (self.retry_seconds * 2.0).min(RETRY_SECONDS_MAX);
    }

    /// Says what the screen needs. Sends it when it is due and nothing of its kind is on its way.
    pub(crate) fn want(&mut self, now: f64, request: Request, pace: Pace) {
        if self.state != LinkState::Connected {
            return;
        }
        let kind = Kind::of(&request);
        let slot = &self.slots[kind as usize];
        if slot.in_flight.is_some() {
            return; // The answer wakes the window.
        }
        let due = match pace {
            Pace::AtOnce => slot.last_sent + kind.seconds_min(),
            _ if slot.last.as_ref() != Some(&request) => slot.last_sent + kind.seconds_min(),
            Pace::Every(seconds) => slot.last_sent + seconds.max(kind.seconds_min()),
            Pace::WhenChanged => return,
        };
        if slot.last.is_some() && now < due {
            self.wake(due);
        } else if self.in_flight() < IN_FLIGHT_MAX {
            self.send(now, kind, request);
        }
    }

    fn send(&mut self, now: f64, kind: Kind, request: Request) {
        let id = self.next_id;
        self.next_id += 1;
        match (Envelope { id, body: request.clone() }).encode() {
            Ok(bytes) => {
                let slot = &mut self.slots[kind as usize];
                slot.in_flight = Some((id, request.clone(), now));
                slot.last = Some(request);
                slot.last_sent = now;
                self.link.send(bytes);
                self.wake(now + REPLY_SECONDS_MAX + 0.01);
            }
            Err(error) => self.lose(now, format!("a request could not be encoded: {error}")),
        }
    }

    fn wake(&mut self, at: f64) {
        self.wake_at = self.wake_at.min(at);
    }

    /// When the window must run again even if nothing happens.
    pub(crate) const fn wake_at(&self) -> f64 {
        self.wake_at
    }
}

fn mismatch(welcome: &Welcome) -> Option<String> {
    (welcome.protocol != PROTOCOL_VERSION).then(|| {
        format!(
            "the engine {} speaks protocol {}, this window protocol {PROTOCOL_VERSION}; install the same version of both",
            welcome.version, welcome.protocol
        )
    })
}
