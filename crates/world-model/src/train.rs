//! From recorded normal running to a calibrated model.

use std::ops::Range;
use std::sync::Arc;

use sightglass_protocol::{HORIZONS, Tick};

use crate::actions::{ActionCode, Actions};
use crate::appearance::Appearance;
use crate::bands::{Bands, COVERAGE, conformal};
use crate::calibration::{Cut, FOLDS, limit, robust_scale};
use crate::camera_encoder::PATCHES;
use crate::card::{Card, CardEncoder, CardMethod, CardTag, OneStepError};
use crate::classics::{COMPARED_TAGS_MAX, compare};
use crate::combine::Gathered;
use crate::drift::Drift;
use crate::file::FORMAT;
use crate::foresight::calibrate::{self, Calibrated, Evidence};
use crate::foresight::support::Seen;
use crate::frozen_encoder::{FrozenEncoder, Views};
use crate::latent::{InputState, Latent, LatentState, Layout, TickInput};
use crate::learn::{Lessons, learn, suffice};
use crate::model::{Inner, PlantModel, TagParts};
use crate::normalise::{Kind, Scaling, usable};
use crate::readout::QUANTILES;
use crate::residual::{Fit, Plan, Residuals, SOURCES, Snapshot, TagModels, TagState};
use crate::spec::{MOVING_TAGS_MAX, ModelSpec, Progress, TICKS_MIN, TrainError, TrainOptions};

/// Below this effective rank the state says next to nothing.
const RANK_MIN: f32 = 1.5;
/// Fewer ticks than this are too few to refuse a model for its errors on them.
const TICKS_TO_COMPARE: usize = 200;
/// A mode that was on for less has not shown what is normal in it, in seconds.
const MODE_SECONDS_MIN: f64 = 300.0;
/// A stream's first ticks in a held-back range, which have no context yet.
const UNSETTLED: usize = 20;
/// A frozen encoder's tokens of all ticks are kept in memory while the network learns, up to this size.
const TOKENS_GIB_MAX: u32 = 8;
/// Latent errors move with things that do not matter; their limit lies this much higher.
const LATENT_MARGIN: f32 = 1.3;

/// What is known of the tags after the regressions were fitted.
struct TagHistory {
    plan: Plan,
    models: TagModels,
    by_fold: Vec<TagModels>,
    /// By tick, where a roll-out is to be calibrated.
    snapshots: Vec<Option<Snapshot>>,
    /// By tick.
    actions: Vec<Actions>,
    values: Vec<Vec<f32>>,
    /// Errors and forecasts by models that did not see their tick's fold.
    residuals: Vec<Residuals>,
    forecasts: Vec<Vec<f32>>,
    /// The forecasts' error scale by horizon and tag.
    scale: Vec<f32>,
}

