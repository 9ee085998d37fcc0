//! Sparkplug B (specification 3.0): what edge nodes say of themselves, their devices and metrics.
//!
//! A node tells with a *birth* what it has, each metric with a name and perhaps an alias, then sends what changes; the
//! broker tells of its *death*. Each message of a node counts on from the one before it, so that a lost one is noticed;
//! the node is asked then for its birth anew, which is the only thing that is ever sent.

use std::collections::{HashMap, HashSet};

use sightglass_plant::{MqttAddress, nearest};
use sightglass_protocol::{
    HealthState, Quality, TimeSource, UtcNanos,
    time::{MILLISECOND, SECOND},
};
use srad_types::{
    constants::{BDSEQ, DBIRTH, DDATA, DDEATH, NBIRTH, NCMD, NDATA, NDEATH, NODE_CONTROL_REBIRTH, QUALITY, SPBV01},
    payload::{DataType, Message as _, Metric, Payload, metric::Value, property_value},
};

use super::reader::{Fault, Message, Positions, TagValue, note_time};
use crate::live::{CaptureTime, Faults, capture_time};

/// A node is asked for its birth at most this often.
const REBIRTH_EVERY_NS: i64 = 5 * SECOND;
/// The most aliases that a node may give.
const ALIASES_MAX: usize = 100_000;
/// The longest `spBv1.0/…` topic has five parts: with group, message type, node and device.
const TOPIC_PARTS_MAX: usize = 5;

/// Of one node: a device, or `None` for itself, and the name of a metric.
type MetricKey = (Option<String>, String);

pub(crate) struct Sparkplug {
    /// By group and node, as `GROUP/NODE`.
    nodes: HashMap<String, Node>,
}

struct Node {
    group: String,
    id: String,
    tags: Positions<MetricKey>,
    state: NodeState,
    asked: Option<UtcNanos>,
    /// Whether it has spoken, and a birth is needed to understand it.
    needs_birth: bool,
}

enum NodeState {
    /// Nothing is known of it, or it has died.
    Unborn,
    Born(Life),
}

/// What holds from a birth to the next one.
struct Life {
    bd_seq: Option<u64>,
    next_seq: u8,
    devices: HashSet<String>,
    /// Which metric an alias stands for, and its type.
    aliases: HashMap<u64, MetricKey>,
    /// The types of wanted metrics, which data messages leave out.
    types: HashMap<MetricKey, u32>,
}

/// What a message means for its node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Birth,
    Data,
    Death,
}

impl Sparkplug {
    pub(crate) fn new(addresses: Vec<MqttAddress>) -> Self {
        let mut nodes = HashMap::new();
        for (at, address) in addresses.into_iter().enumerate() {
            // Addresses of topics come with other payloads only.
            let MqttAddress::Metric { group, node, device, metric } = address else { continue };
            let fresh = || Node {
                group: group.clone(),
                id: node.clone(),
                tags: Positions::new(),
                state: NodeState::Unborn,
                asked: None,
                needs_birth: false,
            };
            let node: &mut Node = nodes.entry(format!("{group}/{node}")).or_insert_with(fresh);
            node.tags.entry((device, metric)).or_default().push(at);
        }
        Self { nodes }
    }

    pub(crate) fn filters(&self) -> Vec<String> {
        // `#` takes the level above it in (MQTT 5, section 4.7.1.2), so the node's own messages come too.
        let filter = |node: &Node| format!("{SPBV01}/{}/+/{}/#", node.group, node.id);
        let mut filters: Vec<String> = self.nodes.values().map(filter).collect();
        filters.sort();
        filters
    }

    /// Forgets what nodes were, since messages may have been missed, and asks each for its birth.
    pub(crate) fn begin(&mut self, arrival: UtcNanos, faults: &mut Faults<Fault>) -> Vec<(String, Vec<u8>)> {
        let mut requests = Vec::new();
        for (name, node) in &mut self.nodes {
            node.state = NodeState::Unborn;
            node.asked = None;
            node.needs_birth = false;
            let reason = format!("node '{name}' has not told yet what it has; it was asked. Check whether it runs");
            faults.set(Fault::Node(name.clone()), HealthState::CheckFunction, reason);
            requests.extend(node.ask(arrival));
        }
        requests
    }

