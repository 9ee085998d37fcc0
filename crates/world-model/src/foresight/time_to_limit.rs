//! When a tag will cross a limit: the earliest, the likely and the latest time.

use sightglass_protocol::Band;

/// Which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The lower one.
    Low,
    /// The upper one.
    High,
}

/// When a limit is crossed for the first time, in ticks ahead; `None` is not within the outlook. In running such as that
/// of training, the time lies from `earliest` to `latest` in at least 80 % of the cases in which the limit is in reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeToLimit {
    /// Which.
    pub side: Side,
    /// The limit, in the tag's unit.
    pub limit: f64,
    /// Not before.
    pub earliest: Option<usize>,
    /// As the middle goes.
    pub likely: Option<usize>,
    /// By then, or not within the outlook at all.
    pub latest: Option<usize>,
}

/// Of both limits the one that is crossed first: by the middle, else at the earliest.
pub(super) fn first(bands: &[Band], passage: f32, low: Option<f64>, high: Option<f64>) -> Option<TimeToLimit> {
    let low = low.map(|limit| one(bands, passage, Side::Low, limit));
    let high = high.map(|limit| one(bands, passage, Side::High, limit));
    let order = |t: &TimeToLimit| (t.likely.unwrap_or(usize::MAX), t.earliest.unwrap_or(usize::MAX));
    low.into_iter().chain(high).min_by_key(order)
}

fn one(bands: &[Band], passage: f32, side: Side, limit: f64) -> TimeToLimit {
    let when = |reaches: &dyn Fn(&Band) -> f32| {
        let crossed = |band: &Band| {
            let value = f64::from(reaches(band));
            if side == Side::High { value >= limit } else { value <= limit }
        };
        bands.iter().position(crossed).map(|at| at + 1)
    };
    let end = |band: &Band, upper: bool| band.mid + passage * (if upper { band.high } else { band.low } - band.mid);
    let up = side == Side::High;
    TimeToLimit {
        side,
        limit,
        earliest: when(&|band| end(band, up)),
        likely: when(&|band| band.mid),
        latest: when(&|band| end(band, !up)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rising_tag_reaches_its_upper_limit_within_an_interval() {
        let band = |k: i32| Band { low: k as f32 - 2.0, mid: k as f32, high: k as f32 + 2.0 };
        let bands: Vec<Band> = (1..=10).map(band).collect();
        let told = first(&bands, 1.0, Some(-5.0), Some(6.0));
        let wanted = TimeToLimit { side: Side::High, limit: 6.0, earliest: Some(4), likely: Some(6), latest: Some(8) };
        assert_eq!(told, Some(wanted));
        let far = first(&bands, 1.0, None, Some(11.0)).map(|t| (t.earliest, t.likely, t.latest));
        assert_eq!(far, Some((Some(9), None, None)));
        assert_eq!(first(&bands, 1.0, None, None), None);
    }
}