/// Trains a model from runs of normal running, each a contiguous series of ticks.
///
/// `progress` is called often; when it gives false, training stops, and the checkpoint holds what was learned.
///
/// # Errors
/// When there is too little to learn from, ticks are not the line's, the model collapsed or is worse than persistence, or
/// training was stopped.
pub fn train(
    spec: &ModelSpec,
    runs: &[Vec<Tick>],
    options: &TrainOptions,
    progress: &mut dyn FnMut(&Progress) -> bool,
) -> Result<PlantModel, TrainError> {
    let size = options.size;
    let ticks: Vec<&Tick> = runs.iter().flatten().collect();
    check(spec, &ticks)?;
    let mut stage = |stage: &'static str, step: usize, steps: usize| {
        let report = Progress {
            epoch: 0,
            epochs_max: options.epochs_max,
            step,
            steps,
            loss: 0.0,
            held_back_loss: None,
            effective_rank: None,
            seconds_left: None,
            stage,
        };
        if progress(&report) { Ok(()) } else { Err(TrainError::Stopped { epochs: 0 }) }
    };
    let lengths: Vec<usize> = runs.iter().map(Vec::len).collect();
    let cut = Cut::new(&lengths, spec.tick_ns, options.false_alarms_per_week);
    let scaling = Scaling::fit(spec, ticks.iter().copied());
    if scaling.moving.len() > MOVING_TAGS_MAX {
        return Err(TrainError::TooManyTags { moving: scaling.moving.len(), max: MOVING_TAGS_MAX });
    }
    let code = ActionCode::fit(spec, ticks.iter().copied());
    let layout = Layout::new(spec, &scaling);
    let plan = Plan::new(&scaling, code, options.seed);
    stage("regressions", 1, 1)?;
    let (history, mut inputs) = regress(plan, &scaling, &layout, &ticks, &cut);

    let mut extrapolated = false;
    // Each kind of evidence keeps its own rate, so that restless tags do not blunt the cameras, nor the reverse; then
    // all together keep it once more.
    let mut gathered = Gathered::new(ticks.len());
    let mut factor = 1f32;
    let mut drift = None;
    if history.plan.tags > 0 {
        let (mut fitted, scores, beyond) = Drift::fit(history.plan.tags, spec.tick_ns, &history.residuals, &cut);
        fitted.factor = cut.factor(&scores);
        factor = factor.max(fitted.factor);
        gathered.add(&scores, fitted.factor);
        extrapolated |= beyond;
        drift = Some(fitted);
    }
    let mut looks: Vec<Option<Appearance>> = Vec::new();
    let mut highest_look = vec![0f32; ticks.len()];
    for camera in 0..spec.cameras.len() {
        stage("appearance", camera + 1, spec.cameras.len())?;
        let fitted = Appearance::fit(camera, &ticks, &cut, spec.tick_ns, options.seed);
        looks.push(fitted.map(|(mut look, scores, beyond)| {
            look.factor = cut.factor(&scores);
            factor = factor.max(look.factor);
            highest_look.iter_mut().zip(&scores).for_each(|(h, s)| *h = h.max(s / look.factor));
            extrapolated |= beyond;
            look
        }));
    }
    gathered.add(&highest_look, 1.0);

    let mut notes = Vec::new();
    let (training, held_back) = (cut.ranges(|fold| fold != 0), cut.ranges(|fold| fold == 0));
    let has_network = suffice(&training, &held_back, size.window);
    let encoder = options.encoder.as_ref().filter(|_| has_network && !spec.cameras.is_empty());
    if let Some(encoder) = encoder {
        look_frozen(encoder, &ticks, &cut, &mut inputs, &mut stage)?;
    }
    let lessons = Lessons {
        ticks: &ticks,
        inputs: &inputs,
        values: &history.values,
        forecasts: &history.forecasts,
        scale: &history.scale,
        training,
        held_back,
    };
    let shape = layout.shape(&history.plan, size, encoder.map(FrozenEncoder::width));
    let mut epochs = Vec::new();
    let mut latent = None;
    if has_network {
        let (network, losses) = learn(shape, &lessons, options, progress)?;
        epochs = losses;
        latent = Some(Latent::new(network));
    } else {
        notes.push(format!(
            "{} ticks are too few for a network: pictures and linear forecasts judge alone",
            ticks.len()
        ));
    }

    let mut bands = Bands::new(history.plan.tags, history.scale.clone());
    let mut read_outs: Vec<Option<[Vec<f32>; 3]>> = vec![None; ticks.len()];
    let mut rank = None;
    if let Some(latent) = &mut latent {
        let (states, highest) = calibrate_latent(latent, &lessons, &cut, &mut read_outs)?;
        gathered.add(&highest, latent.factor);
        let found = crate::sigreg::effective_rank(&states, shape.size.latent);
        if found < RANK_MIN && ticks.len() >= TICKS_TO_COMPARE {
            return Err(TrainError::Collapsed { effective_rank: found, bound: RANK_MIN });
        }
        rank = Some(found);
    }
    let mut together = gathered.norms();
    let joint = cut.factor(&together);
    together.iter_mut().for_each(|norm| *norm /= joint);
    factor *= joint;
    drift.iter_mut().for_each(|drift: &mut Drift| drift.factor *= joint);
    looks.iter_mut().flatten().for_each(|look| look.factor *= joint);
    latent.iter_mut().for_each(|latent| latent.factor *= joint);
    let coverage = calibrate_bands(&mut bands, &history, &cut, &read_outs);
    let errors = (history.plan.tags > 0).then(|| errors_ahead(&bands, &history, &cut, &read_outs));
    let one_step_error = errors.map(|errors| errors[0]);
    if let Some(error) = one_step_error
        && error.model > error.persistence * 1.02
        && ticks.len() >= TICKS_TO_COMPARE
    {
        return Err(TrainError::WorseThanPersistence { model: error.model, persistence: error.persistence });
    }
    if extrapolated {
        notes.push(format!(
            "{} false alarms a week are rarer than {:.1} h can show: limits rest on a fitted tail",
            options.false_alarms_per_week,
            ticks.len() as f64 * spec.tick_ns as f64 / 3.6e12
        ));
    }
    for (i, &at) in scaling.watched.iter().enumerate() {
        let name = &spec.tags[at].name;
        match scaling.kinds[i] {
            Kind::Moving => {}
            Kind::Constant => notes.push(format!("tag '{name}' never moved: any departure from it is a surprise")),
            Kind::Unseen => notes.push(format!("tag '{name}' was hardly ever seen: it is not judged")),
        }
    }
    notes.extend(short_modes(spec, &history.plan.code, &ticks));
    let settle_ticks = match (ticks.len() < 400, history.plan.tags > 0) {
        (true, _) => 4,
        (false, true) => 24,
        (false, false) => 12,
    };
    // Nine digits survive JSON and back to the bit.
    let rounded = |v: f64| format!("{v:.8e}").parse().unwrap_or(v);
    let methods = errors.map_or(Vec::new(), |errors| methods(&errors, &history, &cut, &rounded));
    notes.extend(compared_notes(&methods, history.plan.tags));
    let one_step_error = one_step_error.map(|e| OneStepError {
        persistence: rounded(e.persistence),
        ridge: rounded(e.ridge),
        model: rounded(e.model),
    });
    let card = Card {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        from: ticks[0].time,
        to: ticks[ticks.len() - 1].time,
        ticks: ticks.len(),
        runs: runs.iter().filter(|r| !r.is_empty()).count(),
        tick_ns: spec.tick_ns,
        tags: card_tags(spec, &scaling, &rounded),
        cameras: spec.cameras.iter().map(|c| c.name.clone()).collect(),
        parameters: latent.as_ref().map_or(0, |l| l.network.params.count()),
        size: latent.as_ref().map(|_| size),
        encoder: encoder.map(|e| CardEncoder { kind: "vjepa2".to_owned(), sha256: e.sha256().to_owned() }),
        effective_rank: rank,
        epochs,
        one_step_error,
        methods,
        coverage: coverage.map(|c| c.map(&rounded)),
        false_alarms_wanted: options.false_alarms_per_week,
        false_alarms_seen: rounded(false_alarms(&together, &cut, spec.tick_ns)),
        calibration_hours: rounded(ticks.len() as f64 * spec.tick_ns as f64 / 3.6e12),
        extrapolated,
        overall_factor: factor,
        latent_factor: latent.as_ref().map(|l| l.factor),
        seed: options.seed,
        longest_hold_ticks: (0..spec.tags.len()).map(|at| longest_hold(runs, at)).collect(),
        longest_still_ticks: (0..spec.cameras.len()).map(|c| longest_still(runs, c)).collect(),
        notes,
    };
    let foresight = if history.plan.tags > 0 { foresee(&history, &cut) } else { None };
    let tags = drift.map(|drift| TagParts { plan: history.plan, models: history.models, drift, bands, foresight });
    let encoder = encoder.cloned();
    let inner = Inner { spec: spec.clone(), scaling, layout, tags, looks, latent, encoder, settle_ticks, card };
    Ok(PlantModel { inner: Arc::new(inner) })
}

