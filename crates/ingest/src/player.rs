//! The picture at any time, quickly: for a cursor that is dragged through a recording, and for single steps.
//!
//! A picture needs all pictures since the last key picture decoded. That group stays open afterwards: what was decoded
//! of it is kept, and its decoder goes on where it stood, so that the next picture costs one decoding and the one before
//! none. Only the picture that is asked for is brought into RGB.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use gst::prelude::*;
use gst_video::prelude::*;
use sightglass_protocol::{CameraId, Frame, UtcNanos};

use crate::{
    IngestError,
    picture::RgbView,
    playback::{self, EncodedGroup, Pictures, offset_of},
};

/// Groups that stay open: one for each of some cameras that are looked at together.
pub const GROUPS_OPEN_MAX: usize = 4;
/// Bytes of decoded pictures that one group keeps (30 pictures of 1920x1080).
pub const GROUP_BYTES_MAX: usize = 96 << 20;

/// Keeps the last groups of pictures open. Any number of threads may ask; one is answered at a time.
#[derive(Default)]
pub struct Player {
    /// Most recently used last.
    groups: Mutex<Vec<Group>>,
}

impl Player {
    /// The newest picture at or before `offset_ns` from the file's beginning, and its own offset; `None` where the file
    /// begins later. What [`playback::picture_at`] gives, sooner. Of a damaged file, what is before the damage.
    ///
    /// # Errors
    /// When the file cannot be opened or holds no video that this PC can decode.
    pub fn picture_at(&self, path: &Path, offset_ns: i64) -> Result<Option<(Frame, i64)>, IngestError> {
        let mut groups = self.lock();
        let Some(group) = open_group(&mut groups, path, offset_ns)? else { return Ok(None) };
        let found = group.picture_at(offset_ns);
        if found.is_err() {
            groups.pop();
        }
        found
    }

    /// The picture that follows the one at `offset_ns`, and its offset; `None` after the last one.
    ///
    /// # Errors
    /// As [`Player::picture_at`].
    pub fn picture_after(&self, path: &Path, offset_ns: i64) -> Result<Option<(Frame, i64)>, IngestError> {
        // A file's time begins at its first picture.
        if offset_ns < 0 {
            return self.picture_at(path, 0);
        }
        let next = {
            let mut groups = self.lock();
            let Some(group) = open_group(&mut groups, path, offset_ns)? else { return Ok(None) };
            let found = group.offset_after(offset_ns).or(group.to);
            found.filter(|&next| next > offset_ns)
        };
        match next {
            Some(next) => self.picture_at(path, next),
            None => Ok(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Group>> {
        // What a panic left half-done is taken out before it is used: see `open_group`.
        self.groups.lock().unwrap_or_else(|poisoned| {
            self.groups.clear_poison();
            let mut groups = PoisonError::into_inner(poisoned);
            groups.clear();
            groups
        })
    }
}

/// The group that holds the picture, opened if need be: the last of `groups` afterwards.
fn open_group<'a>(
    groups: &'a mut Vec<Group>,
    path: &Path,
    offset_ns: i64,
) -> Result<Option<&'a mut Group>, IngestError> {
    let file = std::fs::metadata(path).map_err(|error| IngestError::video(path, error))?;
    // Where a system does not tell when a file changed, its length has to do.
    let read = (file.len(), file.modified().ok());
    let known = groups.iter().position(|group| group.holds(path, read, offset_ns));
    let group = match known {
        Some(known) => groups.remove(known),
        None => {
            let Some(encoded) = playback::group_around(path, offset_ns)? else { return Ok(None) };
            Group::open(path, read, encoded)?
        }
    };
    if groups.len() >= GROUPS_OPEN_MAX {
        groups.remove(0);
    }
    groups.push(group);
    Ok(groups.last_mut())
}

/// A key picture and those up to the next one.
struct Group {
    path: PathBuf,
    /// The file's length and last change when it was read.
    read: (u64, Option<SystemTime>),
    from: i64,
    /// Where the next group begins; `None` for the last one of the file.
    to: Option<i64>,
    /// Of all its pictures, in time order.
    offsets: Vec<i64>,
    decoder: Pictures,
    /// Pictures that came out of the decoder, oldest first.
    decoded: Vec<(i64, gst::Sample)>,
    /// Whether pictures were let go of, from the front.
    is_trimmed: bool,
    is_ended: bool,
    bytes: usize,
}

impl Group {
    fn open(path: &Path, read: (u64, Option<SystemTime>), encoded: EncodedGroup) -> Result<Self, IngestError> {
        let source = gst_app::AppSrc::builder()
            .caps(&encoded.caps)
            .format(gst::Format::Time)
            .stream_type(gst_app::AppStreamType::Stream)
            .max_bytes(0)
            .build();
        let decoder = Pictures::decode_raw(path, source.upcast_ref())?;
        let offset = |picture: &gst::Buffer| picture.pts().and_then(|pts| i64::try_from(pts.nseconds()).ok());
        let mut offsets: Vec<i64> = encoded.pictures.iter().filter_map(offset).collect();
        offsets.sort_unstable();
        for buffer in encoded.pictures {
            source.push_buffer(buffer).map_err(|flow| IngestError::video(path, flow))?;
        }
        source.end_of_stream().map_err(|flow| IngestError::video(path, flow))?;
        Ok(Self {
            path: path.to_owned(),
            read,
            from: encoded.from,
            to: encoded.to,
            offsets,
            decoder,
            decoded: Vec::new(),
            is_trimmed: false,
            is_ended: false,
            bytes: 0,
        })
    }

