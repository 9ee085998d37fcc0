//! What an open advisory rests on, and how its causes follow from that.

use sightglass_protocol::{
    Advisory, AdvisoryKind, Cause, LineInfo, PatchMap, PlantInfo, Subject, Surprise, UnknownGround, UtcNanos,
};

use crate::{
    MonitorOptions,
    delivery::{Frozen, whole_seconds},
    evidence::Positions,
    persistence::Judged,
    wording,
};

/// The most causes of an advisory.
const CAUSES_MAX: usize = 8;
/// A cause has at least this share of the evidence, unless it is the first.
const CAUSE_SHARE_MIN: f32 = 0.02;
/// An advisory is about the camera itself when its evidence is pictures' alone, from this share on …
const CAMERA_SHARE_MIN: f32 = 0.9;
/// … and more than this share of the patches is above the limit, as behind a dirty lens.
const CAMERA_SPREAD_MIN: f32 = 0.6;
/// An advisory is about the model's own ignorance when at least this share of its ticks lay on unknown ground …
const GROUND_SHARE_MIN: f32 = 0.5;
/// … which then takes this share of the evidence.
const GROUND_SHARE: f32 = 0.5;
/// A peak is reported when it rises by this much.
const PEAK_REPORT_RATIO: f32 = 1.1;
/// The causes whose change is reported.
const CAUSES_REPORTED: usize = 3;

/// What an advisory rests on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Origin {
    /// The model's surprise.
    Surprise,
    /// A frozen tag or camera, by position.
    Frozen(usize),
}

/// What lies behind an open advisory.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) origin: Origin,
    /// Whose evidence is this advisory's, by position.
    pub(crate) family: Vec<bool>,
    /// Ticks for which it still gathers causes.
    pub(crate) attribution_ticks_left: u32,
    /// Quiet ticks on end.
    pub(crate) quiet_ticks: u32,
    sums: Vec<f32>,
    spread_sum: f32,
    over_ticks: u32,
    ticks: u32,
    sureness_sum: f32,
    /// Ticks over the limit on ground that the model does not know, and that ground.
    ground_ticks: u32,
    ground: Vec<UnknownGround>,
    peak: Option<Surprise>,
    reported_peak: f32,
    reported_kind: AdvisoryKind,
    reported_subjects: Vec<Subject>,
    seen_ticks_unreported: u32,
}

/// What is the same for all advisories of a line.
pub(crate) struct Context<'a> {
    pub(crate) line: &'a LineInfo,
    pub(crate) plant: &'a PlantInfo,
    pub(crate) positions: &'a Positions,
    pub(crate) options: &'a MonitorOptions,
}

impl Case {
    fn new(origin: Origin, advisory: &Advisory, context: &Context<'_>) -> Self {
        Self {
            origin,
            family: vec![false; context.positions.len()],
            attribution_ticks_left: context.options.attribution_ticks,
            quiet_ticks: 0,
            sums: vec![0.0; context.positions.len()],
            spread_sum: 0.0,
            over_ticks: 0,
            ticks: 0,
            sureness_sum: 0.0,
            ground_ticks: 0,
            ground: Vec::new(),
            peak: None,
            reported_peak: advisory.peak,
            reported_kind: advisory.kind,
            reported_subjects: Vec::new(),
            seen_ticks_unreported: 0,
        }
    }

    /// A case that opens on a run of evidence.
    pub(crate) fn of_run(advisory: &mut Advisory, run: &[Judged], context: &Context<'_>) -> Self {
        let mut case = Self::new(Origin::Surprise, advisory, context);
        for tick in run {
            case.ticks += 1;
            if let Some(surprise) = &tick.over {
                case.take_over(advisory, tick.time, tick.score, &tick.weights, tick.spread, surprise, context.options);
            }
        }
        case.renew(advisory, context);
        case.note_reported(advisory);
        case
    }

    /// A case that opens on a frozen tag or camera.
    pub(crate) fn of_frozen(advisory: &mut Advisory, frozen: &Frozen, now: UtcNanos, context: &Context<'_>) -> Self {
        let mut case = Self::new(Origin::Frozen(frozen.position), advisory, context);
        case.take_frozen(advisory, frozen, now, context);
        case.note_reported(advisory);
        case
    }

