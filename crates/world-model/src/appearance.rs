//! What each place of a picture looked like: a memory of patches, and the distance to the nearest of them (after
//! PatchCore, arXiv 2106.08265, with pixels for features, since a line's camera does not move).

use rand::SeedableRng;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use sightglass_protocol::tick::MODEL_PIXELS;
use sightglass_protocol::{CameraReading, Tick};

use crate::calibration::{Cut, FOLDS, Limit, quantile};
use crate::camera_encoder::{PATCHES, SIDE, is_visible};
use crate::file::{Broken, Store};

/// Pixels a side at half resolution, and of a patch there with one pixel of its surroundings.
const HALF: usize = MODEL_PIXELS as usize / 2;
const AROUND: usize = HALF / SIDE + 2;
const LUMA: usize = AROUND * AROUND;
/// Cells a side in which colour is averaged.
const CELLS: usize = 3;
const CHROMA: usize = 2 * CELLS * CELLS;
/// Bytes that describe a patch.
const BYTES: usize = LUMA + CHROMA;
/// Colour counts this much more a value, having fewer of them.
const CHROMA_WEIGHT: i32 = 4;
/// The most memories a place, and the most pictures from which they are chosen.
const MEMORIES_MAX: usize = 256;
const CANDIDATES_MAX: usize = 1600;
/// A patch may be this much brighter or darker as a whole before it counts, in grey levels.
const LIGHT: f32 = 8.0;
/// And its contrast this much higher or lower.
const CONTRAST: f32 = 0.1;
/// Memories that are compared closely.
const CLOSE: usize = 6;
/// Candidates nearer than this (mean square, grey levels) to a memory are that memory.
const SAME: f32 = 1.5;
/// The least distance that is taken for noise, in grey levels.
const NOISE: f32 = 1.5;
/// Seconds over which faint but lasting changes are gathered.
const LASTING_SECONDS: f64 = 15.0;
const LASTING_CLIP: f32 = 3.0;

/// The look of one camera's places.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Appearance {
    /// Median brightness at half resolution.
    reference: Vec<u8>,
    memories: Vec<Vec<u8>>,
    scale: Vec<f32>,
    now: Vec<f32>,
    lasting: Vec<f32>,
    /// Ticks over which lasting changes are gathered.
    span: f32,
    /// Over all.
    pub(crate) factor: f32,
}

/// The averages of a stream.
#[derive(Clone, Default)]
pub(crate) struct AppearanceState {
    lasting: Vec<f32>,
}

/// Brightness and two colour differences at half resolution.
fn planes(pixels: &[u8]) -> [Vec<f32>; 3] {
    let side = MODEL_PIXELS as usize;
    let mut out = [vec![0f32; HALF * HALF], vec![0f32; HALF * HALF], vec![0f32; HALF * HALF]];
    for row in 0..HALF {
        for col in 0..HALF {
            let mut rgb = [0u32; 3];
            for (dr, dc) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let at = ((2 * row + dr) * side + 2 * col + dc) * 3;
                for (sum, v) in rgb.iter_mut().zip(&pixels[at..at + 3]) {
                    *sum += u32::from(*v);
                }
            }
            let [r, g, b] = rgb.map(|v| v as f32 / 4.0);
            let at = row * HALF + col;
            let luma = 0.3 * r + 0.59 * g + 0.11 * b;
            out[0][at] = luma;
            out[1][at] = (r - g) * 0.7;
            out[2][at] = (b - luma) * 0.7;
        }
    }
    out
}

/// How much brighter a picture is than the reference, by the median pixel.
fn gain(luma: &[f32], reference: &[u8]) -> f32 {
    let bright = luma.iter().zip(reference).filter(|(_, r)| **r > 24);
    let mut ratios: Vec<f32> = bright.map(|(l, r)| l / f32::from(*r)).collect();
    if ratios.len() < HALF {
        return 1.0;
    }
    quantile(&mut ratios, 0.5).clamp(0.4, 2.5)
}

