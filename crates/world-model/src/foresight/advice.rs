//! Advice: a course of setpoints that brings tags where they should be, or the line back to normal.
//!
//! Courses are piecewise constant: a few moves, evenly spaced, each within the lever's limits, its rate, and steps that
//! training has shown. All candidates of an iteration are rolled out in one batch. What is found is pruned afterwards:
//! a move that does not pay is left out, since a person must carry it out.

use sightglass_protocol::TagId;

use super::course::{Course, CourseStep, position};
use super::outlook::{AHEAD_TICKS_MAX, Outlook, furthest, given, middles, roller};
use super::search::{Candidate, search};
use super::{ForesightError, calibrate::Calibrated};
use crate::stream::{Present, Stream};

/// The share of an aim's band, about its centre, within which a middle costs nothing: the line itself will be off it.
const INNER: f32 = 0.1;
/// Later ticks weigh more: from this much at the first to `2 -` this much at the last.
const EARLY_WEIGHT: f32 = 0.4;
/// What a move over a lever's whole range costs, in units of an aim missed by about its half width all the time.
const EFFORT: f32 = 0.02;
/// What each limit further out of what was seen costs.
const UNSEEN_WEIGHT: f32 = 3.0;
/// A normal tag lies within so many of its usual distances.
const CALM: f32 = 1.28;
/// Advice must cost less than this share of doing nothing, and this much less.
const WORTH_SHARE: f32 = 0.95;
const WORTH: f32 = 0.004;
/// Moves are left out while the cost rises by no more than this share of what doing nothing costs.
const PRUNE_SHARE: f32 = 0.004;
const PRUNE_ROUNDS: usize = 10;
/// Moves of a course, at most.
const MOVES_MAX: usize = 12;

/// A setpoint that may be moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lever {
    /// Which.
    pub tag: TagId,
    /// The lowest value, in its unit.
    pub low: f64,
    /// The highest value.
    pub high: f64,
    /// How far it may be moved in a minute: a step may be as large as what the time since the last one allows.
    pub rate_per_min: Option<f64>,
}

/// Where a tag should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aim {
    /// Which.
    pub tag: TagId,
    /// Low, in its unit.
    pub low: f64,
    /// High.
    pub high: f64,
    /// How much it counts beside the others.
    pub weight: f64,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct AdviceRequest {
    /// What may be moved.
    pub levers: Vec<Lever>,
    /// Where tags should be; without any, the line should be back to what its setpoints lead to expect, and within what
    /// is usual.
    pub aims: Vec<Aim>,
    /// How far it is planned.
    pub ahead_ticks: usize,
    /// Moves within that time.
    pub moves: usize,
    /// Everything random follows from it.
    pub seed: u64,
}

impl AdviceRequest {
    /// A request with the usual plan: four moves in four minutes of one-second ticks.
    pub fn new(levers: Vec<Lever>, aims: Vec<Aim>) -> Self {
        Self { levers, aims, ahead_ticks: 240, moves: 4, seed: 1 }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// What to set and when; without steps where nothing is better than doing nothing.
    pub course: Course,
    /// What is expected of it.
    pub outlook: Outlook,
    /// What is expected of doing nothing.
    pub held: Outlook,
    /// What remains of the cost of doing nothing, 0 to 1; 1 where nothing is better than that.
    pub remaining: f64,
    /// Whether it is better than doing nothing.
    pub better: bool,
    /// How far the course leads from what was seen, in limits: above 1 its bands are not to be relied on.
    pub distance: f32,
}

/// What a request means for this line.
struct Problem<'a> {
    present: &'a Present<'a>,
    foresight: &'a Calibrated,
    request: &'a AdviceRequest,
    /// Positions of the levers among the raw actions.
    at: Vec<usize>,
    /// Of each lever: the furthest step down and up.
    steps: Vec<(f64, f64)>,
    /// Typed numbers are multiples of one over this.
    per_unit: Vec<f64>,
    /// Moving tag, centre, half width and weight of the aims, normalised.
    aims: Vec<(usize, f32, f32, f32)>,
    segment: usize,
    /// Doing nothing's distance from what was seen.
    distance_held: f32,
}

