//! A connection to a broker, the same for both versions of MQTT.

use std::time::Duration;

use sightglass_plant::{MqttBroker, MqttVersion};

use super::tls;
use crate::secret;

/// The largest message that is taken, in bytes: births of large nodes are large.
const PACKET_BYTES_MAX: u32 = 4 << 20;
/// Requests that wait to be sent.
const REQUESTS_MAX: usize = 8192;

/// What happens on a connection.
#[derive(Debug)]
pub(super) enum Event {
    Connected,
    Message {
        topic: Vec<u8>,
        payload: Vec<u8>,
        is_retained: bool,
    },
    /// A request to subscribe went out under this number, in the order in which they were made.
    Subscribing(u16),
    /// The broker's answer to it: for each topic whether it may be read.
    Subscribed(u16, Vec<bool>),
    Other,
}

/// What both versions say of who connects.
struct Login {
    id: String,
    user: Option<(String, Option<String>)>,
    tls: Option<std::sync::Arc<rustls::ClientConfig>>,
    keep_alive_s: u16,
}

/// What happens on the connection.
pub(super) enum Events {
    V3(Box<rumqttc_v4::EventLoop>),
    V5(Box<rumqttc_v5::EventLoop>),
}

/// What is asked of the broker.
pub(super) enum Requests {
    V3(rumqttc_v4::AsyncClient),
    V5(rumqttc_v5::AsyncClient),
}

/// What the two crates have under the same names.
macro_rules! event_of {
    ($mqtt:ident, $event:expr) => {
        match $event {
            $mqtt::Event::Incoming($mqtt::Packet::ConnAck(_)) => Event::Connected,
            $mqtt::Event::Incoming($mqtt::Packet::Publish(publish)) => Event::Message {
                topic: publish.topic.to_vec(),
                payload: publish.payload.to_vec(),
                is_retained: publish.retain,
            },
            $mqtt::Event::Incoming($mqtt::Packet::SubAck(answer)) => {
                let is_granted =
                    |code: &$mqtt::SubscribeReasonCode| matches!(code, $mqtt::SubscribeReasonCode::Success(_));
                Event::Subscribed(answer.pkid, answer.return_codes.iter().map(is_granted).collect())
            }
            $mqtt::Event::Outgoing($mqtt::Outgoing::Subscribe(number)) => Event::Subscribing(number),
            _ => Event::Other,
        }
    };
}

macro_rules! options_of {
    ($mqtt:ident, $broker:expr, $login:expr) => {{
        let place = $mqtt::Broker::tcp($broker.host.clone(), $broker.port);
        let mut options = $mqtt::MqttOptions::new($login.id, place);
        options.set_keep_alive($login.keep_alive_s).set_request_channel_capacity(REQUESTS_MAX);
        match $login.user {
            None => {}
            Some((user, None)) => {
                options.set_username(user);
            }
            Some((user, Some(password))) => {
                options.set_credentials(user, password.into_bytes());
            }
        }
        if let Some(tls) = $login.tls {
            let tls = $mqtt::TlsConfiguration::Rustls(tls);
            options.set_transport($mqtt::Transport::tls_with_config(tls));
        }
        options
    }};
}

/// A connection that is made when it is first polled. Passwords and certificates are read now.
///
/// # Errors
/// What of them cannot be read.
pub(super) fn connection(broker: &MqttBroker, id: &str) -> Result<(Requests, Events), String> {
    let password = broker.password.as_ref().map(secret::read).transpose();
    let password = password.map_err(|error| format!("there is no password: {error}"))?;
    let keep_alive = Duration::from_nanos(broker.keep_alive_ns.unsigned_abs());
    let login = Login {
        id: id.to_owned(),
        user: broker.user.clone().map(|user| (user, password)),
        tls: broker.tls.as_ref().map(tls::configuration).transpose()?,
        keep_alive_s: u16::try_from(keep_alive.as_millis().div_ceil(1000)).unwrap_or(u16::MAX),
    };
    Ok(match broker.version {
        MqttVersion::V3 => {
            let mut options = options_of!(rumqttc_v4, broker, login);
            options.set_max_packet_size(PACKET_BYTES_MAX as usize, PACKET_BYTES_MAX as usize);
            let (client, events) =
                rumqttc_v4::AsyncClient::builder(options).try_build().map_err(|error| error.to_string())?;
            (Requests::V3(client), Events::V3(Box::new(events)))
        }
        MqttVersion::V5 => {
            let mut options = options_of!(rumqttc_v5, broker, login);
            options.set_max_packet_size(Some(PACKET_BYTES_MAX));
            let (client, events) =
                rumqttc_v5::AsyncClient::builder(options).try_build().map_err(|error| error.to_string())?;
            (Requests::V5(client), Events::V5(Box::new(events)))
        }
    })
}

impl Events {
    /// The next thing that happens. Not to be dropped before it is done.
    ///
    /// # Errors
    /// Why the connection is gone, or is not made.
    pub(super) async fn poll(&mut self) -> Result<Event, String> {
        match self {
            Self::V3(events) => match events.poll().await {
                Ok(event) => Ok(event_of!(rumqttc_v4, event)),
                Err(rumqttc_v4::ConnectionError::ConnectionRefused(code)) => Err(refused(&format!("{code:?}"))),
                Err(error) => Err(error.to_string()),
            },
            Self::V5(events) => match events.poll().await {
                Ok(event) => Ok(event_of!(rumqttc_v5, event)),
                Err(rumqttc_v5::ConnectionError::ConnectionRefused(code)) => Err(refused(&format!("{code:?}"))),
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

impl Requests {
    /// Asks for messages of these topics.
    ///
    /// # Errors
    /// When a topic cannot be one, or too many requests wait.
    pub(super) fn subscribe(&self, filters: &[String]) -> Result<(), String> {
        match self {
            Self::V3(client) => {
                let filter =
                    |filter: &String| rumqttc_v4::SubscribeFilter::new(filter.clone(), rumqttc_v4::QoS::AtLeastOnce);
                client.try_subscribe_many(filters.iter().map(filter)).map_err(|error| error.to_string())
            }
            Self::V5(client) => {
                let filter =
                    |filter: &String| rumqttc_v5::SubscribeFilter::new(filter.clone(), rumqttc_v5::QoS::AtLeastOnce);
                client.try_subscribe_many(filters.iter().map(filter)).map_err(|error| error.to_string())
            }
        }
    }

    /// Sends a message once.
    ///
    /// # Errors
    /// When too many requests wait.
    pub(super) fn publish(&self, topic: &str, payload: Vec<u8>) -> Result<(), String> {
        match self {
            Self::V3(client) => {
                let options = rumqttc_v4::PublishOptions::at_most_once();
                client.try_publish(topic, payload, options).map_err(|error| error.to_string())
            }
            Self::V5(client) => {
                let options = rumqttc_v5::PublishOptions::at_most_once();
                client.try_publish(topic, payload, options).map_err(|error| error.to_string())
            }
        }
    }
}

/// What a broker's refusal means.
fn refused(code: &str) -> String {
    let advice = match code {
        "BadUserNamePassword" | "NotAuthorized" => "; check user and password, and what the broker lets them do",
        "BadClientId" | "ClientIdentifierNotValid" => "; give another client_id",
        "RefusedProtocolVersion" | "UnsupportedProtocolVersion" => "; choose the other version",
        _ => "",
    };
    format!("the broker refuses the connection: {code}{advice}")
}