/// Describes all patches of a picture, [`BYTES`] each, with the light's gain taken out.
fn describe(pixels: &[u8], reference: &[u8]) -> Vec<u8> {
    let [luma, red, blue] = planes(pixels);
    let gain = gain(&luma, reference);
    let mut out = Vec::with_capacity(PATCHES * BYTES);
    let inside = HALF / SIDE;
    for patch in 0..PATCHES {
        let at = |i: usize, j: usize| {
            let clamp = |v: usize| v.saturating_sub(1).min(HALF - 1);
            clamp(patch / SIDE * inside + i) * HALF + clamp(patch % SIDE * inside + j)
        };
        for i in 0..AROUND {
            out.extend((0..AROUND).map(|j| (luma[at(i, j)] / gain).round().clamp(0.0, 255.0) as u8));
        }
        let cell = AROUND / CELLS;
        for plane in [&red, &blue] {
            for i in 0..CELLS {
                for j in 0..CELLS {
                    let mut sum = 0.0;
                    for k in 0..cell * cell {
                        sum += plane[at(i * cell + k / cell, j * cell + k % cell)];
                    }
                    let mean = sum / (cell * cell) as f32 / gain;
                    out.push((mean + 128.0).round().clamp(0.0, 255.0) as u8);
                }
            }
        }
    }
    out
}

/// The light offset that is forgiven and the remaining squared difference.
fn compare(a: &[u8], b: &[u8]) -> (f32, f32) {
    let (mut sum, mut squares) = (0i32, 0i32);
    for (a, b) in a[..LUMA].iter().zip(&b[..LUMA]) {
        let d = i32::from(*a) - i32::from(*b);
        sum += d;
        squares += d * d;
    }
    let mut colour = 0i32;
    for (a, b) in a[LUMA..BYTES].iter().zip(&b[LUMA..BYTES]) {
        let d = i32::from(*a) - i32::from(*b);
        colour += d * d;
    }
    let offset = (sum as f32 / LUMA as f32).clamp(-LIGHT, LIGHT);
    let rest = squares as f32 - 2.0 * offset * sum as f32 + LUMA as f32 * offset * offset;
    (offset, rest + (CHROMA_WEIGHT * colour) as f32)
}

const WEIGHT: f32 = LUMA as f32 + (CHROMA_WEIGHT as usize * CHROMA) as f32;

/// The squared difference of a patch to one memory, half of it the mean over the patch, half the worst window of 3 x 3
/// pixels or colour cell: a few wrong pixels are lost in a patch's mean, not there. What a little more or less light does
/// (an offset, and a contrast) is taken out.
fn closely(a: &[u8], b: &[u8], offset: f32) -> f32 {
    let mean = b[..LUMA].iter().map(|v| f32::from(*v)).sum::<f32>() / LUMA as f32;
    let (mut product, mut square) = (0f32, 0f32);
    for (a, b) in a[..LUMA].iter().zip(b) {
        let contrast = f32::from(*b) - mean;
        product += contrast * (f32::from(*a) - f32::from(*b) - offset);
        square += contrast * contrast;
    }
    let gain = (product / square.max(1.0)).clamp(-CONTRAST, CONTRAST);
    let mut squares = [0f32; LUMA];
    for ((s, a), b) in squares.iter_mut().zip(a).zip(b) {
        *s = (f32::from(*a) - f32::from(*b) - offset - gain * (f32::from(*b) - mean)).powi(2);
    }
    let mut total: f32 = squares.iter().sum();
    let mut worst = 0f32;
    for i in 0..AROUND - 2 {
        for j in 0..AROUND - 2 {
            let mut sum = 0.0;
            for k in 0..3 {
                let at = (i + k) * AROUND + j;
                sum += squares[at] + squares[at + 1] + squares[at + 2];
            }
            worst = worst.max(sum / 9.0);
        }
    }
    for (a, b) in a[LUMA..].iter().zip(&b[LUMA..]) {
        let square = (f32::from(*a) - f32::from(*b)).powi(2);
        total += CHROMA_WEIGHT as f32 * square;
        worst = worst.max(square);
    }
    0.5 * total / WEIGHT + 0.5 * worst
}

