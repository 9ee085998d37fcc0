//! One line: the route thread (everything is recorded first) and the judge thread behind a bounded queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use sightglass_ingest::{IngestEvent, LinePipeline};
use sightglass_protocol::{LineId, Tick};

use crate::EngineError;
use crate::judge::Judge;
use crate::live::{Live, LiveCounters};
use crate::notice::Notice;
use crate::recorder::{Record, RecorderHandle};

/// Ticks that may wait for the model: on a live line more are dropped and counted.
const JUDGE_QUEUE: usize = 32;
/// How often the route thread looks whether it should stop while nothing comes in.
const STOP_LOOK: Duration = Duration::from_millis(100);

/// What a line's threads share with the rest.
#[derive(Clone)]
pub(crate) struct LineParts {
    pub line: LineId,
    pub live: Arc<Live>,
    /// Nothing is recorded without it.
    pub recorder: Option<RecorderHandle>,
    pub notices: SyncSender<Notice>,
    pub stop: Arc<AtomicBool>,
    /// Whether the judge may drop ticks when it is slow: on a live line only, never where a run must be repeatable.
    pub may_drop: bool,
}

impl LineParts {
    fn record(&self, record: Record) {
        if let Some(recorder) = &self.recorder
            && !recorder.put(record)
        {
            tracing::error!("the recorder has ended: line {} is no longer recorded", self.line.0);
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    /// A command that no longer listens (it has been stopped) needs no notice. On a live line one that listens too
    /// slowly misses some: the history has them all, and printing must not hold the recording back.
    fn tell(&self, notice: Notice) {
        let ended = if self.may_drop {
            matches!(self.notices.try_send(notice), Err(TrySendError::Disconnected(_)))
        } else {
            self.notices.send(notice).is_err()
        };
        if ended {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// Starts a line's two threads. Both end by themselves when the sources end or `stop` is set.
///
/// # Errors
/// When a thread cannot be started.
pub(crate) fn start(
    pipeline: LinePipeline,
    judge: Judge,
    parts: LineParts,
) -> Result<[JoinHandle<()>; 2], EngineError> {
    let (ticks, waiting) = sync_channel(JUDGE_QUEUE);
    let judging = parts.clone();
    let judge = std::thread::Builder::new()
        .name(format!("judge-{}", parts.line.0))
        .spawn(move || judge_ticks(judge, &waiting, &judging))
        .map_err(EngineError::io("starting a thread for", "the model"))?;
    let route = std::thread::Builder::new()
        .name(format!("route-{}", parts.line.0))
        .spawn(move || route(pipeline, &ticks, &parts))
        .map_err(EngineError::io("starting a thread for", "the line"))?;
    Ok([route, judge])
}

/// Takes events until the end of the sources or the stop. Dropping `ticks` at the end lets the judge finish.
fn route(pipeline: LinePipeline, ticks: &SyncSender<Tick>, parts: &LineParts) {
    while !parts.stop.load(Ordering::Relaxed) {
        let event = match pipeline.events().recv_timeout(STOP_LOOK) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if event == IngestEvent::EndOfStream {
            break;
        }
        take(event, ticks, parts);
    }
    // What was under way is recorded too, and the last segments are closed.
    for event in pipeline.stop() {
        take(event, ticks, parts);
    }
}

fn take(event: IngestEvent, ticks: &SyncSender<Tick>, parts: &LineParts) {
    match event {
        IngestEvent::Samples(samples) => {
            parts.live.saw(samples.iter().map(|sample| sample.time));
            parts.record(Record::Samples(samples));
        }
        IngestEvent::Tick(tick) => pass_on(tick, ticks, parts),
        IngestEvent::Picture { frame, .. } => parts.live.set_picture(frame),
        IngestEvent::Frames { count, .. } => LiveCounters::add(&parts.live.counters.frames, u64::from(count)),
        IngestEvent::SegmentOpened(segment) | IngestEvent::SegmentClosed(segment) => {
            parts.live.saw([segment.end.unwrap_or(segment.start)]);
            parts.record(Record::Segment(segment));
        }
        IngestEvent::Health(health) => {
            parts.live.set_health(&health);
            parts.record(Record::Health(health.clone()));
            parts.tell(Notice::Health(health));
        }
        IngestEvent::EndOfStream => {}
    }
}

fn pass_on(tick: Tick, ticks: &SyncSender<Tick>, parts: &LineParts) {
    LiveCounters::add(&parts.live.counters.ticks, 1);
    if !parts.may_drop {
        // The judge ends only after this thread, so that a refusal means that it panicked.
        if ticks.send(tick).is_err() {
            parts.tell(Notice::Failed(parts.line, "the model's thread ended unexpectedly".to_owned()));
            parts.stop.store(true, Ordering::Relaxed);
        }
        return;
    }
    match ticks.try_send(tick) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => LiveCounters::add(&parts.live.counters.ticks_dropped, 1),
        Err(TrySendError::Disconnected(_)) => {
            // Recorded before judged: the line goes on without its model.
            LiveCounters::add(&parts.live.counters.ticks_dropped, 1);
            tracing::error!("the model of line {} has ended; recording goes on", parts.line.0);
        }
    }
}

fn judge_ticks(mut judge: Judge, ticks: &Receiver<Tick>, parts: &LineParts) {
    while let Ok(tick) = ticks.recv() {
        let time = tick.time;
        let judged = judge.step(tick);
        parts.live.judged(parts.line, time, &judged, &judge);
        for health in &judged.health {
            parts.live.set_health(health);
            parts.record(Record::Health(health.clone()));
            parts.tell(Notice::Health(health.clone()));
        }
        for change in &judged.advisories {
            parts.record(Record::Advisory(change.clone()));
            parts.tell(Notice::Advisory(change.clone()));
        }
        let surprise = judged.surprise;
        if let Some(surprise) = &surprise {
            parts.record(Record::Output(judged.forecast, surprise.clone()));
        }
        parts.tell(Notice::Tick { line: parts.line, time, surprise });
    }
    parts.tell(Notice::Ended(parts.line));
}
