//! OPC UA servers, played by asyncua.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sightglass_ingest::opcuasrc::certificates;
use sightglass_plant::{OpcUaPolicy, OpcUaSecurity, OpcUaServer, OpcUaUser, Plant, SecretRef, SourceKind};
use sightglass_protocol::{
    HealthState, Quality, Sample, TimeSource, UtcNanos,
    time::{MILLISECOND, SECOND},
};

use crate::{
    peers::{Live, Peer, is, last, python, told},
    plants::{Outcome, plant, with_tags},
};

const SCRIPT: &str = "opcua_server.py";

pub(crate) fn server(port: u16) -> OpcUaServer {
    OpcUaServer {
        url: format!("opc.tcp://127.0.0.1:{port}"),
        publishing_ns: 50 * MILLISECOND,
        sampling_ns: None,
        queue: 1000,
        timeout_ns: SECOND,
        security: None,
        user: OpcUaUser::Anonymous,
        pki: PathBuf::new(),
    }
}

/// A plant that reads these nodes, whose values are due every two seconds.
fn reading(server: OpcUaServer, nodes: &[&str]) -> Plant {
    let mut plant = with_tags(plant(), SourceKind::OpcUa(server), nodes);
    plant.tags.iter_mut().for_each(|tag| tag.period_ns = 2 * SECOND);
    plant
}

fn start(python: &Path, port: u16, nodes: &Value) -> Peer {
    Peer::start(python, SCRIPT, &[&json!({ "port": port, "nodes": nodes }).to_string()])
}

fn node(name: &str, kind: &str, value: impl Into<Value>) -> Value {
    json!({ "name": name, "type": kind, "value": value.into() })
}

/// Whether a tag's last sample is good and has this value.
fn reads(outcome: &Outcome, tag: u32, value: f64) -> bool {
    last(outcome, tag).is_some_and(|sample| sample.quality == Quality::Good && sample.value == value)
}

/// What a tag said with the times of the server's own clock, each value once.
fn told_values(outcome: &Outcome, tag: u32) -> Vec<f64> {
    let mut values: Vec<f64> = of(outcome, tag).filter(|s| s.quality == Quality::Good).map(|s| s.value).collect();
    values.dedup();
    values
}

fn of(outcome: &Outcome, tag: u32) -> impl Iterator<Item = &Sample> {
    outcome.samples.iter().filter(move |sample| sample.tag.0 == tag)
}

#[test]
fn every_type_is_read_value_by_value_with_the_time_of_its_source() {
    let Some(python) = python("asyncua") else { return };
    let cases: [(&str, Value, f64); 12] = [
        ("Boolean", json!(true), 1.0),
        ("SByte", json!(-3), -3.0),
        ("Byte", json!(250), 250.0),
        ("Int16", json!(-30_000), -30_000.0),
        ("UInt16", json!(60_000), 60_000.0),
        ("Int32", json!(i32::MIN), f64::from(i32::MIN)),
        ("UInt32", json!(u32::MAX), f64::from(u32::MAX)),
        ("Int64", json!(-9_007_199_254_740_991_i64), -9_007_199_254_740_991.0),
        ("UInt64", json!(u64::MAX), u64::MAX as f64),
        ("Float", json!(0.25), 0.25),
        ("Double", json!(-1e300), -1e300),
        ("DateTime", json!("2026-11-24T08:15:00.500000"), 1_795_508_100_500.0),
    ];
    let time: UtcNanos = "2026-01-02T03:04:05.678901Z".parse().expect("a time");
    let mut nodes: Vec<Value> = cases.iter().map(|(kind, value, _)| node(kind, kind, value.clone())).collect();
    nodes.push(node("row", "Double", json!([1.5, 2.5, 3.5])));
    nodes.iter_mut().for_each(|node| node["time"] = json!("2026-01-02T03:04:05.678901"));
    let peer = start(&python, 0, &json!(nodes));
    let mut addresses: Vec<String> = cases.iter().map(|(kind, ..)| format!("ns=2;s={kind} type={kind}")).collect();
    addresses.extend(["nsu=http://plant/line;s=row#[0]".to_owned(), "ns=2;s=row#[2]".to_owned()]);
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut line = Live::start(&reading(server(peer.port()), &addresses));
    line.until("all values", |outcome| (0..14).all(|tag| is(outcome, tag, Quality::Good)));
    for (tag, expected) in cases.iter().map(|(_, _, value)| *value).chain([1.5, 3.5]).enumerate() {
        let first = of(&line.outcome, tag as u32).next().expect("a sample");
        assert_eq!((first.value, first.time, first.time_source), (expected, time, TimeSource::Device), "{tag}");
    }
    line.until("its state", |outcome| told(outcome, HealthState::Good, "is subscribed to"));
    // What does not change is said to be still so, since the subscription lives.
    line.until("it is confirmed", |outcome| {
        last(outcome, 0).is_some_and(|sample| sample.time > line_start(outcome) && sample.value == 1.0)
    });
}

