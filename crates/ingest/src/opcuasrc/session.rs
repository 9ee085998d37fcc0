//! Staying connected to a server, and what that says of the values.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use opcua::{
    client::{Session, SessionActivity, SessionConnectMode, SessionPollResult, SubscriptionActivity},
    types::{Error, NotificationMessage, StatusCode},
};
use sightglass_plant::OpcUaServer;
use sightglass_protocol::HealthState;
use tokio::sync::mpsc;

use super::{
    connect::{self, KEPT, told},
    feed::{Ended, Fault, Feed, Wanted},
    sequence::{Seen, Sequence},
    status::described,
    subscriptions::{ALIVE_EVERY, Made, Notified, Refused, gone, look_at, names_of_namespaces, subscribe},
};
use crate::live::{Backoff, Faults, Flood, FloodNews, Outbox, now};

/// How often it is looked for what is still to be told.
const LOOK: Duration = Duration::from_millis(250);
/// How often the server is asked again for what it refused, and whether silent nodes are still there.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Silent nodes that are asked for at once.
const SILENT_MAX: usize = 1000;
/// Messages that wait to be taken.
const NOTIFIED_MAX: usize = 1024;
/// Messages of one subscription that wait for one that is missing; of more, what is missing is given up.
const HELD_MAX: usize = 1000;
/// Signs of life of the subscriptions that may be missing.
const ALIVE_MISSED: u32 = 5;

/// What was asked of the server, beside the connection itself.
enum Done {
    Subscribed(Result<Vec<Made>, Error>),
    /// What was asked for, and what came of it.
    AskedAgain(Vec<(u32, usize)>, Result<Vec<Made>, Error>),
    /// Items whose node is no more.
    Gone(Result<Vec<usize>, Error>),
    /// Whether the new session has the subscriptions of the one before.
    Transferred(Result<bool, Error>),
    /// Messages that were missing, up to the first that could not be asked for.
    Republished(u32, Vec<(u32, Option<NotificationMessage>)>),
}

type Works = FuturesUnordered<Pin<Box<dyn Future<Output = Done>>>>;

/// A subscription.
#[derive(Default)]
struct Subscription {
    items: Vec<usize>,
    sequence: Sequence,
    /// Messages that came and were not taken yet.
    held: VecDeque<NotificationMessage>,
    /// Whether the server was asked for a missing one.
    is_asking: bool,
}

struct Reading {
    server: OpcUaServer,
    feed: Feed,
    outbox: Arc<Outbox>,
    faults: Faults<Fault>,
    backoff: Backoff,
    flood: Flood,
    is_lost: bool,
    lost_messages: u64,
}

/// What there is on one session.
#[derive(Default)]
struct State {
    subscriptions: HashMap<u32, Subscription>,
    refused: Vec<(u32, usize)>,
    is_connected: bool,
    is_subscribed: bool,
    heard: Option<Instant>,
    lost_at: Option<Instant>,
    asked_again: Option<Instant>,
}

/// Reads for as long as the element runs.
pub(super) async fn run(server: OpcUaServer, wanted: Vec<Wanted>, outbox: Arc<Outbox>) {
    let feed = Feed::new(&server, wanted);
    let mut reading = Reading {
        server,
        feed,
        outbox,
        faults: Faults::new(),
        backoff: Backoff::default(),
        flood: Flood::default(),
        is_lost: false,
        lost_messages: 0,
    };
    loop {
        let reason = reading.stay().await;
        reading.lost(&reason);
        tokio::time::sleep(reading.backoff.next()).await;
    }
}