/// The distance of a patch to its place's memories, in grey levels.
fn distance(patch: &[u8], memories: &[u8]) -> f32 {
    let mut nearest: Vec<(f32, usize, f32)> = Vec::with_capacity(CLOSE + 1);
    for (i, memory) in memories.chunks_exact(BYTES).enumerate() {
        let (offset, rest) = compare(patch, memory);
        if nearest.len() < CLOSE || rest < nearest[nearest.len() - 1].0 {
            let at = nearest.partition_point(|n| n.0 <= rest);
            nearest.insert(at, (rest, i, offset));
            nearest.truncate(CLOSE);
        }
    }
    nearest
        .iter()
        .map(|&(_, i, offset)| closely(patch, &memories[i * BYTES..(i + 1) * BYTES], offset).sqrt())
        .fold(f32::INFINITY, f32::min)
}

/// Greedy k-centre: each next memory is the candidate that is least like those before it (Sener and Savarese 2018).
fn choose(candidates: &[&[u8]]) -> Vec<u8> {
    let Some(first) = candidates.first() else { return Vec::new() };
    let mut out = first.to_vec();
    let mut nearest: Vec<f32> = candidates.iter().map(|c| compare(c, first).1).collect();
    while out.len() < MEMORIES_MAX * BYTES {
        let Some((next, &far)) = nearest.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)) else { break };
        if far < SAME * WEIGHT {
            break;
        }
        out.extend_from_slice(candidates[next]);
        for (n, c) in nearest.iter_mut().zip(candidates) {
            *n = n.min(compare(c, candidates[next]).1);
        }
    }
    out
}

fn smooth(values: &[f32]) -> Vec<f32> {
    (0..PATCHES)
        .map(|p| {
            let (row, col) = (p / SIDE, p % SIDE);
            let mut around = Vec::with_capacity(4);
            if row > 0 {
                around.push(values[p - SIDE]);
            }
            if row + 1 < SIDE {
                around.push(values[p + SIDE]);
            }
            if col > 0 {
                around.push(values[p - 1]);
            }
            if col + 1 < SIDE {
                around.push(values[p + 1]);
            }
            0.8 * values[p] + 0.2 * around.iter().sum::<f32>() / around.len() as f32
        })
        .collect()
}

/// The two frames of a reading as pixels; none when it cannot be looked at.
fn pictures(reading: &CameraReading) -> Vec<&[u8]> {
    if !is_visible(reading) {
        return Vec::new();
    }
    let first = &reading.frames[0];
    let last = &reading.frames[reading.frames.len() - 1];
    if reading.frames.len() > 1 { vec![&first.pixels, &last.pixels] } else { vec![&last.pixels] }
}

