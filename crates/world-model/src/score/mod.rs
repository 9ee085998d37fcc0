//! Scores of a table of tags without a plant: fit on normal rows, then say of each further row how unforeseen it is.
//!
//! One score with one calibrated rate of false alarms, from what a shrunk vector autoregression ([`forecast`]) leaves
//! unforeseen, at once and on average ([`statistics`]). Everything that limits rest on comes from blocks that the judging
//! part did not see. A row's score is a function of rows up to it.

mod covariance;
mod forecast;
mod limits;
mod regimes;
mod stationarity;
mod statistics;

use std::borrow::Borrow;

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;
use sightglass_protocol::Role;

use covariance::GROUP_TAGS_MAX;
pub(crate) use covariance::{ledoit_wolf, power};
pub(crate) use forecast::{Block, kept};
use forecast::{CrossFit, Forecast, Past, Run};
pub(crate) use limits::tail;
use regimes::{RegimeState, Regimes};
use statistics::{Averages, HeldBack, Statistics};

/// The fewest rows from which scores can be calibrated.
pub const SCORE_ROWS_MIN: usize = 50;
/// Blocks into which the training rows are cut, and the fewest rows of one.
const BLOCKS: usize = 10;
const BLOCK_ROWS_MIN: usize = 12;
/// Of a tag's training rows, the share that must have a value.
const PRESENT_SHARE_MIN: f64 = 0.5;
/// Standard deviations beyond which a value counts as this far off.
const DEVIATIONS_MAX: f64 = 50.0;
/// Values beyond this are as good as missing.
const VALUE_MAX: f64 = 1e100;
/// Tags that are named as the most responsible.
const TOP_TAGS_MAX: usize = 3;
/// A tag is named when its part is at least this share of the largest.
const TOP_SHARE_MIN: f64 = 0.1;

/// Why nothing can be scored.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// Not enough to learn from.
    #[error("{rows} rows of training are too few to calibrate on: at least {SCORE_ROWS_MIN} are needed")]
    TooFewRows {
        /// What there is.
        rows: usize,
    },
    /// No tag that could be judged.
    #[error(
        "there is nothing to judge: no measurement or output moves and has values in at least half of the training rows"
    )]
    NothingToJudge,
    /// A row does not have one value a column.
    #[error("row {row} of run {run} has {got} values where there are {want} columns")]
    Width {
        /// The run, from 0.
        run: usize,
        /// The row in it, from 0.
        row: usize,
        /// Values in the row.
        got: usize,
        /// Columns.
        want: usize,
    },
    /// A rate that cannot be kept.
    #[error("a false-alarm rate of {0} cannot be kept: give a share of rows above 0 and at most 0.5")]
    Rate(f64),
}

/// One column of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreColumn {
    /// Its name.
    pub name: String,
    /// Observed, given, or both.
    pub role: Role,
}

/// How unforeseen a row is.
#[derive(Clone, Debug, PartialEq)]
pub struct RowScore {
    /// 1 is the limit; never negative.
    pub score: f64,
    /// Columns that are most responsible, the most first; at most three.
    pub top: Vec<usize>,
    /// Setpoints are, or lately were, where training never showed them; the score then stays at 1 or below.
    pub unknown_ground: bool,
}

/// A column's place and scale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) column: usize,
    pub(crate) mean: f64,
    pub(crate) deviation: f64,
}

impl Scale {
    fn apply(&self, row: &[f64]) -> f64 {
        let value = usable(row[self.column]);
        ((value - self.mean) / self.deviation).clamp(-DEVIATIONS_MAX, DEVIATIONS_MAX)
    }
}

fn usable(value: f64) -> f64 {
    if value.abs() <= VALUE_MAX { value } else { f64::NAN }
}

/// What was learned from normal rows.
#[derive(Clone, Debug)]
pub struct Scorer {
    columns: usize,
    tags: Vec<Scale>,
    setpoints: Vec<Scale>,
    forecast: Forecast,
    regimes: Regimes,
    statistics: Statistics,
    notes: Vec<String>,
}

/// Scores of one run, row after row.
#[derive(Clone, Debug)]
pub struct ScoreStream<'a> {
    scorer: &'a Scorer,
    past: Past,
    held: Vec<f64>,
    regime: RegimeState,
    averages: Averages,
}

/// The scale of a column that moves, and the share of rows in which it has a value.
pub(crate) fn scale(column: usize, runs: &[Vec<Vec<f64>>]) -> (Option<Scale>, f64) {
    let values: Vec<f64> = runs.iter().flatten().map(|row| usable(row[column])).filter(|v| !v.is_nan()).collect();
    let rows: usize = runs.iter().map(Vec::len).sum();
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
    let moves = deviation > 1e-12 * mean.abs().max(f64::MIN_POSITIVE) && deviation.is_finite();
    (moves.then_some(Scale { column, mean, deviation }), values.len() as f64 / rows.max(1) as f64)
}

/// Replaces missing values by the last one, in place; before the first, by the mean.
fn hold(table: &mut DMatrix<f64>) {
    for mut column in table.column_iter_mut() {
        let mut last = 0.0;
        for v in column.iter_mut() {
            if v.is_nan() {
                *v = last;
            }
            last = *v;
        }
    }
}

