//! V-JEPA 2: the same numbers as the published implementation, from checkpoints that are what they claim to be.

mod checkpoint;

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use checkpoint::{Checkpoint, Numbers, write};
use serde_json::json;
use sightglass_world_model::vjepa2::{Picture, Vjepa2, Vjepa2Config, preprocess, verify};

/// Clips with values that repeat nowhere near.
fn clips(count: usize, frames: usize, side: usize) -> Tensor {
    let values: Vec<f32> =
        (0..count * frames * 3 * side * side).map(|i| ((i * 7919) % 2003) as f32 / 500.0 - 2.0).collect();
    Tensor::from_vec(values, (count, frames, 3, side, side), &Device::Cpu).unwrap()
}

fn mask(rows: &[&[i64]]) -> Tensor {
    Tensor::from_vec(rows.concat(), (rows.len(), rows[0].len()), &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn furthest(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    values(a).iter().zip(values(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Why a checkpoint is not loaded.
fn refusal(checkpoint: &Checkpoint) -> String {
    let folder = checkpoint.written();
    match Vjepa2::load(folder.path()) {
        Ok(_) => panic!("it was loaded"),
        Err(error) => error.to_string(),
    }
}

/// The folder of reference outputs, beside the recordings.
fn fixture(name: &str) -> Option<PathBuf> {
    let data = std::env::var_os("SIGHTGLASS_DATA").map(PathBuf::from);
    let folder = data.and_then(|data| Some(data.parent()?.join("fixtures").join(name))).filter(|path| path.is_dir());
    if folder.is_none() {
        eprintln!("skipped: beside SIGHTGLASS_DATA there is no fixtures/{name}");
    }
    folder
}

#[test]
fn every_output_is_that_of_the_published_implementation() {
    let Some(folder) = fixture("vjepa2-tiny") else { return };
    let outputs = verify(&folder).unwrap();
    let names: Vec<&str> = outputs.iter().map(|output| output.name).collect();
    assert_eq!(names, ["last_hidden_state", "predictor_last_hidden_state", "masked_predictor_last_hidden_state"]);
    for output in outputs {
        assert!(output.is_same() && output.max_abs_diff < 1e-5, "{output:?}");
    }
}

#[test]
fn another_output_than_computed_is_not_the_same() {
    let Some(folder) = fixture("vjepa2-tiny") else { return };
    let copy = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(folder.join(file), copy.path().join(file)).unwrap();
    }
    let mut io = candle_core::safetensors::load(folder.join("io.safetensors"), &Device::Cpu).unwrap();
    let moved = (&io["last_hidden_state"] + 2e-4).unwrap();
    io.insert("last_hidden_state".to_owned(), moved);
    let not_a_number = (&io["predictor_last_hidden_state"] * f64::NAN).unwrap();
    io.insert("predictor_last_hidden_state".to_owned(), not_a_number);
    let path = copy.path().join("io.safetensors");
    candle_core::safetensors::save(&io, &path).unwrap();
    let same: Vec<bool> = verify(copy.path()).unwrap().iter().map(|output| output.is_same()).collect();
    assert_eq!(same, [false, false, true]);

    io.remove("target_mask");
    candle_core::safetensors::save(&io, &path).unwrap();
    let error = verify(copy.path()).unwrap_err().to_string();
    assert!(error.contains("'target_mask' is missing"), "{error}");

    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = verify(copy.path()).unwrap_err().to_string();
    assert!(error.contains("io.safetensors") && error.contains("cut off"), "{error}");
}

#[test]
fn the_kernels_compute_what_plain_tensor_operations_do() {
    let folder = Checkpoint::small().written();
    let fused = Vjepa2::load(folder.path()).unwrap();
    let plain = Vjepa2::load_plain(folder.path(), &Device::Cpu).unwrap();
    let clips = clips(2, 6, 48);
    let (a, b) = (fused.encode(&clips).unwrap(), plain.encode(&clips).unwrap());
    assert_eq!(a.dims(), [2, 27, 24]);
    assert!(furthest(&a, &b) < 1e-5);
    assert!(furthest(&fused.predict(&a, None).unwrap(), &plain.predict(&a, None).unwrap()) < 1e-5);
    let masks = (mask(&[&[0, 5, 3], &[7, 1, 26]]), mask(&[&[2, 40], &[9, 8]]));
    let masks = Some((&masks.0, &masks.1));
    let predicted = fused.predict(&a, masks).unwrap();
    assert_eq!(predicted.dims(), [2, 2, 24]);
    assert!(furthest(&predicted, &plain.predict(&a, masks).unwrap()) < 1e-5);
}

#[test]
fn a_clip_is_encoded_alike_alone_and_in_a_batch_by_one_thread_and_by_several() {
    let folder = Checkpoint::small().written();
    let model = Vjepa2::load(folder.path()).unwrap();
    let clips = clips(3, 4, 64);
    let together = model.encode(&clips).unwrap();
    let predicted = model.predict(&together, None).unwrap();
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for i in 0..3 {
            let alone = pool.install(|| model.encode(&clips.narrow(0, i, 1).unwrap()).unwrap());
            assert_eq!(values(&alone), values(&together.narrow(0, i, 1).unwrap()));
            let alone = pool.install(|| model.predict(&alone, None).unwrap());
            assert_eq!(values(&alone), values(&predicted.narrow(0, i, 1).unwrap()));
        }
    }
}

#[test]
fn weights_of_16_bits_are_as_good_where_they_hold_the_same_values() {
    let checkpoint = Checkpoint::small();
    let clips = clips(1, 4, 32);
    let encoded = |numbers| {
        let folder = checkpoint.written_as(numbers);
        values(&Vjepa2::load(folder.path()).unwrap().encode(&clips).unwrap())
    };
    let expected = encoded(Numbers::F32);
    assert_eq!(encoded(Numbers::F16), expected);
    assert_eq!(encoded(Numbers::Bf16), expected);
}

#[test]
fn one_file_and_a_checkpoint_in_parts_are_loaded_too() {
    let checkpoint = Checkpoint::small();
    let folder = checkpoint.written();
    let clips = clips(1, 4, 32);
    let whole = values(&Vjepa2::load(folder.path()).unwrap().encode(&clips).unwrap());
    let one = folder.path().join("weights.safetensors");
    std::fs::rename(folder.path().join("model.safetensors"), &one).unwrap();
    assert_eq!(values(&Vjepa2::load(&one).unwrap().encode(&clips).unwrap()), whole);
    std::fs::remove_file(&one).unwrap();

    let mut encoder = checkpoint.tensors.clone();
    let predictor = encoder.split_off("predictor");
    let mut places = serde_json::Map::new();
    for (file, tensors) in [("a.safetensors", &encoder), ("b.safetensors", &predictor)] {
        write(&folder.path().join(file), tensors, Numbers::F32);
        places.extend(tensors.keys().map(|name| (name.clone(), json!(file))));
    }
    let index = folder.path().join("model.safetensors.index.json");
    std::fs::write(&index, json!({"weight_map": places}).to_string()).unwrap();
    assert_eq!(values(&Vjepa2::load(folder.path()).unwrap().encode(&clips).unwrap()), whole);

    places.insert("predictor.proj.bias".to_owned(), json!("../b.safetensors"));
    std::fs::write(&index, json!({"weight_map": places}).to_string()).unwrap();
    let error = Vjepa2::load(folder.path()).err().unwrap().to_string();
    assert!(error.contains("'predictor.proj.bias'") && error.contains("no file name"), "{error}");
}

#[test]
fn a_missing_an_unknown_and_a_misshapen_tensor_are_named() {
    let mut checkpoint = Checkpoint::small();
    let taken = checkpoint.tensors.remove("encoder.layer.1.mlp.fc1.bias").unwrap();
    let error = refusal(&checkpoint);
    assert!(
        error.contains("model.safetensors") && error.contains("'encoder.layer.1.mlp.fc1.bias' is missing"),
        "{error}"
    );

    let mut checkpoint = Checkpoint::small();
    checkpoint.tensors.insert("classifier.bias".to_owned(), taken);
    let error = refusal(&checkpoint);
    assert!(error.contains("'classifier.bias' is unknown"), "{error}");

    let mut checkpoint = Checkpoint::small();
    checkpoint.tensors.get_mut("predictor.proj.weight").unwrap().shape = vec![16, 24];
    let error = refusal(&checkpoint);
    assert!(
        error.contains("'predictor.proj.weight'") && error.contains("[16, 24]") && error.contains("[24, 16]"),
        "{error}"
    );
}

#[test]
fn weights_of_another_architecture_are_refused() {
    let mut checkpoint = Checkpoint::small();
    checkpoint.tensors = std::mem::take(&mut checkpoint.tensors)
        .into_iter()
        .map(|(name, made)| (name.replace("encoder.layer", "blocks"), made))
        .collect();
    let error = refusal(&checkpoint);
    assert!(error.contains("'encoder.layer.0.") && error.contains("more are missing"), "{error}");
    assert!(error.contains("'blocks.0.") && error.contains("are unknown"), "{error}");
}

#[test]
fn a_weight_that_is_no_number_is_named() {
    let mut checkpoint = Checkpoint::small();
    checkpoint.tensors.get_mut("encoder.layer.0.norm1.weight").unwrap().values[5] = f32::NAN;
    let error = refusal(&checkpoint);
    assert!(error.contains("'encoder.layer.0.norm1.weight' has NaN at position 5"), "{error}");
}

#[test]
fn a_file_that_was_cut_anywhere_is_refused() {
    let folder = Checkpoint::small().written();
    let path = folder.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for length in [0, 1, 7, 8, 9, header - 1, header, header + 3, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = Vjepa2::load(folder.path()).err().unwrap().to_string();
        assert!(error.contains("model.safetensors") && error.contains("download it again"), "{length}: {error}");
    }
    std::fs::write(&path, vec![0xffu8; 4096]).unwrap();
    assert!(Vjepa2::load(folder.path()).is_err());
}

#[test]
fn what_is_not_implemented_is_refused_by_the_name_of_its_field() {
    for (field, value) in [
        ("model_type", json!("vjepa2_1")),
        ("model_type", json!(null)),
        ("hidden_act", json!("gelu_new")),
        ("use_rope", json!(false)),
        ("position_embedding_type", json!("sincos")),
        ("block_norm", json!(true)),
        ("quantization_config", json!({"bits": 4})),
        ("architectures", json!(["VJEPA2ForVideoClassification"])),
        ("patch_size", json!([16, 16])),
        ("patch_size", json!(64)),
        ("hidden_size", json!(0)),
        ("hidden_size", json!(-24)),
        ("hidden_size", json!(1e30)),
        ("num_attention_heads", json!(5)),
        ("mlp_ratio", json!("4")),
        ("pred_mlp_ratio", json!(1e9)),
        ("layer_norm_eps", json!(0)),
        ("qkv_bias", json!("yes")),
    ] {
        let mut checkpoint = Checkpoint::small();
        checkpoint.config[field] = value.clone();
        let error = refusal(&checkpoint);
        assert!(error.contains("config.json") && error.contains(&format!("'{field}'")), "{field} = {value}: {error}");
    }
}

#[test]
fn fields_that_change_nothing_do_not_matter() {
    let mut checkpoint = Checkpoint::small();
    for (field, value) in [
        ("_name_or_path", json!("somewhere")),
        ("num_pooler_layers", json!(7)),
        ("drop_path_rate", json!(0.1)),
        ("image_size", json!(999)),
        ("use_rope", json!(true)),
        ("pruned_heads", json!({})),
        ("unheard_of", json!(null)),
    ] {
        checkpoint.config[field] = value;
    }
    assert!(Vjepa2::load(checkpoint.written().path()).is_ok());
}

#[test]
fn a_description_that_is_missing_or_no_json_is_named() {
    let folder = Checkpoint::small().written();
    let path = folder.path().join("config.json");
    for text in ["", "{", "[]", "{\"model_type\": \"vjepa2\", \"layer_norm_eps\": NaN}"] {
        std::fs::write(&path, text).unwrap();
        let error = Vjepa2::load(folder.path()).err().unwrap().to_string();
        assert!(error.contains("config.json"), "{text}: {error}");
    }
    std::fs::remove_file(&path).unwrap();
    let error = Vjepa2::load(folder.path()).err().unwrap().to_string();
    assert!(error.contains("config.json") && error.contains("cannot be read"), "{error}");
    let error = Vjepa2::load(Path::new("/nowhere/at/all")).err().unwrap().to_string();
    assert!(error.contains("/nowhere/at/all"), "{error}");
}

#[test]
fn clips_and_masks_that_do_not_fit_are_refused() {
    let folder = Checkpoint::small().written();
    let model = Vjepa2::load(folder.path()).unwrap();
    let good = clips(2, 4, 32);
    let encoded = model.encode(&good).unwrap();
    let refused = |result: Result<Tensor, sightglass_world_model::vjepa2::Vjepa2Error>, word: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    refused(model.encode(&good.get(0).unwrap()), "dimensions");
    refused(model.encode(&good.narrow(2, 0, 2).unwrap()), "2 channels");
    refused(model.encode(&clips(1, 4, 15)), "0 tokens");
    refused(model.encode(&good.narrow(0, 0, 0).unwrap()), "0 clips");
    refused(model.encode(&(&good * f64::NAN).unwrap()), "NaN at position 0");
    refused(model.predict(&encoded.narrow(2, 0, 23).unwrap(), None), "24");
    let both = |context: &Tensor, target: &Tensor| model.predict(&encoded, Some((context, target)));
    let fine = mask(&[&[0, 1], &[2, 3]]);
    assert!(both(&fine, &fine).is_ok());
    refused(both(&mask(&[&[0, 8], &[2, 3]]), &fine), "position 8");
    refused(both(&fine, &mask(&[&[0, -1], &[2, 3]])), "position -1");
    refused(both(&fine, &mask(&[&[0, i64::MAX], &[2, 3]])), "position");
    refused(both(&fine, &mask(&[&[0, 1]])), "target mask for 1");
    refused(both(&fine.flatten_all().unwrap(), &fine), "dimensions");
    refused(both(&fine.to_dtype(candle_core::DType::F32).unwrap(), &fine), "whole numbers");
}

fn config() -> Vjepa2Config {
    Vjepa2::load(Checkpoint::small().written().path()).unwrap().config().clone()
}

#[test]
fn pictures_become_their_normalised_centre() {
    // 32 x 256 / 224 = 36 pixels a short side; a picture of that size is only cut and normalised.
    let (width, height) = (50, 36);
    let rgb: Vec<u8> = (0..width * height * 3).map(|i| (i * 31 % 256) as u8).collect();
    let clip = preprocess(&config(), &[Picture { width, height, rgb: &rgb }; 4]).unwrap();
    assert_eq!(clip.dims(), [4, 3, 32, 32]);
    let (mean, deviation) = ([0.485f32, 0.456, 0.406], [0.229f32, 0.224, 0.225]);
    let found: Vec<f32> = values(&clip.get(2).unwrap());
    for channel in 0..3 {
        for (y, x) in [(0, 0), (31, 31), (7, 20)] {
            let byte = rgb[((y + 2) * width + x + 9) * 3 + channel];
            let expected = (f32::from(byte) / 255.0 - mean[channel]) / deviation[channel];
            assert!((found[(channel * 32 + y) * 32 + x] - expected).abs() < 1e-5);
        }
    }
}

#[test]
fn pictures_of_any_size_keep_their_colour() {
    for (width, height) in [(1, 1), (640, 480), (30, 1000), (33, 17)] {
        let rgb = [200u8, 100, 0].repeat(width * height);
        let clip = preprocess(&config(), &[Picture { width, height, rgb: &rgb }]).unwrap();
        for (channel, (mean, deviation)) in [(0.485f32, 0.229f32), (0.456, 0.224), (0.406, 0.225)].iter().enumerate() {
            let expected = ([200.0f32, 100.0, 0.0][channel] / 255.0 - mean) / deviation;
            let found = values(&clip.narrow(1, channel, 1).unwrap());
            assert!(found.iter().all(|v| (v - expected).abs() < 1e-5), "{width} x {height}");
        }
    }
    let error = preprocess(&config(), &[Picture { width: 4, height: 4, rgb: &[0; 47] }]).unwrap_err().to_string();
    assert!(error.contains("picture 0 has 47 bytes"), "{error}");
    assert!(preprocess(&config(), &[]).is_err());
}
