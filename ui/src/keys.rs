//! Every key of the window, in one table: what is dispatched is what the help shows.

use egui::{Context, Event, Key, Modifiers};

/// What a key (or a button that stands for it) does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Shows or hides the list of keys.
    Help,
    /// Goes to the screen *Overview*.
    Overview,
    /// Goes to the screen *Line*.
    Line,
    /// Goes to the screen *Review*.
    Review,
    /// Changes between light and dark.
    Theme,
    /// Makes everything larger.
    ZoomIn,
    /// Makes everything smaller.
    ZoomOut,
    /// Goes back to the size that fits the screen.
    ZoomReset,
    /// Goes to the plant's next line.
    NextLine,
    /// Goes to the plant's previous line.
    PreviousLine,
    /// Closes the help, or leaves *Review* for the live screen.
    Back,
    /// Moves the selection up.
    SelectUp,
    /// Moves the selection down.
    SelectDown,
    /// Opens what is selected.
    Open,
    /// Shows the trends above.
    TrendsUp,
    /// Shows the trends below.
    TrendsDown,
    /// Shows a shorter time.
    SpanShorter,
    /// Shows a longer time.
    SpanLonger,
    /// Shows or hides the surprise map.
    Overlay,
    /// Goes to the line's next camera.
    NextCamera,
    /// Reviews the selected advisory (or the newest) from its start.
    ReviewStart,
    /// One picture on.
    FrameForward,
    /// One picture back.
    FrameBack,
    /// One second on.
    SecondForward,
    /// One second back.
    SecondBack,
    /// Plays or pauses.
    Play,
    /// Plays faster.
    Faster,
    /// Plays slower.
    Slower,
    /// Jumps to the start of the next advisory.
    NextAdvisory,
    /// Jumps to the start of the advisory before.
    PreviousAdvisory,
    /// Shows less of the time line, larger.
    TimelineIn,
    /// Shows more of the time line.
    TimelineOut,
    /// Jumps to the start of the recording.
    RecordingStart,
    /// Jumps to the end of the recording.
    RecordingEnd,
    /// Leaves *Review* for the live screen.
    Live,
}

/// Where a key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// On every screen.
    Everywhere,
    /// On *Overview* alone.
    Overview,
    /// On *Line* and *Review*.
    Panels,
    /// On *Review* alone.
    Review,
}

impl Scope {
    /// Its heading in the help.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Everywhere => "Everywhere",
            Self::Overview => "Overview",
            Self::Panels => "Line and Review",
            Self::Review => "Review",
        }
    }

    /// Whether a key of one scope and a key of the other can be meant at the same time.
    pub fn overlaps(self, other: Self) -> bool {
        self == other
            || self == Self::Everywhere
            || other == Self::Everywhere
            || matches!((self, other), (Self::Panels, Self::Review) | (Self::Review, Self::Panels))
    }

    /// The scopes in the order of the help.
    pub const ALL: [Self; 4] = [Self::Everywhere, Self::Overview, Self::Panels, Self::Review];
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// What it does.
    pub action: Action,
    /// What must be held with it.
    pub modifiers: Modifiers,
    /// The key.
    pub key: Key,
    /// Where it works.
    pub scope: Scope,
    /// What it does, for people; empty for a second key of the action above it.
    pub description: &'static str,
}

const fn bind(scope: Scope, modifiers: Modifiers, key: Key, action: Action, description: &'static str) -> Binding {
    Binding { action, modifiers, key, scope, description }
}

const NONE: Modifiers = Modifiers::NONE;
const CTRL: Modifiers = Modifiers::COMMAND;
const SHIFT: Modifiers = Modifiers::SHIFT;

