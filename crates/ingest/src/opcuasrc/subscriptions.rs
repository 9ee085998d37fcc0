//! Subscriptions and what they look at.

use std::{sync::Arc, time::Duration};

use opcua::{
    client::{MonitoredItemMap, OnSubscriptionNotificationCore, Session, custom_types::DataTypeTreeBuilder},
    types::{
        AttributeId, DataChangeFilter, DataChangeTrigger, DeadbandType, Error, ExtensionObject,
        MonitoredItemCreateRequest, MonitoringMode, MonitoringParameters, NamespaceMap, NodeId, NotificationMessage,
        NumericRange, QualifiedName, ReadValueId, StatusCode, TimestampsToReturn, VariableId, Variant,
        custom::DynamicTypeLoader,
    },
};
use sightglass_plant::{OpcUaDeadband, OpcUaNamespace, OpcUaNode, OpcUaServer};
use tokio::sync::mpsc;

use super::{connect::KEPT, feed::Item};

/// Items of one subscription.
const ITEMS_PER_SUBSCRIPTION: usize = 2500;
/// Items of one request, at first. A server that takes fewer is given half as many until it takes them.
const ITEMS_PER_REQUEST: usize = 500;
/// How often a subscription without news says that it lives.
pub(super) const ALIVE_EVERY: Duration = Duration::from_secs(1);
const NS_PER_MS: f64 = 1e6;

/// A message of one subscription.
pub(super) type Notified = (u32, NotificationMessage);

/// Hands messages over as they are, with their numbers.
struct Forward {
    /// Known once the subscription is there, before which nothing comes.
    id: Arc<std::sync::OnceLock<u32>>,
    to: mpsc::Sender<Notified>,
}

impl OnSubscriptionNotificationCore for Forward {
    fn on_subscription_notification(&mut self, notification: NotificationMessage, _items: MonitoredItemMap<'_>) {
        let id = self.id.get().copied().unwrap_or_default();
        // The receiver is emptied after each message. One that finds no room is missing by its number, and asked for.
        let _missing = self.to.try_send((id, notification));
    }
}

/// What became of an item.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) item: usize,
    pub(super) status: StatusCode,
}

/// A subscription and the items that it looks at.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) id: u32,
    pub(super) items: Vec<usize>,
    pub(super) refused: Vec<Refused>,
}

/// Makes subscriptions for all `items`, as few as there can be.
///
/// # Errors
/// When the server refuses a subscription as such.
pub(super) async fn subscribe(
    session: Arc<Session>,
    server: OpcUaServer,
    items: Vec<Item>,
    to: mpsc::Sender<Notified>,
) -> Result<Vec<Made>, Error> {
    let names = names_of_namespaces(&session, &items).await?;
    if items.iter().any(|item| item.has_fields) {
        // Where it does not describe them, the tags that need it say so.
        if let Err(error) = learn_types(&session).await {
            tracing::debug!("{} does not describe its types: {error}", server.url);
        }
    }
    let publishing = Duration::from_nanos(server.publishing_ns.unsigned_abs());
    let times_in = |span: Duration| u32::try_from(span.as_nanos() / publishing.as_nanos().max(1)).unwrap_or(u32::MAX);
    let alive_count = times_in(ALIVE_EVERY).max(1);
    let lifetime_count = times_in(KEPT).max(alive_count.saturating_mul(3));
    let mut all = Vec::new();
    let positions: Vec<usize> = (0..items.len()).collect();
    for mine in positions.chunks(ITEMS_PER_SUBSCRIPTION) {
        let id = Arc::new(std::sync::OnceLock::new());
        let forward = Forward { id: Arc::clone(&id), to: to.clone() };
        let made = session.create_subscription(publishing, lifetime_count, alive_count, 0, 0, true, forward).await?;
        id.get_or_init(|| made);
        all.push(look_at(&session, &names, made, mine, &items).await?);
    }
    Ok(all)
}

/// Lets a subscription look at items; those whose node is not there, or that are refused otherwise, are told.
pub(super) async fn look_at(
    session: &Session,
    names: &[String],
    subscription: u32,
    positions: &[usize],
    items: &[Item],
) -> Result<Made, Error> {
    let mut made = Made { id: subscription, ..Made::default() };
    let mut requests = Vec::new();
    for &at in positions {
        match node_id(&items[at].node, names) {
            Some(node) => requests.push((at, request(at, node, &items[at], true))),
            None => made.refused.push(Refused { item: at, status: StatusCode::BadNodeIdUnknown }),
        }
    }
    let mut at_once = ITEMS_PER_REQUEST;
    while !requests.is_empty() {
        let some: Vec<_> = requests[..at_once.min(requests.len())].to_vec();
        let ask = some.iter().map(|(_, request)| request.clone()).collect();
        let answer = session.create_monitored_items(subscription, TimestampsToReturn::Both, ask).await;
        let answer = match answer {
            Err(error) if error.status() == StatusCode::BadTooManyOperations && at_once > 1 => {
                at_once /= 2;
                continue;
            }
            answer => answer?,
        };
        requests.drain(..some.len());
        for ((at, _), created) in some.iter().zip(&answer) {
            let status = created.result.status_code;
            if status.is_good() {
                made.items.push(*at);
                continue;
            }
            let is_filter = [
                StatusCode::BadMonitoredItemFilterUnsupported,
                StatusCode::BadFilterNotAllowed,
                StatusCode::BadMonitoredItemFilterInvalid,
            ];
            let had_filter = !created.requested_parameters.filter.is_null();
            if is_filter.contains(&status) && had_filter && items[*at].deadband.is_none() {
                // A server that knows no filters at all still tells changes of the value.
                requests.push((*at, request(*at, created.item_to_monitor.node_id.clone(), &items[*at], false)));
            } else {
                made.refused.push(Refused { item: *at, status });
            }
        }
    }
    Ok(made)
}

