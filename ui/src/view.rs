//! What this window shows: the screen, the line, the time. Nothing here is a fact about the plant.

use sightglass_protocol::{AdvisoryId, LineId, UtcNanos, message::At, time::SECOND};

use crate::keys::Action;

/// The screens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    /// Every line of the plant.
    Overview,
    /// One line, live.
    Line,
    /// One line at a past time.
    Review,
}

impl Screen {
    /// Its name as in the document's `data-screen`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Line => "line",
            Self::Review => "review",
        }
    }
}

/// Times that the trends can show, in minutes.
pub(crate) const SPAN_MINUTES: [i64; 4] = [1, 5, 15, 60];
/// Speeds of play.
pub(crate) const SPEEDS: [f64; 7] = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0];
/// A review of an advisory begins so long before it.
pub(crate) const REVIEW_LEAD_NS: i64 = 5 * SECOND;
/// The shortest time line.
const WINDOW_NS_MIN: i64 = 30 * SECOND;

/// What the screens ask of the window when a mouse does something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Command {
    /// What a key would do.
    Act(Action),
    /// Opens a line.
    OpenLine(LineId),
    /// Selects a line on *Overview*.
    SelectLine(LineId),
    /// Opens the details of an advisory, on its line.
    Select(LineId, Option<AdvisoryId>),
    /// Shows so long a time.
    Span(usize),
    /// Goes to a time in *Review*.
    Seek(UtcNanos),
    /// Shows this part of the recording on the time line.
    Window(UtcNanos, UtcNanos),
}

/// The state of *Review*.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    /// The time cursor.
    pub(crate) at: UtcNanos,
    /// Whether it moves by itself.
    pub(crate) playing: bool,
    /// Index into [`SPEEDS`].
    pub(crate) speed: usize,
    /// The shown part of the recording; all of it where absent.
    pub(crate) window: Option<(UtcNanos, UtcNanos)>,
    /// A step by one picture that waits for its answer: from which time, and whether forward.
    pub(crate) step: Option<(UtcNanos, bool)>,
    /// A note on the last action ("no later picture").
    pub(crate) note: Option<&'static str>,
}

/// What this window shows.
#[derive(Clone, Debug)]
pub(crate) struct ViewState {
    pub(crate) screen: Screen,
    pub(crate) line: LineId,
    /// Whether the engine answers: what is shown as live is.
    pub(crate) connected: bool,
    /// Index into the line's cameras.
    pub(crate) camera: usize,
    /// Index into [`SPAN_MINUTES`].
    pub(crate) span: usize,
    pub(crate) overlay: bool,
    pub(crate) selected: Option<AdvisoryId>,
    /// Whether the selection has just moved, so that the list must show it.
    pub(crate) selection_moved: bool,
    /// How far the trends are scrolled, in points.
    pub(crate) trends_offset: f32,
    /// The height of the shown part of the trends, in points.
    pub(crate) trends_page: f32,
    /// Whether a key has just moved `trends_offset`.
    pub(crate) trends_moved: bool,
    /// Width of the trends, in points of the signals.
    pub(crate) trends_pixels: u32,
    pub(crate) help: bool,
    /// What the user's own zoom multiplies the fitting one with.
    pub(crate) zoom: f32,
    pub(crate) replay: Replay,
}

impl ViewState {
    pub(crate) const fn new() -> Self {
        Self {
            screen: Screen::Overview,
            line: LineId(0),
            connected: false,
            camera: 0,
            span: 1,
            overlay: true,
            selected: None,
            selection_moved: false,
            trends_offset: 0.0,
            trends_page: 300.0,
            trends_moved: false,
            trends_pixels: 600,
            help: false,
            zoom: 1.0,
            replay: Replay { at: UtcNanos(0), playing: false, speed: 2, window: None, step: None, note: None },
        }
    }

    /// Which moment the engine is asked for.
    pub(crate) const fn at(&self) -> At {
        match self.screen {
            Screen::Review => At::Time(self.replay.at),
            Screen::Overview | Screen::Line => At::Now,
        }
    }

    pub(crate) const fn span_ns(&self) -> i64 {
        SPAN_MINUTES[self.span] * 60 * SECOND
    }

    /// Goes to another line, and forgets what belonged to the one before.
    pub(crate) const fn go_to_line(&mut self, line: LineId) {
        if self.line.0 != line.0 {
            self.line = line;
            self.camera = 0;
            self.selected = None;
            self.trends_offset = 0.0;
            self.trends_moved = true;
            self.replay.window = None;
        }
    }
}

impl Replay {
    /// Moves the cursor, within the recording where that is known.
    pub(crate) fn seek(&mut self, to: UtcNanos, range: Option<(UtcNanos, UtcNanos)>) {
        self.at = range.map_or(to, |(first, last)| to.clamp(first, last.max(first)));
        self.note = None;
        // The time line follows a cursor that leaves it.
        if let Some((from, until)) = self.window {
            let width = until.since(from);
            if self.at < from {
                self.window = Some((self.at - width / 10, self.at - width / 10 + width));
            } else if self.at > until {
                self.window = Some((self.at + width / 10 - width, self.at + width / 10));
            }
        }
    }

    /// Zooms the time line around the cursor; `factor` below 1 shows less. Showing all of the recording again drops
    /// the window.
    pub(crate) fn zoom_window(&mut self, factor: f64, around: UtcNanos, range: Option<(UtcNanos, UtcNanos)>) {
        let Some((first, last)) = range else { return };
        let (from, until) = self.window.unwrap_or((first, last));
        let width = until.since(from).max(1);
        let wanted = ((width as f64 * factor) as i64).max(WINDOW_NS_MIN);
        if wanted >= last.since(first) {
            self.window = None;
            return;
        }
        let share = (around.since(from) as f64 / width as f64).clamp(0.0, 1.0);
        let start = (around - (wanted as f64 * share) as i64).clamp(first, (last - wanted).max(first));
        self.window = Some((start, start + wanted));
    }
}
