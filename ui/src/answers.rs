//! The newest answer to each question, and what it is about.

use sightglass_protocol::{
    Advisory, AdvisoryId, CameraId, CameraInfo, LineId, LineInfo, PlantInfo, TagId, TagInfo, UtcNanos,
    message::{At, LineSummary, LineView, Overview, Recorded, Reply, Request, Welcome},
};

use crate::{
    link::Answer,
    video::Video,
    view::{Screen, ViewState},
};

/// Advisories that the list shows at most.
const LIST_MAX: usize = 200;

/// Why the engine could not answer, by what was asked.
#[derive(Default)]
pub(crate) struct Refusals {
    pub(crate) line: Option<String>,
    pub(crate) picture: Option<String>,
    pub(crate) other: Option<String>,
}

/// The newest answers.
#[derive(Default)]
pub(crate) struct Answers {
    pub(crate) welcome: Option<Welcome>,
    pub(crate) overview: Option<Overview>,
    pub(crate) line: Option<LineView>,
    pub(crate) advisories: Vec<Advisory>,
    pub(crate) recorded: Option<(LineId, Recorded)>,
    pub(crate) refused: Refusals,
    pub(crate) video: Video,
    /// For which camera and replayed time the picture has been asked and answered.
    pub(crate) picture_for: Option<(CameraId, UtcNanos)>,
}

impl Answers {
    /// Takes one answer in.
    pub(crate) fn take(&mut self, answer: Answer, view: &mut ViewState, ctx: &egui::Context) {
        let Answer { request, reply } = answer;
        match (request, reply) {
            (_, Reply::Welcome(welcome)) => self.meet(*welcome, view),
            (_, Reply::Overview(overview)) => self.overview = Some(overview),
            (_, Reply::Line(line)) => {
                self.refused.line = None;
                self.line = Some(*line);
            }
            (Request::Picture { camera, at }, Reply::Picture(picture)) => {
                self.refused.picture = None;
                if let At::Time(time) = at {
                    self.picture_for = Some((camera, time));
                }
                self.video.show(ctx, camera, picture);
            }
            (Request::Step { camera, forward, .. }, Reply::Picture(picture)) => {
                view.replay.step = None;
                self.refused.picture = None;
                match picture {
                    Some(picture) if view.screen == Screen::Review => {
                        let range = self.recorded_range(view.line);
                        view.replay.seek(picture.time, range);
                        self.picture_for = Some((camera, view.replay.at));
                        self.video.show(ctx, camera, Some(picture));
                    }
                    Some(_) => {}
                    None => {
                        view.replay.note = Some(if forward { "no later picture" } else { "no earlier picture" });
                    }
                }
            }
            (_, Reply::Advisories(advisories)) => self.advisories = advisories,
            (Request::Recorded { line }, Reply::Recorded(recorded)) => self.recorded = Some((line, recorded)),
            (request, Reply::Refused { reason }) => self.refuse(&request, reason, view),
            // The exchange has checked that the answer is of the request's kind.
            (_, Reply::Picture(_) | Reply::Recorded(_)) => {}
        }
    }

    fn meet(&mut self, welcome: Welcome, view: &mut ViewState) {
        if self.welcome.as_ref().is_some_and(|known| known.plant != welcome.plant) {
            // Another plant: nothing that is shown belongs to it.
            *self = Self::default();
            *view = ViewState { screen: Screen::Overview, zoom: view.zoom, ..ViewState::new() };
        }
        self.welcome = Some(welcome);
    }

    fn refuse(&mut self, request: &Request, reason: String, view: &mut ViewState) {
        match request {
            Request::Line { .. } => self.refused.line = Some(reason),
            Request::Picture { camera, at } => {
                self.refused.picture = Some(reason);
                self.video.forget();
                if let At::Time(time) = at {
                    self.picture_for = Some((*camera, *time));
                }
            }
            Request::Step { .. } => {
                view.replay.step = None;
                self.refused.picture = Some(reason);
            }
            _ => self.refused.other = Some(reason),
        }
    }

