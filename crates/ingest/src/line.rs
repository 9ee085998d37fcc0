//! A line as one GStreamer pipeline with one clock.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use gst::prelude::*;
use sightglass_plant::{Camera, CameraFeed, Line, Plant, Source, SourceKind, Tag};
use sightglass_protocol::{CameraId, LineId, Role, Subject, TagId, UtcNanos};

use crate::{
    Feed, IngestError, IngestEvent, Pace, PipelineOptions,
    aligner::{Aligner, AlignerSettings, TagSettings},
    camera::{self, CameraTaps},
    clips::{self, ClipFeed},
    elements::{app_sink, init},
    event::EVENTS_MAX,
    feeding::{CameraPad, Feeding, time_of},
    health::{CameraHealthSettings, LineHealth, LineHealthSettings, TagHealthSettings},
    inlets::{Delivery, INLET_PICTURES_MAX, INLET_ROWS_MAX, Inlets},
    merge::{Merge, Recorders},
    modbussrc, mqttsrc, opcuasrc,
    pacer::Pacer,
    payload,
    picture_tap::{PictureTap, StreamTime, follow_events},
    record_tap::RecordTap,
    recorder::Recorder,
    rtsp,
    samplefile::{SampleFileReader, SampleFileSettings},
    samplefilesrc,
    watch::Watch,
};

/// How often a stop looks whether everything has ended, while it takes the last events.
const STOP_LOOK: Duration = Duration::from_millis(10);
/// Batches of samples between the feed and the merge.
const FEED_BATCHES: u64 = 64;

/// A running line. Dropping it stops it.
pub struct LinePipeline {
    events: Receiver<IngestEvent>,
    running: Option<Running>,
}

struct Running {
    pipeline: gst::Pipeline,
    inlets: Arc<Inlets>,
    pacer: Arc<Pacer>,
    recorders: Recorders,
    threads: Vec<JoinHandle<()>>,
    connections: Vec<rtsp::Connection>,
}

/// What delivers to a line, in the order of the merge.
enum Origin<'a> {
    Files(SampleFileSettings),
    Live(&'a Source, Vec<&'a Tag>),
    FeedSamples,
    Camera(&'a Camera),
}

impl Origin<'_> {
    /// Whether its times are this PC's, so that what comes is due at once.
    fn is_live(&self) -> bool {
        match self {
            Self::Live(..) => true,
            Self::Camera(camera) => camera.feed.is_live(),
            Self::Files(_) | Self::FeedSamples => false,
        }
    }
}

impl LinePipeline {
    /// Starts the line. `feed` serves every simulator source and simulator camera of it.
    ///
    /// A camera that fails while it starts (a device that is not there) is told as health, and the rest of the line runs.
    ///
    /// # Errors
    /// When a file does not exist or lacks a column, a launch line is wrong, a GStreamer element is not installed, or a
    /// simulator source has no feed.
    pub fn start(
        plant: &Plant,
        line: LineId,
        options: PipelineOptions,
        feed: Option<Box<dyn Feed>>,
    ) -> Result<Self, IngestError> {
        init()?;
        if let Pace::Speed(speed) = options.pace
            && !(speed.is_finite() && speed > 0.0)
        {
            return Err(IngestError::Speed(speed));
        }
        let line = plant.lines.get(line.index()).ok_or(IngestError::NoLine(line.index()))?;
        Start::new(plant, line, options, feed)?.run()
    }

    /// The line's events, in order; [`IngestEvent::EndOfStream`] is the last one. A reader that is slow holds recorded
    /// and simulated sources back.
    pub fn events(&self) -> &Receiver<IngestEvent> {
        &self.events
    }

    /// Stops the line and closes its files. Gives the events that were still under way, [`IngestEvent::SegmentClosed`]
    /// among them.
    pub fn stop(mut self) -> Vec<IngestEvent> {
        self.tear_down()
    }

