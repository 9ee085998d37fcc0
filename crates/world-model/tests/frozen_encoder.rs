//! A line whose cameras are seen by a frozen V-JEPA 2.

#[allow(dead_code, reason = "checkpoints of other forms are made by other tests")]
mod checkpoint;
mod line;

use std::sync::OnceLock;

use checkpoint::Checkpoint;
use line::*;
use sightglass_protocol::Quality;
use sightglass_world_model::{
    CardEncoder, ComputeDevice, FrozenEncoder, LoadError, ModelSpec, PlantModel, Size, TrainOptions, train,
};

/// A small one, whose first weight of the first norm is `weight`.
fn encoder(weight: f32) -> FrozenEncoder {
    let mut checkpoint = Checkpoint::small();
    checkpoint.tensors.get_mut("encoder.layer.0.norm1.weight").unwrap().values[0] = weight;
    FrozenEncoder::load_vjepa2(checkpoint.written().path()).unwrap()
}

fn trained_with(encoder: Option<&FrozenEncoder>, spec: &ModelSpec) -> PlantModel {
    let encoder = encoder.cloned();
    let options = TrainOptions { epochs_max: 1, encoder, size: Size::least(), ..TrainOptions::default() };
    let runs = [run(1_600, 1, !spec.cameras.is_empty(), Fault::None, 0)];
    train(spec, &runs, &options, &mut |_| true).unwrap()
}

/// One that sees through `encoder(0.25)`, and one that sees by itself.
fn models() -> &'static [PlantModel; 2] {
    static MODELS: OnceLock<[PlantModel; 2]> = OnceLock::new();
    MODELS.get_or_init(|| [Some(encoder(0.25)), None].map(|encoder| trained_with(encoder.as_ref(), &spec(true))))
}

#[test]
fn a_model_remembers_its_frozen_encoder_and_comes_back_with_no_other() {
    let (spec, here, other, cpu) = (spec(true), encoder(0.25), encoder(0.5), ComputeDevice::cpu());
    let before = here.sha256().to_owned();
    let [model, by_itself] = models();
    let card = CardEncoder { kind: "vjepa2".to_owned(), sha256: before.clone() };
    assert_eq!(model.card().encoder, Some(card));
    assert!(model.card().to_text().contains(&before));
    assert_eq!(here.sha256(), encoder(0.25).sha256(), "the same weights are known again");
    assert_ne!(here.sha256(), other.sha256());

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("line.safetensors");
    model.save(&path).unwrap();
    let back = PlantModel::load_with(&path, &spec, &cpu, Some(&encoder(0.25))).unwrap();
    let ticks = run(60, 5, true, Fault::None, 0);
    assert_eq!(bits(&outputs(&mut model.stream(), &ticks)), bits(&outputs(&mut back.stream(), &ticks)));

    let refused = |result: Result<PlantModel, LoadError>, words: &[&str]| {
        let error = result.err().unwrap().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    refused(PlantModel::load(&path, &spec), &[&before, "encoder = { vjepa2 = \"PATH\" }"]);
    refused(PlantModel::load_with(&path, &spec, &cpu, Some(&other)), &[&before, other.sha256()]);
    let own = folder.path().join("own.safetensors");
    by_itself.save(&own).unwrap();
    assert!(PlantModel::load(&own, &spec).is_ok());
    refused(PlantModel::load_with(&own, &spec, &cpu, Some(&here)), &["of its own", "remove 'encoder'"]);
}

#[test]
fn the_network_sees_through_it_and_learns_a_projection_only() {
    let [frozen, own] = models();
    let (width, size) = (24, Size::least());
    // The own encoder's layer is gone, and its projection of a tubelet's 1,176 values has become one of a token's.
    let layer = 8 * size.width * size.width;
    assert_eq!(own.parameters() - frozen.parameters(), layer + (1_176 - width) * size.width);
    let at_tick = |fault| {
        let mut stream = frozen.stream();
        run(60, 5, true, fault, 50).iter().for_each(|tick| drop(stream.step(tick)));
        stream.latents().unwrap().clone()
    };
    let (whole, gone) = (at_tick(Fault::None), at_tick(Fault::SquareGone));
    assert_ne!(whole.video, gone.video);
    assert_eq!(whole.sensor, gone.sensor);
}

#[test]
fn the_future_never_reaches_back_through_it() {
    let [model, _] = models();
    let ticks = run(80, 5, true, Fault::None, 0);
    let mut other = ticks[..60].to_vec();
    other.extend(run(80, 6, true, Fault::SquareGone, 0).into_iter().skip(60));
    let (mut a, mut b) = (model.stream(), model.stream());
    for (x, y) in ticks[..60].iter().zip(&other) {
        assert_eq!(bits(&[a.step(x)]), bits(&[b.step(y)]));
        assert_eq!(a.latents(), b.latents());
    }
}

#[test]
fn a_camera_that_was_gone_is_seen_anew() {
    let [model, _] = models();
    let mut ticks = run(60, 5, true, Fault::None, 0);
    for tick in &mut ticks[20..30] {
        tick.cameras[0].frames.clear();
        tick.cameras[0].quality = Quality::Missing;
    }
    let mut stream = model.stream();
    let mut blind = Vec::new();
    for (t, tick) in ticks.iter().enumerate() {
        stream.step(tick);
        let video = stream.latents().unwrap().video.clone();
        if (20..30).contains(&t) {
            blind.push(video);
        } else {
            assert!(blind.iter().all(|b| *b != video), "{t}");
        }
    }
    assert!(blind.iter().all(|b| *b == blind[0]), "nothing is seen while the camera is gone");
}

#[test]
fn a_line_without_cameras_does_without_it() {
    let (spec, here, cpu) = (spec(false), encoder(0.25), ComputeDevice::cpu());
    let model = trained_with(Some(&here), &spec);
    assert_eq!(model.card().encoder, None);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("line.safetensors");
    model.save(&path).unwrap();
    assert!(PlantModel::load_with(&path, &spec, &cpu, Some(&here)).is_ok());
}

#[test]
fn an_encoder_of_pictures_without_colour_is_refused() {
    let mut checkpoint = Checkpoint::small();
    checkpoint.config["in_chans"] = 1.into();
    let made = checkpoint.tensors.get_mut("encoder.embeddings.patch_embeddings.proj.weight").unwrap();
    made.shape[1] = 1;
    made.values.truncate(made.shape.iter().product());
    let error = FrozenEncoder::load_vjepa2(checkpoint.written().path()).unwrap_err().to_string();
    assert!(error.contains("1 channels"), "{error}");
}
