//! `samplefilesrc`: recorded samples from CSV and Parquet files as a GStreamer source.
//!
//! ```sh
//! gst-launch-1.0 samplefilesrc location=run.csv separator=";" time-column=datetime ! fakesink dump=true
//! ```

use gst::{glib, prelude::*};
use sightglass_plant::{SampleFormat, SampleLayout};
use sightglass_protocol::UtcNanos;

use crate::{IngestError, samplefile::SampleFileSettings};

mod imp;

glib::wrapper! {
    /// The element. Its pad pushes the buffers of [`crate::payload`], one a row.
    pub struct SampleFileSrc(ObjectSubclass<imp::SampleFileSrc>)
        @extends gst_base::PushSrc, gst_base::BaseSrc, gst::Element, gst::Object;
}

/// The element's name.
pub const NAME: &str = "samplefilesrc";

/// Registers the element.
pub(crate) fn register(plugin: Option<&gst::Plugin>) -> Result<(), glib::BoolError> {
    gst::Element::register(plugin, NAME, gst::Rank::NONE, SampleFileSrc::static_type())
}

/// The element for these files, with PTS 0 at `base`.
pub(crate) fn for_files(settings: &SampleFileSettings, base: UtcNanos) -> Result<gst::Element, IngestError> {
    let error = |reason: &dyn std::fmt::Display| IngestError::SampleFile {
        origin: settings.origin.clone(),
        path: settings.paths.first().cloned().unwrap_or_default(),
        reason: reason.to_string(),
    };
    let mut locations = Vec::new();
    for path in &settings.paths {
        locations.push(path.to_str().ok_or_else(|| error(&"the path is not valid UTF-8"))?);
    }
    let mut tags = Vec::new();
    for (_, tag) in &settings.columns {
        tags.push(i32::try_from(tag.0).map_err(|e| error(&e))?);
    }
    let layout = match settings.layout {
        SampleLayout::Wide => "wide",
        SampleLayout::Long => "long",
    };
    let mut element = gst::ElementFactory::make(NAME)
        .property("locations", gst::Array::new(locations))
        .property("layout", layout)
        .property("time-column", &settings.time_column)
        .property("columns", gst::Array::new(settings.columns.iter().map(|(column, _)| column.as_str())))
        .property("tags", gst::Array::new(tags))
        .property("base-utc", base.0);
    element = match settings.format {
        SampleFormat::Csv { separator } => {
            element.property("format", "csv").property("separator", char::from(separator).to_string())
        }
        SampleFormat::Parquet => element.property("format", "parquet"),
    };
    if let Some(from) = settings.from {
        element = element.property("from", from.0);
    }
    if let Some(to) = settings.to {
        element = element.property("to", to.0);
    }
    element.build().map_err(|e| error(&e))
}
