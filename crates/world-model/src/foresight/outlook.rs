//! Forecasts to any horizon, as they are or under a course of action.

use sightglass_protocol::{Band, HORIZONS, LineId, TagId, UtcNanos};

use super::calibrate::Calibrated;
use super::course::{Course, coded, raw_ahead};
use super::reach::{GRID, offset};
use super::roll_out::Roller;
use super::support::Unseen;
use super::{ForesightError, TimeToLimit, time_to_limit};
use crate::residual::Snapshot;
use crate::stream::{Present, Stream};

/// The furthest forecast, in ticks.
pub const AHEAD_TICKS_MAX: usize = 14_400;
/// Ticks ahead at which a what-if must lie within what was seen, and how far apart further ones are.
const CHECKED: [usize; 4] = [1, 8, 32, 96];
/// The middle that the network's read-out adds fades to a half over so many ticks beyond the last trained horizon.
const FADE_TICKS: f32 = 32.0;

/// The bands of one tag.
#[derive(Clone, Debug, PartialEq)]
pub struct TagOutlook {
    /// Whose.
    pub tag: TagId,
    /// 80 % bands in the tag's unit, one a tick ahead, from 1 on.
    pub bands: Vec<Band>,
}

/// What a line's tags are expected to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// Which line.
    pub line: LineId,
    /// The tick from which it looks ahead.
    pub time: UtcNanos,
    /// The tick period.
    pub tick_ns: i64,
    /// One a predicted tag.
    pub tags: Vec<TagOutlook>,
    /// The course that it rests on. Without one (`None`) setpoints and modes are taken to stay, and bands allow for what
    /// people usually do.
    pub course: Option<Course>,
    /// Ticks ahead up to which bands were measured on held-back running; beyond, they are grown from there.
    pub measured_ticks: usize,
    /// What bands are multiplied by to tell times.
    pub(crate) passage: f32,
}

impl Outlook {
    /// The outlook of a tag.
    pub fn tag(&self, tag: TagId) -> Option<&TagOutlook> {
        self.tags.iter().find(|t| t.tag == tag)
    }

    /// When a tag will leave `low..high` (either may be absent): the limit that is likely to be crossed first. `None`
    /// where the tag is not predicted or there is no limit.
    pub fn time_to_limit(&self, tag: TagId, low: Option<f64>, high: Option<f64>) -> Option<TimeToLimit> {
        time_to_limit::first(&self.tag(tag)?.bands, self.passage, low, high)
    }
}

impl Stream {
    /// What comes if nobody is known to do anything, for `ahead` ticks from the last one. The stream is not disturbed.
    ///
    /// Bands hold 80 % of what then happens in running such as that of training, in which people do act. At the horizons
    /// of the stream's own forecasts, they are those. A model without calibrated foresight gives bands that are grown
    /// from its last horizon (`measured_ticks` says so).
    ///
    /// # Errors
    /// Before the first tick, on a line without predicted tags, or for too many ticks.
    pub fn outlook(&self, ahead: usize) -> Result<Outlook, ForesightError> {
        let present = self.present()?;
        check_ahead(ahead)?;
        let raw = raw_ahead(present.code(), present.spec(), &present.snapshot, &Course::held(), ahead)?;
        let middles = middles(&present, &coded(present.code(), &raw), 1, ahead);
        let tags = present.parts.plan.tags;
        let shown = present.shown;
        let held = present.parts.foresight.as_ref().map(|f| &f.held);
        // The stream's bands at its own horizons, and what was measured between and beyond them.
        let own: [usize; 6] = HORIZONS.map(|h| h as usize);
        let grid = held.filter(|h| h.measured_ticks() >= own[5]).map_or(&own[..], |h| &GRID[..h.measured]);
        let offsets = |tag: usize| -> (Vec<f32>, Vec<f32>) {
            let at = |(g, ahead): (usize, &usize)| match (own.iter().position(|h| h == ahead), held) {
                (None, Some(held)) => (held.low[g * tags + tag], held.high[g * tags + tag]),
                (h, _) => {
                    let (band, scale) = (shown[tag][h.unwrap_or(0)], present.scale(tag));
                    ((band.low - band.mid) / scale, (band.high - band.mid) / scale)
                }
            };
            grid.iter().enumerate().map(at).unzip()
        };
        let all: Vec<(Vec<f32>, Vec<f32>)> = (0..tags).map(offsets).collect();
        let band = |tag: usize, k: usize, mid: f32| {
            let (low, high) = &all[tag];
            present.band(tag, mid, offset(low, 0, 1, grid, k), offset(high, 0, 1, grid, k))
        };
        let measured = held.map_or(HORIZONS[5] as usize, |h| h.measured_ticks().max(HORIZONS[5] as usize));
        Ok(outlook(&present, &middles, None, measured, held.map_or(1.0, |h| h.passage), &band))
    }

    /// What comes under a course of action, for `ahead` ticks from the last one. The stream is not disturbed.
    ///
    /// # Errors
    /// Where the course lies outside of what the model has seen, with the setpoint and where it was seen; where it sets
    /// what is no setpoint or mode; as [`Stream::outlook`], and for a model without calibrated foresight.
    pub fn what_if(&self, course: &Course, ahead: usize) -> Result<Outlook, ForesightError> {
        let present = self.present()?;
        check_ahead(ahead)?;
        let foresight = present.foresight()?;
        let raw = raw_ahead(present.code(), present.spec(), &present.snapshot, course, ahead)?;
        let actions = coded(present.code(), &raw);
        let middles = middles(&present, &actions, 1, ahead);
        if let Some(unseen) = unseen(&present, foresight, course, &raw, &actions, &middles) {
            return Err(ForesightError::Unseen(unseen));
        }
        Ok(given(&present, foresight, course, &middles))
    }
}

