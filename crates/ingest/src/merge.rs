//! The thread that reads all sources of a line in the order of capture time, and makes events and ticks of them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, mpsc::SyncSender},
    time::Duration,
};

use sightglass_protocol::{CameraId, Health, HealthState, UtcNanos};

use crate::{
    IngestEvent,
    aligner::Aligner,
    health::LineHealth,
    inlets::{Delivery, Inlets, Step},
    pacer::Pacer,
    recorder::Recorder,
    watch::Watch,
};

/// How long the end of a line waits for a recorder whose camera has ended: the encoded stream takes another way than the
/// decoded one and may end a little later.
const RECORDER_END_MAX: Duration = Duration::from_secs(10);

/// The recorders of a line, as its cameras turn out to have pictures.
pub(crate) type Recorders = Arc<Mutex<Vec<Arc<Recorder>>>>;

pub(crate) struct Merge {
    pub(crate) line: String,
    pub(crate) inlets: Arc<Inlets>,
    pub(crate) watches: Vec<Arc<Watch>>,
    /// Per source, whether it is one of live samples, whose times are this PC's.
    pub(crate) live: Vec<bool>,
    pub(crate) aligner: Aligner,
    pub(crate) health: LineHealth,
    pub(crate) pacer: Arc<Pacer>,
    pub(crate) recorders: Recorders,
    pub(crate) events: SyncSender<IngestEvent>,
    pub(crate) pictures: BTreeMap<CameraId, u32>,
    pub(crate) last: UtcNanos,
}

/// The reader of the events is gone or the line is being stopped.
struct Stopped;

impl Merge {
    /// Runs until every source has ended or the line is stopped.
    pub(crate) fn run(mut self) {
        if self.run_to_end().is_err() {
            tracing::debug!(line = self.line, "stopped before its sources ended");
        }
    }

    fn run_to_end(&mut self) -> Result<(), Stopped> {
        loop {
            match self.inlets.next() {
                Step::Deliver { source, time, delivery } => {
                    // What is live is due when it is there: this PC's clock may be set meanwhile.
                    if !self.live[source] && !self.pacer.wait_for(time) {
                        return Err(Stopped);
                    }
                    self.last = self.last.max(time);
                    self.deliver(source, delivery)?;
                }
                Step::Progress => {}
                Step::Silent { source } => {
                    for health in self.watches[source].fell_silent() {
                        self.tell(health)?;
                    }
                }
                Step::Waiting { source } => self.watches[source].look_for_life(),
                Step::Finished => break,
                Step::Closed => return Err(Stopped),
            }
            for (source, watermark) in self.inlets.watermarks().into_iter().enumerate() {
                self.aligner.advance(source, watermark);
            }
            self.send_ticks()?;
        }
        for source in 0..self.watches.len() {
            self.aligner.end(source);
        }
        self.send_ticks()?;
        self.send_counts()?;
        self.tell_late()?;
        self.close_recorders();
        self.send(IngestEvent::EndOfStream)
    }

    fn deliver(&mut self, source: usize, delivery: Delivery) -> Result<(), Stopped> {
        match delivery {
            Delivery::Samples { samples, arrived } => {
                self.health.samples(source, arrived, &samples);
                self.aligner.samples(source, &samples);
                self.send(IngestEvent::Samples(samples))
            }
            Delivery::Picture { model, size, whole } => {
                *self.pictures.entry(model.camera).or_default() += 1;
                self.health.picture(model.clone(), size);
                self.aligner.frame(source, model);
                match whole {
                    Some(frame) => self.send(IngestEvent::Picture { camera: frame.camera, time: frame.time, frame }),
                    None => Ok(()),
                }
            }
            Delivery::Health(health) => self.tell(health),
        }
    }

    fn send_ticks(&mut self) -> Result<(), Stopped> {
        while let Some(mut tick) = self.aligner.next_tick() {
            self.send_counts()?;
            for health in self.health.tick(&mut tick) {
                self.send(IngestEvent::Health(health))?;
            }
            self.send(IngestEvent::Tick(tick))?;
        }
        Ok(())
    }

    fn tell(&self, health: Health) -> Result<(), Stopped> {
        self.health.told(health).into_iter().try_for_each(|health| self.send(IngestEvent::Health(health)))
    }

    fn send_counts(&mut self) -> Result<(), Stopped> {
        for (camera, count) in std::mem::take(&mut self.pictures) {
            self.send(IngestEvent::Frames { camera, count })?;
        }
        Ok(())
    }

    fn tell_late(&mut self) -> Result<(), Stopped> {
        let late = self.aligner.late();
        if late.samples == 0 && late.frames == 0 {
            return Ok(());
        }
        let reason = format!(
            "{} samples and {} pictures came after their tick; raise the line's grace time, or look for what delays them",
            late.samples, late.frames
        );
        let state = HealthState::OutOfSpecification;
        self.send(IngestEvent::Health(Health {
            subject: None,
            source: self.line.clone(),
            state,
            since: self.last,
            reason,
        }))
    }

    fn close_recorders(&self) {
        let recorders = self.recorders.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for recorder in recorders {
            recorder.close_within(RECORDER_END_MAX);
        }
    }

    fn send(&self, event: IngestEvent) -> Result<(), Stopped> {
        self.events.send(event).map_err(|_| Stopped)
    }
}
