//! The window: takes keys and answers, asks for what the screen needs, draws.

use std::time::Duration;

use egui::{CentralPanel, Context, Frame, Margin, Panel, Rect, RichText, Ui, UiBuilder};
use sightglass_protocol::{AdvisoryId, UtcNanos, message::Request, time::SECOND};

use crate::{
    alarm_bar,
    answers::Answers,
    keys::{self, Action, Scope},
    link::{Exchange, Link, LinkState, Pace},
    screens, status_bar,
    theme::{self, size},
    time_text,
    view::{Command, REVIEW_LEAD_NS, SPAN_MINUTES, SPEEDS, Screen, ViewState},
};

/// How often each answer is renewed, in seconds.
const OVERVIEW_SECONDS: f64 = 0.5;
const LINE_SECONDS: f64 = 0.5;
const ADVISORIES_SECONDS: f64 = 2.0;
const RECORDED_SECONDS: f64 = 2.0;
/// Live pictures come at the camera's rate, but no faster than this.
const PICTURES_A_SECOND_MAX: f64 = 15.0;
/// The list of advisories reaches so far before and after the shown time.
const LIST_REACH_NS: i64 = 8 * 3600 * SECOND;
/// The reach is rounded to this, so that it does not change with every tick.
const LIST_ROUND_NS: i64 = 60 * SECOND;
/// A frame that comes later than this does not make a replay jump.
const PLAY_STEP_SECONDS_MAX: f64 = 0.5;

/// What the window shows, for people and programs that cannot see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The screen.
    pub screen: Screen,
    /// The shown moment.
    pub at: Option<UtcNanos>,
    /// The capture time of the shown picture.
    pub frame: Option<UtcNanos>,
    /// The advisory whose details are shown.
    pub advisory: Option<AdvisoryId>,
    /// The number of listed advisories: those of the line on *Line* and *Review*, the open ones on *Overview*.
    pub advisories: usize,
    /// "connected", "waiting", or why there is no link.
    pub link: String,
}

/// The window.
pub struct App {
    exchange: Exchange,
    answers: Answers,
    view: ViewState,
    last_time: f64,
}

impl App {
    /// A window over `link`, with its styles set in `ctx`.
    pub fn new(ctx: &Context, link: Box<dyn Link>) -> Self {
        theme::install(ctx);
        let now = ctx.input(|input| input.time);
        Self { exchange: Exchange::new(link, now), answers: Answers::default(), view: ViewState::new(), last_time: now }
    }

    /// Begins with the line's live screen instead of *Overview*.
    pub fn open_line(&mut self) {
        self.view.screen = Screen::Line;
    }

    /// Runs one frame in all of `ui`.
    pub fn ui(&mut self, ui: &mut Ui) {
        let ctx = ui.ctx().clone();
        let now = ctx.input(|input| input.time);
        self.fit(&ctx);
        for answer in self.exchange.receive(now) {
            self.answers.take(answer, &mut self.view, &ctx);
        }
        for action in keys::pressed(&ctx, self.scopes()) {
            self.act(action, &ctx);
        }
        self.play(now, &ctx);
        self.ask(now);
        let mut commands = Vec::new();
        self.draw(ui, now, &mut commands);
        if !commands.is_empty() {
            for command in commands {
                self.obey(command, &ctx);
            }
            ctx.request_repaint();
        }
        let mut wait = self.exchange.wake_at() - now;
        if matches!(self.exchange.state(), LinkState::Lost { .. }) {
            wait = wait.min(1.0); // The seconds without an answer are counted on the screen.
        }
        if wait.is_finite() {
            ctx.request_repaint_after(Duration::from_secs_f64(wait.max(0.001)));
        }
    }