    fn holds(&self, path: &Path, read: (u64, Option<SystemTime>), offset_ns: i64) -> bool {
        let first = match self.decoded.first() {
            Some((first, _)) if self.is_trimmed => *first,
            _ => self.from,
        };
        // A file that is being written grows, which changes nothing in a group that has its end.
        let is_same = self.read == read || (self.to.is_some() && self.read.0 < read.0);
        self.path == path && is_same && first <= offset_ns && self.to.is_none_or(|to| offset_ns < to)
    }

    /// Decodes up to the newest picture at or before `offset_ns`, and not one further.
    fn advance(&mut self, offset_ns: i64) -> Result<(), IngestError> {
        let newest = self.offsets[..self.offsets.partition_point(|&offset| offset <= offset_ns)].last();
        let newest = newest.copied().unwrap_or(self.from);
        while !self.is_ended && self.decoded.last().is_none_or(|(last, _)| *last < newest) {
            match self.decoder.next_sample() {
                Ok(Some(sample)) => {
                    let Some(offset) = offset_of(&sample) else { continue };
                    self.bytes += sample.buffer().map_or(0, gst::BufferRef::size);
                    self.decoded.push((offset, sample));
                    while self.bytes > GROUP_BYTES_MAX && self.decoded.len() > 1 {
                        let (_, oldest) = self.decoded.remove(0);
                        self.bytes -= oldest.buffer().map_or(0, gst::BufferRef::size);
                        self.is_trimmed = true;
                    }
                }
                Ok(None) => self.is_ended = true,
                // What is before the damage can be shown.
                Err(error) if !self.decoded.is_empty() => {
                    tracing::warn!("the rest of a group of pictures is a gap: {error}");
                    self.is_ended = true;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn picture_at(&mut self, offset_ns: i64) -> Result<Option<(Frame, i64)>, IngestError> {
        self.advance(offset_ns)?;
        let found = self.decoded.iter().rev().find(|(offset, _)| *offset <= offset_ns);
        let Some((offset, sample)) = found else { return Ok(None) };
        let frame =
            rgb(sample).ok_or_else(|| IngestError::video(&self.path, "a picture cannot be brought into RGB"))?;
        Ok(Some((Frame { time: UtcNanos(*offset), ..frame }, *offset)))
    }

    fn offset_after(&self, offset_ns: i64) -> Option<i64> {
        self.offsets.iter().copied().find(|offset| *offset > offset_ns)
    }
}

/// A decoded picture of any format as RGB.
fn rgb(sample: &gst::Sample) -> Option<Frame> {
    let info = gst_video::VideoInfo::from_caps(sample.caps()?).ok()?;
    // All but the format is as it was: a converter changes nothing else.
    let wanted = gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, info.width(), info.height())
        .fps(info.fps())
        .par(info.par())
        .interlace_mode(info.interlace_mode())
        .build()
        .ok()?;
    let converter = gst_video::VideoConverter::new(&info, &wanted, None).ok()?;
    let source = gst_video::VideoFrameRef::from_buffer_ref_readable(sample.buffer()?, &info).ok()?;
    let mut target = gst::Buffer::with_size(wanted.size()).ok()?;
    {
        let target = target.get_mut()?;
        let mut target = gst_video::VideoFrameRef::from_buffer_ref_writable(target, &wanted).ok()?;
        converter.frame_ref(&source, &mut target);
    }
    let target = gst_video::VideoFrameRef::from_buffer_ref_readable(target.as_ref(), &wanted).ok()?;
    let view = RgbView {
        bytes: target.plane_data(0).ok()?,
        width: target.width(),
        height: target.height(),
        stride: usize::try_from(target.plane_stride()[0]).ok()?,
    };
    Some(Frame {
        camera: CameraId(0),
        time: UtcNanos(0),
        width: view.width,
        height: view.height,
        pixels: view.packed(),
    })
}
