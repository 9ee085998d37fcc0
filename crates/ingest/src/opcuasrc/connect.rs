//! A session with a server.

use std::{future::Future, sync::Arc, time::Duration};

use opcua::{
    client::{
        AsyncSecureChannel, ClientBuilder, ClientConfig, ConnectionSource, IdentityToken, Session, SessionBuilder,
        SessionEventLoop,
        transport::{
            Connector, RequestRecv, SecureChannelState, TcpConnector, TcpTransport, TransportConfiguration,
            TransportPollResult,
        },
    },
    core::ResponseMessage,
    crypto::{CertificateStore, SecurityPolicy},
    sync::RwLock,
    types::{EndpointDescription, Error, GetEndpointsRequest, MessageSecurityMode, RequestHeader, StatusCode},
};
use sightglass_plant::OpcUaServer;

/// The longest wait for a TCP connection. The system's own is minutes.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How often a connection is proven alive.
const ALIVE_EVERY: Duration = Duration::from_secs(1);
/// How long a server is asked to keep a session, and with it what it did not send yet, after the connection is gone.
pub(super) const KEPT: Duration = Duration::from_secs(60);
/// Waits between tries to connect again, which double.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// How long a secure channel is used before its keys are made anew.
const CHANNEL_LIFETIME_MS: u32 = 600_000;
/// The largest message that is taken, in bytes, and its largest parts.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
const ARRAY_ITEMS_MAX: usize = 1 << 20;
const NAME: &str = "Sightglass";
const APPLICATION_URI: &str = "urn:sightglass";

/// A connector that gives up after [`CONNECT_MAX`].
pub(super) struct TimedConnector(TcpConnector);

impl Connector for TimedConnector {
    type Transport = TcpTransport;

    fn connect(
        &self,
        channel: Arc<SecureChannelState>,
        outgoing: RequestRecv,
        config: TransportConfiguration,
    ) -> impl Future<Output = Result<TcpTransport, Error>> + Send + Sync {
        let connect = self.0.connect(channel, outgoing, config);
        async move {
            tokio::time::timeout(CONNECT_MAX, connect).await.unwrap_or_else(|_| {
                Err(Error::new(StatusCode::BadTimeout, format!("no connection in {CONNECT_MAX:?}")))
            })
        }
    }

    fn default_endpoint(&self) -> EndpointDescription {
        self.0.default_endpoint()
    }
}

struct TimedSource;

impl ConnectionSource for TimedSource {
    type Builder = TimedConnector;

    fn get_connector(&self, endpoint: &EndpointDescription) -> Result<TimedConnector, Error> {
        TcpConnector::new(endpoint.endpoint_url.as_ref()).map(TimedConnector)
    }
}

/// A session, which its event loop connects and keeps connected.
pub(super) type Opened = (Arc<Session>, SessionEventLoop<TimedConnector>);

/// Asks the server what it offers, and prepares a session for what is wanted of that.
///
/// # Errors
/// Why there is none, and what to do.
pub(super) async fn open(server: &OpcUaServer) -> Result<Opened, String> {
    let config = configuration(server)?;
    let store = Arc::new(RwLock::new(CertificateStore::new(std::path::Path::new(""))));
    let endpoint = endpoint(server, &config, &store).await?;
    let builder = SessionBuilder::new(&config).with_connector(TimedSource);
    let builder = builder.connect_to_endpoint_directly(endpoint).map_err(|error| told(&error))?;
    builder.user_identity_token(IdentityToken::Anonymous).build(store).map_err(|error| told(&error))
}

fn configuration(server: &OpcUaServer) -> Result<ClientConfig, String> {
    let timeout = Duration::from_nanos(server.timeout_ns.unsigned_abs());
    let kept_ms = u32::try_from(KEPT.as_millis()).unwrap_or(u32::MAX);
    let builder = ClientBuilder::new()
        .application_name(NAME)
        .application_uri(APPLICATION_URI)
        .product_uri(APPLICATION_URI)
        .session_name(NAME)
        .session_timeout(kept_ms)
        .session_retry_limit(-1)
        .session_retry_initial(RETRY_MIN)
        .session_retry_max(RETRY_MAX)
        .keep_alive_interval(ALIVE_EVERY)
        // The session is not to be closed with its connection: its queues would be lost.
        .max_failed_keep_alive_count(0)
        .recreate_subscriptions(false)
        .request_timeout(timeout)
        .channel_lifetime(CHANNEL_LIFETIME_MS)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_array_length(ARRAY_ITEMS_MAX)
        .max_string_length(MESSAGE_BYTES_MAX)
        .max_byte_string_length(MESSAGE_BYTES_MAX);
    Ok(builder.into_config())
}

