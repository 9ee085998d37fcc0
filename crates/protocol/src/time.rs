//! UTC time in nanoseconds.

use std::{fmt, ops, str::FromStr};

use serde::{Deserialize, Serialize};

/// A moment: nanoseconds since 1970-01-01T00:00:00Z. Covers 1677 to 2262.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UtcNanos(pub i64);

/// Nanoseconds in a second.
pub const SECOND: i64 = 1_000_000_000;
/// Nanoseconds in a millisecond.
pub const MILLISECOND: i64 = 1_000_000;

/// Text that is not a time.
#[derive(Debug, Clone, thiserror::Error)]
#[error("'{text}' is not a UTC time between 1677 and 2262 such as 2026-11-24T08:15:00Z: {reason}")]
pub struct TimeError {
    text: String,
    reason: String,
}

impl UtcNanos {
    /// The earliest moment.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest moment.
    pub const MAX: Self = Self(i64::MAX);

    /// The moment `seconds` after the epoch, rounded to the nanosecond.
    pub fn from_seconds(seconds: f64) -> Self {
        Self((seconds * SECOND as f64).round() as i64)
    }

    /// Seconds since the epoch. Microsecond precision for present-day times.
    pub fn seconds(self) -> f64 {
        self.0 as f64 / SECOND as f64
    }

    /// Nanoseconds from `earlier` to `self`; saturates.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The latest multiple of `period_ns` (from the epoch) that is not after `self`.
    pub const fn floor_to(self, period_ns: i64) -> Self {
        Self(self.0.div_euclid(period_ns).saturating_mul(period_ns))
    }
}

impl ops::Add<i64> for UtcNanos {
    type Output = Self;
    /// Moves forward by nanoseconds; saturates.
    fn add(self, nanos: i64) -> Self {
        Self(self.0.saturating_add(nanos))
    }
}

impl ops::Sub<i64> for UtcNanos {
    type Output = Self;
    /// Moves back by nanoseconds; saturates.
    fn sub(self, nanos: i64) -> Self {
        Self(self.0.saturating_sub(nanos))
    }
}

impl fmt::Display for UtcNanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => write!(f, "{} ns", self.0),
        }
    }
}

impl FromStr for UtcNanos {
    type Err = TimeError;

    /// Parses RFC 3339 (`2026-11-24T08:15:00.5Z`, any offset) or a civil time, which is taken as UTC
    /// (`2026-11-24 08:15:00`).
    fn from_str(text: &str) -> Result<Self, TimeError> {
        let error = |reason: String| TimeError { text: text.to_owned(), reason };
        let trimmed = text.trim();
        let timestamp = match trimmed.parse::<jiff::Timestamp>() {
            Ok(timestamp) => timestamp,
            Err(first) => match trimmed.parse::<jiff::civil::DateTime>() {
                Ok(civil) => {
                    civil.to_zoned_datetime(jiff::tz::TimeZone::UTC).map_err(|e| error(e.to_string()))?.timestamp()
                }
                Err(_) => return Err(error(first.to_string())),
            },
        };
        i64::try_from(timestamp.as_nanosecond()).map(Self).map_err(|_| error("outside of the range".to_owned()))
    }
}
