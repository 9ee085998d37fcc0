//! Ticks for training, through the very path that the running line uses.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use sightglass_history::{History, SamplePages};
use sightglass_ingest::{Feed, FeedItem, IngestEvent, LinePipeline, Pace, PipelineOptions, playback};
use sightglass_plant::{CameraFeed, Plant, SourceKind};
use sightglass_protocol::{CameraId, Frame, HealthState, LineId, Sample, Segment, Tick, UtcNanos};
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
    data: PathBuf,
    /// `None` after the last page.
    pages: Option<SamplePages>,
    samples: VecDeque<Sample>,
    cameras: Vec<CameraTrack>,
}

struct CameraTrack {
    camera: CameraId,
    segments: std::vec::IntoIter<Segment>,
    open: Option<(UtcNanos, playback::Pictures)>,
    next: Option<Frame>,
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
            tracks.push(CameraTrack { camera, segments: segments.into_iter(), open: None, next: None });
        }
        Ok(Self {
            runtime,
            data: data.to_owned(),
            pages: Some(history.samples(from, to)),
            samples: VecDeque::new(),
            cameras: tracks,
        })
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

impl CameraTrack {
    /// Decodes on until the next picture is known or the recording is over. A broken segment is a gap.
    fn fill(&mut self, data: &Path) {
        while self.next.is_none() {
            if let Some((start, pictures)) = &mut self.open {
                if let Some((offset, frame)) = pictures.next() {
                    self.next = Some(Frame { camera: self.camera, time: *start + offset, ..frame });
                    return;
                }
                if let Some(error) = pictures.error() {
                    tracing::warn!("a video segment is a gap from here on: {error}");
                }
                self.open = None;
            }
            let Some(segment) = self.segments.next() else { return };
            match playback::pictures(&data.join(&segment.path)) {
                Ok(pictures) => self.open = Some((segment.start, pictures)),
                Err(error) => tracing::warn!("a video segment is a gap: {error}"),
            }
        }
    }
}

impl Feed for HistoryFeed {
    fn next(&mut self) -> Option<FeedItem> {
        self.fill_samples();
        for camera in &mut self.cameras {
            camera.fill(&self.data);
        }
        let sample = self.samples.front().map(|sample| sample.time);
        let earliest = self
            .cameras
            .iter_mut()
            .filter(|camera| camera.next.is_some())
            .min_by_key(|camera| camera.next.as_ref().map(|frame| frame.time));
        match (sample, earliest) {
            (Some(sample), Some(camera)) if camera.next.as_ref().is_some_and(|frame| frame.time <= sample) => {
                camera.next.take().map(FeedItem::Frame)
            }
            (None, Some(camera)) => camera.next.take().map(FeedItem::Frame),
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
