//! MQTT: where a broker is, and where in its messages a value lies.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::SecretRef;

/// The port that is registered for MQTT.
pub(crate) const MQTT_PORT: u16 = 1883;
/// The port that is registered for MQTT over TLS.
pub(crate) const MQTT_TLS_PORT: u16 = 8883;
/// The deepest path into a JSON payload.
pub(crate) const JSON_STEPS_MAX: usize = 32;

/// An MQTT broker and what its messages hold.
#[derive(Clone, Debug, PartialEq)]
pub struct MqttBroker {
    /// Name or address of the host.
    pub host: String,
    /// Its TCP port (default 1883, with TLS 8883).
    pub port: u16,
    /// The protocol's version.
    pub version: MqttVersion,
    /// TLS, where the address begins with `mqtts://`.
    pub tls: Option<MqttTls>,
    /// The client's name at the broker; one of the source's own where absent.
    pub client_id: Option<String>,
    /// The user's name.
    pub user: Option<String>,
    /// Where the user's password is.
    pub password: Option<SecretRef>,
    /// How often the connection is proven alive, whole seconds (default 5 s).
    pub keep_alive_ns: i64,
    /// What the messages hold.
    pub payload: MqttPayload,
}

/// The versions of MQTT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MqttVersion {
    /// 3.1.1.
    #[default]
    V3,
    /// 5.
    V5,
}

/// Certificates, as files in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MqttTls {
    /// Who may have signed the broker's certificate; what this PC trusts where absent.
    pub ca: Option<PathBuf>,
    /// The client's own certificate and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What the messages hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MqttPayload {
    /// One number (or true, false, on, off) as text.
    Plain,
    /// JSON.
    Json {
        /// Where the capture time is in the payload of each message.
        time: Option<JsonPath>,
        /// How the time is written.
        time_format: JsonTime,
        /// Where the quality is: `good`, `uncertain`, `bad`, true, false, or an OPC code (192 good, 64 uncertain, 0 bad).
        quality: Option<JsonPath>,
    },
    /// Sparkplug B 3.0.
    Sparkplug,
}

/// How a time is written in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonTime {
    /// Text in RFC 3339, or a number since 1970 whose unit is told by its size.
    #[default]
    Auto,
    /// A number of seconds since 1970.
    Seconds,
    /// A number of milliseconds since 1970.
    Milliseconds,
    /// A number of microseconds since 1970.
    Microseconds,
    /// A number of nanoseconds since 1970.
    Nanoseconds,
}

/// Text that names no value in a broker's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttAddressError {
    /// What is wrong.
    pub message: String,
    /// What is allowed.
    pub advice: String,
}

impl fmt::Display for MqttAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.advice)
    }
}

impl std::error::Error for MqttAddressError {}

fn error<T>(message: impl Into<String>, advice: impl Into<String>) -> Result<T, MqttAddressError> {
    Err(MqttAddressError { message: message.into(), advice: advice.into() })
}

/// A way into a JSON value: `state.pumps[2]["flow rate"]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct JsonPath(pub Vec<JsonStep>);

/// One step of a way into a JSON value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum JsonStep {
    /// The member of this name.
    Member(String),
    /// The item at this position, from 0.
    Item(usize),
}

impl fmt::Display for JsonPath {
    /// The path in brackets throughout, which reads back as the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        for step in &self.0 {
            match step {
                JsonStep::Item(position) => write!(f, "[{position}]")?,
                JsonStep::Member(name) if name.contains('\'') => write!(f, "[\"{name}\"]")?,
                JsonStep::Member(name) => write!(f, "['{name}']")?,
            }
        }
        Ok(())
    }
}

const PATH_ADVICE: &str = "write names with points between them and positions in brackets, such as pumps[2].flow or \
                           [\"flow rate\"]";

impl FromStr for JsonPath {
    type Err = MqttAddressError;

    fn from_str(text: &str) -> Result<Self, MqttAddressError> {
        let wrong = |why: &str| error(format!("the path '{text}' {why}"), PATH_ADVICE);
        let mut steps = Vec::new();
        // As in JSONPath (RFC 9535), `$` is the whole value; it may be left out.
        let mut rest = text.trim();
        if let Some(after) = rest.strip_prefix('$')
            && (after.is_empty() || after.starts_with(['.', '[']))
        {
            rest = after.strip_prefix('.').unwrap_or(after);
        }
        while !rest.is_empty() {
            if steps.len() == JSON_STEPS_MAX {
                return wrong("is too deep");
            }
            if let Some(inner) = rest.strip_prefix('[') {
                let quote = inner.chars().next().filter(|c| matches!(c, '"' | '\''));
                let (step, after) = match quote {
                    Some(quote) => {
                        let Some((name, after)) = inner[1..].split_once(quote) else {
                            return wrong("does not close a quote");
                        };
                        (JsonStep::Member(name.to_owned()), after)
                    }
                    None => {
                        let end = inner.find(|c: char| !c.is_ascii_digit()).unwrap_or(inner.len());
                        let Ok(position) = inner[..end].parse() else {
                            return wrong("has no position in its brackets");
                        };
                        (JsonStep::Item(position), &inner[end..])
                    }
                };
                let Some(after) = after.strip_prefix(']') else { return wrong("does not close a bracket") };
                steps.push(step);
                rest = after;
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                if end == 0 {
                    return wrong("has an empty name");
                }
                steps.push(JsonStep::Member(rest[..end].to_owned()));
                rest = &rest[end..];
            }
            if let Some(after) = rest.strip_prefix('.') {
                if after.is_empty() || after.starts_with('[') {
                    return wrong("has an empty name");
                }
                rest = after;
            } else if !rest.is_empty() && !rest.starts_with('[') {
                return wrong("goes on right after a bracket");
            }
        }
        Ok(Self(steps))
    }
}