/// Those of the items at `positions` whose node the server has no more. A server is to say that by itself, and not every
/// one does.
pub(super) async fn gone(session: &Session, items: &[Item], positions: &[usize]) -> Result<Vec<usize>, Error> {
    let names = names_of_namespaces(session, items).await?;
    let mut gone = Vec::new();
    for some in positions.chunks(ITEMS_PER_REQUEST) {
        let some: Vec<_> = some.iter().filter_map(|&at| Some((at, node_id(&items[at].node, &names)?))).collect();
        // Unlike the value, it is at hand in every server.
        let ask: Vec<_> = some.iter().map(|(_, node)| ReadValueId::new(node.clone(), AttributeId::NodeClass)).collect();
        let answers = session.read(&ask, TimestampsToReturn::Neither, 0.0).await?;
        for ((at, _), answer) in some.iter().zip(answers) {
            let status = answer.status.unwrap_or(StatusCode::Good);
            if [StatusCode::BadNodeIdUnknown, StatusCode::BadNodeIdInvalid].contains(&status) {
                gone.push(*at);
            }
        }
    }
    Ok(gone)
}

/// Learns the server's own types, without which its structures are bytes.
async fn learn_types(session: &Session) -> Result<(), Error> {
    session.set_namespaces(namespaces(session).await?);
    let types = DataTypeTreeBuilder::new(|_| true).build(session).await?;
    session.add_type_loader(Arc::new(DynamicTypeLoader::new(Arc::new(types))));
    Ok(())
}

async fn namespaces(session: &Session) -> Result<NamespaceMap, Error> {
    let node = ReadValueId::from(NodeId::from(VariableId::Server_NamespaceArray));
    let answer = session.read(&[node], TimestampsToReturn::Neither, 0.0).await?;
    match answer.into_iter().next().and_then(|answer| answer.value) {
        Some(Variant::Array(array)) => NamespaceMap::new_from_variant_array(&array.values)
            .map_err(|error| Error::new(StatusCode::BadDecodingError, error.to_string())),
        _ => Err(Error::new(StatusCode::BadNoData, "the server does not say which namespaces it has")),
    }
}

/// The server's namespaces, where some node is given by the name of its own.
pub(super) async fn names_of_namespaces(session: &Session, items: &[Item]) -> Result<Vec<String>, Error> {
    if !items.iter().any(|item| matches!(item.node.namespace, OpcUaNamespace::Uri(_))) {
        return Ok(Vec::new());
    }
    all_names(session).await
}

/// The names of the server's namespaces, by their numbers.
pub(super) async fn all_names(session: &Session) -> Result<Vec<String>, Error> {
    let map = namespaces(session).await?;
    let mut names = Vec::new();
    for (name, index) in map.known_namespaces() {
        let index = usize::from(*index);
        if names.len() <= index {
            names.resize(index + 1, String::new());
        }
        names[index].clone_from(name);
    }
    Ok(names)
}

/// The node at a server with namespaces of these names; `None` where it has none of the node's.
pub(super) fn node_id(node: &OpcUaNode, names: &[String]) -> Option<NodeId> {
    let namespace = match &node.namespace {
        OpcUaNamespace::Index(index) => *index,
        OpcUaNamespace::Uri(uri) => u16::try_from(names.iter().position(|name| name == uri)?).ok()?,
    };
    format!("ns={namespace};{}", node.identifier).parse().ok()
}

fn request(at: usize, node_id: NodeId, item: &Item, has_filter: bool) -> MonitoredItemCreateRequest {
    let (deadband_type, deadband_value) = match item.deadband {
        None => (DeadbandType::None, 0.0),
        Some(OpcUaDeadband::Absolute(band)) => (DeadbandType::Absolute, band),
        Some(OpcUaDeadband::Percent(band)) => (DeadbandType::Percent, band),
    };
    let filter = DataChangeFilter {
        // A value that was measured anew is news, even where it is the same.
        trigger: DataChangeTrigger::StatusValueTimestamp,
        deadband_type: deadband_type as u32,
        deadband_value,
    };
    MonitoredItemCreateRequest {
        item_to_monitor: ReadValueId {
            node_id,
            attribute_id: AttributeId::Value as u32,
            index_range: NumericRange::None,
            data_encoding: QualifiedName::null(),
        },
        monitoring_mode: MonitoringMode::Reporting,
        requested_parameters: MonitoringParameters {
            client_handle: u32::try_from(at + 1).unwrap_or(u32::MAX),
            sampling_interval: item.sampling_ns as f64 / NS_PER_MS,
            filter: if has_filter { ExtensionObject::from_message(filter) } else { ExtensionObject::null() },
            queue_size: item.queue,
            discard_oldest: true,
        },
    }
}
