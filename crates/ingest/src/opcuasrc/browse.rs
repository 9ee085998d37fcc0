//! What a server has: its variables, found by browsing from a node on (OPC UA part 4, 5.9.2), with their values, units and
//! ranges (part 8, 5.3.2).

use std::{collections::HashSet, fmt, pin::pin};

use futures_util::{Stream, StreamExt};
use opcua::{
    client::{Session, SessionPollResult},
    types::{
        Array, AttributeId, BrowseDescription, BrowseDirection, BrowseResult, BrowseResultMask, DataValue,
        EUInformation, Error, ExpandedNodeId, NodeClass, NodeId, ObjectId, Range, ReadValueId, ReferenceDescription,
        ReferenceTypeId, StatusCode, TimestampsToReturn, Variant,
    },
};
use sightglass_plant::{OpcUaAddress, OpcUaNamespace, OpcUaNode, OpcUaServer, OpcUaType};
use sightglass_protocol::Quality;

use super::{
    connect::{self, told},
    status::{described, quality},
    subscriptions::{all_names, node_id},
    value,
};

/// The most variables that are listed.
pub const VARIABLES_MAX: usize = 20_000;
/// The most nodes that are looked into, so that a server that makes them up as they are asked for comes to an end.
const PLACES_MAX: usize = 100_000;
/// How deep below the start it is looked.
const DEPTH_MAX: usize = 32;
/// Questions of one request, at first. A server that takes fewer is given half as many until it takes them.
const AT_ONCE: usize = 200;
/// References of one answer; a server sends the rest when it is asked to go on.
const REFERENCES_MAX: u32 = 1000;
/// Positions of an array that get an address each.
pub const POSITIONS_MAX: usize = 64;
/// Characters of a value that are shown.
const SHOWN_CHARS_MAX: usize = 40;
/// Bit of `UserAccessLevel`: the user may write the value (part 3, 8.57). This program never does.
const MAY_WRITE: u8 = 0b10;

/// A variable of the server.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// The browse names from the start on.
    pub path: Vec<String>,
    /// The node, with the name of its namespace.
    pub node: OpcUaNode,
    /// What its value is: `Double`, `Float[4]`, `String`.
    pub kind: String,
    /// The value, for people; empty where there is none.
    pub value: String,
    /// How far it can be trusted.
    pub quality: Quality,
    /// Why it is not good; empty where it is.
    pub trouble: String,
    /// The engineering unit; empty where the server does not say.
    pub unit: String,
    /// The range that the server says its values have.
    pub range: Option<(f64, f64)>,
    /// Whether this user might write it, so that it may be a setpoint.
    pub is_writable: bool,
    /// Tags' addresses of the numbers in it; none where it holds none.
    pub addresses: Vec<String>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// The variables, level by level.
    pub variables: Vec<Variable>,
    /// What is missing in the list, and why.
    pub left_out: Vec<String>,
}

/// Lists the variables below `start`, or below Objects without the server's own. `seen` is told how many nodes there are
/// so far. Nothing is written and nothing subscribed to.
///
/// # Errors
/// Why the server does not answer, and what to do.
pub fn browse(server: &OpcUaServer, start: Option<&OpcUaNode>, mut seen: impl FnMut(usize)) -> Result<Listing, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the system gives no network: {error}"))?;
    runtime.block_on(async {
        let (session, events) = connect::open(server).await?;
        let mut events = pin!(events.enter());
        until_connected(&mut events).await?;
        let listing = {
            let mut work = pin!(look_around(&session, start, &mut seen));
            loop {
                tokio::select! {
                    listing = &mut work => break listing,
                    event = events.next() => check(event)?,
                }
            }
        };
        connect::close(&session, &mut events, server).await;
        listing
    })
}

type Event = Option<Result<SessionPollResult, StatusCode>>;

async fn until_connected(
    events: &mut (impl Stream<Item = Result<SessionPollResult, StatusCode>> + Unpin),
) -> Result<(), String> {
    loop {
        let event = events.next().await;
        if matches!(event, Some(Ok(SessionPollResult::Reconnected(_)))) {
            return Ok(());
        }
        check(event)?;
    }
}

/// What ends the session ends the browsing; it is not connected anew.
fn check(event: Event) -> Result<(), String> {
    match event {
        Some(
            Ok(SessionPollResult::ConnectionLost(status) | SessionPollResult::ReconnectFailed(status)) | Err(status),
        ) => Err(described(status)),
        Some(Ok(_)) => Ok(()),
        None => Err("the server has closed the session".to_owned()),
    }
}

/// A variable as it is found.
struct Found {
    path: Vec<String>,
    node: NodeId,
    unit: Option<NodeId>,
    range: Option<NodeId>,
}