/// What an engineer should know of modes that training hardly showed.
fn short_modes(spec: &ModelSpec, code: &ActionCode, ticks: &[&Tick]) -> Vec<String> {
    let mut notes = Vec::new();
    for mode in &code.modes {
        for &value in &mode.values {
            let seen = ticks.iter().filter(|tick| usable(&tick.tags[mode.at]) == Some(value)).count();
            let seconds = seen as f64 * spec.tick_ns as f64 / 1e9;
            if seconds < MODE_SECONDS_MIN {
                let name = &spec.tags[mode.at].name;
                notes.push(format!(
                    "'{name}' was {value} for {seconds:.0} s only: what is normal then is hardly known, so record more of it"
                ));
            }
        }
    }
    notes
}

/// Looks at all pictures once with the frozen encoder, run by run as a stream does.
fn look_frozen(
    encoder: &FrozenEncoder,
    ticks: &[&Tick],
    cut: &Cut,
    inputs: &mut [TickInput],
    stage: &mut impl FnMut(&'static str, usize, usize) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    let cameras = ticks.first().map_or(0, |tick| tick.cameras.len());
    let gib = (ticks.len() * cameras * PATCHES * encoder.width() * size_of::<f32>()) as f64 / f64::from(1 << 30);
    if gib > f64::from(TOKENS_GIB_MAX) {
        return Err(TrainError::TooManyTokens { ticks: ticks.len(), gib, gib_max: TOKENS_GIB_MAX });
    }
    for run in &cut.runs {
        let mut views = Views::default();
        for t in run.clone() {
            stage("frozen camera encoder", t + 1, ticks.len())?;
            inputs[t].tokens = Some(views.see(encoder, ticks[t])?);
        }
    }
    Ok(())
}

fn check(spec: &ModelSpec, ticks: &[&Tick]) -> Result<(), TrainError> {
    if ticks.len() < TICKS_MIN {
        return Err(TrainError::TooFewTicks { ticks: ticks.len(), min: TICKS_MIN });
    }
    if spec.cameras.is_empty() && !spec.tags.iter().any(|t| t.role.is_predicted() && !t.excluded) {
        return Err(TrainError::NothingToWatch);
    }
    for tick in ticks {
        let sizes = [("tags", tick.tags.len(), spec.tags.len()), ("cameras", tick.cameras.len(), spec.cameras.len())];
        if let Some(&(what, got, want)) = sizes.iter().find(|(_, got, want)| got != want) {
            return Err(TrainError::OtherLine { time: tick.time.to_string(), what, got, want });
        }
    }
    Ok(())
}

/// Fits the regressions, then goes over all ticks with those that did not see the tick's fold.
fn regress(plan: Plan, scaling: &Scaling, layout: &Layout, ticks: &[&Tick], cut: &Cut) -> (TagHistory, Vec<TickInput>) {
    let values: Vec<Vec<f32>> = ticks.iter().map(|tick| scaling.moving_values(tick)).collect();
    let mut fit = Fit::new(&plan, FOLDS);
    for run in &cut.runs {
        fit.reset();
        for t in run.clone() {
            fit.add(ticks[t], &values[t], cut.fold[t]);
        }
    }
    let (by_fold, models) = fit.solve();
    let mut residuals = Vec::with_capacity(ticks.len());
    let mut forecasts = Vec::with_capacity(ticks.len());
    let mut inputs = Vec::with_capacity(ticks.len());
    let mut snapshots = vec![None; ticks.len()];
    let mut actions = Vec::with_capacity(ticks.len());
    let mut starts = calibrate::starts(&cut.runs).into_iter().peekable();
    for run in &cut.runs {
        let mut state = TagState::default();
        let mut input_state = InputState::default();
        for t in run.clone() {
            let models = &by_fold[cut.fold[t]];
            residuals.push(models.step(&plan, &mut state, ticks[t], &values[t]));
            let forecast = models.forecast(&plan, &state);
            inputs.push(TickInput::new(layout, scaling, ticks[t], &values[t], &state, &forecast, &mut input_state));
            forecasts.push(forecast);
            if starts.next_if_eq(&t).is_some() {
                snapshots[t] = state.snapshot();
            }
            actions.push(state.actions().cloned().unwrap_or_default());
        }
    }
    let tags = plan.tags;
    let mut scale = vec![1f32; HORIZONS.len() * tags];
    for (at, scale) in scale.iter_mut().enumerate() {
        let (horizon, tag) = (HORIZONS[at / tags] as usize, at % tags);
        let errors = pairs(&cut.runs, horizon).map(|(t, later)| values[later][tag] - forecasts[t][at]);
        *scale = robust_scale(errors).max(1e-6);
    }
    let history = TagHistory { plan, models, by_fold, snapshots, actions, values, residuals, forecasts, scale };
    (history, inputs)
}

/// What forecasts to any horizon, what-ifs and advice need to know.
fn foresee(history: &TagHistory, cut: &Cut) -> Option<Calibrated> {
    let split = |pick: &dyn Fn(&Actions) -> Vec<f32>| history.actions.iter().map(pick).collect::<Vec<_>>();
    let raw: Vec<Vec<f64>> = history.actions.iter().map(|a| a.raw.clone()).collect();
    let since: Vec<u32> = history.residuals.iter().map(|r| r.since_change).collect();
    let from_actions: Vec<&[f32]> = history.residuals.iter().map(|r| r.errors[SOURCES - 1].as_slice()).collect();
    calibrate::calibrate(&Evidence {
        plan: &history.plan,
        by_fold: &history.by_fold,
        snapshots: &history.snapshots,
        seen: Seen {
            values: &history.values,
            coded: &split(&|a| a.values.clone()),
            raw: &raw,
            since: &since,
            fold: &cut.fold,
            runs: &cut.runs,
        },
        from_actions: &from_actions,
    })
}

/// All pairs of ticks that lie `horizon` apart in one of the ranges.
fn pairs(ranges: &[Range<usize>], horizon: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
    ranges.iter().flat_map(move |r| (r.start..r.end.saturating_sub(horizon)).map(move |t| (t, t + horizon)))
}

/// Streams the held-back ranges: limits of latent errors, and the read-out at each of their ticks. Gives the fused states,
/// and the highest score of each tick under a factor of 1.
fn calibrate_latent(
    latent: &mut Latent,
    lessons: &Lessons<'_>,
    cut: &Cut,
    read_outs: &mut [Option<[Vec<f32>; 3]>],
) -> Result<(Vec<f32>, Vec<f32>), TrainError> {
    let (modalities, patches) = (latent.limits.len(), latent.patch_limits.len());
    let mut errors = vec![vec![f32::NAN; lessons.ticks.len()]; modalities + patches];
    let mut states = Vec::new();
    for range in &lessons.held_back {
        let mut state = LatentState::default();
        for t in range.clone() {
            let output = latent.step(&mut state, lessons.ticks[t], &lessons.inputs[t])?;
            if t < range.start + UNSETTLED {
                continue;
            }
            states.extend(&output.states[..latent.network.shape.size.latent]);
            read_outs[t] = latent.read_out(&output.hidden, &lessons.inputs[t])?;
            if !output.complete {
                continue;
            }
            for (m, error) in output.errors.iter().chain(&output.patch_errors).enumerate() {
                errors[m][t] = *error;
            }
        }
    }
    let mut highest = vec![f32::NAN; lessons.ticks.len()];
    let limits: Vec<f32> = errors.iter().map(|series| cut.limit(series, &mut highest).value * LATENT_MARGIN).collect();
    latent.limits.copy_from_slice(&limits[..modalities]);
    latent.patch_limits.copy_from_slice(&limits[modalities..]);
    let middle = crate::calibration::quantile(&mut limits[modalities..].to_vec(), 0.5);
    latent.patch_limits.iter_mut().for_each(|l| *l = l.max(middle));
    latent.factor = cut.factor(&highest);
    if !latent.factor.is_finite() {
        // Nothing was held back long enough: the network says nothing about surprise.
        latent.limits.fill(f32::INFINITY);
        latent.patch_limits.fill(f32::INFINITY);
        latent.factor = 1.0;
    }
    Ok((states, highest))
}

/// Chooses where the read-out is used and widens bands to what they say. Gives the share of values inside, measured on
/// blocks that the widening did not see.
fn calibrate_bands(
    bands: &mut Bands,
    history: &TagHistory,
    cut: &Cut,
    read_outs: &[Option<[Vec<f32>; 3]>],
) -> Option<[f64; 6]> {
    let tags = history.plan.tags;
    if tags == 0 {
        return None;
    }
    let held_back = cut.ranges(|fold| fold == 0);
    let scaled = |t: usize, later: usize, at: usize| {
        (history.values[later][at % tags] - history.forecasts[t][at]) / history.scale[at]
    };
    for (h, &horizon) in HORIZONS.iter().enumerate() {
        let (mut plain, mut learned) = (0f64, 0f64);
        for (t, later) in pairs(&held_back, horizon as usize) {
            let Some(read_out) = &read_outs[t] else { continue };
            for at in h * tags..(h + 1) * tags {
                let actual = scaled(t, later, at);
                if actual.is_nan() {
                    continue;
                }
                let actual = f64::from(actual.clamp(-8.0, 8.0));
                let loss = |q: f64, v: f64| (actual - v) * if actual > v { q } else { q - 1.0 };
                for (k, q) in QUANTILES.into_iter().enumerate() {
                    plain += loss(q, f64::from(bands.raw(at, None)[k]));
                    learned += loss(q, f64::from(read_out[k][at]));
                }
            }
        }
        bands.read_out[h] = learned < plain;
    }
    let mut coverage = [0f64; 6];
    for (h, &horizon) in HORIZONS.iter().enumerate() {
        let (mut inside, mut count) = (0usize, 0usize);
        // The linear forecasts of every tick come from models that did not see it; the network saw all but one fold.
        let learned = bands.read_out[h];
        let ranges = if learned { &held_back } else { &cut.runs };
        for at in h * tags..(h + 1) * tags {
            let mut scores: Vec<(bool, f32)> = Vec::new();
            for (t, later) in pairs(ranges, horizon as usize) {
                let read_out = read_outs[t].as_ref();
                let actual = scaled(t, later, at);
                if (learned && read_out.is_none()) || actual.is_nan() {
                    continue;
                }
                let [low, _, high] = bands.raw(at, read_out);
                scores.push(((t / cut.block_ticks).is_multiple_of(2), (low - actual).max(actual - high)));
            }
            for measured in [true, false] {
                let mut others: Vec<f32> = scores.iter().filter(|s| s.0 != measured).map(|s| s.1).collect();
                let widen = conformal(&mut others, COVERAGE);
                let fresh = scores.iter().filter(|s| s.0 == measured);
                inside += fresh.clone().filter(|s| s.1 <= widen).count();
                count += fresh.count();
            }
            let mut all: Vec<f32> = scores.into_iter().map(|s| s.1).collect();
            bands.widen[at] = conformal(&mut all, COVERAGE);
        }
        coverage[h] = inside as f64 / count.max(1) as f64;
    }
    Some(coverage)
}

/// Errors on held-back data by horizon: of the last value, of ridge and of the model.
fn errors_ahead(
    bands: &Bands,
    history: &TagHistory,
    cut: &Cut,
    read_outs: &[Option<[Vec<f32>; 3]>],
) -> [OneStepError; HORIZONS.len()] {
    let any = read_outs.iter().any(Option::is_some);
    let tags = history.plan.tags;
    let held_back = cut.ranges(|fold| fold == 0);
    std::array::from_fn(|h| {
        let mut error = OneStepError::default();
        for tag in 0..tags {
            let at = h * tags + tag;
            let mut sums = [0f64; 3];
            let mut count = 0usize;
            for (t, later) in pairs(&held_back, HORIZONS[h] as usize) {
                let (last, actual) = (history.values[t][tag], history.values[later][tag]);
                if last.is_nan() || actual.is_nan() || (any && read_outs[t].is_none()) {
                    continue;
                }
                let linear = history.forecasts[t][at];
                let model = linear + bands.raw(at, read_outs[t].as_ref())[1] * history.scale[at];
                for (sum, guess) in sums.iter_mut().zip([last, linear, model]) {
                    *sum += f64::from(actual - guess).powi(2);
                }
                count += 1;
            }
            let [persistence, ridge, model] = sums.map(|s| (s / count as f64).sqrt() / tags as f64);
            error.persistence += persistence;
            error.ridge += ridge;
            error.model += model;
        }
        error
    })
}

/// The model and ridge beside the classics, which learn from the same ticks and are held against the same held-back ones.
fn methods(
    errors: &[OneStepError; HORIZONS.len()],
    history: &TagHistory,
    cut: &Cut,
    rounded: &dyn Fn(f64) -> f64,
) -> Vec<CardMethod> {
    let known = |error: f64| error.is_finite().then(|| rounded(error));
    let own = |name: &str, pick: &dyn Fn(&OneStepError) -> f64| CardMethod {
        name: name.to_owned(),
        errors: errors.each_ref().map(|e| known(pick(e))),
        false_alarms: None,
    };
    let rows = |held_back: bool| -> Vec<Vec<Vec<f64>>> {
        let of = |range: &Range<usize>| {
            history.values[range.clone()].iter().map(|v| v.iter().map(|v| f64::from(*v)).collect())
        };
        cut.ranges(|fold| (fold == 0) == held_back).iter().map(|range| of(range).collect()).collect()
    };
    let mut methods = vec![own("model", &|e| e.model), own("ridge", &|e| e.ridge)];
    methods.extend(compare(&rows(false), &rows(true)).into_iter().map(|compared| CardMethod {
        name: compared.classic.name().to_owned(),
        errors: compared.errors.map(known),
        false_alarms: known(compared.false_alarms),
    }));
    methods
}

/// What an engineer should know of the comparison: where a classic forecasts better, or why there is none.
fn compared_notes(methods: &[CardMethod], tags: usize) -> Vec<String> {
    let Some((model, others)) = methods.split_first() else { return Vec::new() };
    if tags > COMPARED_TAGS_MAX {
        return vec![format!(
            "{tags} tags are too many to compare with the classics: at most {COMPARED_TAGS_MAX} are compared"
        )];
    }
    let better = |other: &CardMethod| -> Vec<String> {
        let pairs = model.errors.iter().zip(&other.errors).zip(HORIZONS);
        let lost = pairs.filter(|((m, o), _)| m.zip(**o).is_some_and(|(m, o)| o < m));
        lost.map(|(_, horizon)| horizon.to_string()).collect()
    };
    let said = others.iter().map(|other| (other, better(other))).filter(|(_, lost)| !lost.is_empty());
    said.map(|(other, lost)| format!("{} forecasts better than the model {} ticks ahead", other.name, lost.join(", ")))
        .collect()
}

/// Excursions above the limit a week: the limit is fitted on every other block and held against the rest.
fn false_alarms(highest: &[f32], cut: &Cut, tick_ns: i64) -> f64 {
    let mut excursions = 0usize;
    for parity in 0..2 {
        let half = |p: usize| cut.blocks.iter().enumerate().filter(move |(i, _)| i % 2 == p).map(|(_, b)| b.clone());
        let fitted = limit(highest, &half(parity).collect::<Vec<_>>(), cut.probability).value;
        for block in half(1 - parity) {
            let above = |t: usize| highest[t] > fitted;
            excursions += usize::from(above(block.start));
            excursions += (block.start + 1..block.end).filter(|&t| above(t) && !above(t - 1)).count();
        }
    }
    let weeks = highest.len() as f64 * tick_ns as f64 / 1e9 / (7.0 * 86_400.0);
    excursions as f64 / weeks.max(1e-9)
}

fn card_tags(spec: &ModelSpec, scaling: &Scaling, rounded: &dyn Fn(f64) -> f64) -> Vec<CardTag> {
    let describe = |at: usize| {
        let tag = &spec.tags[at];
        let watched = scaling.watched.iter().position(|&w| w == at);
        let use_ = match watched.map(|i| scaling.kinds[i]) {
            Some(Kind::Moving) => "predicted",
            Some(Kind::Constant) => "constant in training",
            Some(Kind::Unseen) => "hardly seen in training",
            None if tag.excluded => "left out",
            None => "given",
        };
        CardTag {
            name: tag.name.clone(),
            unit: tag.unit.clone(),
            role: tag.role,
            excluded: tag.excluded,
            use_: use_.to_owned(),
            mean: watched.map_or(0.0, |i| rounded(scaling.center[i])),
            deviation: watched.map_or(0.0, |i| rounded(scaling.scale[i])),
        }
    };
    (0..spec.tags.len()).map(describe).collect()
}

fn longest_hold(runs: &[Vec<Tick>], at: usize) -> f32 {
    let mut longest = 0usize;
    for run in runs {
        let (mut held, mut last) = (0usize, None);
        for value in run.iter().filter_map(|tick| usable(&tick.tags[at])) {
            held = if last == Some(value) { held + 1 } else { 1 };
            last = Some(value);
            longest = longest.max(held);
        }
    }
    longest as f32
}

fn longest_still(runs: &[Vec<Tick>], camera: usize) -> f32 {
    let mut longest = 0usize;
    for run in runs {
        let (mut still, mut last): (usize, Option<&[u8]>) = (0, None);
        for frame in run.iter().filter_map(|tick| tick.cameras[camera].frames.last()) {
            still = if last.is_some_and(|l| *l == *frame.pixels) { still + 1 } else { 1 };
            last = Some(&frame.pixels);
            longest = longest.max(still);
        }
    }
    longest as f32
}
