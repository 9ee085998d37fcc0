//! One line's monitor: ticks and surprises in, health and advisories out.

use sightglass_protocol::{
    Advisory, AdvisoryChange, AdvisoryId, AdvisoryKind, CameraInfo, Health, LineInfo, PlantInfo, Role, Surprise,
    TagInfo, Tick, UtcNanos, message::LineState,
};

use crate::{
    MonitorOptions, Normal,
    case::{Case, Context, Origin},
    delivery::{Delivery, Trust},
    evidence::{Evidence, Positions},
    persistence::{Judged, Persistence},
};

/// The most advisories that are open on a line at a time. What would open beyond them waits until one has closed.
pub const OPEN_MAX: usize = 8;
/// Without a judgement for this many ticks, a line is learning.
const LEARNING_TICKS: u32 = 10;
/// Evidence that no open advisory accounts for opens another from this share of a tick's evidence on.
const OTHER_SHARE_MIN: f32 = 0.5;
/// With less than this share of the predicted tags and cameras usable, a tick is not judged.
const USABLE_SHARE_MIN: f32 = 0.5;

/// What one tick brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Steps in the life of advisories, in the order in which they happened.
    pub advisories: Vec<AdvisoryChange>,
    /// Changed states of health. Empty where [`Monitor::check`] has told them already.
    pub health: Vec<Health>,
}

/// One line's monitor.
#[derive(Clone, Debug)]
pub struct Monitor {
    line: LineInfo,
    plant: PlantInfo,
    positions: Positions,
    /// Which positions a model speaks of: measurements, outputs, cameras.
    predicted: Vec<bool>,
    options: MonitorOptions,
    delivery: Delivery,
    persistence: Persistence,
    cases: Vec<Case>,
    /// One a case, in its order.
    open: Vec<Advisory>,
    next_id: u64,
    id_step: u64,
    trust: Vec<Trust>,
    checked: Option<UtcNanos>,
    /// The last usable values of setpoints and modes, by position; NaN elsewhere.
    actions: Vec<f64>,
    patient_ticks_left: u32,
    stands: bool,
    has_data: bool,
    ticks_since_judged: u32,
}

impl Monitor {
    /// A monitor for one line of a plant.
    ///
    /// Ids count up from `next_id`; in a plant of n lines each line takes every n-th, so that monitors that start from
    /// the same `next_id` never give the same one, in whatever order they run.
    pub fn new(
        line: &LineInfo,
        plant: &PlantInfo,
        normal: Option<Normal>,
        next_id: AdvisoryId,
        options: MonitorOptions,
    ) -> Self {
        let tags: Vec<&TagInfo> = line.tags.iter().map(|tag| &plant.tags[tag.index()]).collect();
        let cameras: Vec<&CameraInfo> = line.cameras.iter().map(|camera| &plant.cameras[camera.index()]).collect();
        let predicted = tags.iter().map(|tag| tag.role.is_predicted()).chain(cameras.iter().map(|_| true)).collect();
        let positions = Positions::new(line);
        Self {
            predicted,
            options: options.bounded(),
            delivery: Delivery::new(&tags, &cameras, normal.as_ref()),
            persistence: Persistence::default(),
            cases: Vec::new(),
            open: Vec::new(),
            next_id: next_id.0 + line.id.index() as u64,
            id_step: plant.lines.len().max(1) as u64,
            trust: vec![Trust::Unusable; positions.len()],
            checked: None,
            actions: vec![f64::NAN; line.tags.len()],
            patient_ticks_left: 0,
            stands: false,
            has_data: false,
            ticks_since_judged: u32::MAX,
            line: line.clone(),
            plant: plant.clone(),
            positions,
        }
    }

    /// Before the model: marks readings of frozen sensors and cameras as [`sightglass_protocol::Quality::Frozen`], and
    /// returns the states of health that changed by that. Readings that are marked already were told by ingest.
    ///
    /// # Panics
    /// Where the tick is of another line (has another number of tags or cameras).
    pub fn check(&mut self, tick: &mut Tick) -> Vec<Health> {
        if let Some(last) = self.checked {
            let gone = tick.time.since(last);
            if gone <= 0 || gone > i64::from(self.options.gap_ticks).saturating_mul(self.line.tick_ns) {
                self.break_runs();
            }
        }
        self.checked = Some(tick.time);
        self.has_data = tick.tags.iter().any(|reading| reading.quality.is_usable())
            || tick.cameras.iter().any(|reading| reading.quality.is_usable());
        self.note_actions(tick);
        let (trust, health) = self.delivery.take(tick, self.stands, &self.options);
        self.trust = trust;
        health
    }

