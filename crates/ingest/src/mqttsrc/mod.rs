//! `mqttsrc`: values out of an MQTT broker's messages as a GStreamer source: plain text, JSON, Sparkplug B.
//!
//! ```sh
//! gst-launch-1.0 mqttsrc address=mqtt://broker:1883 addresses='<"hall/line1/level", "hall/line1/flow">' ! fakesink dump=true
//! ```
//!
//! It subscribes. The one message that it sends asks a Sparkplug node to tell anew what it has.

use gst::{glib, prelude::*};
use sightglass_plant::{JsonTime, MqttBroker, MqttPayload, MqttVersion, Tag};
use sightglass_protocol::{Sample, TagId, UtcNanos};

use self::reader::{Message, Reader};
use crate::{
    IngestError,
    live::Faults,
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

/// What a source with these tags makes of messages (topic and payload) that all arrive at one time, in their order: the
/// whole way from foreign bytes to samples, without a broker. Tags count from 0.
///
/// # Errors
/// An address that does not fit the payload. Whatever the messages hold is no error, and no panic.
pub fn read_all(
    payload: &MqttPayload,
    addresses: &[&str],
    messages: &[(&str, &[u8])],
    arrival: UtcNanos,
) -> Result<Vec<Sample>, String> {
    let tag = |(at, address): (usize, &&str)| ((*address).to_owned(), TagId::from_index(at));
    let wanted: Vec<_> = addresses.iter().enumerate().map(tag).collect();
    let mut reader = Reader::new(payload, &wanted)?;
    let mut faults = Faults::new();
    let mut samples = Vec::new();
    for (topic, payload) in messages {
        let message = Message { topic, payload, is_retained: false, arrival };
        samples.extend(reader.read(message, &mut faults).samples);
    }
    Ok(samples)
}

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sightglass_protocol::{Quality, time::SECOND};

    use super::*;

    const ARRIVAL: UtcNanos = UtcNanos(1_795_508_100 * SECOND);

    #[test]
    fn messages_become_samples_in_their_order() {
        let messages: [(&str, &[u8]); 3] = [("b", b"2"), ("a", b"x"), ("other", b"3")];
        let samples = read_all(&MqttPayload::Plain, &["a", "b"], &messages, ARRIVAL).expect("addresses");
        let got: Vec<_> = samples.iter().map(|sample| (sample.tag.0, sample.quality, sample.time)).collect();
        assert_eq!(got, [(1, Quality::Good, ARRIVAL), (0, Quality::Bad, ARRIVAL)]);
        assert!(read_all(&MqttPayload::Plain, &["a/#"], &[], ARRIVAL).is_err());
    }

    proptest! {
        #[test]
        fn no_messages_make_it_panic(messages in prop::collection::vec((any::<String>(), any::<Vec<u8>>()), 0..20)) {
            let json = MqttPayload::Json {
                time: "t".parse().ok(), time_format: JsonTime::Auto, quality: "q".parse().ok(),
            };
            let all: Vec<(&str, &[u8])> = messages
                .iter()
                .flat_map(|(topic, payload)| ["a", "spBv1.0/g/NBIRTH/n", topic].map(|topic| (topic, &payload[..])))
                .collect();
            for (payload, address) in
                [(MqttPayload::Plain, "a"), (json, "a#x[0]"), (MqttPayload::Sparkplug, "g/n#m")]
            {
                prop_assert!(read_all(&payload, &[address], &all, ARRIVAL).is_ok());
            }
        }
    }
}
