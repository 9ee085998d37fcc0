//! Staying connected to a broker, and what that says of the values.

use std::{
    collections::{HashMap, VecDeque, hash_map::RandomState},
    hash::BuildHasher,
    sync::Arc,
    time::{Duration, Instant},
};

use sightglass_plant::MqttBroker;
use sightglass_protocol::HealthState;

use super::{
    client::{Event, Events, Requests, connection},
    reader::{Fault, Message, Reader},
};
use crate::{
    live::{Backoff, Faults, Flood, FloodNews, Outbox, now},
    properties::joined,
};

/// How long a broker may take to take a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How often it is looked for what is still to be told.
const LOOK: Duration = Duration::from_millis(250);
/// Topics of one request to subscribe.
const FILTERS_PER_REQUEST: usize = 64;

struct Session {
    broker: MqttBroker,
    client_id: String,
    reader: Reader,
    outbox: Arc<Outbox>,
    faults: Faults<Fault>,
    backoff: Backoff,
    is_lost: bool,
    flood: Flood,
}

/// Requests to subscribe that the broker has not answered yet.
#[derive(Default)]
struct Subscribing {
    /// Not sent yet.
    waiting: VecDeque<Vec<String>>,
    /// By the number under which they went out.
    sent: HashMap<u16, Vec<String>>,
}

/// Reads for as long as the element runs.
pub(super) async fn run(broker: MqttBroker, reader: Reader, outbox: Arc<Outbox>) {
    let client_id = broker.client_id.clone().unwrap_or_else(fresh_client_id);
    let (faults, backoff) = (Faults::new(), Backoff::default());
    let mut session =
        Session { broker, client_id, reader, outbox, faults, backoff, is_lost: false, flood: Flood::default() };
    loop {
        let reason = match connection(&session.broker, &session.client_id) {
            Ok((requests, events)) => session.stay(&requests, events).await,
            Err(reason) => reason,
        };
        session.lost(&reason);
        tokio::time::sleep(session.backoff.next()).await;
    }
}

/// A name that no other client has, of letters and digits that every broker takes (MQTT 3.1.1, section 3.1.3.1).
fn fresh_client_id() -> String {
    let random = RandomState::new().hash_one(std::process::id());
    format!("sightglass{:012x}", random & 0xFFFF_FFFF_FFFF)
}

impl Session {
    fn address(&self) -> String {
        joined(&self.broker.host, self.broker.port)
    }

    /// Takes messages until the connection is gone; gives the reason.
    async fn stay(&mut self, requests: &Requests, mut events: Events) -> String {
        let began = Instant::now();
        let mut subscribing = Subscribing::default();
        let mut is_connected = false;
        let mut look = tokio::time::interval(LOOK);
        loop {
            // A poll that was begun is carried on, since it may have taken in a part of a message.
            let event = {
                let poll = events.poll();
                tokio::pin!(poll);
                loop {
                    tokio::select! {
                        event = &mut poll => break event,
                        _ = look.tick() => {
                            if !is_connected && began.elapsed() > CONNECT_MAX {
                                return format!("no answer within {CONNECT_MAX:?}");
                            }
                            self.look();
                            for (topic, payload) in self.reader.overdue(now()) {
                                if let Err(reason) = requests.publish(&topic, payload) {
                                    return reason;
                                }
                            }
                        }
                    }
                }
            };
            let arrival = now();
            match event {
                Err(reason) => return reason,
                Ok(Event::Connected) => {
                    is_connected = true;
                    self.connected();
                    for filters in self.reader.filters().chunks(FILTERS_PER_REQUEST) {
                        if let Err(reason) = requests.subscribe(filters) {
                            return reason;
                        }
                        subscribing.waiting.push_back(filters.to_vec());
                    }
                    for (topic, payload) in self.reader.begin(arrival, &mut self.faults) {
                        if let Err(reason) = requests.publish(&topic, payload) {
                            return reason;
                        }
                    }
                }
                Ok(Event::Subscribing(number)) => {
                    if let Some(filters) = subscribing.waiting.pop_front() {
                        subscribing.sent.insert(number, filters);
                    }
                }
                Ok(Event::Subscribed(number, granted)) => {
                    let filters = subscribing.sent.remove(&number).unwrap_or_default();
                    for (filter, _) in filters.into_iter().zip(granted).filter(|(_, granted)| !granted) {
                        let reason = format!("the broker does not let '{filter}' be read; check what the user may do");
                        self.faults.set(Fault::Subscription(filter), HealthState::Failure, reason);
                    }
                    self.look();
                }
                Ok(Event::Message { topic, payload, is_retained }) => {
                    // A topic is text (MQTT 5, section 4.7.3); what is not is no tag's.
                    let topic = String::from_utf8_lossy(&topic);
                    let message = Message { topic: &topic, payload: &payload, is_retained, arrival };
                    let read = self.reader.read(message, &mut self.faults);
                    self.outbox.offer(arrival, read.samples);
                    self.tell_news();
                    if let Some((topic, payload)) = read.request
                        && let Err(reason) = requests.publish(&topic, payload)
                    {
                        return reason;
                    }
                }
                Ok(Event::Other) => {}
            }
        }
    }

    fn connected(&mut self) {
        self.is_lost = false;
        self.backoff.reset();
        self.faults.clear(&Fault::Connection);
        let address = self.address();
        self.faults.works(format!("{address} is connected"));
    }

    /// The connection is gone: every tag is without a value at once.
    fn lost(&mut self, reason: &str) {
        let address = self.address();
        self.faults.retain(|_| false);
        let reason = format!("no connection to {address}: {reason}");
        self.faults.set(Fault::Connection, HealthState::Failure, reason);
        self.tell_news();
        if !std::mem::replace(&mut self.is_lost, true) {
            let arrival = now();
            self.outbox.offer(arrival, self.reader.all_bad(arrival));
        }
    }

    /// Looks for what was dropped and for what is still to be told.
    fn look(&mut self) {
        match self.flood.note(self.outbox.take_dropped(), Instant::now()) {
            FloodNews::Floods(reason) => self.faults.set(Fault::Flood, HealthState::OutOfSpecification, reason),
            FloodNews::Over => self.faults.clear(&Fault::Flood),
            FloodNews::Nothing => {}
        }
        self.tell_news();
    }

    fn tell_news(&mut self) {
        if let Some((state, reason)) = self.faults.news(Instant::now()) {
            self.outbox.tell(now(), state, reason);
        }
    }
}
