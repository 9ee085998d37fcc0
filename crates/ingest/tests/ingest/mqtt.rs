//! MQTT: mosquitto as the broker, paho-mqtt and pysparkplug as those who publish.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sightglass_plant::{JsonTime, MqttBroker, MqttPayload, MqttTls, MqttVersion, Plant, SecretRef, SourceKind};
use sightglass_protocol::{HealthState, Quality, TimeSource, UtcNanos, time::SECOND};
use tempfile::TempDir;

use crate::{
    peers::{Live, Peer, Process, is, last, left_out, python, told},
    plants::{Outcome, plant, with_tags},
};

/// A running mosquitto.
struct Broker {
    port: u16,
    folder: TempDir,
    _process: Process,
}

/// How long a broker may take to start.
const STARTS_WITHIN: Duration = Duration::from_secs(20);

fn mosquitto() -> Option<PathBuf> {
    // Debian keeps it where only root's programs are looked for.
    let found = ["mosquitto", "/usr/sbin/mosquitto"]
        .into_iter()
        .find(|program| Command::new(program).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok());
    if found.is_none() {
        left_out("there is no mosquitto");
    }
    found.map(PathBuf::from)
}

impl Broker {
    /// Starts one with these lines of configuration, in which `{folder}` is its folder.
    fn start(program: &Path, folder: TempDir, port: u16, lines: &str) -> Self {
        let lines = lines.replace("{folder}", &folder.path().display().to_string());
        let path = folder.path().join("mosquitto.conf");
        // `user` counts only where root starts it, and lets it read the folder then.
        let text = format!("user root\nlog_type error\nlistener {port} 127.0.0.1\n{lines}\n");
        fs::write(&path, text).expect("a file");
        let mut command = Command::new(program);
        let process = Process::start(command.arg("-c").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()));
        let until = Instant::now() + STARTS_WITHIN;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "the broker does not listen");
            std::thread::yield_now();
        }
        Self { port, folder, _process: process }
    }

    fn open(program: &Path) -> Self {
        Self::start(program, tempfile::tempdir().expect("a folder"), free_port(), "allow_anonymous true")
    }

    /// The same one anew.
    fn stop(self) -> (TempDir, u16) {
        (self.folder, self.port)
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

fn broker(port: u16, version: MqttVersion, payload: MqttPayload) -> MqttBroker {
    MqttBroker {
        host: "127.0.0.1".to_owned(),
        port,
        version,
        tls: None,
        client_id: None,
        user: None,
        password: None,
        keep_alive_ns: 2 * SECOND,
        payload,
    }
}

fn json_payload() -> MqttPayload {
    let path = |text: &str| Some(text.parse().expect("a path"));
    MqttPayload::Json { time: path("t"), time_format: JsonTime::Auto, quality: path("q") }
}

fn reading(broker: MqttBroker, addresses: &[&str]) -> Plant {
    with_tags(plant(), SourceKind::Mqtt(broker), addresses)
}

fn publisher(python: &Path, spec: &Value) -> Peer {
    Peer::start(python, "mqtt_publisher.py", &[&spec.to_string()])
}

fn publish(peer: &mut Peer, topic: &str, payload: &str) {
    peer.tell(&json!({ "publish": topic, "payload": payload }));
}

/// Milliseconds since 1970.
fn millis(time: UtcNanos) -> i64 {
    time.0 / 1_000_000
}

#[test]
fn plain_and_json_messages_of_both_versions_become_values() {
    let (Some(python), Some(program)) = (python("paho.mqtt, pysparkplug"), mosquitto()) else { return };
    for version in [MqttVersion::V3, MqttVersion::V5] {
        let server = Broker::open(&program);
        let mut peer = publisher(&python, &json!({ "port": server.port }));
        peer.tell(&json!({ "publish": "hall/kept", "payload": "7", "retain": true }));
        let addresses = ["hall/level", "hall/kept", "hall/on/off"];
        let plain = with_tags(plant(), SourceKind::Mqtt(broker(server.port, version, MqttPayload::Plain)), &addresses);
        let json_source = SourceKind::Mqtt(broker(server.port, version, json_payload()));
        let both = with_tags(plain, json_source, &["hall/state#a[1].b", "hall/state#x", "hall/kept state#x"]);
        let payload = json!({ "a": [0, { "b": "2.5" }], "x": -3, "t": "2026-01-01T00:00:00Z" });
        peer.tell(&json!({ "publish": "hall/kept state", "payload": payload.to_string(), "retain": true }));
        let mut line = Live::start(&both);
        line.until("both are subscribed to", |outcome| is(outcome, 5, Quality::Good) && last(outcome, 1).is_some());
        assert!(is(&line.outcome, 1, Quality::Uncertain), "nobody knows from when it is");
        let kept = last(&line.outcome, 5).expect("a sample");
        assert_eq!(
            (kept.value, kept.time_source, kept.time.to_string().as_str()),
            (-3.0, TimeSource::Payload, "2026-01-01T00:00:00Z")
        );
        assert!(line.outcome.ticks.iter().all(|tick| tick.time >= line.started), "no tick before the line's own time");

        publish(&mut peer, "hall/level", "1.25");
        publish(&mut peer, "hall/on/off", "ON");
        let time = line.started + SECOND / 2;
        let payload = json!({ "a": [0, { "b": "2.5" }], "x": 4, "t": millis(time), "q": "uncertain" });
        publish(&mut peer, "hall/state", &payload.to_string());
        line.until("values", |outcome| [0, 2, 3, 4].iter().all(|tag| last(outcome, *tag).is_some()));
        let got: Vec<_> =
            line.latest().iter().map(|sample| (sample.value, sample.quality, sample.time_source)).collect();
        let (good, uncertain, arrival) = (Quality::Good, Quality::Uncertain, TimeSource::Arrival);
        let expected = [
            (1.25, good, arrival),
            (7.0, uncertain, arrival),
            (1.0, good, arrival),
            (2.5, uncertain, TimeSource::Payload),
            (4.0, uncertain, TimeSource::Payload),
            (-3.0, good, TimeSource::Payload),
        ];
        assert_eq!(got, expected);
        assert_eq!(last(&line.outcome, 3).map(|sample| millis(sample.time)), Some(millis(time)));
        assert_eq!(line.outcome.samples.len(), 6, "each once");

        for (payload, said) in [
            ("{\"x\": 1", "is not JSON"),
            ("{\"x\": \"open\"}", "'open' is no number"),
            ("{\"x\": 1, \"t\": \"9999-12-31T00:00:00Z\"}", "the arrival counts instead"),
            ("{\"x\": 1, \"t\": -11644473600}", "the arrival counts instead"),
        ] {
            publish(&mut peer, "hall/state", payload);
            line.until(said, |outcome| told(outcome, HealthState::OutOfSpecification, said));
        }
        peer.tell(&json!({ "publish": "hall/level", "hex": "fffe00" }));
        line.until("bytes are bad", |outcome| is(outcome, 0, Quality::Bad));
        publish(&mut peer, "hall/state", &json!({ "a": [0, { "b": 1 }], "x": 1, "t": millis(time) }).to_string());
        publish(&mut peer, "hall/level", "2");
        line.until("all is well again", |outcome| is(outcome, 0, Quality::Good) && is(outcome, 4, Quality::Good));
    }
}

#[test]
fn a_broker_with_tls_certificates_and_passwords_is_read_and_no_error_shows_a_secret() {
    let (Some(python), Some(program)) = (python("paho.mqtt, pysparkplug, cryptography"), mosquitto()) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/certificates.py");
    assert!(Command::new(&python).arg(script).arg(folder.path()).status().expect("Python runs").success());
    let secret = "S3CR3T";
    let passwd = program.with_file_name("mosquitto_passwd");
    let passwd = if passwd.is_file() { passwd } else { PathBuf::from("mosquitto_passwd") };
    let hashed = Command::new(passwd).args(["-b", "-c"]).arg(path("users")).args(["reader", secret]).status();
    assert!(hashed.expect("mosquitto_passwd runs").success());
    fs::write(path("right"), format!("{secret}\n")).expect("a file");
    fs::write(path("wrong"), "S3CR3T-but-wrong").expect("a file");
    let tls = |ca: &str| Some(MqttTls { ca: Some(path(ca)), identity: Some((path("client.pem"), path("client.key"))) });
    let password = |name: &str| Some(SecretRef::File(path(name)));
    let (right, unknown, anonymous) =
        (tls("ca.pem"), tls("other.pem"), Some(MqttTls { ca: Some(path("ca.pem")), identity: None }));
    let spec = |port: u16| {
        json!({
            "port": port, "user": "reader", "password": secret, "ca": path("ca.pem"),
            "certificate": path("client.pem"), "key": path("client.key"),
        })
    };
    let (ways, wrong_ways) = (
        [MqttVersion::V3, MqttVersion::V5],
        [
            (unknown, password("right"), "certificate"),
            (right.clone(), password("wrong"), "check user and password"),
            (right.clone(), password("absent"), "there is no password: cannot read"),
            (
                right.clone(),
                Some(SecretRef::Environment("SIGHTGLASS_NOT_SET".to_owned())),
                "SIGHTGLASS_NOT_SET is not set",
            ),
            (right.clone(), None, "check user and password"),
            (anonymous, password("right"), "no connection to 127.0.0.1"),
            (tls("absent.pem"), password("right"), "absent.pem"),
            (tls("right"), password("right"), "holds no certificate"),
        ],
    );
    let lines = "allow_anonymous false\npassword_file {folder}/users\ncafile {folder}/ca.pem\n\
                 certfile {folder}/server.pem\nkeyfile {folder}/server.key\nrequire_certificate true";
    let lines = lines.replace("{folder}", &folder.path().display().to_string());
    let server = Broker::start(&program, tempfile::tempdir().expect("a folder"), free_port(), &lines);
    for version in ways {
        let user = Some("reader".to_owned());
        let plain = broker(server.port, version, MqttPayload::Plain);
        let good = MqttBroker { user: user.clone(), password: password("right"), tls: right.clone(), ..plain.clone() };
        let mut line = Live::start(&reading(good, &["a"]));
        line.until("it is connected", |outcome| told(outcome, HealthState::Good, "is connected"));
        let mut peer = publisher(&python, &spec(server.port));
        publish(&mut peer, "a", "5");
        line.until("a value", |outcome| last(outcome, 0).is_some_and(|sample| sample.value == 5.0));
        for (tls, password, said) in wrong_ways.clone() {
            let wrong = MqttBroker { user: user.clone(), password, tls, ..plain.clone() };
            let mut line = Live::start(&reading(wrong, &["a"]));
            line.until(said, |outcome| told(outcome, HealthState::Failure, said));
            assert!(is(&line.outcome, 0, Quality::Bad) || last(&line.outcome, 0).is_none());
            assert!(!line.outcome.reasons().contains(secret), "{}", line.outcome.reasons());
        }
    }
}

#[test]
fn a_broker_that_goes_away_makes_its_tags_bad_at_once_and_is_back_within_5_s() {
    let (Some(python), Some(program)) = (python("paho.mqtt, pysparkplug"), mosquitto()) else { return };
    for version in [MqttVersion::V3, MqttVersion::V5] {
        let server = Broker::open(&program);
        let mut line = Live::start(&reading(broker(server.port, version, MqttPayload::Plain), &["a", "b"]));
        line.until("it is connected", |outcome| told(outcome, HealthState::Good, "is connected"));
        let mut peer = publisher(&python, &json!({ "port": server.port }));
        publish(&mut peer, "a", "1");
        line.until("a value", |outcome| is(outcome, 0, Quality::Good));
        drop(peer);
        let cut = Instant::now();
        let (folder, port) = server.stop();
        line.until("bad", |outcome| (0..2).all(|tag| is(outcome, tag, Quality::Bad)));
        assert!(cut.elapsed() < Duration::from_secs(1), "{:?}", cut.elapsed());
        line.until("why", |outcome| told(outcome, HealthState::Failure, "no connection to 127.0.0.1"));
        let ticks = line.outcome.ticks.len();
        line.until("the line goes on", |outcome| outcome.ticks.len() >= ticks + 4);
        let server = Broker::start(&program, folder, port, "allow_anonymous true");
        let back = Instant::now();
        line.until("it is connected again", |outcome| told(outcome, HealthState::Good, "is connected"));
        assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
        let mut peer = publisher(&python, &json!({ "port": server.port }));
        publish(&mut peer, "b", "2");
        line.until("a value", |outcome| is(outcome, 1, Quality::Good));
    }
}

/// Passes bytes on between a client and a server, until it is told to hold them: the connections stay, and say nothing.
struct Relay {
    port: u16,
    is_held: Arc<AtomicBool>,
}

impl Relay {
    fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let is_held = Arc::new(AtomicBool::new(false));
        let held = Arc::clone(&is_held);
        // It ends with the test program; its connections end with theirs.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", to))) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    let held = Arc::clone(&held);
                    std::thread::spawn(move || {
                        let mut bytes = [0; 4096];
                        while let Ok(count @ 1..) = from.read(&mut bytes) {
                            if !held.load(Ordering::Relaxed) && to.write_all(&bytes[..count]).is_err() {
                                break;
                            }
                        }
                    });
                }
            }
        });
        Self { port, is_held }
    }
}

