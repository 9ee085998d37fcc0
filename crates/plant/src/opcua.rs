//! OPC UA: where a server is, and which of its nodes a tag is.

use std::{fmt, path::PathBuf, str::FromStr};

use sightglass_protocol::time::SECOND;

use crate::{JsonPath, SecretRef, section::duration_ns};

/// The port that is registered for OPC UA.
pub(crate) const OPCUA_PORT: u16 = 4840;
/// The most values of a node that a server is asked to keep.
pub const OPCUA_QUEUE_MAX: u32 = 10_000;
/// The longest sampling interval.
pub(crate) const SAMPLING_NS_MAX: i64 = 3600 * SECOND;

/// An OPC UA server and how it is subscribed to.
#[derive(Clone, Debug, PartialEq)]
pub struct OpcUaServer {
    /// Its address, `opc.tcp://HOST:PORT/PATH`.
    pub url: String,
    /// How often it sends what has changed (default 500 ms).
    pub publishing_ns: i64,
    /// How often it looks at a node; each tag's period where absent.
    pub sampling_ns: Option<i64>,
    /// The most values of a node that it keeps until they are sent (default 100).
    pub queue: u32,
    /// The longest wait for an answer (default 2 s).
    pub timeout_ns: i64,
    /// How the connection is protected; not at all where absent.
    pub security: Option<OpcUaSecurity>,
    /// As whom it is read.
    pub user: OpcUaUser,
    /// The folder of the own certificate and of those that are trusted (default `pki` beside the plant file).
    pub pki: PathBuf,
}

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpcUaSecurity {
    /// By which algorithms.
    pub policy: OpcUaPolicy,
    /// Whether messages are encrypted, and not only signed.
    pub is_encrypted: bool,
}

/// Security policies (OPC UA part 7, 6.6), without those that are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpcUaPolicy {
    /// `Basic256Sha256`.
    Basic256Sha256,
    /// `Aes128_Sha256_RsaOaep`.
    Aes128Sha256RsaOaep,
    /// `Aes256_Sha256_RsaPss`.
    Aes256Sha256RsaPss,
}

impl OpcUaPolicy {
    /// All of them, by the names that the standard gives them.
    pub const ALL: [(&str, Self); 3] = [
        ("Basic256Sha256", Self::Basic256Sha256),
        ("Aes128_Sha256_RsaOaep", Self::Aes128Sha256RsaOaep),
        ("Aes256_Sha256_RsaPss", Self::Aes256Sha256RsaPss),
    ];
}

impl fmt::Display for OpcUaPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, policy)| policy == self).map_or("", |(name, _)| name))
    }
}

/// As whom a server is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OpcUaUser {
    /// As nobody.
    #[default]
    Anonymous,
    /// By name and password.
    Name {
        /// The user's name.
        user: String,
        /// Where the password is.
        password: SecretRef,
    },
    /// By a certificate.
    Certificate {
        /// Its file, DER or PEM.
        certificate: PathBuf,
        /// The file of its private key, PEM (PKCS #8).
        key: PathBuf,
    },
}

/// Which node a tag is, and what of its value: `ns=2;s=Drive#axes[2].speed deadband=0.5 queue=50`.
#[derive(Clone, Debug, PartialEq)]
pub struct OpcUaAddress {
    /// The node.
    pub node: OpcUaNode,
    /// The way into its value, `#PATH`: positions in arrays and names of fields; the whole value where empty.
    pub path: JsonPath,
    /// What `type=` says that the value is; any number where absent.
    pub data_type: Option<OpcUaType>,
    /// What changes are left out (`deadband=`).
    pub deadband: Option<OpcUaDeadband>,
    /// How often the server looks at the node (`sampling=`); as the source says where absent.
    pub sampling_ns: Option<i64>,
    /// How many values the server keeps (`queue=`); as the source says where absent.
    pub queue: Option<u32>,
}

/// A node's identity (OPC UA part 6, 5.3.1.10), with its namespace as the plant file gives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OpcUaNode {
    /// Its namespace.
    pub namespace: OpcUaNamespace,
    /// `i=`, `s=`, `g=` or `b=` and what follows.
    pub identifier: String,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OpcUaNamespace {
    /// `ns=2`: its number at the server, which a server may change when it starts anew.
    Index(u16),
    /// `nsu=http://plant/line`: its name, from which the number is found at each connection.
    Uri(String),
}

/// The built-in types that are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpcUaType {
    /// True or false, as 1 or 0.
    Boolean,
    /// 8 bits with a sign.
    SByte,
    /// 8 bits.
    Byte,
    /// 16 bits with a sign.
    Int16,
    /// 16 bits.
    UInt16,
    /// 32 bits with a sign, and enumerations.
    Int32,
    /// 32 bits.
    UInt32,
    /// 64 bits with a sign.
    Int64,
    /// 64 bits.
    UInt64,
    /// 32 bits, IEEE 754.
    Float,
    /// 64 bits, IEEE 754.
    Double,
    /// A time, in milliseconds since 1970.
    DateTime,
}