    /// After the model: the tick (as [`Monitor::check`] left it) and what the model says of this very tick, if anything.
    /// A tick that has not been checked is checked first.
    ///
    /// # Panics
    /// Where the tick is of another line (has another number of tags or cameras).
    pub fn observe(&mut self, tick: &Tick, surprise: Option<&Surprise>) -> Findings {
        let health = if self.checked == Some(tick.time) { Vec::new() } else { self.check(&mut tick.clone()) };
        let mut advisories = Vec::new();
        self.follow_frozen(tick.time, &mut advisories);
        match surprise.filter(|surprise| surprise.settled && self.has_enough()) {
            Some(surprise) => {
                if self.ticks_since_judged > self.options.gap_ticks {
                    self.persistence.clear();
                }
                self.ticks_since_judged = 0;
                self.judge(tick.time, surprise, &mut advisories);
            }
            None => self.ticks_since_judged = self.ticks_since_judged.saturating_add(1),
        }
        Findings { advisories, health }
    }

    /// The line's state in one word, as of the last tick.
    pub fn line_state(&self) -> LineState {
        if !self.has_data {
            LineState::NoData
        } else if self.open.iter().any(|advisory| matches!(advisory.kind, AdvisoryKind::Process | AdvisoryKind::Model))
        {
            LineState::Advisory
        } else if !self.open.is_empty() {
            LineState::SensorAdvisory
        } else if self.stands {
            LineState::Stopped
        } else if self.ticks_since_judged > LEARNING_TICKS {
            LineState::Learning
        } else {
            LineState::Normal
        }
    }

    /// The open advisories, oldest first.
    pub fn open(&self) -> &[Advisory] {
        &self.open
    }

    /// Forgets what was about to persist; what is open stays open.
    fn break_runs(&mut self) {
        self.persistence.clear();
        self.delivery.break_runs();
        for case in &mut self.cases {
            case.quiet_ticks = 0;
        }
    }

    /// Takes in what people did: setpoints and modes.
    fn note_actions(&mut self, tick: &Tick) {
        self.patient_ticks_left = self.patient_ticks_left.saturating_sub(1);
        let mut stands = None;
        for (reading, last) in tick.tags.iter().zip(&mut self.actions) {
            let role = self.plant.tags[reading.tag.index()].role;
            let is_usable = reading.quality.is_usable() && reading.value.is_finite();
            if !matches!(role, Role::Setpoint | Role::Mode) || !is_usable {
                continue;
            }
            if last.is_finite() && *last != reading.value {
                self.patient_ticks_left = self.options.after_action_ticks;
            }
            *last = reading.value;
            if role == Role::Mode {
                stands = Some(stands.unwrap_or(false) || reading.value == 0.0);
            }
        }
        // While no mode can be read, the last one holds.
        self.stands = stands.unwrap_or(self.stands);
    }

    /// Whether enough is usable for the model to be believed.
    fn has_enough(&self) -> bool {
        let asked = self.predicted.iter().filter(|predicted| **predicted).count();
        let usable = self.predicted.iter().zip(&self.trust).filter(|(is, trust)| **is && **trust != Trust::Unusable);
        usable.count() as f32 >= USABLE_SHARE_MIN * asked as f32 && asked > 0
    }

    fn blank(&mut self, kind: AdvisoryKind, since: UtcNanos, now: UtcNanos) -> Advisory {
        let id = AdvisoryId(self.next_id);
        self.next_id += self.id_step;
        Advisory {
            id,
            line: self.line.id,
            kind,
            title: String::new(),
            since,
            opened: now,
            last_seen: now,
            closed: None,
            peak: 0.0,
            confidence: 0.0,
            causes: Vec::new(),
            patches: Vec::new(),
        }
    }

    /// Opens, follows and closes the advisories about frozen sensors and cameras.
    fn follow_frozen(&mut self, now: UtcNanos, changes: &mut Vec<AdvisoryChange>) {
        let frozen = self.delivery.frozen();
        for found in frozen.iter().filter(|found| found.now) {
            let subject = self.positions.subject(found.position);
            let known = self.cases.iter().position(|case| case.origin == Origin::Frozen(found.position));
            // Surprise that was there before the hold was long enough to be told is the hold's.
            let blamed = || {
                let is_blamed = |(case, advisory): (&Case, &Advisory)| {
                    case.origin == Origin::Surprise
                        && advisory.since >= found.since
                        && advisory.causes.first().is_some_and(|cause| cause.subject == subject)
                };
                self.cases.iter().zip(&self.open).position(is_blamed)
            };
            let followed = known.or_else(blamed);
            if followed.is_none() && self.open.len() >= OPEN_MAX {
                continue;
            }
            let mut opened =
                if followed.is_none() { Some(self.blank(AdvisoryKind::Sensor, found.since, now)) } else { None };
            let context =
                Context { line: &self.line, plant: &self.plant, positions: &self.positions, options: &self.options };
            if let Some(advisory) = &mut opened {
                self.cases.push(Case::of_frozen(advisory, found, now, &context));
                changes.push(AdvisoryChange::Opened(advisory.clone()));
            } else if let Some(at) = followed {
                let (case, advisory) = (&mut self.cases[at], &mut self.open[at]);
                case.take_frozen(advisory, found, now, &context);
                if case.has_news(advisory, &self.options) {
                    case.note_reported(advisory);
                    changes.push(AdvisoryChange::Updated(advisory.clone()));
                }
            }
            self.open.extend(opened);
        }
        let is_over = |case: &Case| match case.origin {
            Origin::Surprise => false,
            Origin::Frozen(position) => !frozen.iter().any(|frozen| frozen.position == position),
        };
        self.close(now, is_over, changes);
    }

