//! The tensors that a checkpoint has, by their published names.

use std::collections::BTreeMap;

use super::config::{TransformerSize, Vjepa2Config};

/// Name and shape of every tensor.
pub(super) fn expected(config: &Vjepa2Config) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = BTreeMap::new();
    let (width, inner) = (config.encoder.width, config.predictor.width);
    let patch = config.patch_size;
    let kernel = vec![width, config.channels, config.tubelet_size, patch, patch];
    shapes.insert("encoder.embeddings.patch_embeddings.proj.weight".to_owned(), kernel);
    shapes.insert("encoder.embeddings.patch_embeddings.proj.bias".to_owned(), vec![width]);
    shapes.insert("predictor.embeddings.mask_tokens".to_owned(), vec![config.mask_tokens, 1, 1, inner]);
    linear(&mut shapes, "predictor.embeddings.predictor_embeddings", inner, width, true);
    linear(&mut shapes, "predictor.proj", width, inner, true);
    for (name, size) in [("encoder", config.encoder), ("predictor", config.predictor)] {
        let TransformerSize { width, layers, hidden, .. } = size;
        norm(&mut shapes, &format!("{name}.layernorm"), width);
        for i in 0..layers {
            let at = format!("{name}.layer.{i}");
            norm(&mut shapes, &format!("{at}.norm1"), width);
            norm(&mut shapes, &format!("{at}.norm2"), width);
            for part in ["query", "key", "value"] {
                linear(&mut shapes, &format!("{at}.attention.{part}"), width, width, config.qkv_bias);
            }
            linear(&mut shapes, &format!("{at}.attention.proj"), width, width, true);
            linear(&mut shapes, &format!("{at}.mlp.fc1"), hidden, width, true);
            linear(&mut shapes, &format!("{at}.mlp.fc2"), width, hidden, true);
        }
    }
    shapes
}

fn linear(shapes: &mut BTreeMap<String, Vec<usize>>, name: &str, outputs: usize, inputs: usize, bias: bool) {
    shapes.insert(format!("{name}.weight"), vec![outputs, inputs]);
    if bias {
        shapes.insert(format!("{name}.bias"), vec![outputs]);
    }
}

fn norm(shapes: &mut BTreeMap<String, Vec<usize>>, name: &str, width: usize) {
    shapes.insert(format!("{name}.weight"), vec![width]);
    shapes.insert(format!("{name}.bias"), vec![width]);
}
