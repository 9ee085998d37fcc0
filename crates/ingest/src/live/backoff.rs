//! How long to wait before the next try.

use std::time::Duration;

/// The wait after the first failure.
const BACKOFF_MIN: Duration = Duration::from_millis(250);
/// The longest wait: with it, a device that is back is read again within 5 s.
const BACKOFF_MAX: Duration = Duration::from_secs(3);

/// Waits that double from try to try.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = BACKOFF_MIN.saturating_mul(2_u32.saturating_pow(self.failures)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// Begins anew: it works.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_begin_anew() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..6).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 3000, 3000]);
        (0..100).for_each(|_| assert!(backoff.next() <= BACKOFF_MAX));
        backoff.reset();
        assert_eq!(backoff.next(), BACKOFF_MIN);
    }
}