/// The rows of `parts`, which are as wide as each other, one after the other.
pub(crate) fn stack<M: Borrow<DMatrix<f64>>>(parts: &[M]) -> DMatrix<f64> {
    let columns = parts.first().map_or(0, |part| part.borrow().ncols());
    let mut out = DMatrix::zeros(parts.iter().map(|part| part.borrow().nrows()).sum(), columns);
    let mut at = 0;
    for part in parts.iter().map(Borrow::borrow) {
        out.rows_mut(at, part.nrows()).copy_from(part);
        at += part.nrows();
    }
    out
}

/// Contiguous blocks of all runs, of about the same length.
pub(crate) fn blocks(lengths: &[usize]) -> Vec<Block> {
    let rows: usize = lengths.iter().sum();
    let wanted = BLOCKS.min(rows / BLOCK_ROWS_MIN).max(2);
    let mut out = Vec::new();
    for (run, &length) in lengths.iter().enumerate() {
        let count = ((wanted * length) as f64 / rows as f64).round().max(1.0) as usize;
        let ends: Vec<usize> = (0..=count).map(|b| b * length / count).collect();
        out.extend(ends.windows(2).filter(|e| e[0] < e[1]).map(|e| Block { run, rows: e[0]..e[1] }));
    }
    out
}

fn listed(names: &[&str]) -> String {
    const NAMED_MAX: usize = 8;
    let more = names.len().saturating_sub(NAMED_MAX);
    let named = names[..names.len() - more].join(", ");
    if more > 0 { format!("{named} and {more} more") } else { named }
}

impl Scorer {
    /// Learns from runs of normal rows (by run, then row, then column; NaN or infinite where there is no value), and
    /// calibrates on blocks of them that the judging part did not see, so that of new normal rows about `rate` are above 1.
    ///
    /// # Errors
    /// Where there is too little to learn from, nothing that moves, or a row of another width.
    pub fn fit(columns: &[ScoreColumn], runs: &[Vec<Vec<f64>>], rate: f64) -> Result<Self, ScoreError> {
        if !(rate > 0.0 && rate <= 0.5) {
            return Err(ScoreError::Rate(rate));
        }
        for (run, rows) in runs.iter().enumerate() {
            if let Some((row, values)) = rows.iter().enumerate().find(|(_, values)| values.len() != columns.len()) {
                return Err(ScoreError::Width { run, row, got: values.len(), want: columns.len() });
            }
        }
        let runs: Vec<Vec<Vec<f64>>> = runs.iter().filter(|r| !r.is_empty()).cloned().collect();
        let rows: usize = runs.iter().map(Vec::len).sum();
        if rows < SCORE_ROWS_MIN {
            return Err(ScoreError::TooFewRows { rows });
        }
        let mut notes = Vec::new();
        let (mut tags, mut setpoints) = (Vec::new(), Vec::new());
        let (mut still, mut sparse): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
        for (at, column) in columns.iter().enumerate() {
            match (column.role.is_predicted(), scale(at, &runs)) {
                (true, (_, present)) if present < PRESENT_SHARE_MIN => sparse.push(&column.name),
                (true, (Some(scale), _)) => tags.push(scale),
                (true, (None, _)) => still.push(&column.name),
                (false, (Some(scale), _)) => setpoints.push(scale),
                (false, (None, _)) => {
                    // It explains nothing yet, but a change of it is ground that training never showed.
                    let value = runs.iter().flatten().map(|r| usable(r[at])).find(|v| !v.is_nan()).unwrap_or(0.0);
                    setpoints.push(Scale { column: at, mean: value, deviation: value.abs().max(1.0) });
                }
            }
        }
        if !still.is_empty() {
            notes.push(format!("not judged, since they never moved in training: {}", listed(&still)));
        }
        if !sparse.is_empty() {
            notes.push(format!(
                "not judged, since more than half of their training rows are missing: {}",
                listed(&sparse)
            ));
        }
        if tags.is_empty() {
            return Err(ScoreError::NothingToJudge);
        }
        if tags.len() > GROUP_TAGS_MAX {
            notes.push(format!(
                "{} tags are too many to learn how each drives each: every tag is foreseen from its own past, and tags are \
                 compared in groups of {GROUP_TAGS_MAX}; the wanted rate of false alarms is kept only roughly",
                tags.len()
            ));
        }
        let table = |rows: &Vec<Vec<f64>>, scales: &[Scale]| {
            DMatrix::from_fn(rows.len(), scales.len(), |t, i| scales[i].apply(&rows[t]))
        };
        let scaled: Vec<Run> = runs
            .iter()
            .map(|rows| {
                let mut inputs = table(rows, &setpoints);
                hold(&mut inputs);
                Run { tags: table(rows, &tags), setpoints: inputs }
            })
            .collect();
        let blocks = blocks(&runs.iter().map(Vec::len).collect::<Vec<_>>());
        let mut filled = scaled.clone();
        filled.iter_mut().for_each(|run| hold(&mut run.tags));
        let wandering: Vec<bool> = (0..tags.len())
            .into_par_iter()
            .map(|i| {
                let values = filled.iter().map(|r| r.tags.column(i).iter().copied().collect());
                stationarity::wanders(&values.collect::<Vec<_>>())
            })
            .collect();
        let drifting: Vec<&str> =
            tags.iter().zip(&wandering).filter(|(_, w)| **w).map(|(s, _)| columns[s.column].name.as_str()).collect();
        if !drifting.is_empty() {
            notes.push(format!(
                "without a settled level in training, so only their changes are foreseen: {}",
                listed(&drifting)
            ));
        }
        let mut fit = CrossFit::fit(&filled, &wandering, &blocks);
        if scaled.iter().any(|run| run.tags.iter().any(|v| v.is_nan())) {
            // Once more, with gaps as the first fit foresees them instead of held values.
            for (filled, run) in filled.iter_mut().zip(&scaled) {
                filled.tags = fit.whole.residuals(run, run.tags.nrows()).1;
            }
            fit = CrossFit::fit(&filled, &wandering, &blocks);
        }
        let mut held_back: Vec<HeldBack> = blocks
            .par_iter()
            .zip(&fit.without)
            .map(|(block, forecast)| HeldBack {
                residuals: forecast.residuals(&scaled[block.run], block.rows.end).0,
                warm_up: block.rows.start,
            })
            .collect();
        let regimes = Self::regimes(&scaled, &blocks, &held_back);
        if !setpoints.is_empty() {
            for (block, held) in blocks.iter().zip(&mut held_back) {
                let growths = regimes.growths(&scaled[block.run].setpoints);
                for (t, mut row) in held.residuals.row_iter_mut().enumerate() {
                    row /= growths[t].sqrt();
                }
            }
        }
        let statistics = Statistics::fit(&held_back, rate);
        let memories: Vec<String> = statistics.memories().map(|m| format!("{m:.0}")).collect();
        notes.push(if memories.is_empty() {
            "training is too short for averages: only sudden deviations are found".to_owned()
        } else {
            format!("averages over {} rows are judged beside single rows", memories.join(", "))
        });
        Ok(Self { columns: columns.len(), tags, setpoints, forecast: fit.whole, regimes, statistics, notes })
    }