    fn tear_down(&mut self) -> Vec<IngestEvent> {
        let Some(running) = self.running.take() else { return Vec::new() };
        let teardown = std::thread::spawn(move || running.tear_down());
        // Whoever still sends must find a reader, or the threads would never end.
        let mut last = Vec::new();
        loop {
            match self.events.recv_timeout(STOP_LOOK) {
                Ok(event) => last.push(event),
                Err(RecvTimeoutError::Timeout) if !teardown.is_finished() => {}
                Err(_) => break,
            }
        }
        if teardown.join().is_err() {
            tracing::error!("a thread of the line panicked while it was stopped");
        }
        last.extend(self.events.try_iter());
        last
    }
}

impl Drop for LinePipeline {
    fn drop(&mut self) {
        self.tear_down();
    }
}

impl Running {
    fn tear_down(self) {
        self.inlets.close();
        self.pacer.stop();
        drop(self.connections);
        if let Err(error) = self.pipeline.set_state(gst::State::Null) {
            tracing::error!("the pipeline does not stop: {error}");
        }
        for recorder in self.recorders.lock().unwrap_or_else(std::sync::PoisonError::into_inner).drain(..) {
            recorder.close();
        }
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the line panicked");
            }
        }
    }
}

/// What is known before anything runs.
struct Start<'a> {
    plant: &'a Plant,
    line: &'a Line,
    options: PipelineOptions,
    origins: Vec<Origin<'a>>,
    feed: Option<Box<dyn Feed>>,
    first: Option<crate::FeedItem>,
    /// The default start of cameras.
    default_start: UtcNanos,
    /// Capture time at the pipeline's time 0.
    base: UtcNanos,
}

impl<'a> Start<'a> {
    fn new(
        plant: &'a Plant,
        line: &'a Line,
        options: PipelineOptions,
        feed: Option<Box<dyn Feed>>,
    ) -> Result<Self, IngestError> {
        let mut origins = Vec::new();
        let mut first_sample: Option<UtcNanos> = None;
        let mut is_fed = false;
        let (mut has_files, mut has_live) = (false, false);
        for (at, source) in plant.sources.iter().enumerate() {
            let tags: Vec<&Tag> =
                line.tags.iter().map(|tag| &plant.tags[tag.index()]).filter(|tag| tag.source == at).collect();
            if tags.is_empty() {
                continue;
            }
            match &source.kind {
                SourceKind::Simulator => is_fed = true,
                SourceKind::Modbus(_) | SourceKind::Mqtt(_) | SourceKind::OpcUa(_) => {
                    if options.now.is_none() {
                        return Err(IngestError::OnlyLive { origin: source.name.clone() });
                    }
                    has_live = true;
                    origins.push(Origin::Live(source, tags));
                }
                SourceKind::File(file) => {
                    has_files = true;
                    let columns = tags.iter().map(|tag| (tag.address.clone(), tag.id)).collect();
                    let settings = SampleFileSettings {
                        origin: source.name.clone(),
                        paths: file.paths.clone(),
                        format: file.format,
                        layout: file.layout,
                        time_column: file.time_column.clone(),
                        columns,
                        from: options.from,
                        to: options.to,
                    };
                    let first = SampleFileReader::first_time(&settings)?;
                    first_sample = first_sample.into_iter().chain(first).min();
                    origins.push(Origin::Files(settings));
                }
            }
        }
        let cameras = || line.cameras.iter().map(|camera| &plant.cameras[camera.index()]);
        if let Some(camera) = cameras().find(|camera| camera.feed.is_live()) {
            if options.now.is_none() {
                return Err(IngestError::OnlyLive { origin: camera.name.clone() });
            }
            has_live = true;
        }
        if has_files && has_live {
            return Err(IngestError::FilesBesideLive { line: line.name.clone() });
        }
        if is_fed {
            origins.push(Origin::FeedSamples);
        }
        is_fed |= cameras().any(|camera| camera.feed == CameraFeed::Simulator);
        origins.extend(cameras().map(Origin::Camera));
        let mut feed = feed.filter(|_| is_fed);
        if cameras().any(|camera| matches!(camera.feed, CameraFeed::Clips(_))) {
            if is_fed {
                return Err(IngestError::ClipsBesideSimulator { line: line.name.clone() });
            }
            let mut tracks = Vec::new();
            for camera in cameras() {
                if let CameraFeed::Clips(index) = &camera.feed {
                    tracks.push((camera.id, clips::read_index(&camera.name, index)?));
                }
            }
            feed = Some(Box::new(ClipFeed::new(tracks)));
        }
        if is_fed && feed.is_none() {
            return Err(IngestError::NoFeed { line: line.name.clone() });
        }
        // An item without samples has no time, and nothing else to give.
        let first =
            feed.as_mut().and_then(|feed| std::iter::from_fn(|| feed.next()).find(|item| time_of(item).is_some()));
        let first_fed = first.as_ref().and_then(time_of);
        let first_sample = first_sample.into_iter().chain(first_fed).min();
        let starts = cameras().filter(|camera| !camera.feed.is_fed()).filter_map(|camera| camera.start);
        let default_start = first_sample.or(options.now).unwrap_or(UtcNanos(0));
        let earliest = first_sample.into_iter().chain(starts).min().unwrap_or(default_start);
        let base = options.from.map_or(earliest, |from| from.max(earliest));
        Ok(Self { plant, line, options, origins, feed, first, default_start, base })
    }

