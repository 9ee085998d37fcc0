//! `mqttsrc`: values out of an MQTT broker's messages as a GStreamer source: plain text, JSON, Sparkplug B.
//!
//! ```sh
//! gst-launch-1.0 mqttsrc address=mqtt://broker:1883 addresses='<"hall/line1/level", "hall/line1/flow">' ! fakesink dump=true
//! ```
//!
//! It subscribes. The one message that it sends asks a Sparkplug node to tell anew what it has.

use gst::{glib, prelude::*};
use sightglass_plant::{JsonTime, MqttBroker, MqttPayload, MqttVersion, Tag};
use sightglass_protocol::UtcNanos;

use crate::{
    IngestError,
    properties::{joined, numbers_of},
};

mod client;
mod imp;
mod reader;
mod session;
mod sparkplug;
mod tls;
mod topics;
pub mod value;

glib::wrapper! {
    /// The element. Its pad pushes the buffers of [`crate::payload`], one a message.
    pub struct MqttSrc(ObjectSubclass<imp::MqttSrc>)
        @extends gst_base::PushSrc, gst_base::BaseSrc, gst::Element, gst::Object;
}

/// The element's name.
pub const NAME: &str = "mqttsrc";

/// Registers the element.
pub(crate) fn register(plugin: Option<&gst::Plugin>) -> Result<(), glib::BoolError> {
    gst::Element::register(plugin, NAME, gst::Rank::NONE, MqttSrc::static_type())
}

const TIME_FORMATS: [(&str, JsonTime); 5] = [
    ("auto", JsonTime::Auto),
    ("s", JsonTime::Seconds),
    ("ms", JsonTime::Milliseconds),
    ("us", JsonTime::Microseconds),
    ("ns", JsonTime::Nanoseconds),
];

/// The element for this broker, with PTS 0 at `base`.
pub(crate) fn for_broker(
    origin: &str,
    broker: &MqttBroker,
    tags: &[&Tag],
    base: UtcNanos,
) -> Result<gst::Element, IngestError> {
    let error = |reason: String| IngestError::Source { origin: origin.to_owned(), reason };
    let scheme = if broker.tls.is_some() { "mqtts" } else { "mqtt" };
    let mut element = gst::ElementFactory::make(NAME)
        .property("address", format!("{scheme}://{}", joined(&broker.host, broker.port)))
        .property("version", if broker.version == MqttVersion::V5 { "5" } else { "3.1.1" })
        .property("keep-alive", broker.keep_alive_ns.unsigned_abs())
        .property("addresses", gst::Array::new(tags.iter().map(|tag| tag.address.as_str())))
        .property("tags", numbers_of(tags.iter().map(|tag| tag.id)))
        .property("base-utc", base.0)
        .property_if_some("client-id", broker.client_id.as_deref())
        .property_if_some("user", broker.user.as_deref())
        .property_if_some("password", broker.password.as_ref().map(ToString::to_string));
    if let Some(tls) = &broker.tls {
        let text = |path: &std::path::Path| {
            path.to_str().map(str::to_owned).ok_or_else(|| error(format!("{} is not valid UTF-8", path.display())))
        };
        if let Some(ca) = &tls.ca {
            element = element.property("ca", text(ca)?);
        }
        if let Some((certificate, key)) = &tls.identity {
            element = element.property("certificate", text(certificate)?).property("key", text(key)?);
        }
    }
    element = match &broker.payload {
        MqttPayload::Plain => element.property("payload", "plain"),
        MqttPayload::Sparkplug => element.property("payload", "sparkplug"),
        MqttPayload::Json { time, time_format, quality } => {
            let format = TIME_FORMATS.iter().find(|(_, format)| format == time_format).map_or("auto", |(word, _)| word);
            element
                .property("payload", "json")
                .property("time-format", format)
                .property_if_some("time", time.as_ref().map(ToString::to_string))
                .property_if_some("quality", quality.as_ref().map(ToString::to_string))
        }
    };
    element.build().map_err(|problem| error(problem.to_string()))
}
