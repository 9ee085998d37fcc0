//! Which pictures a decoder has taken and not given back.
//!
//! Decoders leave broken pictures out without a word. They give pictures back in the order of time, so a picture that was
//! taken and is earlier than one that came out is lost.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gst::prelude::*;

/// More pictures than any decoder holds; beyond it, the oldest are forgotten.
const HELD_MAX: usize = 256;

#[derive(Clone, Default)]
pub(crate) struct DecodeLedger {
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    /// PTS of the pictures that the decoder has taken.
    pts: BTreeSet<gst::ClockTime>,
    /// Pictures that came out a little before their own time, whose entries are still there.
    unmatched: usize,
}

impl DecodeLedger {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes every picture that leaves `pad` for the decoder and is to be shown.
    pub(crate) fn follow(&self, pad: &gst::Pad) {
        let ledger = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let segment = pad.sticky_event::<gst::event::Segment>(0);
            let shown = segment.as_ref().and_then(|event| event.segment().downcast_ref::<gst::ClockTime>());
            if let (Some(pts), Some(segment)) = (info.buffer().and_then(|buffer| buffer.pts()), shown)
                && segment.clip(pts, pts).is_some()
            {
                let mut held = ledger.lock();
                held.pts.insert(pts);
                if held.pts.len() > HELD_MAX {
                    held.pts.pop_first();
                }
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// How many pictures were lost before the one that came out with this PTS.
    pub(crate) fn lost_before(&self, pts: gst::ClockTime) -> usize {
        let mut held = self.lock();
        let later = held.pts.split_off(&(pts + gst::ClockTime::NSECOND));
        let taken = std::mem::replace(&mut held.pts, later).len();
        let given = held.unmatched + 1;
        held.unmatched = given.saturating_sub(taken);
        taken.saturating_sub(given)
    }

    /// How many pictures never came out, at the end.
    pub(crate) fn lost_at_end(&self) -> usize {
        std::mem::take(&mut self.lock().pts).len()
    }
}
