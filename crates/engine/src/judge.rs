//! One line's model and monitor: tick in, findings out. Pure of threads and clocks, so that a replay gives the same.

use sightglass_monitor::{Monitor, MonitorOptions, Normal};
use sightglass_plant::Plant;
use sightglass_protocol::message::LineState;
use sightglass_protocol::{Advisory, AdvisoryChange, AdvisoryId, Forecast, Health, LineId, Surprise, Tick};
use sightglass_world_model::{PlantModel, Stream};

/// What was found at one tick.
pub(crate) struct Judged {
    /// What the model expects next.
    pub forecast: Option<Forecast>,
    /// How unexpected this tick was; `None` without a model.
    pub surprise: Option<Surprise>,
    /// Advisories that opened, changed or closed.
    pub advisories: Vec<AdvisoryChange>,
    /// Tags and cameras that changed their state.
    pub health: Vec<Health>,
}

/// The judge of one line.
pub(crate) struct Judge {
    stream: Option<Stream>,
    monitor: Monitor,
}

impl Judge {
    /// A judge that has seen nothing yet. Without a model it still watches the health of tags and cameras.
    pub(crate) fn new(plant: &Plant, line: LineId, model: Option<&PlantModel>, next_id: AdvisoryId) -> Self {
        let info = plant.info();
        let normal = model.map(|model| Normal {
            longest_hold_ticks: model.card().longest_hold_ticks.clone(),
            longest_still_ticks: model.card().longest_still_ticks.clone(),
        });
        let monitor = Monitor::new(&info.lines[line.index()], &info, normal, next_id, MonitorOptions::default());
        Self { stream: model.map(PlantModel::stream), monitor }
    }

    /// Judges the next tick.
    pub(crate) fn step(&mut self, mut tick: Tick) -> Judged {
        let mut health = self.monitor.check(&mut tick);
        let output = self.stream.as_mut().map(|stream| stream.step(&tick));
        let (forecast, surprise) = match output {
            Some(output) => (output.forecast, Some(output.surprise)),
            None => (None, None),
        };
        let findings = self.monitor.observe(&tick, surprise.as_ref());
        health.extend(findings.health);
        Judged { forecast, surprise, advisories: findings.advisories, health }
    }

    /// The model's stream after the last tick; `None` without a model.
    pub(crate) fn stream(&self) -> Option<&Stream> {
        self.stream.as_ref()
    }

    /// The line's state after the last tick.
    pub(crate) fn line_state(&self) -> LineState {
        self.monitor.line_state()
    }

    /// The open advisories.
    pub(crate) fn open(&self) -> &[Advisory] {
        self.monitor.open()
    }
}
