//! The model's file: one safetensors file with the weights, everything that was calibrated, and the card.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// The version of the layout; a file of another one is refused.
pub(crate) const FORMAT: u32 = 2;
/// The one key of the file's metadata (one, so that the same model gives the same bytes).
const METADATA: &str = "sightglass";
/// A model's file is at most this long; a longer one is not read.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Why a model's file is of no use here.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read or written.
    #[error("the model {path} cannot be read or written")]
    Io {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a whole model.
    #[error(
        "the model {path} is damaged or no model of Sightglass: {reason}; train it again or restore it from a backup"
    )]
    Damaged {
        /// Its path.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// The file is of another version.
    #[error(
        "the model {path} has format {found}, this program reads format {FORMAT}; train it again with this version"
    )]
    Version {
        /// Its path.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The model was trained with another camera encoder.
    #[error("the model {path} {difference}")]
    OtherEncoder {
        /// Its path.
        path: PathBuf,
        /// What it was trained with, and what to do.
        difference: String,
    },
    /// The model was trained for another line.
    #[error("the model {path} is of another plant: {difference}; train a model for this one")]
    OtherPlant {
        /// Its path.
        path: PathBuf,
        /// The first difference.
        difference: String,
    },
}

/// A part of a file that is missing or wrong.
#[derive(Debug)]
pub(crate) struct Broken(String);

impl Broken {
    pub(crate) fn new(name: &str, what: &str) -> Self {
        Self(format!("'{name}' {what}"))
    }
}

impl From<Broken> for String {
    fn from(broken: Broken) -> Self {
        broken.0
    }
}

impl From<candle_core::Error> for Broken {
    fn from(error: candle_core::Error) -> Self {
        Self(error.to_string())
    }
}

struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Numbers by name, exactly as they were: JSON would neither keep every bit nor know NaN.
#[derive(Default)]
pub(crate) struct Store {
    entries: BTreeMap<String, Entry>,
}

impl Store {
    pub(crate) fn put(&mut self, name: &str, values: impl IntoIterator<Item = f64>) {
        let bytes: Vec<u8> = values.into_iter().flat_map(f64::to_le_bytes).collect();
        self.entries.insert(name.to_owned(), Entry { dtype: Dtype::F64, shape: vec![bytes.len() / 8], bytes });
    }

    pub(crate) fn put_floats(&mut self, name: &str, values: &[f32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.entries.insert(name.to_owned(), Entry { dtype: Dtype::F32, shape: vec![values.len()], bytes });
    }

    pub(crate) fn put_bytes(&mut self, name: &str, bytes: &[u8]) {
        let entry = Entry { dtype: Dtype::U8, shape: vec![bytes.len()], bytes: bytes.to_vec() };
        self.entries.insert(name.to_owned(), entry);
    }

    fn entry(&self, name: &str, dtype: Dtype) -> Result<&Entry, Broken> {
        let entry = self.entries.get(name).ok_or_else(|| Broken::new(name, "is missing"))?;
        if entry.dtype == dtype { Ok(entry) } else { Err(Broken::new(name, "has another type")) }
    }

    pub(crate) fn get(&self, name: &str) -> Result<Vec<f64>, Broken> {
        let chunks = self.entry(name, Dtype::F64)?.bytes.chunks_exact(8);
        Ok(chunks.map(|c| f64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]])).collect())
    }

    pub(crate) fn get_len(&self, name: &str, len: usize) -> Result<Vec<f64>, Broken> {
        let values = self.get(name)?;
        if values.len() == len { Ok(values) } else { Err(Broken::new(name, "has another length")) }
    }

    pub(crate) fn one(&self, name: &str) -> Result<f64, Broken> {
        Ok(self.get_len(name, 1)?[0])
    }

    pub(crate) fn indices(&self, name: &str) -> Result<Vec<usize>, Broken> {
        Ok(self.get(name)?.into_iter().map(|v| v as usize).collect())
    }

    pub(crate) fn floats(&self, name: &str) -> Result<Vec<f32>, Broken> {
        let chunks = self.entry(name, Dtype::F32)?.bytes.chunks_exact(4);
        Ok(chunks.map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect())
    }

    pub(crate) fn bytes(&self, name: &str) -> Result<&[u8], Broken> {
        Ok(&self.entry(name, Dtype::U8)?.bytes)
    }

    pub(crate) fn put_tensor(&mut self, name: &str, tensor: &Tensor) -> candle_core::Result<()> {
        let values: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        self.put_floats(name, &values);
        if let Some(entry) = self.entries.get_mut(name) {
            entry.shape = tensor.dims().to_vec();
        }
        Ok(())
    }

    /// All tensors whose name begins with `prefix`, without it.
    pub(crate) fn tensors(&self, prefix: &str) -> Result<BTreeMap<String, Tensor>, Broken> {
        self.entries
            .iter()
            .filter_map(|(name, entry)| Some((name.strip_prefix(prefix)?.to_owned(), name, entry)))
            .map(|(short, name, entry)| {
                Ok((short, Tensor::from_vec(self.floats(name)?, entry.shape.as_slice(), &Device::Cpu)?))
            })
            .collect()
    }

    /// Writes the file whole or not at all: beside it first, then in its place.
    pub(crate) fn write(&self, path: &Path, metadata: &str) -> Result<(), LoadError> {
        let io = |source| LoadError::Io { path: path.to_owned(), source };
        let damaged =
            |e: safetensors::SafeTensorError| LoadError::Damaged { path: path.to_owned(), reason: e.to_string() };
        let views = self
            .entries
            .iter()
            .map(|(name, e)| Ok((name.as_str(), TensorView::new(e.dtype, e.shape.clone(), &e.bytes).map_err(damaged)?)))
            .collect::<Result<Vec<_>, LoadError>>()?;
        let info = HashMap::from([(METADATA.to_owned(), metadata.to_owned())]);
        let bytes = safetensors::serialize(views, Some(info)).map_err(damaged)?;
        let partial = path.with_extension("partial");
        std::fs::write(&partial, bytes).map_err(io)?;
        std::fs::File::open(&partial).and_then(|file| file.sync_all()).map_err(io)?;
        std::fs::rename(&partial, path).map_err(io)
    }

    /// Reads the file and its metadata.
    pub(crate) fn read(path: &Path) -> Result<(Self, String), LoadError> {
        let io = |source| LoadError::Io { path: path.to_owned(), source };
        let damaged = |reason: String| LoadError::Damaged { path: path.to_owned(), reason };
        let length = std::fs::metadata(path).map_err(io)?.len();
        if length > FILE_BYTES_MAX {
            return Err(damaged(format!("it is {length} bytes long, a model at most {FILE_BYTES_MAX}")));
        }
        let buffer = std::fs::read(path).map_err(io)?;
        let (_, info) = SafeTensors::read_metadata(&buffer).map_err(|e| damaged(e.to_string()))?;
        let metadata = info.metadata().as_ref().and_then(|m| m.get(METADATA));
        let metadata = metadata.ok_or_else(|| damaged("it says nothing of itself".to_owned()))?.clone();
        let mut store = Self::default();
        for (name, view) in SafeTensors::deserialize(&buffer).map_err(|e| damaged(e.to_string()))?.tensors() {
            let entry = Entry { dtype: view.dtype(), shape: view.shape().to_vec(), bytes: view.data().to_vec() };
            store.entries.insert(name, entry);
        }
        Ok((store, metadata))
    }
}