impl Reading {
    /// Takes what the server sends until the session with it is at an end; gives the reason.
    async fn stay(&mut self) -> String {
        let (session, events) = match connect::open(&self.server).await {
            Ok(opened) => opened,
            Err(reason) => return reason,
        };
        let (to, mut notified) = mpsc::channel(NOTIFIED_MAX);
        let events = events.enter();
        tokio::pin!(events);
        let mut works = Works::new();
        let mut state = State::default();
        let mut look = tokio::time::interval(LOOK);
        self.feed.begin();
        let reason = loop {
            let step = tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => self.event(event, &session, &to, &mut state, &mut works),
                    Some(Err(status)) => Err(described(status)),
                    None => Err("the session is closed".to_owned()),
                },
                Some((id, message)) = notified.recv() => {
                    state.heard = Some(Instant::now());
                    self.notified(id, message, &session, &mut state, &works)
                }
                Some(done) = works.next() => self.done(done, &session, &mut state, &works),
                _ = look.tick() => self.look(&session, &mut state, &works),
            };
            if let Err(reason) = step {
                break reason;
            }
        };
        if state.is_connected {
            // The server would keep what nobody fetches any more.
            connect::close(&session, &mut events, &self.server).await;
        }
        reason
    }

    fn event(
        &mut self,
        event: SessionPollResult,
        session: &Arc<Session>,
        to: &mpsc::Sender<Notified>,
        state: &mut State,
        works: &mut Works,
    ) -> Result<(), String> {
        match event {
            SessionPollResult::Reconnected(mode) => {
                state.is_connected = true;
                state.lost_at = None;
                state.heard = Some(Instant::now());
                if !state.is_subscribed {
                    let (session, server, to) = (Arc::clone(session), self.server.clone(), to.clone());
                    let items = self.feed.items().to_vec();
                    works.push(Box::pin(async move { Done::Subscribed(subscribe(session, server, items, to).await) }));
                } else if matches!(mode, SessionConnectMode::NewSession(_)) {
                    let (session, ids) = (Arc::clone(session), state.subscriptions.keys().copied().collect::<Vec<_>>());
                    works.push(Box::pin(async move {
                        let answers = session.transfer_subscriptions(&ids, false).await;
                        Done::Transferred(answers.map(|answers| {
                            answers.len() == ids.len() && answers.iter().all(|answer| answer.status_code.is_good())
                        }))
                    }));
                } else {
                    self.goes_on(session, state, works)?;
                }
            }
            SessionPollResult::ConnectionLost(status) => self.cut(&described(status), state),
            SessionPollResult::ReconnectFailed(status) => {
                self.cut(&described(status), state);
                let is_given_up = state.lost_at.is_none_or(|lost| lost.elapsed() > KEPT);
                // What is refused, and not just out of reach, is not to be tried in the same way again.
                let is_out_of_reach = [
                    StatusCode::BadCommunicationError,
                    StatusCode::BadTimeout,
                    StatusCode::BadConnectionClosed,
                    StatusCode::BadNotConnected,
                    StatusCode::BadTcpInternalError,
                ];
                if is_given_up || !is_out_of_reach.contains(&status) {
                    return Err(described(status));
                }
            }
            SessionPollResult::SessionActivity(SessionActivity::KeepAliveFailed(status)) => {
                // Only the connection is closed; the session waits for the next one.
                tracing::debug!("{} shows no sign of life: {status}", self.server.url);
                let session = Arc::clone(session);
                tokio::task::spawn(async move { session.channel().close_channel().await });
            }
            SessionPollResult::Subscription(SubscriptionActivity::FatalFailure(status)) => {
                return Err(described(status));
            }
            _ => {}
        }
        Ok(())
    }

    fn done(&mut self, done: Done, session: &Arc<Session>, state: &mut State, works: &Works) -> Result<(), String> {
        match done {
            Done::Subscribed(made) => {
                let made = made.map_err(|error| format!("it cannot be subscribed to: {}", told(&error)))?;
                state.is_subscribed = true;
                self.works();
                self.made(made, state);
                let ids: Vec<u32> = state.subscriptions.keys().copied().collect();
                for id in ids {
                    self.take_held(id, session, state, works)?;
                }
            }
            Done::AskedAgain(_, Ok(made)) => self.made(made, state),
            // It is asked for again in a while; where the connection is gone, that is told.
            Done::AskedAgain(asked, Err(error)) => {
                tracing::debug!("{}: {error}", self.server.url);
                state.refused.extend(asked);
            }
            Done::Gone(Ok(gone)) => {
                let subscriptions = state.subscriptions.iter_mut();
                let mut made = Vec::new();
                for (&id, subscription) in subscriptions {
                    let (lost, there): (Vec<usize>, Vec<usize>) =
                        subscription.items.iter().partition(|item| gone.contains(item));
                    subscription.items = there;
                    let status = StatusCode::BadNodeIdUnknown;
                    let refused = lost.into_iter().map(|item| Refused { item, status }).collect();
                    made.push(Made { id, refused, ..Made::default() });
                }
                self.made(made, state);
            }
            Done::Gone(Err(error)) => tracing::debug!("{}: {error}", self.server.url),
            Done::Transferred(Ok(true)) => self.goes_on(session, state, works)?,
            Done::Transferred(Ok(false)) => return Err("the server has forgotten what was subscribed to".to_owned()),
            Done::Transferred(Err(error)) => return Err(told(&error)),
            Done::Republished(id, messages) => {
                if let Some(subscription) = state.subscriptions.get_mut(&id) {
                    subscription.is_asking = false;
                }
                for (number, message) in messages {
                    match message {
                        Some(message) => self.take(id, &message, state)?,
                        None => self.lost_message(),
                    }
                    if let Some(subscription) = state.subscriptions.get_mut(&id) {
                        subscription.sequence.pass(number);
                    }
                }
                self.take_held(id, session, state, works)?;
            }
        }
        self.tell_news();
        Ok(())
    }

    /// The session is there again, with what it had.
    fn goes_on(&mut self, session: &Arc<Session>, state: &mut State, works: &Works) -> Result<(), String> {
        self.works();
        session.trigger_publish_now();
        let ids: Vec<u32> = state.subscriptions.keys().copied().collect();
        ids.into_iter().try_for_each(|id| self.take_held(id, session, state, works))
    }

    fn works(&mut self) {
        self.is_lost = false;
        self.backoff.reset();
        self.faults.clear(&Fault::Connection);
        self.faults.works(format!("{} is subscribed to", self.server.url));
        self.tell_news();
    }

    fn made(&mut self, made: Vec<Made>, state: &mut State) {
        for Made { id, items, refused } in made {
            for &item in &items {
                self.faults.clear(&Fault::Item(item));
            }
            state.subscriptions.entry(id).or_default().items.extend(items);
            for Refused { item, status } in refused {
                let reason = format!("'{}': {}", self.feed.items()[item].node, described(status));
                self.faults.set(Fault::Item(item), HealthState::Failure, reason);
                let arrival = now();
                self.outbox.offer(arrival, self.feed.item_bad(item, arrival));
                state.refused.push((id, item));
            }
        }
    }

    fn notified(
        &mut self,
        id: u32,
        message: NotificationMessage,
        session: &Arc<Session>,
        state: &mut State,
        works: &Works,
    ) -> Result<(), String> {
        // A new subscription may speak before all that it looks at is known.
        let subscription = state.subscriptions.entry(id).or_default();
        if subscription.held.len() >= HELD_MAX
            && let Some(oldest) = subscription.held.pop_front()
        {
            subscription.sequence.go_to(oldest.sequence_number);
            self.take(id, &oldest, state)?;
            self.lost_message();
        }
        state.subscriptions.entry(id).or_default().held.push_back(message);
        self.take_held(id, session, state, works)
    }

    /// Takes what waits, until there is something missing, for which the server is asked.
    fn take_held(&mut self, id: u32, session: &Arc<Session>, state: &mut State, works: &Works) -> Result<(), String> {
        while let Some(subscription) = state.subscriptions.get_mut(&id)
            && !subscription.is_asking
            && let Some(message) = subscription.held.front()
        {
            let (number, is_alive) = (message.sequence_number, !has_data(message));
            match subscription.sequence.look(number) {
                Seen::Again => {
                    subscription.held.pop_front();
                }
                Seen::Next => {
                    if is_alive {
                        subscription.sequence.go_to(number);
                    } else {
                        subscription.sequence.pass(number);
                    }
                    if let Some(message) = subscription.held.pop_front() {
                        self.take(id, &message, state)?;
                    }
                }
                Seen::After(missing) => {
                    if state.is_connected {
                        subscription.is_asking = true;
                        subscription.sequence.go_to(missing.start);
                        let session = Arc::clone(session);
                        works.push(Box::pin(
                            async move { Done::Republished(id, republished(&session, id, missing).await) },
                        ));
                    }
                    break;
                }
            }
        }
        self.tell_news();
        Ok(())
    }

    fn take(&mut self, id: u32, message: &NotificationMessage, state: &State) -> Result<(), String> {
        let arrival = now();
        let mine = state.subscriptions.get(&id).map_or(&[][..], |subscription| &subscription.items);
        let (samples, ended) = self.feed.take(id, message, mine, arrival, &mut self.faults);
        self.outbox.offer(arrival, samples);
        match ended {
            Ended::No => Ok(()),
            Ended::Yes(status) => Err(format!("the server has ended what was subscribed to: {}", described(status))),
        }
    }

    fn lost_message(&mut self) {
        self.lost_messages += 1;
        let lost = self.lost_messages;
        let reason = format!("{lost} messages of {} are lost, since it did not keep them", self.server.url);
        self.faults.set(Fault::Lost, HealthState::MaintenanceRequired, reason);
    }

    /// The connection is gone, and may come back to the same session.
    fn cut(&mut self, reason: &str, state: &mut State) {
        state.is_connected = false;
        state.lost_at.get_or_insert_with(Instant::now);
        self.lost(reason);
    }

    /// Nothing comes any more: every tag is without a value at once.
    fn lost(&mut self, reason: &str) {
        self.faults.retain(|_| false);
        let reason = format!("no connection to {}: {reason}", self.server.url);
        self.faults.set(Fault::Connection, HealthState::Failure, reason);
        self.tell_news();
        if !std::mem::replace(&mut self.is_lost, true) {
            let arrival = now();
            self.outbox.offer(arrival, self.feed.all_bad(arrival));
        }
    }

    fn look(&mut self, session: &Arc<Session>, state: &mut State, works: &Works) -> Result<(), String> {
        match self.flood.note(self.outbox.take_dropped(), Instant::now()) {
            FloodNews::Floods(reason) => self.faults.set(Fault::Flood, HealthState::OutOfSpecification, reason),
            FloodNews::Over => self.faults.clear(&Fault::Flood),
            FloodNews::Nothing => {}
        }
        self.tell_news();
        if !state.is_connected || !state.is_subscribed {
            return Ok(());
        }
        let span = |ns: i64| Duration::from_nanos(ns.unsigned_abs());
        let silent_max = ALIVE_MISSED * ALIVE_EVERY.max(span(self.server.publishing_ns)) + span(self.server.timeout_ns);
        if state.heard.is_some_and(|heard| heard.elapsed() > silent_max) {
            return Err("the server is connected and sends nothing of what was subscribed to".to_owned());
        }
        if state.asked_again.is_some_and(|asked| asked.elapsed() < ASK_AGAIN) {
            return Ok(());
        }
        state.asked_again = Some(Instant::now());
        let mine = state.subscriptions.values().flat_map(|subscription| subscription.items.iter().copied());
        let silent = self.feed.silent(mine, ASK_AGAIN, SILENT_MAX);
        if !silent.is_empty() {
            let (session, items) = (Arc::clone(session), self.feed.items().to_vec());
            works.push(Box::pin(async move { Done::Gone(gone(&session, &items, &silent).await) }));
        }
        if !state.refused.is_empty() {
            let refused = std::mem::take(&mut state.refused);
            let mut by_subscription: HashMap<u32, Vec<usize>> = HashMap::new();
            for (id, item) in &refused {
                by_subscription.entry(*id).or_default().push(*item);
            }
            let (session, items) = (Arc::clone(session), self.feed.items().to_vec());
            works.push(Box::pin(async move {
                let asked = async {
                    let names = names_of_namespaces(&session, &items).await?;
                    let mut all = Vec::new();
                    for (id, positions) in by_subscription {
                        all.push(look_at(&session, &names, id, &positions, &items).await?);
                    }
                    Ok(all)
                };
                Done::AskedAgain(refused, asked.await)
            }));
        }
        Ok(())
    }

    fn tell_news(&mut self) {
        if let Some((state, reason)) = self.faults.news(Instant::now()) {
            self.outbox.tell(now(), state, reason);
        }
    }
}

fn has_data(message: &NotificationMessage) -> bool {
    message.notification_data.as_ref().is_some_and(|data| !data.is_empty())
}

/// Asks for messages that are missing. `None` is one that the server has no more.
async fn republished(
    session: &Session,
    id: u32,
    missing: std::ops::Range<u32>,
) -> Vec<(u32, Option<NotificationMessage>)> {
    let mut all = Vec::new();
    for number in missing {
        match session.republish(id, number).await {
            Ok(message) => all.push((number, Some(message).filter(has_data))),
            Err(error)
                if [StatusCode::BadMessageNotAvailable, StatusCode::BadSubscriptionIdInvalid]
                    .contains(&error.status()) =>
            {
                all.push((number, None));
            }
            // The connection is gone again. What is still missing is asked for when it is back.
            Err(_) => break,
        }
    }
    all
}
