//! Modbus devices, played by pymodbus.

use std::{
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sightglass_ingest::{IngestError, LinePipeline, PipelineOptions};
use sightglass_plant::{ModbusDevice, ModbusFraming, Plant, SourceKind, WordOrder};
use sightglass_protocol::{
    HealthState, LineId, Quality, TimeSource,
    time::{MILLISECOND, SECOND},
};

use crate::{
    peers::{Live, Peer, is, last, python, told},
    plants::{Outcome, plant, with_tags},
};

const SERVER: &str = "modbus_server.py";

fn device(port: u16) -> ModbusDevice {
    ModbusDevice {
        host: "127.0.0.1".to_owned(),
        port,
        framing: ModbusFraming::Tcp,
        unit: 1,
        word_order: WordOrder::Abcd,
        timeout_ns: 300 * MILLISECOND,
        pause_ns: 0,
        block_max: 125,
        block_gap: 8,
        map: None,
    }
}

/// A plant that reads these addresses ten times a second.
fn reading(device: ModbusDevice, addresses: &[&str]) -> Plant {
    let mut plant = with_tags(plant(), SourceKind::Modbus(device), addresses);
    plant.tags.iter_mut().for_each(|tag| tag.period_ns = 100 * MILLISECOND);
    plant
}

fn server(python: &Path, port: u16, framing: &str, units: &Value) -> Peer {
    let spec = json!({ "port": port, "framing": framing, "units": units });
    Peer::start(python, SERVER, &[&spec.to_string()])
}

fn holding(register: u16, kind: &str, value: f64) -> Value {
    json!({ "table": "holding", "register": register, "type": kind, "value": value })
}

/// A port at which nobody listens.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

/// Points of every type in every order in every table, and the values that the device has there.
fn everything() -> (Vec<Value>, Vec<(String, f64)>) {
    let numbers: [(&str, u16, &[f64]); 8] = [
        ("u16", 1, &[65_534.0, 0.0]),
        ("i16", 1, &[-2.0, 32_767.0]),
        ("u32", 2, &[2_309_737_967.0, 1.0]),
        ("i32", 2, &[-2_147_483_648.0, 305_419_896.0]),
        ("f32", 2, &[-1.5, 123.25]),
        ("u64", 4, &[81_985_529_216_486_895.0, 255.0]),
        ("i64", 4, &[-4_503_599_627_370_497.0, 1.0]),
        ("f64", 4, &[-0.1, 6.022_140_76e23]),
    ];
    let (mut points, mut expected) = (Vec::new(), Vec::new());
    for table in ["holding", "input"] {
        let mut register = 10;
        for (kind, width, values) in numbers {
            let orders: &[&str] = if width == 1 { &["ab", "ba"] } else { &["abcd", "cdab", "badc", "dcba"] };
            for order in orders {
                for value in values {
                    let number = if kind.starts_with('f') { json!(value) } else { json!(*value as i128 as i64) };
                    points.push(json!({
                        "table": table, "register": register, "type": kind, "order": order, "value": number,
                    }));
                    expected.push((format!("{table}:{register} {kind} {order}"), *value));
                    register += width;
                }
            }
        }
        points.push(json!({ "table": table, "register": register, "type": "u16", "value": 0xA5C3 }));
        expected.push((format!("{table}:{register} bit=1"), 1.0));
        expected.push((format!("{table}:{register} bits=2..9"), 112.0));
        expected.push((format!("{table}:{register} scale=0.5 offset=-100"), 21_117.5));
    }
    for (table, register, value) in
        [("coil", 3, true), ("coil", 4, false), ("discrete", 17, true), ("discrete", 0, false)]
    {
        points.push(json!({ "table": table, "register": register, "value": value }));
        expected.push((format!("{table}:{register}"), f64::from(u8::from(value))));
    }
    (points, expected)
}

#[test]
fn every_type_in_every_order_is_read_value_by_value_over_both_framings() {
    let Some(python) = python("pymodbus") else { return };
    let (points, expected) = everything();
    let addresses: Vec<&str> = expected.iter().map(|(address, _)| address.as_str()).collect();
    for (word, framing) in [("tcp", ModbusFraming::Tcp), ("rtu", ModbusFraming::Rtu)] {
        let peer = server(&python, 0, word, &json!({ "1": points }));
        let mut line = Live::start(&reading(ModbusDevice { framing, ..device(peer.port()) }, &addresses));
        line.until("every tag has a value", |outcome| {
            (0..expected.len()).all(|tag| last(outcome, tag as u32).is_some())
        });
        for (sample, (address, value)) in line.latest().iter().zip(&expected) {
            assert_eq!((sample.value, sample.quality), (*value, Quality::Good), "{address} over {word}");
            assert_eq!(sample.time_source, TimeSource::Arrival);
            assert!(sample.time.since(line.started).abs() < 60 * SECOND, "{}", sample.time);
        }
        line.until("its state is told", |outcome| told(outcome, HealthState::Good, "answers"));
    }
}

#[test]
fn a_register_map_gives_names_and_near_registers_share_a_read() {
    let Some(python) = python("pymodbus") else { return };
    let units = json!({ "7": [holding(100, "u16", 250.0), holding(104, "f32", 2.5)], "9": [holding(0, "u16", 3.0)] });
    let peer = server(&python, 0, "tcp", &units);
    let dir = tempfile::tempdir().expect("a folder");
    let map = dir.path().join("registers.csv");
    let rows = "name;register;table;type;scale;offset;unit_id\nOil temperature;100;holding;i16;0.1;-5;\n\
                Flow;40105;;f32;;;\nOther unit;0;holding;;;;9\n";
    std::fs::write(&map, rows).expect("a file");
    // Registers 101 to 103 do not exist, so that the shared read is refused and has to be halved.
    let device = ModbusDevice { unit: 7, map: Some(map), ..device(peer.port()) };
    let mut line = Live::start(&reading(device.clone(), &["Flow", "Oil temperature", "Other unit"]));
    line.until("three values", |outcome| (0..3).all(|tag| is(outcome, tag, Quality::Good)));
    assert_eq!(line.latest().iter().map(|sample| sample.value).collect::<Vec<_>>(), [2.5, 20.0, 3.0]);
    assert!(line.outcome.samples.iter().all(|sample| sample.quality == Quality::Good), "halving costs no value");

    let plant = reading(device, &["Flwo"]);
    let options = PipelineOptions { now: Some(line.started), ..PipelineOptions::default() };
    let error = LinePipeline::start(&plant, LineId(0), options, None).err().expect("an error").to_string();
    assert!(error.contains("the register map has no 'Flwo'; did you mean 'Flow'?"), "{error}");
}

#[test]
fn exceptions_and_numbers_that_are_none_are_bad_with_their_reason_and_recover() {
    let Some(python) = python("pymodbus") else { return };
    let units = json!({ "1": [holding(0, "u16", 1.0), holding(1, "f32", 2.0), holding(40, "u16", 3.0)] });
    let mut peer = server(&python, 0, "tcp", &units);
    let addresses = ["holding:0", "holding:1 f32", "holding:40", "holding:500"];
    let mut line = Live::start(&reading(device(peer.port()), &addresses));
    line.until("what is not there is bad, the rest good", |outcome| {
        (0..3).all(|tag| is(outcome, tag, Quality::Good)) && is(outcome, 3, Quality::Bad)
    });
    line.until("it says why", |outcome| {
        told(outcome, HealthState::Failure, "holding 500 of unit 1")
            && told(outcome, HealthState::Failure, "exception 2")
    });
    assert!(last(&line.outcome, 3).is_some_and(|sample| sample.value.is_nan()));

    for (code, said) in [(1, "exception 1"), (4, "it has failed"), (6, "it is busy"), (8, "exception 8")] {
        peer.tell(&json!({ "unit": 1, "table": "holding", "register": 40, "fault": code }));
        line.until(said, |outcome| is(outcome, 2, Quality::Bad) && told(outcome, HealthState::Failure, said));
        assert!(is(&line.outcome, 0, Quality::Good), "its neighbours are as they were");
        peer.tell(&json!({ "unit": 1, "table": "holding", "register": 40, "fault": null }));
        line.until("it is good again", |outcome| is(outcome, 2, Quality::Good));
    }
    let nan = json!({ "table": "holding", "register": 1, "type": "f32", "value": "nan" });
    peer.tell(&json!({ "unit": 1, "set": nan }));
    line.until("NaN is bad", |outcome| {
        is(outcome, 1, Quality::Bad) && told(outcome, HealthState::Failure, "no finite")
    });
    peer.tell(&json!({ "unit": 1, "set": holding(1, "f32", 7.5) }));
    line.until("a number is good", |outcome| last(outcome, 1).is_some_and(|sample| sample.value == 7.5));
}

#[test]
fn a_unit_that_is_silent_does_not_hold_back_its_neighbours() {
    let Some(python) = python("pymodbus") else { return };
    for (fault, said) in [
        (json!("stall"), "unit 2 at 127.0.0.1"),
        (json!(11), "the gateway does not reach unit 2"),
        (json!(10), "the gateway does not reach unit 2"),
    ] {
        let units = json!({
            "1": [holding(0, "u16", 1.0)], "2": [holding(0, "u16", 8.0), holding(5, "u16", 9.0)],
        });
        let mut peer = server(&python, 0, "rtu", &units);
        for register in [0, 5] {
            peer.tell(&json!({ "unit": 2, "table": "holding", "register": register, "fault": fault }));
        }
        let device = ModbusDevice { framing: ModbusFraming::Rtu, block_gap: 0, ..device(peer.port()) };
        let mut line = Live::start(&reading(device, &["holding:0", "holding:0 unit=2", "holding:5 unit=2"]));
        line.until("unit 2 is told", |outcome| told(outcome, HealthState::Failure, said));
        line.until("it is bad as a whole", |outcome| is(outcome, 1, Quality::Bad) && is(outcome, 2, Quality::Bad));
        line.forget();
        peer.tell(&json!({ "unit": 1, "set": holding(0, "u16", 2.0) }));
        line.until("unit 1 goes on", |outcome| {
            outcome.samples.iter().filter(|sample| sample.tag.0 == 0 && sample.value == 2.0).count() >= 20
        });
        let times: Vec<_> = line.outcome.samples.iter().filter(|s| s.tag.0 == 0).map(|s| s.time).collect();
        let longest = times.windows(2).map(|pair| pair[1].since(pair[0])).max().unwrap_or(0);
        assert!(longest < SECOND, "{longest} ns without a value of the unit that answers");
        assert!(line.outcome.samples.iter().all(|sample| sample.tag.0 == 0), "what is bad was said once");
        for register in [0, 5] {
            peer.tell(&json!({ "unit": 2, "table": "holding", "register": register, "fault": null }));
        }
        line.until("unit 2 is back", |outcome| {
            (1..3).all(|tag| is(outcome, tag, Quality::Good)) && told(outcome, HealthState::Good, "answers")
        });
    }
}

#[test]
fn answers_that_are_none_are_bad_and_what_comes_after_them_is_right() {
    let Some(python) = python("pymodbus") else { return };
    let spoils: [(&str, ModbusFraming, &[&str]); 2] = [
        ("tcp", ModbusFraming::Tcp, &["short", "transaction", "garbage"]),
        ("rtu", ModbusFraming::Rtu, &["crc", "garbage"]),
    ];
    for (word, framing, ways) in spoils {
        let units = json!({ "1": [holding(0, "u16", 1.0), holding(1, "u16", 2.0)] });
        let mut peer = server(&python, 0, word, &units);
        let device = ModbusDevice { framing, ..device(peer.port()) };
        let mut line = Live::start(&reading(device, &["holding:0", "holding:1"]));
        for how in ways {
            line.until("good values", |outcome| (0..2).all(|tag| is(outcome, tag, Quality::Good)));
            peer.tell(&json!({ "spoil": how }));
            line.until(how, |outcome| (0..2).all(|tag| is(outcome, tag, Quality::Bad)));
            line.until("it is told", |outcome| told(outcome, HealthState::Failure, "answer"));
            peer.tell(&json!({ "spoil": null }));
        }
        line.until("good values again", |outcome| (0..2).all(|tag| is(outcome, tag, Quality::Good)));
        let good = line.outcome.samples.iter().filter(|sample| sample.quality == Quality::Good);
        assert!(good.into_iter().all(|sample| sample.value == f64::from(sample.tag.0 + 1)), "no value is made up");
    }
}

#[test]
fn an_answer_that_comes_late_is_never_taken_for_another() {
    let Some(python) = python("pymodbus") else { return };
    let units = json!({ "1": [holding(0, "u16", 1.0), holding(50, "u16", 2.0)] });
    for (word, framing) in [("tcp", ModbusFraming::Tcp), ("rtu", ModbusFraming::Rtu)] {
        let mut peer = server(&python, 0, word, &units);
        let device = ModbusDevice { framing, ..device(peer.port()) };
        let mut line = Live::start(&reading(device, &["holding:0", "holding:50"]));
        line.until("good values", |outcome| (0..2).all(|tag| is(outcome, tag, Quality::Good)));
        peer.tell(&json!({ "unit": 1, "table": "holding", "register": 0, "fault": "late" }));
        line.until("it is bad", |outcome| is(outcome, 0, Quality::Bad));
        let good = |outcome: &Outcome| {
            outcome.samples.iter().filter(|sample| sample.tag.0 == 1 && sample.quality == Quality::Good).count()
        };
        let before = good(&line.outcome);
        line.until("the other goes on", |outcome| good(outcome) >= before + 5);
        assert!(is(&line.outcome, 0, Quality::Bad), "{}", line.outcome.reasons());
        peer.tell(&json!({ "unit": 1, "table": "holding", "register": 0, "fault": null }));
        line.until("it is good again", |outcome| is(outcome, 0, Quality::Good));
        let values = line.outcome.samples.iter().filter(|sample| sample.quality == Quality::Good);
        assert!(values.into_iter().all(|sample| sample.value == f64::from(sample.tag.0 + 1)), "each has its own");
    }
}

#[test]
fn a_device_that_goes_away_is_bad_at_once_and_back_within_5_s() {
    let Some(python) = python("pymodbus") else { return };
    let units = json!({ "1": [holding(0, "u16", 1.0), holding(50, "u16", 2.0)] });
    let peer = server(&python, 0, "tcp", &units);
    let port = peer.port();
    let mut line = Live::start(&reading(device(port), &["holding:0", "holding:50"]));
    line.until("good values", |outcome| (0..2).all(|tag| is(outcome, tag, Quality::Good)));
    line.until("its state", |outcome| told(outcome, HealthState::Good, "answers"));
    let cut = Instant::now();
    drop(peer);
    line.until("bad", |outcome| (0..2).all(|tag| is(outcome, tag, Quality::Bad)));
    assert!(cut.elapsed() < Duration::from_secs(1), "{:?}", cut.elapsed());
    line.until("why", |outcome| told(outcome, HealthState::Failure, "127.0.0.1"));
    let ticks = line.outcome.ticks.len();
    line.until("the line goes on meanwhile", |outcome| outcome.ticks.len() >= ticks + 4);
    let tick = line.outcome.ticks.last().expect("a tick");
    assert!(tick.tags.iter().all(|tag| tag.quality == Quality::Bad && tag.value.is_nan()));
    line.forget();
    let back = Instant::now();
    let _peer = server(&python, port, "tcp", &units);
    line.until("good again", |outcome| (0..2).all(|tag| is(outcome, tag, Quality::Good)));
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    line.until("told", |outcome| told(outcome, HealthState::Good, "answers"));
}

#[test]
fn a_line_without_its_device_ticks_and_stops_at_once() {
    // Nobody there; and somebody who takes the connection and never answers.
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a port");
    let deaf_port = deaf.local_addr().expect("an address").port();
    for (port, said) in [(free_port(), "cannot connect"), (deaf_port, "does not answer")] {
        let device = ModbusDevice { timeout_ns: 200 * MILLISECOND, ..device(port) };
        let mut line = Live::start(&reading(device, &["holding:0"]));
        line.until(said, |outcome| told(outcome, HealthState::Failure, said));
        line.until("bad", |outcome| is(outcome, 0, Quality::Bad));
        line.until("ticks", |outcome| outcome.ticks.len() >= 3);
        let took = line.stop();
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    // In the middle of a connection that is not refused either.
    let device = ModbusDevice { host: "192.0.2.1".to_owned(), timeout_ns: 60 * SECOND, ..device(502) };
    let line = Live::start(&reading(device, &["holding:0"]));
    let took = line.stop();
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn what_is_measured_now_is_not_replayed() {
    let plant = reading(device(502), &["holding:0"]);
    let error = LinePipeline::start(&plant, LineId(0), PipelineOptions::default(), None).err();
    assert!(matches!(error, Some(IngestError::OnlyLive { .. })));
}