impl Stream {
    /// Searches a course of setpoints. The stream is not disturbed; nothing is carried out.
    ///
    /// # Errors
    /// For a request that makes no sense, and as [`Stream::what_if`]; not for a present state that was never seen, since
    /// that is when advice is asked for (see [`Advice::distance`]).
    pub fn advise(&self, request: &AdviceRequest) -> Result<Advice, ForesightError> {
        let present = self.present()?;
        let mut problem = Problem::new(&present, request)?;
        let held = problem.hold();
        let still = problem.judge(&[problem.raw(&held)], true);
        problem.distance_held = still.distances[0];
        let cost_held = still.costs[0];
        let mut cost = |candidates: &[Candidate]| {
            let raw: Vec<Vec<f64>> = candidates.iter().map(|c| problem.raw(c)).collect();
            problem.judge(&raw, false).costs
        };
        let (found, cost) = search(&held, request.levers.len(), request.seed, &mut cost);
        let (raw, cost) = problem.prune(problem.raw(&found), cost, cost_held);
        let better = cost < cost_held * WORTH_SHARE && cost < cost_held - WORTH;
        let course = if better { problem.course(&raw) } else { Course::held() };
        let ahead = request.ahead_ticks;
        let outlook = |moves: &[f64], course: &Course| {
            let mut actions = Vec::new();
            problem.actions(moves, &mut actions);
            let middles = middles(&present, &actions, 1, ahead);
            given(&present, problem.foresight, course, &middles)
        };
        let still_raw = problem.raw(&held);
        let held_outlook = outlook(&still_raw, &Course::held());
        Ok(Advice {
            outlook: if better { outlook(&raw, &course) } else { held_outlook.clone() },
            held: held_outlook,
            remaining: if better { f64::from(cost / cost_held) } else { 1.0 },
            better,
            distance: problem.judge(&[if better { raw } else { still_raw }], true).distances[0],
            course,
        })
    }
}

struct Judged {
    costs: Vec<f32>,
    distances: Vec<f32>,
}

impl<'a> Problem<'a> {
    fn new(present: &'a Present<'a>, request: &'a AdviceRequest) -> Result<Self, ForesightError> {
        let wrong = |text: &str| Err(ForesightError::Request(text.to_owned()));
        if request.levers.is_empty() {
            return wrong("no setpoint may be moved, so that there is nothing to advise; give limits to at least one");
        }
        if !(1..=MOVES_MAX).contains(&request.moves)
            || !(request.moves..=AHEAD_TICKS_MAX).contains(&request.ahead_ticks)
        {
            return wrong("advice is 1 to 12 moves within at least as many ticks");
        }
        let foresight = present.foresight()?;
        let code = present.code();
        let segment = request.ahead_ticks / request.moves;
        let minutes = segment as f64 * present.spec().tick_ns as f64 / 60e9;
        let mut problem = Self {
            present,
            foresight,
            request,
            at: Vec::new(),
            steps: Vec::new(),
            per_unit: Vec::new(),
            aims: Vec::new(),
            segment,
            distance_held: 1.0,
        };
        for lever in &request.levers {
            let at = position(code, present.spec(), lever.tag)?;
            let name = || present.spec().tags.iter().find(|t| t.id == lever.tag).map_or("?", |t| t.name.as_str());
            if at >= code.setpoints.len() {
                return Err(ForesightError::Request(format!("'{}' is a mode; advice moves setpoints only", name())));
            }
            if problem.at.contains(&at) {
                return Err(ForesightError::Request(format!("'{}' is named twice", name())));
            }
            let rate = lever.rate_per_min.unwrap_or(f64::INFINITY);
            if !(lever.low < lever.high && lever.low.is_finite() && lever.high.is_finite() && rate > 0.0) {
                return Err(ForesightError::Request(format!(
                    "the limits of '{}' are {} to {} with {rate} a minute: low must be below high, the rate above 0",
                    name(),
                    lever.low,
                    lever.high
                )));
            }
            let (down, up) = foresight.support.furthest(at);
            problem.at.push(at);
            problem.steps.push((down.min(rate * minutes), up.min(rate * minutes)));
            // About a hundred settings, and a decimal number.
            problem.per_unit.push(10f64.powi(2 - (lever.high - lever.low).log10().floor() as i32));
        }
        for aim in &request.aims {
            let moving = present.moving(aim.tag)?;
            if !(aim.low < aim.high && aim.low.is_finite() && aim.high.is_finite() && aim.weight > 0.0) {
                return wrong("the band of an aim must go from low to high, and its weight be above 0");
            }
            let [low, high] = [aim.low, aim.high].map(|v| present.normalise(moving, v as f32));
            problem.aims.push((moving, (low + high) / 2.0, ((high - low) / 2.0).max(1e-3), aim.weight as f32));
        }
        Ok(problem)
    }

