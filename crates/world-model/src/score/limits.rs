//! From statistics on held-back blocks to limits that keep one rate of false alarms together.

/// Of a statistic's held-back values, the part above which the tail is fitted.
const TAIL_SHARE: f64 = 0.1;
/// What the fast statistic keeps of the rate when the averages have used up theirs.
const FAST_SHARE_MIN: f64 = 0.25;

/// A statistic's centre and limit; a value is scored by how far it is from the one to the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    centre: f64,
    value: f64,
}

impl Limit {
    fn new(centre: f64, value: f64) -> Self {
        // A statistic that never moved has no spread to be judged by: any move is beyond its limit.
        Self { centre, value: value.max(centre + 1e-9 * centre.abs().max(1e-9)) }
    }

    /// 1 at the limit, 0 at the centre.
    pub(crate) fn score(&self, value: f64) -> f64 {
        (value - self.centre) / (self.value - self.centre)
    }

    pub(crate) fn centre(&self) -> f64 {
        self.centre
    }
}

/// The quantile of `values` below which a share of them lies.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = share.clamp(0.0, 1.0) * (sorted.len().max(1) - 1) as f64;
    let (low, part) = (at.floor() as usize, at.fract());
    match (sorted.get(low), sorted.get(low + 1)) {
        (Some(a), Some(b)) => a + part * (b - a),
        (Some(a), None) => *a,
        _ => 0.0,
    }
}

/// The value that is exceeded with probability `rate`: an exponential tail over the highest tenth (peaks over threshold,
/// Davison and Smith 1990), which a few hundred values determine better than the quantile itself.
pub(crate) fn tail(values: &[f64], rate: f64) -> f64 {
    if rate >= TAIL_SHARE {
        return quantile(values, 1.0 - rate);
    }
    let threshold = quantile(values, 1.0 - TAIL_SHARE);
    let excesses: Vec<f64> = values.iter().filter(|v| **v > threshold).map(|v| v - threshold).collect();
    if excesses.is_empty() {
        return threshold;
    }
    threshold + excesses.iter().sum::<f64>() / excesses.len() as f64 * (TAIL_SHARE / rate).ln()
}

/// The limit of an average with a memory of `memory` rows, from the maxima of held-back blocks of `block` rows: what the
/// maximum of one more block exceeds with a probability that makes `rate` of all rows, as an excursion lasts about as long
/// as the memory. Blocks are few, hence Student's t (a prediction interval of one further observation).
pub(crate) fn of_average(values: &[Vec<f64>], memory: f64, block: usize, rate: f64) -> Limit {
    let maxima: Vec<f64> = values.iter().map(|b| b.iter().copied().fold(f64::NEG_INFINITY, f64::max)).collect();
    let n = maxima.len() as f64;
    let mean = maxima.iter().sum::<f64>() / n;
    let variance = maxima.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    let probability = (rate * block as f64 / memory).min(0.5);
    let value = mean + student_t_upper(probability, n - 1.0) * (variance * (1.0 + 1.0 / n)).sqrt();
    Limit::new(quantile(&values.concat(), 0.5), value)
}

/// The limit of the fast statistic: what is left of `rate` when the rows that averages flag (`flagged`) are counted.
pub(crate) fn of_fast(values: &[Vec<f64>], flagged: &[Vec<bool>], rate: f64) -> Limit {
    let all = values.concat();
    let flagged = flagged.concat();
    let used = flagged.iter().filter(|f| **f).count() as f64 / flagged.len().max(1) as f64;
    let rest: Vec<f64> = all.iter().zip(&flagged).filter(|(_, f)| !**f).map(|(v, _)| *v).collect();
    Limit::new(quantile(&all, 0.5), tail(&rest, (rate - used).max(FAST_SHARE_MIN * rate)))
}

/// What Student's t with `freedom` degrees of freedom exceeds with `probability` (at most 0.5).
///
/// With t = sqrt(freedom) tan(angle) its density is proportional to cos(angle)^(freedom - 1), which is summed (Simpson) and
/// inverted by bisection.
pub(crate) fn student_t_upper(probability: f64, freedom: f64) -> f64 {
    use std::f64::consts::FRAC_PI_2;
    const STEPS: usize = 200;
    const BISECTIONS: usize = 60;
    let power = (freedom - 1.0).max(0.0);
    let beyond = |from: f64| {
        let step = (FRAC_PI_2 - from) / STEPS as f64;
        let density = |i: usize| (from + i as f64 * step).cos().max(0.0).powf(power);
        let weight = |i: usize| if i == 0 || i == STEPS { 1.0 } else { 2.0 + 2.0 * (i % 2) as f64 };
        (0..=STEPS).map(|i| weight(i) * density(i)).sum::<f64>() * step / 3.0
    };
    let whole = 2.0 * beyond(0.0);
    let (mut low, mut high) = (0.0, FRAC_PI_2);
    for _ in 0..BISECTIONS {
        let middle = f64::midpoint(low, high);
        if beyond(middle) / whole > probability { low = middle } else { high = middle }
    }
    freedom.max(1.0).sqrt() * low.tan()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn students_t_is_as_in_the_tables() {
        for (probability, freedom, wanted) in
            [(0.05, 1.0, 6.314), (0.05, 4.0, 2.132), (0.01, 9.0, 2.821), (0.025, 30.0, 2.042), (0.5, 9.0, 0.0)]
        {
            let got = student_t_upper(probability, freedom);
            assert!((got - wanted).abs() < 1e-3, "{probability} {freedom}: {got}");
        }
    }

    #[test]
    fn a_fitted_tail_has_the_rate() {
        // An exponential law, whose quantiles are known.
        let values: Vec<f64> = (1..2_000).map(|i| -(1.0 - f64::from(i) / 2_000.0_f64).ln()).collect();
        assert!((tail(&values, 0.001) - 1_000.0_f64.ln()).abs() < 0.15);
        assert!((tail(&values, 0.3) - (1.0_f64 / 0.3).ln()).abs() < 0.01);
    }
}
