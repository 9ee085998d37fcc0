//! The simulated line as an in-process source of the pipeline.

use sightglass_ingest::{Feed, FeedItem};
use sightglass_plant_sim::{SimItem, SimOptions, Simulation};

/// Hands what the simulation makes to the pipeline, in time order.
pub(crate) struct SimFeed(Simulation);

impl SimFeed {
    /// A feed from the simulation's start.
    pub(crate) fn new(options: SimOptions) -> Self {
        Self(Simulation::new(options))
    }
}

impl Feed for SimFeed {
    fn next(&mut self) -> Option<FeedItem> {
        Some(match self.0.next()? {
            SimItem::Samples(samples) => FeedItem::Samples(samples),
            SimItem::Frame(frame) => FeedItem::Frame(frame),
        })
    }
}