    fn camera_start(&self, camera: &Camera) -> UtcNanos {
        match &camera.feed {
            feed if feed.is_fed() => self.base,
            _ => camera.start.unwrap_or(self.default_start),
        }
    }

    fn run(mut self) -> Result<LinePipeline, IngestError> {
        let inlets = Arc::new(Inlets::new(self.origins.iter().map(|origin| match origin {
            Origin::Camera(_) => INLET_PICTURES_MAX,
            _ => INLET_ROWS_MAX,
        })));
        let watches: Vec<_> =
            self.origins.iter().enumerate().map(|(at, origin)| self.watch(at, origin, &inlets)).collect();
        let (events_in, events) = sync_channel(EVENTS_MAX);
        let recorders = Recorders::default();
        let mut bins = Vec::new();
        let mut files = Vec::new();
        let mut samples = None;
        let mut cameras = BTreeMap::new();
        let mut cameras_in_network = Vec::new();
        for (at, origin) in self.origins.iter().enumerate() {
            let name = format!("source-{at}");
            match origin {
                Origin::Files(settings) => bins.push((at, self.file_bin(&name, settings, &watches[at])?)),
                Origin::Live(source, tags) => bins.push((at, self.live_bin(&name, source, tags, &watches[at])?)),
                Origin::FeedSamples => {
                    let (bin, source) = self.feed_bin(&name, &watches[at])?;
                    bins.push((at, bin));
                    samples = Some(source);
                }
                Origin::Camera(camera) => match &camera.feed {
                    CameraFeed::Rtsp(rtsp) => {
                        inlets.limit_wait(at);
                        let recorder = self.recorder(camera, &events_in);
                        recorders.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(recorder.clone());
                        cameras_in_network.push(rtsp::Subject {
                            camera: (*camera).clone(),
                            rtsp: rtsp.clone(),
                            watch: Arc::clone(&watches[at]),
                            recorder,
                            whole: self.options.pictures,
                        });
                    }
                    _ => {
                        let taps = self.taps(camera, &recorders, &events_in);
                        let parts = camera::build(&name, camera, self.camera_start(camera), &watches[at], taps)?;
                        bins.push((at, parts.bin));
                        if parts.is_file {
                            files.push(at);
                        }
                        if let Some(source) = parts.feed {
                            cameras.insert(camera.id, CameraPad::new(source, camera.fps));
                        }
                    }
                },
            }
        }
        let pipeline = gst::Pipeline::with_name(&format!("line-{}", self.line.id.0));
        let error = |reason: &dyn std::fmt::Display| IngestError::Pipeline {
            line: self.line.name.clone(),
            reason: reason.to_string(),
        };
        listen(&pipeline, &watches);
        pipeline.set_state(gst::State::Playing).map_err(|e| error(&e))?;
        let pacer = Pacer::new(self.options.pace, &pipeline, self.base).ok_or_else(|| error(&"it has no clock"))?;
        let pacer = Arc::new(pacer);
        let mut aligner = Aligner::new(self.aligner_settings());
        let live: Vec<_> = self.origins.iter().map(Origin::is_live).collect();
        if live.contains(&true) {
            aligner.begin_at(self.base);
        }
        let merge = Merge {
            line: self.line.name.clone(),
            inlets: Arc::clone(&inlets),
            watches: watches.clone(),
            live,
            aligner,
            health: LineHealth::new(self.health_settings()),
            pacer: Arc::clone(&pacer),
            recorders: Arc::clone(&recorders),
            events: events_in,
            pictures: BTreeMap::new(),
            last: self.base,
        };
        let mut running = Running {
            pipeline,
            inlets: Arc::clone(&inlets),
            pacer,
            recorders,
            threads: Vec::new(),
            connections: Vec::new(),
        };
        running.threads.push(spawn("merge", move || merge.run()).map_err(|e| error(&e))?);
        let mut started = LinePipeline { events, running: Some(running) };
        let Some(running) = &mut started.running else { return Ok(started) };
        for (at, bin) in bins {
            running.pipeline.add(&bin).map_err(|e| error(&e))?;
            let paused = bin.set_state(gst::State::Paused);
            if paused == Ok(gst::StateChangeSuccess::NoPreroll) {
                inlets.limit_wait(at);
            }
            if paused.is_err() || bin.sync_state_with_parent().is_err() {
                give_up(&running.pipeline, &bin, &watches[at]);
            } else if files.contains(&at) {
                watches[at].set_reader(&bin);
            }
        }
        for subject in cameras_in_network {
            running.connections.push(rtsp::Connection::start(subject).map_err(|e| error(&e))?);
        }
        if let Some(feed) = self.feed.take() {
            let (from, to, base) = (self.options.from, self.options.to, self.base);
            let feeding = Feeding { feed, first: self.first.take(), base, from, to, samples, cameras };
            running.threads.push(spawn("feed", move || feeding.run()).map_err(|e| error(&e))?);
        }
        Ok(started)
    }