/// A node to look into.
struct Place {
    node: NodeId,
    path: Vec<String>,
    /// Its place among the variables, where it is one.
    variable: Option<usize>,
}

async fn look_around(
    session: &Session,
    start: Option<&OpcUaNode>,
    seen: &mut impl FnMut(usize),
) -> Result<Listing, String> {
    let names = all_names(session).await.map_err(|error| told(&error))?;
    let objects = NodeId::from(ObjectId::ObjectsFolder);
    let own = NodeId::from(ObjectId::Server);
    let start = match start {
        None => objects.clone(),
        Some(node) => node_id(node, &names).ok_or_else(|| format!("the server has no namespace of '{node}'"))?,
    };
    let mut listing = Listing::default();
    let mut found: Vec<Found> = Vec::new();
    let mut known = HashSet::from([start.clone()]);
    if start == objects {
        known.insert(own);
    }
    let mut refused = Refusals::default();
    let mut level = vec![Place { node: start.clone(), path: Vec::new(), variable: None }];
    for _depth in 0..DEPTH_MAX {
        if level.is_empty() {
            break;
        }
        let asked: Vec<NodeId> = level.iter().map(|place| place.node.clone()).collect();
        let answers = in_parts(&asked, async |some| references(session, some).await).await;
        let answers = answers.map_err(|error| told(&error))?;
        let mut next = Vec::new();
        for (place, (status, references)) in level.into_iter().zip(answers) {
            if status.is_bad() {
                if place.node == start {
                    return Err(format!("'{start}': {}", described(status)));
                }
                refused.add(status);
                continue;
            }
            for reference in references {
                let Some(node) = here(&reference.node_id) else { continue };
                let name = reference.browse_name.name.as_ref().to_owned();
                if reference.reference_type_id == NodeId::from(ReferenceTypeId::HasProperty) {
                    // What describes a variable is no tag of its own.
                    if let Some(variable) = place.variable {
                        match name.as_str() {
                            "EngineeringUnits" => found[variable].unit = Some(node),
                            "EURange" => found[variable].range = Some(node),
                            _ => {}
                        }
                    }
                    continue;
                }
                if known.len() >= PLACES_MAX || found.len() >= VARIABLES_MAX || !known.insert(node.clone()) {
                    continue;
                }
                let path: Vec<String> = place.path.iter().cloned().chain([name]).collect();
                let variable = (reference.node_class == NodeClass::Variable).then_some(found.len());
                if variable.is_some() {
                    found.push(Found { path: path.clone(), node: node.clone(), unit: None, range: None });
                }
                next.push(Place { node, path, variable });
            }
            seen(known.len());
        }
        level = next;
    }
    if known.len() >= PLACES_MAX || found.len() >= VARIABLES_MAX {
        let most = if found.len() >= VARIABLES_MAX { VARIABLES_MAX } else { PLACES_MAX };
        listing.left_out.push(format!("there are more than {most} nodes; the rest is not listed: start further below"));
    } else if !level.is_empty() {
        listing
            .left_out
            .push(format!("what lies more than {DEPTH_MAX} levels down is not listed; start further below"));
    }
    listing.left_out.extend(refused.told());
    listing.variables = read(session, found, &names).await.map_err(|error| told(&error))?;
    Ok(listing)
}

/// Nodes that do not say what is below them.
#[derive(Default)]
struct Refusals(Vec<(StatusCode, usize)>);

impl Refusals {
    fn add(&mut self, status: StatusCode) {
        match self.0.iter_mut().find(|(known, _)| *known == status) {
            Some((_, times)) => *times += 1,
            None => self.0.push((status, 1)),
        }
    }

    fn told(self) -> impl Iterator<Item = String> {
        let nodes = |times| if times == 1 { "1 node does".to_owned() } else { format!("{times} nodes do") };
        self.0
            .into_iter()
            .map(move |(status, times)| format!("{} not say what is below: {}", nodes(times), described(status)))
    }
}

/// Asks `questions` in parts that the server takes; one answer each.
async fn in_parts<Q, A>(
    questions: &[Q],
    mut ask: impl AsyncFnMut(&[Q]) -> Result<Vec<A>, Error>,
) -> Result<Vec<A>, Error> {
    let mut at_once = AT_ONCE;
    let mut answers = Vec::with_capacity(questions.len());
    while answers.len() < questions.len() {
        let rest = &questions[answers.len()..];
        let some = &rest[..at_once.min(rest.len())];
        let too_many =
            [StatusCode::BadTooManyOperations, StatusCode::BadEncodingLimitsExceeded, StatusCode::BadResponseTooLarge];
        match ask(some).await {
            Err(error) if too_many.contains(&error.status()) && at_once > 1 => at_once /= 2,
            Err(error) => return Err(error),
            Ok(answered) if answered.len() == some.len() => answers.extend(answered),
            Ok(answered) => {
                let words = format!("the server gave {} answers to {} questions", answered.len(), some.len());
                return Err(Error::new(StatusCode::BadUnexpectedError, words));
            }
        }
    }
    Ok(answers)
}

