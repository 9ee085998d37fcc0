//! Answers to the window: each request is a view and a time, each answer what is to be drawn.

use sightglass_history::HistoryError;
use sightglass_protocol::message::{
    At, Counters, LineState, LineSummary, LineView, Overview, PROTOCOL_VERSION, Reply, Request, Welcome,
};
use sightglass_protocol::{Advisory, AdvisoryKind, CameraId, LineId, Role, UtcNanos, time::SECOND};

use crate::pictures;
use crate::server::Shared;

/// The time of the sparkline on the screen *Overview*.
const SPARKLINE_NS: i64 = 600 * SECOND;
/// Points of that sparkline.
const SPARKLINE_POINTS: u32 = 240;
/// Advisories in one answer.
const ADVISORIES_MAX: u32 = 200;
/// Points a tag that a window may ask for.
const PIXELS_MAX: u32 = 8_192;
/// The longest time that a window may ask for at once: ten years.
const SPAN_NS_MAX: i64 = 3_653 * 86_400 * SECOND;

/// The answer to one request; what cannot be answered is refused with the reason.
pub(crate) async fn answer(shared: &Shared, request: Request) -> Reply {
    match try_answer(shared, request).await {
        Ok(reply) => reply,
        Err(reason) => Reply::Refused { reason },
    }
}

fn text(error: HistoryError) -> String {
    error.to_string()
}

async fn try_answer(shared: &Shared, request: Request) -> Result<Reply, String> {
    match request {
        Request::Hello { protocol } if protocol != PROTOCOL_VERSION => Err(format!(
            "this engine (Sightglass {}) speaks protocol {PROTOCOL_VERSION}, the window {protocol}; install the same version of both",
            env!("CARGO_PKG_VERSION")
        )),
        Request::Hello { .. } => Ok(Reply::Welcome(Box::new(Welcome {
            protocol: PROTOCOL_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            plant: shared.plant.clone(),
            mode: shared.mode.clone(),
            device: shared.device.clone(),
        }))),
        Request::Overview => overview(shared).await.map(Reply::Overview),
        Request::Line { line, at, span_ns, pixels } => {
            if line.index() >= shared.plant.lines.len() {
                return Err(format!("there is no line {}", line.0));
            }
            if !(1..=SPAN_NS_MAX).contains(&span_ns) || !(1..=PIXELS_MAX).contains(&pixels) {
                return Err(format!(
                    "a view shows 1 ns to ten years in 1 to {PIXELS_MAX} points, not {span_ns} ns in {pixels}"
                ));
            }
            line_view(shared, line, at, span_ns, pixels).await.map(|view| Reply::Line(Box::new(view)))
        }
        Request::Picture { camera, at } => picture(shared, camera, at).await,
        Request::Step { camera, time, forward } => {
            pictures::step(&shared.history, &shared.data, &shared.player, camera, time, forward)
                .await
                .map(Reply::Picture)
        }
        Request::Advisories { line, from, to } => {
            shared.history.advisories(line, from, to, ADVISORIES_MAX).await.map(Reply::Advisories).map_err(text)
        }
        Request::Recorded { line } => shared.history.recorded(line).await.map(Reply::Recorded).map_err(text),
    }
}

fn counters(shared: &Shared) -> Counters {
    shared.live.as_ref().map(|live| live.counters.read()).unwrap_or_default()
}

async fn newest(shared: &Shared, line: LineId) -> Result<Option<UtcNanos>, String> {
    match shared.live.as_ref().and_then(|live| live.line(line)).and_then(|line| line.now) {
        Some(now) => Ok(Some(now)),
        None => Ok(shared.history.range(line).await.map_err(text)?.map(|(_, last)| last)),
    }
}

async fn overview(shared: &Shared) -> Result<Overview, String> {
    let mut lines = Vec::with_capacity(shared.plant.lines.len());
    let mut now = shared.live.as_ref().and_then(|live| live.now());
    for info in &shared.plant.lines {
        let newest = newest(shared, info.id).await?;
        now = now.max(newest);
        let scores = match newest {
            Some(newest) => {
                shared.history.scores(info.id, newest - SPARKLINE_NS, newest, SPARKLINE_POINTS).await.map_err(text)?
            }
            None => Vec::new(),
        };
        let (state, since, open) = match (shared.live.as_ref().and_then(|live| live.line(info.id)), newest) {
            (Some(live), _) => (live.state, live.since, live.open),
            (None, Some(newest)) => {
                let open = shared.history.open_advisories(info.id, newest).await.map_err(text)?;
                (state_of(&open).unwrap_or(LineState::Normal), None, open)
            }
            (None, None) => (LineState::NoData, None, Vec::new()),
        };
        lines.push(LineSummary { line: info.id, state, since, scores, open });
    }
    let health = match (&shared.live, now) {
        (Some(live), _) => live.unhealthy(),
        (None, Some(now)) => shared.history.health_at(now).await.map_err(text)?,
        (None, None) => Vec::new(),
    };
    Ok(Overview { now, lines, health, counters: counters(shared) })
}