/// A moment after all that was set before the line began.
fn line_start(outcome: &Outcome) -> UtcNanos {
    outcome.ticks.first().map_or(UtcNanos::MAX, |tick| tick.time)
}

#[test]
fn each_status_code_has_its_quality_and_is_told() {
    let Some(python) = python("asyncua") else { return };
    let mut peer = start(&python, 0, &json!([node("a", "Double", 1.0), node("b", "Double", 2.0)]));
    let mut line = Live::start(&reading(server(peer.port()), &["ns=2;s=a", "ns=2;s=b"]));
    line.until("good values", |outcome| reads(outcome, 0, 1.0) && reads(outcome, 1, 2.0));
    for (status, quality, said) in [
        (0x0030_0000_u32, Quality::Good, ""), // GoodClamped
        (0x4000_0000, Quality::Uncertain, "Uncertain"),
        (0x4093_0000, Quality::Uncertain, "UncertainSensorNotAccurate"),
        (0x4094_0000, Quality::Uncertain, "UncertainEngineeringUnitsExceeded"),
        (0x4095_0000, Quality::Uncertain, "UncertainSubNormal"),
        (0x4090_0000, Quality::Stale, "UncertainLastUsableValue"),
        (0x8000_0000, Quality::Bad, "Bad"),
        (0x8031_0000, Quality::Bad, "BadNoCommunication"),
        (0x808A_0000, Quality::Bad, "BadNotConnected"),
        (0x808B_0000, Quality::Bad, "BadDeviceFailure"),
        (0x808C_0000, Quality::Bad, "BadSensorFailure"),
        (0x808D_0000, Quality::Bad, "BadOutOfService"),
        (0x8089_0000, Quality::Bad, "BadConfigurationError"),
        (0x8032_0000, Quality::Missing, "BadWaitingForInitialData"),
    ] {
        peer.tell(&json!({ "set": { "name": "a", "value": 7.0, "status": status } }));
        let has_value = quality != Quality::Bad && quality != Quality::Missing;
        line.until(said, |outcome| {
            last(outcome, 0).is_some_and(|sample| {
                sample.quality == quality && if has_value { sample.value == 7.0 } else { sample.value.is_nan() }
            })
        });
        if !said.is_empty() {
            line.until(said, |outcome| outcome.health.last().is_some_and(|health| health.reason.contains(said)));
        }
        assert!(is(&line.outcome, 1, Quality::Good), "its neighbour is as it was");
        peer.tell(&json!({ "set": { "name": "a", "value": 1.0 } }));
        line.until("good again", |outcome| reads(outcome, 0, 1.0));
    }
    line.until("all is well", |outcome| told(outcome, HealthState::Good, "is subscribed to"));
}

