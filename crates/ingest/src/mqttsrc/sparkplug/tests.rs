//! Nodes by the letter of their messages.

use std::time::Instant;

use proptest::prelude::*;
use srad_types::payload::{PropertySet, PropertyValue};

use super::*;

const ARRIVAL: UtcNanos = UtcNanos(1_795_508_100_000_000_000);

struct Fixture {
    sparkplug: Sparkplug,
    faults: Faults<Fault>,
    arrival: UtcNanos,
}

impl Fixture {
    fn new(addresses: &[&str]) -> Self {
        let parse = |text: &&str| MqttAddress::parse(text, &sightglass_plant::MqttPayload::Sparkplug).expect(text);
        let mut sparkplug = Sparkplug::new(addresses.iter().map(parse).collect());
        let mut faults = Faults::new();
        assert_eq!(sparkplug.begin(ARRIVAL, &mut faults).len(), sparkplug.nodes.len(), "each is asked at the start");
        Self { sparkplug, faults, arrival: ARRIVAL }
    }

    fn raw(&mut self, topic: &str, payload: &[u8]) -> (Vec<TagValue>, bool) {
        let message = Message { topic, payload, is_retained: false, arrival: self.arrival };
        let (values, request) = self.sparkplug.read(message, &mut self.faults);
        (values, request.is_some())
    }

    fn say(&mut self, topic: &str, seq: Option<u64>, metrics: Vec<Metric>) -> (Vec<TagValue>, bool) {
        let payload = Payload { timestamp: None, metrics, seq, uuid: None, body: None };
        self.raw(&format!("spBv1.0/{topic}"), &payload.encode_to_vec())
    }

    fn told(&mut self) -> String {
        self.faults.news(Instant::now()).map_or(String::new(), |(_, reason)| reason)
    }
}

fn metric(name: &str, kind: DataType, value: Value) -> Metric {
    let mut metric = Metric::new();
    metric.set_name(name.to_owned()).set_datatype(kind).set_value(value);
    metric
}

fn birth(bd_seq: u64) -> Vec<Metric> {
    vec![metric("bdSeq", DataType::Int64, Value::LongValue(bd_seq)), metric("m", DataType::Int8, Value::IntValue(255))]
}

fn numbers(values: &[TagValue]) -> Vec<(usize, String, Quality)> {
    values.iter().map(|value| (value.at, value.value.to_string(), value.quality)).collect()
}

#[test]
fn every_type_gives_its_number_and_what_is_none_is_told() {
    let of = |kind, value| value_of(&metric("m", kind, value), Some(kind as u32));
    for (kind, value, expected) in [
        (DataType::Int8, Value::IntValue(0xFF), -1.0),
        (DataType::Int8, Value::IntValue(0xFFFF_FF80), -128.0),
        (DataType::Int16, Value::IntValue(0x8000), -32_768.0),
        (DataType::Int32, Value::IntValue(u32::MAX), -1.0),
        (DataType::Int32, Value::LongValue(u64::MAX), -1.0),
        (DataType::Int64, Value::LongValue(u64::MAX), -1.0),
        (DataType::UInt8, Value::IntValue(255), 255.0),
        (DataType::UInt16, Value::IntValue(65_535), 65_535.0),
        (DataType::UInt32, Value::LongValue(4_294_967_295), 4_294_967_295.0),
        (DataType::UInt64, Value::LongValue(1 << 53), 9_007_199_254_740_992.0),
        (DataType::Float, Value::FloatValue(0.25), 0.25),
        (DataType::Double, Value::DoubleValue(-0.1), -0.1),
        (DataType::Boolean, Value::BooleanValue(true), 1.0),
        (DataType::DateTime, Value::LongValue(1000), 1000.0),
        (DataType::Unknown, Value::DoubleValue(2.5), 2.5),
    ] {
        assert_eq!(of(kind, value.clone()), Ok(Some(expected)), "{kind:?} {value:?}");
    }
    for (kind, value) in [
        (DataType::String, Value::StringValue("1".to_owned())),
        (DataType::Int32, Value::StringValue("1".to_owned())),
        (DataType::Int32, Value::FloatValue(1.0)),
        (DataType::Boolean, Value::DoubleValue(1.0)),
        (DataType::Float, Value::BooleanValue(true)),
        (DataType::String, Value::IntValue(1)),
        (DataType::Double, Value::DoubleValue(f64::NAN)),
        (DataType::Float, Value::FloatValue(f32::INFINITY)),
        (DataType::Bytes, Value::BytesValue(vec![1])),
    ] {
        assert!(of(kind, value.clone()).is_err(), "{kind:?} {value:?}");
    }
    let mut null = metric("m", DataType::Int8, Value::IntValue(1));
    null.is_null = Some(true);
    assert_eq!(value_of(&null, None), Ok(None));
}

