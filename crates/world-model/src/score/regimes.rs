//! What people did: a setpoint's change explains larger errors for a while, and ground that training never showed
//! explains any.

use nalgebra::DMatrix;

/// Rows since a setpoint changed at which regimes end; after the last one running is steady.
const REGIME_ENDS: [usize; 4] = [1, 5, 15, 50];
/// How many times larger squared errors are expected in a regime that training never showed.
const UNSEEN: [f64; 4] = [16.0, 16.0, 9.0, 4.0];
/// Rows of a regime that weigh as much as [`UNSEEN`].
const UNSEEN_ROWS: f64 = 5.0;
/// How far beyond its range in training a setpoint is still known ground, as a share of that range.
const KNOWN_SHARE: f64 = 0.05;

/// What setpoints were in training, and how errors grew after their changes.
#[derive(Clone, Debug)]
pub(crate) struct Regimes {
    ranges: Vec<(f64, f64)>,
    growth: [f64; 4],
}

/// The state of one stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct RegimeState {
    last: Option<Vec<f64>>,
    since_change: Option<usize>,
    since_unknown: Option<usize>,
}

impl RegimeState {
    fn regime(&self) -> Option<usize> {
        self.since_change.and_then(|since| REGIME_ENDS.iter().position(|end| since < *end))
    }

    /// Takes a row's setpoints in.
    fn step(&mut self, setpoints: &[f64]) {
        let changed =
            self.last.as_ref().is_some_and(|last| last.iter().zip(setpoints).any(|(a, b)| (a - b).abs() > 1e-9));
        self.since_change = if changed { Some(0) } else { self.since_change.map(|s| s + 1) };
        self.last = Some(setpoints.to_vec());
    }
}

/// The regime of each row of a run.
fn regimes(setpoints: &DMatrix<f64>) -> Vec<Option<usize>> {
    let mut state = RegimeState::default();
    let of = |t: usize| {
        state.step(&setpoints.row(t).iter().copied().collect::<Vec<_>>());
        state.regime()
    };
    (0..setpoints.nrows()).map(of).collect()
}

impl Regimes {
    /// From training runs' setpoints and the squared length of each row's residual under a model that did not see it.
    pub(crate) fn fit(runs: &[&DMatrix<f64>], squares: &[Vec<f64>]) -> Self {
        let width = runs.first().map_or(0, |r| r.ncols());
        let range = |c: usize| {
            let values = runs.iter().flat_map(|r| r.column(c).iter().copied().collect::<Vec<_>>());
            let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
            let beyond = KNOWN_SHARE * (high - low) + 1e-9;
            (low - beyond, high + beyond)
        };
        let (mut sums, mut counts, mut steady, mut steady_rows) = ([0.0; 4], [0.0; 4], 0.0, 0.0);
        for (run, squares) in runs.iter().zip(squares) {
            for (regime, square) in regimes(run).into_iter().zip(squares) {
                match regime {
                    Some(r) => {
                        sums[r] += square;
                        counts[r] += 1.0;
                    }
                    None => {
                        steady += square;
                        steady_rows += 1.0;
                    }
                }
            }
        }
        let mean = if steady_rows > 0.0 {
            steady / steady_rows
        } else {
            sums.iter().sum::<f64>() / counts.iter().sum::<f64>().max(1.0)
        };
        let growth = std::array::from_fn(|r| {
            let seen = if mean > 0.0 { sums[r] / mean } else { counts[r] };
            ((seen + UNSEEN_ROWS * UNSEEN[r]) / (counts[r] + UNSEEN_ROWS)).max(1.0)
        });
        Self { ranges: (0..width).map(range).collect(), growth }
    }

    /// How many times larger a row's squared residual is expected to be, and whether its ground is known.
    pub(crate) fn next(&self, state: &mut RegimeState, setpoints: &[f64]) -> (f64, bool) {
        state.step(setpoints);
        let known = setpoints.iter().zip(&self.ranges).all(|(v, (low, high))| (*low..=*high).contains(v));
        state.since_unknown = if known { state.since_unknown.map(|s| s + 1) } else { Some(0) };
        let settled = state.since_unknown.is_none_or(|s| s > REGIME_ENDS[3]);
        (state.regime().map_or(1.0, |r| self.growth[r]), settled)
    }

    /// The growth for each row of a training run.
    pub(crate) fn growths(&self, setpoints: &DMatrix<f64>) -> Vec<f64> {
        regimes(setpoints).into_iter().map(|r| r.map_or(1.0, |r| self.growth[r])).collect()
    }
}
