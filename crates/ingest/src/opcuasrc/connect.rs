//! A session with a server.

use std::{future::Future, path::Path, pin::pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt};
use opcua::{
    client::{
        AsyncSecureChannel, ClientBuilder, ClientConfig, ConnectionSource, IdentityToken, Session, SessionBuilder,
        SessionEventLoop, SessionPollResult,
        transport::{
            Connector, RequestRecv, SecureChannelState, TcpConnector, TcpTransport, TransportConfiguration,
            TransportPollResult,
        },
    },
    core::ResponseMessage,
    crypto::{CertificateStore, SecurityPolicy},
    sync::RwLock,
    types::{
        EndpointDescription, Error, GetEndpointsRequest, MessageSecurityMode, RequestHeader, StatusCode, UserTokenType,
    },
};
use sightglass_plant::{OpcUaPolicy, OpcUaServer, OpcUaUser};

use super::{
    certificates::{self, APPLICATION_URI, NAME},
    status::described,
};
use crate::secret;

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

/// Asks the server what it offers, and prepares a session for what is wanted of that. Passwords and certificates are read
/// now.
///
/// # Errors
/// Why there is none, and what to do.
pub(super) async fn open(server: &OpcUaServer) -> Result<Opened, String> {
    let config = configuration(server);
    let is_anonymous = server.user == OpcUaUser::Anonymous;
    let endpoint = endpoint(server, &config).await?;
    let mut store = CertificateStore::new(Path::new(""));
    if server.security.is_some() || !is_anonymous {
        let pki = server.pki.clone();
        let certificate = endpoint.server_certificate.value.clone().unwrap_or_default();
        // To make the own certificate takes a while.
        let made = tokio::task::spawn_blocking(move || {
            certificates::check(&pki, &certificate)?;
            certificates::own(&pki)
        });
        store = made.await.map_err(|error| error.to_string())??;
    }
    let builder = SessionBuilder::new(&config).with_connector(TimedSource).user_identity_token(identity(server)?);
    let builder = builder.connect_to_endpoint_directly(endpoint).map_err(|error| told(&error))?;
    builder.build(Arc::new(RwLock::new(store))).map_err(|error| told(&error))
}

/// Ends the session at the server, for as long as one answer may take; `events` are those of the session's own loop.
pub(super) async fn close(
    session: &Session,
    events: &mut (impl Stream<Item = Result<SessionPollResult, StatusCode>> + Unpin),
    server: &OpcUaServer,
) {
    let closing = async {
        let mut closing = pin!(session.disconnect());
        loop {
            tokio::select! {
                // Nothing more is wanted of it, whatever comes of the goodbye.
                _said = &mut closing => break,
                event = events.next() => if event.is_none() { break },
            }
        }
    };
    // A server that does not answer forgets the session by itself.
    let _late = tokio::time::timeout(Duration::from_nanos(server.timeout_ns.unsigned_abs()), closing).await;
}

/// As whom it is read.
fn identity(server: &OpcUaServer) -> Result<IdentityToken, String> {
    match &server.user {
        OpcUaUser::Anonymous => Ok(IdentityToken::Anonymous),
        OpcUaUser::Name { user, password } => {
            let password = secret::read(password).map_err(|error| format!("there is no password: {error}"))?;
            Ok(IdentityToken::UserName(user.clone(), password.into()))
        }
        OpcUaUser::Certificate { certificate, key } => IdentityToken::new_x509_path(certificate, key)
            .map_err(|error| format!("the user's certificate cannot be used: {error}")),
    }
}

fn configuration(server: &OpcUaServer) -> ClientConfig {
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
    builder.into_config()
}

/// The endpoint of the server that is wanted.
async fn endpoint(server: &OpcUaServer, config: &ClientConfig) -> Result<EndpointDescription, String> {
    let offered = endpoints(server, config).await?;
    let (policy, mode) = match server.security {
        None => (SecurityPolicy::None, MessageSecurityMode::None),
        Some(security) => (
            match security.policy {
                OpcUaPolicy::Basic256Sha256 => SecurityPolicy::Basic256Sha256,
                OpcUaPolicy::Aes128Sha256RsaOaep => SecurityPolicy::Aes128Sha256RsaOaep,
                OpcUaPolicy::Aes256Sha256RsaPss => SecurityPolicy::Aes256Sha256RsaPss,
            },
            if security.is_encrypted { MessageSecurityMode::SignAndEncrypt } else { MessageSecurityMode::Sign },
        ),
    };
    let is_wanted = |endpoint: &&EndpointDescription| {
        endpoint.security_mode == mode
            && SecurityPolicy::from_uri(endpoint.security_policy_uri.as_ref()) == policy
            && endpoint.endpoint_url.as_ref().starts_with("opc.tcp:")
    };
    let mut found = offered.iter().find(is_wanted).cloned().ok_or_else(|| {
        format!(
            "the server does not offer {policy} {mode:?}, only {}; set security and mode to one of them",
            listed(&offered)
        )
    })?;
    // A server names itself as it sees itself; what is said to reach it is what does reach it.
    found.endpoint_url = server.url.as_str().into();
    // What it wants of users by a policy that nobody knows is as if it did not want it.
    let token_policy = |uri: &str| if uri.is_empty() { policy } else { SecurityPolicy::from_uri(uri) };
    if let Some(tokens) = &mut found.user_identity_tokens {
        tokens.retain(|token| token_policy(token.security_policy_uri.as_ref()) != SecurityPolicy::Unknown);
    }
    let kind = match server.user {
        OpcUaUser::Anonymous => UserTokenType::Anonymous,
        OpcUaUser::Name { .. } => UserTokenType::UserName,
        OpcUaUser::Certificate { .. } => UserTokenType::Certificate,
    };
    let Some(token) = found.find_policy(kind) else {
        return Err(format!("the server lets nobody in by {kind:?}; give it a user that it knows"));
    };
    let is_open = mode != MessageSecurityMode::SignAndEncrypt
        && token_policy(token.security_policy_uri.as_ref()) == SecurityPolicy::None;
    if kind == UserTokenType::UserName && is_open {
        return Err("the password would go over the network for everybody to read; choose a security policy".to_owned());
    }
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

async fn endpoints(server: &OpcUaServer, config: &ClientConfig) -> Result<Vec<EndpointDescription>, String> {
    let plain = EndpointDescription::from(server.url.as_str());
    let builder = SessionBuilder::new(config).connect_to_endpoint_directly(plain).map_err(|error| told(&error))?;
    let store = Arc::new(RwLock::new(CertificateStore::new(Path::new(""))));
    let channel = builder.build_channel(store).map_err(|error| told(&error))?;
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
                return Err(described(status));
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
        other => Err(format!("it does not say what it offers: {}", described(other.response_header().service_result))),
    }
}

/// An error of the library, for the reader.
pub(super) fn told(error: &Error) -> String {
    match error.status() {
        // These say more than their status does.
        StatusCode::BadCommunicationError | StatusCode::BadTcpEndpointUrlInvalid | StatusCode::BadTimeout => {
            format!("cannot connect ({error})")
        }
        status => described(status),
    }
}
