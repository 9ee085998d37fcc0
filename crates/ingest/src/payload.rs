//! Samples as they travel through GStreamer.
//!
//! A buffer of caps `application/x-sightglass-samples, version=(int)1` holds one or more records of [`RECORD_BYTES`]
//! bytes, little-endian and without padding:
//!
//! | offset | type | what |
//! | --- | --- | --- |
//! | 0 | u32 | tag, by its position in the plant |
//! | 4 | i64 | capture time, UTC nanoseconds since 1970 |
//! | 12 | f64 | value in the tag's unit; NaN where there is none |
//! | 20 | u8 | [`Quality`] |
//! | 21 | u8 | [`TimeSource`] |
//!
//! The buffer's PTS is the capture time of its first record less the pipeline's base time. Its offset, where a live source
//! sets one, is when the samples arrived, UTC nanoseconds since 1970.

use sightglass_protocol::{Quality, Sample, TagId, TimeSource, UtcNanos};

/// The media type of samples.
pub const SAMPLES_MEDIA_TYPE: &str = "application/x-sightglass-samples";
/// The version of the payload.
pub const SAMPLES_VERSION: i32 = 1;
/// Bytes of one sample.
pub const RECORD_BYTES: usize = 22;

/// A buffer that holds no samples.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Not a whole number of records.
    #[error("{0} bytes are not a whole number of records of {RECORD_BYTES} bytes")]
    Length(usize),
    /// A record with a quality or time source that does not exist.
    #[error("record {0} has an unknown quality or time source")]
    Record(usize),
}

/// The caps of samples.
pub fn samples_caps() -> gst::Caps {
    gst::Caps::builder(SAMPLES_MEDIA_TYPE).field("version", SAMPLES_VERSION).build()
}

/// Notes in a buffer when its samples arrived.
pub fn set_arrival(buffer: &mut gst::BufferRef, arrived: UtcNanos) {
    if let Ok(offset) = u64::try_from(arrived.0) {
        buffer.set_offset(offset);
    }
}

/// When the samples of a buffer arrived, where its source says so.
pub fn arrival(buffer: &gst::BufferRef) -> Option<UtcNanos> {
    // None is all bits set, which is no time either.
    i64::try_from(buffer.offset()).ok().map(UtcNanos)
}

/// The payload of `samples`.
pub fn encode(samples: &[Sample]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(samples.len() * RECORD_BYTES);
    for sample in samples {
        bytes.extend_from_slice(&sample.tag.0.to_le_bytes());
        bytes.extend_from_slice(&sample.time.0.to_le_bytes());
        bytes.extend_from_slice(&sample.value.to_le_bytes());
        bytes.push(sample.quality as u8);
        bytes.push(sample.time_source as u8);
    }
    bytes
}

/// The samples of a payload.
///
/// # Errors
/// When the payload was not made by [`encode`].
pub fn decode(bytes: &[u8]) -> Result<Vec<Sample>, PayloadError> {
    let (records, rest) = bytes.as_chunks::<RECORD_BYTES>();
    if !rest.is_empty() {
        return Err(PayloadError::Length(bytes.len()));
    }
    records.iter().enumerate().map(|(at, record)| decode_record(record).ok_or(PayloadError::Record(at))).collect()
}

fn decode_record(record: &[u8; RECORD_BYTES]) -> Option<Sample> {
    let (tag, rest) = record.split_first_chunk::<4>()?;
    let (time, rest) = rest.split_first_chunk::<8>()?;
    let (value, rest) = rest.split_first_chunk::<8>()?;
    let &[quality, time_source] = rest else { return None };
    let time_source = match time_source {
        0 => TimeSource::Device,
        1 => TimeSource::Payload,
        2 => TimeSource::Arrival,
        _ => return None,
    };
    Some(Sample {
        tag: TagId(u32::from_le_bytes(*tag)),
        time: UtcNanos(i64::from_le_bytes(*time)),
        value: f64::from_le_bytes(*value),
        quality: Quality::from_u8(quality)?,
        time_source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_tells_when_its_samples_arrived_where_that_is_known() {
        gst::init().expect("GStreamer");
        let mut buffer = gst::Buffer::new();
        assert_eq!(arrival(&buffer), None);
        let arrived: UtcNanos = "2026-11-24T08:15:00Z".parse().expect("a time");
        set_arrival(buffer.make_mut(), arrived);
        assert_eq!(arrival(&buffer), Some(arrived));
    }
}