impl Appearance {
    /// Learns the camera at position `camera` of the line and calibrates on folds that the memories did not see. Gives,
    /// beside the look with a factor of 1, the highest score of each tick (NaN without a picture). `None` when the
    /// camera shows next to nothing in training.
    pub(crate) fn fit(
        camera: usize,
        ticks: &[&Tick],
        cut: &Cut,
        tick_ns: i64,
        seed: u64,
    ) -> Option<(Self, Vec<f32>, bool)> {
        let folds = &cut.fold;
        let seen: Vec<usize> = (0..ticks.len()).filter(|&t| is_visible(&ticks[t].cameras[camera])).collect();
        if seen.len() < crate::spec::TICKS_MIN {
            return None;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x100c);
        let mut chosen = index::sample(&mut rng, seen.len(), CANDIDATES_MAX.min(seen.len())).into_vec();
        chosen.sort_unstable();
        let chosen: Vec<usize> = chosen.into_iter().map(|i| seen[i]).collect();
        let reference = reference(camera, ticks, &chosen);
        let described: Vec<(usize, Vec<u8>)> = chosen
            .par_iter()
            .flat_map_iter(|&t| {
                pictures(&ticks[t].cameras[camera]).into_iter().map(move |p| (t, p)).collect::<Vec<_>>()
            })
            .map(|(t, pixels)| (folds[t], describe(pixels, &reference)))
            .collect();
        let memories = |without: Option<usize>| -> Vec<Vec<u8>> {
            (0..PATCHES)
                .into_par_iter()
                .map(|p| {
                    let kept = described.iter().filter(|(fold, _)| Some(*fold) != without);
                    choose(&kept.map(|(_, d)| &d[p * BYTES..(p + 1) * BYTES]).collect::<Vec<_>>())
                })
                .collect()
        };
        let by_fold: Vec<Vec<Vec<u8>>> = (0..FOLDS).map(|fold| memories(Some(fold))).collect();
        let distances: Vec<Option<Vec<f32>>> = ticks
            .par_iter()
            .enumerate()
            .map(|(t, tick)| distances(&tick.cameras[camera], &reference, &by_fold[folds[t]]))
            .collect();
        let mut typical: Vec<f32> = (0..PATCHES)
            .map(|p| {
                let mut values: Vec<f32> = distances.iter().flatten().map(|d| d[p]).collect();
                quantile(&mut values, 0.95)
            })
            .collect();
        let median = quantile(&mut typical.clone(), 0.5);
        typical.iter_mut().for_each(|s| *s = s.max(0.5 * median).max(NOISE));
        let wanted = LASTING_SECONDS * 1e9 / tick_ns.max(1) as f64;
        let span = wanted.min(ticks.len() as f64 / 10.0).max(1.0) as f32;
        let mut look = Self {
            reference: reference.clone(),
            memories: memories(None),
            scale: typical,
            now: vec![1.0; PATCHES],
            lasting: vec![1.0; PATCHES],
            span,
            factor: 1.0,
        };
        let mut now = vec![vec![f32::NAN; ticks.len()]; PATCHES];
        let mut lasting = now.clone();
        for run in &cut.runs {
            let mut state = AppearanceState::default();
            for t in run.clone() {
                let Some(d) = &distances[t] else { continue };
                let (a, b) = look.statistics(d, &mut state);
                for p in 0..PATCHES {
                    now[p][t] = a[p];
                    lasting[p][t] = b[p];
                }
            }
        }
        let mut extrapolated = false;
        let mut highest = vec![f32::NAN; ticks.len()];
        let mut limits = |series: &[Vec<f32>]| -> Vec<f32> {
            let fitted: Vec<Limit> = series.iter().map(|s| cut.limit(s, &mut highest)).collect();
            extrapolated |= fitted.iter().any(|l| l.extrapolated);
            let values: Vec<f32> = fitted.iter().map(|l| l.value).collect();
            // A place that was quieter than most in training is not trusted to stay so.
            let middle = quantile(&mut values.clone(), 0.5);
            values.into_iter().map(|v| v.max(0.8 * middle)).collect()
        };
        look.now = limits(&now);
        look.lasting = limits(&lasting);
        Some((look, highest, extrapolated))
    }

    /// Statistics of now and of late from a picture's distances.
    fn statistics(&self, distances: &[f32], state: &mut AppearanceState) -> (Vec<f32>, Vec<f32>) {
        let scaled: Vec<f32> = distances.iter().zip(&self.scale).map(|(d, s)| d / s).collect();
        let now = smooth(&scaled);
        if state.lasting.is_empty() {
            state.lasting = now.iter().map(|v| v.min(1.0)).collect();
        }
        for (l, v) in state.lasting.iter_mut().zip(&now) {
            *l += (v.min(LASTING_CLIP) - *l) / self.span;
        }
        (now, state.lasting.clone())
    }

