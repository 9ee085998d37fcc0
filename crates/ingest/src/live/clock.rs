//! The time of arrival, and whether the time that a device gives can be its capture time.

use std::time::SystemTime;

use sightglass_protocol::{TimeSource, UtcNanos, time::SECOND};

/// How far a device's clock may be ahead of this PC's before its times are no longer taken: such a sample would have to
/// wait until its time has come.
const AHEAD_NS_MAX: i64 = SECOND;
/// 2000-01-01T00:00:00Z. An earlier time comes from a clock that was never set (1601, 1970).
const EARLIEST: UtcNanos = UtcNanos(946_684_800 * SECOND);

/// The wall clock of this PC, for the arrival of what comes from outside; nothing else in ingest reads it.
pub(crate) fn now() -> UtcNanos {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UtcNanos(i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX))
}

/// A capture time, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CaptureTime {
    pub(crate) time: UtcNanos,
    pub(crate) source: TimeSource,
    /// Why the device's own time is not taken.
    pub(crate) fault: Option<String>,
}

impl CaptureTime {
    pub(crate) fn of_arrival(arrival: UtcNanos) -> Self {
        Self { time: arrival, source: TimeSource::Arrival, fault: None }
    }
}

/// The capture time of what arrived at `arrival` and says of itself that it is from `claimed`: that where it can be true,
/// else the arrival.
pub(crate) fn capture_time(claimed: UtcNanos, source: TimeSource, arrival: UtcNanos) -> CaptureTime {
    let why = if claimed < EARLIEST {
        "is before 2000: its clock was never set"
    } else if claimed.since(arrival) > AHEAD_NS_MAX {
        "lies in the future: its clock is ahead of this PC's"
    } else {
        return CaptureTime { time: claimed, source, fault: None };
    };
    let fault =
        Some(format!("the time {claimed} {why}; the arrival counts instead. Set its clock, by NTP where it can"));
    CaptureTime { fault, ..CaptureTime::of_arrival(arrival) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_cannot_be_true_gives_way_to_the_arrival() {
        let arrival: UtcNanos = "2026-11-24T08:15:00Z".parse().unwrap();
        let taken = |claimed| capture_time(claimed, TimeSource::Payload, arrival);
        for claimed in [arrival, arrival - 3600 * SECOND, arrival + SECOND, EARLIEST] {
            assert_eq!(taken(claimed), CaptureTime { time: claimed, source: TimeSource::Payload, fault: None });
        }
        for claimed in [arrival + SECOND + 1, EARLIEST - 1, UtcNanos(0), UtcNanos::MIN, UtcNanos::MAX] {
            let capture = taken(claimed);
            assert_eq!((capture.time, capture.source), (arrival, TimeSource::Arrival));
            assert!(capture.fault.is_some());
        }
    }
}