/// The state that open advisories put a line in.
fn state_of(open: &[Advisory]) -> Option<LineState> {
    open.iter()
        .map(|advisory| match advisory.kind {
            // What the model does not know may be a fault all the same.
            AdvisoryKind::Process | AdvisoryKind::Model => LineState::Advisory,
            AdvisoryKind::Sensor | AdvisoryKind::Camera => LineState::SensorAdvisory,
        })
        .max()
}

async fn line_view(shared: &Shared, line: LineId, at: At, span_ns: i64, pixels: u32) -> Result<LineView, String> {
    let info = &shared.plant.lines[line.index()];
    let Some(now) = newest(shared, line).await? else {
        return Err(format!("nothing has come in from line {} yet", info.name));
    };
    let shown = match at {
        At::Now => now,
        At::Time(time) => time,
    };
    let from = shown - span_ns;
    let history = &shared.history;
    let mut signals = history.signals(&info.tags, from, shown, pixels).await.map_err(text)?;
    let bands = history.bands(line, &info.tags, from, shown, pixels).await.map_err(text)?;
    for (signal, band) in signals.iter_mut().zip(bands) {
        signal.band = band;
    }
    let scores = history.scores(line, from, shown, pixels).await.map_err(text)?;
    let mut advisories = history.advisories(Some(line), from, shown, ADVISORIES_MAX).await.map_err(text)?;
    let live = shared.live.as_ref().filter(|_| at == At::Now).and_then(|live| live.line(line));
    let (state, forecast, patches, health) = match live {
        Some(live) => {
            // The newest state may be a moment ahead of what is committed.
            for open in live.open {
                match advisories.iter_mut().find(|advisory| advisory.id == open.id) {
                    Some(known) => *known = open,
                    None => advisories.insert(0, open),
                }
            }
            let patches = live.surprise.map(|surprise| surprise.patches).unwrap_or_default();
            let health = shared.live.as_ref().map(|live| live.unhealthy()).unwrap_or_default();
            (live.state, live.forecast, patches, health)
        }
        None => {
            let surprise = history.surprise_at(line, shown).await.map_err(text)?;
            let open = history.open_advisories(line, shown).await.map_err(text)?;
            let stopped = signals.iter().any(|signal| {
                shared.plant.tags[signal.tag.index()].role == Role::Mode
                    && signal
                        .points
                        .iter()
                        .rev()
                        .find(|point| !point.last.is_nan())
                        .is_some_and(|point| point.last == 0.0)
            });
            let state = match (&surprise, state_of(&open)) {
                (_, Some(state)) => state,
                (_, None) if stopped => LineState::Stopped,
                (Some(surprise), None) if surprise.settled => LineState::Normal,
                (Some(_), None) => LineState::Learning,
                (None, None) => LineState::NoData,
            };
            let forecast = history.forecast_at(line, shown).await.map_err(text)?;
            let health = history.health_at(shown).await.map_err(text)?;
            (state, forecast, surprise.map(|surprise| surprise.patches).unwrap_or_default(), health)
        }
    };
    Ok(LineView {
        line,
        at: shown,
        now,
        state,
        signals,
        forecast,
        scores,
        patches,
        advisories,
        health,
        counters: counters(shared),
    })
}

async fn picture(shared: &Shared, camera: CameraId, at: At) -> Result<Reply, String> {
    let Some(info) = shared.plant.cameras.get(camera.index()) else {
        return Err(format!("there is no camera {}", camera.0));
    };
    let time = match at {
        At::Now => match shared.live.as_ref().and_then(|live| live.picture(camera)) {
            Some(frame) => return pictures::encode(&frame).map(|picture| Reply::Picture(Some(picture))),
            None => newest(shared, info.line).await?,
        },
        At::Time(time) => Some(time),
    };
    match time {
        Some(time) => {
            pictures::recorded(&shared.history, &shared.data, &shared.player, camera, time).await.map(Reply::Picture)
        }
        None => Ok(Reply::Picture(None)),
    }
}