#[test]
fn what_is_no_number_or_has_an_impossible_time_is_told_and_nothing_else_suffers() {
    let Some(python) = python("asyncua") else { return };
    let nodes = json!([node("a", "Double", 1.0), node("b", "Double", 2.0), node("row", "Int32", json!([1, 2]))]);
    let mut peer = start(&python, 0, &nodes);
    let nodes = ["ns=2;s=a type=Double", "ns=2;s=b", "ns=2;s=row#[1]"];
    let mut line = Live::start(&reading(server(peer.port()), &nodes));
    line.until("good values", |outcome| (0..3).all(|tag| is(outcome, tag, Quality::Good)));
    for (name, tag, kind, value, said) in [
        ("a", 0, "String", json!("7"), "a String, which is no number"),
        ("a", 0, "Int32", json!(7), "it is Int32, and the plant file says type=Double"),
        ("a", 0, "Double", json!("nan"), "no finite number"),
        ("a", 0, "Double", json!("inf"), "no finite number"),
        ("a", 0, "Double", json!(null), "is empty"),
        ("row", 2, "Int32", json!([1]), "there is no position 1 in its 1 items"),
        ("row", 2, "Int32", json!(4), "has no position 1"),
    ] {
        peer.tell(&json!({ "set": { "name": name, "type": kind, "value": value } }));
        line.until(said, |outcome| {
            is(outcome, tag, Quality::Bad) && told(outcome, HealthState::OutOfSpecification, said)
        });
        assert!(is(&line.outcome, 1, Quality::Good), "its neighbour is as it was");
        let (kind, value) = if name == "row" { ("Int32", json!([1, 2])) } else { ("Double", json!(1.0)) };
        peer.tell(&json!({ "set": { "name": name, "type": kind, "value": value } }));
        line.until("good again", |outcome| is(outcome, tag, Quality::Good));
    }
    for (at, time) in ["1601-01-01T00:00:01", "1970-01-01T00:00:00", "9999-12-31T23:59:58"].iter().enumerate() {
        let value = 10.0 + at as f64;
        peer.tell(&json!({ "set": { "name": "a", "value": value, "time": time } }));
        line.until("the arrival counts", |outcome| {
            last(outcome, 0).is_some_and(|s| s.value == value && s.time_source == TimeSource::Arrival)
        });
        line.until("it is told", |outcome| {
            told(outcome, HealthState::OutOfSpecification, "the arrival counts instead")
        });
        let sample = *last(&line.outcome, 0).expect("a sample");
        assert!(sample.quality == Quality::Good && sample.time > line.started, "{sample:?}");
    }
    peer.tell(&json!({ "set": { "name": "a", "value": 1.0 } }));
    line.until("all is well", |outcome| told(outcome, HealthState::Good, "is subscribed to"));
}

#[test]
fn a_node_that_is_not_there_is_bad_until_it_is() {
    let Some(python) = python("asyncua") else { return };
    let mut peer = start(&python, 0, &json!([node("a", "Double", 1.0)]));
    let nodes = ["ns=2;s=a", "ns=2;s=later", "nsu=urn:nobody;i=5"];
    let mut line = Live::start(&reading(server(peer.port()), &nodes));
    line.until("it is told", |outcome| {
        reads(outcome, 0, 1.0)
            && (1..3).all(|tag| is(outcome, tag, Quality::Bad))
            && told(outcome, HealthState::Failure, "'ns=2;s=later': BadNodeIdUnknown: the server has no such node")
    });
    peer.tell(&json!({ "add": node("later", "Double", 5.0) }));
    line.until("it is read", |outcome| reads(outcome, 1, 5.0));
    assert!(is(&line.outcome, 0, Quality::Good) && is(&line.outcome, 2, Quality::Bad));
}