#[test]
fn a_connection_that_is_only_half_there_is_found_out_and_made_anew() {
    let (Some(python), Some(program)) = (python("paho.mqtt, pysparkplug"), mosquitto()) else { return };
    for version in [MqttVersion::V3, MqttVersion::V5] {
        let server = Broker::open(&program);
        let relay = Relay::start(server.port);
        let source = MqttBroker { keep_alive_ns: SECOND, ..broker(relay.port, version, MqttPayload::Plain) };
        let mut line = Live::start(&reading(source, &["a"]));
        line.until("it is connected", |outcome| told(outcome, HealthState::Good, "is connected"));
        let mut peer = publisher(&python, &json!({ "port": server.port }));
        publish(&mut peer, "a", "1");
        line.until("a value", |outcome| is(outcome, 0, Quality::Good));
        let cut = Instant::now();
        relay.is_held.store(true, Ordering::Relaxed);
        line.until("bad", |outcome| is(outcome, 0, Quality::Bad));
        assert!(cut.elapsed() < Duration::from_secs(4), "{:?} with a keep-alive of 1 s", cut.elapsed());
        relay.is_held.store(false, Ordering::Relaxed);
        line.until("it is connected again", |outcome| told(outcome, HealthState::Good, "is connected"));
        publish(&mut peer, "a", "2");
        line.until("a value", |outcome| last(outcome, 0).is_some_and(|sample| sample.value == 2.0));
    }
}