    /// The candidate that moves nothing.
    fn hold(&self) -> Candidate {
        let now = |lever: usize| {
            let Lever { low, high, .. } = self.request.levers[lever];
            (self.present.snapshot.actions.raw[self.at[lever]] - low) / (high - low)
        };
        (0..self.request.moves).flat_map(|_| (0..self.at.len()).map(now)).collect()
    }

    /// The values of a candidate's moves, (moves, levers), as they may be set.
    fn raw(&self, candidate: &[f64]) -> Vec<f64> {
        let levers = self.at.len();
        let mut last: Vec<f64> = self.at.iter().map(|&at| self.present.snapshot.actions.raw[at]).collect();
        let mut out = Vec::with_capacity(candidate.len());
        for wanted in candidate.chunks_exact(levers) {
            for (i, wanted) in wanted.iter().enumerate() {
                let Lever { low, high, .. } = self.request.levers[i];
                last[i] = self.allowed(i, last[i], low + wanted * (high - low));
                out.push(last[i]);
            }
        }
        out
    }

    /// What may be set instead of `wanted` when a lever stands at `from`.
    fn allowed(&self, lever: usize, from: f64, wanted: f64) -> f64 {
        let Lever { low, high, .. } = self.request.levers[lever];
        let ((down, up), per) = (self.steps[lever], self.per_unit[lever]);
        let (lowest, highest) = ((from - down).max(low.min(from)), (from + up).min(high.max(from)));
        let typed = (wanted * per).round() / per;
        if (typed - from).abs() < 0.75 / per || (wanted - from).abs() < 0.5 / per {
            return from;
        }
        let typed = typed.min((highest * per + 1e-9).floor() / per).max((lowest * per - 1e-9).ceil() / per);
        if typed >= lowest - 1e-9 && typed <= highest + 1e-9 { typed } else { from }
    }

    /// All actions of the ticks ahead under the moves' values.
    fn actions(&self, moves: &[f64], out: &mut Vec<f32>) {
        let mut raw = self.present.snapshot.actions.raw.clone();
        let levers = self.at.len();
        for k in 0..self.request.ahead_ticks {
            let m = (k / self.segment).min(self.request.moves - 1);
            self.at.iter().zip(&moves[m * levers..]).for_each(|(&at, value)| raw[at] = *value);
            self.present.code().encode(&raw, out);
        }
    }

    fn judge(&self, courses: &[Vec<f64>], first: bool) -> Judged {
        let (rows, ahead) = (courses.len(), self.request.ahead_ticks);
        let (tags, width) = (self.present.parts.plan.tags, self.present.code().len());
        let mut actions = Vec::with_capacity(rows * ahead * width);
        courses.iter().for_each(|moves| self.actions(moves, &mut actions));
        let calm = self.aims.is_empty();
        let (values, expected) = if calm {
            let mut roller = roller(self.present);
            roller.with_expected = true;
            let rolled = roller.roll(&[&self.present.snapshot], &actions, rows, ahead);
            (rolled.values, rolled.expected)
        } else {
            (middles(self.present, &actions, rows, ahead), Vec::new())
        };
        let mut judged = Judged { costs: Vec::new(), distances: Vec::new() };
        for (row, moves) in courses.iter().enumerate() {
            let part = row * ahead * tags..(row + 1) * ahead * tags;
            let values = &values[part.clone()];
            let missed = if calm { self.unrest(values, &expected[part]) } else { self.missed(values) };
            let actions = &actions[row * ahead * width..(row + 1) * ahead * width];
            let (distance, _) = furthest(self.present, self.foresight, actions, values, ahead);
            let beyond = if first { 0.0 } else { (distance - self.distance_held.max(1.0)).max(0.0) };
            judged.costs.push(missed + EFFORT * self.effort(moves) + UNSEEN_WEIGHT * beyond);
            judged.distances.push(distance);
        }
        judged
    }

    fn weighted(&self, per_tick: impl Fn(usize) -> f32) -> f32 {
        let ahead = self.request.ahead_ticks;
        let weight = |k: usize| EARLY_WEIGHT + 2.0 * (1.0 - EARLY_WEIGHT) * k as f32 / ahead as f32;
        (0..ahead).map(|k| weight(k) * per_tick(k)).sum::<f32>() / ahead as f32
    }

