//! Keeps a camera's video as it was sent, in segments.
//!
//! A segment is a Matroska file of its own, begins with a key picture, and counts its time from 0: the capture time of
//! that picture, which is also its name. Nothing is encoded again. Pictures reach the operating system one by one, so a
//! killed engine leaves a readable file.

use std::{
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc::SyncSender},
    time::Duration,
};

use sightglass_protocol::{CameraId, Health, HealthState, Segment, Subject, UtcNanos};

use crate::{
    IngestError, IngestEvent, RecordOptions,
    matroska::{Layout, MatroskaWriter},
};

/// Files of one camera that begin at the same nanosecond (the same recording replayed into the same folder).
const SAME_START_MAX: usize = 1000;

/// Pictures that are written after an error until the recording counts as well again: an error shows a picture late.
const RECOVERED_PICTURES: u32 = 15;

pub(crate) struct Recorder {
    options: RecordOptions,
    camera: CameraId,
    camera_name: String,
    events: SyncSender<IngestEvent>,
    state: Mutex<State>,
    closed: Condvar,
}

#[derive(Default)]
struct State {
    segment: Option<OpenSegment>,
    /// After an error, no file is begun before this.
    retry_at: Option<UtcNanos>,
    /// Whether the last word was that nothing is recorded.
    failing: bool,
    closed: bool,
}

struct OpenSegment {
    writer: MatroskaWriter,
    caps: gst::Caps,
    segment: Segment,
}

impl Recorder {
    pub(crate) fn new(
        options: RecordOptions,
        camera: CameraId,
        camera_name: String,
        events: SyncSender<IngestEvent>,
    ) -> Self {
        Self { options, camera, camera_name, events, state: Mutex::default(), closed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps one encoded picture that was captured at `time`. An error is told as health; the camera goes on.
    pub(crate) fn push(&self, time: UtcNanos, caps: &gst::CapsRef, buffer: &gst::BufferRef) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let is_key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let is_full = state.segment.as_ref().is_some_and(|open| {
            time.since(open.segment.start) >= self.options.segment_ns || open.caps.as_ref() != caps
        });
        if is_key && is_full {
            self.close_segment(&mut state);
        }
        if state.segment.is_none() {
            // Without a key picture a file could not be read.
            if !is_key || state.retry_at.is_some_and(|retry| time < retry) {
                return;
            }
            match self.open_segment(time, caps) {
                Ok(open) => {
                    self.send(IngestEvent::SegmentOpened(open.segment.clone()));
                    state.segment = Some(open);
                }
                Err(error) => return self.fail(&mut state, time, &error),
            }
        }
        let Some(open) = &mut state.segment else { return };
        let offset_ns = u64::try_from(time.since(open.segment.start)).unwrap_or(0);
        let mut copy = buffer.to_owned();
        {
            let copy = copy.make_mut();
            copy.set_pts(gst::ClockTime::from_nseconds(offset_ns));
            copy.set_dts(None);
        }
        match open.writer.push(copy) {
            Ok(()) => {
                open.segment.frames += 1;
                open.segment.end = open.segment.end.max(Some(time));
            }
            Err(error) => {
                if let Some(OpenSegment { writer, segment, .. }) = state.segment.take() {
                    drop(writer);
                    self.discard_empty(&segment);
                }
                self.fail(&mut state, time, &error);
                return;
            }
        }
        if state.failing && state.segment.as_ref().is_some_and(|open| open.segment.frames >= RECOVERED_PICTURES) {
            state.failing = false;
            self.tell(HealthState::Good, time, "video is recorded again".to_owned());
        }
    }

    /// A file into which nothing could be written would only be clutter.
    fn discard_empty(&self, segment: &Segment) {
        let path = self.options.dir.join(&segment.path);
        if path.metadata().is_ok_and(|file| file.len() == 0)
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::warn!("the empty file {} cannot be removed: {error}", path.display());
        }
    }

    /// Ends the segment: the camera is gone, and may come back.
    pub(crate) fn pause(&self) {
        self.close_segment(&mut self.lock());
    }

    /// Ends the recording: the camera has ended.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.closed, true) {
            self.close_segment(&mut state);
        }
        self.closed.notify_all();
    }

    /// Waits for the camera's own end, at most `wait_max`, and closes otherwise.
    pub(crate) fn close_within(&self, wait_max: Duration) {
        let state = self.lock();
        let waited = self.closed.wait_timeout_while(state, wait_max, |state| !state.closed);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.close();
    }

    fn open_segment(&self, start: UtcNanos, caps: &gst::CapsRef) -> Result<OpenSegment, IngestError> {
        let folder = segment_folder(&self.camera_name);
        let dir = self.options.dir.join(&folder);
        std::fs::create_dir_all(&dir).map_err(|error| IngestError::video(&dir, error))?;
        let (path, name) = free_name(&dir, start)?;
        let caps = caps.to_owned();
        let writer = MatroskaWriter::create(&path, &caps, "", Layout::Streamed)?;
        let segment =
            Segment { camera: self.camera, path: format!("{folder}/{name}"), start, end: None, frames: 0, bytes: 0 };
        Ok(OpenSegment { writer, caps, segment })
    }

    fn close_segment(&self, state: &mut State) {
        let Some(OpenSegment { writer, mut segment, .. }) = state.segment.take() else { return };
        match writer.close() {
            Ok(bytes) => {
                segment.bytes = bytes;
                self.send(IngestEvent::SegmentClosed(segment));
            }
            Err(error) => self.fail(state, segment.end.unwrap_or(segment.start), &error),
        }
    }

    fn fail(&self, state: &mut State, time: UtcNanos, error: &IngestError) {
        state.retry_at = Some(time + self.options.segment_ns);
        state.failing = true;
        let reason = format!("video is not recorded: {error}; check the disk's space and permissions");
        self.tell(HealthState::Failure, time, reason);
    }

    fn tell(&self, state: HealthState, since: UtcNanos, reason: String) {
        let (subject, source) = (Some(Subject::Camera(self.camera)), format!("{} (recording)", self.camera_name));
        self.send(IngestEvent::Health(Health { subject, source, state, since, reason }));
    }

    fn send(&self, event: IngestEvent) {
        if self.events.send(event).is_err() {
            tracing::debug!(camera = self.camera_name, "nobody reads the events any more");
        }
    }
}

/// The folder of a camera's segments, relative to the data folder. Different names give different folders.
fn segment_folder(camera_name: &str) -> String {
    let mut folder = String::from("video/");
    for (at, byte) in camera_name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => folder.push(char::from(byte)),
            b'.' | b' ' if at > 0 => folder.push(char::from(byte)),
            _ => folder.push_str(&format!("%{byte:02X}")),
        }
    }
    folder
}

/// A name of no existing file: a recording is never overwritten.
fn free_name(dir: &Path, start: UtcNanos) -> Result<(PathBuf, String), IngestError> {
    let time = start.to_string().replace(':', "-");
    for count in 1..=SAME_START_MAX {
        let name = if count == 1 { format!("{time}.mkv") } else { format!("{time}-{count}.mkv") };
        let path = dir.join(&name);
        if !path.exists() {
            return Ok((path, name));
        }
    }
    Err(IngestError::video(dir, format!("already holds {SAME_START_MAX} recordings that begin at {start}")))
}
