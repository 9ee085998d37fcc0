//! How often bands and times to limits hold on runs that nothing was learned from.

use sightglass_protocol::Tick;
use sightglass_world_model::{Course, ModelSpec, PlantModel};

use crate::line::normal;

/// Seeds of the runs, far from training's.
const SEEDS: u64 = 6_000_000;
const RUNS: u64 = 10;
const MINUTES: f64 = 30.0;
/// Ticks ahead that are measured; the last is further than bands were calibrated.
pub(crate) const AHEAD: [usize; 14] = [1, 2, 4, 6, 8, 16, 24, 32, 64, 128, 192, 256, 512, 768];
/// Ticks between the forecasts that are measured.
const EVERY: usize = 11;
const SETTLED: usize = 60;
/// Limits that are asked for, in standard deviations from the mean.
const LIMITS: [f64; 2] = [-1.5, 1.5];

/// Counts of values inside, and of all.
#[derive(Clone, Copy, Default)]
pub(crate) struct Share(u64, u64);

impl Share {
    fn add(&mut self, inside: bool) {
        self.0 += u64::from(inside);
        self.1 += 1;
    }

    pub(crate) fn percent(self) -> f64 {
        100.0 * self.0 as f64 / self.1.max(1) as f64
    }
}

#[derive(Default)]
pub(crate) struct Coverage {
    /// By [`AHEAD`]: if nobody is known to do anything, and if what people did is given.
    pub(crate) held: [Share; AHEAD.len()],
    pub(crate) given: [Share; AHEAD.len()],
    pub(crate) passage: Share,
    pub(crate) refused: Share,
}

/// What people did in the `ahead` ticks after tick `t`.
fn done(spec: &ModelSpec, ticks: &[Tick], t: usize, ahead: usize) -> Course {
    let mut course = Course::held();
    for k in 1..=ahead {
        for (i, tag) in spec.tags.iter().enumerate().filter(|(_, tag)| !tag.role.is_predicted()) {
            let [before, now] = [t + k - 1, t + k].map(|t| ticks[t].tags[i].value);
            if before != now {
                course = course.set(k as u32 - 1, tag.id, now);
            }
        }
    }
    course
}

pub(crate) fn measure(model: &PlantModel, spec: &ModelSpec, seed: u64) -> Result<Coverage, String> {
    let mut out = Coverage::default();
    let furthest = AHEAD[AHEAD.len() - 1];
    for run in 0..RUNS {
        let ticks = normal(SEEDS + seed * 1_000 + run, run, MINUTES);
        let mut stream = model.stream();
        for t in 0..ticks.len().saturating_sub(furthest) {
            stream.step(&ticks[t]);
            if t < SETTLED || t % EVERY != 0 {
                continue;
            }
            let held = stream.outlook(furthest).map_err(|e| e.to_string())?;
            let given = stream.what_if(&done(spec, &ticks, t, furthest), furthest);
            out.refused.add(given.is_err());
            for (g, &k) in AHEAD.iter().enumerate() {
                for tag in &held.tags {
                    let actual = ticks[t + k].tags[tag.tag.index()].value as f32;
                    let band = tag.bands[k - 1];
                    out.held[g].add(band.low <= actual && actual <= band.high);
                    if let Some(tag) = given.as_ref().ok().and_then(|outlook| outlook.tag(tag.tag)) {
                        let band = tag.bands[k - 1];
                        out.given[g].add(band.low <= actual && actual <= band.high);
                    }
                }
            }
            for tag in &held.tags {
                let at = tag.tag.index();
                let card = &model.card().tags[at];
                for side in LIMITS {
                    let limit = card.mean + side * card.deviation;
                    let beyond = |t: usize| {
                        if side > 0.0 { ticks[t].tags[at].value >= limit } else { ticks[t].tags[at].value <= limit }
                    };
                    if beyond(t) {
                        continue;
                    }
                    let (low, high) = if side > 0.0 { (None, Some(limit)) } else { (Some(limit), None) };
                    let Some(told) = held.time_to_limit(tag.tag, low, high) else { continue };
                    let crossed = (1..=furthest).find(|k| beyond(t + k));
                    // Far from the limit, and nothing happens: that proves nothing.
                    if crossed.is_none() && told.earliest.is_none() {
                        continue;
                    }
                    let not_before = crossed.is_none_or(|k| told.earliest.is_some_and(|earliest| earliest <= k));
                    let by_then = told.latest.is_none_or(|latest| crossed.is_some_and(|k| k <= latest));
                    out.passage.add(not_before && by_then);
                }
            }
        }
    }
    Ok(out)
}