#[test]
fn a_server_that_goes_away_is_bad_at_once_and_back_within_5_s() {
    let Some(python) = python("asyncua") else { return };
    let nodes = json!([node("a", "Double", 1.0), node("b", "Double", 2.0)]);
    let peer = start(&python, 0, &nodes);
    let port = peer.port();
    let mut line = Live::start(&reading(server(port), &["ns=2;s=a", "ns=2;s=b"]));
    line.until("good values", |outcome| reads(outcome, 0, 1.0) && reads(outcome, 1, 2.0));
    let cut = Instant::now();
    drop(peer);
    line.until("bad", |outcome| (0..2).all(|tag| is(outcome, tag, Quality::Bad)));
    assert!(cut.elapsed() < Duration::from_secs(1), "{:?}", cut.elapsed());
    line.until("why", |outcome| told(outcome, HealthState::Failure, "no connection to opc.tcp://127.0.0.1"));
    let ticks = line.outcome.ticks.len();
    line.until("the line goes on meanwhile", |outcome| outcome.ticks.len() >= ticks + 4);
    line.forget();
    // It knows nothing of the session before.
    let _peer = start(&python, port, &json!([node("a", "Double", 3.0), node("b", "Double", 4.0)]));
    let back = Instant::now();
    line.until("good again", |outcome| reads(outcome, 0, 3.0) && reads(outcome, 1, 4.0));
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    line.until("told", |outcome| told(outcome, HealthState::Good, "is subscribed to"));
}

