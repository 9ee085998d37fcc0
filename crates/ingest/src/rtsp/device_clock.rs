//! When a camera captured its pictures, by its own clock: from the sender reports of RTCP (RFC 3550, 6.4.1).

use std::sync::{Mutex, PoisonError};

use sightglass_protocol::{UtcNanos, time::SECOND};

/// Seconds from 1900, where NTP counts from, to 1970.
const NTP_TO_UNIX_S: i64 = 2_208_988_800;
/// A camera's clock may be so far from the time at which its pictures come and still be believed: cameras take up to a
/// second to encode and to send.
const BELIEVED_NS_MAX: i64 = 2 * SECOND;
/// Capture times move by at most this share of the time that passes when a report corrects them, so that they never
/// go back.
const SLEW: f64 = 0.1;

/// What sender reports have told so far. Times of the pipeline are in nanoseconds since its base.
#[derive(Debug)]
pub(crate) struct DeviceClock {
    /// The time of day at the pipeline's time 0.
    start: UtcNanos,
    state: Mutex<Slew>,
}

/// The camera's time less the time of arrival: from one value towards another, beginning at a time of the pipeline.
#[derive(Debug, Default)]
struct Slew {
    since_ns: i64,
    from_ns: i64,
    to_ns: i64,
    reports: u64,
    disbelieved: Option<i64>,
}

impl Slew {
    fn at(&self, pipeline_ns: i64) -> i64 {
        let passed = (pipeline_ns - self.since_ns).max(0);
        let most = (SLEW * passed as f64) as i64;
        self.from_ns + (self.to_ns - self.from_ns).clamp(-most, most)
    }
}

impl DeviceClock {
    pub(crate) fn new(start: UtcNanos) -> Self {
        Self { start, state: Mutex::default() }
    }

    /// The capture time of what has this time in the pipeline.
    pub(crate) fn capture(&self, pipeline_ns: i64) -> UtcNanos {
        let slew = self.state.lock().unwrap_or_else(PoisonError::into_inner).at(pipeline_ns);
        self.start + (pipeline_ns + slew)
    }

    /// A report: what has this time in the pipeline was captured at `captured`.
    pub(crate) fn report(&self, pipeline_ns: i64, captured: UtcNanos) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ahead = captured.since(self.start + pipeline_ns);
        if ahead.abs() > BELIEVED_NS_MAX {
            state.disbelieved = Some(ahead);
            return;
        }
        let since_ns = state.since_ns.max(pipeline_ns);
        let from_ns = state.at(since_ns);
        *state = Slew { since_ns, from_ns, to_ns: ahead, reports: state.reports + 1, disbelieved: None };
    }

    /// Where capture times come from, in words.
    pub(crate) fn describe(&self) -> String {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (state.reports, state.disbelieved) {
            (_, Some(ahead)) => format!(
                "capture times are those of arrival: the camera's clock is {} s {}; set it, by NTP where it can",
                ahead.abs() / SECOND,
                if ahead > 0 { "ahead" } else { "behind" }
            ),
            (0, None) => "capture times are those of arrival: the camera reports none".to_owned(),
            _ => format!(
                "capture times are the camera's own (RTCP), {} ms before arrival",
                -state.to_ns / (SECOND / 1_000)
            ),
        }
    }

    /// Whether the camera has told its time, believed or not.
    pub(crate) fn is_known(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.reports > 0 || state.disbelieved.is_some()
    }
}

/// Of a sender report (the first packet of a compound one): the time at which it was sent, and the RTP time of then.
pub(crate) fn sender_report(packet: &[u8]) -> Option<(UtcNanos, u32)> {
    const SENDER_REPORT: u8 = 200;
    let word = |at: usize| Some(u32::from_be_bytes(packet.get(at..at + 4)?.try_into().ok()?));
    if packet.first()? >> 6 != 2 || *packet.get(1)? != SENDER_REPORT {
        return None;
    }
    let (seconds, fraction, rtp) = (word(8)?, word(12)?, word(16)?);
    let nanos = (u64::from(fraction) * SECOND as u64) >> 32;
    Some((UtcNanos((i64::from(seconds) - NTP_TO_UNIX_S) * SECOND + nanos as i64), rtp))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = SECOND / 1_000;

    fn start() -> UtcNanos {
        "2026-11-25T14:00:00Z".parse().unwrap()
    }

    #[test]
    fn times_slide_to_the_cameras_own_and_never_go_back() {
        let clock = DeviceClock::new(start());
        assert_eq!(clock.capture(SECOND), start() + SECOND);
        assert!(!clock.is_known() && clock.describe().contains("reports none"));
        clock.report(2 * SECOND, start() + 2 * SECOND - 150 * MS);
        let mut last = UtcNanos::MIN;
        for frame in 0..90 {
            if frame == 75 {
                clock.report(5 * SECOND, start() + 5 * SECOND - 140 * MS);
            }
            let time = clock.capture(frame * SECOND / 15);
            assert!(time > last, "frame {frame}");
            last = time;
        }
        assert_eq!(clock.capture(4 * SECOND), start() + 4 * SECOND - 150 * MS, "before the second report");
        assert_eq!(clock.capture(8 * SECOND), start() + 8 * SECOND - 140 * MS);
        assert!(clock.describe().contains("140 ms before arrival"), "{}", clock.describe());
    }

    #[test]
    fn a_clock_that_was_never_set_is_not_believed() {
        let clock = DeviceClock::new(start());
        clock.report(SECOND, UtcNanos(5_000 * SECOND));
        assert_eq!(clock.capture(9 * SECOND), start() + 9 * SECOND);
        assert!(clock.is_known() && clock.describe().contains("behind"), "{}", clock.describe());
    }

    #[test]
    fn a_sender_report_is_read_and_nothing_else_is() {
        let mut packet = vec![0x80, 200, 0, 6, 1, 2, 3, 4];
        let seconds = (1_795_500_000 + NTP_TO_UNIX_S) as u32;
        packet.extend(seconds.to_be_bytes());
        packet.extend(0x8000_0000_u32.to_be_bytes());
        packet.extend(90_000_u32.to_be_bytes());
        let half = UtcNanos(1_795_500_000 * SECOND + SECOND / 2);
        assert_eq!(sender_report(&packet), Some((half, 90_000)));
        for length in 0..packet.len() {
            assert_eq!(sender_report(&packet[..length]), None);
        }
        packet[1] = 201;
        assert_eq!(sender_report(&packet), None);
    }
}
