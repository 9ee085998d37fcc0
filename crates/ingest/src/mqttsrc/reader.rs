//! What reads a broker's messages, whatever they hold.

use std::collections::HashMap;

use sightglass_plant::{MqttAddress, MqttPayload};
use sightglass_protocol::{HealthState, Quality, Sample, TagId, TimeSource, UtcNanos};

use super::{sparkplug::Sparkplug, topics::Topics};
use crate::live::Faults;

/// What can be at fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Connection,
    /// The broker does not let this topic be read.
    Subscription(String),
    /// A Sparkplug node, and a device of it.
    Node(String),
    Device(String),
    /// A node's retained messages.
    Retained(String),
    /// The messages of a topic.
    Topic(String),
    /// A tag's value.
    Tag(usize),
    /// The times of a topic or node.
    Time(String),
    Flood,
}

/// A message as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    /// Whether the broker had kept it from before the subscription.
    pub(crate) is_retained: bool,
    pub(crate) arrival: UtcNanos,
}

/// What a message gave.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Read {
    pub(crate) samples: Vec<Sample>,
    /// A message that asks a node for its birth: topic and payload.
    pub(crate) request: Option<(String, Vec<u8>)>,
}

/// The tags that are read, by their positions.
pub(crate) struct Reader {
    tags: Vec<TagId>,
    kind: Kind,
}

enum Kind {
    Topics(Topics),
    Sparkplug(Sparkplug),
}

impl Reader {
    /// A reader of these tags.
    ///
    /// # Errors
    /// An address that does not fit the payload.
    pub(crate) fn new(payload: &MqttPayload, wanted: &[(String, TagId)]) -> Result<Self, String> {
        let parse = |(address, _): &(String, TagId)| {
            MqttAddress::parse(address, payload).map_err(|error| format!("'{address}': {error}"))
        };
        let addresses = wanted.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let kind = match payload {
            MqttPayload::Sparkplug => Kind::Sparkplug(Sparkplug::new(addresses)),
            MqttPayload::Plain | MqttPayload::Json { .. } => Kind::Topics(Topics::new(payload, addresses)),
        };
        Ok(Self { tags: wanted.iter().map(|(_, tag)| *tag).collect(), kind })
    }

    /// The topics to subscribe to.
    pub(crate) fn filters(&self) -> Vec<String> {
        match &self.kind {
            Kind::Topics(topics) => topics.filters(),
            Kind::Sparkplug(sparkplug) => sparkplug.filters(),
        }
    }

    /// Begins anew after the topics were subscribed to; gives what is to be asked for.
    pub(crate) fn begin(&mut self, arrival: UtcNanos, faults: &mut Faults<Fault>) -> Vec<(String, Vec<u8>)> {
        match &mut self.kind {
            Kind::Topics(_) => Vec::new(),
            Kind::Sparkplug(sparkplug) => sparkplug.begin(arrival, faults),
        }
    }

    /// What is still to be asked for, since it was asked for too lately before.
    pub(crate) fn overdue(&mut self, arrival: UtcNanos) -> Vec<(String, Vec<u8>)> {
        match &mut self.kind {
            Kind::Topics(_) => Vec::new(),
            Kind::Sparkplug(sparkplug) => sparkplug.overdue(arrival),
        }
    }

    /// Reads a message. Never panics, whatever it holds.
    pub(crate) fn read(&mut self, message: Message<'_>, faults: &mut Faults<Fault>) -> Read {
        let (values, request) = match &mut self.kind {
            Kind::Topics(topics) => (topics.read(message, faults), None),
            Kind::Sparkplug(sparkplug) => sparkplug.read(message, faults),
        };
        let samples = values.into_iter().map(|value| value.of(self.tags[value.at])).collect();
        Read { samples, request }
    }

    /// Every tag without a value, at one moment.
    pub(crate) fn all_bad(&self, time: UtcNanos) -> Vec<Sample> {
        (0..self.tags.len()).map(|at| TagValue::bad(at, time).of(self.tags[at])).collect()
    }
}

/// A value of the tag at a position.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TagValue {
    pub(crate) at: usize,
    pub(crate) time: UtcNanos,
    pub(crate) source: TimeSource,
    pub(crate) value: f64,
    pub(crate) quality: Quality,
}

impl TagValue {
    /// No value, since the source says or shows that there is none that can be trusted.
    pub(crate) fn bad(at: usize, arrival: UtcNanos) -> Self {
        Self { at, time: arrival, source: TimeSource::Arrival, value: f64::NAN, quality: Quality::Bad }
    }

    fn of(self, tag: TagId) -> Sample {
        Sample { tag, time: self.time, value: self.value, quality: self.quality, time_source: self.source }
    }
}

/// Positions of tags by what they are addressed by.
pub(crate) type Positions<K> = HashMap<K, Vec<usize>>;

/// Notes or clears a fault of the times that `of` gives.
pub(crate) fn note_time(faults: &mut Faults<Fault>, of: &str, fault: Option<String>) {
    let key = Fault::Time(of.to_owned());
    match fault {
        Some(reason) => faults.set(key, HealthState::OutOfSpecification, format!("'{of}': {reason}")),
        None => faults.clear(&key),
    }
}
