//! Small checkpoints of V-JEPA 2 with made-up weights.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How the numbers of a file are written.
#[derive(Clone, Copy)]
pub(crate) enum Numbers {
    F32,
    F16,
    Bf16,
}

/// A tensor in the making.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// A checkpoint in the making: change it, then write it.
pub(crate) struct Checkpoint {
    pub(crate) config: Value,
    pub(crate) tensors: BTreeMap<String, Made>,
}

impl Checkpoint {
    /// Two layers of 24 channels in 3 heads, 4 frames of 32 x 32 pixels in patches of 16; a smaller predictor.
    pub(crate) fn small() -> Self {
        let config = json!({
            "model_type": "vjepa2", "architectures": ["VJEPA2Model"], "transformers_version": "5.23.0", "dtype": "float32",
            "patch_size": 16, "crop_size": 32, "frames_per_clip": 4, "tubelet_size": 2, "in_chans": 3,
            "hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2, "mlp_ratio": 2.0,
            "pred_hidden_size": 16, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1, "pred_mlp_ratio": 2.0,
            "pred_num_mask_tokens": 2, "qkv_bias": true, "hidden_act": "gelu", "layer_norm_eps": 1e-6,
        });
        let mut made = Self { config, tensors: BTreeMap::new() };
        made.put("encoder.embeddings.patch_embeddings.proj.weight", &[24, 3, 2, 16, 16]);
        made.put("encoder.embeddings.patch_embeddings.proj.bias", &[24]);
        made.put("predictor.embeddings.mask_tokens", &[2, 1, 1, 16]);
        made.linear("predictor.embeddings.predictor_embeddings", 16, 24);
        made.linear("predictor.proj", 24, 16);
        for (part, width, layers) in [("encoder", 24, 2), ("predictor", 16, 1)] {
            made.norm(&format!("{part}.layernorm"), width);
            for i in 0..layers {
                let at = format!("{part}.layer.{i}");
                made.norm(&format!("{at}.norm1"), width);
                made.norm(&format!("{at}.norm2"), width);
                for name in ["query", "key", "value", "proj"] {
                    made.linear(&format!("{at}.attention.{name}"), width, width);
                }
                made.linear(&format!("{at}.mlp.fc1"), 2 * width, width);
                made.linear(&format!("{at}.mlp.fc2"), width, 2 * width);
            }
        }
        made
    }

    fn put(&mut self, name: &str, shape: &[usize]) {
        let seed = self.tensors.len();
        let count: usize = shape.iter().product();
        // Values that 16 bits hold exactly.
        let values = (0..count).map(|i| ((i * 7919 + seed * 104_729) % 127) as f32 / 256.0 - 0.25).collect();
        self.tensors.insert(name.to_owned(), Made { shape: shape.to_vec(), values });
    }

    fn linear(&mut self, name: &str, outputs: usize, inputs: usize) {
        self.put(&format!("{name}.weight"), &[outputs, inputs]);
        self.put(&format!("{name}.bias"), &[outputs]);
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.put(&format!("{name}.weight"), &[width]);
        self.put(&format!("{name}.bias"), &[width]);
    }

    /// In a folder of its own.
    pub(crate) fn written(&self) -> TempDir {
        self.written_as(Numbers::F32)
    }

    pub(crate) fn written_as(&self, numbers: Numbers) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), self.config.to_string()).unwrap();
        write(&folder.path().join("model.safetensors"), &self.tensors, numbers);
        folder
    }
}

/// Writes tensors to a file.
pub(crate) fn write(path: &Path, tensors: &BTreeMap<String, Made>, numbers: Numbers) {
    let (dtype, kind) = match numbers {
        Numbers::F32 => (Dtype::F32, candle_core::DType::F32),
        Numbers::F16 => (Dtype::F16, candle_core::DType::F16),
        Numbers::Bf16 => (Dtype::BF16, candle_core::DType::BF16),
    };
    let bytes: Vec<(&String, &Made, Vec<u8>)> = tensors
        .iter()
        .map(|(name, made)| {
            let tensor = Tensor::from_slice(&made.values, made.values.len(), &Device::Cpu).unwrap();
            let mut bytes = Vec::new();
            tensor.to_dtype(kind).unwrap().write_bytes(&mut bytes).unwrap();
            (name, made, bytes)
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, made, bytes)| (name.as_str(), TensorView::new(dtype, made.shape.clone(), bytes).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}