/// All keys. Neither Space nor Enter acknowledges anything, here or ever.
pub const BINDINGS: &[Binding] = &[
    bind(Scope::Everywhere, NONE, Key::F1, Action::Help, "show or hide this list of keys"),
    bind(Scope::Everywhere, NONE, Key::F2, Action::Overview, "Overview: every line"),
    bind(Scope::Everywhere, NONE, Key::F3, Action::Line, "Line: live video, trends, advisories"),
    bind(Scope::Everywhere, NONE, Key::F4, Action::Review, "Review: the same at any past time"),
    bind(Scope::Everywhere, NONE, Key::F9, Action::Theme, "light or dark"),
    bind(Scope::Everywhere, CTRL, Key::Plus, Action::ZoomIn, "larger"),
    bind(Scope::Everywhere, CTRL, Key::Equals, Action::ZoomIn, ""),
    bind(Scope::Everywhere, CTRL, Key::Minus, Action::ZoomOut, "smaller"),
    bind(Scope::Everywhere, CTRL, Key::Num0, Action::ZoomReset, "the size that fits the screen"),
    bind(Scope::Everywhere, CTRL, Key::PageDown, Action::NextLine, "next line of the plant"),
    bind(Scope::Everywhere, CTRL, Key::PageUp, Action::PreviousLine, "previous line of the plant"),
    bind(Scope::Everywhere, NONE, Key::Escape, Action::Back, "close this list; leave Review for live"),
    bind(Scope::Overview, NONE, Key::ArrowUp, Action::SelectUp, "line above"),
    bind(Scope::Overview, NONE, Key::ArrowDown, Action::SelectDown, "line below"),
    bind(Scope::Overview, NONE, Key::Enter, Action::Open, "open the line"),
    bind(Scope::Panels, NONE, Key::ArrowUp, Action::SelectUp, "select the advisory above"),
    bind(Scope::Panels, NONE, Key::ArrowDown, Action::SelectDown, "select the advisory below"),
    bind(Scope::Panels, NONE, Key::Enter, Action::Open, "details of the newest advisory; again: none"),
    bind(Scope::Panels, NONE, Key::R, Action::ReviewStart, "review the advisory from its start"),
    bind(Scope::Panels, NONE, Key::PageUp, Action::TrendsUp, "trends above"),
    bind(Scope::Panels, NONE, Key::PageDown, Action::TrendsDown, "trends below"),
    bind(Scope::Panels, NONE, Key::OpenBracket, Action::SpanShorter, "shorter time"),
    bind(Scope::Panels, NONE, Key::CloseBracket, Action::SpanLonger, "longer time"),
    bind(Scope::Panels, NONE, Key::O, Action::Overlay, "surprise map over the picture"),
    bind(Scope::Panels, NONE, Key::C, Action::NextCamera, "next camera"),
    bind(Scope::Review, NONE, Key::P, Action::Play, "play or pause"),
    bind(Scope::Review, NONE, Key::Space, Action::Play, ""),
    bind(Scope::Review, NONE, Key::Period, Action::FrameForward, "one picture on"),
    bind(Scope::Review, NONE, Key::Comma, Action::FrameBack, "one picture back"),
    bind(Scope::Review, NONE, Key::ArrowRight, Action::SecondForward, "one second on"),
    bind(Scope::Review, NONE, Key::ArrowLeft, Action::SecondBack, "one second back"),
    bind(Scope::Review, NONE, Key::Plus, Action::Faster, "play faster"),
    bind(Scope::Review, NONE, Key::Equals, Action::Faster, ""),
    bind(Scope::Review, NONE, Key::Minus, Action::Slower, "play slower"),
    bind(Scope::Review, NONE, Key::N, Action::NextAdvisory, "next advisory"),
    bind(Scope::Review, SHIFT, Key::ArrowRight, Action::NextAdvisory, ""),
    bind(Scope::Review, NONE, Key::B, Action::PreviousAdvisory, "advisory before"),
    bind(Scope::Review, SHIFT, Key::ArrowLeft, Action::PreviousAdvisory, ""),
    bind(Scope::Review, NONE, Key::Z, Action::TimelineIn, "zoom the time line in"),
    bind(Scope::Review, NONE, Key::X, Action::TimelineOut, "zoom the time line out"),
    bind(Scope::Review, NONE, Key::Home, Action::RecordingStart, "start of the recording"),
    bind(Scope::Review, NONE, Key::End, Action::RecordingEnd, "end of the recording"),
    bind(Scope::Review, NONE, Key::L, Action::Live, "back to live"),
];

impl Binding {
    /// The key as printed on a keyboard: `Ctrl+PgDn`, `[`.
    pub fn label(&self) -> String {
        let mut label = String::new();
        if self.modifiers.command || self.modifiers.ctrl {
            label.push_str("Ctrl+");
        }
        if self.modifiers.shift {
            label.push_str("Shift+");
        }
        label.push_str(match self.key {
            Key::ArrowUp => "Up",
            Key::ArrowDown => "Down",
            Key::ArrowLeft => "Left",
            Key::ArrowRight => "Right",
            Key::PageUp => "PgUp",
            Key::PageDown => "PgDn",
            Key::Escape => "Esc",
            Key::OpenBracket => "[",
            Key::CloseBracket => "]",
            Key::Comma => ",",
            Key::Period => ".",
            Key::Plus => "+",
            Key::Equals => "=",
            Key::Minus => "-",
            other => other.name(),
        });
        label
    }

    fn is_met_by(&self, key: Key, modifiers: Modifiers) -> bool {
        // Where a keyboard needs Shift to type a sign, the sign is what counts.
        let sign = matches!(
            key,
            Key::Plus | Key::Minus | Key::Equals | Key::OpenBracket | Key::CloseBracket | Key::Comma | Key::Period
        );
        self.key == key
            && if sign { modifiers.matches_logically(self.modifiers) } else { modifiers.matches_exact(self.modifiers) }
    }
}

/// The first key of an action, for a button's label.
pub(crate) fn label_of(action: Action) -> String {
    BINDINGS.iter().find(|binding| binding.action == action).map(Binding::label).unwrap_or_default()
}

/// The actions whose keys were pressed since the last frame, in order. Their events are taken, so that no widget sees
/// them as well; a focused widget keeps the keys that belong to it.
pub(crate) fn pressed(ctx: &Context, active: &[Scope]) -> Vec<Action> {
    let focused = ctx.memory(|memory| memory.focused().is_some());
    ctx.input_mut(|input| {
        let mut actions = Vec::new();
        input.events.retain(|event| {
            let Event::Key { key, pressed: true, modifiers, .. } = event else { return true };
            if focused && belongs_to_widget(*key) {
                return true;
            }
            // A stricter match of modifiers wins: Ctrl+Minus is not Minus.
            let met = BINDINGS
                .iter()
                .filter(|binding| active.contains(&binding.scope) && binding.is_met_by(*key, *modifiers))
                .max_by_key(|binding| u8::from(binding.modifiers != NONE));
            match met {
                Some(binding) => {
                    actions.push(binding.action);
                    false
                }
                None => true,
            }
        });
        actions
    })
}

const fn belongs_to_widget(key: Key) -> bool {
    matches!(key, Key::Enter | Key::Space | Key::Tab | Key::ArrowUp | Key::ArrowDown | Key::ArrowLeft | Key::ArrowRight)
}
