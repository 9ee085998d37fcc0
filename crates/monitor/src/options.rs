//! What can be set, and what the model's card says of normal running.

/// Below this, one or two odd ticks could open an advisory.
pub(crate) const OVER_TICKS_MIN: usize = 3;
/// The longest window of persistence, in ticks.
pub(crate) const WINDOW_TICKS_MAX: usize = 64;

/// When advisories open, join and close. Times are in ticks that the model judged.
#[derive(Clone, Debug, PartialEq)]
pub struct MonitorOptions {
    /// An advisory opens after this many ticks above the limit … (at least 3).
    pub over_ticks: usize,
    /// … within this many.
    pub window_ticks: usize,
    /// A score above this is strong (1.0 is the limit), and opens …
    pub strong_score: f32,
    /// … after this many ticks on end (at least 3).
    pub strong_ticks: usize,
    /// For this long after a setpoint or mode changed, since what a person did raises nothing by itself, …
    pub after_action_ticks: u32,
    /// … an advisory opens only after this many ticks above the limit …
    pub over_ticks_after_action: usize,
    /// … within this many.
    pub window_ticks_after_action: usize,
    /// A tick is quiet when its score is below this share of the limit.
    pub close_below: f32,
    /// An advisory closes after this many quiet ticks on end.
    pub close_ticks: u32,
    /// For this long after it opened, an advisory gathers evidence for its causes, and whatever else leaves its
    /// prediction joins it: a fault spreads through a line. Later, other parts of the line open one of their own.
    pub attribution_ticks: u32,
    /// An open advisory whose evidence lasts is reported again this often, even when nothing else changed.
    pub update_ticks: u32,
    /// A gap between ticks that is longer than this ends every run of evidence.
    pub gap_ticks: u32,
    /// A source is good again after this many good ticks on end.
    pub recover_ticks: u32,
    /// For this long after its value was not usable, a tag or camera leads no advisory about the process.
    pub distrust_ticks: u32,
}

impl Default for MonitorOptions {
    fn default() -> Self {
        Self {
            over_ticks: 4,
            window_ticks: 6,
            strong_score: 3.0,
            strong_ticks: 3,
            after_action_ticks: 30,
            over_ticks_after_action: 10,
            window_ticks_after_action: 12,
            close_below: 0.8,
            close_ticks: 15,
            attribution_ticks: 60,
            update_ticks: 30,
            gap_ticks: 10,
            recover_ticks: 5,
            distrust_ticks: 3,
        }
    }
}

impl MonitorOptions {
    /// The options with every number within what the monitor is made for.
    pub(crate) fn bounded(mut self) -> Self {
        let window = |over: usize, window: usize| {
            let over = over.clamp(OVER_TICKS_MIN, WINDOW_TICKS_MAX);
            (over, window.clamp(over, WINDOW_TICKS_MAX))
        };
        (self.over_ticks, self.window_ticks) = window(self.over_ticks, self.window_ticks);
        (self.over_ticks_after_action, self.window_ticks_after_action) =
            window(self.over_ticks_after_action, self.window_ticks_after_action);
        self.strong_ticks = self.strong_ticks.clamp(OVER_TICKS_MIN, WINDOW_TICKS_MAX);
        self.strong_score = self.strong_score.max(1.0);
        self.close_below = self.close_below.clamp(0.0, 1.0);
        self.close_ticks = self.close_ticks.max(1);
        self.attribution_ticks = self.attribution_ticks.max(1);
        self
    }

    /// How many judged ticks must be remembered.
    pub(crate) fn remembered_ticks(&self) -> usize {
        self.window_ticks.max(self.window_ticks_after_action).max(self.strong_ticks)
    }
}

/// What the model's card says of normal running: how long a good sensor holds a value, and a good camera a picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Normal {
    /// The longest run of ticks over which a tag's value did not change, one a tag of the line; NaN is unknown.
    pub longest_hold_ticks: Vec<f32>,
    /// The longest run of ticks over which a camera's picture did not change in any pixel, one a camera of the line;
    /// NaN is unknown.
    pub longest_still_ticks: Vec<f32>,
}