/// Where a value lies in a broker's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MqttAddress {
    /// `TOPIC`, or with JSON `TOPIC#PATH`. A topic cannot hold a `#`, which only filters have (MQTT 5, section 4.7.1).
    Topic {
        /// The topic.
        topic: String,
        /// The way into the JSON payload; the whole payload where empty.
        path: JsonPath,
    },
    /// `GROUP/NODE#METRIC`, or `GROUP/NODE/DEVICE#METRIC`.
    Metric {
        /// The group's id.
        group: String,
        /// The edge node's id.
        node: String,
        /// The device's id; `None` for the node's own metrics.
        device: Option<String>,
        /// The metric's name.
        metric: String,
    },
}

impl MqttAddress {
    /// Reads the address of a tag of a source with such payloads.
    ///
    /// # Errors
    /// What is wrong with it and what is allowed.
    pub fn parse(text: &str, payload: &MqttPayload) -> Result<Self, MqttAddressError> {
        let text = text.trim();
        let (place, inner) = match text.split_once('#') {
            Some((place, inner)) => (place, Some(inner)),
            None => (text, None),
        };
        if place.contains(['+', '\0']) || place.is_empty() || place.len() > usize::from(u16::MAX) {
            return error(
                format!("'{text}' names no topic"),
                "a tag has one topic, which is not empty and has no wildcards",
            );
        }
        match payload {
            MqttPayload::Plain if inner.is_some() => error(
                format!("'{text}' has a path, which payload = \"plain\" has not"),
                "leave out # and what follows, or say payload = \"json\"",
            ),
            MqttPayload::Plain => Ok(Self::Topic { topic: place.to_owned(), path: JsonPath::default() }),
            MqttPayload::Json { .. } => {
                let path = inner.unwrap_or("").parse()?;
                Ok(Self::Topic { topic: place.to_owned(), path })
            }
            MqttPayload::Sparkplug => {
                const FORM: &str = "write GROUP/NODE#METRIC or GROUP/NODE/DEVICE#METRIC";
                let Some(metric) = inner.filter(|metric| !metric.is_empty()) else {
                    return error(format!("'{text}' names no metric"), FORM);
                };
                let ids: Vec<&str> = place.split('/').collect();
                let (group, node, device) = match ids[..] {
                    [group, node] => (group, node, None),
                    [group, node, device] => (group, node, Some(device)),
                    _ => return error(format!("'{text}' names no node or device"), FORM),
                };
                if ids.iter().any(|id| id.is_empty()) {
                    return error(format!("'{text}' has an empty id"), FORM);
                }
                Ok(Self::Metric {
                    group: group.to_owned(),
                    node: node.to_owned(),
                    device: device.map(str::to_owned),
                    metric: metric.to_owned(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: MqttPayload = MqttPayload::Json { time: None, time_format: JsonTime::Auto, quality: None };

    fn steps(text: &str) -> Vec<JsonStep> {
        text.parse::<JsonPath>().unwrap_or_else(|error| panic!("{text}: {error}")).0
    }

    fn member(name: &str) -> JsonStep {
        JsonStep::Member(name.to_owned())
    }

    #[test]
    fn a_path_has_names_and_positions() {
        assert_eq!(steps(""), []);
        assert_eq!(steps("$"), []);
        assert_eq!(steps("$.a.b"), [member("a"), member("b")]);
        assert_eq!(steps("$[0]"), [JsonStep::Item(0)]);
        assert_eq!(steps("$id"), [member("$id")]);
        let all = [member("pumps"), JsonStep::Item(2), member("flow rate"), member("v.1"), member("x")];
        assert_eq!(steps("pumps[2][\"flow rate\"]['v.1'].x"), all);
        for wrong in ["a..b", ".a", "a.", "a[", "a[]", "a[1", "a[-1]", "a[\"b]", "a[1]b]", "a.[1]", &"a.".repeat(40)] {
            assert!(wrong.parse::<JsonPath>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_fits_its_payload() {
        let topic = |topic: &str, path: &str| MqttAddress::Topic {
            topic: topic.to_owned(),
            path: path.parse().expect("a path"),
        };
        assert_eq!(MqttAddress::parse("a/b c", &MqttPayload::Plain), Ok(topic("a/b c", "")));
        assert_eq!(MqttAddress::parse("a/b#x[1]", &JSON), Ok(topic("a/b", "x[1]")));
        let metric = |device: Option<&str>| MqttAddress::Metric {
            group: "g".to_owned(),
            node: "n".to_owned(),
            device: device.map(str::to_owned),
            metric: "Motor/Speed # 1".to_owned(),
        };
        assert_eq!(MqttAddress::parse("g/n#Motor/Speed # 1", &MqttPayload::Sparkplug), Ok(metric(None)));
        assert_eq!(MqttAddress::parse("g/n/d#Motor/Speed # 1", &MqttPayload::Sparkplug), Ok(metric(Some("d"))));
        for (text, payload) in [
            ("", &MqttPayload::Plain),
            ("a/+/b", &MqttPayload::Plain),
            ("a/b#x", &MqttPayload::Plain),
            ("a/#", &MqttPayload::Plain),
            ("a#[", &JSON),
            ("g/n", &MqttPayload::Sparkplug),
            ("g/n#", &MqttPayload::Sparkplug),
            ("g#m", &MqttPayload::Sparkplug),
            ("g//n#m", &MqttPayload::Sparkplug),
            ("g/n/d/e#m", &MqttPayload::Sparkplug),
        ] {
            assert!(MqttAddress::parse(text, payload).is_err(), "{text}");
        }
    }
}