    /// Asks those nodes whose birth is needed and did not come, as often as they may be asked.
    pub(crate) fn overdue(&mut self, arrival: UtcNanos) -> Vec<(String, Vec<u8>)> {
        self.nodes.values_mut().filter(|node| node.needs_birth).filter_map(|node| node.ask(arrival)).collect()
    }

    pub(crate) fn read(
        &mut self,
        message: Message<'_>,
        faults: &mut Faults<Fault>,
    ) -> (Vec<TagValue>, Option<(String, Vec<u8>)>) {
        let nothing = (Vec::new(), None);
        let parts: Vec<&str> = message.topic.splitn(TOPIC_PARTS_MAX, '/').collect();
        let (group, kind, id, device) = match parts[..] {
            [SPBV01, group, kind, id] => (group, kind, id, None),
            [SPBV01, group, kind, id, device] => (group, kind, id, Some(device)),
            _ => return nothing,
        };
        let kind = match (kind, device) {
            (NBIRTH, None) | (DBIRTH, Some(_)) => Kind::Birth,
            (NDATA, None) | (DDATA, Some(_)) => Kind::Data,
            (NDEATH, None) | (DDEATH, Some(_)) => Kind::Death,
            // Commands, the node's own among them.
            _ => return nothing,
        };
        let name = format!("{group}/{id}");
        let Some(node) = self.nodes.get_mut(&name) else { return nothing };
        if message.is_retained {
            // The specification forbids it: an old birth would raise the dead.
            let reason = format!(
                "the broker keeps an old message of '{}', which is left out; publish an empty retained one there",
                message.topic
            );
            faults.set(Fault::Retained(name), HealthState::MaintenanceRequired, reason);
            return nothing;
        }
        let payload = match Payload::decode(message.payload) {
            Ok(payload) => payload,
            Err(error) => {
                let reason = format!("a message of '{}' is no Sparkplug payload: {error}", message.topic);
                faults.set(Fault::Node(name), HealthState::OutOfSpecification, reason);
                node.needs_birth = true;
                return (Vec::new(), node.ask(message.arrival));
            }
        };
        let mut story = Story { name, node, message, faults, values: Vec::new() };
        let is_whole = match (kind, device) {
            (Kind::Birth, None) => story.node_birth(&payload),
            (Kind::Death, None) => story.node_death(&payload),
            (Kind::Data, None) => story.count(&payload) & story.data(None, &payload),
            (Kind::Birth, Some(device)) => story.count(&payload) & story.device_birth(device, &payload),
            (Kind::Data, Some(device)) => story.count(&payload) & story.device_data(device, &payload),
            (Kind::Death, Some(device)) => story.count(&payload) & story.device_death(device),
        };
        let Story { node, values, .. } = story;
        node.needs_birth |= !is_whole;
        let request = if is_whole { None } else { node.ask(message.arrival) };
        (values, request)
    }
}

impl Node {
    /// A request for the node's birth, unless there was one just now.
    fn ask(&mut self, arrival: UtcNanos) -> Option<(String, Vec<u8>)> {
        if self.asked.is_some_and(|asked| arrival.since(asked).abs() < REBIRTH_EVERY_NS) {
            return None;
        }
        self.asked = Some(arrival);
        let mut metric = Metric::new();
        metric.set_name(NODE_CONTROL_REBIRTH.to_owned()).set_datatype(DataType::Boolean);
        metric.set_value(Value::BooleanValue(true));
        let timestamp = u64::try_from(arrival.0 / MILLISECOND).ok();
        let payload = Payload { timestamp, metrics: vec![metric], seq: None, uuid: None, body: None };
        Some((format!("{SPBV01}/{}/{NCMD}/{}", self.group, self.id), payload.encode_to_vec()))
    }