    fn regimes(runs: &[Run], blocks: &[Block], held_back: &[HeldBack]) -> Regimes {
        let mut squares: Vec<Vec<f64>> = runs.iter().map(|r| vec![0.0; r.tags.nrows()]).collect();
        for (block, held) in blocks.iter().zip(held_back) {
            for t in block.rows.clone() {
                squares[block.run][t] = held.residuals.row(t).norm_squared();
            }
        }
        Regimes::fit(&runs.iter().map(|r| &r.setpoints).collect::<Vec<_>>(), &squares)
    }

    /// What the reader of scores should know of them: what is not judged, and why.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The beginning of a run.
    pub fn start(&self) -> ScoreStream<'_> {
        ScoreStream {
            scorer: self,
            past: Past::default(),
            held: self.setpoints.iter().map(|_| 0.0).collect(),
            regime: RegimeState::default(),
            averages: self.statistics.start(self.tags.len()),
        }
    }
}

impl ScoreStream<'_> {
    /// Scores the next row; `None` where no judged tag has a value.
    ///
    /// # Panics
    /// If the row has not one value a column.
    pub fn next_row(&mut self, row: &[f64]) -> Option<RowScore> {
        let scorer = self.scorer;
        assert_eq!(row.len(), scorer.columns, "a row has one value a column");
        let tags = DVector::from_iterator(scorer.tags.len(), scorer.tags.iter().map(|s| s.apply(row)));
        for (held, scale) in self.held.iter_mut().zip(&scorer.setpoints) {
            let value = scale.apply(row);
            if !value.is_nan() {
                *held = value;
            }
        }
        let setpoints = DVector::from_column_slice(&self.held);
        let (mut residual, missing) =
            scorer.forecast.next(&mut self.past, &tags, &setpoints, Some(&scorer.statistics.precision));
        let (growth, known) = scorer.regimes.next(&mut self.regime, &self.held);
        if missing.iter().all(|m| *m) {
            return None;
        }
        residual /= growth.sqrt();
        let (score, mut parts) = scorer.statistics.next(&mut self.averages, &residual);
        // A tag without a value is not blamed.
        parts.iter_mut().zip(&missing).filter(|(_, m)| **m).for_each(|(p, _)| *p = 0.0);
        let mut order: Vec<usize> = (0..parts.len()).collect();
        order.sort_by(|&a, &b| parts[b].total_cmp(&parts[a]));
        let least = TOP_SHARE_MIN * parts[order[0]];
        let top = order.into_iter().take(TOP_TAGS_MAX).filter(|&i| parts[i] > 0.0 && parts[i] >= least);
        Some(RowScore {
            score: if known { score } else { score.min(1.0) },
            top: top.map(|i| scorer.tags[i].column).collect(),
            unknown_ground: !known,
        })
    }
}
