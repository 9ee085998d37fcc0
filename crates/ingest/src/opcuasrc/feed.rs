//! From what a server sends to samples.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use opcua::types::{
    DataChangeNotification, DataValue, NotificationMessage, StatusChangeNotification, StatusCode, Variant,
};
use sightglass_plant::{JsonStep, OpcUaAddress, OpcUaDeadband, OpcUaNode, OpcUaServer};
use sightglass_protocol::{HealthState, Quality, Sample, TagId, TimeSource, UtcNanos};

use super::{
    status::{described, quality},
    value::{number, utc},
};
use crate::live::{CaptureTime, Faults, capture_time};

/// Nanoseconds of one of OPC UA's ten picoseconds.
const PICOSECONDS_PER_NS: i64 = 100;

/// What can be at fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    Connection,
    /// Messages of the server that are lost.
    Lost,
    /// What the server cannot look at, by the item's position.
    Item(usize),
    /// A tag's value.
    Tag(usize),
    /// Values that the server's queue had no room for.
    Overflow(usize),
    /// The server's clock.
    Time,
    Flood,
}

/// A tag that is read.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) address: OpcUaAddress,
    pub(super) tag: TagId,
    /// How often a value is due.
    pub(super) period_ns: i64,
}

/// What a server is asked to look at, for one tag or several.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) node: OpcUaNode,
    pub(super) sampling_ns: i64,
    pub(super) queue: u32,
    pub(super) deadband: Option<OpcUaDeadband>,
    /// Whether some tag is a field of a structure in its value.
    pub(super) has_fields: bool,
    /// Positions of tags.
    tags: Vec<usize>,
}

/// A tag and what was last said of it.
struct Track {
    wanted: Wanted,
    /// What the server said: value, quality.
    said: Option<(f64, Quality)>,
    /// The time of the last sample.
    sent: UtcNanos,
    /// Whether the last sample was that there is none, since the connection was gone.
    is_lost: bool,
}

/// See the module's documentation.
pub(super) struct Feed {
    tracks: Vec<Track>,
    items: Vec<Item>,
    /// When each item was last heard of.
    heard: Vec<Instant>,
    /// By subscription: when it last said what has changed.
    published: HashMap<u32, UtcNanos>,
}

/// What a message says of the subscription itself.
#[derive(Debug, PartialEq)]
pub(super) enum Ended {
    No,
    /// The server gives it up.
    Yes(StatusCode),
}

impl Feed {
    pub(super) fn new(server: &OpcUaServer, wanted: Vec<Wanted>) -> Self {
        let mut items: Vec<Item> = Vec::new();
        let mut by_node: HashMap<OpcUaNode, Vec<usize>> = HashMap::new();
        for (at, Wanted { address, period_ns, .. }) in wanted.iter().enumerate() {
            let item = Item {
                node: address.node.clone(),
                sampling_ns: address.sampling_ns.or(server.sampling_ns).unwrap_or(*period_ns),
                queue: address.queue.unwrap_or(server.queue),
                deadband: address.deadband,
                has_fields: false,
                tags: Vec::new(),
            };
            let of_node = by_node.entry(item.node.clone()).or_default();
            let same = of_node.iter().copied().find(|&other| {
                let other = &items[other];
                (other.sampling_ns, other.queue, other.deadband) == (item.sampling_ns, item.queue, item.deadband)
            });
            let mine = same.unwrap_or(items.len());
            if same.is_none() {
                of_node.push(mine);
                items.push(item);
            }
            items[mine].tags.push(at);
            items[mine].has_fields |= address.path.0.iter().any(|step| matches!(step, JsonStep::Member(_)));
        }
        let track = |wanted| Track { wanted, said: None, sent: UtcNanos::MIN, is_lost: false };
        let heard = vec![Instant::now(); items.len()];
        Self { tracks: wanted.into_iter().map(track).collect(), items, heard, published: HashMap::new() }
    }

    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    /// At most so many of these items that have been silent for so long, the longest first. Then they count as heard.
    pub(super) fn silent(&mut self, of: impl Iterator<Item = usize>, silence: Duration, most: usize) -> Vec<usize> {
        let mut silent: Vec<usize> = of.filter(|&item| self.heard[item].elapsed() > silence).collect();
        silent.sort_by_key(|&item| self.heard[item]);
        silent.truncate(most);
        silent.iter().for_each(|&item| self.heard[item] = Instant::now());
        silent
    }

    /// Every tag without a value, at one moment.
    pub(super) fn all_bad(&mut self, time: UtcNanos) -> Vec<Sample> {
        self.published.clear();
        (0..self.tracks.len()).map(|at| self.bad(at, time, true)).collect()
    }

    /// The tags of an item without a value: the server cannot look at it.
    pub(super) fn item_bad(&mut self, item: usize, time: UtcNanos) -> Vec<Sample> {
        let tags = self.items[item].tags.clone();
        tags.into_iter().map(|at| self.bad(at, time, false)).collect()
    }

    fn bad(&mut self, at: usize, time: UtcNanos, is_lost: bool) -> Sample {
        let track = &mut self.tracks[at];
        track.is_lost = is_lost;
        track.sent = track.sent.max(time);
        if !is_lost {
            track.said = None;
        }
        let (tag, time_source) = (track.wanted.tag, TimeSource::Arrival);
        Sample { tag, time, value: f64::NAN, quality: Quality::Bad, time_source }
    }

