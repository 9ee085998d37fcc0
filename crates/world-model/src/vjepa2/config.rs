//! `config.json`: the sizes of a V-JEPA 2, and a refusal of everything that would make it another model.

use std::path::Path;

use serde_json::{Map, Value};

use super::error::Vjepa2Error;

/// No size in a description may be larger; that of the largest published model is 6,144.
const SIZE_MAX: u64 = 1 << 16;
/// A description is at most this long.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Fields that change nothing in what is computed: how the model was or would be trained, what its classes are called, what
/// wrote the file, and what callers of another library get back.
const HARMLESS: [&str; 30] = [
    "architectures",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_implementation",
    "chunk_size_feed_forward",
    "drop_path_rate",
    "dtype",
    "finetuning_task",
    "hidden_dropout_prob",
    "id2label",
    "image_size",
    "initializer_range",
    "label2id",
    "license",
    "model_type",
    "num_labels",
    "num_pooler_layers",
    "output_attentions",
    "output_hidden_states",
    "pred_zero_init_mask_tokens",
    "problem_type",
    "return_dict",
    "task_specific_params",
    "tie_word_embeddings",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "use_bfloat16",
    "use_sdpa",
];

/// Fields of related models that are understood with one value only.
const FIXED: [(&str, bool); 7] = [
    ("use_rope", true),
    ("is_causal", false),
    ("use_silu", false),
    ("use_SiLU", false),
    ("is_encoder_decoder", false),
    ("add_cross_attention", false),
    ("is_decoder", false),
];

/// The sizes of a transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransformerSize {
    /// Channels of a token.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Layers.
    pub layers: usize,
    /// Channels inside of a layer's perceptron.
    pub hidden: usize,
}

impl TransformerSize {
    /// Channels of a head.
    pub fn head_dim(&self) -> usize {
        self.width / self.heads
    }
}

/// What `config.json` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Vjepa2Config {
    /// Pixels of a patch's side.
    pub patch_size: usize,
    /// Pixels of the picture's side that the model was trained on; positions count in its patches.
    pub crop_size: usize,
    /// Frames of the clips that it was trained on. Others work too.
    pub frames_per_clip: usize,
    /// Frames of a token.
    pub tubelet_size: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// The encoder.
    pub encoder: TransformerSize,
    /// The predictor.
    pub predictor: TransformerSize,
    /// Mask tokens of the predictor.
    pub mask_tokens: usize,
    /// What layer normalisation adds to the variance.
    pub layer_norm_eps: f32,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
}

impl Vjepa2Config {
    /// Reads a description.
    ///
    /// # Errors
    ///
    /// When it cannot be read or asks for another computation than V-JEPA 2's; the field and its value are named.
    pub fn read(path: &Path) -> Result<Self, Vjepa2Error> {
        let length = std::fs::metadata(path).map_err(Vjepa2Error::io(path))?.len();
        let refused = |reason| Vjepa2Error::Config { path: path.to_owned(), reason };
        if length > FILE_BYTES_MAX {
            return Err(refused(format!("{length} bytes are too long for the description of a model")));
        }
        let text = std::fs::read(path).map_err(Vjepa2Error::io(path))?;
        let value: Value = serde_json::from_slice(&text)
            .map_err(|error| refused(format!("no JSON ({error}); download config.json of the checkpoint again")))?;
        let Value::Object(fields) = value else {
            return Err(refused("no object of fields; download config.json of the checkpoint again".to_owned()));
        };
        Self::parse(&fields).map_err(refused)
    }

    /// Tokens of a row of patches.
    pub fn grid(&self) -> usize {
        self.crop_size / self.patch_size
    }

    /// Values of a tubelet.
    pub(super) fn tubelet_values(&self) -> usize {
        self.channels * self.tubelet_size * self.patch_size * self.patch_size
    }

    fn parse(fields: &Map<String, Value>) -> Result<Self, String> {
        let mut fields = Fields { fields, known: Vec::new() };
        match fields.fields.get("model_type") {
            Some(Value::String(name)) if name == "vjepa2" => {}
            Some(other) => return Err(unsupported("model_type", other, "vjepa2")),
            None => return Err("'model_type' is missing, so that nothing says that this is a V-JEPA 2".to_owned()),
        }
        fields.architecture()?;
        let config = Self {
            patch_size: fields.size("patch_size", 16)?,
            crop_size: fields.size("crop_size", 256)?,
            frames_per_clip: fields.size("frames_per_clip", 64)?,
            tubelet_size: fields.size("tubelet_size", 2)?,
            channels: fields.size("in_chans", 3)?,
            encoder: fields.transformer("", [1024, 16, 24])?,
            predictor: fields.transformer("pred_", [384, 12, 12])?,
            mask_tokens: fields.size("pred_num_mask_tokens", 10)?,
            layer_norm_eps: fields.positive("layer_norm_eps", 1e-6)? as f32,
            qkv_bias: fields.truth("qkv_bias", true)?,
        };
        if config.crop_size < config.patch_size {
            let (crop, patch) = (config.crop_size, config.patch_size);
            return Err(format!("'crop_size' = {crop} is smaller than 'patch_size' = {patch}"));
        }
        match fields.get("hidden_act") {
            None => {}
            Some(Value::String(name)) if name == "gelu" => {}
            Some(other) => return Err(unsupported("hidden_act", other, "gelu, in its exact form")),
        }
        fields.all_known()?;
        Ok(config)
    }
}

