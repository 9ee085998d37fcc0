//! All lines of a plant, from start to end: the one path that `run`, `demo` and `replay` share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use sightglass_history::{History, Summary};
use sightglass_ingest::{Feed, LinePipeline, Pace, PipelineOptions, RecordOptions};
use sightglass_plant::Plant;
use sightglass_protocol::message::Counters;
use sightglass_protocol::{AdvisoryId, LineId, UtcNanos, time::SECOND};

use crate::judge::Judge;
use crate::kept_plant::Telling;
use crate::line::{self, LineParts};
use crate::live::Live;
use crate::notice::Notice;
use crate::server::{self, Shared};
use crate::session::Session;
use crate::{EngineError, card, model_files, recorder};

/// Length of a video segment.
const SEGMENT_NS: i64 = 10 * SECOND;
/// Notices that may wait for the command.
const NOTICE_QUEUE: usize = 4_096;
/// How often the command's thread looks whether it should stop while nothing happens.
const STOP_LOOK: Duration = Duration::from_millis(100);

/// How to run.
pub(crate) struct RunOptions {
    /// As fast as possible, or at a multiple of real time.
    pub pace: Pace,
    /// Where to record; nothing is recorded without it.
    pub data: Option<PathBuf>,
    /// Whether to serve windows on the data folder's socket.
    pub serve: bool,
    /// For [`sightglass_protocol::message::Welcome::mode`].
    pub mode: String,
    /// Whether cameras without a time of their own show what is now.
    pub live: bool,
    /// The earliest data.
    pub from: Option<UtcNanos>,
    /// The latest data.
    pub to: Option<UtcNanos>,
    /// Set from outside to stop.
    pub stop: Arc<AtomicBool>,
}

/// What a run did.
pub(crate) struct Outcome {
    pub counters: Counters,
    /// What the history holds afterwards; `None` when nothing was recorded.
    pub history: Option<Summary>,
}

/// Makes the in-process source of a line.
pub(crate) type FeedOf<'a> = &'a dyn Fn(LineId) -> Option<Box<dyn Feed>>;

/// Runs all lines until their sources end or `stop` is set. `notice` sees everything in each line's order.
///
/// # Errors
/// When a source, the model, the history or the socket cannot be opened, or a line fails.
pub(crate) fn run(
    plant: &Plant,
    options: RunOptions,
    feed: FeedOf<'_>,
    mut notice: impl FnMut(&Notice),
) -> Result<Outcome, EngineError> {
    sightglass_ingest::init()?;
    let device = model_files::device(plant)?;
    let load = |line: &sightglass_plant::Line| model_files::load(plant, line.id, &device);
    let models = plant.lines.iter().map(load).collect::<Result<Vec<_>, EngineError>>()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(EngineError::io("starting threads for", "the history"))?;
    let info = plant.info();
    let live = Live::new(&info);
    let history = match &options.data {
        Some(dir) => Some(runtime.block_on(open(dir, plant))?),
        None => None,
    };
    let mut telling = history.as_ref().map(|history| Telling::start(history, plant));
    let first_id = match &history {
        Some(history) => runtime.block_on(history.next_advisory_id())?,
        None => AdvisoryId(1),
    };
    let mut session = history
        .as_ref()
        .map(|history| Session::new(runtime.handle(), history.clone(), Arc::clone(&live), options.live));
    session.iter_mut().for_each(Session::look);
    let (recorder, recording) = match &history {
        Some(history) => {
            let (handle, task) = recorder::start(
                runtime.handle(),
                history.clone(),
                Arc::clone(&live),
                plant.retention,
                Arc::clone(&options.stop),
            );
            (Some(handle), Some(task))
        }
        None => (None, None),
    };
    let serving = match (&history, &options.data) {
        (Some(history), Some(dir)) if options.serve => {
            let shared = Arc::new(Shared {
                plant: info,
                history: history.clone(),
                live: Some(Arc::clone(&live)),
                data: dir.clone(),
                player: Arc::default(),
                mode: options.mode.clone(),
                device: device.description().to_owned(),
            });
            Some(server::start(&runtime, shared)?)
        }
        _ => None,
    };

    let (notices, incoming) = sync_channel(NOTICE_QUEUE);
    let may_drop = matches!(options.pace, Pace::Speed(_)) && options.serve;
    let mut threads = Vec::new();
    for (line, model) in plant.lines.iter().zip(&models) {
        let pipeline = LinePipeline::start(plant, line.id, pipeline_options(&options), feed(line.id))?;
        // Of n lines, each monitor takes every n-th number from the same first one.
        let judge = Judge::new(plant, line.id, model.as_ref(), first_id);
        let parts = LineParts {
            line: line.id,
            live: Arc::clone(&live),
            recorder: recorder.clone(),
            notices: notices.clone(),
            stop: Arc::clone(&options.stop),
            may_drop,
        };
        threads.extend(line::start(pipeline, judge, parts)?);
    }
    drop((recorder, notices));

    let mut failure = None;
    loop {
        session.iter_mut().for_each(Session::look);
        match incoming.recv_timeout(STOP_LOOK) {
            Ok(event) => {
                if let Notice::Failed(line, reason) = &event {
                    failure = Some(format!("line {}: {reason}", plant.lines[line.index()].name));
                }
                if let (Some(telling), Notice::Tick { line, time, .. }) = (&mut telling, &event) {
                    runtime.block_on(telling.tick(*line, *time));
                }
                notice(&event);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    // It holds the history, which is closed below.
    drop(telling);
    for thread in threads {
        if thread.join().is_err() {
            failure.get_or_insert_with(|| "a thread of the line ended unexpectedly".to_owned());
        }
    }
    match recording.map(|recording| runtime.block_on(recording)) {
        None | Some(Ok(0)) => {}
        Some(Ok(given_up)) => {
            failure = Some(format!(
                "stopped while the history could not be written: {given_up} writes are missing in it; free the disk \
                 before the next start"
            ));
        }
        Some(Err(_)) => {
            failure.get_or_insert_with(|| "the recorder ended unexpectedly".to_owned());
        }
    }
    // What may be served from here on is only looked at.
    if let Some(session) = session {
        session.end();
    }
    let stopped = options.stop.load(Ordering::Relaxed);
    if options.serve && !stopped {
        // The sources have ended; the window may still look at what they brought.
        tracing::info!("the sources have ended; serving what was recorded until stopped");
        while !options.stop.load(Ordering::Relaxed) {
            std::thread::park_timeout(STOP_LOOK);
        }
    }
    if let Some(serving) = serving {
        serving.abort();
    }
    let closed = history.map(|history| runtime.block_on(close(history))).transpose();
    match failure {
        Some(reason) => Err(EngineError::FoundWrong(reason)),
        None => Ok(Outcome { counters: live.counters.read(), history: closed? }),
    }
}

fn pipeline_options(options: &RunOptions) -> PipelineOptions {
    PipelineOptions {
        pace: options.pace,
        record: options.data.as_ref().map(|dir| RecordOptions { dir: dir.clone(), segment_ns: SEGMENT_NS }),
        now: options.live.then(card::wall_clock),
        from: options.from,
        to: options.to,
        pictures: options.serve,
    }
}

/// What the history holds at its end.
async fn close(history: History) -> Result<Summary, EngineError> {
    let summary = history.summary().await?;
    history.close().await?;
    Ok(summary)
}

async fn open(dir: &Path, plant: &Plant) -> Result<History, EngineError> {
    let history = History::open(dir, &plant.info()).await?;
    history.close_dangling_advisories().await?;
    Ok(history)
}
