//! When shifts change: at a place's own time of day, also where the clocks change.

use jiff::{Timestamp, ZonedDateTime, civil::Time, tz::TimeZone};
use sightglass_protocol::UtcNanos;

use crate::error::HistoryError;

/// The shifts of a day, by name.
#[derive(Clone, Debug)]
pub struct Shifts {
    zone: TimeZone,
    /// When each begins, sorted.
    starts: Vec<(Time, String)>,
}

impl Shifts {
    /// Early from 6 to 14, late to 22, night to 6 the next day, at the time of `zone` (an IANA name such as
    /// `Europe/Berlin`; `UTC`).
    ///
    /// # Errors
    /// A time zone that does not exist.
    pub fn three_by_eight(zone: &str) -> Result<Self, HistoryError> {
        Self::parse(zone, &["06:00=early", "14:00=late", "22:00=night"])
    }

    /// Shifts as `HH:MM=NAME`, each from its time until the next one's.
    ///
    /// # Errors
    /// A time zone or a time of day that does not exist, no shift, two at one time.
    pub fn parse(zone: &str, shifts: &[impl AsRef<str>]) -> Result<Self, HistoryError> {
        let bad = |what: String| HistoryError::BadQuery { what };
        let zone = TimeZone::get(zone)
            .map_err(|error| bad(format!("'{zone}' is not a time zone such as Europe/Berlin or UTC: {error}")))?;
        let mut starts = Vec::with_capacity(shifts.len());
        for shift in shifts {
            let shift = shift.as_ref();
            let form = || bad(format!("'{shift}' is not a shift such as 06:00=early"));
            let (time, name) = shift.split_once('=').ok_or_else(form)?;
            starts.push((time.trim().parse::<Time>().map_err(|_| form())?, name.trim().to_owned()));
        }
        starts.sort();
        if starts.is_empty() || starts.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(bad("shifts need at least one beginning, and none twice".to_owned()));
        }
        Ok(Self { zone, starts })
    }

    /// The shift at `time`: its name, its beginning, and the beginning of the next.
    pub(super) fn at(&self, time: UtcNanos) -> Option<(&str, i64, i64)> {
        let nanos = |zoned: &ZonedDateTime| i64::try_from(zoned.timestamp().as_nanosecond()).ok();
        let now = Timestamp::from_nanosecond(i128::from(time.0)).ok()?.to_zoned_datetime(self.zone.clone());
        let today = now.date();
        let mut bounds = Vec::with_capacity(self.starts.len() * 3);
        for date in [today.yesterday().ok()?, today, today.tomorrow().ok()?] {
            for (start, name) in &self.starts {
                // A time that the clocks leave out is that much later, as a wall clock shows it.
                let zoned = date.to_datetime(*start).to_zoned_datetime(self.zone.clone()).ok()?;
                bounds.push((nanos(&zoned)?, name.as_str()));
            }
        }
        bounds.sort_unstable();
        let next = bounds.partition_point(|(start, _)| *start <= time.0);
        let (start, name) = *bounds.get(next.checked_sub(1)?)?;
        Some((name, start, bounds.get(next)?.0))
    }
}