    /// What the window shows.
    pub fn status(&self) -> Status {
        let on_line = self.view.screen != Screen::Overview;
        let camera = self.answers.camera(&self.view).filter(|_| on_line);
        Status {
            screen: self.view.screen,
            at: self.answers.shown_at(&self.view),
            frame: camera.and_then(|camera| self.answers.video.time(camera.id)),
            advisory: self.view.selected,
            advisories: if on_line { self.answers.listed(&self.view).len() } else { self.answers.open().len() },
            link: match self.exchange.state() {
                LinkState::Connected => "connected".to_owned(),
                LinkState::Waiting { .. } => "waiting".to_owned(),
                LinkState::Lost { reason, .. } => reason.clone(),
            },
        }
    }

    /// Makes the window's points fit the screen.
    fn fit(&self, ctx: &Context) {
        let points = ctx.viewport_rect().size() * ctx.zoom_factor();
        let zoom = theme::zoom_for(points) * self.view.zoom;
        if (zoom - ctx.zoom_factor()).abs() > 0.01 {
            ctx.set_zoom_factor(zoom);
        }
    }

    const fn scopes(&self) -> &'static [Scope] {
        if self.view.help {
            return &[Scope::Everywhere];
        }
        match self.view.screen {
            Screen::Overview => &[Scope::Everywhere, Scope::Overview],
            Screen::Line => &[Scope::Everywhere, Scope::Panels],
            Screen::Review => &[Scope::Everywhere, Scope::Panels, Scope::Review],
        }
    }

    fn play(&mut self, now: f64, ctx: &Context) {
        let passed = (now - self.last_time).clamp(0.0, PLAY_STEP_SECONDS_MAX);
        self.last_time = now;
        if self.view.screen != Screen::Review || !self.view.replay.playing {
            return;
        }
        let range = self.answers.recorded_range(self.view.line);
        let step = (passed * SPEEDS[self.view.replay.speed] * SECOND as f64) as i64;
        let at = self.view.replay.at + step;
        self.view.replay.seek(at, range);
        if range.is_some_and(|(_, last)| self.view.replay.at >= last) {
            self.view.replay.playing = false;
        } else {
            ctx.request_repaint();
        }
    }

    /// Says what the screen needs, the most urgent first.
    fn ask(&mut self, now: f64) {
        let view = &self.view;
        let live = view.screen == Screen::Line;
        if view.screen != Screen::Overview && self.answers.line_info(view.line).is_some() {
            let camera = self.answers.camera(view).map(|camera| (camera.id, camera.fps));
            if let Some((camera, fps)) = camera {
                let at = view.at();
                if live {
                    let rate = fps.clamp(0.2, PICTURES_A_SECOND_MAX);
                    self.exchange.want(now, Request::Picture { camera, at }, Pace::Every(1.0 / rate));
                } else if let Some((time, forward)) = view.replay.step {
                    self.exchange.want(now, Request::Step { camera, time, forward }, Pace::AtOnce);
                } else if self.answers.picture_for != Some((camera, view.replay.at)) {
                    self.exchange.want(now, Request::Picture { camera, at }, Pace::AtOnce);
                }
            }
            let request =
                Request::Line { line: view.line, at: view.at(), span_ns: view.span_ns(), pixels: view.trends_pixels };
            let pace = if live { Pace::Every(LINE_SECONDS) } else { Pace::WhenChanged };
            self.exchange.want(now, request, pace);
            if let Some(around) = self.answers.shown_at(view) {
                let around = around.floor_to(LIST_ROUND_NS);
                let after = if live { LIST_ROUND_NS } else { LIST_REACH_NS };
                let request =
                    Request::Advisories { line: Some(view.line), from: around - LIST_REACH_NS, to: around + after };
                self.exchange.want(now, request, Pace::Every(ADVISORIES_SECONDS));
            }
            if view.screen == Screen::Review {
                self.exchange.want(now, Request::Recorded { line: view.line }, Pace::Every(RECORDED_SECONDS));
            }
        }
        self.exchange.want(now, Request::Overview, Pace::Every(OVERVIEW_SECONDS));
    }

    fn act(&mut self, action: Action, ctx: &Context) {
        let range = self.answers.recorded_range(self.view.line);
        match action {
            Action::Help => self.view.help = !self.view.help,
            Action::Overview => self.view.screen = Screen::Overview,
            Action::Line | Action::Live => self.view.screen = Screen::Line,
            Action::Review => self.enter_review(None),
            Action::Theme => ctx.set_theme(match ctx.theme() {
                egui::Theme::Light => egui::Theme::Dark,
                egui::Theme::Dark => egui::Theme::Light,
            }),
            Action::ZoomIn => self.view.zoom = (self.view.zoom + 0.1).min(2.0),
            Action::ZoomOut => self.view.zoom = (self.view.zoom - 0.1).max(0.6),
            Action::ZoomReset => self.view.zoom = 1.0,
            Action::NextLine => self.move_line(1),
            Action::PreviousLine => self.move_line(-1),
            Action::Back if self.view.help => self.view.help = false,
            Action::Back => {
                if self.view.screen == Screen::Review {
                    self.view.screen = Screen::Line;
                }
            }
            Action::SelectUp => self.move_selection(-1),
            Action::SelectDown => self.move_selection(1),
            Action::Open if self.view.screen == Screen::Overview => self.view.screen = Screen::Line,
            Action::Open => {
                let newest = self.newest();
                self.view.selected = if self.view.selected.is_some() { None } else { newest };
            }
            Action::TrendsUp => self.scroll_trends(-1.0),
            Action::TrendsDown => self.scroll_trends(1.0),
            Action::SpanShorter => self.view.span = self.view.span.saturating_sub(1),
            Action::SpanLonger => self.view.span = (self.view.span + 1).min(SPAN_MINUTES.len() - 1),
            Action::Overlay => self.view.overlay = !self.view.overlay,
            Action::NextCamera => {
                let cameras = self.answers.line_info(self.view.line).map_or(1, |line| line.cameras.len()).max(1);
                self.view.camera = (self.view.camera + 1) % cameras;
            }
            Action::ReviewStart => self.review_start(),
            Action::FrameForward => self.step(true),
            Action::FrameBack => self.step(false),
            Action::SecondForward => self.view.replay.seek(self.view.replay.at + SECOND, range),
            Action::SecondBack => self.view.replay.seek(self.view.replay.at - SECOND, range),
            Action::Play => self.view.replay.playing = !self.view.replay.playing,
            Action::Faster => self.view.replay.speed = (self.view.replay.speed + 1).min(SPEEDS.len() - 1),
            Action::Slower => self.view.replay.speed = self.view.replay.speed.saturating_sub(1),
            Action::NextAdvisory => self.jump(true),
            Action::PreviousAdvisory => self.jump(false),
            Action::TimelineIn => self.view.replay.zoom_window(0.5, self.view.replay.at, range),
            Action::TimelineOut => self.view.replay.zoom_window(2.0, self.view.replay.at, range),
            Action::RecordingStart => {
                self.view.replay.seek(range.map_or(self.view.replay.at, |(first, _)| first), range)
            }
            Action::RecordingEnd => self.view.replay.seek(range.map_or(self.view.replay.at, |(_, last)| last), range),
        }
    }

    fn obey(&mut self, command: Command, ctx: &Context) {
        match command {
            Command::Act(action) => self.act(action, ctx),
            Command::OpenLine(line) => {
                self.view.go_to_line(line);
                self.view.screen = Screen::Line;
            }
            Command::SelectLine(line) => self.view.go_to_line(line),
            Command::Select(line, advisory) => {
                self.view.go_to_line(line);
                self.select(advisory);
                if self.view.screen == Screen::Overview {
                    self.view.screen = Screen::Line;
                }
            }
            Command::Span(span) => self.view.span = span.min(SPAN_MINUTES.len() - 1),
            Command::Seek(time) => {
                let range = self.answers.recorded_range(self.view.line);
                self.view.replay.seek(time, range);
            }
            Command::Window(from, until) => {
                let all = self.answers.recorded_range(self.view.line);
                self.view.replay.window = Some((from, until)).filter(|window| all != Some(*window));
            }
        }
    }

    fn select(&mut self, advisory: Option<AdvisoryId>) {
        self.view.selected = advisory;
        self.view.selection_moved = true;
        // The lanes of the advisory's tags come first: show them.
        self.view.trends_offset = 0.0;
        self.view.trends_moved = true;
    }

    /// The newest open advisory of the line, or the newest at all.
    fn newest(&self) -> Option<AdvisoryId> {
        self.answers.listed(&self.view).first().map(|advisory| advisory.id)
    }

    fn enter_review(&mut self, at: Option<UtcNanos>) {
        let already = self.view.screen == Screen::Review;
        let at = match at {
            Some(at) => at,
            None if already => return,
            None => self.answers.shown_at(&self.view).or(self.answers.engine_now()).unwrap_or(UtcNanos(0)),
        };
        self.view.screen = Screen::Review;
        self.view.replay.playing = false;
        self.view.replay.step = None;
        self.answers.picture_for = None;
        let range = self.answers.recorded_range(self.view.line);
        // The recording has grown since it was last asked for: it may bound the past, but not the present.
        self.view.replay.seek(at, range.map(|(first, last)| (first, last.max(at))));
    }

    fn review_start(&mut self) {
        let id = self.view.selected.or_else(|| self.newest());
        let since = id.and_then(|id| self.answers.find_advisory(id, &self.view)).map(|advisory| advisory.since);
        if let Some(since) = since {
            self.select(id);
            self.enter_review(Some(since - REVIEW_LEAD_NS));
        }
    }

    fn step(&mut self, forward: bool) {
        let camera = self.answers.camera(&self.view).map(|camera| camera.id);
        let shown = camera.and_then(|camera| self.answers.video.time(camera));
        self.view.replay.playing = false;
        self.view.replay.note = None;
        self.view.replay.step = camera.map(|_| (shown.unwrap_or(self.view.replay.at), forward));
    }

    /// To a few seconds before the next advisory, or the one before.
    fn jump(&mut self, forward: bool) {
        let Some(recorded) = self.answers.recorded(self.view.line) else { return };
        let at = self.view.replay.at;
        let starts = recorded.advisories.iter().map(|(since, _, id)| (*since - REVIEW_LEAD_NS, *id));
        let target = if forward {
            starts.filter(|(start, _)| *start > at).min()
        } else {
            starts.filter(|(start, _)| *start < at).max()
        };
        let range = recorded.range;
        match target {
            Some((start, id)) => {
                self.view.replay.seek(start, range);
                self.select(Some(id));
            }
            None => self.view.replay.note = Some(if forward { "no later advisory" } else { "no earlier advisory" }),
        }
    }

    fn scroll_trends(&mut self, pages: f32) {
        self.view.trends_offset = (self.view.trends_offset + pages * self.view.trends_page).max(0.0);
        self.view.trends_moved = true;
    }

    fn move_line(&mut self, by: isize) {
        let lines = self.answers.plant().map_or(0, |plant| plant.lines.len());
        let to = self.view.line.index().saturating_add_signed(by);
        if to < lines {
            self.view.go_to_line(sightglass_protocol::LineId::from_index(to));
        }
    }

    fn move_selection(&mut self, by: isize) {
        if self.view.screen == Screen::Overview {
            self.move_line(by);
            return;
        }
        let listed: Vec<AdvisoryId> = self.answers.listed(&self.view).iter().map(|advisory| advisory.id).collect();
        if listed.is_empty() {
            return;
        }
        let current = self.view.selected.and_then(|id| listed.iter().position(|known| *known == id));
        let to = current.map_or(0, |index| index.saturating_add_signed(by).min(listed.len() - 1));
        self.select(Some(listed[to]));
    }

    fn draw(&mut self, ui: &mut Ui, now: f64, commands: &mut Vec<Command>) {
        let palette = theme::palette(ui.ctx());
        self.view.connected = *self.exchange.state() == LinkState::Connected;
        // All of the window, whatever margin its host has given.
        let full = ui.ctx().content_rect();
        ui.set_clip_rect(full);
        let room = if self.view.screen == Screen::Review {
            screens::review::frame(ui, full, &self.view)
        } else {
            ui.painter().rect_filled(full, 0.0, palette.background);
            full
        };
        ui.scope_builder(UiBuilder::new().max_rect(room).id_salt("window"), |ui| {
            let bar = Frame::new().fill(palette.panel);
            let link = self.exchange.state();
            Panel::top("alarms").exact_size(alarm_bar::POINTS).frame(bar).show(ui, |ui| {
                alarm_bar::show(ui, &self.answers, &self.view, link, commands);
            });
            Panel::bottom("status").exact_size(status_bar::POINTS).frame(bar).show(ui, |ui| {
                status_bar::show(ui, &self.answers, link, now, commands);
            });
            if self.link_banner(ui, now) {
                return;
            }
            match self.view.screen {
                Screen::Overview => screens::overview::show(ui, &self.answers, &self.view, commands),
                Screen::Line => screens::line::show(ui, &self.answers, &mut self.view, commands),
                Screen::Review => screens::review::show(ui, &self.answers, &mut self.view, commands),
            }
        });
        if self.view.help && screens::help::show(ui) {
            self.view.help = false;
        }
    }

    /// Says that the engine does not answer: in a strip over the last that is known, or alone when nothing is. Returns
    /// whether there is nothing else to show.
    fn link_banner(&self, ui: &mut Ui, now: f64) -> bool {
        let palette = theme::palette(ui.ctx());
        let known = self.answers.welcome.is_some();
        let (head, reason) = match self.exchange.state() {
            LinkState::Connected => return false,
            LinkState::Waiting { since } => {
                (format!("Waiting for the engine for {}", status_bar::seconds(now - since)), String::new())
            }
            LinkState::Lost { since, reason } => {
                (format!("NO ANSWER FROM THE ENGINE for {}", status_bar::seconds(now - since)), reason.clone())
            }
        };
        if known {
            let shown = self.answers.engine_now().map_or_else(String::new, |time| {
                format!(" · what is shown is of {}, not of now", time_text::date_clock(time))
            });
            let strip = Frame::new().fill(palette.sensor).inner_margin(Margin::symmetric(12, 5));
            Panel::top("link").frame(strip).show_separator_line(false).show(ui, |ui| {
                let text = RichText::new(format!("{head}{shown}")).size(size::LARGE).color(palette.on_colour);
                ui.label(text);
                if !reason.is_empty() {
                    ui.label(RichText::new(format!("{reason} (trying again)")).color(palette.on_colour));
                }
            });
            return false;
        }
        CentralPanel::no_frame().show(ui, |ui| {
            let area: Rect = ui.max_rect();
            let card = Rect::from_center_size(area.center(), egui::vec2(area.width().min(820.0), 150.0));
            ui.painter().rect_filled(card, 4.0, palette.panel);
            ui.scope_builder(UiBuilder::new().max_rect(card.shrink(20.0)), |ui| {
                ui.vertical_centered(|ui| {
                    ui.label(RichText::new(head).size(size::STATE));
                    ui.add_space(6.0);
                    ui.label(reason);
                    ui.add_space(6.0);
                    let advice = "The window keeps trying. An engine that runs goes on recording without it.";
                    ui.label(RichText::new(advice).color(palette.weak));
                });
            });
        });
        true
    }
}
