//! Devices: the same weights give the same numbers on each. On a computer without a GPU, the CPU computes both as it does
//! and as a GPU would: by fused operations, and by tensor operations alone.

#[allow(dead_code, reason = "not every form of a checkpoint is of interest here")]
mod checkpoint;
mod line;

use candle_core::{Device, Tensor};
use checkpoint::Checkpoint;
use line::*;
use sightglass_world_model::vjepa2::Vjepa2;
use sightglass_world_model::{ComputeDevice, DeviceChoice, Latents, PlantModel, Size, TrainOptions, train};

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn all(latents: &Latents) -> Vec<f32> {
    [latents.fused.as_slice(), &latents.video, &latents.sensor].concat()
}

#[test]
fn a_model_says_the_same_on_every_device() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    trained(&spec(true), &[run(1_000, 1, true, Fault::None, 0)], 1).unwrap().save(&path).unwrap();
    let on = |device: &ComputeDevice| PlantModel::load_with(&path, &spec(true), device, None).unwrap();
    let expected = on(&ComputeDevice::cpu());
    let ticks = run(80, 5, true, Fault::SquareGone, 50);
    // The last is the GPU, where there is one.
    for (device, tolerance) in
        [(ComputeDevice::cpu_plain(), 1e-5), (ComputeDevice::open(DeviceChoice::Auto).unwrap(), 1e-3)]
    {
        let (name, found) = (device.description(), on(&device));
        let (mut a, mut b) = (expected.stream(), found.stream());
        for tick in &ticks {
            let (x, y) = (a.step(tick).surprise, b.step(tick).surprise);
            let latents = furthest(&all(a.latents().unwrap()), &all(b.latents().unwrap()));
            assert!(latents < tolerance, "{name}, tick {}: {latents}", tick.index);
            let score = (x.score - y.score).abs() / x.score.max(1.0);
            assert!(score < 10.0 * tolerance, "{name}, tick {}: {} {}", tick.index, x.score, y.score);
            let patches = furthest(&x.patches[0].scores, &y.patches[0].scores);
            assert!(patches < 100.0 * tolerance, "{name}, tick {}: {patches}", tick.index);
        }
    }
}

#[test]
fn training_goes_the_same_way_by_fused_and_by_plain_operations() {
    let runs = [run(1_000, 1, true, Fault::None, 0)];
    let losses = |device: ComputeDevice| {
        let options = TrainOptions { epochs_max: 2, device, size: Size::least(), ..TrainOptions::default() };
        let model = train(&spec(true), &runs, &options, &mut |_| true).unwrap();
        model.card().epochs.iter().flat_map(|e| [e.training, e.held_back]).collect::<Vec<f32>>()
    };
    let (fused, plain) = (losses(ComputeDevice::cpu()), losses(ComputeDevice::cpu_plain()));
    assert_eq!(fused.len(), 4);
    assert!(fused[2] < fused[0], "nothing was learned: {fused:?}");
    assert!(furthest(&fused, &plain) < 5e-4, "{fused:?} {plain:?}");
}

#[test]
fn vjepa2_takes_what_the_device_has() {
    let folder = Checkpoint::small().written();
    let values: Vec<f32> = (0..4 * 3 * 32 * 32).map(|i| ((i * 7919) % 2003) as f32 / 500.0 - 2.0).collect();
    let clip = Tensor::from_vec(values, (1, 4, 3, 32, 32), &Device::Cpu).unwrap();
    let encoded =
        |model: Vjepa2| -> Vec<f32> { model.encode(&clip).unwrap().flatten_all().unwrap().to_vec1().unwrap() };
    let on = |device: &ComputeDevice| encoded(Vjepa2::load_on(folder.path(), device).unwrap());
    assert_eq!(on(&ComputeDevice::cpu()), encoded(Vjepa2::load(folder.path()).unwrap()));
    let plain = encoded(Vjepa2::load_plain(folder.path(), &Device::Cpu).unwrap());
    assert_eq!(on(&ComputeDevice::cpu_plain()), plain);
    let auto = on(&ComputeDevice::open(DeviceChoice::Auto).unwrap());
    assert!(furthest(&auto, &plain) < 1e-3);
}

#[test]
fn a_device_that_is_not_built_in_or_not_there_is_refused_with_what_to_do() {
    for (choice, name, built) in
        [(DeviceChoice::Cuda, "cuda", cfg!(feature = "cuda")), (DeviceChoice::Metal, "metal", cfg!(feature = "metal"))]
    {
        match ComputeDevice::open(choice) {
            Ok(device) => {
                assert!(built);
                assert!(device.description().to_lowercase().starts_with(name), "{}", device.description());
            }
            Err(problem) => {
                let text = problem.to_string();
                assert!(text.contains(&format!("device = \"{name}\"")) && text.contains("\"cpu\""), "{text}");
                assert_eq!(text.contains(&format!("--features {name}")), !built, "{text}");
            }
        }
    }
}

#[test]
fn devices_have_names() {
    assert_eq!("auto".parse(), Ok(DeviceChoice::default()));
    assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda));
    let error = "gpu".parse::<DeviceChoice>().unwrap_err();
    assert!(error.contains("'gpu'") && error.contains("cpu, cuda and metal"), "{error}");
}

#[test]
fn without_a_gpu_the_cpu_is_taken() {
    assert!(ComputeDevice::open(DeviceChoice::Cpu).unwrap().description().starts_with("CPU, "));
    let auto = ComputeDevice::open(DeviceChoice::Auto).unwrap();
    let is_gpu = [DeviceChoice::Cuda, DeviceChoice::Metal].iter().any(|&gpu| ComputeDevice::open(gpu).is_ok());
    assert_eq!(auto.description().starts_with("CPU, "), !is_gpu, "{}", auto.description());
}