fn check_ahead(ahead: usize) -> Result<(), ForesightError> {
    if (1..=AHEAD_TICKS_MAX).contains(&ahead) {
        Ok(())
    } else {
        Err(ForesightError::TooFar { asked: ahead, max: AHEAD_TICKS_MAX })
    }
}

/// The outlook under a known course.
pub(crate) fn given(present: &Present<'_>, foresight: &Calibrated, course: &Course, middles: &[f32]) -> Outlook {
    let reach = &foresight.given;
    let band = |tag: usize, k: usize, mid: f32| {
        let (low, high) = reach.at(tag, k);
        present.band(tag, mid, low, high)
    };
    outlook(present, middles, Some(course.clone()), reach.measured_ticks(), reach.passage, &band)
}

fn outlook(
    present: &Present<'_>,
    middles: &[f32],
    course: Option<Course>,
    measured_ticks: usize,
    passage: f32,
    band: &dyn Fn(usize, usize, f32) -> Band,
) -> Outlook {
    let tags = present.parts.plan.tags;
    let of = |tag: usize| TagOutlook {
        tag: present.tag(tag),
        bands: middles.chunks_exact(tags).enumerate().map(|(k, row)| band(tag, k + 1, row[tag])).collect(),
    };
    let (line, time, tick_ns) = (present.spec().line, present.time, present.spec().tick_ns);
    Outlook { line, time, tick_ns, tags: (0..tags).map(of).collect(), course, measured_ticks, passage }
}

/// Middles of `rows` courses, normalised, (rows, ahead, tags): the roll-out, and what the network's read-out adds at
/// present.
pub(crate) fn middles(present: &Present<'_>, actions: &[f32], rows: usize, ahead: usize) -> Vec<f32> {
    let rolled = roller(present).roll(&[&present.snapshot], actions, rows, ahead);
    let mut values = rolled.values;
    add_read_out(present, &mut values, ahead);
    values
}

pub(crate) fn roller<'a>(present: &'a Present<'_>) -> Roller<'a> {
    let parts = present.parts;
    // Without calibration nothing says what a lean means: it counts as noise.
    const UNKNOWN: &[f32] = &[];
    let lean_limits = parts.foresight.as_ref().map_or(UNKNOWN, |f| &f.lean_limits);
    Roller { plan: &parts.plan, models: &parts.models, lean_limits, with_expected: false }
}

fn add_read_out(present: &Present<'_>, middles: &mut [f32], ahead: usize) {
    let tags = present.parts.plan.tags;
    let linear = present.parts.models.forecast(&present.parts.plan, present.tags);
    for tag in 0..tags {
        let added: Vec<f32> = (0..HORIZONS.len())
            .map(|h| present.normalise(tag, present.shown[tag][h].mid) - linear[h * tags + tag])
            .collect();
        let own: [usize; 6] = HORIZONS.map(|h| h as usize);
        let last = own[5];
        let at: Vec<f32> = (1..=ahead)
            .map(|k| {
                let fade = 0.5f32.powf(k.saturating_sub(last) as f32 / FADE_TICKS);
                offset(&added, 0, 1, &own, k.min(last)) * fade
            })
            .collect();
        for row in middles.chunks_exact_mut(ahead * tags) {
            row.chunks_exact_mut(tags).zip(&at).for_each(|(values, add)| values[tag] += add);
        }
    }
}

/// Ticks ahead at which support is asked for.
pub(crate) fn checked(ahead: usize) -> impl Iterator<Item = usize> {
    CHECKED.into_iter().chain((1..).map(|i| CHECKED[3] * (i + 1))).take_while(move |k| *k <= ahead)
}

/// The furthest that a course and what it leads to are from what was seen, in limits, and when.
pub(crate) fn furthest(
    present: &Present<'_>,
    foresight: &Calibrated,
    actions: &[f32],
    middles: &[f32],
    ahead: usize,
) -> (f32, usize) {
    let (tags, width) = (present.parts.plan.tags, present.code().len());
    checked(ahead)
        .map(|k| {
            let (a, v) = (&actions[(k - 1) * width..k * width], &middles[(k - 1) * tags..k * tags]);
            (foresight.support.distance(a, v), k)
        })
        .fold((0.0, 1), |most, now| if now.0 > most.0 { now } else { most })
}

fn unseen(
    present: &Present<'_>,
    foresight: &Calibrated,
    course: &Course,
    raw: &[f64],
    actions: &[f32],
    middles: &[f32],
) -> Option<Unseen> {
    let snapshot: &Snapshot = &present.snapshot;
    let before = &snapshot.actions.raw;
    if let Some(unseen) = foresight.support.check(present.code(), present.spec(), before, raw) {
        return Some(unseen);
    }
    let (tags, width) = (present.parts.plan.tags, before.len());
    let now = foresight.support.distance(&snapshot.actions.values, &snapshot.lags[..tags]);
    if let Some((name, low, high)) = (0..tags).find_map(|tag| present.beyond(tag, snapshot.lags[tag])) {
        return Some(Unseen::Tag { name, seen: (low, high) });
    }
    if now > 1.0 {
        return Some(Unseen::State { distance: now });
    }
    if course.steps().is_empty() {
        return None;
    }
    let (distance, k) = furthest(present, foresight, actions, middles, middles.len() / tags);
    (distance > 1.0).then(|| {
        let (raw, values) = (&raw[(k - 1) * width..k * width], &middles[(k - 1) * tags..k * tags]);
        foresight.support.blame(present.code(), present.spec(), before, raw, values, distance)
    })
}
