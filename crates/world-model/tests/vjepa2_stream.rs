//! V-JEPA 2 on a live stream: what a tick gives, and what it costs.

#[allow(dead_code, reason = "checkpoints of other forms are made by other tests")]
mod checkpoint;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use checkpoint::Checkpoint;
use sightglass_world_model::vjepa2::{Stream, StreamMode, StreamOptions, Vjepa2};

const SIDE: usize = 48;
/// Tubelets of a window, and tokens of a tubelet of `SIDE` x `SIDE` pixels.
const WINDOW: usize = 3;
const TOKENS: usize = 9;
const WIDTH: usize = 24;
/// Values of a tubelet's two frames.
const VALUES: usize = 2 * 3 * SIDE * SIDE;

/// Counts what each thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "only a global allocator sees every allocation")]
// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn model(layers: usize) -> Arc<Vjepa2> {
    let mut checkpoint = Checkpoint::small();
    checkpoint.config["num_hidden_layers"] = layers.into();
    for layer in layers..2 {
        checkpoint.tensors.retain(|name, _| !name.starts_with(&format!("encoder.layer.{layer}.")));
    }
    Arc::new(Vjepa2::load(checkpoint.written().path()).unwrap())
}

fn stream(model: &Arc<Vjepa2>, mode: StreamMode) -> Stream {
    let options = StreamOptions { height: SIDE, width: SIDE, tubelets: WINDOW, mode };
    Stream::new(model.clone(), options).unwrap()
}

/// A tubelet's frames; those of other ticks are others.
fn frames(tick: usize) -> Vec<f32> {
    (0..VALUES).map(|i| ((i * 7919 + tick * 104_729) % 2003) as f32 / 500.0 - 2.0).collect()
}