    /// Forgets what was said: new subscriptions say it anew.
    pub(super) fn begin(&mut self) {
        self.published.clear();
        self.tracks.iter_mut().for_each(|track| track.said = None);
    }

    /// Takes a message of a subscription; `mine` are the items that it looks at.
    pub(super) fn take(
        &mut self,
        subscription: u32,
        message: &NotificationMessage,
        mine: &[usize],
        arrival: UtcNanos,
        faults: &mut Faults<Fault>,
    ) -> (Vec<Sample>, Ended) {
        let mut samples = Vec::new();
        let mut ended = Ended::No;
        let mut heard = vec![false; self.items.len()];
        for part in message.notification_data.iter().flatten() {
            if let Some(change) = part.inner_as::<DataChangeNotification>() {
                for notification in change.monitored_items.iter().flatten() {
                    // The number that the item was given is its position, from 1.
                    let item = (notification.client_handle as usize).wrapping_sub(1);
                    if item < self.items.len() {
                        heard[item] = true;
                        self.heard[item] = Instant::now();
                        self.value(item, &notification.value, arrival, faults, &mut samples);
                    }
                }
            } else if let Some(change) = part.inner_as::<StatusChangeNotification>()
                && change.status.is_bad()
            {
                ended = Ended::Yes(change.status);
            }
        }
        let published = capture_time(utc(&message.publish_time), TimeSource::Device, arrival);
        self.confirm(subscription, &published, mine, &heard, &mut samples);
        (samples, ended)
    }

    fn value(
        &mut self,
        item: usize,
        said: &DataValue,
        arrival: UtcNanos,
        faults: &mut Faults<Fault>,
        samples: &mut Vec<Sample>,
    ) {
        let status = said.status.unwrap_or(StatusCode::Good);
        let status_quality = quality(status);
        let capture = match &said.source_timestamp {
            Some(time) if !time.is_null() => {
                let picoseconds = said.source_picoseconds.map_or(0, i64::from) / PICOSECONDS_PER_NS;
                capture_time(utc(time) + picoseconds, TimeSource::Device, arrival)
            }
            _ => CaptureTime::of_arrival(arrival),
        };
        let node = self.items[item].node.to_string();
        match &capture.fault {
            Some(fault) => faults.set(Fault::Time, HealthState::OutOfSpecification, format!("'{node}': {fault}")),
            None => faults.clear(&Fault::Time),
        }
        if status.overflow() {
            let reason = format!("the server's queue of '{node}' was too short, so that values are lost; raise queue");
            faults.set(Fault::Overflow(item), HealthState::MaintenanceRequired, reason);
        } else {
            faults.clear(&Fault::Overflow(item));
        }
        faults.clear(&Fault::Item(item));
        for at in self.items[item].tags.clone() {
            let track = &mut self.tracks[at];
            let empty = Variant::Empty;
            let has_value = matches!(status_quality, Quality::Good | Quality::Uncertain | Quality::Stale);
            let read = if has_value {
                let value = said.value.as_ref().unwrap_or(&empty);
                number(value, &track.wanted.address.path.0, track.wanted.address.data_type)
                    .map_err(|why| (Quality::Bad, HealthState::OutOfSpecification, why))
            } else {
                Err((status_quality, HealthState::Failure, described(status)))
            };
            let (value, quality) = match read {
                Ok(value) => {
                    if status_quality == Quality::Good {
                        faults.clear(&Fault::Tag(at));
                    } else {
                        let reason = format!("'{node}' is doubtful: {}", described(status));
                        faults.set(Fault::Tag(at), HealthState::OutOfSpecification, reason);
                    }
                    (value, status_quality)
                }
                Err((quality, state, why)) => {
                    faults.set(Fault::Tag(at), state, format!("'{node}': {why}"));
                    (f64::NAN, quality)
                }
            };
            let (tag, time) = (track.wanted.tag, capture.time);
            track.said = Some((value, quality));
            track.sent = track.sent.max(time);
            track.is_lost = false;
            samples.push(Sample { tag, time, value, quality, time_source: capture.source });
        }
    }

    /// Says anew what a subscription that lives has said before and has not changed since: a server sends changes only,
    /// and its next message says that there was none until the one before it. That one counts, since a server may send
    /// what waits in several messages.
    fn confirm(
        &mut self,
        subscription: u32,
        published: &CaptureTime,
        mine: &[usize],
        heard: &[bool],
        samples: &mut Vec<Sample>,
    ) {
        let Some(before) = self.published.insert(subscription, published.time) else { return };
        for &item in mine.iter().filter(|&&item| !heard[item]) {
            for &at in &self.items[item].tags {
                let track = &mut self.tracks[at];
                let Some((value, quality)) = track.said else { continue };
                let is_due = quality.is_usable() && before.since(track.sent) >= track.wanted.period_ns;
                if (is_due || track.is_lost) && before > track.sent {
                    track.is_lost = false;
                    track.sent = before;
                    let tag = track.wanted.tag;
                    samples.push(Sample { tag, time: before, value, quality, time_source: published.source });
                }
            }
        }
    }
}