/// Which changes a server leaves out (OPC UA part 4, 7.22.2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OpcUaDeadband {
    /// Those of at most so much, in the value's unit.
    Absolute(f64),
    /// Those of at most so much of the node's `EURange`, in percent.
    Percent(f64),
}

const TYPES: [(&str, OpcUaType); 12] = [
    ("Boolean", OpcUaType::Boolean),
    ("SByte", OpcUaType::SByte),
    ("Byte", OpcUaType::Byte),
    ("Int16", OpcUaType::Int16),
    ("UInt16", OpcUaType::UInt16),
    ("Int32", OpcUaType::Int32),
    ("UInt32", OpcUaType::UInt32),
    ("Int64", OpcUaType::Int64),
    ("UInt64", OpcUaType::UInt64),
    ("Float", OpcUaType::Float),
    ("Double", OpcUaType::Double),
    ("DateTime", OpcUaType::DateTime),
];

impl OpcUaType {
    /// The type that the standard calls so.
    pub fn named(name: &str) -> Option<Self> {
        TYPES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }
}

impl fmt::Display for OpcUaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TYPES.iter().find(|(_, kind)| kind == self).map_or("", |(name, _)| name))
    }
}

impl fmt::Display for OpcUaNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            OpcUaNamespace::Index(0) => {}
            OpcUaNamespace::Index(index) => write!(f, "ns={index};")?,
            OpcUaNamespace::Uri(uri) => write!(f, "nsu={uri};")?,
        }
        f.write_str(&self.identifier)
    }
}

/// Text that names no value of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpcUaAddressError {
    /// What is wrong.
    pub message: String,
    /// What is allowed.
    pub advice: String,
}

impl fmt::Display for OpcUaAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.advice)
    }
}

impl std::error::Error for OpcUaAddressError {}

fn error<T>(message: impl Into<String>, advice: impl Into<String>) -> Result<T, OpcUaAddressError> {
    Err(OpcUaAddressError { message: message.into(), advice: advice.into() })
}

impl FromStr for OpcUaNode {
    type Err = OpcUaAddressError;

    fn from_str(text: &str) -> Result<Self, OpcUaAddressError> {
        const FORM: &str = "write ns=NUMBER; or nsu=NAME; and then i=NUMBER, s=TEXT, g=GUID or b=BASE64, such as \
                            ns=2;s=Line1.Level";
        let wrong = || error(format!("'{text}' is no node"), FORM);
        let namespace_and_rest =
            |rest: &str| rest.split_once(';').map(|(first, rest)| (first.to_owned(), rest.to_owned()));
        let (namespace, identifier) = if let Some(rest) = text.strip_prefix("nsu=") {
            match namespace_and_rest(rest) {
                Some((uri, rest)) if !uri.is_empty() => (OpcUaNamespace::Uri(uri), rest),
                _ => return wrong(),
            }
        } else if let Some(rest) = text.strip_prefix("ns=") {
            match namespace_and_rest(rest).and_then(|(index, rest)| Some((index.parse().ok()?, rest))) {
                Some((index, rest)) => (OpcUaNamespace::Index(index), rest),
                None => return wrong(),
            }
        } else {
            (OpcUaNamespace::Index(0), text.to_owned())
        };
        let is_right = match identifier.split_once('=') {
            Some(("i", number)) => number.parse::<u32>().is_ok(),
            Some(("s", name)) => !name.is_empty(),
            Some(("g", guid)) => {
                let lengths: Vec<usize> = guid.split('-').map(str::len).collect();
                lengths == [8, 4, 4, 4, 12] && guid.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
            }
            Some(("b", base64)) => {
                !base64.is_empty() && base64.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '='))
            }
            _ => false,
        };
        if is_right { Ok(Self { namespace, identifier }) } else { wrong() }
    }
}

/// The words that may stand behind a node.
const WORDS: [&str; 4] = ["type=", "deadband=", "sampling=", "queue="];

impl FromStr for OpcUaAddress {
    type Err = OpcUaAddressError;