fn unsupported(name: &str, value: &Value, supported: &str) -> String {
    format!("'{name}' = {value} is not implemented here, only {supported}; use a checkpoint of V-JEPA 2 as published")
}

/// The fields, and which of them were asked for.
struct Fields<'a> {
    fields: &'a Map<String, Value>,
    known: Vec<String>,
}

impl<'a> Fields<'a> {
    fn get(&mut self, name: &str) -> Option<&'a Value> {
        self.known.push(name.to_owned());
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn size(&mut self, name: &str, otherwise: u64) -> Result<usize, String> {
        let value = match self.get(name) {
            None => otherwise,
            Some(value) => value
                .as_u64()
                .filter(|v| (1..=SIZE_MAX).contains(v))
                .ok_or_else(|| format!("'{name}' = {value} is no whole number from 1 to {SIZE_MAX}"))?,
        };
        Ok(value as usize)
    }

    fn positive(&mut self, name: &str, otherwise: f64) -> Result<f64, String> {
        match self.get(name) {
            None => Ok(otherwise),
            Some(value) => value
                .as_f64()
                .filter(|v| *v > 0.0 && v.is_finite())
                .ok_or_else(|| format!("'{name}' = {value} is no number above 0")),
        }
    }

    fn truth(&mut self, name: &str, otherwise: bool) -> Result<bool, String> {
        match self.get(name) {
            None => Ok(otherwise),
            Some(value) => value.as_bool().ok_or_else(|| format!("'{name}' = {value} is neither true nor false")),
        }
    }

    /// The fields of the encoder, or with a prefix of the predictor.
    fn transformer(&mut self, prefix: &str, otherwise: [u64; 3]) -> Result<TransformerSize, String> {
        let width = self.size(&format!("{prefix}hidden_size"), otherwise[0])?;
        let heads_name = format!("{prefix}num_attention_heads");
        let heads = self.size(&heads_name, otherwise[1])?;
        let layers = self.size(&format!("{prefix}num_hidden_layers"), otherwise[2])?;
        let ratio_name = format!("{prefix}mlp_ratio");
        let ratio = self.positive(&ratio_name, 4.0)?;
        if width % heads != 0 {
            return Err(format!("'{prefix}hidden_size' = {width} is no multiple of '{heads_name}' = {heads}"));
        }
        // Cut off, not rounded, as the published models were made.
        let hidden = width as f64 * ratio;
        if !(1.0..=SIZE_MAX as f64).contains(&hidden) {
            return Err(format!("'{ratio_name}' = {ratio} makes a layer of {hidden} channels, which is out of range"));
        }
        Ok(TransformerSize { width, heads, layers, hidden: hidden as usize })
    }

    fn architecture(&mut self) -> Result<(), String> {
        match self.fields.get("architectures") {
            None | Some(Value::Null) => Ok(()),
            Some(Value::Array(names)) if names.is_empty() || names.iter().any(|n| n == "VJEPA2Model") => Ok(()),
            Some(other) => Err(unsupported("architectures", other, "VJEPA2Model (encoder and predictor)")),
        }
    }

    /// A field that nothing here knows may mean another computation, unless it says nothing.
    fn all_known(&self) -> Result<(), String> {
        for (name, value) in self.fields {
            if let Some((_, only)) = FIXED.iter().find(|(fixed, _)| fixed == name) {
                if *value != Value::Bool(*only) && !value.is_null() {
                    return Err(unsupported(name, value, &only.to_string()));
                }
                continue;
            }
            let is_empty = match value {
                Value::Null => true,
                Value::Array(values) => values.is_empty(),
                Value::Object(values) => values.is_empty(),
                _ => false,
            };
            let is_private = name.starts_with('_');
            if !is_empty && !is_private && !HARMLESS.contains(&name.as_str()) && !self.known.contains(name) {
                return Err(format!(
                    "'{name}' = {value} is not known here and may ask for another computation than V-JEPA 2's as published; \
                     use a checkpoint without it, or remove the field if it changes nothing"
                ));
            }
        }
        Ok(())
    }
}