    pub(crate) fn plant(&self) -> Option<&PlantInfo> {
        self.welcome.as_ref().map(|welcome| &welcome.plant)
    }

    pub(crate) fn line_info(&self, line: LineId) -> Option<&LineInfo> {
        self.plant()?.lines.get(line.index())
    }

    pub(crate) fn tag(&self, tag: TagId) -> Option<&TagInfo> {
        self.plant()?.tags.get(tag.index())
    }

    pub(crate) fn camera(&self, view: &ViewState) -> Option<&CameraInfo> {
        let line = self.line_info(view.line)?;
        let id = line.cameras.get(view.camera).or_else(|| line.cameras.first())?;
        self.plant()?.cameras.get(id.index())
    }

    /// The signals of the shown line, of whatever time they are.
    pub(crate) fn line_view(&self, view: &ViewState) -> Option<&LineView> {
        self.line.as_ref().filter(|shown| shown.line == view.line)
    }

    pub(crate) fn summary(&self, line: LineId) -> Option<&LineSummary> {
        self.overview.as_ref()?.lines.iter().find(|summary| summary.line == line)
    }

    /// The newest tick that the window has heard of.
    pub(crate) fn engine_now(&self) -> Option<UtcNanos> {
        let overview = self.overview.as_ref().and_then(|overview| overview.now);
        overview.max(self.line.as_ref().map(|line| line.now))
    }

    pub(crate) fn recorded(&self, line: LineId) -> Option<&Recorded> {
        self.recorded.as_ref().filter(|(of, _)| *of == line).map(|(_, recorded)| recorded)
    }

    pub(crate) fn recorded_range(&self, line: LineId) -> Option<(UtcNanos, UtcNanos)> {
        self.recorded(line)?.range
    }

    /// The moment that is shown.
    pub(crate) fn shown_at(&self, view: &ViewState) -> Option<UtcNanos> {
        match view.screen {
            Screen::Overview => self.overview.as_ref()?.now,
            Screen::Line => self.line_view(view).map(|line| line.at),
            Screen::Review => Some(view.replay.at),
        }
    }

    /// The advisories of the shown line around the shown time: open ones first, then newest first.
    pub(crate) fn listed(&self, view: &ViewState) -> Vec<&Advisory> {
        let mut listed: Vec<&Advisory> = Vec::new();
        let sources = [
            self.line_view(view).map(|line| line.advisories.as_slice()),
            self.summary(view.line).map(|summary| summary.open.as_slice()),
            Some(self.advisories.as_slice()),
        ];
        for advisory in sources.into_iter().flatten().flatten() {
            if advisory.line == view.line && !listed.iter().any(|known| known.id == advisory.id) {
                listed.push(advisory);
            }
        }
        let at = self.shown_at(view).unwrap_or(UtcNanos::MAX);
        listed.sort_by_key(|advisory| (Stage::of(advisory, at) != Stage::Open, std::cmp::Reverse(advisory.since)));
        listed.truncate(LIST_MAX);
        listed
    }

    pub(crate) fn find_advisory(&self, id: AdvisoryId, view: &ViewState) -> Option<&Advisory> {
        self.listed(view).into_iter().find(|advisory| advisory.id == id)
    }

    /// Every open advisory of the plant, newest first.
    pub(crate) fn open(&self) -> Vec<&Advisory> {
        let mut open: Vec<&Advisory> =
            self.overview.iter().flat_map(|overview| &overview.lines).flat_map(|line| &line.open).collect();
        open.sort_by_key(|advisory| std::cmp::Reverse(advisory.since));
        open
    }
}

/// How an advisory stands at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Begins later.
    Later,
    /// Is there.
    Open,
    /// Is over.
    Over,
}

impl Stage {
    pub(crate) fn of(advisory: &Advisory, at: UtcNanos) -> Self {
        if advisory.since > at {
            Self::Later
        } else if advisory.closed.is_none_or(|closed| closed > at) {
            Self::Open
        } else {
            Self::Over
        }
    }
}
