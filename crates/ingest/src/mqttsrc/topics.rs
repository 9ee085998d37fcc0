//! Messages with plain or JSON payloads: which topic is which tags.

use std::collections::HashSet;

use sightglass_plant::{JsonPath, MqttAddress, MqttPayload};
use sightglass_protocol::{HealthState, Quality, TimeSource};

use super::{
    reader::{Fault, Message, Positions, TagValue, note_time},
    value::{json, look, number, plain, quality, time},
};
use crate::live::{CaptureTime, Faults, capture_time};

pub(crate) struct Topics {
    payload: MqttPayload,
    tags: Positions<String>,
    paths: Vec<JsonPath>,
    /// Tags whose member was in some message: a later message without it just does not speak of it.
    seen: HashSet<usize>,
}

impl Topics {
    pub(crate) fn new(payload: &MqttPayload, addresses: Vec<MqttAddress>) -> Self {
        let mut tags = Positions::new();
        let mut paths = Vec::new();
        for (at, address) in addresses.into_iter().enumerate() {
            let path = match address {
                MqttAddress::Topic { topic, path } => {
                    tags.entry(topic).or_insert_with(Vec::new).push(at);
                    path
                }
                // Addresses of metrics come with Sparkplug payloads only.
                MqttAddress::Metric { .. } => JsonPath::default(),
            };
            paths.push(path);
        }
        Self { payload: payload.clone(), tags, paths, seen: HashSet::new() }
    }

    pub(crate) fn filters(&self) -> Vec<String> {
        let mut topics: Vec<String> = self.tags.keys().cloned().collect();
        topics.sort();
        topics
    }

