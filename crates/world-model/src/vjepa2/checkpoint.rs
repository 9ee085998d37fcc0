//! Weights where they lie: mapped files, read when they are multiplied with.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::error::Vjepa2Error;
use crate::kernels::Rows;

/// A sharded checkpoint has at most this many files.
const FILES_MAX: usize = 1024;
/// Values that are looked at at once.
const PIECE: usize = 1024;
/// As many names of tensors are given in an error.
const NAMES_MAX: usize = 3;

/// How the numbers of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    F32,
    F16,
    Bf16,
}

impl Format {
    fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// A float of 16 bits (IEEE 754 binary16) in 32.
#[inline(always)]
fn from_f16(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff);
    // The exponent moves from bias 15 to bias 127 by a multiplication, which makes small numbers normal as well.
    let scaled = f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23);
    let value = if magnitude >= 0x7c00 { f32::from_bits(magnitude << 13 | 0x7f80_0000) } else { scaled };
    f32::from_bits(value.to_bits() | u32::from(bits & 0x8000) << 16)
}

struct Shard {
    path: PathBuf,
    map: Mmap,
}

impl Shard {
    #[expect(unsafe_code, reason = "a mapped file can be changed under the program, which no check here could notice")]
    fn open(path: &Path) -> Result<Self, Vjepa2Error> {
        let file = File::open(path).map_err(Vjepa2Error::io(path))?;
        let length = file.metadata().map_err(Vjepa2Error::io(path))?.len();
        if length == 0 {
            return Err(Vjepa2Error::weights(path, "the file is empty; download it again"));
        }
        // SAFETY: the bytes are only ever read as plain numbers, any pattern of which is valid, so that another program
        // that writes to the file could make them wrong but not unsound; checkpoints are files that nothing writes to.
        let map = unsafe { Mmap::map(&file) }.map_err(Vjepa2Error::io(path))?;
        Ok(Self { path: path.to_owned(), map })
    }
}

/// A tensor in a mapped file; cheap to clone.
#[derive(Clone)]
pub(super) struct Stored {
    shard: Arc<Shard>,
    format: Format,
    shape: Vec<usize>,
    start: usize,
}

impl Stored {
    pub(super) fn count(&self) -> usize {
        self.shape.iter().product()
    }

    fn read_at(&self, first: usize, out: &mut [f32]) {
        let size = self.format.bytes();
        let start = self.start + first * size;
        let bytes = &self.shard.map[start..start + out.len() * size];
        match self.format {
            Format::F32 => {
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *out = f32::from_le_bytes(*bytes);
                }
            }
            Format::F16 => {
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *out = from_f16(u16::from_le_bytes(*bytes));
                }
            }
            Format::Bf16 => {
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *out = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
                }
            }
        }
    }

    /// The first value that is no number, and where.
    fn first_not_finite(&self) -> Option<(usize, f32)> {
        let mut piece = [0f32; PIECE];
        (0..self.count()).step_by(PIECE).find_map(|first| {
            let piece = &mut piece[..PIECE.min(self.count() - first)];
            self.read_at(first, piece);
            piece.iter().position(|v| !v.is_finite()).map(|at| (first + at, piece[at]))
        })
    }

    /// All values.
    pub(super) fn values(&self) -> Vec<f32> {
        let mut out = vec![0f32; self.count()];
        self.read_at(0, &mut out);
        out
    }

    /// A copy as a tensor of `f32`.
    pub(super) fn tensor(&self, device: &Device) -> candle_core::Result<Tensor> {
        Tensor::from_vec(self.values(), self.shape.as_slice(), device)
    }
}

/// As a matrix: the first dimension by all others.
impl Rows for Stored {
    fn rows(&self) -> usize {
        self.shape[0]
    }

    fn columns(&self) -> usize {
        self.shape[1..].iter().product()
    }

    fn read(&self, row: usize, column: usize, out: &mut [f32]) {
        self.read_at(row * self.columns() + column, out);
    }
}

/// All tensors of a checkpoint.
pub(super) struct Checkpoint {
    path: PathBuf,
    tensors: BTreeMap<String, Stored>,
}

impl Checkpoint {
    /// Opens one file, or the files that an index names.
    pub(super) fn open(path: &Path) -> Result<Self, Vjepa2Error> {
        let mut checkpoint = Self { path: path.to_owned(), tensors: BTreeMap::new() };
        if path.extension().is_some_and(|extension| extension == "json") {
            for (file, names) in shards(path)? {
                let found = checkpoint.add(&file)?;
                if let Some(name) = names.iter().find(|name| !found.contains(name)) {
                    let reason = format!("the tensor '{name}' is missing, which {} says is here", path.display());
                    return Err(Vjepa2Error::weights(&file, reason));
                }
            }
        } else {
            checkpoint.add(path)?;
        }
        Ok(checkpoint)
    }