/// What lies one step below each of `nodes`.
async fn references(
    session: &Session,
    nodes: &[NodeId],
) -> Result<Vec<(StatusCode, Vec<ReferenceDescription>)>, Error> {
    let ask: Vec<BrowseDescription> = nodes
        .iter()
        .map(|node| BrowseDescription {
            node_id: node.clone(),
            browse_direction: BrowseDirection::Forward,
            reference_type_id: ReferenceTypeId::HierarchicalReferences.into(),
            include_subtypes: true,
            node_class_mask: NodeClass::Object as u32 | NodeClass::Variable as u32,
            result_mask: BrowseResultMask::All as u32,
        })
        .collect();
    let mut all = Vec::with_capacity(nodes.len());
    for answer in session.browse(&ask, REFERENCES_MAX, None).await? {
        let BrowseResult { status_code, mut continuation_point, references } = answer;
        let mut references = references.unwrap_or_default();
        while !continuation_point.is_null() && references.len() < PLACES_MAX {
            let answers = session.browse_next(false, &[continuation_point]).await?;
            let more = answers.into_iter().next();
            let more = more.ok_or_else(|| Error::new(StatusCode::BadUnexpectedError, "the server does not go on"))?;
            if more.status_code.is_bad() {
                return Err(Error::new(more.status_code, "the server does not go on with what it began to list"));
            }
            continuation_point = more.continuation_point;
            references.extend(more.references.unwrap_or_default());
        }
        if !continuation_point.is_null() {
            session.browse_next(true, &[continuation_point]).await?;
        }
        all.push((status_code, references));
    }
    Ok(all)
}

/// The node, where it is of this server.
fn here(node: &ExpandedNodeId) -> Option<NodeId> {
    (node.server_index == 0 && node.namespace_uri.is_null()).then(|| node.node_id.clone())
}

async fn read(session: &Session, found: Vec<Found>, names: &[String]) -> Result<Vec<Variable>, Error> {
    const ATTRIBUTES: [AttributeId; 4] =
        [AttributeId::Value, AttributeId::UserAccessLevel, AttributeId::DataType, AttributeId::ValueRank];
    let mut ask = Vec::new();
    for variable in &found {
        ask.extend(ATTRIBUTES.map(|attribute| ReadValueId::new(variable.node.clone(), attribute)));
    }
    let properties: Vec<ReadValueId> = found
        .iter()
        .flat_map(|variable| [&variable.unit, &variable.range])
        .flatten()
        .map(|node| ReadValueId::new(node.clone(), AttributeId::Value))
        .collect();
    let read = async |some: &[ReadValueId]| session.read(some, TimestampsToReturn::Neither, 0.0).await;
    let answers = in_parts(&ask, read).await?;
    let mut properties = in_parts(&properties, read).await?.into_iter();
    let mut variables = Vec::with_capacity(found.len());
    for (variable, answers) in found.into_iter().zip(answers.chunks_exact(ATTRIBUTES.len())) {
        let unit = variable.unit.as_ref().and_then(|_| properties.next());
        let range = variable.range.as_ref().and_then(|_| properties.next());
        let node = named(&variable.node, names);
        let DataValue { value, status, .. } = &answers[0];
        let status = status.unwrap_or(StatusCode::Good);
        let value = value.as_ref().unwrap_or(&Variant::Empty);
        let (kind, addresses) = match value {
            Variant::Empty => declared(&node, &answers[2], &answers[3]),
            value => (kind(value), addresses(&node, value)),
        };
        variables.push(Variable {
            addresses,
            path: variable.path,
            node,
            kind,
            value: shown(value),
            quality: quality(status),
            trouble: if status.is_good() { String::new() } else { described(status) },
            unit: unit
                .as_ref()
                .and_then(inner::<EUInformation>)
                .map_or(String::new(), |unit| unit.display_name.text.as_ref().trim().to_owned()),
            range: range.as_ref().and_then(inner::<Range>).map(|range| (range.low, range.high)),
            is_writable: matches!(answers[1].value, Some(Variant::Byte(level)) if level & MAY_WRITE != 0),
        });
    }
    Ok(variables)
}

/// The structure in a property's value.
fn inner<T: Send + Sync + 'static>(answer: &DataValue) -> Option<&T> {
    match &answer.value {
        Some(Variant::ExtensionObject(object)) => object.inner_as::<T>(),
        _ => None,
    }
}