#[test]
fn a_line_without_its_broker_ticks_and_stops_at_once() {
    // Nobody there; somebody who never answers; a place that nothing leads to.
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a port");
    let deaf_port = deaf.local_addr().expect("an address").port();
    for (host, port) in [("127.0.0.1", free_port()), ("127.0.0.1", deaf_port), ("192.0.2.1", 1883)] {
        for version in [MqttVersion::V3, MqttVersion::V5] {
            let broker = MqttBroker { host: host.to_owned(), ..broker(port, version, MqttPayload::Plain) };
            let line = Live::start(&reading(broker, &["a"]));
            let took = line.stop();
            assert!(took < Duration::from_secs(1), "{took:?}");
        }
    }
    let mut line = Live::start(&reading(broker(free_port(), MqttVersion::V3, MqttPayload::Plain), &["a"]));
    line.until("it is told", |outcome| told(outcome, HealthState::Failure, "no connection"));
    line.until("bad, and ticks", |outcome| is(outcome, 0, Quality::Bad) && outcome.ticks.len() >= 3);
}

#[test]
fn a_flood_is_limited_and_counted_and_its_neighbours_go_on() {
    let (Some(python), Some(program)) = (python("paho.mqtt, pysparkplug, pymodbus"), mosquitto()) else { return };
    let server = Broker::start(
        &program,
        tempfile::tempdir().expect("a folder"),
        free_port(),
        "allow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0",
    );
    let units = json!({ "1": [{ "table": "holding", "register": 0, "type": "u16", "value": 5 }] });
    let neighbour = Peer::start(&python, "modbus_server.py", &[&json!({ "units": units }).to_string()]);
    let device = |port: u16| {
        let text = format!(
            "[plant]\nname = \"p\"\n[[line]]\nname = \"l\"\n[[source]]\nname = \"s\"\nkind = \"modbus\"\n\
             address = \"127.0.0.1:{port}\"\n[[tag]]\nname = \"a\"\nrole = \"measurement\"\naddress = \"holding:0\"\n"
        );
        let plant = sightglass_plant::parse(&text, "plant.toml", Path::new("")).expect("a plant");
        plant.sources[0].kind.clone()
    };
    // Beside a device that answers and one that is not there.
    let flooded = reading(broker(server.port, MqttVersion::V3, MqttPayload::Plain), &["flood"]);
    let plant = with_tags(flooded, device(neighbour.port()), &["holding:0"]);
    let mut plant = with_tags(plant, device(free_port()), &["holding:0"]);
    plant.tags.iter_mut().for_each(|tag| tag.period_ns = SECOND / 10);
    let mut line = Live::start(&plant);
    line.until("both are there", |outcome| {
        is(outcome, 1, Quality::Good) && outcome.reasons().contains("is connected") && is(outcome, 2, Quality::Bad)
    });
    line.forget();

    let mut peer = publisher(&python, &json!({ "port": server.port }));
    let count = 20_000;
    peer.begin(&json!({ "flood": "flood", "count": count }));
    let is_in = |value: f64| move |outcome: &Outcome| last(outcome, 0).is_some_and(|sample| sample.value == value);
    let sending = std::thread::spawn(move || {
        peer.answer();
        publish(&mut peer, "flood", "-2");
        peer
    });
    line.until("what comes after the flood", is_in(-2.0));
    let mut peer = sending.join().expect("the publisher goes on");
    let times: Vec<_> = line.outcome.samples.iter().filter(|s| s.tag.0 == 1).map(|s| s.time).collect();
    let longest = times.windows(2).map(|pair| pair[1].since(pair[0])).max().unwrap_or(i64::MAX);
    assert!(longest < SECOND, "{longest} ns without a value of the neighbour");

    // Nobody takes what comes: the queues fill, and what has no room is counted.
    peer.tell(&json!({ "flood": "flood", "count": 2 * count }));
    line.until("what had room", |outcome| outcome.reasons().contains("values were dropped"));
    line.until("the flood is over", |outcome| told(outcome, HealthState::Good, "is connected"));
    let values: Vec<_> = line.outcome.samples.iter().filter(|s| s.tag.0 == 0).map(|s| s.value).collect();
    let floods = values.split(|value| *value == -2.0);
    assert!(floods.into_iter().all(<[f64]>::is_sorted), "what is not dropped comes once, in order");
    // A count rises until its flood is over.
    let counts = line.outcome.health.iter().filter_map(|health| {
        let (before, _) = health.reason.split_once(" values were dropped")?;
        before.rsplit_once(' ')?.1.parse::<usize>().ok()
    });
    let counts: Vec<_> = counts.chain([0]).collect();
    let dropped: usize = counts.windows(2).filter(|pair| pair[1] < pair[0]).map(|pair| pair[0]).sum();
    assert_eq!(values.len() + dropped, 3 * count as usize + 1, "each value is there or counted");
}