    /// Adds a file's tensors and gives their names.
    fn add(&mut self, path: &Path) -> Result<Vec<String>, Vjepa2Error> {
        let shard = Arc::new(Shard::open(path)?);
        let broken = |error: safetensors::SafeTensorError| {
            let length = shard.map.len();
            let reason =
                format!("damaged, cut off, or no safetensors file ({error}; {length} bytes); download it again");
            Vjepa2Error::weights(path, reason)
        };
        // Checks that the tensors fill the file to its end.
        SafeTensors::deserialize(&shard.map).map_err(broken)?;
        let (header, metadata) = SafeTensors::read_metadata(&shard.map).map_err(broken)?;
        let mut names = Vec::new();
        for (name, info) in metadata.tensors() {
            let Some(format) = Format::of(info.dtype) else {
                let reason = format!(
                    "the tensor '{name}' has numbers of type {:?}; F32, F16 and BF16 are read, so convert it to one of them",
                    info.dtype
                );
                return Err(Vjepa2Error::weights(path, reason));
            };
            let start = 8 + header + info.data_offsets.0;
            let stored = Stored { shard: shard.clone(), format, shape: info.shape.clone(), start };
            if let Some(other) = self.tensors.insert(name.clone(), stored) {
                let reason = format!("the tensor '{name}' is also in {}", other.shard.path.display());
                return Err(Vjepa2Error::weights(path, reason));
            }
            names.push(name);
        }
        Ok(names)
    }

    /// Checks that there are exactly these tensors, and that every value is a number.
    pub(super) fn check(&self, expected: &BTreeMap<String, Vec<usize>>) -> Result<(), Vjepa2Error> {
        let wrong = |reason: String| Err(Vjepa2Error::weights(&self.path, reason));
        let missing: Vec<&str> =
            expected.keys().filter(|name| !self.tensors.contains_key(*name)).map(String::as_str).collect();
        let unknown: Vec<&str> =
            self.tensors.keys().filter(|name| !expected.contains_key(*name)).map(String::as_str).collect();
        if !missing.is_empty() {
            let mut reason = listed(&missing, "is missing", "are missing");
            if !unknown.is_empty() {
                reason = format!("{reason}, and {}", listed(&unknown, "is unknown", "are unknown"));
            }
            return wrong(format!("{reason}; these are not the weights of the V-JEPA 2 that config.json describes"));
        }
        if !unknown.is_empty() {
            return wrong(format!(
                "{}; a V-JEPA 2 of this config.json has no such weight",
                listed(&unknown, "is unknown", "are unknown")
            ));
        }
        for (name, shape) in expected {
            let stored = &self.tensors[name];
            if stored.shape != *shape {
                let found = &stored.shape;
                return wrong(format!(
                    "the tensor '{name}' has the shape {found:?} where config.json makes it {shape:?}; take both files of \
                     the same checkpoint"
                ));
            }
        }
        self.all_finite()
    }

    fn all_finite(&self) -> Result<(), Vjepa2Error> {
        let tensors: Vec<(&String, &Stored)> = self.tensors.iter().collect();
        let wrong = tensors.par_iter().find_map_first(|(name, stored)| {
            let (at, value) = stored.first_not_finite()?;
            let reason = format!("the tensor '{name}' has {value} at position {at}; download the file again");
            Some(Vjepa2Error::weights(&stored.shard.path, reason))
        });
        wrong.map_or(Ok(()), Err)
    }

    /// SHA-256 over names, forms and values, in the order of the names, in hexadecimal digits.
    pub(super) fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for (name, stored) in &self.tensors {
            hash.update(format!("{name} {:?} {:?} ", stored.format, stored.shape));
            let length = stored.count() * stored.format.bytes();
            hash.update(&stored.shard.map[stored.start..stored.start + length]);
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A tensor that was checked to be there.
    pub(super) fn take(&self, name: &str) -> Result<Stored, Vjepa2Error> {
        self.tensors
            .get(name)
            .cloned()
            .ok_or_else(|| Vjepa2Error::weights(&self.path, format!("the tensor '{name}' is missing")))
    }
}

fn listed(names: &[&str], one: &str, several: &str) -> String {
    let more = names.len().saturating_sub(NAMES_MAX);
    let quoted: Vec<String> = names.iter().take(NAMES_MAX).map(|name| format!("'{name}'")).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let (noun, verb) = if names.len() == 1 { ("tensor", one) } else { ("tensors", several) };
    format!("the {noun} {}{more} {verb}", quoted.join(", "))
}

/// The files that an index names, with the tensors that it says are in each.
fn shards(index: &Path) -> Result<BTreeMap<PathBuf, Vec<String>>, Vjepa2Error> {
    let text = std::fs::read(index).map_err(Vjepa2Error::io(index))?;
    let broken = |what: String| Vjepa2Error::weights(index, format!("{what}; download the file again"));
    let value: Value = serde_json::from_slice(&text).map_err(|error| broken(format!("no JSON ({error})")))?;
    let Some(Value::Object(places)) = value.get("weight_map") else {
        return Err(broken("'weight_map' is missing".to_owned()));
    };
    let folder = index.parent().unwrap_or(Path::new("."));
    let mut files: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for (name, file) in places {
        // A plain name: an index cannot point outside of its folder.
        let plain = file.as_str().filter(|file| Path::new(file).file_name().is_some_and(|f| f == *file));
        let Some(file) = plain else {
            return Err(broken(format!("the tensor '{name}' is in {file}, which is no file name")));
        };
        files.entry(folder.join(file)).or_default().push(name.clone());
    }
    if files.len() > FILES_MAX {
        return Err(broken(format!("{} files are more than {FILES_MAX}", files.len())));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::from_f16;

    #[test]
    fn floats_of_16_bits_keep_their_value() {
        for (bits, value) in [
            (0x0000u16, 0.0f32),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x83ff, -6.097_555e-5),
            (0x3555, 0.333_251_95),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(from_f16(bits), value, "{bits:#x}");
        }
        assert!(from_f16(0x7e00).is_nan());
    }
}