    /// A judged tick passes, whatever it says.
    pub(crate) fn pass_tick(&mut self) {
        self.ticks = self.ticks.saturating_add(1);
        self.attribution_ticks_left = self.attribution_ticks_left.saturating_sub(1);
    }

    /// A tick over the limit that belongs to this advisory.
    #[allow(clippy::too_many_arguments, reason = "one tick's evidence, taken apart by the caller")]
    pub(crate) fn take_over(
        &mut self,
        advisory: &mut Advisory,
        time: UtcNanos,
        score: f32,
        weights: &[f32],
        spread: f32,
        surprise: &Surprise,
        options: &MonitorOptions,
    ) {
        self.quiet_ticks = 0;
        self.over_ticks = self.over_ticks.saturating_add(1);
        self.seen_ticks_unreported = self.seen_ticks_unreported.saturating_add(1);
        if self.attribution_ticks_left > 0 {
            for ((member, sum), weight) in self.family.iter_mut().zip(&mut self.sums).zip(weights) {
                *member |= *weight > 0.0;
                *sum += weight;
            }
            self.spread_sum += spread;
        }
        // Just over the limit is half sure, strong is sure.
        let above = (score - 1.0) / (options.strong_score - 1.0).max(f32::MIN_POSITIVE);
        self.sureness_sum += 0.5 + 0.5 * above.clamp(0.0, 1.0);
        advisory.confidence = (self.sureness_sum / self.ticks.max(1) as f32).clamp(0.0, 1.0);
        advisory.last_seen = time;
        if !surprise.unknown_ground.is_empty() {
            self.ground_ticks += 1;
            self.ground.clone_from(&surprise.unknown_ground);
        }
        if self.peak.is_none() || score > advisory.peak {
            advisory.peak = score;
            self.peak = Some(surprise.clone());
        }
    }

    /// The end of gathering: from here on only the causes belong to it.
    pub(crate) fn narrow_family(&mut self, advisory: &Advisory, positions: &Positions) {
        for (position, member) in self.family.iter_mut().enumerate() {
            *member = advisory.causes.iter().any(|cause| cause.subject == positions.subject(position));
        }
    }

    /// Works out kind, causes, patches and title anew.
    pub(crate) fn renew(&self, advisory: &mut Advisory, context: &Context<'_>) {
        let total: f32 = self.sums.iter().sum();
        let mut ranked: Vec<(usize, f32)> =
            self.sums.iter().copied().enumerate().filter(|(_, sum)| *sum > 0.0).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let strong = ranked.iter().take(CAUSES_MAX).take_while(|(_, sum)| *sum >= CAUSE_SHARE_MIN * total).count();
        ranked.truncate(strong.max(1));
        let named: f32 = ranked.iter().map(|(_, sum)| *sum).sum();

        let cameras: f32 =
            self.sums.iter().enumerate().filter(|(at, _)| context.positions.is_camera(*at)).map(|(_, sum)| *sum).sum();
        let spread = self.spread_sum / self.over_ticks.max(1) as f32;
        let is_camera = total > 0.0 && cameras >= CAMERA_SHARE_MIN * total && spread > CAMERA_SPREAD_MIN;
        let is_model = self.ground_ticks as f32 >= GROUND_SHARE_MIN * self.over_ticks as f32 && self.ground_ticks > 0;
        advisory.kind = match (is_camera, is_model) {
            (true, _) => AdvisoryKind::Camera,
            (false, true) => AdvisoryKind::Model,
            (false, false) => AdvisoryKind::Process,
        };

        let (tags, maps) = self.peak.as_ref().map_or((&[][..], &[][..]), |peak| (&peak.tags[..], &peak.patches[..]));
        advisory.causes = ranked
            .iter()
            .map(|(position, sum)| {
                let (subject, share) = (context.positions.subject(*position), sum / named);
                match subject {
                    Subject::Tag(tag) => {
                        let at_peak = tags.iter().find(|surprise| surprise.tag == tag);
                        Cause {
                            subject,
                            share,
                            predicted: at_peak.and_then(|surprise| surprise.predicted),
                            actual: at_peak.and_then(|surprise| surprise.actual),
                            reason: at_peak.map_or_else(|| "off its prediction".to_owned(), wording::tag_reason),
                        }
                    }
                    Subject::Camera(camera) => {
                        let map = maps.iter().find(|map| map.camera == camera);
                        let reason = map.map_or_else(
                            || "picture unlike normal running".to_owned(),
                            |map| wording::picture_reason(map, is_camera),
                        );
                        Cause { subject, share, predicted: None, actual: None, reason }
                    }
                }
            })
            .collect();
        if advisory.kind == AdvisoryKind::Model {
            advisory.causes.iter_mut().for_each(|cause| cause.share *= 1.0 - GROUND_SHARE);
            advisory.causes.splice(
                0..0,
                self.ground.iter().map(|ground| Cause {
                    subject: Subject::Tag(ground.tag),
                    share: GROUND_SHARE / self.ground.len() as f32,
                    predicted: None,
                    actual: Some(ground.value),
                    reason: wording::ground_reason(ground, context.plant),
                }),
            );
            advisory.causes.truncate(CAUSES_MAX);
        }
        let is_cause =
            |map: &&PatchMap| advisory.causes.iter().any(|cause| cause.subject == Subject::Camera(map.camera));
        advisory.patches = maps.iter().filter(is_cause).cloned().collect();
        advisory.title = wording::title(advisory.kind, &advisory.causes, &context.line.name, context.plant);
    }