    /// Scores of all patches, row-major; `None` without a picture.
    pub(crate) fn step(&self, state: &mut AppearanceState, reading: &CameraReading) -> Option<Vec<f32>> {
        let distances = distances(reading, &self.reference, &self.memories)?;
        let (now, lasting) = self.statistics(&distances, state);
        let scores = (0..PATCHES).map(|p| (now[p] / self.now[p]).max(lasting[p] / self.lasting[p]) / self.factor);
        Some(scores.collect())
    }

    pub(crate) fn store(&self, camera: usize, store: &mut Store) {
        let name = |what: &str| format!("appearance.{camera}.{what}");
        store.put_bytes(&name("reference"), &self.reference);
        store.put(&name("lengths"), self.memories.iter().map(|m| m.len() as f64));
        store.put_bytes(&name("memories"), &self.memories.concat());
        store.put_floats(&name("scale"), &self.scale);
        store.put_floats(&name("now"), &self.now);
        store.put_floats(&name("lasting"), &self.lasting);
        store.put_floats(&name("span"), &[self.span, self.factor]);
    }

    pub(crate) fn restore(camera: usize, store: &Store) -> Result<Self, Broken> {
        let name = |what: &str| format!("appearance.{camera}.{what}");
        let floats = |what: &str, len: usize| {
            let values = store.floats(&name(what))?;
            if values.len() == len { Ok(values) } else { Err(Broken::new(&name(what), "has another length")) }
        };
        let lengths = store.indices(&name("lengths"))?;
        let mut rest = store.bytes(&name("memories"))?;
        if lengths.len() != PATCHES
            || lengths.iter().sum::<usize>() != rest.len()
            || lengths.iter().any(|l| l % BYTES != 0 || *l == 0)
        {
            return Err(Broken::new(&name("memories"), "has another length"));
        }
        let mut memories = Vec::with_capacity(PATCHES);
        for length in lengths {
            let (head, tail) = rest.split_at(length);
            memories.push(head.to_vec());
            rest = tail;
        }
        let reference = store.bytes(&name("reference"))?.to_vec();
        if reference.len() != HALF * HALF {
            return Err(Broken::new(&name("reference"), "has another length"));
        }
        let span = floats("span", 2)?;
        Ok(Self {
            reference,
            memories,
            scale: floats("scale", PATCHES)?,
            now: floats("now", PATCHES)?,
            lasting: floats("lasting", PATCHES)?,
            span: span[0],
            factor: span[1],
        })
    }
}

/// The median brightness of each pixel at half resolution.
fn reference(camera: usize, ticks: &[&Tick], chosen: &[usize]) -> Vec<u8> {
    const PICTURES_MAX: usize = 200;
    let step = chosen.len().div_ceil(PICTURES_MAX).max(1);
    let luma: Vec<Vec<f32>> = chosen
        .par_iter()
        .step_by(step)
        .filter_map(|&t| pictures(&ticks[t].cameras[camera]).last().map(|p| planes(p)[0].clone()))
        .collect();
    (0..HALF * HALF)
        .map(|i| quantile(&mut luma.iter().map(|l| l[i]).collect::<Vec<f32>>(), 0.5).round() as u8)
        .collect()
}

/// The largest distance of each patch over a reading's pictures.
fn distances(reading: &CameraReading, reference: &[u8], memories: &[Vec<u8>]) -> Option<Vec<f32>> {
    let mut out: Option<Vec<f32>> = None;
    for pixels in pictures(reading) {
        let described = describe(pixels, reference);
        let found = described.chunks_exact(BYTES).zip(memories).map(|(patch, memories)| distance(patch, memories));
        out = Some(match out {
            Some(before) => before.iter().zip(found).map(|(b, d)| b.max(d)).collect(),
            None => found.collect(),
        });
    }
    out
}