/// The endpoint of the server that is wanted.
async fn endpoint(
    server: &OpcUaServer,
    config: &ClientConfig,
    store: &Arc<RwLock<CertificateStore>>,
) -> Result<EndpointDescription, String> {
    let offered = endpoints(server, config, store).await?;
    let (policy, mode) = (SecurityPolicy::None, MessageSecurityMode::None);
    let is_wanted = |endpoint: &&EndpointDescription| {
        endpoint.security_mode == mode
            && SecurityPolicy::from_uri(endpoint.security_policy_uri.as_ref()) == policy
            && endpoint.endpoint_url.as_ref().starts_with("opc.tcp:")
    };
    let found = offered.iter().find(is_wanted).cloned();
    let mut found =
        found.ok_or_else(|| format!("the server offers no connection without security, only {}", listed(&offered)))?;
    // A server names itself as it sees itself; what is said to reach it is what does reach it.
    found.endpoint_url = server.url.as_str().into();
    Ok(found)
}

/// What a server offers, in words.
fn listed(endpoints: &[EndpointDescription]) -> String {
    let mut names: Vec<String> = endpoints
        .iter()
        .map(|endpoint| {
            let policy = SecurityPolicy::from_uri(endpoint.security_policy_uri.as_ref());
            format!("{policy} {:?}", endpoint.security_mode)
        })
        .collect();
    names.sort();
    names.dedup();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

async fn endpoints(
    server: &OpcUaServer,
    config: &ClientConfig,
    store: &Arc<RwLock<CertificateStore>>,
) -> Result<Vec<EndpointDescription>, String> {
    let plain = EndpointDescription::from(server.url.as_str());
    let builder = SessionBuilder::new(config).connect_to_endpoint_directly(plain).map_err(|error| told(&error))?;
    let channel = builder.build_channel(Arc::clone(store)).map_err(|error| told(&error))?;
    let connector = TcpConnector::new(&server.url).map(TimedConnector).map_err(|error| told(&error))?;
    let timeout = Duration::from_nanos(server.timeout_ns.unsigned_abs());
    let asked = ask(&channel, &connector, server, timeout);
    match tokio::time::timeout(CONNECT_MAX + 2 * timeout, asked).await {
        Ok(answer) => answer,
        Err(_) => Err("it does not answer".to_owned()),
    }
}

async fn ask(
    channel: &AsyncSecureChannel,
    connector: &TimedConnector,
    server: &OpcUaServer,
    timeout: Duration,
) -> Result<Vec<EndpointDescription>, String> {
    let mut events = channel.connect_no_retry(connector).await.map_err(|error| told(&error))?;
    let request = GetEndpointsRequest {
        request_header: RequestHeader::dummy(),
        endpoint_url: server.url.as_str().into(),
        locale_ids: None,
        profile_uris: None,
    };
    let answer = channel.send(request, timeout);
    tokio::pin!(answer);
    let answer = loop {
        tokio::select! {
            event = events.poll() => if let TransportPollResult::Closed(status) = event {
                return Err(super::status::described(status));
            },
            answer = &mut answer => break answer.map_err(|error| told(&error))?,
        }
    };
    channel.close_channel().await;
    // Until that is sent; the server may have gone meanwhile.
    while !matches!(events.poll().await, TransportPollResult::Closed(_)) {}
    match answer {
        ResponseMessage::GetEndpoints(answer) if !answer.response_header.service_result.is_bad() => {
            Ok(answer.endpoints.unwrap_or_default())
        }
        other => Err(format!(
            "it does not say what it offers: {}",
            super::status::described(other.response_header().service_result)
        )),
    }
}

/// An error of the library, for the reader.
pub(super) fn told(error: &Error) -> String {
    match error.status() {
        // These say more than their status does.
        StatusCode::BadCommunicationError | StatusCode::BadTcpEndpointUrlInvalid | StatusCode::BadTimeout => {
            format!("cannot connect ({error})")
        }
        status => super::status::described(status),
    }
}