    fn watch(&self, at: usize, origin: &Origin<'_>, inlets: &Arc<Inlets>) -> Arc<Watch> {
        let (name, subject, start) = match origin {
            Origin::Files(settings) => (settings.origin.clone(), None, self.base),
            Origin::Live(source, _) => (source.name.clone(), None, self.base),
            Origin::FeedSamples => ("simulator".to_owned(), None, self.base),
            Origin::Camera(camera) => {
                (camera.name.clone(), Some(Subject::Camera(camera.id)), self.camera_start(camera))
            }
        };
        let watch = Watch::new(name, subject, at, Arc::clone(inlets), start);
        let is_lasting = matches!(origin, Origin::Camera(camera) if camera.feed.is_live());
        Arc::new(if is_lasting { watch.lasting() } else { watch })
    }

    fn aligner_settings(&self) -> AlignerSettings {
        let tag = |tag: &TagId| {
            let tag = &self.plant.tags[tag.index()];
            let holds = matches!(tag.role, Role::Setpoint | Role::Mode);
            TagSettings { tag: tag.id, period_ns: tag.period_ns, holds }
        };
        AlignerSettings {
            line: self.line.id,
            tick_ns: self.line.tick_ns,
            grace_ns: self.line.grace_ns,
            tags: self.line.tags.iter().map(tag).collect(),
            cameras: self.line.cameras.clone(),
            sources: self.origins.len(),
        }
    }

