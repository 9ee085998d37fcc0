//! `modbussrc`: the values of a Modbus device as a GStreamer source. It reads (function codes 1 to 4) and never writes.
//!
//! ```sh
//! gst-launch-1.0 modbussrc address=10.0.0.7:502 points='<"holding:100 f32 cdab", "coil:3">' ! fakesink dump=true
//! ```

use gst::{glib, prelude::*};
use sightglass_plant::{ModbusDevice, ModbusFraming, ModbusPoint, Tag, WordOrder};
use sightglass_protocol::UtcNanos;

use crate::{
    IngestError,
    properties::{joined, numbers_of},
};

pub mod decode;
mod imp;
pub mod map;
mod pace;
mod poll;
mod request;

glib::wrapper! {
    /// The element. Its pad pushes the buffers of [`crate::payload`], one a read.
    pub struct ModbusSrc(ObjectSubclass<imp::ModbusSrc>)
        @extends gst_base::PushSrc, gst_base::BaseSrc, gst::Element, gst::Object;
}

/// The element's name.
pub const NAME: &str = "modbussrc";

/// Registers the element.
pub(crate) fn register(plugin: Option<&gst::Plugin>) -> Result<(), glib::BoolError> {
    gst::Element::register(plugin, NAME, gst::Rank::NONE, ModbusSrc::static_type())
}

/// The words of an order.
const ORDERS: [(&str, WordOrder); 4] =
    [("abcd", WordOrder::Abcd), ("cdab", WordOrder::Cdab), ("badc", WordOrder::Badc), ("dcba", WordOrder::Dcba)];

/// The points of these addresses: names of the map where there is one, else places.
fn points(map: Option<&std::path::Path>, addresses: &[String]) -> Result<Vec<ModbusPoint>, String> {
    let map = map.map(|path| map::read(path).map_err(|error| format!("register map {}: {error}", path.display())));
    let map = map.transpose()?;
    let point = |address: &String| match &map {
        None => address.parse().map_err(|error| format!("'{address}': {error}")),
        Some(map) => map.get(address).copied().ok_or_else(|| {
            let names: Vec<&str> = map.keys().map(String::as_str).collect();
            let near = sightglass_plant::nearest(address, &names).map(|near| format!("; did you mean '{near}'?"));
            format!("the register map has no '{address}'{}", near.unwrap_or_default())
        }),
    };
    addresses.iter().map(point).collect()
}

/// The element for this device, with PTS 0 at `base`.
pub(crate) fn for_device(
    origin: &str,
    device: &ModbusDevice,
    tags: &[&Tag],
    base: UtcNanos,
) -> Result<gst::Element, IngestError> {
    let error = |reason: String| IngestError::Source { origin: origin.to_owned(), reason };
    let addresses: Vec<String> = tags.iter().map(|tag| tag.address.clone()).collect();
    points(device.map.as_deref(), &addresses).map_err(error)?;
    let framing = match device.framing {
        ModbusFraming::Tcp => "tcp",
        ModbusFraming::Rtu => "rtu",
    };
    let order = ORDERS.iter().find(|(_, order)| *order == device.word_order).map_or("abcd", |(word, _)| word);
    let mut element = gst::ElementFactory::make(NAME)
        .property("address", joined(&device.host, device.port))
        .property("framing", framing)
        .property("unit", u32::from(device.unit))
        .property("word-order", order)
        .property("timeout", device.timeout_ns.unsigned_abs())
        .property("pause", device.pause_ns.unsigned_abs())
        .property("block-registers", u32::from(device.block_max))
        .property("block-gap", u32::from(device.block_gap))
        .property("points", gst::Array::new(addresses))
        .property("periods", gst::Array::new(tags.iter().map(|tag| tag.period_ns)))
        .property("tags", numbers_of(tags.iter().map(|tag| tag.id)))
        .property("base-utc", base.0);
    if let Some(map) = &device.map {
        let map = map.to_str().ok_or_else(|| error(format!("the path {} is not valid UTF-8", map.display())))?;
        element = element.property("map", map);
    }
    element.build().map_err(|problem| error(problem.to_string()))
}