/// What encoding the window gives that ends with `tick`.
fn encoded(model: &Vjepa2, ticks: &[usize]) -> Vec<f32> {
    let values: Vec<f32> = ticks.iter().flat_map(|&tick| frames(tick)).collect();
    let clip = Tensor::from_vec(values, (1, 2 * ticks.len(), 3, SIDE, SIDE), &Device::Cpu).unwrap();
    model.encode(&clip).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn while_the_window_fills_a_tick_gives_what_encoding_it_gives() {
    let model = model(2);
    for mode in [StreamMode::Exact, StreamMode::Rolling] {
        let mut stream = stream(&model, mode);
        for held in 1..=WINDOW {
            let found = stream.push(&frames(held)).unwrap();
            assert_eq!(found.tubelets_computed, held);
            assert_eq!(found.tokens, encoded(&model, &(1..=held).collect::<Vec<_>>()), "{mode:?} {held}");
        }
    }
}

#[test]
fn an_exact_stream_gives_what_encoding_the_window_gives_for_ever() {
    let model = model(2);
    let mut stream = stream(&model, StreamMode::Exact);
    for tick in 0..3 * WINDOW {
        let found = stream.push(&frames(tick)).unwrap();
        let seen: Vec<usize> = (0..=tick).collect();
        let window = &seen[seen.len().saturating_sub(WINDOW)..];
        assert_eq!(found.tokens, encoded(&model, window), "{tick}");
    }
}

#[test]
fn with_one_layer_a_rolling_stream_gives_the_newest_tubelet_as_encoding_the_window_does() {
    // Keys and values of the first layer depend on their own pixels only, so that places and turns are all that could be
    // wrong.
    let model = model(1);
    let mut stream = stream(&model, StreamMode::Rolling);
    let newest = (WINDOW - 1) * TOKENS * WIDTH..;
    for tick in 0..3 * WINDOW {
        let found = stream.push(&frames(tick)).unwrap();
        if tick < WINDOW {
            continue;
        }
        assert_eq!(found.tubelets_computed, 1);
        let expected = encoded(&model, &[tick - 2, tick - 1, tick]);
        for (found, expected) in found.tokens[newest.clone()].iter().zip(&expected[newest.clone()]) {
            assert!((found - expected).abs() < 1e-5, "{tick}: {found} {expected}");
        }
    }
}

#[test]
fn older_tubelets_keep_the_tokens_that_they_had_when_they_were_new() {
    let model = model(2);
    let mut stream = stream(&model, StreamMode::Rolling);
    for tick in 0..WINDOW {
        stream.push(&frames(tick)).unwrap();
    }
    let one = TOKENS * WIDTH;
    let mut before = stream.push(&frames(WINDOW)).unwrap().tokens.to_vec();
    for tick in WINDOW + 1..3 * WINDOW {
        let found = stream.push(&frames(tick)).unwrap().tokens;
        assert_eq!(found.len(), WINDOW * one);
        assert_eq!(found[..(WINDOW - 1) * one], before[one..]);
        before = found.to_vec();
    }
}

#[test]
fn a_still_stream_costs_nothing_and_gives_the_same() {
    let model = model(2);
    for mode in [StreamMode::Exact, StreamMode::Rolling] {
        let mut stream = stream(&model, mode);
        for tick in 0..2 * WINDOW {
            stream.push(&frames(tick)).unwrap();
        }
        // The picture stands still from here on: the first of these fills the window with the others.
        let still = frames(100);
        for _ in 0..WINDOW {
            assert!(stream.push(&still).unwrap().tubelets_computed > 0);
        }
        let last = stream.tokens().to_vec();
        for _ in 0..5 {
            let found = stream.push(&still).unwrap();
            assert_eq!((found.tubelets_computed, found.tokens), (0, last.as_slice()), "{mode:?}");
        }
        if mode == StreamMode::Exact {
            assert_eq!(last, encoded(&model, &[100; WINDOW]));
        }
        assert!(stream.push(&frames(101)).unwrap().tubelets_computed > 0, "it moves again");
    }
}

#[test]
fn a_cleared_stream_begins_anew() {
    let model = model(2);
    let mut stream = stream(&model, StreamMode::Rolling);
    for tick in 0..2 * WINDOW {
        stream.push(&frames(tick)).unwrap();
    }
    stream.clear();
    assert_eq!(stream.push(&frames(7)).unwrap().tokens, encoded(&model, &[7]));
}

#[test]
fn a_steady_stream_allocates_nothing() {
    let model = model(2);
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for mode in [StreamMode::Exact, StreamMode::Rolling] {
            let ticks: Vec<Vec<f32>> = (0..8).map(frames).collect();
            let all_threads = || pool.broadcast(|_| ALLOCATIONS.get()).into_iter().sum::<u64>();
            let turn = |stream: &mut Stream| {
                let before = ALLOCATIONS.get();
                for frames in ticks.iter().cycle().take(100) {
                    stream.push(frames).unwrap();
                }
                ALLOCATIONS.get() - before
            };
            // A thread has buffers to make when it does a piece of work for the first time; who leads does one of each.
            pool.broadcast(|_| turn(&mut stream(&model, mode)));
            let mut stream = stream(&model, mode);
            pool.install(|| turn(&mut stream));
            let before = all_threads();
            // Asking the threads may allocate on them, too.
            let asking = all_threads() - before;
            let before = before + asking;
            assert_eq!(pool.install(|| turn(&mut stream)), 0, "{mode:?} {threads}");
            assert_eq!(all_threads() - before, asking, "{mode:?} {threads}");
        }
    }
}

#[test]
fn frames_that_do_not_fit_are_refused_and_change_nothing() {
    let model = model(2);
    let mut stream = stream(&model, StreamMode::Rolling);
    stream.push(&frames(0)).unwrap();
    let error = stream.push(&frames(1)[1..]).unwrap_err().to_string();
    assert!(error.contains("13823 values") && error.contains("13824"), "{error}");
    let mut broken = frames(1);
    broken[5] = f32::NAN;
    let error = stream.push(&broken).unwrap_err().to_string();
    assert!(error.contains("NaN at position 5"), "{error}");
    assert_eq!(stream.push(&frames(1)).unwrap().tokens, encoded(&model, &[0, 1]));
}

#[test]
fn windows_that_cannot_be_are_refused() {
    let model = model(2);
    for (height, tubelets, word) in [(15, 3, "0 tokens"), (SIDE, 0, "0 tubelets"), (SIDE, usize::MAX, "1 to 131072")] {
        let options = StreamOptions { height, width: SIDE, tubelets, mode: StreamMode::Exact };
        let error = Stream::new(model.clone(), options).err().unwrap().to_string();
        assert!(error.contains(word), "{error}");
    }
    let folder = Checkpoint::small().written();
    let plain = Arc::new(Vjepa2::load_plain(folder.path(), &Device::Cpu).unwrap());
    let options = StreamOptions { height: SIDE, width: SIDE, tubelets: 1, mode: StreamMode::Exact };
    let error = Stream::new(plain, options).err().unwrap().to_string();
    assert!(error.contains("Vjepa2::load"), "{error}");
}
