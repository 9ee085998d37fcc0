//! Health that travels with the data: a serialized custom event, so that it keeps its place among the samples.

use sightglass_protocol::{Health, HealthState, UtcNanos};

const NAME: &str = "sightglass-health";

/// The event that carries `health` downstream. Its subject is not carried: the receiver knows the source.
pub(crate) fn new(health: &Health) -> gst::Event {
    let structure = gst::Structure::builder(NAME)
        .field("source", &health.source)
        .field("state", health.state as i32)
        .field("since", health.since.0)
        .field("reason", &health.reason)
        .build();
    gst::event::CustomDownstream::new(structure)
}

/// The health that `event` carries, if it is such an event.
pub(crate) fn read(event: &gst::EventRef) -> Option<Health> {
    let structure = event.structure().filter(|structure| structure.name() == NAME)?;
    let state = match structure.get::<i32>("state").ok()? {
        0 => HealthState::Good,
        1 => HealthState::MaintenanceRequired,
        2 => HealthState::OutOfSpecification,
        3 => HealthState::CheckFunction,
        _ => HealthState::Failure,
    };
    Some(Health {
        subject: None,
        source: structure.get("source").ok()?,
        state,
        since: UtcNanos(structure.get("since").ok()?),
        reason: structure.get("reason").ok()?,
    })
}
