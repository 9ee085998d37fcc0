//! `opcuasrc`: values of an OPC UA server's nodes as a GStreamer source, by subscription.
//!
//! ```sh
//! gst-launch-1.0 opcuasrc address=opc.tcp://plc:4840 nodes='<"ns=2;s=Level", "ns=2;s=Flows#[1]">' ! fakesink dump=true
//! ```
//!
//! It subscribes and reads. Nothing is ever written to the server.

use gst::{glib, prelude::*};
use sightglass_plant::{OpcUaServer, OpcUaUser, Tag};
use sightglass_protocol::UtcNanos;

use crate::{IngestError, properties::numbers_of};

pub mod browse;
pub mod certificates;
mod connect;
mod feed;
mod imp;
mod sequence;
mod session;
mod status;
mod subscriptions;
mod value;

glib::wrapper! {
    /// The element. Its pad pushes the buffers of [`crate::payload`], one a message of the server.
    pub struct OpcUaSrc(ObjectSubclass<imp::OpcUaSrc>)
        @extends gst_base::PushSrc, gst_base::BaseSrc, gst::Element, gst::Object;
}

/// The element's name.
pub const NAME: &str = "opcuasrc";

/// Registers the element.
pub(crate) fn register(plugin: Option<&gst::Plugin>) -> Result<(), glib::BoolError> {
    gst::Element::register(plugin, NAME, gst::Rank::NONE, OpcUaSrc::static_type())
}

/// The element for this server, with PTS 0 at `base`.
pub(crate) fn for_server(
    origin: &str,
    server: &OpcUaServer,
    tags: &[&Tag],
    base: UtcNanos,
) -> Result<gst::Element, IngestError> {
    let error = |reason: String| IngestError::Source { origin: origin.to_owned(), reason };
    let text = |path: &std::path::Path| {
        path.to_str().map(str::to_owned).ok_or_else(|| error(format!("{} is not valid UTF-8", path.display())))
    };
    let mut element = gst::ElementFactory::make(NAME)
        .property("address", &server.url)
        .property("publishing", server.publishing_ns.unsigned_abs())
        .property("sampling", server.sampling_ns.unwrap_or(imp::OF_PERIOD))
        .property("queue", server.queue)
        .property("timeout", server.timeout_ns.unsigned_abs())
        .property("security", server.security.map_or("none".to_owned(), |security| security.policy.to_string()))
        .property(
            "mode",
            if server.security.is_some_and(|security| !security.is_encrypted) { imp::SIGN } else { imp::ENCRYPT },
        )
        .property("pki", text(&server.pki)?)
        .property("nodes", gst::Array::new(tags.iter().map(|tag| tag.address.as_str())))
        .property("periods", gst::Array::new(tags.iter().map(|tag| tag.period_ns)))
        .property("tags", numbers_of(tags.iter().map(|tag| tag.id)))
        .property("base-utc", base.0);
    element = match &server.user {
        OpcUaUser::Anonymous => element,
        OpcUaUser::Name { user, password } => element.property("user", user).property("password", password.to_string()),
        OpcUaUser::Certificate { certificate, key } => {
            element.property("user-certificate", text(certificate)?).property("user-key", text(key)?)
        }
    };
    element.build().map_err(|problem| error(problem.to_string()))
}