    fn from_str(text: &str) -> Result<Self, OpcUaAddressError> {
        let mut place = text.trim();
        let mut words = Vec::new();
        // A node's name may hold blanks: only words that are known are taken off its end.
        while let Some((before, word)) = place.rsplit_once(' ')
            && WORDS.iter().any(|known| word.starts_with(known))
            && !word.ends_with('#')
        {
            words.push(word);
            place = before.trim_end();
        }
        // It may hold a `#` too: the last one counts, and one at the very end says that there is no path.
        let (node, path) = place.rsplit_once('#').unwrap_or((place, ""));
        let path = path.parse().map_err(|wrong: crate::MqttAddressError| OpcUaAddressError {
            message: wrong.message,
            advice: format!("{}; where a node's name holds a #, put another # behind it", wrong.advice),
        })?;
        let mut address =
            Self { node: node.parse()?, path, data_type: None, deadband: None, sampling_ns: None, queue: None };
        for word in words {
            address.take(word)?;
        }
        Ok(address)
    }
}

impl OpcUaAddress {
    fn take(&mut self, word: &str) -> Result<(), OpcUaAddressError> {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let wrong = |advice: &str| error(format!("'{word}' cannot be understood"), advice);
        match key {
            "type" => match OpcUaType::named(value) {
                Some(kind) => self.data_type = Some(kind),
                None => {
                    let names: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
                    return wrong(&format!("a type is one of {}", names.join(", ")));
                }
            },
            "deadband" => {
                let (number, is_percent) = value.strip_suffix('%').map_or((value, false), |number| (number, true));
                let most = if is_percent { 100.0 } else { f64::MAX };
                match number.parse::<f64>() {
                    Ok(band) if band >= 0.0 && band <= most => {
                        self.deadband =
                            Some(if is_percent { OpcUaDeadband::Percent(band) } else { OpcUaDeadband::Absolute(band) });
                    }
                    _ => return wrong("a deadband is a number such as 0.5, or a share of the range such as 1%"),
                }
            }
            "sampling" => match duration_ns(value) {
                Some(span) if (0..=SAMPLING_NS_MAX).contains(&span) => self.sampling_ns = Some(span),
                _ => return wrong("a sampling interval is a time span of at most an hour, such as 100ms or 1s"),
            },
            _ => match value.parse() {
                Ok(queue @ 1..=OPCUA_QUEUE_MAX) => self.queue = Some(queue),
                _ => return wrong(&format!("a queue is a number from 1 to {OPCUA_QUEUE_MAX}")),
            },
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sightglass_protocol::time::MILLISECOND;

    use super::*;
    use crate::JsonStep;

    fn address(text: &str) -> OpcUaAddress {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_node_has_a_namespace_and_an_identifier() {
        let node = |text: &str| address(text).node;
        assert_eq!(node("i=2258").namespace, OpcUaNamespace::Index(0));
        assert_eq!(node("ns=2;s=Line 1.Level; raw=1").identifier, "s=Line 1.Level; raw=1");
        assert_eq!(node("nsu=http://plant/ua;i=7").namespace, OpcUaNamespace::Uri("http://plant/ua".to_owned()));
        for text in ["ns=3;g=72962b91-fa75-4ae6-8d28-b404dc7daf63", "nsu=urn:a;b=M/RbKBsRVkePCePcx24oRA==", "i=1"] {
            assert_eq!(node(text).to_string(), text);
        }
        for wrong in
            ["", "Level", "ns=2;Level", "ns=x;i=1", "ns=70000;i=1", "i=x", "s=", "g=1", "b=!", "nsu=;i=1", "ns=1"]
        {
            assert!(wrong.parse::<OpcUaAddress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn words_and_a_path_stand_behind_a_node() {
        let all = address("ns=2;s=Drive 1#axes[2].speed type=Double deadband=0.5 sampling=50ms queue=20");
        assert_eq!(all.node.identifier, "s=Drive 1");
        let member = |name: &str| JsonStep::Member(name.to_owned());
        assert_eq!(all.path.0, [member("axes"), JsonStep::Item(2), member("speed")]);
        assert_eq!((all.data_type, all.deadband), (Some(OpcUaType::Double), Some(OpcUaDeadband::Absolute(0.5))));
        assert_eq!((all.sampling_ns, all.queue), (Some(50 * MILLISECOND), Some(20)));
        assert_eq!(address("i=1 deadband=1.5%").deadband, Some(OpcUaDeadband::Percent(1.5)));
        let odd = address("ns=1;s=a#b queue=3#");
        assert_eq!((odd.node.identifier.as_str(), odd.path.0.len(), odd.queue), ("s=a#b queue=3", 0, None));
        for wrong in [
            "i=1 type=String",
            "i=1 deadband=-1",
            "i=1 deadband=101%",
            "i=1 deadband=nan",
            "i=1 sampling=5",
            "i=1 queue=0",
            "i=1 queue=20000",
            "i=1 sampling=2000000s",
            "i=1#[",
        ] {
            assert!(wrong.parse::<OpcUaAddress>().is_err(), "{wrong}");
        }
    }
}