    /// The positions of the tags of a device, or of all that the node has.
    fn positions(&self, device: Option<&str>) -> Vec<usize> {
        let belongs = |key: &MetricKey| device.is_none() || key.0.as_deref() == device;
        let mut positions: Vec<usize> =
            self.tags.iter().filter(|(key, _)| belongs(key)).flat_map(|(_, at)| at.iter().copied()).collect();
        positions.sort_unstable();
        positions
    }
}

/// One message of a node. Its methods say whether nothing is missing; where something is, the node is asked anew.
struct Story<'a> {
    name: String,
    node: &'a mut Node,
    message: Message<'a>,
    faults: &'a mut Faults<Fault>,
    values: Vec<TagValue>,
}

impl Story<'_> {
    fn life(&mut self) -> Option<&mut Life> {
        match &mut self.node.state {
            NodeState::Born(life) => Some(life),
            NodeState::Unborn => None,
        }
    }

    fn set(&mut self, fault: Fault, state: HealthState, reason: String) {
        self.faults.set(fault, state, reason);
    }

    /// Checks that the message follows the one before it.
    fn count(&mut self, payload: &Payload) -> bool {
        let Some(life) = self.life() else {
            let reason = format!("node '{}' speaks before it has told what it has; it was asked", self.name);
            self.set(Fault::Node(self.name.clone()), HealthState::CheckFunction, reason);
            return false;
        };
        let expected = life.next_seq;
        let seq = payload.seq.and_then(|seq| u8::try_from(seq).ok());
        // Whatever it is, the next one follows this one.
        life.next_seq = seq.unwrap_or(expected).wrapping_add(1);
        if seq == Some(expected) {
            return true;
        }
        let got = payload.seq.map_or("none".to_owned(), |seq| seq.to_string());
        let reason = format!(
            "messages of node '{}' were lost: number {got} came instead of {expected}; it was asked to tell all anew",
            self.name
        );
        self.set(Fault::Node(self.name.clone()), HealthState::MaintenanceRequired, reason);
        false
    }

    fn node_birth(&mut self, payload: &Payload) -> bool {
        let bd_seq = bd_seq_of(payload);
        let devices = self.life().map(|life| std::mem::take(&mut life.devices)).unwrap_or_default();
        for device in devices {
            // They are to be born anew; until then nothing is known of them (section 6.4.19 of the specification).
            for at in self.node.positions(Some(&device)) {
                self.values.push(TagValue { quality: Quality::Stale, ..TagValue::bad(at, self.message.arrival) });
            }
        }
        let seq = payload.seq.and_then(|seq| u8::try_from(seq).ok()).unwrap_or(0);
        self.node.needs_birth = false;
        self.node.state = NodeState::Born(Life {
            bd_seq,
            next_seq: seq.wrapping_add(1),
            devices: HashSet::new(),
            aliases: HashMap::new(),
            types: HashMap::new(),
        });
        self.faults.clear(&Fault::Node(self.name.clone()));
        self.birth(None, payload)
    }

    fn device_birth(&mut self, device: &str, payload: &Payload) -> bool {
        let Some(life) = self.life() else { return false };
        life.devices.insert(device.to_owned());
        self.faults.clear(&Fault::Device(format!("{}/{device}", self.name)));
        self.birth(Some(device), payload)
    }

    /// Takes the names, aliases, types and values of a birth.
    fn birth(&mut self, device: Option<&str>, payload: &Payload) -> bool {
        let mut named = HashSet::new();
        for metric in &payload.metrics {
            let Some(name) = metric.name.clone().filter(|name| !name.is_empty()) else { continue };
            let key = (device.map(str::to_owned), name.clone());
            named.insert(name);
            let is_wanted = self.node.tags.contains_key(&key);
            let Some(life) = self.life() else { return false };
            if let Some(alias) = metric.alias
                && life.aliases.len() < ALIASES_MAX
            {
                life.aliases.insert(alias, key.clone());
            }
            if is_wanted && let Some(datatype) = metric.datatype {
                life.types.insert(key, datatype);
            }
        }
        self.tell_absent(device, &named);
        self.data(device, payload)
    }

    /// Notes wanted metrics that a birth does not name.
    fn tell_absent(&mut self, device: Option<&str>, named: &HashSet<String>) {
        let owner = device.map_or_else(|| self.name.clone(), |device| format!("{}/{device}", self.name));
        let known: Vec<&str> = named.iter().map(String::as_str).collect();
        for ((of, metric), positions) in &self.node.tags {
            if of.as_deref() != device {
                continue;
            }
            for at in positions {
                if named.contains(metric) {
                    self.faults.clear(&Fault::Tag(*at));
                    continue;
                }
                let near = nearest(metric, &known).map(|near| format!("; did you mean '{near}'?"));
                let reason = format!("'{owner}' has no metric '{metric}'{}", near.unwrap_or_default());
                self.faults.set(Fault::Tag(*at), HealthState::Failure, reason);
                self.values.push(TagValue::bad(*at, self.message.arrival));
            }
        }
    }

    fn device_data(&mut self, device: &str, payload: &Payload) -> bool {
        let Some(life) = self.life() else { return false };
        if life.devices.contains(device) {
            return self.data(Some(device), payload);
        }
        let owner = format!("{}/{device}", self.name);
        let reason = format!("device '{owner}' speaks before it has told what it has; its node was asked");
        self.set(Fault::Device(owner), HealthState::CheckFunction, reason);
        false
    }

    /// Takes values; false where one stands under an alias that nobody gave.
    fn data(&mut self, device: Option<&str>, payload: &Payload) -> bool {
        let mut is_whole = true;
        let mut time_fault = None;
        for metric in &payload.metrics {
            let Some(life) = self.life() else { return false };
            let key = match (&metric.name, metric.alias) {
                (Some(name), _) if !name.is_empty() => (device.map(str::to_owned), name.clone()),
                (_, Some(alias)) => match life.aliases.get(&alias) {
                    Some(key) => key.clone(),
                    None => {
                        is_whole = false;
                        let reason = format!("'{}' uses an alias that it has not given: {alias}", self.name);
                        self.set(Fault::Node(self.name.clone()), HealthState::MaintenanceRequired, reason);
                        continue;
                    }
                },
                // A metric that says neither cannot be known.
                _ => continue,
            };
            let datatype = metric.datatype.or_else(|| life.types.get(&key).copied());
            let Some(positions) = self.node.tags.get(&key) else { continue };
            let capture = capture_of(metric, payload, self.message.arrival);
            if capture.fault.is_some() {
                time_fault = capture.fault;
            }
            let (value, quality, wrong) = match value_of(metric, datatype) {
                Ok(Some(value)) => (value, quality_of(metric), None),
                Ok(None) => (f64::NAN, quality_of(metric).max(Quality::Missing), None),
                Err(reason) => (f64::NAN, Quality::Bad, Some(reason)),
            };
            for &at in positions {
                match &wrong {
                    Some(reason) => {
                        let reason = format!("metric '{}' of '{}': {reason}", key.1, self.name);
                        self.faults.set(Fault::Tag(at), HealthState::OutOfSpecification, reason);
                    }
                    None => self.faults.clear(&Fault::Tag(at)),
                }
                self.values.push(TagValue { at, time: capture.time, source: capture.source, value, quality });
            }
        }
        note_time(self.faults, &self.name, time_fault);
        is_whole
    }

    fn node_death(&mut self, payload: &Payload) -> bool {
        let Some(life) = self.life() else {
            self.dead();
            return true;
        };
        // A death of an earlier life, which the broker tells late.
        let died = bd_seq_of(payload);
        if died.is_some() && life.bd_seq.is_some() && died != life.bd_seq {
            return true;
        }
        self.node.state = NodeState::Unborn;
        self.dead();
        true
    }

    fn dead(&mut self) {
        self.node.needs_birth = false;
        let arrival = self.message.arrival;
        self.values.extend(self.node.positions(None).into_iter().map(|at| TagValue::bad(at, arrival)));
        let reason = format!("node '{}' has died, as the broker tells; check its power and its network", self.name);
        self.set(Fault::Node(self.name.clone()), HealthState::Failure, reason);
    }

    fn device_death(&mut self, device: &str) -> bool {
        let arrival = self.message.arrival;
        self.values.extend(self.node.positions(Some(device)).into_iter().map(|at| TagValue::bad(at, arrival)));
        let owner = format!("{}/{device}", self.name);
        let reason = format!("device '{owner}' has died, as its node tells; check its power and its cable");
        self.set(Fault::Device(owner), HealthState::Failure, reason);
        self.life().is_some_and(|life| {
            life.devices.remove(device);
            true
        })
    }
}

