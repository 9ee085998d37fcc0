//! One camera: its pictures in, its state out.

use std::collections::VecDeque;

use sightglass_protocol::{CameraId, CameraReading, Frame, HealthState, UtcNanos, time::SECOND};

use super::{
    LineNow,
    cause::Finding,
    exposure::Exposure,
    picture_stream::PictureStream,
    scene::Scene,
    standing::{Change, Standing},
    still::Still,
};

/// Pictures that wait for their tick; of more, the oldest are looked at before it.
const WAITING_MAX: usize = 256;
/// A state is left when its cause is gone for so long.
const HOLD_NS: i64 = 3 * SECOND;

/// What must be known of a camera.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraHealthSettings {
    /// Its identity.
    pub camera: CameraId,
    /// Its name.
    pub name: String,
    /// Pictures a second, as its description says.
    pub fps: f64,
}

/// The health of one camera.
#[derive(Clone, Debug)]
pub(super) struct CameraHealth {
    settings: CameraHealthSettings,
    waiting: VecDeque<(Frame, (u32, u32))>,
    last: Option<UtcNanos>,
    grey: Vec<u8>,
    stream: PictureStream,
    exposure: Exposure,
    still: Still,
    scene: Scene,
    standing: Standing,
    /// What was last told of it.
    told: Option<Change>,
}

impl CameraHealth {
    pub(super) fn new(settings: CameraHealthSettings, tick_ns: i64) -> Self {
        Self {
            waiting: VecDeque::new(),
            last: None,
            grey: Vec::new(),
            stream: PictureStream::new(settings.fps, tick_ns),
            exposure: Exposure::default(),
            still: Still::new(),
            scene: Scene::new(),
            standing: Standing::new(HOLD_NS),
            told: None,
            settings,
        }
    }

    pub(super) fn settings(&self) -> &CameraHealthSettings {
        &self.settings
    }

    /// A picture came, as the model sees it; `size` is that of the whole picture. It is looked at when its tick comes.
    pub(super) fn arrived(&mut self, frame: Frame, size: (u32, u32), line: &LineNow) {
        if self.waiting.len() >= WAITING_MAX
            && let Some((oldest, size)) = self.waiting.pop_front()
        {
            self.look_at(&oldest, size, line);
        }
        let at = self.waiting.partition_point(|(other, _)| other.time <= frame.time);
        self.waiting.insert(at, (frame, size));
    }

    /// Looks at everything up to the tick `now`.
    pub(super) fn advance(&mut self, now: UtcNanos, line: &LineNow) {
        while let Some((frame, size)) = self.waiting.pop_front_if(|(frame, _)| frame.time <= now) {
            self.look_at(&frame, size, line);
        }
    }

    fn look_at(&mut self, frame: &Frame, size: (u32, u32), line: &LineNow) {
        let time = frame.time;
        if self.last.is_some_and(|last| time <= last) {
            return;
        }
        self.last = Some(time);
        self.stream.take(time, size);
        self.still.take(time, &frame.pixels, line.stands);
        let (rgb, _) = frame.pixels.as_chunks::<3>();
        self.grey.clear();
        // BT.601's weights, in 256ths.
        let grey = |[r, g, b]: [u8; 3]| ((u32::from(r) * 77 + u32::from(g) * 150 + u32::from(b) * 29) >> 8) as u8;
        self.grey.extend(rgb.iter().map(|rgb| grey(*rgb)));
        if self.exposure.take(time, &frame.pixels, &self.grey) {
            self.scene.take(time, &self.grey);
        } else {
            self.scene.interrupt(time);
        }
    }

    /// The state at the tick `now`, where it changes. Marks the reading where it is not to be used.
    pub(super) fn judge(&mut self, now: UtcNanos, reading: &mut CameraReading) -> Option<Change> {
        let found = self.find(now);
        let change = self.standing.take(now, found);
        if let Some(cause) = self.standing.cause() {
            reading.quality = reading.quality.max(cause.quality());
        }
        if let Some(change) = &change {
            self.told = Some(change.clone());
        }
        change
    }

    fn find(&mut self, now: UtcNanos) -> Option<Finding> {
        let stream = self.stream.findings(now);
        let exposure = self.exposure.findings(now);
        let still = self.still.finding(now);
        let findings = stream.into_iter().chain(exposure).chain(self.scene.findings()).chain([still]);
        findings.flatten().min_by_key(|finding| finding.cause)
    }

    /// What stands, where it is worse than `state`: the data says so, whatever the source says of itself.
    pub(super) fn worse_than(&self, state: HealthState) -> Option<&Change> {
        self.told.as_ref().filter(|told| told.state > state && self.standing.cause().is_some())
    }
}
