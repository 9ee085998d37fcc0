//! Whether pictures come, how often, and of which size.

use sightglass_protocol::{UtcNanos, time::SECOND};

use super::cause::{Cause, Finding};
use crate::aligner::STALE_PERIODS;

/// The rate is counted over this span, and over at least so many pictures.
const SPAN_NS: i64 = 4 * SECOND;
const PICTURES_MIN: u32 = 4;
/// Spans from which the usual rate is known.
const SPANS_MIN: u32 = 5;
/// The usual rate is an average over about so many spans.
const USUAL_SPANS: f64 = 32.0;
/// Another rate is below or above the usual one by so much.
const RATE_LOW: f64 = 0.67;
const RATE_HIGH: f64 = 1.5;
/// A size is a camera's own after so many pictures.
const SIZE_MIN: u32 = 20;

/// The pictures of one camera as a stream.
#[derive(Clone, Debug)]
pub(super) struct PictureStream {
    silent_ns: i64,
    began: Option<UtcNanos>,
    last: Option<UtcNanos>,
    span_began: Option<UtcNanos>,
    in_span: u32,
    spans: u32,
    usual: f64,
    other_rate: Option<(UtcNanos, f64)>,
    size: (u32, u32),
    size_seen: u32,
    other_size: Option<(UtcNanos, (u32, u32))>,
}

impl PictureStream {
    /// `fps` is the camera's rate by its description.
    pub(super) fn new(fps: f64, tick_ns: i64) -> Self {
        let period_ns = (SECOND as f64 / fps.max(0.01)) as i64;
        Self {
            silent_ns: STALE_PERIODS.saturating_mul(period_ns.max(tick_ns)),
            began: None,
            last: None,
            span_began: None,
            in_span: 0,
            spans: 0,
            usual: 0.0,
            other_rate: None,
            size: (0, 0),
            size_seen: 0,
            other_size: None,
        }
    }

    pub(super) fn take(&mut self, time: UtcNanos, size: (u32, u32)) {
        let before = self.last.replace(time);
        self.take_size(time, size);
        let Some(span_began) = self.span_began else {
            (self.span_began, self.in_span) = (Some(time), 0);
            return;
        };
        if before.is_some_and(|before| time.since(before) > self.silent_ns) {
            // A gap says nothing of the rate.
            (self.span_began, self.in_span) = (Some(time), 0);
            return;
        }
        self.in_span += 1;
        let span_ns = time.since(span_began);
        if span_ns < SPAN_NS || self.in_span < PICTURES_MIN {
            return;
        }
        let rate = f64::from(self.in_span) * SECOND as f64 / span_ns as f64;
        (self.span_began, self.in_span) = (Some(time), 0);
        let is_other = self.spans >= SPANS_MIN && !(RATE_LOW * self.usual..=RATE_HIGH * self.usual).contains(&rate);
        if is_other {
            self.other_rate = Some((self.other_rate.map_or(span_began, |(since, _)| since), rate));
        } else {
            self.other_rate = None;
            self.spans = self.spans.saturating_add(1);
            self.usual += (rate - self.usual) / USUAL_SPANS.min(f64::from(self.spans));
        }
    }

    fn take_size(&mut self, time: UtcNanos, size: (u32, u32)) {
        if size == self.size {
            self.size_seen = self.size_seen.saturating_add(1);
            self.other_size = None;
        } else if self.size_seen < SIZE_MIN {
            (self.size, self.size_seen) = (size, 1);
        } else {
            self.other_size = Some((self.other_size.map_or(time, |(since, _)| since), size));
        }
    }

    pub(super) fn findings(&mut self, now: UtcNanos) -> [Option<Finding>; 3] {
        let began = *self.began.get_or_insert(now);
        let since = self.last.unwrap_or(began);
        let silent = (now.since(since) > self.silent_ns).then(|| {
            let reason = match self.last {
                None => "there are no pictures; check the camera's power, network and address".to_owned(),
                Some(last) => format!(
                    "no picture has come for {} s, since {last}; check the camera's power and network",
                    now.since(last) / SECOND
                ),
            };
            Finding::new(Cause::NoPicture, since, reason)
        });
        let size = self.other_size.map(|(since, (width, height))| {
            let (own_width, own_height) = self.size;
            let reason = format!(
                "its pictures are {width} x {height} where they were {own_width} x {own_height}: the region of interest \
                 shows something else. Set the camera back, or start the line anew with a new region"
            );
            Finding::new(Cause::SizeChanged, since, reason)
        });
        let rate = self.other_rate.map(|(since, rate)| {
            let reason = format!(
                "sends {rate:.1} pictures a second where it sent {:.1}; check its settings and the load on its network",
                self.usual
            );
            Finding::new(Cause::PictureRate, since, reason)
        });
        [silent, size, rate]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (u32, u32) = (640, 360);

    /// Pictures at `fps` for `seconds` from `from` on; what is found at the end.
    fn feed(stream: &mut PictureStream, from: i64, seconds: i64, fps: i64, size: (u32, u32)) -> Option<Cause> {
        for at in 0..seconds * fps {
            stream.take(UtcNanos(from * SECOND + at * SECOND / fps), size);
        }
        stream.findings(UtcNanos((from + seconds) * SECOND)).into_iter().flatten().map(|f| f.cause).min()
    }

    #[test]
    fn another_rate_another_size_and_silence_are_found_and_over_by_themselves() {
        let mut stream = PictureStream::new(15.0, SECOND);
        assert_eq!(feed(&mut stream, 0, 60, 15, SIZE), None);
        assert_eq!(feed(&mut stream, 60, 9, 5, SIZE), Some(Cause::PictureRate));
        assert_eq!(feed(&mut stream, 69, 9, 15, SIZE), None);
        assert_eq!(feed(&mut stream, 78, 1, 15, (320, 240)), Some(Cause::SizeChanged));
        assert_eq!(feed(&mut stream, 79, 1, 15, SIZE), None);
        let causes = stream.findings(UtcNanos(84 * SECOND)).map(|finding| finding.map(|finding| finding.cause));
        assert_eq!(causes, [Some(Cause::NoPicture), None, None]);
        assert_eq!(feed(&mut stream, 90, 9, 15, SIZE), None);
    }
}
