//! Properties that several source elements of samples have.

use std::sync::LazyLock;

use gst::{glib, prelude::*};
use sightglass_protocol::TagId;

use crate::payload::samples_caps;

/// The texts of an array.
pub(crate) fn strings(value: &glib::Value) -> Vec<String> {
    value.get::<gst::Array>().map(|array| array.iter().filter_map(|item| item.get().ok()).collect()).unwrap_or_default()
}

/// The numbers of an array.
pub(crate) fn integers<T: for<'v> glib::value::FromValue<'v>>(value: &glib::Value) -> Vec<T> {
    value.get::<gst::Array>().map(|array| array.iter().filter_map(|item| item.get().ok()).collect()).unwrap_or_default()
}

/// A property that is a list of texts.
pub(crate) fn array_of_strings(name: &str, nick: &str, blurb: &str) -> glib::ParamSpec {
    let item = glib::ParamSpecString::builder("item").nick("Item").blurb("One of them").build();
    gst::ParamSpecArray::builder(name).nick(nick).blurb(blurb).element_spec(&item).mutable_ready().build()
}

/// The property `tags`: a list of tag numbers.
pub(crate) fn tag_numbers(blurb: &str) -> glib::ParamSpec {
    let item = glib::ParamSpecInt::builder("item").nick("Item").blurb("One of them").build();
    gst::ParamSpecArray::builder("tags").nick("Tags").blurb(blurb).element_spec(&item).mutable_ready().build()
}

/// A text property.
pub(crate) fn text(name: &str, nick: &str, blurb: &str, default: Option<&str>) -> glib::ParamSpec {
    glib::ParamSpecString::builder(name).nick(nick).blurb(blurb).default_value(default).mutable_ready().build()
}

/// A property of whole numbers from `low` to `high`.
pub(crate) fn whole(name: &str, nick: &str, blurb: &str, low: u32, high: u32, default: u32) -> glib::ParamSpec {
    let spec = glib::ParamSpecUInt::builder(name).nick(nick).blurb(blurb).minimum(low).maximum(high);
    spec.default_value(default).mutable_ready().build()
}

/// A property that is a time span in nanoseconds.
pub(crate) fn span(name: &str, nick: &str, blurb: &str, default: u64) -> glib::ParamSpec {
    glib::ParamSpecUInt64::builder(name).nick(nick).blurb(blurb).default_value(default).mutable_ready().build()
}

/// The tags of `count` `things`: the given numbers, or where there is none counted from 0.
pub(crate) fn tags_of(numbers: &[i32], count: usize, things: &str) -> Result<Vec<TagId>, String> {
    if numbers.is_empty() {
        return Ok((0..count).map(TagId::from_index).collect());
    }
    if numbers.len() != count {
        return Err(format!("{} tags for {count} {things}; give one each", numbers.len()));
    }
    let tag = |tag: &i32| u32::try_from(*tag).map(TagId).map_err(|_| format!("tag {tag} is negative"));
    numbers.iter().map(tag).collect()
}

/// The numbers of tags, as a property takes them.
pub(crate) fn numbers_of(tags: impl Iterator<Item = TagId>) -> gst::Array {
    // A plant has far fewer tags.
    gst::Array::new(tags.map(|tag| i32::try_from(tag.0).unwrap_or(i32::MAX)))
}

/// The one pad of a source of samples.
pub(crate) fn samples_pad_templates() -> &'static [gst::PadTemplate] {
    static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
        let template = gst::PadTemplate::new("src", gst::PadDirection::Src, gst::PadPresence::Always, &samples_caps());
        template.into_iter().collect()
    });
    &TEMPLATES
}

/// The host and the port of `10.0.0.7:502` or `[fe80::1]:502`.
pub(crate) fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then_some(())?;
    Some((host.to_owned(), port.parse().ok()?))
}

/// A host and its port as [`host_and_port`] reads them.
pub(crate) fn joined(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