#[test]
fn a_quality_property_counts() {
    let with = |value| {
        let mut metric = metric("m", DataType::Int8, Value::IntValue(1));
        let value = PropertyValue { r#type: Some(3), is_null: None, value: Some(value) };
        metric.properties =
            Some(PropertySet { keys: vec!["x".into(), "Quality".into()], values: vec![value.clone(), value] });
        quality_of(&metric)
    };
    assert_eq!(with(property_value::Value::IntValue(192)), Quality::Good);
    assert_eq!(with(property_value::Value::IntValue(0)), Quality::Bad);
    assert_eq!(with(property_value::Value::IntValue(500)), Quality::Stale);
    assert_eq!(with(property_value::Value::IntValue(7)), Quality::Uncertain);
    assert_eq!(with(property_value::Value::StringValue("good".into())), Quality::Uncertain);
}

#[test]
fn numbers_count_round_and_a_gap_asks_once_in_a_while() {
    let mut fixture = Fixture::new(&["g/n#m"]);
    fixture.arrival = fixture.arrival + 10 * SECOND;
    assert_eq!(numbers(&fixture.say("g/NBIRTH/n", Some(254), birth(1)).0), [(0, "-1".to_owned(), Quality::Good)]);
    for seq in [255, 0, 1] {
        let (values, asks) = fixture.say("g/NDATA/n", Some(seq), vec![metric("m", DataType::Int8, Value::IntValue(7))]);
        assert_eq!((values.len(), asks), (1, false), "{seq}");
    }
    assert!(fixture.say("g/NDATA/n", Some(3), Vec::new()).1, "2 is lost");
    assert!(!fixture.say("g/NDATA/n", Some(9), Vec::new()).1, "it was asked just now");
    let overdue = |fixture: &mut Fixture| fixture.sparkplug.overdue(fixture.arrival).len();
    assert_eq!(overdue(&mut fixture), 0);
    fixture.arrival = fixture.arrival + REBIRTH_EVERY_NS;
    assert_eq!((overdue(&mut fixture), overdue(&mut fixture)), (1, 0), "it is asked again while no birth comes");
    fixture.arrival = fixture.arrival + REBIRTH_EVERY_NS;
    assert!(fixture.say("g/NDATA/n", None, Vec::new()).1, "no number is a gap too");
    assert!(fixture.told().contains("number none came instead of 10"));
    assert!(!fixture.say("g/NBIRTH/n", Some(0), birth(1)).1);
    assert!(!fixture.say("g/NDATA/n", Some(1), Vec::new()).1, "all is well after a birth");
    fixture.arrival = fixture.arrival + REBIRTH_EVERY_NS;
    assert_eq!(overdue(&mut fixture), 0, "nothing more is needed");
}

#[test]
fn only_the_death_of_the_present_life_counts() {
    let mut fixture = Fixture::new(&["g/n#m", "g/n/d#m"]);
    fixture.say("g/NBIRTH/n", Some(0), birth(5));
    let death = |bd_seq| vec![metric("bdSeq", DataType::Int64, Value::LongValue(bd_seq))];
    assert!(fixture.say("g/NDEATH/n", None, death(4)).0.is_empty());
    let dead = fixture.say("g/NDEATH/n", None, death(5)).0;
    let bad = |at| (at, "NaN".to_owned(), Quality::Bad);
    assert_eq!(numbers(&dead), [bad(0), bad(1)]);
    assert!(fixture.told().contains("node 'g/n' has died"));
    assert!(fixture.say("g/NDATA/n", Some(1), birth(5)).0.is_empty(), "the dead say nothing");
}

#[test]
fn an_alias_that_nobody_gave_asks_for_a_birth() {
    let mut fixture = Fixture::new(&["g/n/d#m"]);
    fixture.arrival = fixture.arrival + 10 * SECOND;
    fixture.say("g/NBIRTH/n", Some(0), birth(0));
    let mut named = metric("m", DataType::UInt8, Value::IntValue(1));
    named.set_alias(4);
    fixture.say("g/DBIRTH/n/d", Some(1), vec![named]);
    let by_alias = |alias| {
        let mut metric = Metric::new();
        metric.set_alias(alias).set_value(Value::IntValue(9));
        vec![metric]
    };
    let (values, asks) = fixture.say("g/DDATA/n/d", Some(2), by_alias(4));
    assert_eq!((numbers(&values), asks), (vec![(0, "9".to_owned(), Quality::Good)], false));
    let (values, asks) = fixture.say("g/DDATA/n/d", Some(3), by_alias(5));
    assert_eq!((values.len(), asks), (0, true));
    let (values, asks) = fixture.say("g/DDATA/n/other", Some(4), by_alias(4));
    assert_eq!((values.len(), asks), (0, false), "a device without a birth says nothing; its node was just asked");
    let stale = fixture.say("g/NBIRTH/n", Some(0), birth(0)).0;
    assert_eq!(numbers(&stale), [(0, "NaN".to_owned(), Quality::Stale)], "a new birth lets devices wait for theirs");
}

#[test]
fn times_of_clocks_that_were_never_set_are_told_and_arrivals_count() {
    let mut fixture = Fixture::new(&["g/n#m"]);
    for timestamp in [0, 1, u64::MAX, 253_402_300_799_000] {
        let mut metrics = birth(0);
        metrics[1].set_timestamp(timestamp);
        let (values, _) = fixture.say("g/NBIRTH/n", Some(0), metrics);
        assert_eq!(
            (values[0].time, values[0].source, values[0].quality),
            (ARRIVAL, TimeSource::Arrival, Quality::Good)
        );
    }
    assert!(fixture.told().contains("the arrival counts instead"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(messages in prop::collection::vec((0_usize..8, any::<Vec<u8>>(), any::<Option<u64>>(), any::<u8>()), 0..40)) {
        let mut fixture = Fixture::new(&["g/n#m", "g/n/d#m"]);
        let topics = [
            "g/NBIRTH/n", "g/NDATA/n", "g/NDEATH/n", "g/DBIRTH/n/d", "g/DDATA/n/d", "g/DDEATH/n/d", "g/NCMD/n", "STATE/h",
        ];
        for (topic, bytes, number, kind) in messages {
            fixture.raw(&format!("spBv1.0/{}", topics[topic]), &bytes);
            fixture.raw(&String::from_utf8_lossy(&bytes), &bytes);
            let value = match kind % 4 {
                0 => Value::IntValue(u32::from(kind)),
                1 => Value::LongValue(number.unwrap_or(u64::MAX)),
                2 => Value::DoubleValue(f64::from_bits(number.unwrap_or(0))),
                _ => Value::BytesValue(bytes),
            };
            let mut any = metric("m", DataType::Unknown, value);
            any.datatype = Some(u32::from(kind % 40));
            any.timestamp = number;
            any.alias = number;
            let (values, _) = fixture.say(topics[topic], number, vec![any]);
            for value in values {
                prop_assert!(value.value.is_finite() || value.quality > Quality::Uncertain);
            }
        }
    }
}