    fn health_settings(&self) -> LineHealthSettings {
        let tag = |tag: &TagId| {
            let tag = &self.plant.tags[tag.index()];
            TagHealthSettings {
                tag: tag.id,
                name: tag.name.clone(),
                unit: tag.unit.clone(),
                role: tag.role,
                range: tag.range,
                period_ns: tag.period_ns,
            }
        };
        let camera = |camera: &CameraId| {
            let camera = &self.plant.cameras[camera.index()];
            CameraHealthSettings { camera: camera.id, name: camera.name.clone(), fps: camera.fps }
        };
        LineHealthSettings {
            tick_ns: self.line.tick_ns,
            tags: self.line.tags.iter().map(tag).collect(),
            cameras: self.line.cameras.iter().map(camera).collect(),
            sources: self.origins.len(),
        }
    }

    fn taps(&self, camera: &Camera, recorders: &Recorders, events: &SyncSender<IngestEvent>) -> CameraTaps {
        let start = self.camera_start(camera);
        let time = StreamTime { start, from: self.options.from, to: self.options.to, device: None };
        let pictures = PictureTap {
            camera: camera.id,
            camera_name: camera.name.clone(),
            roi: camera.roi,
            time: time.clone(),
            whole: self.options.pictures,
            gaps: camera.feed.is_fed(),
        };
        let record = self.recorder(camera, events).map(|recorder| {
            let recorders = Arc::clone(recorders);
            RecordTap {
                recorder,
                time,
                lasting: false,
                on_attach: Box::new(move |recorder| {
                    recorders.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(recorder);
                }),
            }
        });
        CameraTaps { pictures, record }
    }

    fn recorder(&self, camera: &Camera, events: &SyncSender<IngestEvent>) -> Option<Arc<Recorder>> {
        let record = self.options.record.clone()?;
        Some(Arc::new(Recorder::new(record, camera.id, camera.name.clone(), events.clone())))
    }

    fn file_bin(&self, name: &str, settings: &SampleFileSettings, watch: &Arc<Watch>) -> Result<gst::Bin, IngestError> {
        let source = samplefilesrc::for_files(settings, self.base)?;
        self.samples_bin(name, source, None, watch)
    }

    fn live_bin(
        &self,
        name: &str,
        source: &Source,
        tags: &[&Tag],
        watch: &Arc<Watch>,
    ) -> Result<gst::Bin, IngestError> {
        let element = match &source.kind {
            SourceKind::Modbus(device) => modbussrc::for_device(&source.name, device, tags, self.base)?,
            SourceKind::Mqtt(broker) => mqttsrc::for_broker(&source.name, broker, tags, self.base)?,
            SourceKind::OpcUa(server) => opcuasrc::for_server(&source.name, server, tags, self.base)?,
            SourceKind::File(_) | SourceKind::Simulator => {
                return Err(IngestError::Source { origin: source.name.clone(), reason: "is not live".to_owned() });
            }
        };
        self.samples_bin(name, element, Some(self.base), watch)
    }

    fn feed_bin(&self, name: &str, watch: &Arc<Watch>) -> Result<(gst::Bin, gst_app::AppSrc), IngestError> {
        let source = gst_app::AppSrc::builder()
            .caps(&payload::samples_caps())
            .format(gst::Format::Time)
            .stream_type(gst_app::AppStreamType::Stream)
            .max_buffers(FEED_BATCHES)
            .max_bytes(0)
            .block(true)
            .build();
        let bin = self.samples_bin(name, source.clone().upcast(), Some(self.base), watch)?;
        Ok((bin, source))
    }

