//! Ticks for training, through the very path that the running line uses.

use std::collections::VecDeque;
use std::path::Path;

use sightglass_history::{History, SamplePages};
use sightglass_ingest::{Clip, ClipTrack, Feed, FeedItem, IngestEvent, LinePipeline, Pace, PipelineOptions};
use sightglass_plant::{CameraFeed, Plant, SourceKind};
use sightglass_protocol::{CameraId, HealthState, LineId, Sample, Tick, UtcNanos};
use tokio::runtime::Handle;

use crate::EngineError;

/// The ticks of a line's own sources (or of `feed` where they are the simulator's), as fast as they come.
///
/// # Errors
/// When a source cannot be opened.
pub(crate) fn collect(
    plant: &Plant,
    line: LineId,
    from: Option<UtcNanos>,
    to: Option<UtcNanos>,
    feed: Option<Box<dyn Feed>>,
    mut progress: impl FnMut(&Tick),
) -> Result<Vec<Tick>, EngineError> {
    sightglass_ingest::init()?;
    let options = PipelineOptions { pace: Pace::Max, record: None, now: None, from, to, pictures: false };
    let pipeline = LinePipeline::start(plant, line, options, feed)?;
    let mut ticks = Vec::new();
    while let Ok(event) = pipeline.events().recv() {
        match event {
            IngestEvent::Tick(tick) => {
                progress(&tick);
                ticks.push(tick);
            }
            IngestEvent::Health(health) if health.state != HealthState::Good => {
                tracing::warn!("{}: {}", health.source, health.reason);
            }
            IngestEvent::EndOfStream => break,
            _ => {}
        }
    }
    pipeline.stop();
    Ok(ticks)
}

/// `plant` with every source replaced by the in-process feed: for what was recorded in a history.
pub(crate) fn fed_in_process(plant: &Plant) -> Plant {
    let mut plant = plant.clone();
    for source in &mut plant.sources {
        source.kind = SourceKind::Simulator;
    }
    for camera in &mut plant.cameras {
        camera.feed = CameraFeed::Simulator;
    }
    plant
}

/// Samples and pictures of a history, in time order.
pub(crate) struct HistoryFeed {
    runtime: Handle,
    /// `None` after the last page.
    pages: Option<SamplePages>,
    samples: VecDeque<Sample>,
    cameras: Vec<ClipTrack>,
}

impl HistoryFeed {
    /// A feed of everything within the range.
    ///
    /// # Errors
    /// When the history cannot be read.
    pub(crate) fn new(
        runtime: Handle,
        history: &History,
        data: &Path,
        cameras: &[CameraId],
        from: UtcNanos,
        to: UtcNanos,
    ) -> Result<Self, EngineError> {
        let mut tracks = Vec::new();
        for &camera in cameras {
            let segments = runtime.block_on(history.segments(camera, from, to))?;
            let clips = segments.into_iter().map(|s| Clip { path: data.join(&s.path), start: s.start });
            tracks.push(ClipTrack::new(camera, clips.collect()));
        }
        Ok(Self { runtime, pages: Some(history.samples(from, to)), samples: VecDeque::new(), cameras: tracks })
    }

    /// Loads the next page when the last one is used up. What cannot be read ends the samples, and is told.
    fn fill_samples(&mut self) {
        if !self.samples.is_empty() {
            return;
        }
        let Some(pages) = &mut self.pages else { return };
        match self.runtime.block_on(pages.next()) {
            Ok(Some(page)) => self.samples.extend(page),
            Ok(None) => self.pages = None,
            Err(error) => {
                tracing::error!("the samples from here on cannot be read: {error}");
                self.pages = None;
            }
        }
    }
}

impl Feed for HistoryFeed {
    fn next(&mut self) -> Option<FeedItem> {
        self.fill_samples();
        let sample = self.samples.front().map(|sample| sample.time);
        match (sample, ClipTrack::earliest(&mut self.cameras)) {
            (None, Some((_, camera))) => camera.take().map(FeedItem::Frame),
            (Some(sample), Some((picture, camera))) if picture <= sample => camera.take().map(FeedItem::Frame),
            (Some(time), _) => {
                let mut together = Vec::new();
                while self.samples.front().is_some_and(|sample| sample.time == time) {
                    together.extend(self.samples.pop_front());
                }
                Some(FeedItem::Samples(together))
            }
            (None, None) => None,
        }
    }
}