    /// A tick at which the tag or camera is still frozen, or the first one.
    pub(crate) fn take_frozen(
        &mut self,
        advisory: &mut Advisory,
        frozen: &Frozen,
        now: UtcNanos,
        context: &Context<'_>,
    ) {
        let subject = context.positions.subject(frozen.position);
        let seconds = whole_seconds(frozen.since, now);
        let (kind, reason) = match subject {
            Subject::Tag(_) => (AdvisoryKind::Sensor, format!("has not changed for {seconds} s")),
            Subject::Camera(_) if frozen.is_unfit => {
                (AdvisoryKind::Camera, format!("its picture has not been usable for {seconds} s"))
            }
            Subject::Camera(_) => (AdvisoryKind::Camera, format!("shows the same picture for {seconds} s")),
        };
        let predicted = match subject {
            Subject::Tag(tag) => self.peak.as_ref().and_then(|peak| {
                peak.tags.iter().find(|surprise| surprise.tag == tag).and_then(|surprise| surprise.predicted)
            }),
            Subject::Camera(_) => None,
        };
        advisory.kind = kind;
        advisory.since = advisory.since.min(frozen.since);
        advisory.last_seen = now;
        advisory.peak = advisory.peak.max(frozen.ratio);
        advisory.confidence = frozen.confidence;
        advisory.causes = vec![Cause { subject, share: 1.0, predicted, actual: frozen.value, reason }];
        advisory.patches.clear();
        advisory.title = wording::title(kind, &advisory.causes, &context.line.name, context.plant);
        self.origin = Origin::Frozen(frozen.position);
        self.family.fill(false);
        self.seen_ticks_unreported = self.seen_ticks_unreported.saturating_add(1);
    }

    /// Whether there is news worth storing: the peak, the kind, the leading causes, or that it still lasts.
    pub(crate) fn has_news(&self, advisory: &Advisory, options: &MonitorOptions) -> bool {
        // The ratio of a frozen value's hold to its limit grows with time alone.
        let higher = self.origin == Origin::Surprise && advisory.peak > PEAK_REPORT_RATIO * self.reported_peak;
        let leading = || advisory.causes.iter().take(CAUSES_REPORTED);
        let others = leading().any(|cause| !self.reported_subjects.contains(&cause.subject));
        let first = advisory.causes.first().map(|cause| cause.subject) != self.reported_subjects.first().copied();
        higher
            || others
            || first
            || advisory.kind != self.reported_kind
            || self.seen_ticks_unreported >= options.update_ticks.max(1)
    }

    pub(crate) fn note_reported(&mut self, advisory: &Advisory) {
        self.reported_peak = advisory.peak;
        self.reported_kind = advisory.kind;
        self.reported_subjects = advisory.causes.iter().take(CAUSES_REPORTED).map(|cause| cause.subject).collect();
        self.seen_ticks_unreported = 0;
    }
}