#[test]
fn a_line_without_its_server_ticks_and_stops_at_once() {
    // Nobody there; and somebody who takes the connection and never answers.
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a port");
    let deaf_port = deaf.local_addr().expect("an address").port();
    for (port, said) in [(free, "cannot connect"), (deaf_port, "no connection to")] {
        let mut line = Live::start(&reading(server(port), &["ns=2;s=a"]));
        line.until(said, |outcome| told(outcome, HealthState::Failure, said));
        line.until("bad", |outcome| is(outcome, 0, Quality::Bad));
        line.until("ticks", |outcome| outcome.ticks.len() >= 3);
        let took = line.stop();
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}

/// Numbers counted up over cuts of the connection, and what came of them.
fn counted_over_cuts(python: &Path, cuts: &[u64]) {
    let mut peer = start(python, 0, &json!([node("a", "Double", 0.0), node("still", "Double", 8.0)]));
    let mut line = Live::start(&reading(server(peer.port()), &["ns=2;s=a", "ns=2;s=still"]));
    line.until("values", |outcome| reads(outcome, 0, 0.0) && reads(outcome, 1, 8.0));
    for refuse_ms in cuts {
        let times = 100 + refuse_ms / 10;
        line.forget();
        peer.begin(&json!({
            "count": { "names": ["a"], "times": times, "every_ms": 10 },
            "cut": { "after_ms": 300, "refuse_ms": refuse_ms },
        }));
        line.until("it is cut", |outcome| told(outcome, HealthState::Failure, "no connection"));
        line.until("both are bad", |outcome| (0..2).all(|tag| of(outcome, tag).any(|s| s.quality == Quality::Bad)));
        assert_eq!(peer.answer(), "done");
        line.until("all has come", |outcome| of(outcome, 0).any(|sample| sample.value == times as f64));
        line.until("what has not changed is good again", |outcome| reads(outcome, 1, 8.0));
        line.until("it is told", |outcome| told(outcome, HealthState::Good, "is subscribed to"));
        let expected: Vec<f64> = (1..=times).map(|number| number as f64).collect();
        let values = told_values(&line.outcome, 0);
        let values: Vec<f64> = values.into_iter().filter(|value| *value != 0.0).collect();
        assert_eq!(values, expected, "each value once, in order");
    }
    let sessions = peer.tell(&json!("sessions"));
    assert_eq!(sessions, r#"{"sessions": 1, "subscriptions": 1}"#);
}

#[test]
fn nothing_is_lost_over_a_short_cut() {
    let Some(python) = python("asyncua") else { return };
    counted_over_cuts(&python, &[0, 500, 2000]);
}

#[test]
fn a_server_that_falls_silent_is_bad_and_its_session_goes_on_afterwards() {
    let Some(python) = python("asyncua") else { return };
    let mut peer = start(&python, 0, &json!([node("a", "Double", 1.0)]));
    let mut line = Live::start(&reading(server(peer.port()), &["ns=2;s=a"]));
    line.until("a value", |outcome| reads(outcome, 0, 1.0));
    line.until("its state", |outcome| told(outcome, HealthState::Good, "is subscribed to"));
    let silent = Instant::now();
    peer.begin(&json!({ "freeze_ms": 6000 }));
    line.until("it is told", |outcome| told(outcome, HealthState::Failure, "no connection"));
    assert!(silent.elapsed() < Duration::from_secs(5), "{:?}", silent.elapsed());
    line.until("bad", |outcome| is(outcome, 0, Quality::Bad));
    assert_eq!(peer.answer(), "done");
    let back = Instant::now();
    line.until("a value again", |outcome| reads(outcome, 0, 1.0));
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    assert_eq!(peer.tell(&json!("sessions")), r#"{"sessions": 1, "subscriptions": 1}"#);
}

#[test]
fn a_node_that_is_taken_away_is_bad_and_its_neighbour_goes_on() {
    let Some(python) = python("asyncua") else { return };
    let mut peer = start(&python, 0, &json!([node("a", "Double", 1.0), node("b", "Double", 2.0)]));
    let mut line = Live::start(&reading(server(peer.port()), &["ns=2;s=a", "ns=2;s=b"]));
    line.until("values", |outcome| reads(outcome, 0, 1.0) && reads(outcome, 1, 2.0));
    peer.tell(&json!({ "remove": "a" }));
    line.until("it is bad", |outcome| {
        is(outcome, 0, Quality::Bad) && told(outcome, HealthState::Failure, "BadNodeIdUnknown")
    });
    peer.tell(&json!({ "set": { "name": "b", "value": 3.0 } }));
    line.until("its neighbour", |outcome| reads(outcome, 1, 3.0));
    peer.tell(&json!({ "add": node("a", "Double", 4.0) }));
    line.until("it is back", |outcome| reads(outcome, 0, 4.0) && told(outcome, HealthState::Good, "is subscribed to"));
}

#[test]
fn small_changes_within_the_deadband_are_left_out() {
    let Some(python) = python("asyncua") else { return };
    let mut peer = start(&python, 0, &json!([node("a", "Double", 10.0)]));
    let mut line = Live::start(&reading(server(peer.port()), &["ns=2;s=a deadband=1", "ns=2;s=a"]));
    line.until("values", |outcome| (0..2).all(|tag| reads(outcome, tag, 10.0)));
    for value in [10.5, 11.0, 13.0, 13.5, 20.0] {
        peer.tell(&json!({ "set": { "name": "a", "value": value } }));
    }
    line.until("the last", |outcome| (0..2).all(|tag| reads(outcome, tag, 20.0)));
    assert_eq!(told_values(&line.outcome, 1), [10.0, 10.5, 11.0, 13.0, 13.5, 20.0]);
    assert_eq!(told_values(&line.outcome, 0), [10.0, 13.0, 20.0]);
}

#[test]
fn two_thousand_tags_are_one_subscription() {
    let Some(python) = python("asyncua") else { return };
    let names: Vec<String> = (0..2000).map(|at| format!("n{at}")).collect();
    let nodes: Vec<Value> = names.iter().map(|name| node(name, "Double", 0.0)).collect();
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("nodes.json");
    std::fs::write(&path, json!(nodes).to_string()).expect("a file");
    let mut peer = start(&python, 0, &json!(path));
    let addresses: Vec<String> = names.iter().map(|name| format!("ns=2;s={name}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut line = Live::start(&reading(server(peer.port()), &addresses));
    let all_read = |value: f64| {
        move |outcome: &Outcome| {
            let mut latest = vec![f64::NAN; 2000];
            outcome.samples.iter().for_each(|sample| latest[sample.tag.0 as usize] = sample.value);
            latest.iter().all(|latest| *latest == value)
        }
    };
    line.until("all", all_read(0.0));
    assert_eq!(peer.tell(&json!("sessions")), r#"{"sessions": 1, "subscriptions": 1}"#);
    peer.begin(&json!({ "count": { "names": names, "times": 5, "every_ms": 100 } }));
    line.until("all five", all_read(5.0));
    assert_eq!(peer.answer(), "done");
    for tag in 0..2000 {
        assert_eq!(told_values(&line.outcome, tag), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "{tag}");
    }
}

#[test]
fn values_that_the_servers_queue_had_no_room_for_are_told() {
    let Some(python) = python("asyncua") else { return };
    let mut peer = start(&python, 0, &json!([node("a", "Double", 0.0)]));
    let mut line = Live::start(&reading(server(peer.port()), &["ns=2;s=a"]));
    line.until("values", |outcome| reads(outcome, 0, 0.0));
    // GoodOverflow: the information type of a value, and the overflow bit (OPC UA part 4, 7.39.1).
    peer.tell(&json!({ "set": { "name": "a", "value": 1.0, "status": 0x0480 } }));
    line.until("it is told", |outcome| {
        reads(outcome, 0, 1.0) && told(outcome, HealthState::MaintenanceRequired, "queue of 'ns=2;s=a' was too short")
    });
}

fn start_secure(python: &Path, folder: &Path, days: i64) -> Peer {
    let spec = json!({ "nodes": [node("a", "Double", 1.0)], "folder": folder, "days": days });
    Peer::start(python, SCRIPT, &[&spec.to_string()])
}

fn secured(port: u16, folder: &Path, policy: OpcUaPolicy, is_encrypted: bool) -> OpcUaServer {
    let security = Some(OpcUaSecurity { policy, is_encrypted });
    OpcUaServer { security, pki: folder.join("pki"), ..server(port) }
}

/// Trusts what was shown last.
fn trust(folder: &Path) {
    let shown = certificates::untrusted(&folder.join("pki")).expect("a folder");
    assert_eq!(shown.len(), 1);
    certificates::trust(&folder.join("pki"), &shown[0].thumbprint).expect("it was shown");
}

#[test]
fn every_security_policy_signs_and_encrypts_after_an_explicit_word_of_trust() {
    let Some(python) = python("asyncua") else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let peer = start_secure(&python, dir.path(), 30);
    let port = peer.port();
    let all = OpcUaPolicy::ALL.iter().flat_map(|(_, policy)| [(*policy, false), (*policy, true)]);
    for (at, (policy, is_encrypted)) in all.enumerate() {
        let mut line = Live::start(&reading(secured(port, dir.path(), policy, is_encrypted), &["ns=2;s=a"]));
        if at == 0 {
            line.until("it is not trusted", |outcome| {
                told(outcome, HealthState::Failure, "the server's certificate 'server' with the thumbprint ")
                    && told(outcome, HealthState::Failure, "is not trusted")
                    && told(outcome, HealthState::Failure, "sightglass trust")
            });
            line.until("no value", |outcome| is(outcome, 0, Quality::Bad));
            trust(dir.path());
        }
        line.until(&format!("a value by {policy} {is_encrypted}"), |outcome| reads(outcome, 0, 1.0));
        line.until("it is told", |outcome| told(outcome, HealthState::Good, "is subscribed to"));
    }
    assert!(dir.path().join("pki/own/cert.der").exists() && dir.path().join("pki/private/private.pem").exists());
}

#[test]
fn users_come_in_by_name_or_certificate_and_wrong_ones_are_told() {
    let Some(python) = python("asyncua") else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let peer = start_secure(&python, dir.path(), 30);
    let password = dir.path().join("password");
    std::fs::write(&password, "falsch\n").expect("a file");
    let named = |user: &str| OpcUaUser::Name { user: user.to_owned(), password: SecretRef::File(password.clone()) };
    let with = |security: Option<OpcUaSecurity>, user: OpcUaUser| {
        let policy = OpcUaPolicy::Aes256Sha256RsaPss;
        let server = secured(peer.port(), dir.path(), policy, true);
        reading(OpcUaServer { security: security.and(server.security), user, ..server }, &["ns=2;s=a"])
    };
    let some = Some(OpcUaSecurity { policy: OpcUaPolicy::Aes256Sha256RsaPss, is_encrypted: true });
    let mut line = Live::start(&with(some, named("reader")));
    line.until("it is not trusted", |outcome| told(outcome, HealthState::Failure, "is not trusted"));
    trust(dir.path());
    line.until("a wrong password", |outcome| {
        told(outcome, HealthState::Failure, "the server does not let this user in")
    });
    assert!(!line.outcome.reasons().contains("falsch"));
    std::fs::write(&password, "geheim\n").expect("a file");
    line.until("a right one", |outcome| reads(outcome, 0, 1.0));
    drop(line);
    let certificate = dir.path().join("user.der");
    let user = OpcUaUser::Certificate { certificate: certificate.clone(), key: dir.path().join("user.pem") };
    let mut line = Live::start(&with(some, user));
    line.until("by certificate", |outcome| reads(outcome, 0, 1.0));
    drop(line);
    let user = OpcUaUser::Certificate { certificate, key: dir.path().join("absent.pem") };
    let mut line = Live::start(&with(some, user));
    line.until("no key", |outcome| told(outcome, HealthState::Failure, "the user's certificate cannot be used"));
}

#[test]
fn a_certificate_that_is_out_of_date_or_another_one_is_told() {
    let Some(python) = python("asyncua") else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let peer = start_secure(&python, dir.path(), -1);
    let policy = OpcUaPolicy::Basic256Sha256;
    let mut line = Live::start(&reading(secured(peer.port(), dir.path(), policy, true), &["ns=2;s=a"]));
    line.until("it is not trusted", |outcome| told(outcome, HealthState::Failure, "is not trusted"));
    trust(dir.path());
    line.until("it is out of date", |outcome| told(outcome, HealthState::Failure, "is out of date"));
    drop((line, peer));
    // Another one, of the same name.
    let peer = start_secure(&python, dir.path(), 30);
    let mut line = Live::start(&reading(secured(peer.port(), dir.path(), policy, true), &["ns=2;s=a"]));
    line.until("it is not trusted", |outcome| told(outcome, HealthState::Failure, "is not trusted"));
    drop((line, peer));
    // A policy that a server does not offer.
    let peer = start(&python, 0, &json!([node("a", "Double", 1.0)]));
    let mut line = Live::start(&reading(secured(peer.port(), dir.path(), policy, true), &["ns=2;s=a"]));
    line.until("it is told", |outcome| {
        told(outcome, HealthState::Failure, "does not offer Basic256Sha256 SignAndEncrypt")
    });
}

#[test]
fn fields_of_structures_are_read_by_name() {
    let Some(python) = python("asyncua") else { return };
    let spec = json!({ "nodes": [node("a", "Double", 1.0)], "structures": true });
    let peer = Peer::start(&python, SCRIPT, &[&spec.to_string()]);
    let nodes = [
        "ns=2;s=drive#count type=UInt16",
        "ns=2;s=drive#row[1]",
        "ns=2;s=drive#axes[1].speed",
        "ns=2;s=drive#axes[0].on",
        "ns=2;s=drives#[1].axes[0].speed",
        "ns=2;s=drive#name",
        "ns=2;s=drive#absent",
        "ns=2;s=drive",
        // A structure of the standard itself.
        "i=2256#state",
    ];
    let mut line = Live::start(&reading(server(peer.port()), &nodes));
    line.until("the numbers", |outcome| {
        [7.0, 0.5, 2.5, 1.0, 1.5].iter().enumerate().all(|(tag, value)| reads(outcome, tag as u32, *value))
    });
    line.until("what is none", |outcome| (5..9).all(|tag| is(outcome, tag, Quality::Bad)));
    line.until("it is told", |outcome| {
        told(outcome, HealthState::OutOfSpecification, "'ns=2;s=drive': it is a String, which is no number")
            && told(outcome, HealthState::OutOfSpecification, "its structure has no field 'absent'")
    });
}
