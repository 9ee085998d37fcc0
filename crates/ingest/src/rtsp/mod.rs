//! Cameras in the network, connected anew whenever they fail.
//!
//! Each connection is a pipeline of its own, from the camera to the model's pictures and the recorder, so that an error, a
//! change of codec or a camera that hangs ends that pipeline and nothing else. A thread opens them one after the other.

mod device_clock;
mod session;

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use sightglass_plant::{Camera, RtspCamera, RtspTransport};
use sightglass_protocol::{Health, HealthState, time::SECOND};

pub(crate) use self::device_clock::DeviceClock;
use self::session::{End, Session};
use crate::{
    camera::CameraTaps,
    live::{Backoff, now},
    picture_tap::{PictureTap, StreamTime},
    record_tap::RecordTap,
    recorder::Recorder,
    watch::Watch,
};

/// A camera that refuses the user is not asked again before: many lock out whoever asks too often.
const REFUSED_WAIT: Duration = Duration::from_secs(60);

/// How often is looked whether pictures come, and the line told to go on where none do.
const LOOK: Duration = Duration::from_millis(200);
/// A picture that comes so long after its capture still belongs to its tick.
const GRACE_NS: i64 = SECOND;

/// Whose pictures are fetched, and who takes them.
pub(crate) struct Subject {
    pub(crate) camera: Camera,
    pub(crate) rtsp: RtspCamera,
    pub(crate) watch: Arc<Watch>,
    pub(crate) recorder: Option<Arc<Recorder>>,
    /// Whether the window wants whole pictures.
    pub(crate) whole: bool,
}

impl Subject {
    fn protocols(&self) -> &'static str {
        match self.rtsp.transport {
            RtspTransport::Tcp => "tcp",
            RtspTransport::Udp => "udp",
        }
    }

    /// What takes the pictures of one connection, whose times are those of `clock`.
    fn taps(&self, clock: &Arc<DeviceClock>) -> CameraTaps {
        let time = StreamTime::of_device(Arc::clone(clock));
        let pictures = PictureTap {
            camera: self.camera.id,
            camera_name: self.camera.name.clone(),
            roi: self.camera.roi,
            time: time.clone(),
            whole: self.whole,
            gaps: false,
        };
        let record = self.recorder.as_ref().map(|recorder| RecordTap {
            recorder: Arc::clone(recorder),
            time,
            lasting: true,
            on_attach: Box::new(|_| {}),
        });
        CameraTaps { pictures, record }
    }

    /// Says that no picture of before a moment ago is to come, so that the line goes on without this camera.
    fn let_pass(&self) {
        self.watch.advance(now() - GRACE_NS);
    }

    /// Waits so long, or until the line stops; meanwhile the line goes on.
    fn wait(&self, stop: &Stop, time: Duration) {
        let until = Instant::now() + time;
        while !stop.is_set() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.let_pass();
            stop.wait(left.min(LOOK));
        }
    }

    fn tell(&self, state: HealthState, reason: String) {
        let health = Health { subject: None, source: self.camera.name.clone(), state, since: now(), reason };
        // Refused only when the line is being stopped, which the thread sees by itself.
        let _stopping = self.watch.tell(health);
    }
}

/// Says that the line stops.
#[derive(Default)]
pub(crate) struct Stop {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    fn is_set(&self) -> bool {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self) {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits so long, or until the line stops.
    fn wait(&self, time: Duration) {
        let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout_while(set, time, |set| !*set));
    }
}

/// A camera that is being fetched from. Dropping it ends that.
pub(crate) struct Connection {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Connection {
    pub(crate) fn start(subject: Subject) -> std::io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let until = Arc::clone(&stop);
        let name = format!("camera {}", subject.camera.name);
        let thread = std::thread::Builder::new().name(name).spawn(move || keep_connected(&subject, &until))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.stop.set();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of a camera panicked");
        }
    }
}

fn keep_connected(subject: &Subject, stop: &Stop) {
    let mut backoff = Backoff::default();
    let mut told: Option<String> = None;
    while !stop.is_set() {
        let end = match Session::open(subject) {
            Ok(session) => {
                let on_picture = || {
                    backoff.reset();
                    if told.take().is_some() {
                        subject.tell(HealthState::Good, "delivers pictures again".to_owned());
                    }
                };
                let on_clock = |clock| subject.tell(HealthState::Good, clock);
                session.follow(stop, on_picture, on_clock)
            }
            Err(error) => End::Failed(error.to_string()),
        };
        if let Some(recorder) = &subject.recorder {
            recorder.pause();
        }
        let (reason, wait) = match end {
            End::Stopped => break,
            End::Failed(reason) => (reason, backoff.next()),
            End::Refused(reason) => (reason, REFUSED_WAIT),
        };
        // The same reason is told once, not at each try.
        if told.as_ref() != Some(&reason) {
            subject.tell(HealthState::Failure, reason.clone());
            told = Some(reason);
        }
        subject.wait(stop, wait);
    }
}