/// Which life of a node a birth or death is of.
fn bd_seq_of(payload: &Payload) -> Option<u64> {
    let metric = payload.metrics.iter().find(|metric| metric.name.as_deref() == Some(BDSEQ))?;
    match metric.value {
        Some(Value::IntValue(number)) => Some(u64::from(number)),
        Some(Value::LongValue(number)) => Some(number),
        _ => None,
    }
}

/// When a metric was captured: by its own time, else by that of its message, both in milliseconds.
fn capture_of(metric: &Metric, payload: &Payload, arrival: UtcNanos) -> CaptureTime {
    match metric.timestamp.or(payload.timestamp) {
        None => CaptureTime::of_arrival(arrival),
        Some(millis) => {
            let nanos = i64::try_from(millis).unwrap_or(i64::MAX).saturating_mul(MILLISECOND);
            capture_time(UtcNanos(nanos), TimeSource::Payload, arrival)
        }
    }
}

/// The quality that a metric says (section 6.4.12: 0 bad, 192 good, 500 stale).
fn quality_of(metric: &Metric) -> Quality {
    let said = metric.properties.as_ref().and_then(|properties| {
        let at = properties.keys.iter().position(|key| key == QUALITY)?;
        properties.values.get(at)?.value.as_ref()
    });
    match said {
        None | Some(property_value::Value::IntValue(192)) => Quality::Good,
        Some(property_value::Value::IntValue(0)) => Quality::Bad,
        Some(property_value::Value::IntValue(500)) => Quality::Stale,
        Some(_) => Quality::Uncertain,
    }
}

