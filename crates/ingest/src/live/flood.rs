//! Whether more comes than the line can take.

use std::time::{Duration, Instant};

/// After so long without a dropped value a flood is over; longer than what is told rests, so that the last count is told.
const OVER_AFTER: Duration = Duration::from_secs(2);

/// Values that were dropped since a flood began, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Flood {
    latest: Option<(u64, Instant)>,
}

/// What there is to say of a flood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FloodNews {
    Floods(String),
    Over,
    Nothing,
}

impl Flood {
    /// Notes how many values were dropped since it was last noted.
    pub(crate) fn note(&mut self, dropped: u64, now: Instant) -> FloodNews {
        if dropped > 0 {
            let all = dropped + self.latest.map_or(0, |(before, _)| before);
            self.latest = Some((all, now));
            return FloodNews::Floods(format!(
                "more messages come than the line can take: {all} values were dropped; let them be sent less often"
            ));
        }
        if self.latest.is_some_and(|(_, latest)| now.duration_since(latest) > OVER_AFTER) {
            self.latest = None;
            return FloodNews::Over;
        }
        FloodNews::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_until_it_is_over() {
        let (mut flood, start) = (Flood::default(), Instant::now());
        assert_eq!(flood.note(0, start), FloodNews::Nothing);
        assert!(matches!(flood.note(5, start), FloodNews::Floods(text) if text.contains(" 5 values")));
        assert!(matches!(flood.note(2, start + OVER_AFTER), FloodNews::Floods(text) if text.contains(" 7 values")));
        assert_eq!(flood.note(0, start + 2 * OVER_AFTER), FloodNews::Nothing);
        assert_eq!(flood.note(0, start + 3 * OVER_AFTER), FloodNews::Over);
        assert_eq!(flood.note(0, start + 9 * OVER_AFTER), FloodNews::Nothing);
    }
}