    pub(crate) fn read(&mut self, message: Message<'_>, faults: &mut Faults<Fault>) -> Vec<TagValue> {
        let Some(positions) = self.tags.get(message.topic) else { return Vec::new() };
        let topic_fault = || Fault::Topic(message.topic.to_owned());
        let outcome = match &self.payload {
            MqttPayload::Json { time: time_path, time_format, quality: quality_path } => {
                json(message.payload).map(|root| {
                    let (capture, time_fault) = match time_path {
                        None => (CaptureTime::of_arrival(message.arrival), None),
                        Some(path) => {
                            let claimed = look(&root, path).ok_or_else(|| format!("there is no time at {path}"));
                            match claimed.and_then(|value| time(value, *time_format)) {
                                Ok(claimed) => {
                                    let capture = capture_time(claimed, TimeSource::Payload, message.arrival);
                                    let fault = capture.fault.clone();
                                    (capture, fault)
                                }
                                Err(reason) => (
                                    CaptureTime::of_arrival(message.arrival),
                                    Some(format!("{reason}; the arrival counts instead")),
                                ),
                            }
                        }
                    };
                    note_time(faults, message.topic, time_fault);
                    let said = quality_path.as_ref().and_then(|path| look(&root, path));
                    let said = said.map_or(Quality::Good, quality);
                    let mut values = Vec::new();
                    for &at in positions {
                        let Some(member) = look(&root, &self.paths[at]) else {
                            if !self.seen.contains(&at) {
                                let reason =
                                    format!("messages of '{}' have nothing at {}", message.topic, self.paths[at]);
                                faults.set(Fault::Tag(at), HealthState::MaintenanceRequired, reason);
                            }
                            continue;
                        };
                        self.seen.insert(at);
                        let (value, quality) = match number(member) {
                            Ok(Some(value)) => (value, said),
                            Ok(None) => (f64::NAN, said.max(Quality::Missing)),
                            Err(reason) => {
                                let reason = format!("'{}' at {}: {reason}", message.topic, self.paths[at]);
                                faults.set(Fault::Tag(at), HealthState::OutOfSpecification, reason);
                                values.push(TagValue::bad(at, message.arrival));
                                continue;
                            }
                        };
                        faults.clear(&Fault::Tag(at));
                        values.push(TagValue { at, time: capture.time, source: capture.source, value, quality });
                    }
                    values
                })
            }
            MqttPayload::Plain | MqttPayload::Sparkplug => plain(message.payload).map(|value| {
                let (time, source, quality) = (message.arrival, TimeSource::Arrival, Quality::Good);
                positions.iter().map(|&at| TagValue { at, time, source, value, quality }).collect()
            }),
        };
        match outcome {
            Ok(mut values) => {
                faults.clear(&topic_fault());
                if message.is_retained {
                    // The broker kept it from some earlier time. Where the message does not say which, nobody knows.
                    let undated = values.iter_mut().filter(|value| value.source == TimeSource::Arrival);
                    undated.for_each(|value| value.quality = value.quality.max(Quality::Uncertain));
                }
                values
            }
            Err(reason) => {
                let reason = format!("a message of '{}' cannot be used: {reason}", message.topic);
                faults.set(topic_fault(), HealthState::OutOfSpecification, reason);
                positions.iter().map(|&at| TagValue::bad(at, message.arrival)).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use sightglass_plant::JsonTime;
    use sightglass_protocol::{Sample, TagId, UtcNanos};

    use super::super::reader::Reader;
    use super::*;

    const ARRIVAL: UtcNanos = UtcNanos(1_795_508_100_000_000_000);

    struct Fixture {
        reader: Reader,
        faults: Faults<Fault>,
    }

    impl Fixture {
        fn new(payload: &MqttPayload, addresses: &[&str]) -> Self {
            let wanted: Vec<_> =
                addresses.iter().enumerate().map(|(at, text)| ((*text).to_owned(), TagId(at as u32))).collect();
            Self { reader: Reader::new(payload, &wanted).expect("addresses"), faults: Faults::new() }
        }

        fn read(&mut self, topic: &str, payload: &str, is_retained: bool) -> Vec<Sample> {
            let message = Message { topic, payload: payload.as_bytes(), is_retained, arrival: ARRIVAL };
            self.reader.read(message, &mut self.faults).samples
        }

        fn told(&mut self) -> String {
            self.faults.news(Instant::now()).map_or(String::new(), |(_, reason)| reason)
        }
    }

    fn json_payload(time: &str, quality: &str) -> MqttPayload {
        let path = |text: &str| (!text.is_empty()).then(|| text.parse().expect("a path"));
        MqttPayload::Json { time: path(time), time_format: JsonTime::Auto, quality: path(quality) }
    }

    fn shape(samples: &[Sample]) -> Vec<(u32, String, Quality, TimeSource)> {
        samples.iter().map(|s| (s.tag.0, s.value.to_string(), s.quality, s.time_source)).collect()
    }

    #[test]
    fn a_topic_may_be_several_tags_and_others_are_not_read() {
        let mut fixture = Fixture::new(&MqttPayload::Plain, &["a/b", "c", "a/b"]);
        assert_eq!(fixture.reader.filters(), ["a/b", "c"]);
        let good = |at: u32, value: &str| (at, value.to_owned(), Quality::Good, TimeSource::Arrival);
        assert_eq!(shape(&fixture.read("a/b", "4.5", false)), [good(0, "4.5"), good(2, "4.5")]);
        assert_eq!(fixture.read("a", "4.5", false), []);
        let old = fixture.read("c", "1", true);
        assert_eq!(old[0].quality, Quality::Uncertain, "nobody knows from when a retained message is");
        let bad = fixture.read("c", "broken", false);
        assert_eq!((bad[0].quality, bad[0].value.is_nan()), (Quality::Bad, true));
        assert!(fixture.told().contains("a message of 'c' cannot be used: 'broken' is no number"));
        assert_eq!(fixture.read("c", "2", false)[0].quality, Quality::Good);
    }

    #[test]
    fn json_gives_values_with_its_own_time_and_quality() {
        let mut fixture = Fixture::new(&json_payload("t", "q"), &["m#a", "m#list[1].b", "m#gone"]);
        let payload = r#"{"a": 1, "list": [0, {"b": "2.5"}], "t": "2026-11-24T08:14:59Z", "q": 64}"#;
        let samples = fixture.read("m", payload, true);
        let uncertain = |at, value: &str| (at, value.to_owned(), Quality::Uncertain, TimeSource::Payload);
        assert_eq!(shape(&samples), [uncertain(0, "1"), uncertain(1, "2.5")]);
        assert_eq!(samples[0].time.to_string(), "2026-11-24T08:14:59Z");
        assert!(fixture.told().contains("have nothing at $['gone']"));

        let mut fixture = Fixture::new(&json_payload("t", ""), &["m#a", "m#b"]);
        let samples = fixture.read("m", r#"{"a": null, "b": [1], "t": "9999-12-31T00:00:00Z"}"#, false);
        let nan = |at, quality| (at, "NaN".to_owned(), quality, TimeSource::Arrival);
        assert_eq!(shape(&samples), [nan(0, Quality::Missing), nan(1, Quality::Bad)]);
        let told = fixture.told();
        assert!(told.contains("is a list") && told.contains("the arrival counts instead"), "{told}");
        let samples = fixture.read("m", r#"{"b": 7, "t": 1795508099}"#, false);
        assert_eq!(shape(&samples), [(1, "7".to_owned(), Quality::Good, TimeSource::Payload)]);
        let all_bad = fixture.read("m", r#"{"a": NaN}"#, false);
        assert!(all_bad.len() == 2 && all_bad.iter().all(|sample| sample.quality == Quality::Bad));
    }
}