/// A node of a Sparkplug group that speaks through a publisher.
struct Node {
    peer: Peer,
    seq: u8,
    /// Milliseconds since 1970 that messages say where nothing else is said.
    stamp: i64,
}

impl Node {
    fn say(&mut self, kind: &str, device: Option<&str>, more: Value) {
        let mut command = json!({
            "sparkplug": kind, "group": "Works", "node": "Cell", "seq": self.seq, "timestamp": self.stamp,
        });
        if let Some(device) = device {
            command["device"] = json!(device);
        }
        if let (Value::Object(command), Value::Object(more)) = (&mut command, more) {
            command.extend(more);
        }
        self.peer.tell(&command);
        self.seq = self.seq.wrapping_add(1);
    }
}

#[test]
fn a_sparkplug_node_is_read_from_birth_to_death() {
    let (Some(python), Some(program)) = (python("paho.mqtt, pysparkplug"), mosquitto()) else { return };
    for version in [MqttVersion::V3, MqttVersion::V5] {
        let server = Broker::open(&program);
        let mut peer = publisher(&python, &json!({ "port": server.port }));
        // An old birth that somebody made the broker keep.
        peer.tell(&json!({
            "sparkplug": "NBIRTH", "group": "Works", "node": "Cell", "seq": 0, "bd_seq": 0, "retain": true, "timestamp": 1,
            "metrics": [{ "name": "Uptime", "type": "int64", "value": 1 }],
        }));
        let addresses = [
            "Works/Cell#Uptime",
            "Works/Cell/Filler#Drive/Speed",
            "Works/Cell/Filler#Level",
            "Works/Cell/Filler#Running",
            "Works/Cell/Filler#Text",
            "Works/Cell/Filler#Gone",
        ];
        let mut line = Live::start(&reading(broker(server.port, version, MqttPayload::Sparkplug), &addresses));
        line.until("the old birth is left out", |outcome| told(outcome, HealthState::CheckFunction, "was asked"));
        line.until("and told", |outcome| outcome.reasons().contains("keeps an old message"));
        assert!(last(&line.outcome, 0).is_none(), "nobody raises the dead");
        peer.tell(&json!({ "asked": 1 }));

        let stamp = millis(line.started);
        let mut node = Node { peer, seq: 0, stamp };
        let will = json!({ "will": 4, "group": "Works", "node": "Cell" });
        node.peer.tell(&will);
        let born = |node: &mut Node| {
            node.seq = 0;
            let up = json!({ "name": "Uptime", "alias": 1, "type": "int64", "value": -5, "timestamp": stamp });
            node.say("NBIRTH", None, json!({ "bd_seq": 4, "metrics": [up] }));
            let metrics = json!([
                { "name": "Drive/Speed", "alias": 2, "type": "int16", "value": -1200 },
                { "name": "Level", "alias": 3, "type": "double", "value": 0.5, "quality": 500 },
                { "name": "Running", "type": "boolean", "value": true },
                { "name": "Text", "type": "string", "value": "open" },
            ]);
            node.say("DBIRTH", Some("Filler"), json!({ "timestamp": stamp, "metrics": metrics }));
        };
        born(&mut node);
        line.until("the device is born", |outcome| last(outcome, 5).is_some());
        let got: Vec<_> = line.latest().iter().map(|sample| (sample.value.to_string(), sample.quality)).collect();
        let value = |text: &str, quality| (text.to_owned(), quality);
        let (good, bad) = (Quality::Good, Quality::Bad);
        let expected = [
            value("-5", good),
            value("-1200", good),
            value("0.5", Quality::Stale),
            value("1", good),
            value("NaN", bad),
            value("NaN", bad),
        ];
        assert_eq!(got, expected);
        let up = last(&line.outcome, 0).expect("a sample");
        assert_eq!((millis(up.time), up.time_source), (stamp, TimeSource::Payload));
        line.until("why", |outcome| told(outcome, HealthState::Failure, "'Works/Cell/Filler' has no metric 'Gone'"));

        // By alias, as data come; without a type, which the birth has said.
        let speed =
            json!([{ "alias": 2, "type": "int16", "value": -1 }, { "alias": 3, "null": true, "type": "double" }]);
        node.say("DDATA", Some("Filler"), json!({ "timestamp": stamp + 1, "metrics": speed }));
        line.until("data", |outcome| last(outcome, 1).is_some_and(|sample| sample.value == -1.0));
        line.until("null is missing", |outcome| is(outcome, 2, Quality::Missing));

        // A message is lost: the rest is used, and the node is asked.
        node.seq += 1;
        let up = json!([{ "alias": 1, "type": "int64", "value": 77 }]);
        node.say("NDATA", None, json!({ "metrics": up }));
        line.until("what came is used", |outcome| last(outcome, 0).is_some_and(|sample| sample.value == 77.0));
        line.until("it is told", |outcome| outcome.reasons().contains("instead of"));
        node.peer.tell(&json!({ "asked": 2 }));
        born(&mut node);
        line.until("it is born anew", |outcome| last(outcome, 0).is_some_and(|sample| sample.value == -5.0));

        // The death of an earlier life means nothing; a device's own death is only its own.
        node.peer.tell(&json!({ "sparkplug": "NDEATH", "group": "Works", "node": "Cell", "bd_seq": 3 }));
        node.say("DDEATH", Some("Filler"), json!({}));
        line.until("the device is dead", |outcome| (1..4).all(|tag| is(outcome, tag, bad)));
        assert!(is(&line.outcome, 0, good), "its node lives");
        line.until("told", |outcome| outcome.reasons().contains("device 'Works/Cell/Filler' has died"));
        born(&mut node);
        line.until("it is back", |outcome| is(outcome, 1, good) && is(outcome, 0, good));

        let died = Instant::now();
        node.peer.tell(&json!({ "die": true }));
        line.until("all is bad", |outcome| (0..4).all(|tag| is(outcome, tag, bad)));
        assert!(died.elapsed() < Duration::from_secs(2), "{:?}", died.elapsed());
        line.until("told", |outcome| told(outcome, HealthState::Failure, "node 'Works/Cell' has died"));

        // Data of the dead, and bytes that are none.
        node.say("NDATA", None, json!({ "metrics": [{ "name": "Uptime", "type": "int64", "value": 3 }] }));
        line.until("it is told", |outcome| outcome.reasons().contains("speaks before it has told"));
        assert!(is(&line.outcome, 0, bad));
        node.peer.tell(&json!({ "publish": "spBv1.0/Works/NDATA/Cell", "hex": "ff00ff00" }));
        line.until("it is told", |outcome| outcome.reasons().contains("is no Sparkplug payload"));
        born(&mut node);
        line.until("it lives again", |outcome| is(outcome, 0, good) && is(outcome, 1, good));
    }
}
