//! The bytes that every stored format is made of: variable-length integers, pco columns, run-length flags, and a reader
//! that never trusts what it reads.

use pco::{
    ChunkConfig,
    data_types::Number,
    standalone::{simple_compress, simple_decompress_into},
};

/// Bytes that are not what they should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("ends too early")]
    Short,
    #[error("has {0} bytes too many")]
    Long(usize),
    #[error("has the format version {0}, which this program does not know")]
    Version(u8),
    #[error("does not decompress: {0}")]
    Pco(String),
    #[error("{0}")]
    Invalid(&'static str),
}

/// The most values that a stored column may claim to have: a guard against a damaged count, far above any real one.
pub(crate) const COLUMN_VALUES_MAX: usize = 1 << 26;

/// Compression of what is merged later: fast.
pub(crate) const LEVEL_BATCH: usize = 4;
/// Compression of what stays.
pub(crate) const LEVEL_CHUNK: usize = 8;

/// Columns shorter than this are stored as they are: pco's own header would outweigh its gain.
const PLAIN_VALUES_MAX: usize = 8;

/// A fixed-size number in little-endian bytes.
pub(crate) trait Plain: Number + Default {
    const BYTES: usize;
    fn put(self, out: &mut Vec<u8>);
    fn get(bytes: &[u8]) -> Self;
}

macro_rules! plain {
    ($($type:ty),*) => {$(
        impl Plain for $type {
            const BYTES: usize = size_of::<$type>();
            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn get(bytes: &[u8]) -> Self {
                let mut array = [0; size_of::<$type>()];
                array.copy_from_slice(bytes);
                Self::from_le_bytes(array)
            }
        }
    )*};
}
plain!(u32, i64, f32, f64);

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes a column: a length in bytes, then pco standalone; or length 0, then the values as they are.
pub(crate) fn put_column<T: Plain>(out: &mut Vec<u8>, values: &[T], level: usize) {
    if values.len() > PLAIN_VALUES_MAX {
        let config = ChunkConfig::default().with_compression_level(level);
        // pco refuses only configurations and counts that no caller here can give; plain bytes are right regardless.
        if let Ok(bytes) = simple_compress(values, &config) {
            put_varint(out, bytes.len() as u64);
            out.extend_from_slice(&bytes);
            return;
        }
    }
    put_varint(out, 0);
    for &value in values {
        value.put(out);
    }
}

/// Writes one byte a value as runs of (byte, length).
pub(crate) fn put_runs(out: &mut Vec<u8>, values: &[u8]) {
    for run in values.chunk_by(|a, b| a == b) {
        out.push(run[0]);
        put_varint(out, run.len() as u64);
    }
}

/// A float column; whole numbers (counts, booleans, modes) are stored as integers. One byte says which.
pub(crate) fn put_values(out: &mut Vec<u8>, values: &[f64], level: usize) {
    let mut whole = Vec::with_capacity(values.len());
    for &value in values {
        let integer = value as i64;
        // Bit equality keeps -0.0, NaN and everything beyond 2^53 out.
        if integer.unsigned_abs() > 1 << 53 || (integer as f64).to_bits() != value.to_bits() {
            break;
        }
        whole.push(integer);
    }
    if whole.len() == values.len() {
        out.push(1);
        put_column(out, &whole, level);
    } else {
        out.push(0);
        put_column(out, values, level);
    }
}

/// Reads what the functions above wrote.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], CodecError> {
        let (head, tail) = self.bytes.split_at_checked(count).ok_or(CodecError::Short)?;
        self.bytes = tail;
        Ok(head)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, CodecError> {
        Ok(self.take(1)?[0])
    }

    /// The format's version, which must be `known`.
    pub(crate) fn version(&mut self, known: u8) -> Result<(), CodecError> {
        let found = self.byte()?;
        if found == known { Ok(()) } else { Err(CodecError::Version(found)) }
    }

    pub(crate) fn varint(&mut self) -> Result<u64, CodecError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(CodecError::Invalid("a number has too many bytes"))
    }

    /// A count of things.
    pub(crate) fn count(&mut self) -> Result<usize, CodecError> {
        let count = self.varint()?;
        if count > COLUMN_VALUES_MAX as u64 {
            return Err(CodecError::Invalid("a count is absurdly large"));
        }
        Ok(count as usize)
    }

    pub(crate) fn column<T: Plain>(&mut self, count: usize) -> Result<Vec<T>, CodecError> {
        let length = self.varint()? as usize;
        if length == 0 {
            return Ok(self.take(count * T::BYTES)?.chunks_exact(T::BYTES).map(T::get).collect());
        }
        let bytes = self.take(length)?;
        let mut values = vec![T::default(); count];
        let progress =
            simple_decompress_into(bytes, &mut values).map_err(|error| CodecError::Pco(error.to_string()))?;
        if progress.n_processed != count || !progress.finished {
            return Err(CodecError::Invalid("a column does not have its count"));
        }
        Ok(values)
    }

    pub(crate) fn runs(&mut self, count: usize) -> Result<Vec<u8>, CodecError> {
        let mut values = Vec::with_capacity(count);
        while values.len() < count {
            let value = self.byte()?;
            let length = self.count()?;
            if length == 0 || values.len() + length > count {
                return Err(CodecError::Invalid("a run does not fit its count"));
            }
            values.resize(values.len() + length, value);
        }
        Ok(values)
    }

    pub(crate) fn values(&mut self, count: usize) -> Result<Vec<f64>, CodecError> {
        match self.byte()? {
            0 => self.column(count),
            1 => Ok(self.column::<i64>(count)?.into_iter().map(|value| value as f64).collect()),
            _ => Err(CodecError::Invalid("an unknown kind of value column")),
        }
    }

    pub(crate) fn end(self) -> Result<(), CodecError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(CodecError::Long(self.bytes.len())) }
    }
}

/// CRC-32C over a row's key columns and its body.
pub(crate) fn row_crc(keys: &[i64], bodies: &[&[u8]]) -> i64 {
    let mut crc = 0;
    for key in keys {
        crc = crc32c::crc32c_append(crc, &key.to_le_bytes());
    }
    for body in bodies {
        crc = crc32c::crc32c_append(crc, body);
    }
    i64::from(crc)
}
