//! Cameras in the network that speak RTSP.

use sightglass_protocol::time::{MILLISECOND, SECOND};

use crate::{
    SecretRef,
    parse::Parser,
    section::{At, Section},
};

const TRANSPORTS: [(&str, RtspTransport); 2] = [("tcp", RtspTransport::Tcp), ("udp", RtspTransport::Udp)];
const SCHEMES: [&str; 2] = ["rtsp://", "rtsps://"];
/// Keys that only an RTSP camera has.
pub(crate) const RTSP_KEYS: [&str; 4] = ["transport", "user", "password", "latency"];
const LATENCY_NS_DEFAULT: i64 = 200 * MILLISECOND;
const LATENCY_NS_MAX: i64 = 10 * SECOND;

/// A camera that speaks RTSP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtspCamera {
    /// `rtsp://…` or `rtsps://…`, without a user.
    pub uri: String,
    /// How its pictures travel.
    pub transport: RtspTransport,
    /// Who asks for them.
    pub user: Option<String>,
    /// Where the user's password is.
    pub password: Option<SecretRef>,
    /// How long packets that come out of order are waited for (default 200 ms).
    pub latency_ns: i64,
}

/// How an RTSP camera's pictures travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RtspTransport {
    /// Within the RTSP connection: nothing is lost on the way.
    #[default]
    Tcp,
    /// As datagrams, for cameras that offer nothing else.
    Udp,
}

/// Whether a camera's URI is one of RTSP.
pub(crate) fn is_rtsp(uri: &str) -> bool {
    SCHEMES.iter().any(|scheme| uri.trim().starts_with(scheme))
}

impl Parser<'_> {
    /// The camera at `uri`, as its section describes it.
    pub(crate) fn rtsp(&self, section: &Section<'_>, uri: &At<String>) -> Option<RtspCamera> {
        section.refuse(&["start"], "beside an rtsp:// camera, which is live");
        let text = uri.value.trim();
        let (_, rest) = text.split_once("://")?;
        let authority = rest.split('/').next().unwrap_or_default();
        if let Some((_, host)) = authority.rsplit_once('@') {
            let message = format!("'uri' of [[camera]] holds a user, at {host}");
            let advice = "write user = \"NAME\" and password = \"keyring:NAME\", \"env:NAME\" or \"file:PATH\" instead";
            self.complaints.add(uri.span.clone(), message, advice);
            return None;
        }
        if authority.is_empty() {
            let message = "'uri' of [[camera]] names no camera".to_owned();
            self.complaints.add(uri.span.clone(), message, "write it as rtsp://ADDRESS/PATH");
            return None;
        }
        let user = section.text("user").map(|user| user.value);
        let password = self.secret(section, "password");
        if user.is_none() && password.is_some() {
            section.missing("user", "a password belongs to a user");
        }
        Some(RtspCamera {
            uri: text.to_owned(),
            transport: section.choice("transport", &TRANSPORTS).unwrap_or_default(),
            user,
            password,
            latency_ns: section.duration("latency", 0, LATENCY_NS_MAX).unwrap_or(LATENCY_NS_DEFAULT),
        })
    }
}