    /// How far aims are missed: about 1 for one that is missed by its half width more than the inner part.
    fn missed(&self, values: &[f32]) -> f32 {
        let tags = self.present.parts.plan.tags;
        let total: f32 = self.aims.iter().map(|a| a.3).sum();
        self.weighted(|k| {
            let row = &values[k * tags..(k + 1) * tags];
            let miss = |&(tag, centre, half, weight): &(usize, f32, f32, f32)| {
                weight * smooth(((row[tag] - centre).abs() / half - INNER).max(0.0))
            };
            self.aims.iter().map(miss).sum::<f32>() / total
        })
    }

    /// How far tags are from what the actions lead to expect, and from what is usual at all.
    fn unrest(&self, values: &[f32], expected: &[f32]) -> f32 {
        let tags = self.present.parts.plan.tags;
        self.weighted(|k| {
            let at = k * tags..(k + 1) * tags;
            let off = values[at.clone()].iter().zip(&expected[at]).zip(&self.foresight.calm_scale);
            let off = off.map(|((v, e), s)| {
                smooth(((v - e).abs() / s - CALM).max(0.0)) + smooth((v.abs() - 2.0 * CALM).max(0.0))
            });
            off.sum::<f32>() / tags as f32
        })
    }

    /// How far levers are moved in all, in their ranges.
    fn effort(&self, moves: &[f64]) -> f32 {
        let levers = self.at.len();
        let mut total = 0f64;
        for (i, &at) in self.at.iter().enumerate() {
            let mut last = self.present.snapshot.actions.raw[at];
            for value in moves.iter().skip(i).step_by(levers) {
                total += (value - last).abs() / (self.request.levers[i].high - self.request.levers[i].low);
                // A second move of a lever is a second thing to do.
                total += if *value == last { 0.0 } else { 0.1 };
                last = *value;
            }
        }
        total as f32
    }

    /// Leaves out moves while that costs next to nothing.
    fn prune(&self, mut moves: Vec<f64>, mut cost: f32, cost_held: f32) -> (Vec<f64>, f32) {
        let levers = self.at.len();
        for _ in 0..PRUNE_ROUNDS {
            let before = |m: usize, i: usize, moves: &[f64]| {
                if m == 0 { self.present.snapshot.actions.raw[self.at[i]] } else { moves[(m - 1) * levers + i] }
            };
            let mut shorter: Vec<Vec<f64>> = Vec::new();
            for i in 0..levers {
                for m in 0..self.request.moves {
                    if moves[m * levers + i] == before(m, i, &moves) {
                        continue;
                    }
                    // Without this move: what was before holds until the next one, which must still be allowed.
                    let mut tried = moves.clone();
                    let (old, held) = (moves[m * levers + i], before(m, i, &moves));
                    let mut last = held;
                    for later in m..self.request.moves {
                        let at = later * levers + i;
                        let wanted = if tried[at] == old { held } else { tried[at] };
                        tried[at] = self.allowed(i, last, wanted);
                        last = tried[at];
                    }
                    shorter.push(tried);
                }
            }
            if shorter.is_empty() {
                break;
            }
            let costs = self.judge(&shorter, false).costs;
            let Some(least) = (0..costs.len()).min_by(|&a, &b| costs[a].total_cmp(&costs[b])) else { break };
            if costs[least] > cost + PRUNE_SHARE * cost_held {
                break;
            }
            cost = costs[least];
            moves = shorter.swap_remove(least);
        }
        (moves, cost)
    }

    fn course(&self, moves: &[f64]) -> Course {
        let mut course = Course::held();
        let mut last: Vec<f64> = self.at.iter().map(|&at| self.present.snapshot.actions.raw[at]).collect();
        for (m, values) in moves.chunks_exact(self.at.len()).enumerate() {
            for (i, &value) in values.iter().enumerate() {
                if value != last[i] {
                    let after_ticks = (m * self.segment) as u32;
                    course.push(CourseStep { after_ticks, tag: self.request.levers[i].tag, value });
                    last[i] = value;
                }
            }
        }
        course
    }
}

/// Square near nought, then a straight line, so that one tag far off does not hide all others (pseudo-Huber).
fn smooth(excess: f32) -> f32 {
    (1.0 + excess * excess).sqrt() - 1.0
}
