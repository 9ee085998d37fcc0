//! The simulated line as a plant and a feed.

use std::path::Path;

use sightglass_ingest::{Feed, FeedItem};
use sightglass_plant::Plant;
use sightglass_plant_sim::{CAMERA_FPS, CAMERA_NAME, CAMERA_ROI, SimItem, Simulation, tags};
use sightglass_protocol::Role;

/// The simulated line, as the demonstration describes it.
pub(crate) fn plant(camera: bool) -> Plant {
    let mut toml = String::from(
        "[plant]\nname = \"bottling hall\"\n[[line]]\nname = \"bottling\"\n[[source]]\nname = \"plc\"\nkind = \"simulator\"\n",
    );
    for tag in tags() {
        let role = match tag.role {
            Role::Measurement => "measurement",
            Role::Setpoint => "setpoint",
            Role::Output => "output",
            Role::Mode => "mode",
        };
        toml += &format!(
            "[[tag]]\nname = {:?}\nunit = {:?}\nrange = [{:?}, {:?}]\nrole = \"{role}\"\nperiod = \"{}ms\"\n",
            tag.name, tag.unit, tag.range.0, tag.range.1, tag.period_ms
        );
    }
    if camera {
        let roi = CAMERA_ROI;
        toml += &format!(
            "[[camera]]\nname = {CAMERA_NAME:?}\nroi = [{}, {}, {}, {}]\nfps = {CAMERA_FPS}\nsimulator = true\n",
            roi.x, roi.y, roi.width, roi.height
        );
    }
    sightglass_plant::parse(&toml, "the simulated line", Path::new(".")).expect("the simulator describes a valid line")
}

/// What the simulation makes, in time order.
pub(crate) struct SimFeed(pub(crate) Simulation);

impl Feed for SimFeed {
    fn next(&mut self) -> Option<FeedItem> {
        Some(match self.0.next()? {
            SimItem::Samples(samples) => FeedItem::Samples(samples),
            SimItem::Frame(frame) => FeedItem::Frame(frame),
        })
    }
}