/// The node as a plant file gives it: by its namespace's name, which stays when the server starts anew.
fn named(node: &NodeId, names: &[String]) -> OpcUaNode {
    let namespace = match node.namespace {
        0 => OpcUaNamespace::Index(0),
        index => match names.get(usize::from(index)).filter(|name| !name.is_empty()) {
            Some(name) => OpcUaNamespace::Uri(name.clone()),
            None => OpcUaNamespace::Index(index),
        },
    };
    let text = node.to_string();
    let identifier = match text.split_once(';') {
        Some((before, identifier)) if before.starts_with("ns=") => identifier.to_owned(),
        _ => text,
    };
    OpcUaNode { namespace, identifier }
}

/// Addresses of the numbers in a value, as a plant file gives them; none where what the node is called cannot be written
/// as one.
fn addresses(node: &OpcUaNode, value: &Variant) -> Vec<String> {
    let wished: Vec<String> = match value {
        Variant::Array(array) => {
            let dimensions = dimensions(array);
            let numbers = array.values.iter().take(POSITIONS_MAX).enumerate().filter(|(_, value)| is_number(value));
            numbers.map(|(at, _)| format!("{node}#{}", Position(at, &dimensions))).collect()
        }
        scalar if is_number(scalar) => vec![node.to_string()],
        _ => Vec::new(),
    };
    wished.into_iter().filter(|text| reads_back(node, text)).collect()
}

/// Whether a value is a number, or of a type that is one where it is none at the moment (NaN).
fn is_number(value: &Variant) -> bool {
    value.scalar_type_id().is_some_and(|kind| OpcUaType::named(&format!("{kind:?}")).is_some())
        || value::number(value, &[], None).is_ok()
}

/// How long an array is in each of its dimensions.
fn dimensions(array: &Array) -> Vec<u32> {
    let whole = || vec![u32::try_from(array.values.len()).unwrap_or(u32::MAX)];
    array.dimensions.clone().filter(|dimensions| dimensions.len() > 1).unwrap_or_else(whole)
}

/// Whether a plant file would take `address` for this node.
fn reads_back(node: &OpcUaNode, address: &str) -> bool {
    address.parse::<OpcUaAddress>().is_ok_and(|address| address.node == *node)
}

/// What a variable that has no value now is said to be, by its data type and rank (part 3, 5.6.2), and its address where
/// that is one number.
fn declared(node: &OpcUaNode, data_type: &DataValue, rank: &DataValue) -> (String, Vec<String>) {
    /// The rank of what is no array.
    const SCALAR: i32 = -1;
    let Some(Variant::NodeId(data_type)) = &data_type.value else { return ("empty".to_owned(), Vec::new()) };
    let Ok(known) = data_type.as_data_type_id() else { return (format!("empty, {data_type}"), Vec::new()) };
    if rank.value != Some(Variant::Int32(SCALAR)) {
        return (format!("empty, array of {known:?}"), Vec::new());
    }
    // Enumerations and other types that stand on a number are not told apart here from those that do not.
    let is_number = OpcUaType::named(&format!("{known:?}")).is_some();
    let address = Some(node.to_string()).filter(|address| is_number && reads_back(node, address));
    (format!("{known:?}"), address.into_iter().collect())
}

/// The position of the item `.0` in an array of these dimensions, row by row.
struct Position<'a>(usize, &'a [u32]);

impl fmt::Display for Position<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for depth in 0..self.1.len() {
            let below: usize = self.1[depth + 1..].iter().map(|length| *length as usize).product();
            write!(f, "[{}]", self.0 / below.max(1) % (self.1[depth] as usize).max(1))?;
        }
        Ok(())
    }
}

fn kind(value: &Variant) -> String {
    match value {
        Variant::Array(array) => {
            let lengths: Vec<String> = dimensions(array).iter().map(u32::to_string).collect();
            format!("{:?}[{}]", array.value_type, lengths.join(","))
        }
        scalar => scalar.scalar_type_id().map_or_else(|| "empty".to_owned(), |kind| format!("{kind:?}")),
    }
}

/// A value in a few characters.
fn shown(value: &Variant) -> String {
    let text = match value {
        Variant::Empty => String::new(),
        Variant::Array(array) => {
            let items: Vec<String> = array.values.iter().take(SHOWN_CHARS_MAX).map(shown).collect();
            items.join(" ")
        }
        Variant::LocalizedText(text) => text.text.as_ref().to_owned(),
        Variant::ExtensionObject(_) => "a structure".to_owned(),
        Variant::ByteString(bytes) => format!("{} bytes", bytes.value.as_ref().map_or(0, Vec::len)),
        other => other.to_string(),
    };
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() <= SHOWN_CHARS_MAX {
        return text;
    }
    text.chars().take(SHOWN_CHARS_MAX - 1).chain(['…']).collect()
}
