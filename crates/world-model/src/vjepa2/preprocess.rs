//! Pictures to what the model was trained on.
//!
//! As published with the weights: the short side becomes `crop * 256 / 224` pixels (bilinear, smoothed when it shrinks),
//! the centre is cut out, and colours are normalised by ImageNet's mean and deviation.

use candle_core::{Device, Tensor};

use super::config::Vjepa2Config;
use super::error::Vjepa2Error;

const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];
/// A picture has at most this many pixels a side.
const SIDE_MAX: usize = 1 << 14;

/// A picture: rows of red, green and blue.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `3 * width * height` bytes.
    pub rgb: &'a [u8],
}

/// Makes a clip, (frames, 3, crop, crop), of pictures.
///
/// # Errors
///
/// When there is no picture, when one has another length than its sides say, or when the model does not take three channels.
pub fn preprocess(config: &Vjepa2Config, frames: &[Picture<'_>]) -> Result<Tensor, Vjepa2Error> {
    if config.channels != 3 {
        let channels = config.channels;
        return Err(Vjepa2Error::Input(format!("the model takes {channels} channels, pictures have 3")));
    }
    if frames.is_empty() {
        return Err(Vjepa2Error::Input("a clip needs at least one picture".to_owned()));
    }
    let crop = config.crop_size;
    let mut values = Vec::with_capacity(frames.len() * 3 * crop * crop);
    for (i, frame) in frames.iter().enumerate() {
        let sides = 1..=SIDE_MAX;
        let is_whole = frame.rgb.len() == frame.width * frame.height * 3;
        if !sides.contains(&frame.width) || !sides.contains(&frame.height) || !is_whole {
            return Err(Vjepa2Error::Input(format!(
                "picture {i} has {} bytes and {} x {} pixels; give 3 bytes a pixel and 1 to {SIDE_MAX} pixels a side",
                frame.rgb.len(),
                frame.width,
                frame.height
            )));
        }
        let short = crop * 256 / 224;
        let scaled = if frame.width < frame.height {
            (short, short * frame.height / frame.width)
        } else {
            (short * frame.width / frame.height, short)
        };
        normalised(frame, scaled, crop, &mut values);
    }
    Ok(Tensor::from_vec(values, (frames.len(), 3, crop, crop), &Device::Cpu)?)
}

/// Appends a picture, (3, side, side), of which nothing is cut off; its sides become equal.
pub(crate) fn fitted(frame: &Picture<'_>, side: usize, out: &mut Vec<f32>) {
    normalised(frame, (side, side), side, out);
}

/// Appends the centre of a picture that is scaled to `width` x `height` pixels.
fn normalised(frame: &Picture<'_>, (width, height): (usize, usize), crop: usize, out: &mut Vec<f32>) {
    let (left, top) = ((width - crop) / 2, (height - crop) / 2);
    let columns = weights(frame.width, width, left, crop);
    let rows = weights(frame.height, height, top, crop);

    // Along rows first, then down columns; each result is rounded to a byte, as libraries of pictures do.
    let mut narrow = vec![0u8; frame.height * crop * 3];
    for (out, row) in narrow.chunks_exact_mut(crop * 3).zip(frame.rgb.chunks_exact(frame.width * 3)) {
        for (out, (first, weights)) in out.chunks_exact_mut(3).zip(&columns) {
            for (channel, out) in out.iter_mut().enumerate() {
                let value = |(i, weight): (usize, &f32)| weight * f32::from(row[(first + i) * 3 + channel]);
                *out = byte(weights.iter().enumerate().map(value).sum());
            }
        }
    }
    for channel in 0..3 {
        for (first, weights) in &rows {
            for column in 0..crop {
                let value = |(i, weight): (usize, &f32)| {
                    weight * f32::from(narrow[((first + i) * crop + column) * 3 + channel])
                };
                let byte = byte(weights.iter().enumerate().map(value).sum());
                out.push((f32::from(byte) / 255.0 - MEAN[channel]) / DEVIATION[channel]);
            }
        }
    }
}

fn byte(value: f32) -> u8 {
    // Saturates.
    value.round() as u8
}

/// For `count` pixels from `first` on of a side that goes from `from` to `to` pixels: the first source pixel, and the weight
/// of it and those after it. A triangle, as wide as two pixels of the coarser side.
fn weights(from: usize, to: usize, first: usize, count: usize) -> Vec<(usize, Vec<f32>)> {
    let scale = from as f64 / to as f64;
    let reach = scale.max(1.0);
    (first..first + count)
        .map(|i| {
            let centre = (i as f64 + 0.5) * scale;
            let begin = (centre - reach + 0.5).max(0.0) as usize;
            let end = ((centre + reach + 0.5) as usize).min(from);
            let triangle = |j: usize| (1.0 - ((j as f64 + 0.5 - centre) / reach).abs()).max(0.0);
            let total: f64 = (begin..end).map(triangle).sum();
            (begin, (begin..end).map(|j| (triangle(j) / total) as f32).collect())
        })
        .collect()
}