    fn samples_bin(
        &self,
        name: &str,
        source: gst::Element,
        gaps_from: Option<UtcNanos>,
        watch: &Arc<Watch>,
    ) -> Result<gst::Bin, IngestError> {
        let error =
            |e: gst::glib::BoolError| IngestError::Pipeline { line: self.line.name.clone(), reason: e.to_string() };
        let sink = app_sink("samples");
        follow_events(&sink, Arc::clone(watch), gaps_from);
        let on_end = Arc::clone(watch);
        let deliver = Arc::clone(watch);
        sink.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    take_samples(&sample, &deliver)
                })
                .eos(move |_| on_end.finish())
                .build(),
        );
        watch.set_linked();
        let bin = gst::Bin::with_name(name);
        bin.add_many([&source, sink.upcast_ref()]).map_err(error)?;
        source.link(&sink).map_err(error)?;
        Ok(bin)
    }
}

fn take_samples(sample: &gst::Sample, watch: &Watch) -> Result<gst::FlowSuccess, gst::FlowError> {
    let map = sample.buffer().ok_or(gst::FlowError::Error)?.map_readable().map_err(|_| gst::FlowError::Error)?;
    match payload::decode(&map) {
        Ok(samples) => {
            let Some(first) = samples.iter().map(|sample| sample.time).min() else { return Ok(gst::FlowSuccess::Ok) };
            let arrived = sample.buffer().and_then(payload::arrival);
            watch.deliver(first, Delivery::Samples { samples, arrived }).map_err(|_| gst::FlowError::Eos)?;
        }
        Err(error) => watch.trouble(format!("a batch of samples is left out: {error}")),
    }
    Ok(gst::FlowSuccess::Ok)
}

/// Takes a part that does not start out of the pipeline; the others go on.
fn give_up(pipeline: &gst::Pipeline, bin: &gst::Bin, watch: &Watch) {
    // What it said itself says more, where it said something.
    watch.fail("it does not start".to_owned());
    watch.finish();
    // The pipeline would leave those of its elements running that did start.
    if bin.set_state(gst::State::Null).is_err() || pipeline.remove(bin).is_err() {
        tracing::error!(part = %bin.name(), "a part that does not start cannot be taken out of the pipeline");
    }
}

/// Follows what the elements say. The bus is read by whoever posts, so that nothing has to poll it.
fn listen(pipeline: &gst::Pipeline, watches: &[Arc<Watch>]) {
    let Some(bus) = pipeline.bus() else { return };
    let watches = Mutex::new(watches.to_vec());
    bus.set_sync_handler(move |_, message| {
        let watch = source_of(message)
            .and_then(|at| watches.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(at).cloned());
        match (message.view(), watch) {
            // What this element has to say comes with its data.
            (gst::MessageView::Warning(_), _) if is_sample_file(message) => {}
            (gst::MessageView::Warning(warning), Some(watch)) => {
                watch.trouble(error_text(&warning.error(), warning.debug()))
            }
            (gst::MessageView::Error(error), Some(watch)) => watch.fail(error_text(&error.error(), error.debug())),
            (gst::MessageView::Error(error), None) => tracing::error!("the pipeline: {}", error.error()),
            _ => {}
        }
        gst::BusSyncReply::Drop
    });
}

fn is_sample_file(message: &gst::Message) -> bool {
    message.src().is_some_and(|source| source.is::<samplefilesrc::SampleFileSrc>())
}

/// The position in a message's name of the part of the pipeline that it comes from.
fn source_of(message: &gst::Message) -> Option<usize> {
    let mut object = message.src().cloned();
    while let Some(current) = object {
        if let Some(at) = current.name().strip_prefix("source-").and_then(|at| at.parse().ok()) {
            return Some(at);
        }
        object = current.parent();
    }
    None
}

/// An element's error with the one line of its debug text that says more.
pub(crate) fn error_text(error: &gst::glib::Error, debug: Option<gst::glib::GString>) -> String {
    let detail = debug.as_deref().and_then(|debug| debug.lines().nth(1)).map(str::trim).filter(|line| !line.is_empty());
    match detail {
        Some(detail) => format!("{error} ({detail})"),
        None => error.to_string(),
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body)
}