/// The value of a metric whose type is known from it or from its birth; `None` where it says that it has none.
///
/// # Errors
/// Why it has no number.
fn value_of(metric: &Metric, datatype: Option<u32>) -> Result<Option<f64>, String> {
    let Some(value) = &metric.value else { return Ok(None) };
    if metric.is_null == Some(true) {
        return Ok(None);
    }
    let datatype = datatype.and_then(|number| DataType::try_from(number).ok()).unwrap_or(DataType::Unknown);
    let whole = match value {
        // Integers come in two's complement, and some publishers take the wider field for all of them.
        Value::IntValue(number) => u64::from(*number),
        Value::LongValue(number) => *number,
        Value::BooleanValue(flag) if matches!(datatype, DataType::Boolean | DataType::Unknown) => u64::from(*flag),
        Value::FloatValue(number) if matches!(datatype, DataType::Float | DataType::Double | DataType::Unknown) => {
            return finite(f64::from(*number));
        }
        Value::DoubleValue(number) if matches!(datatype, DataType::Float | DataType::Double | DataType::Unknown) => {
            return finite(*number);
        }
        Value::StringValue(_) => return Err("it is text, not a number".to_owned()),
        Value::BooleanValue(_) | Value::FloatValue(_) | Value::DoubleValue(_) => {
            return Err(format!("it is another type than its birth says, which is {datatype:?}"));
        }
        _ => return Err("it is no single value".to_owned()),
    };
    Ok(Some(match datatype {
        DataType::Int8 => f64::from(whole as i8),
        DataType::Int16 => f64::from(whole as i16),
        DataType::Int32 => f64::from(whole as i32),
        DataType::Int64 => whole as i64 as f64,
        DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::DateTime
        | DataType::Boolean
        | DataType::Unknown => whole as f64,
        other => return Err(format!("it is another type than its birth says, which is {other:?}")),
    }))
}

fn finite(number: f64) -> Result<Option<f64>, String> {
    if number.is_finite() { Ok(Some(number)) } else { Err(format!("{number} is no finite number")) }
}

#[cfg(test)]
mod tests;
