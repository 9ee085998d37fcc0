//! What servers have, and drafts from it that deliver.

use std::path::Path;

use serde_json::{Value, json};
use sightglass_ingest::opcuasrc::browse::{Listing, POSITIONS_MAX, Variable, browse};
use sightglass_plant::{DraftTag, OpcUaServer};
use sightglass_protocol::{Quality, time::SECOND};

use crate::{
    opcua,
    peers::{Live, Peer, is, last, python},
};

/// With time to look around on a busy machine.
fn server(port: u16) -> OpcUaServer {
    OpcUaServer { timeout_ns: 5 * SECOND, ..opcua::server(port) }
}

fn start(python: &Path, nodes: &Value) -> Peer {
    Peer::start(python, "opcua_server.py", &[&json!({ "nodes": nodes, "structures": true }).to_string()])
}

fn found<'a>(listing: &'a Listing, path: &str) -> &'a Variable {
    let found = listing.variables.iter().find(|variable| variable.path.join("/") == path);
    found.unwrap_or_else(|| panic!("no {path} in {:#?}", listing.variables))
}

#[test]
fn variables_are_listed_with_what_the_server_says_of_them_and_their_draft_delivers() {
    let Some(python) = python("asyncua") else { return };
    let bad = 0x8003_0000_u32;
    let many: Vec<f64> = (0..POSITIONS_MAX as u32 + 9).map(f64::from).collect();
    let peer = start(
        &python,
        &json!([
            {"name": "Oven.T", "browse": "T", "in": "Oven", "type": "Double", "value": 71.5, "unit": "°C", "range": [0.0, 250.0]},
            {"name": "Press.T", "browse": "T", "in": "Press", "type": "Float", "value": 20.25},
            {"name": "count", "type": "UInt16", "value": 7},
            {"name": "name", "type": "String", "value": "line\n1"},
            {"name": "row", "type": "Int32", "value": [1, 2, 3]},
            {"name": "many", "type": "Double", "value": many},
            {"name": "nan", "type": "Double", "value": "nan"},
            {"name": "broken", "type": "Double", "value": 1.0, "status": bad},
            {"name": "with blank#1", "type": "Double", "value": 1.0},
        ]),
    );
    let mut told = 0;
    let listing = browse(&server(peer.port()), None, |nodes| told = nodes).expect("a listing");
    assert!(told >= 10 && listing.left_out.is_empty(), "{told} {:?}", listing.left_out);
    // The server's own nodes are not the plant's.
    assert!(listing.variables.iter().all(|variable| variable.path[0] != "Server"));

    let oven = found(&listing, "Oven/T");
    assert_eq!((oven.kind.as_str(), oven.value.as_str(), oven.quality), ("Double", "71.5", Quality::Good));
    assert_eq!((oven.unit.as_str(), oven.range), ("°C", Some((0.0, 250.0))));
    assert_eq!(oven.addresses, ["nsu=http://plant/line;s=Oven.T"]);
    let press = found(&listing, "Press/T");
    assert_eq!((press.kind.as_str(), press.unit.as_str(), press.range), ("Float", "", None));
    let name = found(&listing, "name");
    assert_eq!((name.kind.as_str(), name.value.as_str(), name.addresses.len()), ("String", "line 1", 0));
    let row = found(&listing, "row");
    assert_eq!((row.kind.as_str(), row.value.as_str()), ("Int32[3]", "1 2 3"));
    assert_eq!(row.addresses[2], "nsu=http://plant/line;s=row#[2]");
    assert_eq!(found(&listing, "many").addresses.len(), POSITIONS_MAX);
    assert_eq!(found(&listing, "nan").addresses, ["nsu=http://plant/line;s=nan"], "it may be a number tomorrow");
    let broken = found(&listing, "broken");
    assert_eq!((broken.quality, broken.kind.as_str()), (Quality::Bad, "Double"));
    assert_eq!(broken.addresses, ["nsu=http://plant/line;s=broken"], "it may have a value tomorrow");
    assert!(!broken.trouble.is_empty());
    assert!(found(&listing, "with blank#1").addresses.is_empty(), "it cannot be written as an address");
    assert_eq!(found(&listing, "drive").value, "a structure");

    let below = "nsu=http://plant/line;s=Press".parse().expect("a node");
    let press = browse(&server(peer.port()), Some(&below), |_| {}).expect("a listing");
    assert_eq!(press.variables.iter().map(|variable| variable.path.join("/")).collect::<Vec<_>>(), ["T"]);

    let wanted = ["Oven/T", "Press/T", "count", "row"];
    let tags: Vec<DraftTag> = wanted
        .iter()
        .map(|path| found(&listing, path))
        .flat_map(|variable| {
            let of = |address: &String| DraftTag {
                path: variable.path.clone(),
                address: address.clone(),
                unit: variable.unit.clone(),
                range: variable.range,
                note: variable.kind.clone(),
            };
            variable.addresses.iter().map(of).collect::<Vec<_>>()
        })
        .collect();
    let address = server(peer.port()).url;
    let draft = sightglass_plant::draft("press", &[("kind", "opcua"), ("address", &address)], &tags);
    let plant = sightglass_plant::parse(&draft, "draft.toml", Path::new("/")).expect("a good plant");
    assert_eq!(plant.tags[0].name, "Oven.T");
    let mut line = Live::start(&plant);
    line.until("all of them", |outcome| (0..6).all(|tag| is(outcome, tag, Quality::Good)));
    let values: Vec<f64> = (0..6).map(|tag| last(&line.outcome, tag).expect("a sample").value).collect();
    assert_eq!(values, [71.5, 20.25, 7.0, 1.0, 2.0, 3.0]);
}

#[test]
fn a_server_that_is_not_there_or_has_no_such_node_is_told() {
    let free = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("its address").port()
    };
    let problem = browse(&server(free), None, |_| {}).expect_err("nothing listens");
    assert!(problem.contains("cannot connect"), "{problem}");
    let Some(python) = python("asyncua") else { return };
    let peer = start(&python, &json!([]));
    for (below, words) in [("nsu=http://elsewhere;s=x", "no namespace"), ("ns=2;s=absent", "no such node")] {
        let below = below.parse().expect("a node");
        let problem = browse(&server(peer.port()), Some(&below), |_| {}).expect_err("it is not there");
        assert!(problem.contains(words), "{problem}");
    }
}