    /// Takes in one judged tick.
    fn judge(&mut self, now: UtcNanos, surprise: &Surprise, changes: &mut Vec<AdvisoryChange>) {
        let score = if surprise.score.is_nan() { 0.0 } else { surprise.score.max(0.0) };
        let evidence = Evidence::of(surprise, &self.positions, &self.trust);
        let is_over = score > 1.0 && !evidence.is_led_by_untrusted;
        let of_surprise = |case: &Case| case.origin == Origin::Surprise;
        let is_only = self.cases.iter().filter(|case| of_surprise(case)).count() == 1;

        // What no open advisory accounts for joins the one that is still gathering its causes.
        if is_over
            && let Some(case) = self.cases.iter_mut().find(|case| of_surprise(case) && case.attribution_ticks_left > 0)
        {
            for (member, weight) in case.family.iter_mut().zip(&evidence.weights) {
                *member |= *weight > 0.0;
            }
        }
        let is_claimed = |position: usize| self.cases.iter().any(|case| of_surprise(case) && case.family[position]);
        let other: Vec<f32> = (evidence.weights.iter().enumerate())
            .map(|(position, weight)| if is_claimed(position) { 0.0 } else { *weight })
            .collect();
        let total: f32 = evidence.weights.iter().sum();
        let is_other = is_over && other.iter().sum::<f32>() > OTHER_SHARE_MIN * total;

        let context =
            Context { line: &self.line, plant: &self.plant, positions: &self.positions, options: &self.options };
        for (case, advisory) in self.cases.iter_mut().zip(&mut self.open).filter(|(case, _)| of_surprise(case)) {
            let family_score = only(&evidence.scores, &case.family).fold(0.0, f32::max);
            let is_whole = is_only && !is_other && !evidence.is_led_by_untrusted;
            let case_score = if is_whole { score } else { score.min(family_score) };
            let was_gathering = case.attribution_ticks_left > 0;
            case.pass_tick();
            if case_score > 1.0 {
                let weights: Vec<f32> = only(&evidence.weights, &case.family).collect();
                case.take_over(advisory, now, case_score, &weights, evidence.spread, surprise, &self.options);
                case.renew(advisory, &context);
                if case.has_news(advisory, &self.options) {
                    case.note_reported(advisory);
                    changes.push(AdvisoryChange::Updated(advisory.clone()));
                }
            } else if case_score < self.options.close_below {
                case.quiet_ticks += 1;
            } else {
                case.quiet_ticks = 0;
            }
            if was_gathering && case.attribution_ticks_left == 0 {
                case.narrow_family(advisory, &self.positions);
            }
        }
        let close_ticks = self.options.close_ticks;
        self.close(now, |case| of_surprise(case) && case.quiet_ticks >= close_ticks, changes);

        let is_new = is_over && (is_other || !self.cases.iter().any(of_surprise));
        let judged = Judged {
            time: now,
            score,
            weights: other,
            spread: evidence.spread,
            over: is_new.then(|| surprise.clone()),
        };
        self.persistence.push(judged, self.options.remembered_ticks());
        let is_patient = self.patient_ticks_left > 0;
        if is_new && self.open.len() < OPEN_MAX && self.persistence.has_lasted(is_patient, &self.options) {
            self.open_on_run(now, changes);
        }
    }

    fn open_on_run(&mut self, now: UtcNanos, changes: &mut Vec<AdvisoryChange>) {
        let Some((since, run)) = self.persistence.take_run() else { return };
        let mut advisory = self.blank(AdvisoryKind::Process, since, now);
        let context =
            Context { line: &self.line, plant: &self.plant, positions: &self.positions, options: &self.options };
        self.cases.push(Case::of_run(&mut advisory, &run, &context));
        changes.push(AdvisoryChange::Opened(advisory.clone()));
        self.open.push(advisory);
    }

    fn close(&mut self, now: UtcNanos, is_over: impl Fn(&Case) -> bool, changes: &mut Vec<AdvisoryChange>) {
        let mut at = 0;
        while at < self.cases.len() {
            if is_over(&self.cases[at]) {
                self.cases.remove(at);
                let mut advisory = self.open.remove(at);
                advisory.closed = Some(now);
                changes.push(AdvisoryChange::Closed(advisory));
            } else {
                at += 1;
            }
        }
    }
}

/// The values of a family's members, 0 for all others.
fn only<'a>(values: &'a [f32], family: &'a [bool]) -> impl Iterator<Item = f32> + 'a {
    values.iter().zip(family).map(|(value, member)| if *member { *value } else { 0.0 })
}
