//! Writes pictures to a video file: JPEG pictures in Matroska, as a camera of its own could have sent them.

use std::path::{Path, PathBuf};

use sightglass_protocol::{Frame, UtcNanos};

use crate::{
    IngestError,
    camera::JPEG_ENCODER,
    elements::init,
    feeding::{rgb_buffer, rgb_caps},
    matroska::{Layout, MatroskaWriter},
};

/// A video file that is being written. Dropping it leaves a file without index; [`VideoWriter::finish`] makes it whole.
pub struct VideoWriter {
    path: PathBuf,
    writer: MatroskaWriter,
    size: (u32, u32),
    start: Option<UtcNanos>,
    last: Option<UtcNanos>,
}

/// Begins a video at `path` (an existing file is replaced) of pictures of this size. `fps` goes into the file's header;
/// a picture's time is that of its capture, counted from the first one.
///
/// # Errors
/// When the file cannot be created or GStreamer lacks `jpegenc` or `matroskamux`.
pub fn write_video(path: &Path, fps: f64, width: u32, height: u32) -> Result<VideoWriter, IngestError> {
    init()?;
    std::fs::File::create(path).map_err(|error| IngestError::video(path, error))?;
    let rate = gst::Fraction::approximate_f64(fps).unwrap_or_else(|| gst::Fraction::new(0, 1));
    let writer = MatroskaWriter::create(path, &rgb_caps(width, height, rate), JPEG_ENCODER, Layout::Indexed)?;
    Ok(VideoWriter { path: path.to_owned(), writer, size: (width, height), start: None, last: None })
}

impl VideoWriter {
    /// Adds a picture, later than the one before it.
    ///
    /// # Errors
    /// When the picture has another size, goes back in time, or the disk does not take it.
    pub fn push(&mut self, frame: &Frame) -> Result<(), IngestError> {
        let error = |reason: String| IngestError::video(&self.path, reason);
        if (frame.width, frame.height) != self.size {
            return Err(error(format!(
                "a picture of {} x {} does not fit the video's size",
                frame.width, frame.height
            )));
        }
        if self.last.is_some_and(|last| frame.time <= last) {
            return Err(error(format!("the picture at {} is not later than the one before it", frame.time)));
        }
        let buffer = rgb_buffer(frame);
        let mut buffer = buffer.ok_or_else(|| error("the picture's pixels do not fit its size".to_owned()))?;
        let start = *self.start.get_or_insert(frame.time);
        self.last = Some(frame.time);
        let offset_ns = u64::try_from(frame.time.since(start)).unwrap_or(0);
        buffer.make_mut().set_pts(gst::ClockTime::from_nseconds(offset_ns));
        self.writer.push(buffer)
    }

    /// Writes what is left and the index. Gives the file's size in bytes.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn finish(self) -> Result<u64, IngestError> {
        self.writer.close()
    }
}
