//! Starting GStreamer and making its elements.

use std::sync::OnceLock;

use crate::{IngestError, plugin_desc};

/// Starts GStreamer and registers the elements of this crate. May be called any number of times, from any thread.
///
/// # Errors
/// When GStreamer does not start on this PC.
pub fn init() -> Result<(), IngestError> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    let done = DONE.get_or_init(|| {
        gst::init().map_err(|error| error.to_string())?;
        plugin_desc::plugin_register_static().map_err(|error| error.to_string())
    });
    done.clone().map_err(IngestError::Gstreamer)
}

/// An element of GStreamer, or an error that says which package holds it.
pub(crate) fn make(name: &str) -> Result<gst::Element, IngestError> {
    gst::ElementFactory::make(name).build().map_err(|_| IngestError::MissingElement {
        element: name.to_owned(),
        package: match name {
            "matroskamux" | "matroskademux" | "jpegenc" | "jpegdec" | "rtspsrc" => "gstreamer1.0-plugins-good",
            "h264parse" | "h265parse" => "gstreamer1.0-plugins-bad",
            "filesrc" | "filesink" | "queue" | "tee" => "libgstreamer1.0-0",
            _ => "gstreamer1.0-plugins-base",
        },
    })
}

/// A sink that hands everything to this program at once; time is kept elsewhere.
pub(crate) fn app_sink(name: &str) -> gst_app::AppSink {
    let sink = gst_app::AppSink::builder().name(name).sync(false).async_(false).max_buffers(1).qos(false);
    sink.enable_last_sample(false).build()
}

/// Makes software decoders give the same pictures on every run: one thread, no giving up after errors.
pub(crate) fn make_deterministic(decoder: &gst::Element) {
    use gst::prelude::*;
    for (property, value) in [("max-threads", "1"), ("max-errors", "-1"), ("qos", "false")] {
        if decoder.has_property(property) {
            decoder.set_property_from_str(property, value);
        }
    }
}

/// A bin of the launch line `elements`, whose first element is named `head` and whose last is named `tail`; its pads are
/// theirs. Decoders within it are made deterministic.
pub(crate) fn branch(elements: &str) -> Result<gst::Bin, gst::glib::Error> {
    use gst::prelude::*;
    let branch = gst::parse::bin_from_description(elements, false)?;
    for (element, pad) in [("head", "sink"), ("tail", "src")] {
        // The parser's own ghost pads would be wrong: it links what has pads only later, and takes them for free.
        let target = branch.by_name(element).and_then(|element| element.static_pad(pad));
        let ghost = target
            .and_then(|target| gst::GhostPad::builder_with_target(&target).ok())
            .map(|ghost| ghost.name(pad).build());
        let added = ghost.is_some_and(|ghost| branch.add_pad(&ghost).is_ok());
        if !added {
            let text = format!("'{elements}' has no {element} with a pad");
            return Err(gst::glib::Error::new(gst::ParseError::Link, &text));
        }
    }
    branch.connect_deep_element_added(|_, _, element| make_deterministic(element));
    // What the parser made is there already.
    branch.iterate_recurse().into_iter().flatten().for_each(|element| make_deterministic(&element));
    Ok(branch)
}
